"""What the commands on trades share: parties, sides, opening a trade, counting it, taking it back."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from exchange.identifiers import ListingId, MemberId, Prefix, TradeId, written_id
from exchange.journal.commands import Result
from exchange.journal.events import canonical
from exchange.journal.work import Need, Needs, UnitOfWork
from exchange.ledger.posting import Posting, accounts_needed, post, sale_accounts
from exchange.ledger.tables import Book, EntryKind
from exchange.listings.offers import check_tradable
from exchange.listings.tables import DataProduct, Listing, PriceModel, ProductVersion
from exchange.members.standing import active_standing, acts_for, earlier_needed, own_company_needed
from exchange.members.tables import Member
from exchange.money import Money, Price
from exchange.trades import rules
from exchange.trades.rules import Terms
from exchange.trades.states import OPEN, TradeState, TradeStep
from exchange.trades.tables import Contract, Side, Trade, TradeMode, Venue
from exchange.volume.recording import Countable, closed_through, record
from exchange.volume.rules import is_late
from exchange.volume.tables import Movement


@dataclass(frozen=True, slots=True)
class Parties:
    """The two members of a trade."""

    buyer: Member
    seller: Member

    @property
    def ids(self) -> tuple[MemberId, MemberId]:
        """Both, the buyer first."""
        return self.buyer.id, self.seller.id


def answer(trade: Trade, **more: object) -> Result:
    """Give what the commands on a trade answer."""
    return {
        "id": written_id(Prefix.TRADE, trade.id),
        "state": trade.state,
        "related": trade.related,
        "late": trade.late,
    } | more


def parties_of(work: UnitOfWork, trade: Trade) -> Parties:
    """Give the parties of a trade."""
    return Parties(work.get(Member, trade.buyer_id), work.get(Member, trade.seller_id))


def trade_needed(work: UnitOfWork, trade_id: TradeId) -> Needs:
    """Ask, in rounds, for a trade, and whether the caller may see it."""
    yield [Need(Trade, trade_id), *own_company_needed(work)]
    trade = work.find(Trade, trade_id)
    yield from earlier_needed(work, *((trade.buyer_id, trade.seller_id) if trade else ()))


def visible(work: UnitOfWork, trade_id: TradeId) -> Trade | None:
    """Give a trade to its parties and to staff; null to others, as where there is none. Needs `trade_needed`."""
    trade = work.find(Trade, trade_id)
    return trade if trade is not None and acts_for(work, trade.buyer_id, trade.seller_id) else None


def side_of(work: UnitOfWork, parties: Parties) -> Side:
    """Say on which side the caller stands, who is one of the parties, or staff."""
    uscc = work.caller.uscc
    if uscc is None:
        return Side.EXCHANGE
    return Side.BUYER if uscc == parties.buyer.uscc else Side.SELLER


def acting_member(parties: Parties, side: Side) -> MemberId | None:
    """Give the member that acts; null where staff does."""
    return {Side.BUYER: parties.buyer.id, Side.SELLER: parties.seller.id, Side.EXCHANGE: None}[side]


def sale_accounts_needed(buyer_id: MemberId, seller_id: MemberId) -> list[Need]:
    """Ask for the accounts that a counted trade moves."""
    return accounts_needed(sale_accounts(buyer_id, seller_id, Book.CONTRACTED))


@dataclass(frozen=True, slots=True)
class Deal:
    """All that makes a trade: who, what, how, on what terms, and when."""

    parties: Parties
    listing: Listing
    proposer: Side
    mode: TradeMode
    venue: Venue
    terms: Terms
    proposed_on: date
    effective_on: date | None = None
    received_on: date | None = None
    ended_on: date | None = None
    buyer_ref: str | None = None
    seller_ref: str | None = None
    evidence: tuple[str, ...] = ()
    confirmed: bool = False


def open_trade(work: UnitOfWork, deal: Deal, state: TradeState) -> Trade:
    """Make a trade, after checking that its parties could make it on its day.

    Raises SameParty, NotActive, ListingNotTradable.
    """
    day = deal.effective_on or deal.proposed_on
    region, related = _standing(work, deal.parties, deal.listing, day)
    version = work.get(ProductVersion, deal.listing.version_id)
    trade = work.insert(
        Trade,
        id=TradeId(work.position),
        state=state,
        mode=deal.mode,
        venue=deal.venue,
        proposer=deal.proposer,
        buyer_id=deal.parties.buyer.id,
        seller_id=deal.parties.seller.id,
        listing_id=deal.listing.id,
        product_id=deal.listing.product_id,
        version_id=version.id,
        purpose=deal.terms.purpose,
        quantity=deal.terms.quantity,
        contract_number=deal.terms.contract_number,
        contract_sha256=deal.terms.contract_sha256,
        net=deal.terms.price.net,
        vat=deal.terms.price.vat,
        gross=deal.terms.price.gross,
        delivery_terms=deal.terms.delivery_terms,
        acceptance_window_days=deal.terms.acceptance_window_days,
        buyer_ref=deal.buyer_ref,
        seller_ref=deal.seller_ref,
        evidence=deal.evidence,
        proposed_on=deal.proposed_on,
        effective_on=deal.effective_on,
        received_on=deal.received_on,
        ended_on=deal.ended_on,
        confirmed=deal.confirmed,
        sector=version.sector,
        kind=work.get(DataProduct, deal.listing.product_id).kind,
        region=region,
        related=related,
        late=False,
        termination_id=None,
        reversal_id=None,
        changed_at=work.position,
    )
    if state in OPEN:
        _change_open(work, deal.parties, +1)
    return trade


def _standing(work: UnitOfWork, parties: Parties, listing: Listing, day: date) -> tuple[str, bool]:
    """Check that the parties could trade this listing on a day; give the buyer's region then, and whether they were related."""
    if parties.buyer.uscc == parties.seller.uscc:
        raise rules.SameParty("A company does not trade with itself.")
    buyer = active_standing(work, parties.buyer, day, "buyer")
    seller = active_standing(work, parties.seller, day, "seller")
    check_tradable(work, listing, day)
    return buyer.region_code, buyer.group == seller.group


def move(work: UnitOfWork, trade: Trade, parties: Parties, step: TradeStep, **values: object) -> None:
    """Take a trade one step on, and keep the parties' number of open trades. Raises TradeStepWrong."""
    before, after = trade.state, rules.next_state(trade.state, step)
    work.change(trade, state=after, changed_at=work.position, **values)
    if before in OPEN and after not in OPEN:
        _change_open(work, parties, -1)


def _change_open(work: UnitOfWork, parties: Parties, by: int) -> None:
    for member in (parties.buyer, parties.seller):
        work.change(member, open_trades=member.open_trades + by)


def check_again(work: UnitOfWork, trade: Trade, parties: Parties, day: date) -> dict[str, object]:
    """Check on the day of the contract what was checked on that of the proposal; give the dimensions as they are now."""
    region, related = _standing(work, parties, work.get(Listing, trade.listing_id), day)
    return {"region": region, "related": related}


ContractKey = tuple[MemberId, MemberId, str, str]
"""Seller, buyer, the contract's number, and the SHA-256 of its text."""


def contract_key(trade: Trade) -> ContractKey:
    """Give what identifies the contract of a trade."""
    return trade.seller_id, trade.buyer_id, trade.contract_number, trade.contract_sha256


def take_contract(work: UnitOfWork, trade: Trade) -> None:
    """Let a trade be the one that counts under its contract. Raises ContractRecorded."""
    contract = work.find(Contract, contract_key(trade))
    if contract is None:
        seller_id, buyer_id, number, sha256 = contract_key(trade)
        work.insert(Contract, seller_id=seller_id, buyer_id=buyer_id, number=number, sha256=sha256, trade_id=trade.id)
    elif contract.trade_id is not None:
        raise rules.ContractRecorded("A trade under this contract counts already.")
    else:
        work.change(contract, trade_id=trade.id)


