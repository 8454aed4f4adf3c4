"""`exchange serve` as it is, but for its store: that one answers each job at once, so that what remains is the door.

Run as `python -m benchmarks.without_journal serve …`. Callers are still read from the database that EXCHANGE_DATABASE_URL names.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from unittest.mock import patch

from exchange.cli import main
from exchange.clock import instant_text
from exchange.database import Database
from exchange.journal.batch import Outcome, Rehearsal
from exchange.journal.commands import Answer, Job
from exchange.journal.events import Chance, canonical


class AtOnce:
    """A store that keeps nothing: every job gets the answer of a taken listing."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        """Take the clock."""
        trade = {"id": "trd_000000001234", "state": "contracted", "related": False, "late": False}
        self._body = canonical(trade | {"position": 1_234, "recorded_at": instant_text(now())}).decode()

    async def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Answer all."""
        return [Answer(job.status, self._body, 1_234) for job in jobs]

    async def rehearse(self, jobs: Sequence[Job]) -> Rehearsal:
        """Answer all."""
        return Rehearsal(1_234, await self.run(jobs))

    async def close(self) -> None:
        """Do nothing: there is nothing to give back."""


def _open_store(_: Database, now: Callable[[], datetime], __: Chance) -> AtOnce:
    return AtOnce(now)


if __name__ == "__main__":
    with patch("exchange.app.open_store", _open_store):
        main()
