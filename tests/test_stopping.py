"""The server's end: told to stop in the middle of its work, it answers all who asked before, commits what it accepted, and ends with 0."""

import asyncio
import re
import signal
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
import pytest
import uvicorn
from doors import listed
from exchanges import Exchange, Offer
from serving import Served, a_secret, served

from exchange.access.tables import Role
from exchange.app import create_app
from exchange.cli.serving import LINGER_S, Server, listener
from exchange.settings import Settings
from exchange.trades.tables import Trade

KEEPING = 12
FRESH = 6
LOAD_S = 1.5
"""So long the load runs before the server is told to stop."""


def an_order(offer: Offer, secret: str, number: int, host: str, *, short: bool = False) -> bytes:
    """Write a whole request that takes the listing under a contract number of its own; `short` leaves out the body's end."""
    body = orjson.dumps(listed(offer) | {"contract_number": f"HT-{number}"})
    head = (
        f"POST /v1/trades HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {secret}\r\nIdempotency-Key: order-{number}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + (body[:-10] if short else body)


@dataclass(slots=True)
class Order:
    """A request: when the last of its bytes was handed over, and the answer's status, None where there was none."""

    number: int
    sent_at: float
    status: int | None = None


async def answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read an answer: its status, and whether the connection may be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = re.search(r"content-length: ([0-9]+)", head)
    assert length is not None
    await reader.readexactly(int(length[1]))
    return int(head.split()[1]), "connection: close" not in head


@asynccontextmanager
async def connected(host: str, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


class Load:
    """Clients that order without a pause: some keep their connection, some open one for each order."""

    def __init__(self, server: Served, offer: Offer, secret: str) -> None:
        host, _, port = server.url.removeprefix("http://").partition(":")
        self.host, self.port = host, int(port)
        self.offer, self.secret = offer, secret
        self.orders: list[Order] = []
        self.numbers = count(1)

    async def client(self, *, keeps: bool) -> None:
        """Order until nobody listens any more."""
        while True:
            try:
                async with connected(self.host, self.port) as (reader, writer):
                    while await self._order(reader, writer) and keeps:
                        pass
            except ConnectionRefusedError:
                return
            except (OSError, asyncio.IncompleteReadError):
                continue  # it stays unanswered

    async def _order(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        order = Order(next(self.numbers), float("inf"))
        self.orders.append(order)
        writer.write(an_order(self.offer, self.secret, order.number, self.host))
        order.sent_at = time.monotonic()
        order.status, again = await answer(reader)
        return again

    async def until_stopped(self, process: Any) -> float:
        """Order, tell the server to stop in the middle of it, and wait; give when it was told."""
        clients = [asyncio.create_task(self.client(keeps=n < KEEPING)) for n in range(KEEPING + FRESH)]
        await asyncio.sleep(LOAD_S)
        told_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        await asyncio.gather(*clients)
        return told_at


def test_who_asked_before_the_stop_is_answered_and_nothing_is_lost_or_done_twice(
    database_url: str, tmp_path: Path
) -> None:
    with Exchange.at(database_url) as place:
        buyer, offer = place.a_member(), place.a_listing()
        secret = a_secret(place, Role.MEMBER, uscc=buyer.uscc)
    with served(database_url, tmp_path, access_log="false") as server:
        load = Load(server, offer, secret)
        told_at = asyncio.run(load.until_stopped(server.process))
        code = server.process.wait(timeout=60)

    with Exchange.at(database_url) as place:
        made = Counter(trade.contract_number for trade in place.records(Trade))
    before = [order for order in load.orders if order.sent_at < told_at]
    accepted = {f"HT-{order.number}" for order in load.orders if order.status == 201}
    unanswered = [order for order in load.orders if order.status is None]
    assert code == 0
    assert len(before) > KEEPING + FRESH
    assert any(order.status == 201 for order in load.orders if order.sent_at >= told_at)
    assert {order.status for order in load.orders} <= {201, None}
    assert [order for order in unanswered if order.sent_at < told_at] == []
    assert set(made.values()) == {1}
    assert accepted <= set(made) <= accepted | {f"HT-{order.number}" for order in unanswered}


@asynccontextmanager
async def nobody_can_write(url: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Hold the database's head, so that the journal waits for it; gives what lets it go."""
    if url.startswith("postgresql"):
        connection = await asyncpg.connect(url)
        await connection.execute("BEGIN; SELECT 1 FROM head FOR UPDATE")
        yield connection.close
    else:
        held = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        held.execute("BEGIN IMMEDIATE")

        async def let_go() -> None:
            held.close()

        yield let_go


def test_a_write_that_waits_for_the_database_is_still_committed_and_answered(database_url: str, tmp_path: Path) -> None:
    with Exchange.at(database_url) as place:
        buyer, offer = place.a_member(), place.a_listing()
        secret = a_secret(place, Role.MEMBER, uscc=buyer.uscc)

    async def stop_meanwhile(server: Served) -> tuple[int, bool]:
        load = Load(server, offer, secret)
        async with (
            connected(load.host, load.port) as (idle, _),
            connected(load.host, load.port) as (reader, writer),
            nobody_can_write(database_url) as let_go,
        ):
            writer.write(an_order(offer, secret, 1, load.host))
            await asyncio.sleep(0.5)
            server.process.terminate()
            # Who only stays connected is let go, and nobody new is let in.
            assert await asyncio.wait_for(idle.read(), 10) == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(load.host, load.port)
            assert server.process.poll() is None
            await let_go()
            return await answer(reader)

    with served(database_url, tmp_path) as server:
        found = asyncio.run(stop_meanwhile(server))
        code = server.process.wait(timeout=30)

    assert found == (201, False)
    assert code == 0
    with Exchange.at(database_url) as place:
        assert [trade.contract_number for trade in place.records(Trade)] == ["HT-1"]


def test_while_it_drains_it_says_that_it_is_not_ready_and_serves_on(sqlite_url: str, tmp_path: Path) -> None:
    with Exchange.at(sqlite_url) as place:
        buyer, offer = place.a_member(), place.a_listing()
        secret = a_secret(place, Role.MEMBER, uscc=buyer.uscc)
    with served(sqlite_url, tmp_path, drain_s="4") as server:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            ready = client.get("/readyz")
            server.process.terminate()
            time.sleep(0.5)
            drained = client.get("/readyz")
            live = client.get("/livez")
        with socket.create_connection(server.url.removeprefix("http://").split(":")) as fresh:  # type: ignore[arg-type]
            fresh.sendall(an_order(offer, secret, 1, "exchange.test"))
            taken = fresh.recv(10_000)
        code = server.process.wait(timeout=30)

    assert (ready.status_code, "connection" in ready.headers) == (200, False)
    assert (drained.status_code, drained.json()["type"]) == (503, "/problems/stopping")
    assert (live.status_code, live.headers["connection"]) == (200, "close")
    assert taken.startswith(b"HTTP/1.1 201")
    assert code == 0


def test_who_never_ends_a_request_does_not_keep_it_from_stopping(sqlite_url: str, tmp_path: Path) -> None:
    with Exchange.at(sqlite_url) as place:
        buyer, offer = place.a_member(), place.a_listing()
        secret = a_secret(place, Role.MEMBER, uscc=buyer.uscc)
    with (
        served(sqlite_url, tmp_path, stop_s="1") as server,
        socket.create_connection(server.url.removeprefix("http://").split(":")) as slow,  # type: ignore[arg-type]
    ):
        slow.sendall(an_order(offer, secret, 1, "exchange.test", short=True))
        time.sleep(0.3)
        server.process.terminate()
        code = server.process.wait(timeout=10)
        left = slow.recv(10_000)

    assert code == 0
    assert not left.startswith(b"HTTP/1.1 201")
    assert any("timeout graceful shutdown exceeded" in line["event"] for line in server.lines())
    with Exchange.at(sqlite_url) as place:
        assert place.records(Trade) == []


def test_who_is_in_a_hurry_says_it_twice(sqlite_url: str, tmp_path: Path) -> None:
    with served(sqlite_url, tmp_path, drain_s="60") as server:
        assert httpx.get(f"{server.url}/livez", timeout=30).status_code == 200
        for _ in range(2):
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        code = server.process.wait(timeout=10)

    assert code == 0


def test_a_connection_without_requests_is_kept_as_long_as_is_said(sqlite_url: str, tmp_path: Path) -> None:
    with (
        served(sqlite_url, tmp_path, keep_alive_s="1") as server,
        socket.create_connection(server.url.removeprefix("http://").split(":"), timeout=10) as idle,  # type: ignore[arg-type]
    ):
        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: exchange.test\r\n\r\n")
        answered = b""
        while not answered.endswith(b"}"):
            answered += idle.recv(10_000)
        began = time.monotonic()
        assert idle.recv(10_000) == b""
        kept = time.monotonic() - began

    assert answered.startswith(b"HTTP/1.1 200")
    assert 0.5 < kept < 5
    assert Settings.model_fields["keep_alive_s"].default > 60  # what proxies are usually set to


def test_connections_that_the_kernel_has_made_are_taken_before_it_listens_no_more(sqlite_url: str) -> None:
    chosen = Settings(database_url=sqlite_url)

    async def run() -> list[bytes]:
        server = Server(create_app(chosen), chosen)
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        opened = listener("127.0.0.1", 0)
        where = opened.getsockname()
        await server.startup([opened])
        # Nothing waits in between, so that nobody has taken these when it stops to listen.
        clients = [socket.create_connection(where, timeout=10) for _ in range(3)]
        for client in clients:
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: exchange.test\r\n\r\n")
        await server._listen_no_more([opened])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(where, timeout=10)
        await asyncio.sleep(LINGER_S)
        await uvicorn.Server.shutdown(server, [opened])
        answers = [client.recv(10_000) for client in clients]
        for client in clients:
            client.close()
        return answers

    assert [answer[:12] for answer in asyncio.run(run())] == [b"HTTP/1.1 200"] * 3
