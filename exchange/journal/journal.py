"""The queue before a store: requests wait here, and all that wait are committed together.

While one batch commits, the next gathers: nobody is kept waiting for others to come. A lone request is a batch of one.
"""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, NamedTuple, Self, TypeVar

from exchange.journal.batch import Outcome, Rehearsal
from exchange.journal.commands import Answer, Job
from exchange.journal.queue import Queue
from exchange.journal.stores import Store, StoreBusy, StoreFailed, StoreLost
from exchange.journal.watching import NOBODY, Watch
from exchange.problems import Problem, Unavailable

TRIES: Final = 4
PAUSE_S: Final = 0.2
TURN: Final = 25
"""So many items are made ready before others have a turn."""
GARBAGE_THRESHOLD: Final = 10_000
"""So many objects are made before the youngest are looked through."""
HELD_BACK_S: Final = 0.002
"""So long at most the answers of a batch are held back while the next is begun."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class Stopping(Unavailable):
    """The service is being stopped."""


class DatabaseAway(Unavailable):
    """The database cannot be reached or does not answer."""


class Defect(Exception):  # noqa: N818 - reads as what it is
    """The program failed at this job; nothing of it is stored. The log says how."""


class _Waiting(NamedTuple):
    job: Job
    answer: asyncio.Future[Answer]
    taken: bool = False
    """Whether another process took it, and notes what becomes of it."""


class Journal:
    """The one writer of this process."""

    def __init__(self, store: Store, queue_limit: int = 10_000, watch: Watch = NOBODY) -> None:
        """Take the store, how many commands may wait, and who looks on."""
        self._store = store
        self._watch = watch
        self._queue: Queue[_Waiting] = Queue(queue_limit)
        self._arrived = asyncio.Event()
        self._held_back: tuple[Sequence[_Waiting], Sequence[Outcome]] = (), ()
        self._stopping = False
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start writing."""
        self._writer = asyncio.create_task(self._write())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Answer all that wait, then stop."""
        self._stopping = True
        self._arrived.set()
        assert self._writer is not None
        await self._writer
        await self._store.close()

    @property
    def waiting(self) -> int:
        """So many commands wait."""
        return self._queue.waiting

    def room(self, caller: str) -> int:
        """Tell how many more commands of this holder are taken now."""
        return self._queue.room(caller)

    def require_room(self, caller: str | None = None) -> None:
        """Refuse whom the queue would not take, before anything is read for it: this holder, or anybody. Raises Stopping, Overloaded."""
        if self._stopping:
            raise Stopping
        if caller is not None:
            self._queue.require_room(caller)
        elif self._queue.full:
            raise self._queue.overloaded()

    async def do(self, job: Job) -> Answer:
        """Have a job decided and committed. Raises the problem that refuses it, or Defect.

        Who stops waiting does not undo it: the same request sent again gets the answer.
        """
        return await self._queue_up(job)

    async def do_all(self, jobs: Iterable[Job], *, taken: bool = False) -> list[Answer | Problem | Defect]:
        """Have jobs decided and committed in their order, each for itself; give what becomes of each.

        It is `do` for each, without a task for each; who stops waiting stops for all. What another process has `taken` is not refused for
        want of room.
        """
        answers: list[asyncio.Future[Answer] | Problem] = []
        for job in jobs:
            try:
                answers.append(self._queue_up(job, taken=taken))
            except Problem as problem:
                answers.append(problem)
        try:
            return [answer if isinstance(answer, Problem) else await _outcome(answer) for answer in answers]
        finally:
            for answer in answers:
                if not isinstance(answer, Problem):
                    answer.cancel()

    def _queue_up(self, job: Job, *, taken: bool = False) -> asyncio.Future[Answer]:
        if self._stopping:
            raise Stopping
        waiting = _Waiting(job, asyncio.get_running_loop().create_future(), taken)
        self._queue.put(job.caller.holder, len(job.commands), waiting, always=taken)
        self._arrived.set()
        return waiting.answer

    async def rehearse(self, jobs: Sequence[Job]) -> Rehearsal:
        """Say what would become of jobs as things are now; nothing waits in the queue. Raises DatabaseAway."""
        try:
            return await self._store.rehearse(jobs)
        except (StoreLost, StoreBusy) as error:
            raise DatabaseAway("It could not be read.") from error

    async def _write(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._queue.take()
            if not batch:
                if self._stopping:
                    return
                self._arrived.clear()
                continue
            began = time.perf_counter()
            outcomes = await commit(self._store, [waiting.job for waiting in batch], self._watch)
            seconds = time.perf_counter() - began
            self._queue.served(sum(len(waiting.job.commands) for waiting in batch), seconds)
            self._tell(batch, outcomes, seconds)
            self._answer_held_back()
            self._held_back = batch, outcomes
            if self._queue.waiting:
                asyncio.get_running_loop().call_later(HELD_BACK_S, self._answer_held_back)
            else:
                self._answer_held_back()

    def _answer_held_back(self) -> None:
        """Answer the last batch. While another waits, that one's first statements go before these answers, which are written meanwhile."""
        (batch, outcomes), self._held_back = self._held_back, ((), ())
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if waiting.answer.cancelled():
                continue
            if isinstance(outcome, Answer):
                waiting.answer.set_result(outcome)
            else:
                waiting.answer.set_exception(outcome if isinstance(outcome, Problem) else Defect(str(outcome)))

    def _tell(self, batch: Sequence[_Waiting], outcomes: Sequence[Outcome], seconds: float) -> None:
        own = [(waiting.job, outcome) for waiting, outcome in zip(batch, outcomes, strict=True) if not waiting.taken]
        if not own:
            return
        # Who looks on must never stop the one writer.
        try:
            self._watch.batch_done([job for job, _ in own], [outcome for _, outcome in own], seconds)
        except Exception:
            log.exception("A batch could not be noted")


