"""A store that the processes of one server share: one of them, the leader, runs the batches of all.

Processes that commit by turns each find the head moved by another, load anew what they would have kept, and make smaller batches. So whoever
holds a lock leads, and the others hand their batches over, by a socket in a folder that is theirs alone. Nothing depends on it: where the
leader does not answer, a process runs its batch itself, as processes on different machines always do. What is run twice by that is
answered from its idempotency keys the second time.
"""

import asyncio
import fcntl
import logging
import os
import pickle
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from exchange import __version__
from exchange.journal.batch import Outcome, Rehearsal
from exchange.journal.commands import Job
from exchange.journal.journal import Journal, Stopping
from exchange.journal.stores import Store

PATIENCE_S: Final = 2.0
"""So long a leader's answer is waited for: it may be stopped, or lost in a large batch."""
ALONE_S: Final = 10.0
"""So long nothing is handed over to a leader that did not answer in time."""
GONE: Final = (EOFError, ConnectionError, FileNotFoundError)
"""What is seen of a leader that is gone: another takes its place at once."""
LENGTH: Final = 8

log = logging.getLogger(__name__)


class SharedStore:
    """Runs batches on a store of its own, where it leads, and else has the leader run them."""

    def __init__(self, own: Store, folder: Path) -> None:
        """Take this process's own store, and the folder: whoever can write there can do anything, for jobs travel as pickles."""
        self._own = own
        # Only processes of one version understand each other.
        self._socket, self._lock = folder / f"{__version__}.sock", folder / f"{__version__}.lock"
        self._journal: Journal | None = None
        self._held: int | None = None
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[Any] | None] = set()
        self._idle: set[asyncio.StreamWriter] = set()
        self._line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._alone_until = 0.0

    def queue_in(self, journal: Journal) -> None:
        """Take the journal in which, once this process leads, the batches of the others wait."""
        self._journal = journal

    async def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Have these jobs decided and committed, wherever."""
        if time.monotonic() >= self._alone_until:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    if not await self._leads():
                        return await self._handed_over(jobs)
            except (EOFError, OSError) as error:
                self._part(error)
        return await self._own.run(jobs)

    async def rehearse(self, jobs: Sequence[Job]) -> Rehearsal:
        """Decide these jobs on a snapshot, here."""
        return await self._own.rehearse(jobs)

    async def close(self) -> None:
        """Lead no more, once what was run for others is told to them, and give back what is held."""
        if self._server is not None:
            self._server.close()
        for writer in [*self._idle]:
            writer.close()
        await asyncio.gather(*filter(None, self._serving))
        if self._held is not None:
            os.close(self._held)
        self._server = self._held = None
        self._hang_up()
        await self._own.close()

    async def _leads(self) -> bool:
        """Tell whether this process leads; where nobody does, from now on it does."""
        if self._server is None and self._line is None and self._locked():
            self._socket.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, self._socket)
            log.info("this process runs the batches of all")
        return self._server is not None

    def _locked(self) -> bool:
        if self._held is None:
            lock = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
            else:
                self._held = lock
        return self._held is not None

    async def _handed_over(self, jobs: Sequence[Job]) -> list[Outcome]:
        if self._line is None:
            self._line = await asyncio.open_unix_connection(self._socket)
        reader, writer = self._line
        await _send(writer, list(jobs))
        outcomes: list[Outcome] = await _next(reader)
        return outcomes

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Run the batches that another process hands over, until it goes, or this one stops."""
        self._serving.add(task := asyncio.current_task())
        try:
            while await self._served_once(reader, writer):
                pass
        except (EOFError, OSError):
            log.debug("a process that handed its batches over is gone")
        finally:
            self._serving.discard(task)
            writer.close()

    async def _served_once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        assert self._journal is not None
        self._idle.add(writer)
        try:
            jobs = await _next(reader)
        finally:
            self._idle.discard(writer)
        outcomes = await self._journal.do_all(jobs, taken=True)
        if any(isinstance(outcome, Stopping) for outcome in outcomes):
            return False  # nothing of it was taken: it is run where it came from
        await _send(writer, outcomes)
        return True

    def _part(self, error: Exception) -> None:
        self._hang_up()
        if not isinstance(error, GONE):
            self._alone_until = time.monotonic() + ALONE_S
            log.warning("The process that runs the batches of all does not answer", exc_info=error)

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line[1].close()
            self._line = None


async def _send(writer: asyncio.StreamWriter, what: Sequence[Job | Outcome]) -> None:
    raw = pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
    writer.write(len(raw).to_bytes(LENGTH))
    writer.write(raw)
    await writer.drain()


async def _next(reader: asyncio.StreamReader) -> Any:
    length = int.from_bytes(await reader.readexactly(LENGTH))
    return pickle.loads(await reader.readexactly(length))  # noqa: S301 - from a process of the same server: nobody else reaches the folder
