"""A wire that breaks: it stands between a client and PostgreSQL, and loses the first COMMIT, or the answer to it; or it says farewell."""

import asyncio
from contextlib import suppress
from enum import Enum
from typing import Self
from urllib.parse import urlsplit


class Cut(Enum):
    """What happens to the first COMMIT that passes."""

    BEFORE_IT = "the server never gets it, and both ends see the connection close"
    BEHIND_IT = "the server gets it, and both ends see the connection close at once"
    BEFORE_ITS_ANSWER = "the server has done it, and the client sees the connection close instead of its answer"
    SILENCE_BEFORE_IT = "the server never gets it, and neither end hears of the other any more"
    SILENCE_BEHIND_IT = "the server gets it, and neither end hears of the other any more"


FAREWELL = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
"""The fields of what PostgreSQL says before it closes a connection."""

SILENCES = frozenset({Cut.SILENCE_BEFORE_IT, Cut.SILENCE_BEHIND_IT})
PASSED_ON = frozenset({Cut.BEHIND_IT, Cut.BEFORE_ITS_ANSWER, Cut.SILENCE_BEHIND_IT})


class Proxy:
    """Passes on all bytes, but for the cut."""

    def __init__(self, url: str, cut: Cut | None = None) -> None:
        self._url = urlsplit(url)
        self._cut = cut
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.cuts = 0
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    @property
    def url(self) -> str:
        """Where a client connects instead."""
        port = self._server.sockets[0].getsockname()[1]
        return self._url._replace(netloc=f"{self._url.username}@127.0.0.1:{port}").geturl()

    def say_farewell(self) -> None:
        """Say to all clients what PostgreSQL says before it closes their connections, whose end they do not see yet."""
        for writer in self._writers[::2]:
            writer.write(b"E" + (len(FAREWELL) + 4).to_bytes(4, "big") + FAREWELL)

    async def _connected(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self.connections += 1
        assert self._url.port
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._url.port)
        self._writers += to_client, to_server
        broken = asyncio.Event()
        for source, target, upwards in ((from_client, to_server, True), (from_server, to_client, False)):
            task = asyncio.create_task(self._pass_on(source, target, broken, upwards=upwards))
            self._tasks.add(task)
            task.add_done_callback(lambda _: self._end(to_client, to_server, broken))

    def _end(self, to_client: asyncio.StreamWriter, to_server: asyncio.StreamWriter, broken: asyncio.Event) -> None:
        if not (broken.is_set() and self._cut in SILENCES):
            to_client.close()
            to_server.close()

    async def _pass_on(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, broken: asyncio.Event, *, upwards: bool
    ) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                if upwards and self._cut and not self.cuts and b"COMMIT\0" in data:
                    self.cuts += 1
                    broken.set()
                    if self._cut not in PASSED_ON:
                        return
                elif broken.is_set():  # the answer
                    return
                target.write(data)
                await target.drain()
                if broken.is_set() and self._cut is not Cut.BEFORE_ITS_ANSWER:
                    return
