"""What is stored of mandates."""

from datetime import date
from enum import StrEnum
from typing import ClassVar

from sqlalchemy import CheckConstraint, Index

from exchange.columns import BIG, DAY, TEXT, TEXTS, Sort, Stored, column, named, one_of
from exchange.identifiers import MandateId, MemberId


class MandateStep(StrEnum):
    """What an agent can be authorised for. What is not here, a member does itself."""

    PRODUCTS = "products"
    LISTINGS = "listings"
    TRADES_TAKE = "trades.take"
    TRADES_PROPOSE = "trades.propose"
    TRADES_FILE = "trades.file"
    TRADES_CONFIRM = "trades.confirm"
    TRADES_CONTRACT = "trades.contract"
    TRADES_CANCEL = "trades.cancel"
    TRADES_TERMINATE = "trades.terminate"


class MandateState(StrEnum):
    """Whether either side has ended it. That its last day is over is told by the day alone."""

    ACTIVE = "active"
    ENDED = "ended"


class Mandate(Stored, table=True):
    """That a member, the principal, lets another, the agent, take steps for it."""

    __table_args__ = (
        one_of("state", MandateState),
        CheckConstraint("principal_uscc <> agent_uscc", name="between_two"),
        CheckConstraint("ends_on >= granted_on", name="ends_after_it_begins"),
        Index(None, "principal_uscc", "agent_uscc", "id"),
        Index(None, "principal_uscc", "id"),
        Index(None, "agent_uscc", "id"),
    )
    sort: ClassVar = Sort.CURRENT
    lists: ClassVar = (("principal_uscc", "agent_uscc"),)

    id: MandateId = column(BIG, primary_key=True)
    principal_id: MemberId = column(BIG, foreign_key="member.id")
    principal_uscc: str = column(TEXT)
    agent_id: MemberId = column(BIG, foreign_key="member.id")
    agent_uscc: str = column(TEXT)
    steps: tuple[str, ...] = column(TEXTS)
    granted_on: date = column(DAY)
    ends_on: date = column(DAY)
    """The last business day on which it holds."""
    state: MandateState = column(named(MandateState))
    changed_at: int = column(BIG)
