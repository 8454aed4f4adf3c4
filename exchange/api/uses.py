"""When keys were used last: noted in memory at each request, written once a minute beside the journal, so that no answer waits for it."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from exchange.access.queries import note_uses
from exchange.database import Database
from exchange.identifiers import KeyId

WRITE_EVERY_S: Final = 60.0
log = logging.getLogger(__name__)


class Uses:
    """The keys that were used since the last writing. Several processes may write: the latest instant stays."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        """Take where to write, and the clock."""
        self._database = database
        self._now = now
        self.noted: set[KeyId | None] = set()

    async def write(self) -> None:
        """Write what was noted, as of now; what cannot be written now is written the next time."""
        keys, self.noted = self.noted, set()
        if not keys:
            return
        try:
            await self._database.alter(note_uses([key for key in keys if key is not None], self._now()))
        except (SQLAlchemyError, OSError) as error:
            self.noted |= keys
            log.warning("when keys were used could not be written: %s", type(error).__name__)

    async def keep_writing(self) -> None:
        """Write from time to time, until it is cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write()
