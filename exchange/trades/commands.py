"""What can be done with trades."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar, Final

from exchange.access.corrections import correct
from exchange.access.proposals import approve, interest_needed, propose, refuse_interest, refuse_second
from exchange.access.tables import Proposal, ProposalKind, Role
from exchange.identifiers import USCC_RULE, ListingId, MemberId, Prefix, TradeId, is_uscc, written_id
from exchange.journal.commands import Command, Result
from exchange.journal.work import Need, Needs, UnitOfWork
from exchange.ledger.tables import EntryKind
from exchange.listings.commands import BY_CODE, BY_NUMBER, company_member
from exchange.listings.offers import check_tradable, description_needed, listing_history_needed
from exchange.listings.rules import ListingNotTradable
from exchange.listings.states import NEVER_PUBLIC
from exchange.listings.tables import DataProduct, Listing, ProductVersion
from exchange.members.commands import OPERATOR_ONLY, ReasonWrong, check_reason
from exchange.members.standing import (
    acts_for,
    check_past,
    earlier_needed,
    history_needed,
    known,
    named_history_needed,
    own_company_needed,
    own_member_id,
    party_needed,
)
from exchange.members.tables import Company, Member
from exchange.money import Price
from exchange.problems import Conflict, Fault, Invalid, NotFound, unseen
from exchange.trades import rules
from exchange.trades.contracting import (
    ContractKey,
    Deal,
    Parties,
    acting_member,
    answer,
    check_again,
    contract_key,
    count,
    listed_price,
    move,
    open_trade,
    order_hash,
    parties_of,
    sale_accounts_needed,
    side_of,
    take_back,
    take_contract,
    trade_needed,
    visible,
)
from exchange.trades.rules import OldDates, Terms, TradeFieldsWrong
from exchange.trades.states import OPEN, TradeState, TradeStep
from exchange.trades.tables import Contract, Side, Trade, TradeMode, Venue
from exchange.volume.recording import CLOSING_NEEDED, closed_through
from exchange.volume.rules import is_open, taken_back_on
from exchange.volume.tables import Movement

PARTIES_ONLY: Final = frozenset({Role.MEMBER})
BY_VERSION: Final = ("version_id",)


class NotConfirmed(Conflict):
    """The other party has not confirmed the filing yet."""

    remedy = "Wait for its confirmation."


class ConfirmedAlready(Conflict):
    """The filing is confirmed already."""

    remedy = "Wait for the exchange's review."


class MonthClosed(Conflict):
    """The month of that day is closed."""

    remedy = "Leave the date out for today, or give one in an open month."


class BuyerWrong(Invalid):
    """The buyer is not named as it must be."""

    remedy = "A buyer leaves `buyer_id` out; the seller, or the exchange, names the buyer."


# What commands on listings need


def _listing_needed(
    work: UnitOfWork, listing_id: ListingId, buyer_id: MemberId | None, day: date | None = None
) -> Iterator[list[Need]]:
    """Ask, in rounds, for a listing and what it offers, its owner and the buyer (null: the company that acts), as they were on a day."""
    yield from _offer_needed(work, listing_id)
    listing = _offered(work, listing_id)
    sides = _sides(listing, buyer_id or own_member_id(work))
    yield _sides_needed(listing, sides)
    yield work.caller.dealing_needs(work, sides)
    if day is not None and day < work.today:
        yield [
            *history_needed(work, sides, day),
            *(named_history_needed(work, buyer_id) if buyer_id is not None else []),
            *(listing_history_needed(work, [listing.id], day) if listing else []),
            CLOSING_NEEDED,
        ]


def _offer_needed(work: UnitOfWork, listing_id: ListingId) -> Needs:
    """Ask, in rounds, for a listing, and whether the caller may see it."""
    yield [Need(Listing, listing_id), *own_company_needed(work)]
    listing = work.find(Listing, listing_id)
    if listing is None or listing.state in NEVER_PUBLIC:
        yield from earlier_needed(work, *((listing.owner_id,) if listing else ()))


def _offered(work: UnitOfWork, listing_id: ListingId) -> Listing | None:
    """Give a listing to its owner and to staff, and to all once it was listed; null to others, as where there is none."""
    listing = work.find(Listing, listing_id)
    hidden = listing is not None and listing.state in NEVER_PUBLIC and not acts_for(work, listing.owner_id)
    return None if hidden else listing


def _offer(work: UnitOfWork, listing_id: ListingId) -> Listing:
    """Give a listing that the caller may see. Raises NotFound."""
    listing = _offered(work, listing_id)
    if listing is None:
        raise unseen()
    return listing


def _sides(listing: Listing | None, buyer_id: MemberId | None) -> list[MemberId]:
    return [member_id for member_id in (buyer_id, listing.owner_id if listing else None) if member_id is not None]


def _sides_needed(listing: Listing | None, sides: list[MemberId]) -> list[Need]:
    return [
        *(need for member_id in sides for need in party_needed(member_id)),
        *(description_needed(listing) if listing else []),
        *(sale_accounts_needed(sides[0], sides[1]) if len(sides) == len(Parties.__slots__) else []),
    ]


def _offer_parties(work: UnitOfWork, listing: Listing, buyer_id: MemberId | None, day: date) -> Parties:
    """Give the parties to a trade in a listing on a day: who acts is the buyer, or the seller who names one.

    Raises BuyerWrong, NotFound.
    """
    seller = work.get(Member, listing.owner_id)
    own_id = own_member_id(work)
    sells = work.caller.uscc is None or work.caller.uscc == seller.uscc
    if sells and buyer_id is None:
        raise BuyerWrong("The buyer is missing.", Fault("/buyer_id", "must be given by the seller"))
    if not sells and buyer_id not in {None, own_id}:
        raise BuyerWrong("Another company is named as the buyer.", Fault("/buyer_id", "must be left out by a buyer"))
    if own_id is None and buyer_id is None:
        raise NotFound("Your company has not applied for membership yet.")
    buyer = work.find(Member, buyer_id or own_id)
    if buyer is None or not known(work, buyer, day):
        raise BuyerWrong("There is no such active member.", Fault("/buyer_id", "must be the id of an active member"))
    return Parties(buyer, seller)


def _references(side: Side, external_ref: str | None) -> dict[str, str | None]:
    return {} if side is Side.EXCHANGE else {f"{side}_ref": external_ref}


@dataclass(frozen=True, slots=True)
class TakeListing(Command):
    """Take a fixed-price listing: a willing buyer proposes, confirms and contracts at once. It counts."""

    allowed: ClassVar = PARTIES_ONLY

    listing_id: ListingId
    quantity: int
    price: Price
    """What the buyer expects to pay; another amount than the listing gives is refused."""
    purpose: str
    contract_number: str | None = None
    """The buyer's own, by which a second order of the same is told from a repeated one; null: the trade's id."""
    delivery_terms: str | None = None
    acceptance_window_days: int = 0
    external_ref: str | None = None

    def __post_init__(self) -> None:
        """Check the fields. Raises TradeFieldsWrong, AmountWrong."""
        rules.check_fields(
            self.quantity,
            self.acceptance_window_days,
            purpose=self.purpose,
            contract_number=self.contract_number,
            delivery_terms=self.delivery_terms,
        )
        rules.check_reference(self.external_ref)
        rules.check_price(self.price)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the listing and both parties, and whether the order is known."""
        yield from _offer_needed(work, self.listing_id)
        listing, buyer_id = _offered(work, self.listing_id), own_member_id(work)
        sides = _sides(listing, buyer_id)
        parties = _sides_needed(listing, sides)
        if listing and buyer_id and self.contract_number:
            parties.append(Need(Contract, self._key(listing.owner_id, buyer_id, self.contract_number)))
        yield parties
        yield work.caller.dealing_needs(work, sides)

    def _key(self, seller_id: MemberId, buyer_id: MemberId, number: str) -> ContractKey:
        sha256 = order_hash(
            self.listing_id,
            buyer_id,
            self.quantity,
            self.price.gross,
            purpose=self.purpose,
            contract_number=number,
            delivery_terms=self.delivery_terms,
            acceptance_window_days=self.acceptance_window_days,
        )
        return seller_id, buyer_id, number, sha256

    def decide(self, work: UnitOfWork) -> Result:
        """Contract it."""
        listing = _offer(work, self.listing_id)
        parties = _offer_parties(work, listing, own_member_id(work), work.today)
        if parties.buyer.uscc == parties.seller.uscc:
            raise rules.SameParty("A company does not take its own listing.")
        check_tradable(work, listing, work.today)
        rules.check_stated(self.price, listed_price(listing, self.quantity))
        number = self.contract_number or written_id(Prefix.TRADE, work.position)
        key = self._key(parties.seller.id, parties.buyer.id, number)
        deal = Deal(
            parties=parties,
            listing=listing,
            proposer=Side.BUYER,
            mode=TradeMode.LISTED,
            venue=Venue.ON_EXCHANGE,
            terms=Terms(
                purpose=self.purpose,
                quantity=self.quantity,
                price=self.price,
                contract_number=number,
                contract_sha256=key[-1],
                delivery_terms=self.delivery_terms,
                acceptance_window_days=self.acceptance_window_days,
            ),
            proposed_on=work.today,
            effective_on=work.today,
            buyer_ref=self.external_ref,
            confirmed=True,
        )
        trade = open_trade(work, deal, TradeState.CONTRACTED)
        if self.contract_number is None:
            work.insert(Contract, seller_id=key[0], buyer_id=key[1], number=number, sha256=key[-1], trade_id=None)
        count(work, trade)
        work.tell("trade.contracted", *parties.ids, acting=parties.buyer.id, steps=["propose", "confirm", "contract"])
        return answer(trade)


