"""Who looks on while the journal works: whatever counts and measures. The journal itself knows nothing of figures."""

from collections.abc import Sequence
from typing import Protocol

from exchange.journal.batch import Outcome
from exchange.journal.commands import Job


class Watch(Protocol):
    """Is told what became of the batches; called on the server's loop, so that it must be quick."""

    def batch_done(self, jobs: Sequence[Job], outcomes: Sequence[Outcome], seconds: float) -> None:
        """Take note of a batch: one outcome for each job, and how long it took from its first statement to its last, in seconds."""

    def connection_lost(self) -> None:
        """Take note that the database went away, and will be asked again."""


class Nobody:
    """Takes note of nothing."""

    def batch_done(self, jobs: Sequence[Job], outcomes: Sequence[Outcome], seconds: float) -> None:
        """Let a batch pass."""

    def connection_lost(self) -> None:
        """Let it pass."""


NOBODY = Nobody()
