"""Runs migrations on the connection that `exchange.revisions` hands over."""

from typing import Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlmodel import SQLModel

import exchange.access.tables
import exchange.agents.tables
import exchange.journal.tables
import exchange.ledger.tables
import exchange.listings.tables
import exchange.members.tables
import exchange.trades.tables
import exchange.volume.tables  # noqa: F401 - all of them fill SQLModel.metadata
from exchange.columns import Named, Texts, UtcDateTime


def render(kind: str, item: object, _: AutogenContext) -> str | Literal[False]:
    """Write our own column types as the plain ones they are stored as: an old migration never needs the program of its day."""
    if kind == "type":
        if isinstance(item, UtcDateTime):
            return "sa.DateTime(timezone=True)"
        if isinstance(item, (Named, Texts, sa.Text)):
            return "TEXT"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    compare_type=True,
    render_item=render,
)
with context.begin_transaction():
    context.run_migrations()