@dataclass(frozen=True, slots=True)
class ProposeTrade(Command):
    """Propose a negotiated trade in a listing, as its buyer or, naming the buyer, as its seller."""

    allowed: ClassVar = PARTIES_ONLY

    listing_id: ListingId
    terms: Terms
    buyer_id: MemberId | None = None
    external_ref: str | None = None

    def __post_init__(self) -> None:
        """Check the terms. Raises TradeFieldsWrong, AmountWrong."""
        rules.check_terms(self.terms)
        rules.check_reference(self.external_ref)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the listing and both parties."""
        yield from _listing_needed(work, self.listing_id, self.buyer_id)

    def decide(self, work: UnitOfWork) -> Result:
        """Open it."""
        listing = _offer(work, self.listing_id)
        parties = _offer_parties(work, listing, self.buyer_id, work.today)
        side = side_of(work, parties)
        deal = Deal(
            parties=parties,
            listing=listing,
            proposer=side,
            mode=TradeMode.NEGOTIATED,
            venue=Venue.ON_EXCHANGE,
            terms=self.terms,
            proposed_on=work.today,
            **_references(side, self.external_ref),  # type: ignore[arg-type]  # one of the two references
        )
        trade = open_trade(work, deal, TradeState.PROPOSED)
        work.tell("trade.proposed", *parties.ids, acting=acting_member(parties, side))
        return answer(trade)


@dataclass(frozen=True, slots=True)
class FileTrade(Command):
    """File a trade made elsewhere, as either party; it counts when the other has confirmed and the exchange approved."""

    allowed: ClassVar = PARTIES_ONLY

    listing_id: ListingId
    terms: Terms
    effective_on: date
    evidence: tuple[str, ...]
    buyer_id: MemberId | None = None
    external_ref: str | None = None

    def __post_init__(self) -> None:
        """Check terms and evidence. Raises TradeFieldsWrong, AmountWrong."""
        rules.check_terms(self.terms)
        rules.check_evidence(self.evidence)
        rules.check_reference(self.external_ref)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the listing and both parties, as they were on its day."""
        yield from _listing_needed(work, self.listing_id, self.buyer_id, self.effective_on)

    def decide(self, work: UnitOfWork) -> Result:
        """Open it."""
        listing = _offer(work, self.listing_id)
        parties = _offer_parties(work, listing, self.buyer_id, self.effective_on)
        side = side_of(work, parties)
        check_past(work, self.effective_on)
        deal = Deal(
            parties=parties,
            listing=listing,
            proposer=side,
            mode=TradeMode.NEGOTIATED,
            venue=Venue.OFF_EXCHANGE_FILED,
            terms=self.terms,
            proposed_on=work.today,
            effective_on=self.effective_on,
            evidence=self.evidence,
            **_references(side, self.external_ref),  # type: ignore[arg-type]  # one of the two references
        )
        trade = open_trade(work, deal, TradeState.FILED)
        work.tell("trade.filed", *parties.ids, acting=acting_member(parties, side))
        return answer(trade)


