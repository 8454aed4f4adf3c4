"""Waiting for what happens next."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from starlette.types import Receive

from exchange.database import Database
from exchange.journal.queries import present

LOOK_S: Final = 0.25
"""So often it is looked whether the journal went on, however many wait."""


async def vanished(receive: Receive) -> None:
    """Return when the client has gone; what it still sends is not kept."""
    while (await receive())["type"] != "http.disconnect":
        pass


class HeadWatch:
    """Looks for all who wait whether the journal went on: the database is asked a few times a second, however many they are."""

    def __init__(self, database: Database, look_s: float = LOOK_S) -> None:
        """Watch a database, which is asked no more often than every `look_s` seconds."""
        self._database = database
        self._look_s = look_s
        self._looking = asyncio.Lock()
        self._looked_at = -look_s
        self._position = 0

    async def position(self) -> int:
        """Give the last position, as known `look_s` seconds ago at most."""
        async with self._looking:
            await self._look()
        return self._position

    async def _look(self) -> None:
        if time.monotonic() < self._looked_at + self._look_s:
            return
        self._position = (await self._database.read(present)).position
        self._looked_at = time.monotonic()

    async def wait(self, position: int, until: float, ended: Callable[[], bool]) -> bool:
        """Wait until the journal has gone beyond a position; False where time is over first, or is to end."""
        while await self.position() <= position:
            rest = min(self._look_s, until - time.monotonic())
            if rest <= 0 or ended():
                return False
            await asyncio.sleep(rest)
        return True
