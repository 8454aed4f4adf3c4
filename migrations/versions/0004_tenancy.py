"""Of each table the role exchange_member sees only what one company may (PostgreSQL); to everybody else row-level security changes nothing."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COMPANY = "current_setting('exchange.company', true)"
OWN = f"ARRAY(SELECT m.id FROM member m WHERE m.uscc = {COMPANY})"
"""Asked once for a statement."""
OWN_VALUES = f"ARRAY(SELECT CAST(m.id AS TEXT) FROM member m WHERE m.uscc = {COMPANY})"
OF_PARTIES = f"buyer_id = ANY ({OWN}) OR seller_id = ANY ({OWN})"
OF_EITHER_SIDE = f"dimension IN ('buyer', 'seller') AND value = ANY ({OWN_VALUES})"
NONE = "false"

# Scalar subqueries, and no EXISTS, which a planner may choose to answer by reading a whole table once.
VISIBLE = {
    "account": f"owner_id = ANY ({OWN})",
    "api_key": NONE,
    "assessment": NONE,
    "batch": "true",
    "closed_month": NONE,
    "closing": NONE,
    "company": NONE,
    "contract": NONE,
    "correction": NONE,
    "data_product": f"owner_id = ANY ({OWN}) "
    "OR (SELECT l.state FROM listing l WHERE l.id = data_product.current_listing_id) = 'listed'",
    "entry": NONE,
    "event": "(SELECT true FROM party_event p WHERE p.position = event.position "
    f"AND p.member_id = ANY ({OWN}) LIMIT 1)",
    "head": NONE,
    "idempotency": NONE,
    "listing": f"state = 'listed' OR owner_id = ANY ({OWN})",
    "listing_history": NONE,
    "member": f"state IN ('active', 'suspended', 'withdrawn', 'expelled') OR uscc = {COMPANY}",
    "member_history": NONE,
    "member_term": "(SELECT true FROM member m WHERE m.id = member_term.member_id)",
    "monthly_rollup": OF_EITHER_SIDE,
    "office": NONE,
    "party_counter": NONE,
    "party_event": f"member_id = ANY ({OWN})",
    "person": NONE,
    "personal_datum": NONE,
    "product_version": "(SELECT p.owner_id FROM data_product p WHERE p.id = product_version.product_id) "
    f"= ANY ({OWN}) OR (SELECT true FROM listing l WHERE l.version_id = product_version.id AND l.state = 'listed' LIMIT 1)",
    "proposal": NONE,
    "rollup": OF_EITHER_SIDE,
    "trade": OF_PARTIES,
    "transfer": NONE,
    "volume_entry": OF_PARTIES,
}
"""By table, the rows that a company sees."""


def upgrade() -> None:
    """Limit what the role sees. It need not exist: policies that named it could not be restored where it does not."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, seen in VISIBLE.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY all_rows ON {table} USING (true) WITH CHECK (true)")
        op.execute(
            f"CREATE POLICY of_one_company ON {table} AS RESTRICTIVE FOR SELECT "
            f"USING (CURRENT_USER <> 'exchange_member' OR ({seen}))"
        )


def downgrade() -> None:
    """Show the role all that it is granted."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in VISIBLE:
        op.execute(f"DROP POLICY of_one_company ON {table}")
        op.execute(f"DROP POLICY all_rows ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