@dataclass(frozen=True, slots=True)
class RecordAuction(Command):
    """Record the result of an auction held outside: it counts at once."""

    allowed: ClassVar = OPERATOR_ONLY

    listing_id: ListingId
    buyer_id: MemberId
    terms: Terms
    effective_on: date

    def __post_init__(self) -> None:
        """Check the terms. Raises TradeFieldsWrong, AmountWrong."""
        rules.check_terms(self.terms)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the listing and both parties as they were on its day, and whether the contract is known."""
        yield from _listing_needed(work, self.listing_id, self.buyer_id, self.effective_on)
        if listing := work.find(Listing, self.listing_id):
            terms = self.terms
            yield [Need(Contract, (listing.owner_id, self.buyer_id, terms.contract_number, terms.contract_sha256))]

    def decide(self, work: UnitOfWork) -> Result:
        """Contract it."""
        listing = _offer(work, self.listing_id)
        parties = _offer_parties(work, listing, self.buyer_id, self.effective_on)
        check_past(work, self.effective_on)
        deal = Deal(
            parties=parties,
            listing=listing,
            proposer=Side.EXCHANGE,
            mode=TradeMode.AUCTION,
            venue=Venue.ON_EXCHANGE,
            terms=self.terms,
            proposed_on=self.effective_on,
            effective_on=self.effective_on,
            confirmed=True,
        )
        trade = open_trade(work, deal, TradeState.CONTRACTED)
        count(work, trade)
        work.tell("trade.contracted", *parties.ids, steps=["propose", "confirm", "contract"])
        return answer(trade)


# Steps of a trade that there is


@dataclass(frozen=True, slots=True)
class _TradeStepCommand(Command):
    """One step of a trade: found, visible, the caller's, allowed by its state; then `follow`."""

    step: ClassVar[TradeStep]
    counts: ClassVar[bool] = False
    """Whether the ledger moves."""

    trade_id: TradeId

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the trade and its parties, and where it counts for all that this moves."""
        yield from trade_needed(work, self.trade_id)
        trade = visible(work, self.trade_id)
        if trade is None:
            return
        proposals = [number for number in (trade.termination_id, trade.reversal_id) if number is not None]
        yield [
            *party_needed(trade.buyer_id),
            *party_needed(trade.seller_id),
            *(Need(Proposal, number) for number in proposals),
            *(self._counting_needed(trade) if self.counts else []),
        ]
        yield work.caller.dealing_needs(work, (trade.buyer_id, trade.seller_id))
        if self.counts:
            day = trade.effective_on or work.today
            listing = work.find(Listing, trade.listing_id)
            yield [
                *(description_needed(listing) if listing else []),
                *history_needed(work, [trade.buyer_id, trade.seller_id], day),
                *listing_history_needed(work, [trade.listing_id], day),
            ]

    @staticmethod
    def _counting_needed(trade: Trade) -> list[Need]:
        return [
            *sale_accounts_needed(trade.buyer_id, trade.seller_id),
            Need(Listing, trade.listing_id),
            Need(Contract, contract_key(trade)),
            CLOSING_NEEDED,
        ]

    def decide(self, work: UnitOfWork) -> Result:
        """Take the step."""
        trade = visible(work, self.trade_id)
        if trade is None:
            raise unseen()
        parties = parties_of(work, trade)
        side = side_of(work, parties)
        rules.check_who(self.step, side, self.proposer(work, trade))
        work.met(trade.changed_at)
        rules.next_state(trade.state, self.step)
        more = self.follow(work, trade, parties, side)
        return answer(trade, **(more or {}))

    def proposer(self, work: UnitOfWork, trade: Trade) -> Side:
        """Say which side put forward what this step answers."""
        return trade.proposer

    @abstractmethod
    def follow(self, work: UnitOfWork, trade: Trade, parties: Parties, side: Side) -> Result | None:
        """Do what the step is for, and tell it."""


@dataclass(frozen=True, slots=True)
class ConfirmTrade(_TradeStepCommand):
    """Confirm what the other party proposed or filed, perhaps with one's own reference; a filing then waits for the exchange."""

    allowed: ClassVar = PARTIES_ONLY
    step: ClassVar = TradeStep.CONFIRM

    external_ref: str | None = None

    def __post_init__(self) -> None:
        """Check the reference. Raises TradeFieldsWrong."""
        rules.check_reference(self.external_ref)

    def follow(self, work: UnitOfWork, trade: Trade, parties: Parties, side: Side) -> None:
        """Confirm. Raises ConfirmedAlready."""
        if trade.confirmed:
            raise ConfirmedAlready("The other party has confirmed it before.")
        reference = {} if self.external_ref is None else _references(side, self.external_ref)
        move(work, trade, parties, self.step, confirmed=True, **reference)
        work.tell("trade.confirmed", *parties.ids, acting=acting_member(parties, side))


