"""What must hold of products, versions and listings: pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from exchange.identifiers import SHA256_RULE, is_sha256
from exchange.listings.states import NEXT, ListingState, ListingStep
from exchange.listings.tables import (
    DataGrade,
    DeliveryMode,
    LegalBasis,
    Listing,
    ListingHistory,
    PriceModel,
    ProductVersion,
    RightKind,
    Sector,
    SourceType,
    UpdateFrequency,
    Visibility,
)
from exchange.money import BASIS_POINTS, TRADE_LIMIT, Money
from exchange.problems import Conflict, Fault, Invalid
from exchange.texts import NAME_LIMIT, PARAGRAPH_LIMIT, REFERENCE_LIMIT, text_faults

RECORD_LIMIT: Final = 10**15
CODE_PATTERN: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
RIGHT_PATTERN: Final = f"({'|'.join(RightKind)})(?::([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}))?"
_CODE: Final = re.compile(CODE_PATTERN, re.ASCII)
_RIGHT: Final = re.compile(RIGHT_PATTERN, re.ASCII)


class ProductFieldsWrong(Invalid):
    """Some field of the product, its version or its listing is not as it must be."""

    remedy = "Correct the fields named in `errors`."


class CoreDataRefused(Invalid):
    """Core data is never listed (GB/T 43697-2024)."""

    remedy = "There is none: core data cannot be traded here."


class ListingStepWrong(Conflict):
    """The listing is not in a state that allows this."""

    remedy = "Look at its present state."


class ListingNotTradable(Conflict):
    """The listing cannot be traded on that day."""

    remedy = "Choose a listing that is for sale, or ask its owner."


@dataclass(frozen=True, slots=True)
class VersionFields:
    """How an owner describes a version."""

    title: str
    abstract: str
    sector: Sector
    scenarios: str
    source_type: SourceType
    personal_information: bool
    legal_basis: LegalBasis | None
    grade: DataGrade
    coverage: str
    record_count: int
    update_frequency: UpdateFrequency
    delivery_modes: tuple[str, ...]
    rights: tuple[str, ...]
    sample_sha256: str | None = None
    ip_registration: str | None = None


@dataclass(frozen=True, slots=True)
class OfferFields:
    """On what terms a version is offered. The price is in fen and includes VAT; null when negotiable."""

    price_model: PriceModel
    price: Money | None
    vat_rate_bp: int
    visibility: Visibility = Visibility.PUBLIC
    expires_on: date | None = None


def next_state(state: ListingState, step: ListingStep) -> ListingState:
    """Give the state after a step. Raises ListingStepWrong."""
    after = NEXT.get((state, step))
    if after is None:
        raise ListingStepWrong(f"A listing that is {state} does not allow the step {step}.")
    return after


def right_expiry(right: str) -> tuple[RightKind, date | None]:
    """Read a right: its kind and the last day on which it holds. Raises ValueError."""
    found = _RIGHT.fullmatch(right)
    if found is None:
        raise ValueError(right)
    return RightKind(found[1]), date.fromisoformat(found[2]) if found[2] else None


def rights_expire_on(rights: Iterable[str]) -> date | None:
    """Give the day on which the first of the rights runs out; null where none does."""
    return min((expiry for _, expiry in map(right_expiry, rights) if expiry is not None), default=None)


def _rights_faults(rights: tuple[str, ...]) -> list[Fault]:
    rule = "must be hold, use or operate, each once, with a last day after a colon or none: use:2027-12-31"
    kinds = []
    for n, right in enumerate(rights):
        try:
            kinds.append(right_expiry(right)[0])
        except ValueError:
            return [Fault(f"/rights/{n}", rule)]
    return [] if kinds and len(set(kinds)) == len(kinds) else [Fault("/rights", rule)]


def check_code(code: str) -> None:
    """Check a product's code. Raises ProductFieldsWrong."""
    if not _CODE.fullmatch(code):
        rule = "must have 1 to 64 letters, digits, dots, hyphens or underscores, a letter or digit first"
        raise ProductFieldsWrong("The code breaks a rule.", Fault("/code", rule))


