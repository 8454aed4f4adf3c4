"""Several processes that serve at one port: a supervisor, which serves nobody, starts workers, replaces them, and stops them.

Why so: docs/decisions/0010-workers.md. It heeds these signals:

- SIGTERM, SIGINT: all workers stop as a server alone does (`serving.py`); a second one does not wait.
- SIGHUP: one worker after the other is replaced. A new one serves at the same socket before the old one listens no more.
"""

import asyncio
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import orjson

from exchange.api.figures import Told, lasting, of_worker, together, written
from exchange.cli.channels import Channel, Word
from exchange.cli.serving import CannotListen
from exchange.problems import Unavailable
from exchange.settings import SettingWrong, variable

LONG_S: Final = 10
"""Who lives shorter than this died at once."""
PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 10
TOLD_WITHIN_S: Final = 1
"""Whoever does not tell its figures in this time, as it is busy or stopped, is counted as it was last."""

log = logging.getLogger(__name__)


class ServedByOne(SettingWrong):
    """A SQLite file is served by one process."""

    remedy = "Leave out --workers and EXCHANGE_WORKERS, or keep the exchange on PostgreSQL."


class NoTemporaryFolder(Unavailable):
    """Workers need a folder for what they share, and none can be made."""

    remedy = "Make /tmp writable, or set TMPDIR to a folder that is; or serve with one worker."


