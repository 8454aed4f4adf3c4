"""The server: started with its log, and stopped so that whoever asked in time is answered.

Told to stop (SIGTERM, SIGINT), it goes through these steps:

1. `/readyz` says 503, each answer ends its connection, and new connections are still taken: for `EXCHANGE_DRAIN_S` seconds, and always
   for a moment in which what has reached this machine is read.
2. It listens no more; who connected before is served. What is in flight has `EXCHANGE_STOP_S` seconds.
3. The journal commits what waits; then the process ends with 0.
"""

import asyncio
import logging
import socket
import time
from contextlib import suppress
from functools import partial
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from exchange import __version__
from exchange.cli.connections import Connection, room_for
from exchange.database import Database
from exchange.problems import Unavailable
from exchange.settings import Settings

LINGER_S: Final = 0.2
"""So long, at least, it reads on from all connections: who asked before the signal is heard, however busy the loop was."""

TICK_S: Final = 0.05
LOOK_TICKS: Final = 10
BACKLOG: Final = 4_096
"""Connections that the kernel makes before they are taken: as many as Linux allows by itself."""

log = logging.getLogger(__name__)


class CannotListen(Unavailable):
    """The server cannot listen there."""

    remedy = "Choose another --host or --port."


def listener(host: str, port: int) -> socket.socket:
    """Listen. Raises CannotListen."""
    try:
        opened = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise CannotListen(f"{error.strerror}.") from None
    opened.setblocking(False)
    return opened


class Server(uvicorn.Server):
    """uvicorn's server, but for its end."""

    def __init__(self, app: FastAPI, chosen: Settings) -> None:
        """Take the application."""
        self._state = app.state
        self._drain_s = max(chosen.drain_s, LINGER_S)
        self._database = str(Database(chosen.database_url.get_secret_value()))
        protocol: Any = partial(Connection, room_for(chosen.connection_limit), chosen.client_s)
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=protocol,
                ws="none",
                backlog=BACKLOG,
                lifespan="on",
                server_header=False,
                access_log=False,
                log_config=None,
                timeout_keep_alive=chosen.keep_alive_s,
                timeout_graceful_shutdown=chosen.stop_s,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        log.info("serving", extra={"version": __version__, "database": self._database})

    async def on_tick(self, counter: int) -> bool:
        """Look once a second after clients that keep it waiting; uvicorn ticks ten times a second."""
        if counter % LOOK_TICKS == 0:
            now = time.monotonic()
            for connection in [*self.server_state.connections]:
                assert isinstance(connection, Connection)
                connection.look(now)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, step by step."""
        log.info("stopping")
        self._state.stopping = True
        until = time.monotonic() + self._drain_s
        # Whoever presses Ctrl-C again does not want to wait.
        while time.monotonic() < until and not self.force_exit:  # noqa: ASYNC110 - uvicorn's handler sets a flag
            await asyncio.sleep(TICK_S)
        await self._listen_no_more(sockets or [])
        await asyncio.sleep(LINGER_S)
        await super().shutdown(sockets)
        log.info("stopped")

    async def _listen_no_more(self, sockets: list[socket.socket]) -> None:
        # To close a listening socket resets the connections that the kernel has made on it and nobody has taken: take them first.
        twins = [one.dup() for one in sockets]
        for server in self.servers:
            server.close()
        taken: list[socket.socket] = []
        for twin in twins:
            with twin, suppress(BlockingIOError):
                while True:
                    taken.append(twin.accept()[0])
        for one in taken:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, one)

    def _protocol(self) -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol
