"""What can be asked of trades."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import ColumnElement, RowMapping, Select, case, func
from sqlalchemy import select as sa_select
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from exchange.access.tables import Proposal, ProposalKind, ProposalState
from exchange.clock import FIRST_BUSINESS_DAY
from exchange.identifiers import MemberId, TradeId
from exchange.journal.queries import Moment, moment_at
from exchange.journal.tables import Event
from exchange.ledger.posting import balance
from exchange.ledger.tables import Account, AccountKind, Book
from exchange.listings.tables import DataProduct, ProductVersion
from exchange.members.queries import first_ids, memberships
from exchange.members.tables import Member
from exchange.money import Money
from exchange.problems import Fault, Invalid, unseen
from exchange.trades.states import IMPORTABLE, TradeState
from exchange.trades.tables import Side, Trade, TradeMode, Venue
from exchange.volume.queries import NOTHING, volumes
from exchange.volume.tables import Dimension, VolumeEntry

Buyer: Final = aliased(Member, name="buyer")
Seller: Final = aliased(Member, name="seller")


SIDES: Final[dict[Side, tuple[Any, Any, Any]]] = {
    Side.BUYER: (col(Trade.buyer_id), col(Trade.seller_id), col(Trade.buyer_ref)),
    Side.SELLER: (col(Trade.seller_id), col(Trade.buyer_id), col(Trade.seller_ref)),
}
"""Where a trade holds a side's membership, the other side's, and the side's own reference."""


class Party(NamedTuple):
    """What a trade says of a party."""

    id: MemberId
    uscc: str
    legal_name: str


class Deal(NamedTuple):
    """A trade with its parties."""

    trade: Trade
    buyer: Party
    seller: Party


# Not the whole rows: those of two members cost more than the trade.
_PARTY: Final = ("id", "uscc", "legal_name")
_DEAL: Final[Any] = (
    select(Trade, *(getattr(party, name) for party in (Buyer, Seller) for name in _PARTY))
    .select_from(Trade)
    .join(Buyer, col(Buyer.id) == Trade.buyer_id)
    .join(Seller, col(Seller.id) == Trade.seller_id)
)


def _deal(trade: Trade, *parties: Any) -> Deal:
    return Deal(trade, Party(*parties[: len(_PARTY)]), Party(*parties[len(_PARTY) :]))


def find_trade(session: Session, trade_id: TradeId) -> Deal:
    """Give a trade. Raises NotFound."""
    row = session.exec(_DEAL.where(Trade.id == trade_id)).one_or_none()
    if row is None:
        raise unseen()
    return _deal(*row)


@dataclass(frozen=True, slots=True)
class TradeFilter:
    """Which trades: all that is given must hold. Days are business dates on which they count, both included."""

    state: TradeState | None = None
    mode: TradeMode | None = None
    venue: Venue | None = None
    side: Side | None = None
    contract_number: str | None = None
    external_ref: str | None = None
    counterparty: str | None = None
    """The other party's code; to staff, either's."""
    since: date | None = None
    until: date | None = None
    trade_id: TradeId | None = None


def list_trades(session: Session, company: str | None, after: int | None, limit: int, which: TradeFilter) -> list[Deal]:
    """List trades, the oldest first; to a company its own. A party's own reference finds only what it referred to."""
    branches = _branches(session, company, which)
    conditions = _asked_for(which, own=company is not None)
    if after is not None:
        conditions.append(col(Trade.id) > after)
    if branches == [[]]:
        query = _DEAL.where(*conditions)
    else:
        walks = [select(col(Trade.id)).where(*branch, *conditions) for branch in branches]
        query = _DEAL.where(col(Trade.id).in_(first_ids(session, walks, limit)))
    return [_deal(*row) for row in session.exec(query.order_by(col(Trade.id)).limit(limit))]


def _asked_for(which: TradeFilter, *, own: bool) -> list[ColumnElement[bool]]:
    equal = {Trade.state: which.state, Trade.mode: which.mode, Trade.venue: which.venue}
    conditions = [col(column) == value for column, value in equal.items() if value is not None]
    if own:
        # A CASE, lest an index of all trades in a state be taken for a shorter way than that of one's own.
        conditions = [case((condition, True), else_=False) for condition in conditions]
    exact = {Trade.id: which.trade_id, Trade.contract_number: which.contract_number}
    conditions += [col(column) == value for column, value in exact.items() if value is not None]
    if which.since is not None:
        conditions.append(col(Trade.effective_on) >= which.since)
    if which.until is not None:
        conditions.append(col(Trade.effective_on) <= which.until)
    return conditions


