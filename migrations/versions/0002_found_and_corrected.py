"""Found and corrected: events by subject and person, members by name, trades by what the parties call them; typos mended in the open."""

import unicodedata
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

INDEXES = (
    ("correction", "subject", "position"),
    ("data_product", "owner_id", "id"),
    ("event", "subject", "position"),
    ("event", "person_id", "position"),
    ("member_term", "member_id"),
    ("party_event", "member_id", "position"),
    ("proposal", "state", "id"),
    ("trade", "contract_number", "id"),
    ("trade", "effective_on", "id"),
    ("trade", "mode", "id"),
    ("trade", "venue", "id"),
)
SPARSE_INDEXES = (
    ("company", "readmission_id"),
    ("member", "expulsion_id"),
    ("trade", "buyer_ref", "id"),
    ("trade", "seller_ref", "id"),
    ("trade", "termination_id"),
    ("trade", "reversal_id"),
)
"""Only of rows whose first column is not null."""

FROZEN = "OLD.state IN ('contracted', 'terminated', 'reversed')"
CORRECTABLE = ("purpose", "contract_number", "delivery_terms")
"""What a contracted trade says in words: a typo in it can be corrected, by a row that says so."""
CONTRACT_FACTS = (
    "mode",
    "venue",
    "proposer",
    "buyer_id",
    "seller_id",
    "listing_id",
    "product_id",
    "version_id",
    "quantity",
    "contract_sha256",
    "net",
    "vat",
    "gross",
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
"""What stays for good."""

POSTGRES_REFUSAL = """
CREATE FUNCTION refuse_uncorrected() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE corrected boolean;
BEGIN
  EXECUTE format(
    'SELECT EXISTS (SELECT 1 FROM %I.correction WHERE subject = $1 AND field = $2 AND position > $3 AND position <= $4)', TG_TABLE_SCHEMA
  ) INTO corrected USING 'trd_' || lpad(NEW.id::text, 12, '0'), TG_ARGV[0], OLD.changed_at, NEW.changed_at;
  IF corrected THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION '% on %: a contracted trade says what it says', TG_OP, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$
"""

ANSWERS = {
    "postgresql": (
        "SELECT done->>'position' AS position, done->>'id' AS subject FROM (SELECT jsonb_array_elements("
        "coalesce(answer::jsonb->'data', jsonb_build_array(answer::jsonb))) AS done FROM idempotency) answers"
    ),
    "sqlite": (
        "SELECT json_extract(done.value, '$.position') AS position, json_extract(done.value, '$.id') AS subject FROM idempotency i, "
        "json_each(coalesce(json_extract(i.answer, '$.data'), json_array(json(i.answer)))) done"
    ),
}
"""What each command answered: the id of its subject among it."""
PERSON = {
    "postgresql": "CASE jsonb_typeof(leaf::jsonb->'actor') WHEN 'number' THEN (leaf::jsonb->>'actor')::bigint END",
    "sqlite": "CASE json_type(leaf, '$.actor') WHEN 'integer' THEN json_extract(leaf, '$.actor') END",
}


class PostedRowsWouldBeLost(Exception):  # noqa: N818 - reads as what it is
    """The step back would drop rows that are kept for good."""


def upgrade() -> None:
    """Make the new tables, columns and indexes, and fill them from what is recorded."""
    op.create_table(
        "correction",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("field", TEXT, nullable=False),
        sa.Column("before", TEXT, nullable=True),
        sa.Column("after", TEXT, nullable=True),
        sa.Column("reason", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_correction")),
    )
    op.create_table(
        "member_term",
        sa.Column("term", TEXT, nullable=False),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["member_id"], ["member.id"], name=op.f("fk_member_term_member_id")),
        sa.PrimaryKeyConstraint("term", "member_id", name=op.f("pk_member_term")),
    )
    op.add_column("event", sa.Column("subject", TEXT, nullable=True))
    op.add_column("event", sa.Column("person_id", sa.BigInteger(), autoincrement=False, nullable=True))
    _tell_events()
    _name_members()
    for table, *columns in INDEXES:
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, columns)
    for table, *columns in SPARSE_INDEXES:
        held = sa.text(f"{columns[0]} IS NOT NULL")
        op.create_index(
            op.f(f"ix_{table}_{'_'.join(columns)}"), table, columns, postgresql_where=held, sqlite_where=held
        )
    _keep()


def downgrade() -> None:
    """Take the tables and columns away again. Raises PostedRowsWouldBeLost where corrections are recorded."""
    corrections = op.get_bind().execute(sa.text("SELECT count(*) FROM correction")).scalar_one()
    if corrections:
        raise PostedRowsWouldBeLost(f"{corrections} corrections are recorded, and would be dropped.")
    _freeze(CONTRACT_FACTS + CORRECTABLE)
    for table, *columns in (*INDEXES, *SPARSE_INDEXES):
        op.drop_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table)
    op.drop_column("event", "person_id")
    op.drop_column("event", "subject")
    op.drop_table("member_term")
    op.drop_table("correction")


