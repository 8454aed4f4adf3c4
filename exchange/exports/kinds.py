"""What can be exported: for each kind of file its rows, as its import takes them, and what of the database it cannot say.

Rows come page by page, by key: so many statements for a thousand rows, however many there are.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import merge
from typing import Final, TypeVar

from sqlmodel import Session

from exchange.exports.writing import Cell, Cells
from exchange.imports.kinds import LISTING_CHANGES, NO_GROUP, REVERSED
from exchange.listings import queries as listings
from exchange.listings.states import OFFERED, ListingState
from exchange.listings.tables import DataProduct, ListingHistory, ProductVersion
from exchange.members import queries as members
from exchange.members.states import ADMITTED, MemberState
from exchange.members.tables import Member, MemberFact, MemberHistory, PersonalFact
from exchange.trades import queries as trades
from exchange.trades.queries import ContractName, Described
from exchange.trades.states import IMPORTABLE, TradeState
from exchange.trades.tables import Trade

PAGE: Final = 1_000
WITHHELD: Final = "withheld"
"""What stands for personal data that is not taken out, or was erased."""

Row = TypeVar("Row")
State = TypeVar("State", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Export:
    """One kind of file that goes out."""

    count: Callable[[Session], int]
    rows: Callable[[Session, bool], Iterator[Cells]]
    """The rows, in an order in which they can be imported; with personal data or without."""
    left_out: Callable[[Session], list[str]]
    """What the file does not say, in words."""


def _pages(
    page: Callable[[Session, int, int], Sequence[Row]], session: Session, key: Callable[[Row], int]
) -> Iterator[Sequence[Row]]:
    after = 0
    while rows := page(session, after, PAGE):
        yield rows
        after = key(rows[-1])


def _turns(numbered: Iterable[tuple[int, object]]) -> dict[int, int | None]:
    """Number what is like each other, in order: None for the first, then 2, 3 and so on."""
    seen: Counter[object] = Counter()
    turns: dict[int, int | None] = {}
    for number, like in numbered:
        seen[like] += 1
        turns[number] = seen[like] if seen[like] > 1 else None
    return turns


def _states(counts: Mapping[State, int], left_out: Iterable[State], what: str) -> list[str]:
    return [f"{counts[state]} {what} that are {state}" for state in sorted(left_out) if counts.get(state)]


# Members


def _members(session: Session, personal: bool) -> Iterator[Cells]:
    for page in _pages(members.list_admitted, session, lambda member: member.id):
        ids = [member.id for member in page]
        histories: defaultdict[int, list[MemberHistory]] = defaultdict(list)
        for line in members.histories_of(session, ids):
            histories[line.member_id].append(line)
        known = members.personal_of(session, ids) if personal else {}
        turns = _turns(members.admitted_of(session, (member.uscc for member in page)))
        for member in page:
            said = {fact: known.get((member.id, fact)) or WITHHELD for fact in PersonalFact}
            yield _member(member, histories[member.id], said) | {"membership": turns[member.id]}


def _member(member: Member, history: list[MemberHistory], personal: Mapping[PersonalFact, str]) -> dict[str, Cell]:
    admitted = next(n for n, line in enumerate(history) if _is_state(line, MemberState.ACTIVE))
    then = {line.fact: line.value for line in history[:admitted]}
    withdrawn = [line.effective_on for line in history if _is_state(line, MemberState.WITHDRAWN)]
    return {
        "uscc": member.uscc,
        "legal_name": then[MemberFact.NAME],
        "short_name": member.short_name,
        "legal_representative": personal[PersonalFact.LEGAL_REPRESENTATIVE],
        "address": member.address,
        "region_code": then[MemberFact.REGION],
        "industry_code": member.industry_code,
        "roles": ";".join(member.roles),
        "contact": personal[PersonalFact.CONTACT],
        "group_parent_uscc": then[MemberFact.GROUP],
        "evidence_sha256": ";".join(member.evidence),
        "applied_on": member.applied_on,
        "admitted_on": history[admitted].effective_on,
        "withdrawn_on": withdrawn[0] if withdrawn else None,
        "changes": "; ".join(_member_changes(history[admitted + 1 :])),
    }


def _is_state(line: MemberHistory, state: MemberState) -> bool:
    return line.fact is MemberFact.STATE and line.value == state


def _member_changes(history: Iterable[MemberHistory]) -> Iterator[str]:
    """Write what became different after the admission. Who was expelled is suspended here: to expel takes two persons there too."""
    suspended: bool = False
    for line in history:
        if line.fact is not MemberFact.STATE:
            group_left = line.fact is MemberFact.GROUP and not line.value
            yield f"{line.effective_on} {NO_GROUP if group_left else f'{line.fact} {line.value}'}"
        elif line.value == MemberState.ACTIVE:
            suspended = False
            yield f"{line.effective_on} {line.value}"
        elif line.value != MemberState.WITHDRAWN and not suspended:
            suspended = True
            yield f"{line.effective_on} {MemberState.SUSPENDED}"


def _members_left_out(session: Session) -> list[str]:
    counts = members.count_by_state(session)
    expelled = counts.get(MemberState.EXPELLED)
    told = [f"{expelled} expelled members are written as suspended: expel them again"] if expelled else []
    return _states(counts, set(MemberState) - ADMITTED, "memberships") + told


# Products


def _products(session: Session, _: bool) -> Iterator[Cells]:
    """Give versions with their listings; each version is told no later than what is listed after it."""
    for numbered in merge(_never_offered(session), _offered(session), key=lambda numbered: numbered[0]):
        yield numbered[1]


def _never_offered(session: Session) -> Iterator[tuple[int, Cells]]:
    for page in _pages(listings.list_never_offered, session, lambda row: row[0].id):
        for version, product, owner in page:
            yield version.id, _version(version, product, owner)


def _offered(session: Session) -> Iterator[tuple[int, Cells]]:
    for page in _pages(listings.list_offered, session, lambda offer: offer.listing.id):
        histories: defaultdict[int, list[ListingHistory]] = defaultdict(list)
        for line in listings.listing_histories_of(session, (offer.listing.id for offer in page)):
            histories[line.listing_id].append(line)
        versions = {offer.version.id for offer in page}
        assessments = listings.security_assessments_of(session, versions)
        turns = _turns(listings.offered_of(session, versions))
        for offer in page:
            listing, turn = offer.listing, turns[offer.listing.id]
            assessor, report = assessments.get(offer.version.id, (None, None)) if turn is None else (None, None)
            yield (
                listing.id,
                _version(offer.version, offer.product, offer.owner)
                | {
                    "assessor_uscc": assessor,
                    "security_assessment_sha256": report,
                    "price_model": listing.price_model.value,
                    "price_fen": listing.price,
                    "vat_rate_bp": listing.vat_rate_bp,
                    "visibility": listing.visibility.value,
                    "expires_on": listing.expires_on,
                    "listing": turn,
                }
                | _offer_days(histories[listing.id]),
            )


def _version(version: ProductVersion, product: DataProduct, owner: Member) -> dict[str, Cell]:
    return {
        "owner_uscc": owner.uscc,
        "product_code": product.code,
        "kind": product.kind.value,
        "version": version.number,
        "title": version.title,
        "abstract": version.abstract,
        "sector": version.sector.value,
        "scenarios": version.scenarios,
        "source_type": version.source_type.value,
        "personal_information": "yes" if version.personal_information else "no",
        "legal_basis": version.legal_basis.value if version.legal_basis else None,
        "grade": version.grade.value,
        "coverage": version.coverage,
        "record_count": version.record_count,
        "update_frequency": version.update_frequency.value,
        "delivery_modes": ";".join(version.delivery_modes),
        "sample_sha256": version.sample_sha256,
        "rights": ";".join(version.rights),
        "ip_registration": version.ip_registration,
    }


def _offer_days(history: Iterable[ListingHistory]) -> dict[str, Cell]:
    days: dict[str, Cell] = {}
    changes = []
    for line in history:
        if line.state is ListingState.DELISTED:
            days["delisted_on"] = line.effective_on
        elif line.state is ListingState.LISTED and "listed_on" not in days:
            days["listed_on"] = line.effective_on
        elif line.state.value in LISTING_CHANGES:
            changes.append(f"{line.effective_on} {line.state}")
    return days | {"changes": "; ".join(changes)}


def _products_left_out(session: Session) -> list[str]:
    bare = listings.count_bare_products(session)
    told = [f"{bare} products without any version"] if bare else []
    return _states(listings.count_by_state(session), set(ListingState) - OFFERED, "listings") + told


def _count_products(session: Session) -> int:
    counts = listings.count_by_state(session)
    return listings.count_never_offered(session) + sum(counts.get(state, 0) for state in OFFERED)


# Trades


def _trades(session: Session, _: bool) -> Iterator[Cells]:
    again = trades.contracts_met_again(session)
    seen: Counter[ContractName] = Counter()
    for page in _pages(trades.list_importable, session, lambda row: row.deal.trade.id):
        reasons = trades.reasons_of(session, (row.deal.trade for row in page))
        for row in page:
            trade = row.deal.trade
            cells: dict[str, Cell] = {**_trade(row), "reason": reasons.get(trade.id)}
            name = (row.deal.seller.uscc, row.deal.buyer.uscc, trade.contract_number, trade.contract_sha256)
            if name in again:
                seen[name] += 1
                cells["record"] = seen[name] if seen[name] > 1 else None
            yield cells


def _trade(row: Described) -> dict[str, Cell]:
    trade = row.deal.trade
    cells: dict[str, Cell] = {
        "seller_uscc": row.deal.seller.uscc,
        "buyer_uscc": row.deal.buyer.uscc,
        "contract_number": trade.contract_number,
        "contract_sha256": trade.contract_sha256,
        "product_code": row.product_code,
        "product_version": row.version,
        "mode": trade.mode.value,
        "venue": trade.venue.value,
        "purpose": trade.purpose,
        "quantity": trade.quantity,
        "net_fen": trade.net,
        "vat_fen": trade.vat,
        "gross_fen": trade.gross,
        "proposed_on": trade.proposed_on,
        "received_on": trade.received_on,
        "delivery_terms": trade.delivery_terms,
        "acceptance_window_days": trade.acceptance_window_days or None,
        "buyer_ref": trade.buyer_ref,
        "seller_ref": trade.seller_ref,
        "evidence_sha256": ";".join(trade.evidence),
    }
    return cells | _outcome(trade)


def _outcome(trade: Trade) -> dict[str, Cell]:
    reversal = trade.state is TradeState.REVERSED
    return {
        "outcome": REVERSED if reversal else trade.state.value,
        # What was cancelled never counted, though a filing said when it would have.
        "effective_on": None if trade.state is TradeState.CANCELLED else trade.effective_on,
        "ended_on": trade.ended_on,
        "reversed_on": trade.ended_on if reversal else None,
    }


def _trades_left_out(session: Session) -> list[str]:
    waiting = trades.count_waiting(session)
    told = [f"{waiting} proposals to reverse or terminate, which wait for agreement"] if waiting else []
    return _states(trades.count_by_state(session), set(TradeState) - IMPORTABLE, "trades") + told


def _count_trades(session: Session) -> int:
    counts = trades.count_by_state(session)
    return sum(counts.get(state, 0) for state in IMPORTABLE)


def _count_members(session: Session) -> int:
    counts = members.count_by_state(session)
    return sum(counts.get(state, 0) for state in ADMITTED)


EXPORTS: Final = {
    "members": Export(_count_members, _members, _members_left_out),
    "products": Export(_count_products, _products, _products_left_out),
    "trades": Export(_count_trades, _trades, _trades_left_out),
}