def _branches(session: Session, company: str | None, which: TradeFilter) -> list[list[ColumnElement[bool]]]:
    """Give what must hold besides, once for each way in which a trade can be somebody's: by side, and by membership."""
    sides = list(SIDES.values()) if which.side is None else [SIDES[which.side]]
    if company is not None:
        others = None if which.counterparty is None else memberships(session, which.counterparty)
        return [
            [
                own_side == own_id,
                *([] if others is None else [other_side.in_(others)]),
                *([] if which.external_ref is None else [reference == which.external_ref]),
            ]
            for own_id in memberships(session, company)
            for own_side, other_side, reference in sides
        ]
    parties = None if which.counterparty is None else memberships(session, which.counterparty)
    if parties is None and which.external_ref is None:
        return [[]]
    return [
        [
            *([] if party is None else [one_side == party]),
            *([] if which.external_ref is None else [reference == which.external_ref]),
        ]
        for party in ([None] if parties is None else parties)
        for one_side, _, reference in sides
    ]


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
    own_ref: str | None
    """The member's own reference."""
    counterparty_uscc: str
    counterparty_name: str
    gross: Money
    net_excluding_vat: Money
    balance: Money

    @property
    def vat(self) -> Money:
        """What of the gross amount is VAT."""
        return Money(self.gross - self.net_excluding_vat)


@dataclass(frozen=True, slots=True)
class Statement:
    """A page of a statement, as known at `position`: opening + the lines of all pages = closing."""

    position: int
    opening: Balances
    lines: list[StatementLine]
    closing: Balances
    ledger: Balances | None
    """What the accounts stand at, on the first page: what a statement to this day closes with, to the fen."""
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
    moment = moment_at(session, place[0] if place else None)
    opening, closing = _balances(session, moment, member_id, _day_before(since), until)
    sales, purchases = (place[1], place[2]) if place else (opening.sales, opening.purchases)
    lines = []
    rows = _movements(session, member_id, since, until, moment, place[3:] if place else None, limit + 1)
    for side, row in rows[:limit]:
        sells = side == "sales"
        sales += row["gross"] if sells else 0
        purchases += 0 if sells else row["gross"]
        lines.append(StatementLine(**row, side=side, balance=Money(sales if sells else purchases)))
    last = lines[-1] if len(rows) > limit else None
    return Statement(
        position=moment.position,
        opening=opening,
        lines=lines,
        closing=closing,
        ledger=None if place else _ledger(session, member_id),
        next=[moment.position, sales, purchases, last.effective_on.isoformat(), last.position, last.number]
        if last
        else None,
    )


def _day_before(day: date) -> date:
    """Give the day before, or the first there can be: nothing counts so early."""
    return max(day, FIRST_BUSINESS_DAY) - timedelta(days=1)


def _balances(session: Session, moment: Moment, member_id: MemberId, *days: date) -> list[Balances]:
    value = str(member_id)
    found = volumes(session, moment, days, (Dimension.SELLER, Dimension.BUYER), value=value)
    return [
        Balances(*(found[day].get((side, value), NOTHING).net for side in (Dimension.SELLER, Dimension.BUYER)))
        for day in days
    ]


def _ledger(session: Session, member_id: MemberId) -> Balances:
    """Give what a member's accounts stand at; nothing for one that was never admitted."""
    found = session.exec(select(Account).where(Account.owner_id == member_id, Account.book == Book.CONTRACTED))
    stands = {account.kind: balance(account) for account in found}
    return Balances(*(stands.get(kind, Money(0)) for kind in (AccountKind.SALES, AccountKind.PURCHASES)))


def _movements(  # noqa: PLR0913, PLR0917 - what to ask
    session: Session,
    member_id: MemberId,
    since: date,
    until: date,
    moment: Moment,
    after: Sequence[Any] | None,
    limit: int,
) -> list[tuple[str, RowMapping]]:
    """Give (side, line): a statement's line but for its side and balance."""
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
    found: list[tuple[str, RowMapping]] = []
    # One side at a time, so that each is a walk along its own index.
    for side, (own_id, lines) in _LINES.items():
        walk = lines.where(own_id == member_id, *conditions).order_by(*order).limit(limit)
        found += [(side, line) for line in session.execute(walk).mappings()]
    found.sort(key=lambda found: tuple(found[1][name] for name in ("effective_on", "position", "number")))
    return found[:limit]


