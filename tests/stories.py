"""Who takes the next step of a story along the document's links, and with what: the key, the body and the headers with which it is accepted."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import count
from typing import Any, Final

from doors import OPERATIONS, WRITES, Door, Wish, amounts, listed, trd
from exchanges import a_price, a_sha256

from exchange.access.tables import Role
from exchange.api.access import ACCESS
from exchange.trades.states import TradeState

SHOWN: Final = {
    "mbr": "/v1/members",
    "prd": "/v1/products",
    "lst": "/v1/listings",
    "trd": "/v1/trades",
    "mnd": "/v1/mandates",
}
"""Where a thing is read, by what its id begins with."""

SECOND: Final = {"approve_expulsion", "approve_readmission", "approve_reversal"}
"""What another person than the one that proposed it decides."""
OTHER: Final = {"confirm_trade", "approve_termination"}
"""What the other party does."""

GIVEN: Final[dict[str, dict[str, Any]]] = {
    # The example's day lies before every day of an exchange that begins now.
    "review_filing": {"decision": "approve", "reason": "Contract and payment agree."},
}
REJECTION: Final = {"decision": "reject", "reason": "The contract is missing."}
"""What becomes of a filing that the other party has not confirmed."""
ASKED: Final = {"show_statement": {"from": "2026-03-01", "to": "2026-03-31"}}
"""What a step asks for."""


def body_of(operation: str) -> Any:
    """Give a good body of an operation: the document's own example, but where it cannot be good for all; None where it reads."""
    said = OPERATIONS[operation][2].get("requestBody")
    if said is None:
        return None
    return deepcopy(GIVEN.get(operation, said["content"]["application/json"]["example"]))


def is_staffs(operation: str, *, staff: bool) -> bool:
    """Tell whether an operator takes a step: always where no member may, and where both may if it shall."""
    roles = ACCESS[operation].roles
    return Role.OPERATOR in roles and (staff or Role.MEMBER not in roles)


class Cast:
    """The people of a story, found by what they own."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.numbers = count(1)
        self.assessor = door.of(door.place.a_member(roles=("service_org",)))
        self.strangers = {5: door.of(door.place.a_member()), 11: door.auditor}
        """Who takes which steps of a story, though they may not be theirs."""

    def seen(self, id_: str) -> tuple[dict[str, Any], dict[str, str]]:
        """Give what an operator is shown of a thing, and the header that names it as it stands now; nothing where nothing shows it."""
        if (path := SHOWN.get(id_[:3])) is None:
            return {}, {}
        answer = self.door.ask("GET", f"{path}/{id_}", self.door.operator)
        if answer.status_code != 200:
            return {}, {}
        return answer.json(), {"If-Match": tag} if (tag := answer.headers.get("etag")) else {}

    def owners(self, id_: str) -> list[str]:
        """Give the codes of those whose thing it is; of a trade both parties', the proposer's first."""
        shown, _ = self.seen(id_)
        if "owner" in shown:
            return self.owners(shown["owner"])
        if "proposer" in shown:
            sides = ("seller", "buyer") if shown["proposer"] == "seller" else ("buyer", "seller")
            return [shown[side]["uscc"] for side in sides]
        return [shown[name] for name in ("uscc", "principal_uscc") if name in shown]

    def key(self, operation: str, id_: str, *, staff: bool = False) -> str:
        """Give a key with which this step of this thing may be taken: its company's where members do it, unless staff shall and may."""
        if operation in SECOND:
            return self.door.second_operator
        if is_staffs(operation, staff=staff):
            return self.door.operator
        if operation == "record_assessment":
            return self.assessor
        owners = self.owners(id_)
        if not owners:
            return self.door.operator
        return self.door.token(Role.MEMBER, "Zhang", owners[-1 if operation in OTHER else 0])

    def headers(self, operation: str, id_: str) -> dict[str, str]:
        """Give `If-Match` for a step that reads it: the thing as it stands."""
        named = {parameter["name"] for parameter in OPERATIONS[operation][2]["parameters"]}
        return {name: value for name, value in self.seen(id_)[1].items() if name in named}


def negotiated(door: Door) -> Wish:
    """Propose a trade on which nobody has agreed yet."""
    offer = door.place.a_listing()
    body = listed(offer) | amounts(a_price()) | {"mode": "negotiated", "contract_sha256": a_sha256("HT-1")}
    return Wish("/v1/trades", body, door.of(door.place.a_member()), 201)


def confirmed_filing(door: Door) -> Wish:
    """Confirm what the other party filed."""
    sale = door.place.a_trade(TradeState.FILED)
    return Wish(f"/v1/trades/{trd(sale.id)}/confirmation", {}, door.of(sale.buyer))


BEFORE: Final[dict[tuple[str, str], Callable[[Door], Wish]]] = {
    ("create_trade", "confirm_trade"): negotiated,
    ("create_trade", "cancel_trade"): negotiated,
    ("confirm_trade", "review_filing"): confirmed_filing,
}
"""What comes before a step, where the operation's own good request leads elsewhere."""


def beginning(door: Door, operation: str, drawn: dict[str, Any]) -> Wish:
    """Give a good request of an operation, of that kind of which what was drawn is; only staff says as of which day."""
    wish = WRITES[operation]
    if drawn.get("mode") == "negotiated":
        wish = negotiated
    if operation == "confirm_trade" and drawn.get("external_ref") is None:
        wish = confirmed_filing
    made = wish(door)
    return replace(made, by=door.operator) if drawn.get("effective_on") and is_staffs(operation, staff=True) else made


def continuation(cast: Cast, operation: str, id_: str, drawn: dict[str, Any]) -> tuple[str, Any]:
    """Give key and body of a step of a thing, of that kind of which what was drawn is."""
    by = cast.key(operation, id_, staff=bool(drawn.get("effective_on")))
    return by, REJECTION if drawn.get("decision") == "reject" else body_of(operation)