def count(work: UnitOfWork, trade: Trade, kind: EntryKind = EntryKind.CONTRACT) -> None:
    """Let a contracted trade count: its contract is taken, and ledger and volume move. Needs its `effective_on`.

    A terminated old trade counts and is taken back in one entry. Raises ContractRecorded, SumTooLarge, VolumeTooLarge.
    """
    assert trade.effective_on is not None
    take_contract(work, trade)
    if is_late(trade.effective_on, trade.received_on or trade.effective_on, _closed_before(work, trade.effective_on)):
        work.change(trade, late=True)
    movements = [(Movement.COUNTED, trade.effective_on)]
    if kind is EntryKind.CONTRACT_AND_TERMINATION:
        assert trade.ended_on is not None
        movements.append((Movement.TERMINATED, trade.ended_on))
    _post(work, trade, kind, movements)


def take_back(work: UnitOfWork, trade: Trade, movement: Movement, day: date) -> None:
    """Take back the whole of a counted trade on a day."""
    kind = EntryKind.REVERSAL if movement is Movement.REVERSED else EntryKind.TERMINATION
    _post(work, trade, kind, [(movement, day)])


def _closed_before(work: UnitOfWork, day: date) -> date | None:
    """Give how far the months are closed; today's never is, and then nothing is asked."""
    return closed_through(work) if day < work.today else None


def _post(work: UnitOfWork, trade: Trade, kind: EntryKind, movements: Sequence[tuple[Movement, date]]) -> None:
    purchases, sales = sale_accounts(trade.buyer_id, trade.seller_id, Book.CONTRACTED)
    post(work, kind, trade.id, list(_postings(purchases, sales, trade, movements)))
    countable = countable_of(trade)
    for number, (movement, day) in enumerate(movements, 1):
        record(work, movement, countable, day, number)


def _postings(
    purchases: int, sales: int, trade: Trade, movements: Iterable[tuple[Movement, date]]
) -> Iterable[Posting]:
    for movement, day in movements:
        debit, credit = (purchases, sales) if movement is Movement.COUNTED else (sales, purchases)
        yield Posting(debit, credit, trade.gross, day)


def countable_of(trade: Trade) -> Countable:
    """Give what a trade brings to the volume."""
    return Countable(
        trade_id=trade.id,
        buyer_id=trade.buyer_id,
        seller_id=trade.seller_id,
        product_id=trade.product_id,
        gross=trade.gross,
        net=trade.net,
        sector=trade.sector,
        kind=trade.kind,
        region=trade.region,
        venue=trade.venue,
        mode=trade.mode,
        related=trade.related,
    )


def listed_price(listing: Listing, quantity: int) -> Price:
    """Give what a quantity of a listing costs. Raises AmountWrong where it has no fixed price."""
    fixed = listing.price if listing.price_model is PriceModel.FIXED else None
    return rules.listed_price(fixed, quantity, listing.vat_rate_bp)


def order_hash(  # noqa: PLR0913 - all that the order says
    listing_id: ListingId,
    buyer_id: MemberId,
    quantity: int,
    gross: Money,
    *,
    purpose: str,
    contract_number: str,
    delivery_terms: str | None,
    acceptance_window_days: int,
) -> str:
    """Give the contract hash of a taken listing: SHA-256 of the order and its terms as canonical JSON."""
    order = {
        "listing": listing_id,
        "buyer": buyer_id,
        "quantity": quantity,
        "gross": str(gross),
        "purpose": purpose,
        "contract_number": contract_number,
        "delivery_terms": delivery_terms,
        "acceptance_window_days": acceptance_window_days,
    }
    return hashlib.sha256(canonical(order)).hexdigest()
