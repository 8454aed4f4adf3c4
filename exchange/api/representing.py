"""Acting for another member: a header says for whom; what that may be is the mandate's to say."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Final

from starlette.requests import Request

from exchange.access.callers import KeyHolder
from exchange.agents.callers import agent_for
from exchange.agents.queries import steps_held
from exchange.agents.rules import NoMandate
from exchange.agents.tables import MandateStep
from exchange.database import Database
from exchange.identifiers import USCC_RULE, is_uscc
from exchange.problems import Fault, Malformed
from exchange.tenancy import read_for

ACTING_FOR: Final = "exchange-acting-for"


class ActingForWrong(Malformed):
    """The header `Exchange-Acting-For` cannot be read, or has no place here."""

    remedy = "Send one code (uscc) of the company you act for, with a member's key, where the documentation names the header."


def acting_for(request: Request, caller: KeyHolder) -> str | None:
    """Give the code of the company acted for; None where the caller acts for itself. Raises ActingForWrong."""
    given = request.headers.getlist(ACTING_FOR)
    if not given:
        return None
    if caller.uscc is None:
        raise ActingForWrong("Only members act for others.")
    if len(given) != 1 or not is_uscc(given[0]):
        raise ActingForWrong("It holds no code, or more than one.", Fault(f"/{ACTING_FOR}", USCC_RULE))
    return given[0]


def as_writer(request: Request, caller: KeyHolder) -> KeyHolder:
    """Give who writes: the caller, or the agent that it is for another company. The journal looks at the mandate."""
    principal = acting_for(request, caller)
    return caller if principal is None else agent_for(caller, principal)


async def as_reader(
    request: Request, caller: KeyHolder, database: Database, today: Callable[[], date], enough: frozenset[MandateStep]
) -> KeyHolder:
    """Give who reads: the caller, or the company acted for, as far as one of these steps lets its agent see what it has.

    Raises ActingForWrong, NoMandate.
    """
    principal = acting_for(request, caller)
    if principal is None:
        return caller
    if not enough:
        raise ActingForWrong("This is not read for others.")
    assert caller.uscc is not None, "only members act for others"
    if not enough & await read_for(database, caller.uscc, steps_held, principal, caller.uscc, today()):
        raise NoMandate("There is none for what is asked, or it has ended.")
    # Cursors are bound to the holder: one that was given for one company is of no use for another.
    return replace(caller, holder=f"{caller.holder} for {principal}", uscc=principal)
