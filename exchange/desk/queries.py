"""What waits, since when, and how to find a member or trade by whatever is known of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, select

from exchange.access.proposals import FRESH_DAYS
from exchange.access.tables import Proposal, ProposalKind, ProposalState
from exchange.identifiers import MemberId, Prefix, TradeId, is_uscc, read_id, written_id
from exchange.journal.tables import Batch, Event
from exchange.listings.states import ListingState
from exchange.listings.tables import Listing, ProductVersion
from exchange.members.queries import MemberFilter, first_look_alikes, list_members
from exchange.members.states import MemberState
from exchange.members.tables import Company, Member
from exchange.trades.queries import Deal, TradeFilter, list_trades
from exchange.trades.states import TradeState
from exchange.trades.tables import Trade


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that waits: what it is, what people call it, and when what it waits for became due."""

    subject: str
    label: str
    since: datetime
    looks_like: Sequence[MemberId] | None = None
    """The first members of other companies that a member looks like, to who reviews it."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A sort of thing that waits, and for whose step."""

    title: str
    title_zh: str
    waits_for: str
    select: Callable[[datetime], Any]
    """Select (number, label, position since when) of all that waits, given the instant before which proposals have lapsed."""
    prefix: Prefix
    """Of what kind is what waits."""


@dataclass(frozen=True, slots=True)
class Length:
    """How many wait in a queue, and since when the first of them does; null where none does."""

    waiting: int
    oldest: datetime | None


def _members(state: MemberState) -> Callable[[datetime], Any]:
    return lambda _: select(Member.id, Member.legal_name, Member.changed_at).where(Member.state == state)


def _filings(*, confirmed: bool) -> Callable[[datetime], Any]:
    return lambda _: select(Trade.id, Trade.contract_number, Trade.changed_at).where(
        Trade.state == TradeState.FILED, col(Trade.confirmed).is_(confirmed)
    )


def _listings(_: datetime) -> Any:
    return (
        select(Listing.id, ProductVersion.title, Listing.changed_at)
        .join(ProductVersion, col(ProductVersion.id) == Listing.version_id)
        .where(Listing.state == ListingState.IN_REVIEW)
    )


def _proposals(
    kind: ProposalKind, row: Any, row_proposal: Any, changed_at: Any, label: Any
) -> Callable[[datetime], Any]:
    """Select the proposals that can be approved still: the last thing that happened to their subject, and young enough."""

    def chosen(lapsed: datetime) -> Any:
        # Positions grow with time: what lapsed lies before the first batch since then.
        since = select(Batch.first).where(col(Batch.recorded_at) > lapsed).order_by(col(Batch.recorded_at)).limit(1)
        return (
            select(row, label, Proposal.id)
            .join(Proposal, col(Proposal.id) == row_proposal)
            .where(
                Proposal.state == ProposalState.OPEN,
                Proposal.kind == kind,
                col(Proposal.id) >= since.scalar_subquery(),
                changed_at == Proposal.id,
            )
        )

    return chosen


_OF_TRADE: Final = (Trade.id, Trade.reversal_id, Trade.changed_at, Trade.contract_number)

QUEUES: Final = {
    "applications": Queue("Applications", "入会申请", "operator: review", _members(MemberState.SUBMITTED), Prefix.MEMBER),
    "reviews": Queue(
        "Applications in review", "入会审核", "operator: admission, rejection or correction-request",
        _members(MemberState.UNDER_REVIEW), Prefix.MEMBER,
    ),
    "corrections": Queue(
        "Applications sent back", "待补正", "the company: correction",
        _members(MemberState.CORRECTION_REQUESTED), Prefix.MEMBER,
    ),
    "listings": Queue("Listings in review", "挂牌审核", "operator: approval or rejection", _listings, Prefix.LISTING),
    "filings": Queue("Filings to decide", "备案审核", "operator: review", _filings(confirmed=True), Prefix.TRADE),
    "unconfirmed-filings": Queue(
        "Filings the other party has not confirmed", "备案待确认", "the other party: confirmation",
        _filings(confirmed=False), Prefix.TRADE,
    ),
    "reversals": Queue(
        "Reversals to approve", "冲正复核", "another operator: reversal/approval",
        _proposals(ProposalKind.REVERSAL, *_OF_TRADE), Prefix.TRADE,
    ),
    "terminations": Queue(
        "Terminations the other party has not agreed to", "待同意终止", "the other party: termination/approval",
        _proposals(ProposalKind.TERMINATION, Trade.id, Trade.termination_id, Trade.changed_at, Trade.contract_number), Prefix.TRADE,
    ),
    "expulsions": Queue(
        "Expulsions to approve", "除名复核", "another operator: expulsion/approval",
        _proposals(ProposalKind.EXPULSION, Member.id, Member.expulsion_id, Member.changed_at, Member.legal_name), Prefix.MEMBER,
    ),
    "readmissions": Queue(
        "Readmissions to approve", "重新入会复核", "another operator: readmission/approval",
        _proposals(ProposalKind.READMISSION, Company.member_id, Company.readmission_id, Company.changed_at, Company.uscc), Prefix.MEMBER,
    ),
}  # fmt: skip
"""All that can wait: a new sort is one more row."""


