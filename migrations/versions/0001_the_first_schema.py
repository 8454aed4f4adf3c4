"""The first schema: all tables of the running exchange, their guards, and the genesis event."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

POSTED = (
    "assessment",
    "batch",
    "closed_month",
    "entry",
    "event",
    "idempotency",
    "listing_history",
    "member_history",
    "party_event",
    "product_version",
    "transfer",
    "volume_entry",
)
"""Tables whose rows are inserted once and stay."""

CONTRACT_FACTS = (
    "mode",
    "venue",
    "proposer",
    "buyer_id",
    "seller_id",
    "listing_id",
    "product_id",
    "version_id",
    "purpose",
    "quantity",
    "contract_number",
    "contract_sha256",
    "net",
    "vat",
    "gross",
    "delivery_terms",
    "acceptance_window_days",
    "evidence",
    "proposed_on",
    "effective_on",
    "received_on",
    "sector",
    "kind",
    "region",
    "related",
    "late",
)
"""What a trade says for good once it is contracted."""

FROZEN = "OLD.state IN ('contracted', 'terminated', 'reversed')"

POSTGRES_REFUSAL = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  RAISE EXCEPTION '% on %: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation';
END $$
"""

GENESIS_LEAF = (
    '{"acting_member":null,"actor":"system","facts":{},"key_id":null,"kind":"genesis","parties":[],"position":1,'
    '"recorded_at":"1970-01-01T00:00:00.000000Z","request_id":null,"rows":[],"salt":"00000000000000000000000000000000","v":1}'
)
GENESIS_LEAF_SHA256 = "0c4274da5a56a9d320126eab6ce1bfe4bd26716dad6484966f6ba70e7ec7b35a"