def look_less_often() -> None:
    """Let the garbage collector leave alone what has been made by now, and look less often at what is made later.

    For who has many jobs done: what is made for one is mostly gone when it is, so that this spares a twentieth of the time, and what goes
    in circles waits a little longer. It takes a tenth of a second itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, *gc.get_threshold()[1:])


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """Give what is to be made ready for the journal, and let it and others have a turn now and then."""
    for number, item in enumerate(items):
        if number % TURN == 0:
            await asyncio.sleep(0)
        yield item


async def _outcome(answer: asyncio.Future[Answer]) -> Answer | Problem | Defect:
    try:
        return await answer
    except (Problem, Defect) as refused:
        return refused


async def commit(store: Store, jobs: Sequence[Job], watch: Watch = NOBODY) -> list[Outcome]:
    """Run a batch; where the database refuses it, by halves, so that the job at fault fails alone."""
    for attempt in range(TRIES):
        try:
            return await store.run(jobs)
        except StoreLost:
            log.warning("The connection to the database was lost; trying again", exc_info=True)
            watch.connection_lost()
            await asyncio.sleep(PAUSE_S * 2**attempt)
        except StoreBusy:
            log.warning("The head is held by another process for too long", exc_info=True)
            break
        except StoreFailed as error:
            if len(jobs) == 1:
                log.exception("The database refused a job", extra={"request_id": jobs[0].request_id})
                return [error]
            middle = len(jobs) // 2
            return [*await commit(store, jobs[:middle], watch), *await commit(store, jobs[middle:], watch)]
        except Unavailable as problem:
            return _all(jobs, problem)
        except Exception as error:
            log.exception("A batch failed")
            return _all(jobs, error)
    return _all(jobs, DatabaseAway("The database did not answer in time."))


def _all(jobs: Iterable[Job], outcome: Problem | Exception) -> list[Outcome]:
    return [outcome for _ in jobs]