class ContractTrade(_TradeStepCommand):
    """Contract a confirmed trade: it counts, today."""

    __slots__ = ()
    allowed = PARTIES_ONLY
    step = TradeStep.CONTRACT
    counts = True

    def follow(self, work: UnitOfWork, trade: Trade, parties: Parties, side: Side) -> None:
        """Contract."""
        dimensions = check_again(work, trade, parties, work.today)
        move(work, trade, parties, self.step, effective_on=work.today, **dimensions)
        count(work, trade)
        work.tell("trade.contracted", *parties.ids, acting=acting_member(parties, side))


@dataclass(frozen=True, slots=True)
class ReasonedStep(_TradeStepCommand):
    """A step with a reason."""

    reason: str

    def __post_init__(self) -> None:
        """Check the reason. Raises ReasonWrong."""
        check_reason(self.reason)


class CancelTrade(ReasonedStep):
    """Cancel a trade that is not contracted yet."""

    __slots__ = ()
    allowed = PARTIES_ONLY
    step = TradeStep.CANCEL

    def follow(self, work: UnitOfWork, trade: Trade, parties: Parties, side: Side) -> None:
        """Cancel."""
        move(work, trade, parties, self.step, ended_on=work.today)
        work.tell("trade.cancelled", *parties.ids, acting=acting_member(parties, side), reason=self.reason)