def _postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _tell_events() -> None:
    """Fill the new columns of events, which are posted: their guard steps aside for this transaction."""
    dialect = op.get_bind().dialect.name
    if _postgres():
        op.execute("ALTER TABLE event DISABLE TRIGGER event_is_posted")
    else:
        op.execute("DROP TRIGGER event_refuses_update")
    op.execute(f"UPDATE event SET person_id = {PERSON[dialect]}")
    op.execute(
        f"UPDATE event SET subject = told.subject FROM ({ANSWERS[dialect]}) told "
        f"WHERE event.position = CAST(told.position AS BIGINT) AND told.subject IS NOT NULL"
    )
    if _postgres():
        op.execute("ALTER TABLE event ENABLE TRIGGER event_is_posted")
    else:
        _refuse_sqlite("event", "UPDATE")


def _name_members() -> None:
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT id, legal_name, short_name FROM member ORDER BY id")).all()
    old = connection.execute(
        sa.text("SELECT member_id, value FROM member_history WHERE fact = 'name' ORDER BY position, number")
    ).all()
    named: dict[int, set[str]] = {number: set(_terms(legal, short)) for number, legal, short in rows}
    for number, name in old:
        named[number].update(_terms(name))
    table = sa.table("member_term", sa.column("term"), sa.column("member_id"))
    op.bulk_insert(
        table, [{"term": term, "member_id": number} for number, terms in named.items() for term in sorted(terms)]
    )


def _terms(*names: str) -> Iterator[str]:
    # Every program that looks which revision is the newest reads this file: only who upgrades needs a dictionary of 60 MB.
    from pypinyin import Style, lazy_pinyin

    for name in names:
        for written in (name, "".join(lazy_pinyin(name, style=Style.FIRST_LETTER))):
            form = "".join(unicodedata.normalize("NFKC", written).casefold().split())
            yield from (form[start : start + 24] for start in range(len(form)))


def _refuse_sqlite(table: str, verb: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_refuses_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{verb} on {table}: posted rows stay as they are'); END"
    )


def _keep() -> None:
    """Guard corrections, and let them alone change what a contracted trade says in words."""
    _freeze(CONTRACT_FACTS)
    if _postgres():
        op.execute(
            "CREATE TRIGGER correction_is_posted BEFORE UPDATE OR DELETE OR TRUNCATE ON correction "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('posted rows stay as they are')"
        )
        op.execute(POSTGRES_REFUSAL)
        for name in CORRECTABLE:
            op.execute(
                f"CREATE TRIGGER trade_{name}_is_frozen BEFORE UPDATE ON trade FOR EACH ROW "
                f"WHEN ({FROZEN} AND OLD.{name} IS DISTINCT FROM NEW.{name}) EXECUTE FUNCTION refuse_uncorrected('{name}')"
            )
        return
    for verb in ("UPDATE", "DELETE"):
        _refuse_sqlite("correction", verb)
    for name in CORRECTABLE:
        op.execute(
            f"CREATE TRIGGER trade_{name}_is_frozen BEFORE UPDATE ON trade WHEN {FROZEN} AND OLD.{name} IS NOT NEW.{name} "
            "AND NOT EXISTS (SELECT 1 FROM correction WHERE subject = printf('trd_%012d', NEW.id) "
            f"AND field = '{name}' AND position > OLD.changed_at AND position <= NEW.changed_at) "
            "BEGIN SELECT RAISE(ABORT, 'UPDATE on trade: a contracted trade says what it says'); END"
        )


def _freeze(facts: tuple[str, ...]) -> None:
    """Let exactly these facts of a contracted trade be refused any change, whatever was frozen before."""
    there = set(CORRECTABLE) - set(facts)
    if _postgres():
        op.execute("DROP TRIGGER trade_is_frozen ON trade")
        if not there:
            for name in CORRECTABLE:
                op.execute(f"DROP TRIGGER trade_{name}_is_frozen ON trade")
            op.execute("DROP FUNCTION refuse_uncorrected()")
        differ = " OR ".join(f"OLD.{name} IS DISTINCT FROM NEW.{name}" for name in facts)
        op.execute(
            f"CREATE TRIGGER trade_is_frozen BEFORE UPDATE ON trade FOR EACH ROW WHEN ({FROZEN} AND ({differ})) "
            "EXECUTE FUNCTION refuse_change('a contracted trade says what it says')"
        )
        return
    op.execute("DROP TRIGGER trade_is_frozen")
    if not there:
        for name in CORRECTABLE:
            op.execute(f"DROP TRIGGER trade_{name}_is_frozen")
    differ = " OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in facts)
    op.execute(
        f"CREATE TRIGGER trade_is_frozen BEFORE UPDATE ON trade WHEN {FROZEN} AND ({differ}) "
        "BEGIN SELECT RAISE(ABORT, 'UPDATE on trade: a contracted trade says what it says'); END"
    )
