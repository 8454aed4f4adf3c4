"""Who may, and what stays: keys with scopes and an end, mandates, and guards that nobody but the owner can pass."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INDEXES = (
    ("api_key", "uscc", "id"),
    ("api_key", "person_id"),
    ("mandate", "principal_uscc", "agent_uscc", "id"),
    ("mandate", "principal_uscc", "id"),
    ("mandate", "agent_uscc", "id"),
)
KEPT = (
    ("key_terms", "keys have names, scopes or an end"),
    ("mandate", "mandates have been given"),
)
"""What revision 0003 has no place for: a key without its terms would open more, or longer."""
POSITIONED = {
    "assessment": "id",
    "closed_month": "position",
    "correction": "position",
    "entry": "position",
    "event": "position",
    "idempotency": "position",
    "listing_history": "position",
    "member_history": "position",
    "party_event": "position",
    "product_version": "id",
    "transfer": "position",
    "volume_entry": "position",
}
"""Posted tables, and which column says at which position a row was made. A batch has a first and a last one."""
FROZEN = ("trade_is_frozen", "trade_is_kept")
CORRECTABLE = ("purpose", "contract_number", "delivery_terms")

COMPANY = "current_setting('exchange.company', true)"
OWN = f"ARRAY(SELECT m.id FROM member m WHERE m.uscc = {COMPANY})"
"""Asked once for a statement."""
OWN_VALUES = f"ARRAY(SELECT CAST(m.id AS TEXT) FROM member m WHERE m.uscc = {COMPANY})"
OF_PARTIES = f"buyer_id = ANY ({OWN}) OR seller_id = ANY ({OWN})"
OF_EITHER_SIDE = f"dimension IN ('buyer', 'seller') AND value = ANY ({OWN_VALUES})"
OF_OWN_KEY = f"(SELECT k.uscc FROM api_key k WHERE k.id = key_id) = {COMPANY}"
NONE = "false"

# Scalar subqueries, and no EXISTS, which a planner may choose to answer by reading a whole table once.
SEEN = {
    "account": f"owner_id = ANY ({OWN})",
    "api_key": f"uscc = {COMPANY}",
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
    "event": "position = 1 OR (SELECT true FROM party_event p WHERE p.position = event.position "
    f"AND p.member_id = ANY ({OWN}) LIMIT 1)",
    "head": NONE,
    "idempotency": NONE,
    "key_terms": OF_OWN_KEY,
    "key_use": OF_OWN_KEY,
    "listing": f"state = 'listed' OR owner_id = ANY ({OWN})",
    "listing_history": NONE,
    "mandate": f"principal_uscc = {COMPANY} OR agent_uscc = {COMPANY}",
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
"""By table, the rows that a company sees of it, through the role of members (PostgreSQL)."""

# Whatever order the statements of a batch come in: what this transaction itself made is not the past. The schema is named, not looked
# for at each call: so the plan is kept.
REFUSE_PAST = """
CREATE FUNCTION refuse_past_{column}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF (SELECT min({column}) FROM added)
    <= (SELECT last FROM {schema}.batch WHERE xmin <> pg_current_xact_id()::xid ORDER BY last DESC LIMIT 1)
  THEN
    RAISE EXCEPTION '% on %: nothing is added to the past', TG_OP, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NULL;
END $$
"""
# Without a gap, so that two transactions which both think that they are next meet in the primary key.
REFUSE_GAP = """
CREATE FUNCTION refuse_gap() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NEW.first <> (SELECT max(last) FROM {schema}.batch) + 1 THEN
    RAISE EXCEPTION '% on %: a batch follows the last one', TG_OP, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$
