"""What can be asked of trades."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, case, or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from exchange.access.tables import Proposal, ProposalKind, ProposalState
from exchange.clock import FIRST_BUSINESS_DAY
from exchange.identifiers import MemberId, TradeId
from exchange.journal.queries import Moment, present
from exchange.members.queries import first_ids, ids_of, memberships
from exchange.members.tables import Member
from exchange.money import Money
from exchange.problems import Fault, Invalid, unseen
from exchange.trades.states import TradeState
from exchange.trades.tables import Side, Trade, TradeMode, Venue
from exchange.volume.queries import NOTHING, Question, cumulative
from exchange.volume.tables import Dimension, VolumeEntry

Buyer: Final = aliased(Member, name="buyer")
Seller: Final = aliased(Member, name="seller")


SIDES: Final[dict[Side, tuple[Any, Any]]] = {
    Side.BUYER: (col(Trade.buyer_id), col(Trade.buyer_ref)),
    Side.SELLER: (col(Trade.seller_id), col(Trade.seller_ref)),
}
"""Who stands on a side, and that party's own reference."""


@dataclass(frozen=True, slots=True)
class Deal:
    """A trade with its parties."""

    trade: Trade
    buyer: Member
    seller: Member


def _deals() -> Any:  # a select of three tables
    return (
        select(Trade, Buyer, Seller)
        .join(Buyer, col(Buyer.id) == Trade.buyer_id)
        .join(Seller, col(Seller.id) == Trade.seller_id)
    )


def own(company: str) -> ColumnElement[bool]:
    """Select the trades to which a company is a party."""
    return or_(*(column.in_(ids_of(company)) for column, _ in SIDES.values()))


def find_trade(session: Session, trade_id: TradeId, company: str | None) -> Deal:
    """Give a trade to its parties and to staff (`company` None). Raises NotFound."""
    query = _deals().where(Trade.id == trade_id)
    if company is not None:
        query = query.where(own(company))
    row = session.exec(query).one_or_none()
    if row is None:
        raise unseen()
    return Deal(*row)


@dataclass(frozen=True, slots=True)
class TradeFilter:
    """Which trades: all that is given must hold. Days are business dates on which they count, both included."""

    state: TradeState | None = None
    mode: TradeMode | None = None
    venue: Venue | None = None
    side: Side | None = None
    contract_number: str | None = None
    external_ref: str | None = None
    since: date | None = None
    until: date | None = None


def list_trades(session: Session, company: str | None, after: int | None, limit: int, which: TradeFilter) -> list[Deal]:
    """List trades, the oldest first; to a company its own. A party's own reference finds only what it referred to."""
    equal = {Trade.state: which.state, Trade.mode: which.mode, Trade.venue: which.venue}
    states = [col(column) == value for column, value in equal.items() if value is not None]
    conditions = _conditions(which, after)
    query = _deals().order_by(col(Trade.id)).limit(limit)
    if company is None:
        if which.external_ref is not None:
            conditions.append(or_(*(reference == which.external_ref for _, reference in SIDES.values())))
        query = query.where(*states, *conditions)
    else:
        numbers = memberships(session, company)
        # A CASE, lest an index of all trades in a state be taken for a shorter way than that of one's own.
        conditions += [case((state, True), else_=False) for state in states]
        walks = [
            select(col(Trade.id)).where(party == number, *_referred(reference, which), *conditions)
            for side, (party, reference) in SIDES.items()
            if which.side in {None, side}
            for number in numbers
        ]
        query = query.where(col(Trade.id).in_(first_ids(session, walks, limit)))
    return [Deal(*row) for row in session.exec(query)]


