"""Who may do what over HTTP, in one table: operation × role × scope × whose. What has no row is not opened: the application does not start.

The commands say once more who may (`allowed`), for they are also reached by the command line; where the two differ, it does not start either.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from exchange.access.tables import EVERYBODY, READERS, Role, Scope


class RowMissing(Exception):  # noqa: N818 - reads as what it is
    """Each route has a row that says for whom it is; this one has none, or another one than its command."""


class Whose(Enum):
    """To whom a member's request must belong, beside its role."""

    NOBODYS = "no object is named: a member is shown, or makes, what is its own or open to all members"
    OWN = "its own company's only: what is another's is answered as if it were not"
    SEEN = "what it may see: its own, and what is open to all members; the rest is answered as if it were not"
    STAFF = "no member does this"


@dataclass(frozen=True, slots=True)
class Access:
    """A row of the table."""

    roles: frozenset[Role]
    scope: Scope
    whose: Whose


MEMBERS: Final = frozenset({Role.MEMBER})
OPERATORS: Final = frozenset({Role.OPERATOR})
BOTH: Final = MEMBERS | OPERATORS


def _rows(roles: frozenset[Role], scope: Scope, whose: Whose, operations: str) -> dict[str, Access]:
    return dict.fromkeys(operations.split(), Access(roles, scope, whose))


ACCESS: Final[dict[str, Access]] = {
    # Reading
    **_rows(EVERYBODY, Scope.READ, Whose.NOBODYS, "list_members list_products list_listings list_trades list_events"),
    **_rows(EVERYBODY, Scope.READ, Whose.SEEN, "show_member show_listing"),
    **_rows(EVERYBODY, Scope.READ, Whose.OWN, "show_statement show_product show_trade"),
    **_rows(READERS, Scope.READ, Whose.STAFF, "show_summary list_queues show_queue search"),
    # Members
    **_rows(BOTH, Scope.MEMBERSHIP, Whose.NOBODYS, "apply_for_membership"),
    **_rows(BOTH, Scope.MEMBERSHIP, Whose.OWN, "correct_application withdraw_member"),
    **_rows(
        OPERATORS,
        Scope.MEMBERSHIP,
        Whose.STAFF,
        "start_review request_correction admit_member reject_member suspend_member reinstate_member change_member correct_member "
        "propose_expulsion approve_expulsion propose_readmission approve_readmission",
    ),
    # Products and listings
    **_rows(MEMBERS, Scope.CATALOGUE, Whose.NOBODYS, "register_product draft_listing"),
    **_rows(MEMBERS, Scope.CATALOGUE, Whose.OWN, "describe_version submit_listing"),
    **_rows(MEMBERS, Scope.CATALOGUE, Whose.SEEN, "record_assessment"),
    **_rows(BOTH, Scope.CATALOGUE, Whose.SEEN, "delist_listing"),
    **_rows(OPERATORS, Scope.CATALOGUE, Whose.STAFF, "approve_listing reject_listing suspend_listing resume_listing"),
    # Trades
    **_rows(MEMBERS, Scope.TRADES, Whose.NOBODYS, "create_trade create_trades file_trade"),
    **_rows(MEMBERS, Scope.TRADES, Whose.OWN, "confirm_trade contract_trade cancel_trade approve_termination"),
    **_rows(BOTH, Scope.TRADES, Whose.OWN, "terminate_trade"),
    **_rows(
        OPERATORS,
        Scope.TRADES,
        Whose.STAFF,
        "record_auction review_filing propose_reversal approve_reversal correct_trade close_month",
    ),
    # Keys
    **_rows(BOTH, Scope.KEYS, Whose.NOBODYS, "list_keys create_key"),
    **_rows(BOTH, Scope.KEYS, Whose.OWN, "revoke_key"),
    # Who acts for whom
    **_rows(EVERYBODY, Scope.READ, Whose.NOBODYS, "list_mandates"),
    **_rows(EVERYBODY, Scope.READ, Whose.OWN, "show_mandate"),
    **_rows(MEMBERS, Scope.KEYS, Whose.NOBODYS, "grant_mandate"),
    **_rows(MEMBERS, Scope.KEYS, Whose.OWN, "end_mandate"),
    # What is personal
    **_rows(OPERATORS, Scope.MEMBERSHIP, Whose.STAFF, "read_person erase_person read_member_data erase_member_data"),
}

OPEN: Final = frozenset(
    "show_life show_readiness show_metrics show_problem home docs docs_assets openapi".split()  # noqa: SIM905 - as above
)
"""What needs no key: nothing of anybody's is in it."""


def require_rows(operations: Iterable[str]) -> None:
    """Refuse to open what nobody has said for whom it is. Raises RowMissing."""
    if missing := sorted(set(operations) - ACCESS.keys() - OPEN):
        raise RowMissing(f"No row says for whom these are: {', '.join(missing)}")
