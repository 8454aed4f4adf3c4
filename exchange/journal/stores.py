"""What the journal needs of a store: to run a batch as one transaction. Three fulfil it: PostgreSQL, SQLite, and memory."""

from collections.abc import Sequence
from typing import Protocol

from exchange.journal.batch import Outcome, Rehearsal
from exchange.journal.commands import Job
from exchange.problems import Unavailable


class StoreFailed(Exception):  # noqa: N818 - reads as what happened
    """The database refused the batch; nothing of it is stored. Some job in it broke a constraint, or could not be written."""


class StoreLost(Exception):  # noqa: N818 - reads as what happened
    """The connection was lost; the batch may be stored or not. Running it again tells: its keys are remembered."""


class StoreBusy(Exception):  # noqa: N818 - reads as what happened
    """Another process held the head for too long; nothing of the batch is stored."""


class StoreUnwritable(Unavailable):
    """The database cannot be written: it may be read only, or its disk full. Nothing of the batch is stored."""

    remedy = "Make the database writable, and send the same request with the same key again."


class Store(Protocol):
    """Runs batches, one after the other."""

    async def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Decide and commit these jobs in one transaction. Raises StoreFailed, StoreLost, StoreBusy or StoreUnwritable."""

    async def rehearse(self, jobs: Sequence[Job]) -> Rehearsal:
        """Decide these jobs on a snapshot, without the head's lock and without a trace. Raises StoreFailed, StoreLost or StoreBusy."""

    async def close(self) -> None:
        """Give back what is held."""
