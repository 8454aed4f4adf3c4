"""How often one address, and one key, may ask a process; and that who guesses keys is answered ever more slowly.

Counted in whole minutes, in memory, each process for itself: see docs/decisions/0019.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final

from starlette.types import Scope

from exchange.problems import TooOften

WINDOW_S: Final = 60
COUNTED_LIMIT: Final = 100_000
"""So many are counted at most; beyond, who came first in the minute is forgotten, so that memory stays bounded."""
NETWORK_BITS: Final = 64
"""Whoever has one IPv6 address has all that begin with the same half."""
FREE_FAILURES: Final = 10
"""So many wrong keys a minute are answered at once."""
FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 5.0
DELAYED_LIMIT: Final = 100
"""So many wait for such an answer at most, of all addresses; beyond, who would wait is told to come again."""


class RateExceeded(TooOften):
    """Too many requests came from this key or this address."""

    remedy = "Wait for as many seconds as `Retry-After` says; many trades go in one request: POST /v1/trades:batch."


class TooManyWrongKeys(TooOften):
    """Too many wrong keys came from this address."""

    remedy = "Check the key, and wait for as many seconds as `Retry-After` says."


@lru_cache(10_000)
def network(host: str) -> str:
    """Give what an address is counted under: itself, or of IPv6 the network that a single customer has."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> NETWORK_BITS << NETWORK_BITS))


def address_of(scope: Scope) -> str:
    """Give what the address that asks is counted under; behind a proxy, the one that the server took from it."""
    client = scope.get("client")
    return network(client[0]) if client else ""


@dataclass(slots=True)
class Window:
    """How often each has come in the present minute. `limit` 0: nobody is counted."""

    name: str
    limit: int
    kind: type[TooOften] = RateExceeded
    _until: float = 0.0
    _counts: OrderedDict[Hashable, int] = field(default_factory=OrderedDict)

    def so_far(self, who: Hashable) -> int:
        """Say how often somebody has come."""
        return self._counts.get(who, 0) if time.monotonic() < self._until else 0

    def count(self, who: Hashable) -> int:
        """Count one more; give how many they are now."""
        moment = time.monotonic()
        if moment >= self._until:
            self._counts.clear()
            self._until = moment + WINDOW_S
        number = self._counts.get(who, 0) + 1
        if number == 1 and len(self._counts) >= COUNTED_LIMIT:
            self._counts.popitem(last=False)
        self._counts[who] = number
        return number

    def require(self, who: Hashable) -> None:
        """Count one more. Raises TooOften."""
        if self.limit and self.count(who) > self.limit:
            raise self.too_often()

    def too_often(self) -> TooOften:
        """Say that it was too often, and when the next minute begins."""
        seconds = max(1, math.ceil(self._until - time.monotonic()))
        return self.kind(f"More than {self.limit} in a minute.", self.name, self.limit, WINDOW_S, seconds)


class Rates:
    """The minutes of a process."""

    def __init__(self, per_key: int, per_address: int) -> None:
        """Take how many requests a minute a key, and an address, may send; 0: as many as it likes."""
        self.keys = Window("key", per_key)
        self.addresses = Window("address", per_address)
        self._failures = Window("wrong-keys", FREE_FAILURES, TooManyWrongKeys)
        self._delayed = 0
        self._doubtful = asyncio.Lock()

    def looking_up(self, address: str) -> AbstractAsyncContextManager[object]:
        """Let unknown keys of addresses from which many wrong ones came be looked up one after the other; nobody else waits for them."""
        return self._doubtful if self._failures.so_far(address) > FREE_FAILURES else nullcontext()

    async def failed(self, address: str) -> None:
        """Note that a wrong key came from an address, and let its answer wait where it was not the first; a right one never waits so.

        Raises TooManyWrongKeys where too many wait already.
        """
        number = self._failures.count(address) - FREE_FAILURES
        if number <= 0:
            return
        if self._delayed >= DELAYED_LIMIT:
            raise self._failures.too_often()
        self._delayed += 1
        try:
            await asyncio.sleep(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(number - 1, 10)))
        finally:
            self._delayed -= 1