"""


def upgrade() -> None:
    """Make the tables, find keys by company and by person, and put up the guards."""
    op.create_table(
        "key_terms",
        sa.Column("key_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", TEXT, nullable=True),
        sa.Column("scopes", sa.Text(), nullable=True),
        sa.Column("expires_on", sa.Date(), nullable=True),
        sa.ForeignKeyConstraint(["key_id"], ["api_key.id"], name=op.f("fk_key_terms_key_id")),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_key_terms")),
    )
    op.create_table(
        "key_use",
        sa.Column("key_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["api_key.id"], name=op.f("fk_key_use_key_id")),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_key_use")),
    )
    op.create_table(
        "mandate",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("principal_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("principal_uscc", TEXT, nullable=False),
        sa.Column("agent_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("agent_uscc", TEXT, nullable=False),
        sa.Column("steps", sa.Text(), nullable=False),
        sa.Column("granted_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("changed_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint("state IN ('active', 'ended')", name=op.f("ck_mandate_state_known")),
        sa.CheckConstraint("principal_uscc <> agent_uscc", name=op.f("ck_mandate_between_two")),
        sa.CheckConstraint("ends_on >= granted_on", name=op.f("ck_mandate_ends_after_it_begins")),
        sa.ForeignKeyConstraint(["principal_id"], ["member.id"], name=op.f("fk_mandate_principal_id")),
        sa.ForeignKeyConstraint(["agent_id"], ["member.id"], name=op.f("fk_mandate_agent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mandate")),
    )
    for table, *columns in INDEXES:
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, columns)
    _guard()
    _limit()


def downgrade() -> None:
    """Take all of it away where nothing is lost by that."""
    for table, lost in KEPT:
        rows = op.get_bind().execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one()
        if rows:
            raise RuntimeError(f"{rows} {lost}, which would be lost. Revision 0003 has no place for them.")
    _unguard()
    _unlimit()
    for table, *columns in INDEXES:
        op.drop_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table)
    for table in ("mandate", "key_use", "key_terms"):
        op.drop_table(table)


def _limit() -> None:
    """Limit what the role of members sees. It need not exist: policies that named it could not be restored where it does not."""
    if not _postgres():
        return
    for table, seen in SEEN.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY all_rows ON {table} USING (true) WITH CHECK (true)")
        op.execute(
            f"CREATE POLICY of_one_company ON {table} AS RESTRICTIVE FOR SELECT "
            f"USING (right(CURRENT_USER, 7) <> '_member' OR ({seen}))"
        )


def _unlimit() -> None:
    """Show the role all that it is granted."""
    if not _postgres():
        return
    for table in SEEN:
        op.execute(f"DROP POLICY of_one_company ON {table}")
        op.execute(f"DROP POLICY all_rows ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")


def _guard() -> None:
    """Add the guards of positions and of the head; on PostgreSQL, have all guards fire whatever a session says of its role."""
    if not _postgres():
        _guard_sqlite()
        return
    schema = op.get_bind().execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    for column in sorted(set(POSITIONED.values())):
        op.execute(REFUSE_PAST.format(column=column, schema=schema))
    op.execute(REFUSE_GAP.format(schema=schema))
    for table, column in POSITIONED.items():
        op.execute(
            f"CREATE TRIGGER {table}_comes_last AFTER INSERT ON {table} REFERENCING NEW TABLE AS added "
            f"FOR EACH STATEMENT EXECUTE FUNCTION refuse_past_{column}()"
        )
    op.execute("CREATE TRIGGER batch_comes_next BEFORE INSERT ON batch FOR EACH ROW EXECUTE FUNCTION refuse_gap()")
    op.execute(
        "CREATE TRIGGER head_moves_on BEFORE UPDATE ON head FOR EACH ROW WHEN (NEW.position < OLD.position) "
        "EXECUTE FUNCTION refuse_change('the head never goes back')"
    )
    op.execute(
        "CREATE TRIGGER head_is_kept BEFORE DELETE OR TRUNCATE ON head "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('the head is kept')"
    )
    for table, trigger in _guards():
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")


def _unguard() -> None:
    """Take them away; those that were there before fire for ordinary sessions alone again."""
    for table, trigger in _added():
        op.execute(f"DROP TRIGGER {trigger}" + (f" ON {table}" if _postgres() else ""))
    if _postgres():
        for column in sorted(set(POSITIONED.values())):
            op.execute(f"DROP FUNCTION refuse_past_{column}()")
        op.execute("DROP FUNCTION refuse_gap()")
        for table, trigger in _older():
            op.execute(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}")


def _postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _older() -> list[tuple[str, str]]:
    frozen = (*FROZEN, *(f"trade_{name}_is_frozen" for name in CORRECTABLE))
    return [(table, f"{table}_is_posted") for table in (*POSITIONED, "batch")] + [("trade", name) for name in frozen]


def _added() -> list[tuple[str, str]]:
    return [
        *((table, f"{table}_comes_last") for table in POSITIONED),
        ("batch", "batch_comes_next"),
        ("head", "head_moves_on"),
        ("head", "head_is_kept"),
    ]


def _guards() -> list[tuple[str, str]]:
    return _older() + _added()


def _guard_sqlite() -> None:
    # Here the head is moved after all that is inserted: it is still where the last batch ended.
    for table, column in POSITIONED.items():
        _refuse_sqlite(
            f"{table}_comes_last BEFORE INSERT ON {table} WHEN NEW.{column} <= (SELECT position FROM head)",
            f"INSERT on {table}: nothing is added to the past",
        )
    _refuse_sqlite(
        "batch_comes_next BEFORE INSERT ON batch WHEN NEW.first <> (SELECT max(last) FROM batch) + 1",
        "INSERT on batch: a batch follows the last one",
    )
    _refuse_sqlite(
        "head_moves_on BEFORE UPDATE ON head WHEN NEW.position < OLD.position",
        "UPDATE on head: the head never goes back",
    )
    _refuse_sqlite("head_is_kept BEFORE DELETE ON head", "DELETE on head: the head is kept")


def _refuse_sqlite(when: str, words: str) -> None:
    op.execute(f"CREATE TRIGGER {when} BEGIN SELECT RAISE(ABORT, '{words}'); END")