def check_version(fields: VersionFields) -> None:
    """Check how a version is described. Raises ProductFieldsWrong, CoreDataRefused."""
    if fields.grade is DataGrade.CORE:
        raise CoreDataRefused("The version is of core grade.", Fault("/grade", "must be general or important"))
    faults = text_faults(
        [
            ("title", fields.title, NAME_LIMIT),
            ("abstract", fields.abstract, PARAGRAPH_LIMIT),
            ("scenarios", fields.scenarios, PARAGRAPH_LIMIT),
            ("coverage", fields.coverage, NAME_LIMIT),
            ("ip_registration", fields.ip_registration, REFERENCE_LIMIT),
        ]
    )
    if fields.personal_information != (fields.legal_basis is not None):
        faults.append(Fault("/legal_basis", "must be given where there is personal information, and only there"))
    if not 0 <= fields.record_count <= RECORD_LIMIT:
        faults.append(Fault("/record_count", f"must lie between 0 and {RECORD_LIMIT}"))
    modes = fields.delivery_modes
    if not modes or len(set(modes)) < len(modes) or not set(modes) <= set(DeliveryMode):
        faults.append(
            Fault("/delivery_modes", "must name download, api, sandbox or private_compute, at least one, each once")
        )
    if fields.sample_sha256 is not None and not is_sha256(fields.sample_sha256):
        faults.append(Fault("/sample_sha256", SHA256_RULE))
    faults += _rights_faults(fields.rights)
    if faults:
        raise ProductFieldsWrong(f"{len(faults)} of the fields break a rule.", *faults)


def check_offer(fields: OfferFields) -> None:
    """Check the terms of an offer. Raises ProductFieldsWrong."""
    faults = []
    if (fields.price is None) != (fields.price_model is PriceModel.NEGOTIABLE):
        faults.append(Fault("/price", "must be left out when negotiable, and given otherwise"))
    elif fields.price is not None and not 0 < fields.price <= TRADE_LIMIT:
        faults.append(Fault("/price", f"must lie between 1 and {TRADE_LIMIT} fen"))
    if not 0 <= fields.vat_rate_bp <= BASIS_POINTS:
        faults.append(Fault("/vat_rate_bp", f"must lie between 0 and {BASIS_POINTS} basis points"))
    if faults:
        raise ProductFieldsWrong(f"{len(faults)} of the terms break a rule.", *faults)


def old_listing_faults(
    listed_on: date | None, changes: Sequence[tuple[date, ListingStep]], delisted_on: date | None
) -> list[Fault]:
    """Say what is wrong with the days on which an old listing was listed, suspended and resumed, and delisted."""
    later = [*(day for day, _ in changes), *([delisted_on] if delisted_on is not None else [])]
    if listed_on is None:
        return [Fault("/listed_on", "must be given for what was suspended or delisted")] if later else []
    faults = []
    if [listed_on, *later] != sorted([listed_on, *later]):
        name = "changes" if changes else "delisted_on"
        faults.append(Fault(f"/{name}", "must lie between listed_on and delisted_on, in their order"))
    turns = (ListingStep.SUSPEND, ListingStep.RESUME)
    if any(step is not turns[place % len(turns)] for place, (_, step) in enumerate(changes)):
        faults.append(Fault("/changes", "must be suspended and listed by turns"))
    return faults


def state_on(day: date, history: Iterable[ListingHistory]) -> ListingState | None:
    """Read off a listing's history its state on a day; null before it was drafted."""
    state = None
    for line in history:
        if line.effective_on <= day:
            state = line.state
    return state


def check_tradable(state: ListingState | None, listing: Listing, version: ProductVersion, day: date) -> None:
    """Check that a listing can be traded on a day, by its state then, its term, and the rights. Raises ListingNotTradable."""
    if state is not ListingState.LISTED:
        raise ListingNotTradable(f"The listing was not listed on {day}.")
    if listing.expires_on is not None and day > listing.expires_on:
        raise ListingNotTradable(f"The listing expired on {listing.expires_on}.")
    if version.rights_expire_on is not None and day > version.rights_expire_on:
        raise ListingNotTradable(f"A right on which the sale rests expired on {version.rights_expire_on}.")