def upgrade() -> None:
    """Make all tables, keep what is posted, and write the genesis event."""
    op.create_table(
        "account",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("owner_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("book", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("debits_posted", sa.BigInteger(), nullable=False),
        sa.Column("credits_posted", sa.BigInteger(), nullable=False),
        sa.Column("debits_pending", sa.BigInteger(), nullable=False),
        sa.Column("credits_pending", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("book IN ('contracted')", name=op.f("ck_account_book_known")),
        sa.CheckConstraint("kind IN ('purchases', 'sales')", name=op.f("ck_account_kind_known")),
        sa.CheckConstraint(
            "debits_posted >= 0 AND credits_posted >= 0 AND debits_pending >= 0 AND credits_pending >= 0",
            name=op.f("ck_account_counters_not_negative"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("owner_id", "book", "kind", name=op.f("uq_account_owner_id_book_kind")),
    )
    op.create_table(
        "batch",
        sa.Column("first", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("contracted_gross", sa.BigInteger(), nullable=False),
        sa.Column("contracted_reversed", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("first > 0 AND first <= last", name=op.f("ck_batch_positions_in_order")),
        sa.PrimaryKeyConstraint("first", name=op.f("pk_batch")),
        sa.UniqueConstraint("last", name=op.f("uq_batch_last")),
        sa.UniqueConstraint("recorded_at", name=op.f("uq_batch_recorded_at")),
    )
    op.create_table(
        "closed_month",
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("closed_on", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("month", name=op.f("pk_closed_month")),
    )
    op.create_table(
        "closing",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("closed_through", sa.Date(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_closing_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_closing")),
    )
    op.create_table(
        "company",
        sa.Column("uscc", TEXT, nullable=False),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("barred", sa.Boolean(), nullable=False),
        sa.Column("readmission_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("changed_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint("length(uscc) = 18", name=op.f("ck_company_uscc_length")),
        sa.PrimaryKeyConstraint("uscc", name=op.f("pk_company")),
    )
    op.create_table(
        "contract",
        sa.Column("seller_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("buyer_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", TEXT, nullable=False),
        sa.Column("sha256", TEXT, nullable=False),
        sa.Column("trade_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("seller_id", "buyer_id", "number", "sha256", name=op.f("pk_contract")),
    )
    op.create_table(
        "entry",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("trade_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint(
            "kind IN ('contract', 'termination', 'reversal', 'contract_and_termination')",
            name=op.f("ck_entry_kind_known"),
        ),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_entry")),
    )
    op.create_index(op.f("ix_entry_trade_id"), "entry", ["trade_id"], unique=False)
    op.create_table(
        "event",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("leaf", TEXT, nullable=False),
        sa.Column("leaf_sha256", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("position > 0", name=op.f("ck_event_position_positive")),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_event")),
    )
    op.create_table(
        "head",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("contracted_gross", sa.BigInteger(), nullable=False),
        sa.Column("contracted_reversed", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_head_only_one")),
        sa.CheckConstraint("position > 0", name=op.f("ck_head_position_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_head")),
    )
    op.create_table(
        "idempotency",
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("request_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("answer", TEXT, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("holder", "key", name=op.f("pk_idempotency")),
    )
    op.create_table(
        "office",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("operator_keys", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_office_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_office")),
    )
    op.create_table(
        "party_counter",
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("events", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("member_id", name=op.f("pk_party_counter")),
    )
    op.create_table(
        "party_event",
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("member_id", "number", name=op.f("pk_party_event")),
        sa.UniqueConstraint("position", "member_id", name=op.f("uq_party_event_position_member_id")),
    )
    op.create_table(
        "person",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("organisation", TEXT, nullable=False),
        sa.Column("name_commitment", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=True),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("(name IS NULL) = (salt IS NULL)", name=op.f("ck_person_erased_together")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
        sa.UniqueConstraint("organisation", "name", name=op.f("uq_person_organisation_name")),
    )
    op.create_table(
        "rollup",
        sa.Column("measure", TEXT, nullable=False),
        sa.Column("dimension", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("effective_on", sa.Date(), nullable=False),
        sa.Column("recorded_on", sa.Date(), nullable=False),
        sa.Column("gross", sa.BigInteger(), nullable=False),
        sa.Column("reversed", sa.BigInteger(), nullable=False),
        sa.Column("net_excluding_vat", sa.BigInteger(), nullable=False),
        sa.Column("trades", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint(
            "dimension IN ('total', 'venue', 'related', 'cube', 'buyer', 'seller', 'product')",
            name=op.f("ck_rollup_dimension_known"),
        ),
        sa.CheckConstraint("measure IN ('contracted')", name=op.f("ck_rollup_measure_known")),
        sa.PrimaryKeyConstraint("measure", "dimension", "value", "effective_on", "recorded_on", name=op.f("pk_rollup")),
    )
    op.create_table(
        "trade",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("mode", TEXT, nullable=False),
        sa.Column("venue", TEXT, nullable=False),
        sa.Column("proposer", TEXT, nullable=False),
        sa.Column("buyer_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seller_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("listing_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("product_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("purpose", TEXT, nullable=False),
        sa.Column("quantity", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("contract_number", TEXT, nullable=False),
        sa.Column("contract_sha256", TEXT, nullable=False),
        sa.Column("net", sa.BigInteger(), nullable=False),
        sa.Column("vat", sa.BigInteger(), nullable=False),
        sa.Column("gross", sa.BigInteger(), nullable=False),
        sa.Column("delivery_terms", TEXT, nullable=True),
        sa.Column("acceptance_window_days", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("buyer_ref", TEXT, nullable=True),
        sa.Column("seller_ref", TEXT, nullable=True),
        sa.Column("evidence", TEXT, nullable=False),
        sa.Column("proposed_on", sa.Date(), nullable=False),
        sa.Column("effective_on", sa.Date(), nullable=True),
        sa.Column("received_on", sa.Date(), nullable=True),
        sa.Column("ended_on", sa.Date(), nullable=True),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.Column("sector", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("region", TEXT, nullable=False),
        sa.Column("related", sa.Boolean(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("termination_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("reversal_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("changed_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint(
            "effective_on IS NOT NULL OR state IN ('proposed', 'confirmed', 'cancelled')",
            name=op.f("ck_trade_effective_once_contracted_or_filed"),
        ),
        sa.CheckConstraint(
            "kind IN ('dataset', 'api', 'report', 'application', 'model', 'service', 'compute')",
            name=op.f("ck_trade_kind_known"),
        ),
        sa.CheckConstraint("mode IN ('listed', 'negotiated', 'auction')", name=op.f("ck_trade_mode_known")),
        sa.CheckConstraint("proposer IN ('buyer', 'seller', 'exchange')", name=op.f("ck_trade_proposer_known")),
        sa.CheckConstraint(
            "sector IN ('government', 'finance', 'manufacturing', 'transport', 'health', 'energy', 'culture', 'agriculture', 'other')",
            name=op.f("ck_trade_sector_known"),
        ),
        sa.CheckConstraint(
            "state IN ('proposed', 'confirmed', 'filed', 'contracted', 'cancelled', 'rejected', 'terminated', 'reversed')",
            name=op.f("ck_trade_state_known"),
        ),
        sa.CheckConstraint("venue IN ('on_exchange', 'off_exchange_filed')", name=op.f("ck_trade_venue_known")),
        sa.CheckConstraint(
            "acceptance_window_days BETWEEN 0 AND 3650", name=op.f("ck_trade_acceptance_window_within_limit")
        ),
        sa.CheckConstraint("buyer_id <> seller_id", name=op.f("ck_trade_two_parties")),
        sa.CheckConstraint("gross <= 100000000000000", name=op.f("ck_trade_gross_within_limit")),
        sa.CheckConstraint("net > 0 AND vat >= 0 AND net + vat = gross", name=op.f("ck_trade_amounts_add_up")),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_trade_quantity_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trade")),
    )
    op.create_index(op.f("ix_trade_buyer_id_id"), "trade", ["buyer_id", "id"], unique=False)
    op.create_index(op.f("ix_trade_seller_id_id"), "trade", ["seller_id", "id"], unique=False)
    op.create_index(op.f("ix_trade_state_id"), "trade", ["state", "id"], unique=False)
    op.create_table(
        "volume_entry",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("measure", TEXT, nullable=False),
        sa.Column("movement", TEXT, nullable=False),
        sa.Column("trade_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("buyer_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seller_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("product_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("effective_on", sa.Date(), nullable=False),
        sa.Column("recorded_on", sa.Date(), nullable=False),
        sa.Column("gross", sa.BigInteger(), nullable=False),
        sa.Column("net_excluding_vat", sa.BigInteger(), nullable=False),
        sa.Column("sector", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("region", TEXT, nullable=False),
        sa.Column("venue", TEXT, nullable=False),
        sa.Column("mode", TEXT, nullable=False),
        sa.Column("related", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "(movement = 'counted') = (gross > 0) AND gross <> 0", name=op.f("ck_volume_entry_sign_by_movement")
        ),
        sa.CheckConstraint("measure IN ('contracted')", name=op.f("ck_volume_entry_measure_known")),
        sa.CheckConstraint(
            "movement IN ('counted', 'terminated', 'reversed')", name=op.f("ck_volume_entry_movement_known")
        ),
        sa.PrimaryKeyConstraint("position", "number", name=op.f("pk_volume_entry")),
    )
    op.create_index(
        op.f("ix_volume_entry_buyer_id_effective_on_position"),
        "volume_entry",
        ["buyer_id", "effective_on", "position"],
        unique=False,
    )
    op.create_index(
        op.f("ix_volume_entry_recorded_on_position"), "volume_entry", ["recorded_on", "position"], unique=False
    )
    op.create_index(
        op.f("ix_volume_entry_seller_id_effective_on_position"),
        "volume_entry",
        ["seller_id", "effective_on", "position"],
        unique=False,
    )
    op.create_index(op.f("ix_volume_entry_trade_id"), "volume_entry", ["trade_id"], unique=False)
    op.create_table(
        "api_key",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("secret_sha256", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("uscc", TEXT, nullable=True),
        sa.Column("person_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.CheckConstraint("(role = 'member') = (uscc IS NOT NULL)", name=op.f("ck_api_key_members_have_a_company")),
        sa.CheckConstraint(
            "role IN ('member', 'operator', 'auditor', 'regulator')", name=op.f("ck_api_key_role_known")
        ),
        sa.CheckConstraint("state IN ('active', 'revoked')", name=op.f("ck_api_key_state_known")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_api_key_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_api_key_secret_sha256")),
    )
    op.create_table(
        "member",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("uscc", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("legal_name", TEXT, nullable=False),
        sa.Column("short_name", TEXT, nullable=False),
        sa.Column("address", TEXT, nullable=False),
        sa.Column("region_code", TEXT, nullable=False),
        sa.Column("industry_code", TEXT, nullable=False),
        sa.Column("roles", TEXT, nullable=False),
        sa.Column("group_parent_uscc", TEXT, nullable=True),
        sa.Column("evidence", TEXT, nullable=False),
        sa.Column("applied_on", sa.Date(), nullable=False),
        sa.Column("changed_on", sa.Date(), nullable=False),
        sa.Column("open_trades", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("expulsion_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("changed_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint(
            "state IN ('submitted', 'under_review', 'correction_requested', 'active', 'suspended', 'rejected', 'withdrawn', 'expelled')",
            name=op.f("ck_member_state_known"),
        ),
        sa.CheckConstraint("open_trades >= 0", name=op.f("ck_member_open_trades_not_negative")),
        sa.ForeignKeyConstraint(["uscc"], ["company.uscc"], name=op.f("fk_member_uscc")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_member")),
    )
    op.create_index(op.f("ix_member_state_id"), "member", ["state", "id"], unique=False)
    op.create_index(op.f("ix_member_uscc"), "member", ["uscc"], unique=False)
    op.create_table(
        "proposal",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("effective_on", sa.Date(), nullable=True),
        sa.Column("proposed_on", sa.Date(), nullable=False),
        sa.Column("proposed_by", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("proposing_member_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("approved_by", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("approved_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.CheckConstraint(
            "kind IN ('reversal', 'termination', 'expulsion', 'readmission')", name=op.f("ck_proposal_kind_known")
        ),
        sa.CheckConstraint("state IN ('open', 'approved')", name=op.f("ck_proposal_state_known")),
        sa.ForeignKeyConstraint(["proposed_by"], ["person.id"], name=op.f("fk_proposal_proposed_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposal")),
    )
    op.create_table(
        "transfer",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("debit_account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("credit_account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("effective_on", sa.Date(), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_transfer_amount_positive")),
        sa.CheckConstraint("debit_account_id <> credit_account_id", name=op.f("ck_transfer_two_accounts")),
        sa.ForeignKeyConstraint(["position"], ["entry.position"], name=op.f("fk_transfer_position")),
        sa.PrimaryKeyConstraint("position", "number", name=op.f("pk_transfer")),
    )
    op.create_table(
        "data_product",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("owner_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("versions", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("current_listing_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("changed_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint(
            "kind IN ('dataset', 'api', 'report', 'application', 'model', 'service', 'compute')",
            name=op.f("ck_data_product_kind_known"),
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["member.id"], name=op.f("fk_data_product_owner_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_product")),
        sa.UniqueConstraint("owner_id", "code", name=op.f("uq_data_product_owner_id_code")),
    )
    op.create_table(
        "member_history",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fact", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("effective_on", sa.Date(), nullable=False),
        sa.CheckConstraint("fact IN ('state', 'region', 'group', 'name')", name=op.f("ck_member_history_fact_known")),
        sa.ForeignKeyConstraint(["member_id"], ["member.id"], name=op.f("fk_member_history_member_id")),
        sa.PrimaryKeyConstraint("position", "number", name=op.f("pk_member_history")),
    )
    op.create_index(
        op.f("ix_member_history_fact_effective_on"), "member_history", ["fact", "effective_on"], unique=False
    )
    op.create_index(
        op.f("ix_member_history_member_id_position_number"),
        "member_history",
        ["member_id", "position", "number"],
        unique=False,
    )
    op.create_table(
        "personal_datum",
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fact", TEXT, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("commitment", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=True),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("fact IN ('legal_representative', 'contact')", name=op.f("ck_personal_datum_fact_known")),
        sa.CheckConstraint("(value IS NULL) = (salt IS NULL)", name=op.f("ck_personal_datum_erased_together")),
        sa.ForeignKeyConstraint(["member_id"], ["member.id"], name=op.f("fk_personal_datum_member_id")),
        sa.PrimaryKeyConstraint("member_id", "fact", "position", name=op.f("pk_personal_datum")),
    )
    op.create_table(
        "product_version",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("product_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("title", TEXT, nullable=False),
        sa.Column("abstract", TEXT, nullable=False),
        sa.Column("sector", TEXT, nullable=False),
        sa.Column("scenarios", TEXT, nullable=False),
        sa.Column("source_type", TEXT, nullable=False),
        sa.Column("personal_information", sa.Boolean(), nullable=False),
        sa.Column("legal_basis", TEXT, nullable=True),
        sa.Column("grade", TEXT, nullable=False),
        sa.Column("coverage", TEXT, nullable=False),
        sa.Column("record_count", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("update_frequency", TEXT, nullable=False),
        sa.Column("delivery_modes", TEXT, nullable=False),
        sa.Column("sample_sha256", TEXT, nullable=True),
        sa.Column("rights", TEXT, nullable=False),
        sa.Column("rights_expire_on", sa.Date(), nullable=True),
        sa.Column("ip_registration", TEXT, nullable=True),
        sa.CheckConstraint("grade <> 'core'", name=op.f("ck_product_version_core_is_never_listed")),
        sa.CheckConstraint("grade IN ('core', 'important', 'general')", name=op.f("ck_product_version_grade_known")),
        sa.CheckConstraint(
            "legal_basis IN ('consent', 'contract', 'public_interest', 'anonymised')",
            name=op.f("ck_product_version_legal_basis_known"),
        ),
        sa.CheckConstraint(
            "sector IN ('government', 'finance', 'manufacturing', 'transport', 'health', 'energy', 'culture', 'agriculture', 'other')",
            name=op.f("ck_product_version_sector_known"),
        ),
        sa.CheckConstraint(
            "source_type IN ('first_party', 'public', 'licensed', 'derived')",
            name=op.f("ck_product_version_source_type_known"),
        ),
        sa.CheckConstraint(
            "update_frequency IN ('realtime', 'daily', 'weekly', 'monthly', 'quarterly', 'yearly', 'once')",
            name=op.f("ck_product_version_update_frequency_known"),
        ),
        sa.CheckConstraint(
            "(legal_basis IS NOT NULL) = personal_information",
            name=op.f("ck_product_version_personal_information_has_a_basis"),
        ),
        sa.CheckConstraint("record_count >= 0", name=op.f("ck_product_version_record_count_not_negative")),
        sa.ForeignKeyConstraint(["product_id"], ["data_product.id"], name=op.f("fk_product_version_product_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_product_version")),
        sa.UniqueConstraint("product_id", "number", name=op.f("uq_product_version_product_id_number")),
    )
    op.create_table(
        "assessment",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("assessor_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("report_sha256", TEXT, nullable=False),
        sa.Column("assessed_on", sa.Date(), nullable=False),
        sa.CheckConstraint("kind IN ('compliance', 'quality', 'security')", name=op.f("ck_assessment_kind_known")),
        sa.ForeignKeyConstraint(["assessor_id"], ["member.id"], name=op.f("fk_assessment_assessor_id")),
        sa.ForeignKeyConstraint(["version_id"], ["product_version.id"], name=op.f("fk_assessment_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assessment")),
    )
    op.create_index(op.f("ix_assessment_version_id"), "assessment", ["version_id"], unique=False)
    op.create_table(
        "listing",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("product_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("owner_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("price_model", TEXT, nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=True),
        sa.Column("vat_rate_bp", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("visibility", TEXT, nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=True),
        sa.Column("changed_on", sa.Date(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint(
            "(price IS NULL) = (price_model = 'negotiable')", name=op.f("ck_listing_negotiable_has_no_price")
        ),
        sa.CheckConstraint(
            "price_model IN ('fixed', 'per_call', 'subscription', 'negotiable')",
            name=op.f("ck_listing_price_model_known"),
        ),
        sa.CheckConstraint(
            "state IN ('draft', 'in_review', 'listed', 'suspended', 'rejected', 'delisted')",
            name=op.f("ck_listing_state_known"),
        ),
        sa.CheckConstraint("visibility IN ('public', 'members')", name=op.f("ck_listing_visibility_known")),
        sa.CheckConstraint("price > 0", name=op.f("ck_listing_price_positive")),
        sa.CheckConstraint("vat_rate_bp BETWEEN 0 AND 10000", name=op.f("ck_listing_vat_rate_in_basis_points")),
        sa.ForeignKeyConstraint(["owner_id"], ["member.id"], name=op.f("fk_listing_owner_id")),
        sa.ForeignKeyConstraint(["product_id"], ["data_product.id"], name=op.f("fk_listing_product_id")),
        sa.ForeignKeyConstraint(["version_id"], ["product_version.id"], name=op.f("fk_listing_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_listing")),
    )
    op.create_index(op.f("ix_listing_owner_id_id"), "listing", ["owner_id", "id"], unique=False)
    op.create_index(op.f("ix_listing_state_id"), "listing", ["state", "id"], unique=False)
    op.create_index(op.f("ix_listing_version_id"), "listing", ["version_id"], unique=False)
    op.create_table(
        "listing_history",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("listing_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("effective_on", sa.Date(), nullable=False),
        sa.CheckConstraint(
            "state IN ('draft', 'in_review', 'listed', 'suspended', 'rejected', 'delisted')",
            name=op.f("ck_listing_history_state_known"),
        ),
        sa.ForeignKeyConstraint(["listing_id"], ["listing.id"], name=op.f("fk_listing_history_listing_id")),
        sa.PrimaryKeyConstraint("position", "number", name=op.f("pk_listing_history")),
    )
    op.create_index(op.f("ix_listing_history_effective_on"), "listing_history", ["effective_on"], unique=False)
    op.create_index(
        op.f("ix_listing_history_listing_id_position_number"),
        "listing_history",
        ["listing_id", "position", "number"],
        unique=False,
    )
    keep_posted()
    begin()


def downgrade() -> None:
    """Refuse: below the first schema there is nothing, and posted rows are never dropped."""
    raise NotImplementedError("The first schema cannot be taken away: that would drop posted rows.")


def keep_posted() -> None:
    """Refuse UPDATE and DELETE of posted rows, and changes of what a contracted trade says."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(POSTGRES_REFUSAL)
        for table in POSTED:
            op.execute(
                f"CREATE TRIGGER {table}_is_posted BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('posted rows stay as they are')"
            )
        differ = " OR ".join(f"OLD.{name} IS DISTINCT FROM NEW.{name}" for name in CONTRACT_FACTS)
        op.execute(
            f"CREATE TRIGGER trade_is_frozen BEFORE UPDATE ON trade FOR EACH ROW WHEN ({FROZEN} AND ({differ})) "
            "EXECUTE FUNCTION refuse_change('a contracted trade says what it says')"
        )
        op.execute(
            "CREATE TRIGGER trade_is_kept BEFORE DELETE OR TRUNCATE ON trade "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('trades are never deleted')"
        )
        return
    for table in POSTED:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{verb} on {table}: posted rows stay as they are'); END"
            )
    differ = " OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in CONTRACT_FACTS)
    op.execute(
        f"CREATE TRIGGER trade_is_frozen BEFORE UPDATE ON trade WHEN {FROZEN} AND ({differ}) "
        "BEGIN SELECT RAISE(ABORT, 'UPDATE on trade: a contracted trade says what it says'); END"
    )
    op.execute(
        "CREATE TRIGGER trade_is_kept BEFORE DELETE ON trade "
        "BEGIN SELECT RAISE(ABORT, 'DELETE on trade: trades are never deleted'); END"
    )


def begin() -> None:
    """Write the genesis event, the same bytes in every exchange, and the head and batch that go with it."""
    zero = {"recorded_at": datetime(1970, 1, 1, tzinfo=UTC), "contracted_gross": 0, "contracted_reversed": 0}
    instant = sa.column("recorded_at", sa.DateTime(timezone=True))
    totals: tuple[sa.ColumnClause[int], ...] = (sa.column("contracted_gross"), sa.column("contracted_reversed"))
    event = sa.table(
        "event", sa.column("position"), sa.column("kind"), sa.column("leaf"), sa.column("leaf_sha256", sa.LargeBinary)
    )
    op.bulk_insert(
        event,
        [{"position": 1, "kind": "genesis", "leaf": GENESIS_LEAF, "leaf_sha256": bytes.fromhex(GENESIS_LEAF_SHA256)}],
    )
    op.bulk_insert(
        sa.table("batch", sa.column("first"), sa.column("last"), instant, *totals), [{"first": 1, "last": 1, **zero}]
    )
    instant, totals = (
        sa.column("recorded_at", sa.DateTime(timezone=True)),
        (sa.column("contracted_gross"), sa.column("contracted_reversed")),
    )
    op.bulk_insert(
        sa.table("head", sa.column("id"), sa.column("position"), instant, *totals), [{"id": 1, "position": 1, **zero}]
    )