@dataclass(frozen=True, slots=True)
class ApproveFiling(ReasonedStep):
    """Approve a confirmed filing: it counts on its own day."""

    allowed: ClassVar = OPERATOR_ONLY
    step: ClassVar = TradeStep.APPROVE_FILING
    counts: ClassVar = True

    received_on: date | None = None
    """When the exchange had it in hand; null: the day it was filed."""

    def follow(self, work: UnitOfWork, trade: Trade, parties: Parties, side: Side) -> None:
        """Approve. Raises NotConfirmed, TradeFieldsWrong."""
        if not trade.confirmed:
            raise NotConfirmed("The other party has not confirmed it.")
        assert trade.effective_on is not None
        received_on = self.received_on or trade.proposed_on
        check_past(work, received_on, "received_on")
        if received_on < trade.effective_on:
            raise TradeFieldsWrong(
                "It cannot be received before it was made.", Fault("/received_on", "must not lie before the trade")
            )
        dimensions = check_again(work, trade, parties, trade.effective_on)
        move(work, trade, parties, self.step, received_on=received_on, **dimensions)
        count(work, trade)
        work.tell("trade.contracted", *parties.ids, reason=self.reason)


class RejectFiling(ReasonedStep):
    """Reject a filing."""

    __slots__ = ()
    allowed = OPERATOR_ONLY
    step = TradeStep.REJECT_FILING

    def follow(self, work: UnitOfWork, trade: Trade, parties: Parties, side: Side) -> None:
        """Reject."""
        move(work, trade, parties, self.step, ended_on=work.today)
        work.tell("trade.rejected", *parties.ids, reason=self.reason)


class ProposeTermination(ReasonedStep):
    """Propose to the other party to terminate the trade."""

    __slots__ = ()
    allowed = PARTIES_ONLY
    step = TradeStep.PROPOSE_TERMINATION

    def follow(self, work: UnitOfWork, trade: Trade, parties: Parties, side: Side) -> Result:
        """Propose."""
        refuse_second(work, trade.termination_id, trade.changed_at)
        own_id = acting_member(parties, side)
        proposal = propose(
            work, ProposalKind.TERMINATION, written_id(Prefix.TRADE, trade.id), self.reason, member_id=own_id
        )
        move(work, trade, parties, self.step, termination_id=proposal.id)
        work.tell("trade.termination_proposed", *parties.ids, acting=own_id)
        return {"proposal": written_id(Prefix.PROPOSAL, proposal.id)}


