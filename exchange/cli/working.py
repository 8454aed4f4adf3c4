"""A worker: a server among several, on a socket that it was given, which does as the supervisor says."""

import asyncio
import socket
import time
from itertools import count
from pathlib import Path
from typing import Final

import structlog
import uvicorn

from exchange import logs
from exchange.api.figures import told
from exchange.app import create_app
from exchange.cli.channels import Channel, Word
from exchange.cli.serving import LINGER_S, TICK_S, Server, log
from exchange.journal.journal import Stopping
from exchange.settings import Settings

TOGETHER_WITHIN_S: Final = 5
"""Whoever asks for all figures waits so long for them."""


class Worker(Server):
    """A server that is ready, stops and retires by word of mouth; it stops as well when nobody is there any more to say so."""

    def __init__(self, chosen: Settings, opened: socket.socket, shared: Path) -> None:
        """Take the settings, this end of the line to the supervisor, and the folder that all workers share."""
        app = create_app(chosen, shared)
        super().__init__(app, chosen)
        self._figures = app.state.metrics
        self._figures.of_all = self._figures_of_all
        self._keep_alive_s = chosen.keep_alive_s
        self._opened = opened
        self._replaced = False
        self._numbers = count()
        self._asked: dict[int, asyncio.Queue[str]] = {}

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say that it serves."""
        await super().startup(sockets)
        self._channel = await Channel.over(self._opened)
        self._channel.say(Word.READY)
        self._obeying = asyncio.create_task(self._obey())

    async def _obey(self) -> None:
        async for word, more in self._channel.heard():
            match word:
                case Word.TELL:
                    self._tell()
                case Word.TOLD:
                    number, text = more
                    self._asked.pop(number).put_nowait(text)
                case _:
                    self._leave(word)
        self._leave(Word.STOP)

    def _leave(self, word: Word) -> None:
        # Where all stop, who was replaced does not stay either.
        self._replaced = word is Word.RETIRE
        self.force_exit |= word is Word.HURRY
        self.should_exit = True

    def _tell(self) -> None:
        self._channel.say(Word.TOLD, told(self._figures.registry))

    async def _figures_of_all(self) -> bytes:
        """Ask for all processes' figures. Raises Stopping where nobody is there any more who knows them."""
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.Queue()
        self._channel.say(Word.TELL, number)
        try:
            async with asyncio.timeout(TOGETHER_WITHIN_S):
                return (await answer.get()).encode()
        except TimeoutError:
            raise Stopping from None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop as a server does, or serve out those who are connected; the last word is what was counted."""
        await (self._serve_out(sockets) if self._replaced else super().shutdown(sockets))
        self._tell()
        self._obeying.cancel()
        await self._channel.close()

    async def _serve_out(self, sockets: list[socket.socket] | None) -> None:
        log.info("retiring")
        self._state.replaced = self._state.stopping = True
        for server in self.servers:
            server.close()
        await asyncio.sleep(LINGER_S)
        # To end a connection on which nothing is asked may cross a request: that is left to the time after which any server ends it.
        until = time.monotonic() + self._keep_alive_s
        while self._replaced and self.server_state.connections and time.monotonic() < until:  # noqa: ASYNC110 - uvicorn keeps a set
            await asyncio.sleep(TICK_S)
        await uvicorn.Server.shutdown(self, sockets)
        log.info("stopped")


def work(chosen: Settings, number: int, listening: int, channel: int, shared: Path) -> bool:
    """Serve on the socket of this descriptor until told to stop by the other; tell whether it ever served."""
    logs.configure(chosen.log_level, chosen.log_format)
    # Every line says whose it is: what is done by this process inherits it.
    structlog.contextvars.bind_contextvars(worker=number)
    with socket.socket(fileno=listening) as opened:
        server = Worker(chosen, socket.socket(fileno=channel), shared)
        server.run(sockets=[opened])
    return server.started
