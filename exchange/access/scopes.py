"""What a key is for, where it is restricted: each command belongs to a scope, by the feature that it is of."""

from collections.abc import Set as AbstractSet
from functools import cache
from typing import Final

from exchange.access.tables import Scope
from exchange.journal.commands import Command
from exchange.problems import Forbidden

SCOPE_OF_FEATURE: Final = {
    "access": Scope.KEYS,
    "agents": Scope.KEYS,
    "listings": Scope.CATALOGUE,
    "members": Scope.MEMBERSHIP,
    "trades": Scope.TRADES,
    "volume": Scope.TRADES,
}


class ScopeMissing(Forbidden):
    """The key is not for this."""

    remedy = "Use a key that has the scope which `detail` names, or one without scopes, which has all of its role's."


@cache
def scope_of(command: type[Command]) -> Scope | None:
    """Say to which scope a command belongs; None where to none, so that no restricted key does it."""
    return Scope(command.scope) if command.scope else SCOPE_OF_FEATURE.get(command.__module__.split(".")[1])


def require(scopes: AbstractSet[Scope] | None, scope: Scope | None) -> None:
    """Refuse what a key with these scopes is not for; without scopes it is for all. Raises ScopeMissing."""
    if scopes is not None and scope not in scopes:
        raise ScopeMissing(f"It needs the scope {scope}." if scope else "Only a key without scopes does this.")