def listeners(host: str, port: int, number: int) -> tuple[socket.socket, ...]:
    """Listen so many times at one address; the kernel shares connections out among them. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # Shared out among whoever asks for it, a port would be taken from another exchange in silence: first it must be free.
        with socket.create_server((host, port), family=family) as alone:
            address = alone.getsockname()
        opened = tuple(socket.create_server(address, family=family, reuse_port=True) for _ in range(number))
    except OSError as error:
        raise CannotListen(f"{error.strerror}.") from None
    for one in opened:
        one.setblocking(False)
    return opened


@dataclass(eq=False, slots=True)
class Worker:
    """A process that serves, as the supervisor knows it."""

    number: int
    process: subprocess.Popen[bytes]
    channel: Channel
    began: float = field(default_factory=time.monotonic)
    ready: bool = False
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """It is ready, or has ended."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    figures: Told = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False, slots=True)
class Slot:
    """A listening socket, and who serves at it now. The socket stays while workers come and go: nobody who connects is turned away."""

    listening: socket.socket
    worker: Worker
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Supervisor:
    """Keeps workers."""

    def __init__(
        self, opened: tuple[socket.socket, ...], given: Mapping[str, Any], cursor_secret: str | None, shared: str
    ) -> None:
        """Take the sockets, settings that stand before the environment, a secret where there is none, and the workers' folder."""
        self._opened = opened
        self._shared = shared
        self._given = orjson.dumps(given).decode()
        self._environment = dict(os.environ)
        if cursor_secret is not None:
            self._environment[variable("cursor_secret")] = cursor_secret
        self._numbers = count(1)
        self._workers: set[Worker] = set()
        self._gone: Told = []
        self._stopping = asyncio.Event()
        self._renewing = asyncio.Event()

    async def run(self) -> bool:
        """Serve until told to stop; tell whether all workers could start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._renewing.set)
        async with asyncio.TaskGroup() as self._tasks:
            slots = [Slot(one, await self._start(one)) for one in self._opened]
            self._tasks.create_task(self._listen_no_more())
            for slot in slots:
                await slot.worker.settled.wait()
            if good := all(slot.worker.ready for slot in slots):
                log.info("all workers serve")
                for slot in slots:
                    self._tasks.create_task(self._keep(slot))
                self._tasks.create_task(self._renew(slots))
            else:
                self._stop()
        log.info("all workers stopped")
        return good

    async def _listen_no_more(self) -> None:
        # Who closes a socket last must take those who wait at it: let that be a worker.
        await self._stopping.wait()
        for one in self._opened:
            one.close()

    def _stop(self) -> None:
        hurry = self._stopping.is_set()
        self._stopping.set()
        self._renewing.set()
        for worker in self._workers:
            worker.channel.say(Word.HURRY if hurry else Word.STOP)
            if hurry and not worker.ready:
                worker.process.kill()

    async def _start(self, listening: socket.socket) -> Worker:
        number = next(self._numbers)
        ours, theirs = socket.socketpair()
        descriptors = (listening.fileno(), theirs.fileno())
        with theirs:
            process = subprocess.Popen(  # noqa: ASYNC220, S603 - it is this program, and starting it takes no time
                [
                    *(sys.executable, "-m", "exchange", "worker", str(number)),
                    *(*map(str, descriptors), self._shared, self._given),
                ],
                env=self._environment,
                pass_fds=descriptors,
                # So Ctrl-C in a terminal reaches the supervisor alone, which says how often it was pressed.
                process_group=0,
            )
        channel = await Channel.over(ours)
        worker = Worker(number, process, channel)
        self._workers.add(worker)
        if self._stopping.is_set():
            channel.say(Word.STOP)
        self._tasks.create_task(self._hear(worker))
        return worker

    async def _hear(self, worker: Worker) -> None:
        async for word, more in worker.channel.heard():
            match word:
                case Word.READY:
                    worker.ready = True
                    worker.settled.set()
                case Word.TELL:
                    self._tasks.create_task(self._tell(worker, *more))
                case _:
                    [worker.figures] = more
                    worker.told.set()
        await worker.channel.close()
        await asyncio.to_thread(worker.process.wait)
        self._gone = together([self._gone, lasting(worker.figures)])
        self._workers.discard(worker)
        worker.told.set()
        worker.settled.set()
        worker.ended.set()

    async def _tell(self, asking: Worker, number: int) -> None:
        """Ask all for their figures, and tell them together."""
        asked = [worker for worker in self._workers if worker.ready]
        for worker in asked:
            worker.told.clear()
            worker.channel.say(Word.TELL)
        with suppress(TimeoutError):
            async with asyncio.timeout(TOLD_WITHIN_S):
                for worker in asked:
                    await worker.told.wait()
        living = [of_worker(worker.figures, worker.number) for worker in self._workers]
        asking.channel.say(Word.TOLD, number, written(together([*living, self._gone])).decode())

    async def _keep(self, slot: Slot) -> None:
        """Let there always be somebody who serves at this socket."""
        pause = 0.0
        while not self._stopping.is_set():
            worker = slot.worker
            await worker.ended.wait()
            async with slot.changing:
                pause = await self._take_the_place_of(worker, slot, pause)

    async def _take_the_place_of(self, worker: Worker, slot: Slot, before: float) -> float:
        if slot.worker is not worker or self._stopping.is_set():
            return before
        pause = self._pause_after(worker, before)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause)
        if not self._stopping.is_set():
            slot.worker = await self._start(slot.listening)
        return pause

    @staticmethod
    def _pause_after(worker: Worker, before: float) -> float:
        at_once = time.monotonic() - worker.began < LONG_S
        pause = min(max(2 * before, PAUSE_S), LONGEST_PAUSE_S) if at_once else 0.0
        log.error("a worker ended, another takes its place", extra=_which(worker) | {"pause_s": pause})
        return pause

    async def _renew(self, slots: list[Slot]) -> None:
        """Replace all workers, one after the other, whenever asked to."""
        while True:
            await self._renewing.wait()
            self._renewing.clear()
            if self._stopping.is_set():
                return
            log.info("replacing all workers")
            for slot in slots:
                if not await self._replaced(slot):
                    break
            else:
                log.info("all workers are replaced")

    async def _replaced(self, slot: Slot) -> bool:
        async with slot.changing:
            if self._stopping.is_set():
                return False
            old, new = slot.worker, await self._start(slot.listening)
            await new.settled.wait()
            if not new.ready:
                # Where one cannot start, the others could not either.
                log.error("a worker could not start, those that serve go on", extra=_which(new))
                return False
            slot.worker = new
            old.channel.say(Word.RETIRE)
        await old.ended.wait()
        return True


def _which(worker: Worker) -> dict[str, object]:
    return {"worker": worker.number, "pid": worker.process.pid, "code": worker.process.returncode}


def supervise(opened: tuple[socket.socket, ...], given: Mapping[str, Any], *, has_cursor_secret: bool) -> bool:
    """Serve with a worker for each socket until stopped, with settings that stand before the environment; tell whether all could start.

    Raises NoTemporaryFolder.
    """
    # Made once for all, so that a list begun with one worker goes on with another.
    secret = None if has_cursor_secret else secrets.token_hex(32)

    async def run(shared: str) -> bool:
        return await Supervisor(opened, given, secret, shared).run()

    try:
        folder = tempfile.TemporaryDirectory(prefix="exchange-")  # for its owner alone
    except OSError as error:
        raise NoTemporaryFolder(f"{error.strerror}.") from None
    with folder as shared:
        return asyncio.run(run(shared))