class ApproveTermination(_TradeStepCommand):
    """Agree to the other party's proposal: all that counted is taken back, today."""

    __slots__ = ()
    allowed = PARTIES_ONLY
    step = TradeStep.APPROVE_TERMINATION
    counts = True

    def proposer(self, work: UnitOfWork, trade: Trade) -> Side:
        """Say which side proposed to terminate; the trade's proposer where nobody has."""
        if trade.termination_id is None:
            return Side.EXCHANGE
        proposed_by = work.get(Proposal, trade.termination_id).proposing_member_id
        return Side.BUYER if proposed_by == trade.buyer_id else Side.SELLER

    def follow(self, work: UnitOfWork, trade: Trade, parties: Parties, side: Side) -> None:
        """Terminate."""
        approve(work, trade.termination_id, trade.changed_at)
        move(work, trade, parties, self.step, ended_on=work.today)
        take_back(work, trade, Movement.TERMINATED, work.today)
        work.tell("trade.terminated", *parties.ids, acting=acting_member(parties, side))


def check_ended_on(work: UnitOfWork, trade: Trade, day: date) -> None:
    """Check that a counted trade may end on a day. Raises DateWrong, TradeFieldsWrong."""
    assert trade.effective_on is not None
    check_past(work, day)
    if day < trade.effective_on:
        raise TradeFieldsWrong(
            "It cannot end before it began.", Fault("/effective_on", "must not lie before the trade")
        )


@dataclass(frozen=True, slots=True)
class TerminateTrade(ReasonedStep):
    """Terminate a trade for the exchange, with a reason; on an earlier day where that month is open."""

    allowed: ClassVar = OPERATOR_ONLY
    step: ClassVar = TradeStep.TERMINATE
    counts: ClassVar = True

    effective_on: date | None = None

    def follow(self, work: UnitOfWork, trade: Trade, parties: Parties, side: Side) -> None:
        """Terminate. Raises DateWrong, MonthClosed."""
        day = self.effective_on or work.today
        check_ended_on(work, trade, day)
        if not is_open(day, closed_through(work)):
            raise MonthClosed("The month of that day is closed.", Fault("/effective_on", "must lie in an open month"))
        move(work, trade, parties, self.step, ended_on=day)
        take_back(work, trade, Movement.TERMINATED, day)
        work.tell("trade.terminated", *parties.ids, reason=self.reason)


def _reversal_needed(command: _TradeStepCommand, work: UnitOfWork) -> Needs:
    yield from _TradeStepCommand.needs(command, work)
    if trade := visible(work, command.trade_id):
        parties = parties_of(work, trade)
        yield from interest_needed(work, [parties.buyer.uscc, parties.seller.uscc])


