"""Mandates: members authorise service organisations for named steps, until a day; a person's keys are found."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INDEXES = (("principal_uscc", "agent_uscc", "id"), ("principal_uscc", "id"), ("agent_uscc", "id"))


def upgrade() -> None:
    """Make the table of mandates."""
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
    for columns in INDEXES:
        op.create_index(op.f(f"ix_mandate_{'_'.join(columns)}"), "mandate", columns)
    op.create_index(op.f("ix_api_key_person_id"), "api_key", ["person_id"])


def downgrade() -> None:
    """Refuse to drop what has been told; without mandates there is nothing to lose."""
    if op.get_bind().scalar(sa.text("SELECT count(*) FROM mandate")):
        message = "mandates have been given: their table cannot be dropped without losing them"
        raise RuntimeError(message)
    op.drop_index(op.f("ix_api_key_person_id"), "api_key")
    op.drop_table("mandate")
