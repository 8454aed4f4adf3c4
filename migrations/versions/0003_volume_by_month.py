"""Volume by month: monthly rollups of all dimensions, days only of those with few values; indexes that nothing reads are dropped."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
DIMENSIONS = ("total", "venue", "related", "cube", "buyer", "seller", "product")
BY_MONTH_ONLY = {"buyer": "buyer_id", "seller": "seller_id", "product": "product_id"}
FIGURES = ("gross", "reversed", "net_excluding_vat", "trades")
UNREAD_INDEXES = (
    ("entry", "trade_id"),
    ("volume_entry", "recorded_on", "position"),
    ("volume_entry", "trade_id"),
)

STORAGE = {
    "account": "fillfactor = 50",
    "head": "fillfactor = 10",
    "member": "fillfactor = 80",
    "monthly_rollup": "fillfactor = 50",
    "party_counter": "fillfactor = 50",
    "rollup": "fillfactor = 80",
}
"""Room on each page for new versions of rows that change often: no index is touched then. Read by PostgreSQL alone."""
SWEPT = ("account", "head", "monthly_rollup", "party_counter", "rollup")
SWEEP = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0"
"""What changes with each batch is swept early, however large it grows."""
SWEEP_NAMES = "autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay"


def upgrade() -> None:
    """Make the monthly rollups from the days, and drop the days of the dimensions that are kept by month only."""
    names = ", ".join(f"'{name}'" for name in DIMENSIONS)
    op.create_table(
        "monthly_rollup",
        sa.Column("measure", TEXT, nullable=False),
        sa.Column("dimension", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("effective_in", sa.Date(), nullable=False),
        sa.Column("recorded_in", sa.Date(), nullable=False),
        sa.Column("gross", sa.BigInteger(), nullable=False),
        sa.Column("reversed", sa.BigInteger(), nullable=False),
        sa.Column("net_excluding_vat", sa.BigInteger(), nullable=False),
        sa.Column("trades", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint(f"dimension IN ({names})", name=op.f("ck_monthly_rollup_dimension_known")),
        sa.CheckConstraint("measure IN ('contracted')", name=op.f("ck_monthly_rollup_measure_known")),
        sa.PrimaryKeyConstraint(
            "measure", "dimension", "value", "effective_in", "recorded_in", name=op.f("pk_monthly_rollup")
        ),
    )
    month = "CAST(date_trunc('month', {}) AS DATE)" if _postgres() else "date({}, 'start of month')"
    months = f"{month.format('effective_on')}, {month.format('recorded_on')}"
    sums = ", ".join(f"sum({name})" for name in FIGURES)
    if _postgres():
        for table, setting in STORAGE.items():
            op.execute(f"ALTER TABLE {table} SET ({setting})")
        for table in SWEPT:
            op.execute(f"ALTER TABLE {table} SET ({SWEEP})")
    op.execute(
        f"INSERT INTO monthly_rollup SELECT measure, dimension, value, {months}, {sums} FROM rollup "
        f"GROUP BY measure, dimension, value, {months}"
    )
    op.execute("DELETE FROM rollup WHERE dimension IN ({})".format(", ".join(f"'{name}'" for name in BY_MONTH_ONLY)))
    for day in ("effective_on", "recorded_on"):
        op.create_index(op.f(f"ix_rollup_measure_dimension_{day}"), "rollup", ["measure", "dimension", day])
    for table, *columns in UNREAD_INDEXES:
        op.drop_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table)
    _key_party_events(by_position=False)


def downgrade() -> None:
    """Give every dimension its days again, from the entries."""
    _key_party_events(by_position=True)
    for table, *columns in UNREAD_INDEXES:
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, columns)
    for day in ("effective_on", "recorded_on"):
        op.drop_index(op.f(f"ix_rollup_measure_dimension_{day}"), "rollup")
    for dimension, column in BY_MONTH_ONLY.items():
        op.execute(
            f"INSERT INTO rollup SELECT measure, '{dimension}', CAST({column} AS TEXT), effective_on, recorded_on, "
            "sum(CASE WHEN gross > 0 THEN gross ELSE 0 END), sum(CASE WHEN gross < 0 THEN -gross ELSE 0 END), "
            "sum(net_excluding_vat), sum(CASE WHEN gross > 0 THEN 1 ELSE -1 END) "
            f"FROM volume_entry GROUP BY measure, {column}, effective_on, recorded_on"
        )
    op.drop_table("monthly_rollup")
    if _postgres():
        for table in STORAGE.keys() - {"monthly_rollup"}:
            op.execute(f"ALTER TABLE {table} RESET (fillfactor)")
        for table in SWEPT:
            if table != "monthly_rollup":
                op.execute(f"ALTER TABLE {table} RESET ({SWEEP_NAMES})")


def _postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _key_party_events(*, by_position: bool) -> None:
    """Let one index of a party's positions do the work of two, or two of them again."""
    index, unique = op.f("ix_party_event_member_id_position"), op.f("uq_party_event_position_member_id")
    constraint = sa.UniqueConstraint("position", "member_id", name=unique)
    op.drop_index(index, "party_event")
    if _postgres():
        if by_position:
            op.create_unique_constraint(unique, "party_event", ["position", "member_id"])
        else:
            op.drop_constraint(unique, "party_event")
    else:
        # SQLite cannot drop a constraint: the table is made anew, and its guards with it.
        op.execute("ALTER TABLE party_event RENAME TO party_event_before")
        for verb in ("update", "delete"):
            op.execute(f"DROP TRIGGER party_event_refuses_{verb}")
        op.create_table(
            "party_event",
            sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("nonce", sa.LargeBinary(), nullable=False),
            sa.PrimaryKeyConstraint("member_id", "number", name=op.f("pk_party_event")),
            *([constraint] if by_position else []),
        )
        op.execute("INSERT INTO party_event SELECT member_id, number, position, nonce FROM party_event_before")
        op.execute("DROP TABLE party_event_before")
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER party_event_refuses_{verb.lower()} BEFORE {verb} ON party_event "
                f"BEGIN SELECT RAISE(ABORT, '{verb} on party_event: posted rows stay as they are'); END"
            )
    op.create_index(index, "party_event", ["member_id", "position"], unique=not by_position)
