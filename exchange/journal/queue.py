"""Who waits for the journal. Callers take turns, so that one who sends much keeps nobody else waiting, and no more wait than can be served soon."""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from exchange.problems import Unavailable

T = TypeVar("T")

BATCH_LIMIT: Final = 1_000
"""The most commands in one transaction; a single job of more still goes alone."""
SMALL: Final = 16
"""A batch of so many is not made smaller, whatever waits."""
CALLER_LIMIT: Final = 50
"""The most of one caller in one transaction while others wait, or did a moment ago: what they wait for stays short."""
WAIT_S: Final = 0.5
"""No more wait than are served in this time, as the last batches went; in twice this time, where each has only its share of them."""
MEMORY: Final = 0.9
"""So much each batch lets count of those before it."""
RETRY_LIMIT_S: Final = 30
CLOCK_S: Final = 1e-6


class Overloaded(Unavailable):
    """Too many requests wait already."""

    def __init__(self, detail: str = "", retry_after_s: int = 1) -> None:
        """Take after how many seconds it may be tried again."""
        super().__init__(detail)
        self.retry_after_s = retry_after_s


@dataclass(slots=True, eq=False)
class _Line(Generic[T]):
    """What one caller has waiting, first come first."""

    caller: str
    jobs: deque[tuple[int, T]] = field(default_factory=deque)
    """Each with the number of its commands."""
    waiting: int = 0
    saved: int = 0
    """Turns saved for a job that is larger than one of them, in commands."""


class Queue(Generic[T]):
    """Lines of callers. Every operation takes the same time, however many wait."""

    def __init__(self, limit: int) -> None:
        """Take how many commands may wait."""
        self.limit = limit
        self.waiting = 0
        """So many commands wait."""
        self.bound = limit
        """So many may wait as things go; who has less than its share of them waiting is taken beyond it, up to twice as many."""
        self._lines: dict[str, _Line[T]] = {}
        self._turns: deque[_Line[T]] = deque()
        self._taken = 0
        """So many commands were in the last batch: its callers are answered now, and come again."""
        self._lone = BATCH_LIMIT
        """So many in one batch of a caller that waits alone: few at first where others came a moment ago, and may come again."""
        self._commands = self._seconds = 0.0

    @property
    def full(self) -> bool:
        """Whether nobody at all is taken."""
        return self.waiting >= 2 * self.bound

    def room(self, caller: str) -> int:
        """Tell how many more commands of a caller are taken; of one that has more than its share, fewer than none."""
        line = self._lines.get(caller)
        held, callers = (line.waiting, len(self._lines)) if line else (0, len(self._lines) + 1)
        share = max(1, self.bound // callers)
        return max(self.bound - self.waiting, min(2 * self.bound - self.waiting, share - held))

    def require_room(self, caller: str, size: int = 1) -> None:
        """Refuse a caller whose further commands would not be taken. Raises Overloaded."""
        # A single large job passes where nobody waits.
        if self.waiting and size > self.room(caller):
            raise self.overloaded()

    def overloaded(self) -> Overloaded:
        """Say that it is too much, and when what waits now will have been served."""
        seconds = self.waiting * self._seconds / self._commands if self._commands else 1
        return Overloaded(f"{self.waiting} commands wait already.", max(1, min(RETRY_LIMIT_S, math.ceil(seconds))))

    def put(self, caller: str, size: int, item: T, *, always: bool = False) -> None:
        """Let a caller's job of so many commands wait; `always`: whether there is room or not. Raises Overloaded."""
        if not always:
            self.require_room(caller, size)
        line = self._lines.get(caller)
        if line is None:
            line = self._lines[caller] = _Line(caller)
            self._turns.append(line)
        line.jobs.append((size, item))
        line.waiting += size
        self.waiting += size

    def take(self) -> list[T]:
        """Take the next batch: of each caller in turn its share, in its order, and at least one job where any waits.

        A turn that is too small for a caller's next job is saved until they are enough (deficit round robin).
        """
        turns = len(self._turns)
        share = self._share(turns)
        batch: list[T] = []
        waiting, rest = self.waiting, self._size_limit()
        while self._turns and (turns > 0 or not batch):
            line = self._turns[0]
            if batch and line.jobs[0][0] > rest:
                break  # it comes first in the next batch
            turns -= 1
            line.saved += share
            while line.jobs and line.jobs[0][0] <= line.saved and (line.jobs[0][0] <= rest or not batch):
                size, item = line.jobs.popleft()
                batch.append(item)
                rest -= size
                line.saved -= size
                line.waiting -= size
                self.waiting -= size
            self._end_turn(line)
        self._taken = waiting - self.waiting
        return batch

    def _size_limit(self) -> int:
        """Give half of all that are on their way: while one half is written, the other is answered and asks anew.

        Left alone, the halves grow apart: while a large one is written few are answered, so that a small one follows, for which the door
        then has no time.
        """
        return min(BATCH_LIMIT, max(SMALL, -(-(self.waiting + self._taken) // 2)))

    def _share(self, callers: int) -> int:
        if callers > 1:
            self._lone = CALLER_LIMIT
            return min(CALLER_LIMIT, max(1, BATCH_LIMIT // callers))
        share = self._lone
        self._lone = min(BATCH_LIMIT, 2 * share)
        return share

    def _end_turn(self, line: _Line[T]) -> None:
        self._turns.popleft()
        if not line.jobs:
            del self._lines[line.caller]
            return
        self._turns.append(line)
        if line.jobs[0][0] <= line.saved:
            line.saved = 0  # the batch was full: only for a large job is anything saved

    def served(self, commands: int, seconds: float) -> None:
        """Take note of how long a batch took: as many may wait as are served in that time, and always one batch."""
        self._commands = self._commands * MEMORY + commands
        self._seconds = self._seconds * MEMORY + seconds
        soon = WAIT_S * self._commands / max(self._seconds, CLOCK_S)
        self.bound = min(self.limit, max(BATCH_LIMIT, int(soon)))
