"""Clients that are slow, send too much, read nothing or go away: they cost little, keep nobody waiting, and are left in the end."""

import asyncio
import resource
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import pytest
import uvicorn
from doors import listed
from exchanges import Exchange, Offer
from markets import ask, assert_sound
from serving import Served, a_secret, served

from exchange.access.tables import Role
from exchange.app import create_app
from exchange.cli.connections import HEAD_LIMIT, OWN_FILES, Connection, room_for
from exchange.cli.serving import Server, listener
from exchange.settings import Settings
from exchange.trades.tables import Trade

SLOW_S = 2
LOAD = 60
PATIENCE_S = 30
STREAMS = 10
"""More than there are connections for reading."""


@dataclass(frozen=True, slots=True)
class Shop:
    """A server, a buyer's key and what it can buy."""

    server: Served
    offer: Offer
    secret: str

    @property
    def where(self) -> tuple[str, int]:
        host, _, port = self.server.url.removeprefix("http://").partition(":")
        return host, int(port)

    def connect(self, *, reads: bool = True) -> socket.socket:
        """Connect; who reads nothing has not much room for what it does not read either."""
        connection = socket.socket()
        if not reads:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(PATIENCE_S)
        connection.connect(self.where)
        return connection

    def order(self, number: int) -> bytes:
        """Write a whole request."""
        body = orjson.dumps(listed(self.offer) | {"contract_number": f"HT-{number}"})
        return self.head("POST /v1/trades", f"order-{number}", "application/json", len(body)) + body

    def head(self, start: str, key: str, media_type: str, length: int, *more: str) -> bytes:
        lines = (
            f"{start} HTTP/1.1\r\nHost: exchange.test\r\nAuthorization: Bearer {self.secret}",
            f"Idempotency-Key: {key}\r\nContent-Type: {media_type}\r\nContent-Length: {length}",
            *more,
        )
        return "\r\n".join((*lines, "", "")).encode()

    def figure(self, name: str) -> float:
        text = httpx.get(f"{self.server.url}/metrics", headers={"Connection": "close"}, timeout=PATIENCE_S).text
        [value] = [line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(value)

    def wait_until(self, name: str, most: float) -> None:
        """Wait until a figure is no more than so much."""
        until = time.monotonic() + PATIENCE_S
        while (found := self.figure(name)) > most:
            assert time.monotonic() < until, f"{name} stays at {found}"
            time.sleep(0.2)


@contextmanager
def open_shop(url: str, folder: Path, **settings: str) -> Iterator[Shop]:
    with Exchange.at(url) as place:
        buyer, offer = place.a_member(), place.a_listing()
        secret = a_secret(place, Role.MEMBER, uscc=buyer.uscc)
    with served(url, folder, **settings) as server:
        yield Shop(server, offer, secret)
        # In peace, so that it tells which lines have run.
        server.process.terminate()
        assert server.process.wait(timeout=PATIENCE_S) == 0


def rest(connection: socket.socket) -> bytes:
    """Read until the server hangs up."""
    received = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            received += piece
    return received


# Five hundred at once


async def sends_nothing(_: asyncio.StreamWriter, __: Shop, ___: int) -> None:
    """Connect, and no more."""


async def stops_in_its_head(writer: asyncio.StreamWriter, shop: Shop, number: int) -> None:
    writer.write(shop.order(number)[:50])


async def drips_its_head(writer: asyncio.StreamWriter, shop: Shop, number: int) -> None:
    await drip(writer, b"", shop.order(number))


async def stops_in_its_body(writer: asyncio.StreamWriter, shop: Shop, number: int) -> None:
    writer.write(shop.order(number)[:-10])


async def drips_its_body(writer: asyncio.StreamWriter, shop: Shop, number: int) -> None:
    head, _, body = shop.order(number).partition(b"\r\n\r\n")
    await drip(writer, head + b"\r\n\r\n", body)


async def drip(writer: asyncio.StreamWriter, first: bytes, then: bytes) -> None:
    writer.write(first)
    with suppress(ConnectionError):
        for one in then:
            writer.write(bytes([one]))
            await writer.drain()
            await asyncio.sleep(0.1)


SLOW: list[Callable[[asyncio.StreamWriter, Shop, int], Awaitable[None]]] = [
    sends_nothing,
    stops_in_its_head,
    drips_its_head,
    stops_in_its_body,
    drips_its_body,
]


def test_five_hundred_slow_clients_are_left_in_the_end_and_disturb_nobody(database_url: str, tmp_path: Path) -> None:
    with open_shop(database_url, tmp_path, client_s=str(SLOW_S)) as shop:
        memory, files = shop.figure("process_resident_memory_bytes"), shop.figure("process_open_fds")

        async def slow(number: int) -> bytes:
            reader, writer = await asyncio.open_connection(*shop.where)
            sending = asyncio.ensure_future(SLOW[number % len(SLOW)](writer, shop, 1_000 + number))
            try:
                async with asyncio.timeout(PATIENCE_S):
                    return await reader.read()
            except ConnectionResetError:
                return b""  # it was sending when the server hung up
            finally:
                sending.cancel()
                writer.close()

        async def normal(client: httpx.AsyncClient, number: int) -> int:
            await asyncio.sleep(number * SLOW_S / LOAD)
            headers = {"Authorization": f"Bearer {shop.secret}", "Idempotency-Key": f"normal-{number}"}
            body = listed(shop.offer) | {"contract_number": f"HT-{number}"}
            return (await client.post("/v1/trades", json=body, headers=headers)).status_code

        async def all_at_once() -> tuple[list[bytes], list[int]]:
            async with httpx.AsyncClient(base_url=shop.server.url, timeout=PATIENCE_S) as client:
                left, answers = await asyncio.gather(
                    asyncio.gather(*(slow(number) for number in range(500))),
                    asyncio.gather(*(normal(client, number) for number in range(LOAD))),
                )
            return left, answers

        left, answers = asyncio.run(all_at_once())
        more = shop.figure("process_resident_memory_bytes") - memory
        shop.wait_until("process_open_fds", files + 20)  # connections to the database may have come

    assert answers == [201] * LOAD
    told = [answer for answer in left if answer]
    assert len(told) >= 300  # who was still sending may have lost it
    assert all(answer.startswith(b"HTTP/1.1 408 ") and b"/problems/request-too-slow" in answer for answer in told)
    assert more < 100_000_000
    with Exchange.at(database_url) as place:
        assert len(place.records(Trade)) == LOAD
        assert_sound(place)


# Answers that nobody reads


def test_who_reads_none_of_its_answers_is_left(sqlite_url: str, tmp_path: Path) -> None:
    with open_shop(sqlite_url, tmp_path, client_s="1") as shop, ExitStack() as opened:
        files, memory = shop.figure("process_open_fds"), shop.figure("process_resident_memory_bytes")
        for _ in range(20):
            connection = opened.enter_context(shop.connect(reads=False))
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: exchange.test\r\n\r\n" * 100)
        assert shop.figure("process_open_fds") >= files + 20
        shop.wait_until("process_open_fds", files)
        shop.wait_until("exchange_requests_in_flight", 1)
        more = shop.figure("process_resident_memory_bytes") - memory

    assert more < 100_000_000


def test_streams_that_nobody_reads_hold_neither_the_journal_nor_a_connection_to_the_database(
    database_url: str, tmp_path: Path
) -> None:
    with open_shop(database_url, tmp_path, client_s="2") as shop, ExitStack() as opened:
        body = orjson.dumps([{}] * 8_000)  # what is wrong with each is told at length
        files = shop.figure("process_open_fds")
        for number in range(STREAMS):
            connection = opened.enter_context(shop.connect(reads=False))
            head = shop.head(
                "POST /v1/trades:batch", f"{number}", "application/json", len(body), "Accept: application/x-ndjson"
            )
            connection.sendall(head + body)
        bearer = {"Authorization": f"Bearer {shop.secret}"}
        read = httpx.get(f"{shop.server.url}/v1/trades", headers=bearer, timeout=PATIENCE_S)
        with shop.connect() as buyer:
            buyer.sendall(shop.order(1))
            answer = buyer.recv(10_000)
        assert shop.figure("exchange_requests_in_flight") == STREAMS + 1
        shop.wait_until("exchange_requests_in_flight", 1)
        shop.wait_until("process_open_fds", files + STREAMS - 1)

    assert read.status_code == 200
    assert answer.startswith(b"HTTP/1.1 201 ")


# Who goes away


def test_who_goes_away_while_it_waits_for_events_frees_its_place(sqlite_url: str, tmp_path: Path) -> None:
    with open_shop(sqlite_url, tmp_path) as shop:
        after = httpx.get(f"{shop.server.url}/readyz", timeout=PATIENCE_S).json()["position"]
        asked = shop.head(f"GET /v1/events?after={after}&wait=30", "none", "text/plain", 0)
        with ExitStack() as opened:
            for _ in range(50):
                opened.enter_context(shop.connect()).sendall(asked)
            shop.wait_until("exchange_requests_in_flight", 51)
            while shop.figure("exchange_requests_in_flight") < 51:
                time.sleep(0.1)
            began = time.monotonic()
        shop.wait_until("exchange_requests_in_flight", 1)

    assert time.monotonic() - began < 15  # half of what they would have waited


def test_who_goes_away_before_its_answer_and_asks_again_has_its_order_done_once(
    database_url: str, tmp_path: Path
) -> None:
    with open_shop(database_url, tmp_path) as shop:
        for number in range(20):
            with shop.connect() as buyer:
                buyer.sendall(shop.order(number))
                if number % 2:
                    buyer.shutdown(socket.SHUT_WR)
        for number in range(20):
            with shop.connect() as buyer:
                buyer.sendall(shop.order(number))
                assert buyer.recv(10_000).startswith(b"HTTP/1.1 201 ")
        shop.wait_until("exchange_requests_in_flight", 1)

    with Exchange.at(database_url) as place:
        assert len(place.records(Trade)) == 20
        assert_sound(place)


# Too much


@pytest.mark.parametrize(
    "start", ["GET /", "GET / HTTP/1.1\r\nX-Long: ", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "]
)
def test_a_head_without_an_end_is_refused(sqlite_url: str, tmp_path: Path, start: str) -> None:
    with open_shop(sqlite_url, tmp_path) as shop, shop.connect() as client:
        client.sendall(start.encode())
        sent = 0
        with suppress(ConnectionError):
            while sent < 100 * HEAD_LIMIT:
                sent += client.send(b"x" * 10_000)
                time.sleep(0.001)
        answer = b""
        with suppress(ConnectionError):
            answer = client.recv(10_000)

    assert sent < 100 * HEAD_LIMIT
    assert answer[:12] in {b"", b"HTTP/1.1 400", b"HTTP/1.1 405"}


def test_who_sends_too_long_a_head_is_told_so(sqlite_url: str, tmp_path: Path) -> None:
    with open_shop(sqlite_url, tmp_path) as shop, shop.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nX-Long: " + b"x" * HEAD_LIMIT)
        answer = rest(client)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"/problems/head-too-long" in answer


def test_in_the_middle_of_another_answer_too_long_a_head_ends_the_connection(sqlite_url: str, tmp_path: Path) -> None:
    with open_shop(sqlite_url, tmp_path) as shop, shop.connect(reads=False) as client:
        body = orjson.dumps([{}] * 8_000)
        accept = "Accept: application/x-ndjson"
        client.sendall(shop.head("POST /v1/trades:batch", "k", "application/json", len(body), accept) + body)
        answer = client.recv(1_000)
        with suppress(ConnectionError):
            client.sendall(b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 4 * HEAD_LIMIT)
        answer += rest(client)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"head-too-long" not in answer
    assert not answer.endswith(b"\r\n0\r\n\r\n")


def test_a_batch_whose_client_has_gone_stops_and_is_done_to_its_end_when_it_is_sent_again(
    sqlite_url: str, tmp_path: Path
) -> None:
    items, counted = 4_000, "SELECT count(*) FROM trade"
    with open_shop(sqlite_url, tmp_path) as shop:
        body = orjson.dumps([listed(shop.offer) | {"contract_number": f"HT-{n}"} for n in range(items)])
        more = ("Accept: application/x-ndjson", "Connection: close")
        sent = shop.head("POST /v1/trades:batch", "k", "application/json", len(body), *more) + body
        with shop.connect() as client:
            client.sendall(sent)
            read = b""
            while b'"index":0' not in read:
                read += client.recv(10_000)
        shop.wait_until("exchange_requests_in_flight", 1)
        [(stopped_at,)] = ask(sqlite_url, counted)
        with shop.connect() as client:
            client.sendall(sent)
            answer = rest(client)

    assert 0 < stopped_at < items
    assert ask(sqlite_url, counted) == [(items,)]
    assert answer.count(b'"status":201') == items


def test_a_batch_that_is_answered_as_a_whole_stops_too_where_its_client_has_gone(
    sqlite_url: str, tmp_path: Path
) -> None:
    items, counted = 8_000, "SELECT count(*) FROM trade"
    with open_shop(sqlite_url, tmp_path) as shop:
        body = orjson.dumps([listed(shop.offer) | {"contract_number": f"HT-{n}"} for n in range(items)])
        with shop.connect() as client:
            client.sendall(shop.head("POST /v1/trades:batch", "k", "application/json", len(body)) + body)
            while ask(sqlite_url, counted) == [(0,)]:
                time.sleep(0.01)
        shop.wait_until("exchange_requests_in_flight", 1)
        [(stopped_at,)] = ask(sqlite_url, counted)

    assert 0 < stopped_at < items


def test_a_connection_that_is_being_left_is_left_once(sqlite_url: str) -> None:
    chosen = Settings(database_url=sqlite_url)

    async def run() -> bytes:
        server = Server(create_app(chosen), chosen)
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        opened = listener("127.0.0.1", 0)
        await server.startup([opened])
        reader, writer = await asyncio.open_connection(*opened.getsockname())
        writer.write(b"GET / HTTP")
        while not server.server_state.connections:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        [connection] = server.server_state.connections
        assert isinstance(connection, Connection)
        while not connection._unread:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.01)
        for moment in (0, chosen.client_s, chosen.client_s + 1):
            connection.look(moment)
        received = await reader.read()
        writer.close()
        await uvicorn.Server.shutdown(server, [opened])
        return received

    assert asyncio.run(run()).count(b"HTTP/1.1 408 ") == 1


def test_one_connection_more_than_there_may_be_is_told_to_come_again(sqlite_url: str, tmp_path: Path) -> None:
    with open_shop(sqlite_url, tmp_path, connection_limit="3") as shop:
        with ExitStack() as opened:
            kept = [opened.enter_context(shop.connect()) for _ in range(3)]
            for client in kept:
                client.sendall(b"GET /livez HTTP/1.1\r\nHost: exchange.test\r\n\r\n")
                assert client.recv(10_000).startswith(b"HTTP/1.1 200 ")
            with shop.connect() as beyond:
                answer = rest(beyond)
        time.sleep(0.5)
        again = httpx.get(f"{shop.server.url}/livez", timeout=PATIENCE_S)

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in answer.lower()
    assert b"/problems/too-many-connections" in answer
    assert again.status_code == 200


def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be() -> None:
    before = _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard > 2_000, "raise the limit of open files to run this"
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1_000, hard))
        assert room_for(100) == 100
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1_000
        assert room_for(1_500) == 1_500
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1_500 + OWN_FILES
        if hard != resource.RLIM_INFINITY:
            assert room_for(2 * hard) == hard - OWN_FILES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