def _lines(own_ref: Any, other_id: Any, other: Any) -> Select[Any]:
    columns = ("position", "number", "effective_on", "trade_id", "movement", "gross", "net_excluding_vat")
    return (
        sa_select(
            *(getattr(VolumeEntry, name) for name in columns),
            col(Trade.contract_number),
            own_ref.label("own_ref"),
            other.uscc.label("counterparty_uscc"),
            other.legal_name.label("counterparty_name"),
        )
        .join(Trade, col(Trade.id) == VolumeEntry.trade_id)
        .join(other, other.id == other_id)
    )


_LINES: Final = {
    "sales": (col(VolumeEntry.seller_id), _lines(Trade.seller_ref, VolumeEntry.buyer_id, Buyer)),
    "purchases": (col(VolumeEntry.buyer_id), _lines(Trade.buyer_ref, VolumeEntry.seller_id, Seller)),
}
"""By side, whose entries are asked for, and the lines that are made of them."""


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


def count_by_state(session: Session) -> dict[TradeState, int]:
    """Count the trades in each state."""
    query: Any = select(Trade.state, func.count()).group_by(col(Trade.state))
    return dict(session.exec(query).all())


@dataclass(frozen=True, slots=True)
class Described:
    """A trade with its parties, and what was sold, by its owner's names."""

    deal: Deal
    product_code: str
    version: int


def list_importable(session: Session, after: int, limit: int) -> list[Described]:
    """List the trades that can be recorded elsewhere as old ones, the oldest first."""
    query: Any = (
        _DEAL.add_columns(DataProduct.code, ProductVersion.number)
        .join(DataProduct, col(DataProduct.id) == Trade.product_id)
        .join(ProductVersion, col(ProductVersion.id) == Trade.version_id)
        .where(col(Trade.state).in_(IMPORTABLE), col(Trade.id) > after)
        .order_by(col(Trade.id))
        .limit(limit)
    )
    return [Described(_deal(*deal), code, number) for *deal, code, number in session.exec(query)]


ContractName = tuple[str, str, str, str]
"""What identifies a contract: seller's and buyer's code, number, hash of its text."""


def contracts_met_again(session: Session) -> set[ContractName]:
    """Give the contracts under which several trades were recorded, as after a cancellation or reversal: few, so they are held at once."""
    columns: Any = (Seller.uscc, Buyer.uscc, Trade.contract_number, Trade.contract_sha256)
    query: Any = (
        select(*columns)
        .select_from(Trade)
        .join(Buyer, col(Buyer.id) == Trade.buyer_id)
        .join(Seller, col(Seller.id) == Trade.seller_id)
        .where(col(Trade.state).in_(IMPORTABLE))
        .group_by(*columns)
        .having(func.count() > 1)
    )
    return {tuple(row) for row in session.exec(query)}


ENDED_WITH_REASON: Final = frozenset({TradeState.CANCELLED, TradeState.TERMINATED, TradeState.REVERSED})


def reasons_of(session: Session, trades: Iterable[Trade]) -> dict[TradeId, str]:
    """Give why these trades were cancelled, terminated or reversed: as the event says, else the proposal that was agreed to."""
    ended = [trade for trade in trades if trade.state in ENDED_WITH_REASON]
    leaves = select(Event.position, Event.leaf).where(col(Event.position).in_([trade.changed_at for trade in ended]))
    told = {position: orjson.loads(leaf)["facts"].get("reason") for position, leaf in session.exec(leaves)}
    agreed = {trade.id: _agreed(trade) for trade in ended}
    reasons = select(Proposal.id, Proposal.reason).where(col(Proposal.id).in_(set(agreed.values()) - {None}))
    proposed: dict[int | None, str] = dict(session.exec(reasons).all())
    return {trade.id: told[trade.changed_at] or proposed[agreed[trade.id]] for trade in ended}


def _agreed(trade: Trade) -> int | None:
    return trade.reversal_id if trade.state is TradeState.REVERSED else trade.termination_id


def count_waiting(session: Session) -> int:
    """Count the reversals and terminations that wait for somebody's agreement."""
    kinds = (ProposalKind.REVERSAL, ProposalKind.TERMINATION)
    query = select(func.count()).select_from(Proposal)
    return session.exec(query.where(Proposal.state == ProposalState.OPEN, col(Proposal.kind).in_(kinds))).one()