def _conditions(which: TradeFilter, after: int | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if which.contract_number is not None:
        conditions.append(col(Trade.contract_number) == which.contract_number)
    if which.since is not None:
        conditions.append(col(Trade.effective_on) >= which.since)
    if which.until is not None:
        conditions.append(col(Trade.effective_on) <= which.until)
    if after is not None:
        conditions.append(col(Trade.id) > after)
    return conditions


def _referred(reference: Any, which: TradeFilter) -> list[ColumnElement[bool]]:
    return [] if which.external_ref is None else [reference == which.external_ref]


class PeriodWrong(Invalid):
    """The period ends before it begins."""

    remedy = "Give `from` no later than `to`."


@dataclass(frozen=True, slots=True)
class Balances:
    """What a member has sold and bought, cumulative and net of what was taken back, in fen."""

    sales: Money
    purchases: Money


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One movement; `balance` is that side's after it."""

    position: int
    number: int
    effective_on: date
    trade_id: TradeId
    contract_number: str
    side: str
    movement: str
    counterparty_uscc: str
    counterparty_name: str
    gross: Money
    net_excluding_vat: Money
    balance: Money


@dataclass(frozen=True, slots=True)
class Statement:
    """One page of a statement: opening + lines = closing, as known at `position`."""

    position: int
    opening: Balances
    lines: list[StatementLine]
    closing: Balances
    next: list[Any] | None
    """The place from which the next page goes on, with the balances there; None on the last page."""


def statement(  # noqa: PLR0913 - what to ask
    session: Session,
    member_id: MemberId,
    since: date,
    until: date,
    place: Sequence[Any] | None,
    limit: int,
    *,
    company: str | None,
) -> Statement:
    """Give a page of a member's statement, by business date and position. All pages are as known at the first one's position.

    Raises NotFound to another company, PeriodWrong.
    """
    member = session.get(Member, member_id)
    if member is None or company not in {None, member.uscc}:
        raise unseen()
    if until < since:
        raise PeriodWrong("The period ends before it begins.", Fault("/to", "must not lie before `from`"))
    moment = present(session) if place is None else Moment(place[0], present(session).recorded_at)
    sales, purchases = (place[1], place[2]) if place else _balances(session, moment, member_id, _day_before(since))
    opening = Balances(Money(sales), Money(purchases))
    lines = []
    rows = _movements(session, member_id, since, until, moment, place[3:] if place else None, limit + 1)
    for entry, deal in rows[:limit]:
        sells = entry.seller_id == member_id
        sales += entry.gross if sells else 0
        purchases += 0 if sells else entry.gross
        other = deal.buyer if sells else deal.seller
        lines.append(
            StatementLine(
                position=entry.position,
                number=entry.number,
                effective_on=entry.effective_on,
                trade_id=entry.trade_id,
                contract_number=deal.trade.contract_number,
                side="sales" if sells else "purchases",
                movement=entry.movement,
                counterparty_uscc=other.uscc,
                counterparty_name=other.legal_name,
                gross=entry.gross,
                net_excluding_vat=entry.net_excluding_vat,
                balance=Money(sales if sells else purchases),
            )
        )
    last = lines[-1] if len(rows) > limit else None
    return Statement(
        position=moment.position,
        opening=opening,
        lines=lines,
        closing=Balances(Money(sales), Money(purchases)),
        next=[moment.position, sales, purchases, last.effective_on.isoformat(), last.position, last.number]
        if last
        else None,
    )


def _day_before(day: date) -> date:
    """Give the day before, or the first there can be: nothing counts so early."""
    return max(day, FIRST_BUSINESS_DAY) - timedelta(days=1)


def _balances(session: Session, moment: Moment, member_id: MemberId, as_of: date) -> tuple[int, int]:
    sides = (Dimension.SELLER, Dimension.BUYER)
    sold, bought = (
        cumulative(session, moment, Question(as_of, dimension=side, value=str(member_id)))
        .get(str(member_id), NOTHING)
        .net
        for side in sides
    )
    return sold, bought


def _movements(  # noqa: PLR0913, PLR0917 - what to ask
    session: Session,
    member_id: MemberId,
    since: date,
    until: date,
    moment: Moment,
    after: Sequence[Any] | None,
    limit: int,
) -> list[tuple[VolumeEntry, Deal]]:
    order = (col(VolumeEntry.effective_on), col(VolumeEntry.position), col(VolumeEntry.number))
    conditions: list[ColumnElement[bool]] = [
        order[0] >= since,
        order[0] <= until,
        order[1] <= moment.position,
    ]
    if after is not None:
        day, position, number = date.fromisoformat(after[0]), after[1], after[2]
        later = (order[1] > position) | ((order[1] == position) & (order[2] > number))
        conditions.append((order[0] > day) | ((order[0] == day) & later))
    found: list[tuple[VolumeEntry, Deal]] = []
    # One side at a time, so that each is a walk along its own index.
    for side in (VolumeEntry.seller_id, VolumeEntry.buyer_id):
        query: Any = (
            select(VolumeEntry, Trade, Buyer, Seller)
            .join(Trade, col(Trade.id) == VolumeEntry.trade_id)
            .join(Buyer, col(Buyer.id) == VolumeEntry.buyer_id)
            .join(Seller, col(Seller.id) == VolumeEntry.seller_id)
            .where(col(side) == member_id, *conditions)
            .order_by(*order)
            .limit(limit)
        )
        found += [(entry, Deal(trade, buyer, seller)) for entry, trade, buyer, seller in session.exec(query)]
    found.sort(key=lambda row: (row[0].effective_on, row[0].position, row[0].number))
    return found[:limit]


@dataclass(frozen=True, slots=True)
class OpenReversal:
    """A reversal that waits for a second person."""

    trade: str
    proposed_on: date
    reason: str


def open_reversals(session: Session) -> list[OpenReversal]:
    """List the reversals that wait, the oldest first."""
    query = (
        select(Proposal)
        .where(Proposal.kind == ProposalKind.REVERSAL, Proposal.state == ProposalState.OPEN)
        .order_by(col(Proposal.id))
    )
    return [OpenReversal(one.subject, one.proposed_on, one.reason) for one in session.exec(query)]
