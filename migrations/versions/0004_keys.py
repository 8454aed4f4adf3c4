"""Keys have a name, scopes and an end, and it is noted when they were used last."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INDEXES = (("uscc", "id"), ("person_id",))


def upgrade() -> None:
    """Make the tables beside the keys, and find keys by company and by person."""
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
    for columns in INDEXES:
        op.create_index(op.f(f"ix_api_key_{'_'.join(columns)}"), "api_key", list(columns))


def downgrade() -> None:
    """Take them away where no key is restricted: without its terms it would open more, or longer."""
    restricted = op.get_bind().execute(sa.text("SELECT count(*) FROM key_terms")).scalar_one()
    if restricted:
        raise RuntimeError(
            f"{restricted} keys have names, scopes or an end, which would be lost. Revision 0003 has no place for them."
        )
    for columns in INDEXES:
        op.drop_index(op.f(f"ix_api_key_{'_'.join(columns)}"), "api_key")
    op.drop_table("key_use")
    op.drop_table("key_terms")