@dataclass(frozen=True, slots=True)
class ProposeReversal(ReasonedStep):
    """Propose to reverse a trade that should never have counted; another person decides."""

    allowed: ClassVar = OPERATOR_ONLY
    step: ClassVar = TradeStep.PROPOSE_REVERSAL

    effective_on: date | None = None
    """The day on which an old trade (import) was reversed where it was traded; null: derived on approval."""

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask also whether the caller has a part in it."""
        yield from _reversal_needed(self, work)

    def follow(self, work: UnitOfWork, trade: Trade, parties: Parties, side: Side) -> Result:
        """Propose. Raises OwnInterest, DateWrong, TradeFieldsWrong."""
        refuse_interest(work, parties.buyer.uscc, parties.seller.uscc)
        refuse_second(work, trade.reversal_id, trade.changed_at)
        if self.effective_on is not None:
            check_ended_on(work, trade, self.effective_on)
        proposal = propose(
            work,
            ProposalKind.REVERSAL,
            written_id(Prefix.TRADE, trade.id),
            self.reason,
            effective_on=self.effective_on,
        )
        move(work, trade, parties, self.step, reversal_id=proposal.id)
        work.tell("trade.reversal_proposed", *parties.ids)
        return {"proposal": written_id(Prefix.PROPOSAL, proposal.id)}


class ApproveReversal(ReasonedStep):
    """Approve another person's proposal: the opposite entry is posted, and the contract may be recorded again."""

    __slots__ = ()
    allowed = OPERATOR_ONLY
    step = TradeStep.APPROVE_REVERSAL
    counts = True

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask also whether the caller has a part in it."""
        yield from _reversal_needed(self, work)

    def follow(self, work: UnitOfWork, trade: Trade, parties: Parties, side: Side) -> None:
        """Reverse, on the day proposed for an old trade, else on the trade's own, while its month is open, else today.

        Raises OwnInterest.
        """
        refuse_interest(work, parties.buyer.uscc, parties.seller.uscc)
        proposal = approve(work, trade.reversal_id, trade.changed_at)
        assert trade.effective_on is not None
        day = taken_back_on(proposal.effective_on or trade.effective_on, work.today, closed_through(work))
        move(work, trade, parties, self.step, ended_on=day)
        work.change(work.get(Contract, contract_key(trade)), trade_id=None)
        take_back(work, trade, Movement.REVERSED, day)
        work.tell("trade.reversed", *parties.ids, reason=self.reason)


@dataclass(frozen=True, slots=True)
class CorrectTrade(Command):
    """Mend a typo in what a trade says in words; amounts, dates and parties never. What stood there before stays in the correction."""

    allowed: ClassVar = OPERATOR_ONLY

    trade_id: TradeId
    field: str
    after: str | None
    """What shall stand there; null empties the field."""
    reason: str

    def __post_init__(self) -> None:
        """Check field, text and reason. Raises TradeFieldsWrong, ReasonWrong."""
        rules.check_correction(self.field, self.after)
        check_reason(self.reason)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the trade, its parties, and what is known of its contract under either number."""
        yield [Need(Trade, self.trade_id)]
        if trade := work.find(Trade, self.trade_id):
            yield [
                *party_needed(trade.buyer_id),
                *party_needed(trade.seller_id),
                Need(Contract, contract_key(trade)),
                Need(Contract, self._new_key(trade)),
            ]

    def _new_key(self, trade: Trade) -> ContractKey:
        seller_id, buyer_id, number, sha256 = contract_key(trade)
        return seller_id, buyer_id, str(self.after) if self.field == "contract_number" else number, sha256

    def decide(self, work: UnitOfWork) -> Result:
        """Write the correction and change the field. Raises NothingChanges, ContractRecorded."""
        trade = work.get(Trade, self.trade_id)
        parties = parties_of(work, trade)
        work.met(trade.changed_at)
        held = work.find(Contract, contract_key(trade))
        counted = held is not None and held.trade_id == trade.id
        correct(work, trade, written_id(Prefix.TRADE, trade.id), self.field, self.after, self.reason)
        if held is not None and counted and self.field == "contract_number":
            work.change(held, trade_id=None)
            take_contract(work, trade)
        work.tell("trade.corrected", *parties.ids, reason=self.reason)
        return answer(trade)


