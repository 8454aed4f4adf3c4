"""Telling that it is too much must not itself become too much."""

import asyncio
import time
from typing import Final

GAP_S: Final = 0.002
"""Between one refusal and the next: all of them together take a tenth of a processor or so."""
LONGEST_S: Final = 10.0


class Refusals:
    """Lets refusals go out one after the other. Whoever asks again at once, as often as it is refused, so asks no more often than can be borne."""

    def __init__(self) -> None:
        """Begin with none."""
        self._last = 0.0

    async def turn(self) -> None:
        """Wait for the turn, no longer than ten seconds; where few are refused, not at all."""
        now = time.monotonic()
        self._last = min(max(self._last + GAP_S, now), now + LONGEST_S)
        if self._last > now:
            await asyncio.sleep(self._last - now)
