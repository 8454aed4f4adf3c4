"""What must hold of trades: pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Final

from exchange.identifiers import SHA256_RULE, Prefix, is_sha256, read_id
from exchange.members.rules import evidence_faults
from exchange.money import TRADE_LIMIT, Money, Price, split_gross
from exchange.problems import Conflict, Fault, Forbidden, Invalid
from exchange.texts import PARAGRAPH_LIMIT, REFERENCE_LIMIT, text_faults
from exchange.trades.states import NEXT, WHO, TradeState, TradeStep, Who
from exchange.trades.tables import Side

QUANTITY_LIMIT: Final = 10**9
WINDOW_LIMIT_DAYS: Final = 3650


class TradeFieldsWrong(Invalid):
    """Some field of the trade is not as it must be."""

    remedy = "Correct the fields named in `errors`."


class AmountWrong(Invalid):
    """The amount is not what the rules give."""

    remedy = "For a listed trade gross = price × quantity; always net + vat = gross."


class TradeStepWrong(Conflict):
    """The trade is not in a state that allows this."""

    remedy = "Look at its present state."


class NotYourStep(Forbidden):
    """This step is another's."""

    remedy = "The other party, or the exchange, must do it."


class SameParty(Invalid):
    """Buyer and seller are the same company."""

    remedy = "Name another buyer or listing."


class ContractRecorded(Conflict):
    """The same contract between the same parties counts already."""

    remedy = "Look at the trade that there is; a second contract needs its own number or text."


@dataclass(frozen=True, slots=True)
class Terms:
    """On what the parties agree. Amounts in fen; the contract is known by its number and the SHA-256 of its text."""

    purpose: str
    quantity: int
    price: Price
    contract_number: str
    contract_sha256: str
    delivery_terms: str | None = None
    acceptance_window_days: int = 0


def next_state(state: TradeState, step: TradeStep) -> TradeState:
    """Give the state after a step. Raises TradeStepWrong."""
    after = NEXT.get((state, step))
    if after is None:
        raise TradeStepWrong(f"A trade that is {state} does not allow the step {step}.")
    return after


def check_who(step: TradeStep, side: Side, proposer: Side) -> None:
    """Check that a step is this side's, where `proposer` put forward what it answers. Raises NotYourStep."""
    who = WHO[step]
    if who is Who.OTHER and side is proposer:
        raise NotYourStep("Who proposed it cannot agree to it.")
    if (who in {Who.EITHER, Who.OTHER}) == (side is Side.EXCHANGE):
        raise NotYourStep("This is the parties' step." if side is Side.EXCHANGE else "This is the exchange's step.")


def check_terms(terms: Terms, *, old: bool = False) -> None:
    """Check terms; an old order may keep the number that it was given. Raises TradeFieldsWrong, AmountWrong."""
    check_fields(
        terms.quantity,
        terms.acceptance_window_days,
        numbered=old,
        purpose=terms.purpose,
        contract_number=terms.contract_number,
        delivery_terms=terms.delivery_terms,
        contract_sha256=terms.contract_sha256,
    )
    check_price(terms.price)


def check_fields(  # noqa: PLR0913 - all that is not an amount
    quantity: int,
    acceptance_window_days: int,
    *,
    purpose: str,
    contract_number: str | None,
    delivery_terms: str | None,
    contract_sha256: str | None = None,
    numbered: bool = False,
) -> None:
    """Check what is not an amount; only where it was numbered by an exchange, an order's number looks like one. Raises TradeFieldsWrong."""
    faults = word_faults(
        numbered=numbered, purpose=purpose, contract_number=contract_number, delivery_terms=delivery_terms
    )
    if not 0 < quantity <= QUANTITY_LIMIT:
        faults.append(Fault("/quantity", f"must lie between 1 and {QUANTITY_LIMIT}"))
    if not 0 <= acceptance_window_days <= WINDOW_LIMIT_DAYS:
        faults.append(Fault("/acceptance_window_days", f"must lie between 0 and {WINDOW_LIMIT_DAYS}"))
    if contract_sha256 is not None and not is_sha256(contract_sha256):
        faults.append(Fault("/contract_sha256", SHA256_RULE))
    refuse(faults)


WORDS: Final = {
    "purpose": PARAGRAPH_LIMIT,
    "contract_number": REFERENCE_LIMIT,
    "delivery_terms": PARAGRAPH_LIMIT,
    "buyer_ref": REFERENCE_LIMIT,
    "seller_ref": REFERENCE_LIMIT,
}
"""What a trade says in words, each with its limit in characters: all of it may hold a typo."""


def word_faults(*, numbered: bool = False, **words: str | None) -> list[Fault]:
    """Give the rules that words of a trade break; a missing one breaks none. `numbered` lets an exchange have numbered its contract."""
    faults = text_faults((name, said, WORDS[name]) for name, said in words.items())
    number = words.get("contract_number")
    if number is not None and not numbered and read_id(Prefix.TRADE, number) is not None:
        faults.append(
            Fault("/contract_number", "must not look like the id of a trade, which numbers orders that have no number")
        )
    return faults