def lengths(session: Session, now: datetime) -> dict[str, Length]:
    """Say of every queue how many wait, and since when the first."""
    found = {}
    for name, queue in QUEUES.items():
        rows = queue.select(_lapsed(now)).subquery()
        count, oldest = session.execute(select(func.count(), func.min(list(rows.c)[2])).select_from(rows)).one()
        found[name] = (count, oldest)
    instants = _recorded(session, [oldest for _, oldest in found.values() if oldest is not None])
    return {name: Length(count, instants.get(oldest)) for name, (count, oldest) in found.items()}


def waiting(
    session: Session, name: str, now: datetime, after: Sequence[Any] | None, limit: int, *, reviews: bool
) -> list[tuple[Waiting, list[int]]]:
    """Give a page of a queue, who has waited longest first, each with its place; and to who reviews members whom each looks like."""
    queue = QUEUES[name]
    rows = queue.select(_lapsed(now)).subquery()
    number, label, since = rows.c
    conditions: list[ColumnElement[bool]] = []
    if after is not None:
        conditions.append((since > after[0]) | ((since == after[0]) & (number > after[1])))
    query = select(number, label, since).where(*conditions).order_by(since, number).limit(limit)
    found = session.execute(query).all()
    instants = _recorded(session, [row[2] for row in found])
    alike = _alike(session, [row[0] for row in found]) if reviews and queue.prefix is Prefix.MEMBER else {}
    return [
        (Waiting(written_id(queue.prefix, number), label, instants[since], alike.get(number)), [since, number])
        for number, label, since in found
    ]


def _alike(session: Session, numbers: Sequence[int]) -> dict[MemberId, list[MemberId]]:
    return first_look_alikes(session, session.exec(select(Member).where(col(Member.id).in_(numbers))).all())


def _lapsed(now: datetime) -> datetime:
    return now - timedelta(days=FRESH_DAYS + 1)


def _recorded(session: Session, positions: Sequence[int]) -> dict[int | None, datetime]:
    """Give the instants of positions, by what their events say."""
    rows = session.exec(select(Event.position, Event.leaf).where(col(Event.position).in_(positions)))
    return {position: datetime.fromisoformat(orjson.loads(leaf)["recorded_at"]) for position, leaf in rows}


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to."""

    members: Sequence[Member]
    trades: Sequence[Deal]


def search(session: Session, asked: str, limit: int) -> Found:
    """Find members by uscc, id, or any part of a name or its pinyin initials; trades by id, contract number or reference."""
    if is_uscc(asked):
        return Found(
            list_members(session, None, None, limit, MemberFilter(uscc=asked)),
            list_trades(session, None, None, limit, TradeFilter(counterparty=asked)),
        )
    if (member_id := read_id(Prefix.MEMBER, asked)) is not None:
        member = session.get(Member, member_id)
        return Found([member] if member else [], [])
    if (trade_id := read_id(Prefix.TRADE, asked)) is not None:
        return Found([], list_trades(session, None, None, 1, TradeFilter(trade_id=TradeId(trade_id))))
    by_number = list_trades(session, None, None, limit, TradeFilter(contract_number=asked))
    by_reference = list_trades(session, None, None, limit, TradeFilter(external_ref=asked))
    trades = {deal.trade.id: deal for deal in (*by_number, *by_reference)}
    return Found(list_members(session, None, None, limit, MemberFilter(name=asked)), list(trades.values())[:limit])