@dataclass(frozen=True, slots=True)
class RecordTrade(Command):
    """Record an old trade (import) of any venue and mode, as far as it got, dated in the past. One command; its event lists the steps."""

    allowed: ClassVar = OPERATOR_ONLY
    STEPS: ClassVar = {
        TradeState.PROPOSED: ["propose"],
        TradeState.CONFIRMED: ["propose", "confirm"],
        TradeState.CONTRACTED: ["propose", "confirm", "contract"],
        TradeState.CANCELLED: ["propose", "cancel"],
        TradeState.TERMINATED: ["propose", "confirm", "contract", "terminate"],
    }
    """How far an old trade may have got."""

    seller_uscc: str
    buyer_uscc: str
    product_code: str
    product_version: int
    mode: TradeMode
    venue: Venue
    terms: Terms
    state: TradeState
    days: OldDates
    reason: str | None = None
    buyer_ref: str | None = None
    seller_ref: str | None = None
    evidence: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check all fields. Raises TradeFieldsWrong, AmountWrong, ReasonWrong."""
        rules.check_terms(self.terms, old=True)
        rules.check_reference(self.buyer_ref)
        rules.check_reference(self.seller_ref)
        faults = [
            Fault(f"/{name}", USCC_RULE) for name in ("seller_uscc", "buyer_uscc") if not is_uscc(getattr(self, name))
        ]
        if self.state not in self.STEPS:
            faults.append(Fault("/outcome", "must be one of " + ", ".join(self.STEPS)))
        rules.refuse(faults)
        elsewhere = self.venue is Venue.OFF_EXCHANGE_FILED or self.mode is TradeMode.AUCTION
        rules.check_old_dates(self.state, self.days, told_later=elsewhere and self.days.effective_on is not None)
        if self.reason is not None:
            check_reason(self.reason)
        elif self.days.ended_on is not None:
            raise ReasonWrong(
                "A reason is needed.", Fault("/reason", "must be given for what was cancelled or terminated")
            )
        if self.venue is Venue.OFF_EXCHANGE_FILED:
            if self.mode is not TradeMode.NEGOTIATED:
                raise TradeFieldsWrong(
                    "A filed trade was negotiated elsewhere.", Fault("/mode", "must be negotiated for a filing")
                )
            rules.check_evidence(self.evidence)

    @property
    def _usccs(self) -> tuple[str, str]:
        return self.buyer_uscc, self.seller_uscc

    @property
    def _day(self) -> date:
        return self.days.effective_on or self.days.proposed_on

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for parties, product and listing as they were on its day, and whether the contract is known."""
        yield [Need(Company, uscc) for uscc in self._usccs]
        buyer, seller = (work.find(Company, uscc) for uscc in self._usccs)
        if buyer is None or seller is None:
            yield [need for company in (buyer, seller) if company for need in party_needed(company.member_id)]
            return
        sides = [buyer.member_id, seller.member_id]
        yield [
            *(need for member_id in sides for need in party_needed(member_id)),
            *sale_accounts_needed(*sides),
            Need(DataProduct, (seller.member_id, self.product_code), BY_CODE),
            Need(Contract, (seller.member_id, buyer.member_id, self.terms.contract_number, self.terms.contract_sha256)),
            CLOSING_NEEDED,
        ]
        product = work.find(DataProduct, (seller.member_id, self.product_code), BY_CODE)
        yield [
            *history_needed(work, sides, self._day),
            *([Need(ProductVersion, (product.id, self.product_version), BY_NUMBER)] if product else []),
        ]
        version = work.find(ProductVersion, (product.id, self.product_version), BY_NUMBER) if product else None
        if version is None:
            return
        yield [Need(Listing, version.id, BY_VERSION), Need(ProductVersion, version.id)]
        listings = [listing.id for listing in work.all(Listing, version.id, BY_VERSION)]
        yield [
            *(Need(Listing, number) for number in listings),
            *([Need(DataProduct, product.id)] if product else []),
            *listing_history_needed(work, listings, self._day),
        ]

    def decide(self, work: UnitOfWork) -> Result:
        """Take all its steps at once."""
        for name in ("ended_on", "effective_on", "received_on", "proposed_on"):
            day: date | None = getattr(self.days, name)
            if day is not None:
                check_past(work, day, name)
        parties = Parties(
            company_member(work, self.buyer_uscc, "buyer_uscc"),
            company_member(work, self.seller_uscc, "seller_uscc"),
        )
        listing = self._listing(work, parties.seller)
        if self.mode is TradeMode.LISTED:
            rules.check_stated(self.terms.price, listed_price(listing, self.terms.quantity))
        deal = Deal(
            parties=parties,
            listing=listing,
            # Nobody knows any more who proposed it: the seller must agree to what is still open.
            proposer=Side.BUYER if self.state in OPEN else Side.EXCHANGE,
            mode=self.mode,
            venue=self.venue,
            terms=self.terms,
            proposed_on=self.days.proposed_on,
            effective_on=self.days.effective_on,
            received_on=self.days.received_on,
            ended_on=self.days.ended_on,
            buyer_ref=self.buyer_ref,
            seller_ref=self.seller_ref,
            evidence=self.evidence,
            confirmed="confirm" in self.STEPS[self.state],
        )
        trade = open_trade(work, deal, self.state)
        if self.days.effective_on is not None:
            terminated = self.state is TradeState.TERMINATED
            count(work, trade, EntryKind.CONTRACT_AND_TERMINATION if terminated else EntryKind.CONTRACT)
        reason: dict[str, Any] = {} if self.reason is None else {"reason": self.reason}
        work.tell("trade.recorded", *parties.ids, steps=self.STEPS[self.state], **reason)
        return answer(trade)

    def _listing(self, work: UnitOfWork, seller: Member) -> Listing:
        """Give the listing under which the version was for sale on the trade's day. Raises TradeFieldsWrong, ListingNotTradable."""
        product = work.find(DataProduct, (seller.id, self.product_code), BY_CODE)
        version = work.find(ProductVersion, (product.id, self.product_version), BY_NUMBER) if product else None
        if version is None:
            rule = "must be a product and version of the seller"
            raise TradeFieldsWrong("The seller has no such product version.", Fault("/product_code", rule))
        refusal = ListingNotTradable("The version was never listed.")
        for listing in work.all(Listing, version.id, BY_VERSION):
            try:
                check_tradable(work, listing, self._day)
            except ListingNotTradable as problem:
                refusal = problem
            else:
                return listing
        raise refusal