def check_correction(field: str, after: str | None) -> None:
    """Check what shall stand in a field from now on. Raises TradeFieldsWrong."""
    if field not in WORDS:
        refuse([Fault("/field", "must be one of " + ", ".join(WORDS))])
    if after is None and field in {"purpose", "contract_number"}:
        refuse([Fault("/value", f"must be given: every trade has a {field}")])
    refuse([Fault("/value", fault.rule) for fault in word_faults(**{field: after})])


def refuse_given(**given: object) -> None:
    """Refuse fields that have no place in this kind of request. Raises TradeFieldsWrong."""
    refuse([Fault(f"/{name}", "must be left out here") for name, value in given.items() if value is not None])


def require_contract(number: str | None, sha256: str | None) -> tuple[str, str]:
    """Give what identifies the contract of a negotiated trade. Raises TradeFieldsWrong where it is missing."""
    named = {"contract_number": number, "contract_sha256": sha256}
    refuse(
        [Fault(f"/{name}", "must be given for a negotiated trade") for name, value in named.items() if value is None]
    )
    return str(number), str(sha256)


def check_reference(external_ref: str | None) -> None:
    """Check a party's own reference. Raises TradeFieldsWrong."""
    refuse(text_faults([("external_ref", external_ref, REFERENCE_LIMIT)]))


def check_evidence(evidence: Sequence[str]) -> None:
    """Check the documents of a filing: at least one. Raises TradeFieldsWrong."""
    refuse(
        evidence_faults(evidence)
        if evidence
        else [Fault("/evidence", "must name at least one document by its SHA-256")]
    )


def refuse(faults: Sequence[Fault]) -> None:
    """Raise TradeFieldsWrong where there are faults."""
    if faults:
        raise TradeFieldsWrong(f"{len(faults)} of the fields break a rule.", *faults)


def check_price(price: Price) -> None:
    """Check an amount: net > 0, vat ≥ 0, net + vat = gross ≤ 10^14 fen. Raises AmountWrong."""
    faults = []
    if price.net <= 0:
        faults.append(Fault("/net", "must be positive"))
    if price.vat < 0:
        faults.append(Fault("/vat", "must not be negative"))
    if price.net + price.vat != price.gross:
        faults.append(Fault("/gross", "must be the sum of net and vat"))
    if price.gross > TRADE_LIMIT:
        faults.append(Fault("/gross", f"must be at most {TRADE_LIMIT} fen"))
    if faults:
        raise AmountWrong("The amounts break a rule.", *faults)


def listed_price(unit_price: Money | None, quantity: int, vat_rate_bp: int) -> Price:
    """Give the amount of a taken listing: gross = price × quantity, split by its VAT rate. Raises AmountWrong.

    `unit_price` is null where the listing has no fixed price.
    """
    if unit_price is None:
        raise AmountWrong(
            "The listing has no fixed price; it can only be negotiated.",
            Fault("/listing_id", "must have a fixed price"),
        )
    price = split_gross(Money(unit_price * quantity), vat_rate_bp)
    check_price(price)
    return price


def check_stated(stated: Price, due: Price) -> None:
    """Check that the amount stated for a listed trade is the one due. Raises AmountWrong."""
    faults = [
        Fault(f"/{name}", "must be what price, quantity and VAT rate of the listing give")
        for name in ("net", "vat", "gross")
        if getattr(stated, name) != getattr(due, name)
    ]
    if faults:
        raise AmountWrong("A listed trade costs what its listing says.", *faults)


@dataclass(frozen=True, slots=True)
class OldDates:
    """The days of an old trade."""

    proposed_on: date
    effective_on: date | None
    ended_on: date | None
    received_on: date | None


def check_old_dates(state: TradeState, days: OldDates, *, told_later: bool = False) -> None:
    """Check that an old trade has the days that its state needs, in order. Raises TradeFieldsWrong.

    What was made elsewhere, a filing or an auction, may have been put forward here (`proposed_on`) after it was made.
    """
    counts = state in {TradeState.CONTRACTED, TradeState.TERMINATED}
    ends = state in {TradeState.CANCELLED, TradeState.TERMINATED}
    faults = []
    if counts != (days.effective_on is not None):
        faults.append(Fault("/effective_on", "must be given for what was contracted, and only then"))
    if ends != (days.ended_on is not None):
        faults.append(Fault("/ended_on", "must be given for what was cancelled or terminated, and only then"))
    named = [("proposed_on", days.proposed_on), ("effective_on", days.effective_on), ("ended_on", days.ended_on)]
    given = [(name, day) for name, day in named if day is not None and not (told_later and name == "proposed_on")]
    faults += [
        Fault(f"/{name}", f"must not lie before {before}")
        for (before, earlier), (name, day) in pairwise(given)
        if day < earlier
    ]
    if days.received_on is not None and days.received_on < (days.effective_on or days.proposed_on):
        faults.append(Fault("/received_on", "must not lie before the trade"))
    refuse(faults)
