"""Real servers as processes of their own, a market that they serve, and loads of requests whose answers are kept."""

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
from exchanges import Exchange, Offer, a_price

from exchange.access.callers import secret_hash, written_secret
from exchange.access.commands import CreateKey
from exchange.access.tables import Role
from exchange.clock import now
from exchange.database import Database, connect_sqlite
from exchange.journal.tables import Event
from exchange.regulator.integrity import check

ROOT = Path(__file__).parent.parent
CLIENTS: Final = 16
PATIENCE_S: Final = 60
"""What takes longer than this never comes."""
REPLAYED: Final = "idempotency-replayed"


@dataclass(frozen=True, slots=True)
class Server:
    """`exchange serve` as a process of its own."""

    process: subprocess.Popen[str]
    address: str

    @classmethod
    def start(cls, url: str) -> "Server":
        """Start one on a free port; it answers as soon as its database does."""
        process = subprocess.Popen(
            [sys.executable, "-m", "exchange", "serve", "--port", "0"],
            cwd=ROOT,
            env=os.environ | {"EXCHANGE_DATABASE_URL": url},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        return cls(process, found[0])

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop it and wait for its end."""
        self.process.send_signal(number)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def server(url: str) -> Iterator[Server]:
    """Run a server until the block ends."""
    running = Server.start(url)
    try:
        yield running
    finally:
        # One that a failed test has left stopped must not be waited for.
        running.send(signal.SIGCONT)
        running.stop()


def ask(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Ask a database past everything that the service asks with."""
    path = Database(url).path
    if path is not None:
        connection = connect_sqlite(path)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    async def run() -> list[tuple[Any, ...]]:
        session = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await session.fetch(statement)]
        finally:
            await session.close()

    return asyncio.run(run())


def money(fen: int) -> dict[str, str]:
    return {"amount": str(fen), "currency": "CNY"}


def taking(offer: Offer, ref: str | None = None) -> dict[str, Any]:
    """Write the body that takes a listing once."""
    price = a_price()
    return {
        "mode": "listed",
        "listing_id": f"lst_{offer.id:012}",
        "quantity": 1,
        "purpose": "Training a model",
        "net": money(price.net),
        "vat": money(price.vat),
        "gross": money(price.gross),
        "external_ref": ref,
    }


def assert_sound(exchange: Exchange) -> None:
    """Positions are gapless and every invariant holds."""
    assert [event.position for event in exchange.records(Event)] == list(range(1, exchange.position + 1))
    assert [finding for finding in exchange.read(check) if finding.offending] == []


def give_key(exchange: Exchange, role: Role, person: str, uscc: str | None = None) -> tuple[str, str]:
    """Make a key that can be sent over HTTP; give its id and its secret."""
    secret = written_secret(os.urandom(32))
    digest = secret_hash(secret)
    assert digest
    made = exchange.do(CreateKey(role, person, digest, uscc), exchange.operator())
    return str(made["id"]), secret


@dataclass(slots=True)
class Load:
    """Many clients that take one listing again and again, each time under a new key, until they are told to stop.

    What was answered to each key is kept, so that after a fault every single request can be accounted for.
    """

    url: str
    """Of the database."""
    secret: str
    body: dict[str, Any]
    name: str
    """Begins each key."""
    sent: list[str] = field(default_factory=list)
    """Keys sent since the last `settle`."""
    answered: dict[str, bytes] = field(default_factory=dict)
    """Bodies of what was acknowledged since the last `settle`."""
    unanswered: int = 0
    """Requests in all that got no answer, or 503."""
    stored_unanswered: int = 0
    """Of those, requests that were done all the same."""
    total: int = 0
    numbers: Iterator[int] = field(default_factory=count)
    acknowledged: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    """Released with each acknowledgement of the present run."""

    @classmethod
    def at(cls, url: str, name: str) -> "Load":
        """Make a seller with a listing and a buyer with a key, in an exchange without people."""
        with Exchange.at(url, now=now()) as exchange:
            return cls.of(exchange, url, name)

    @classmethod
    def of(cls, exchange: Exchange, url: str, name: str) -> "Load":
        """Make them in an exchange that is open."""
        offer, buyer = exchange.a_listing(), exchange.a_member()
        _, secret = give_key(exchange, Role.MEMBER, "Zhang", buyer.uscc)
        return cls(url, secret, taking(offer), name)

    async def run(self, address: str, during: Callable[[], Awaitable[None]]) -> None:
        """Send requests while something is done, and read beside it."""
        over, self.acknowledged = asyncio.Event(), asyncio.Semaphore(0)
        async with self._client(address) as client:
            await client.get(f"{address}/livez")  # listens before it serves: what is meant to happen under load waits
            async with asyncio.TaskGroup() as clients:
                for _ in range(CLIENTS):
                    clients.create_task(self._write(client, over))
                clients.create_task(self._read(client, over))
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await during()
                finally:
                    over.set()

    async def progress(self, number: int) -> None:
        """Wait for so many acknowledgements."""
        for _ in range(number):
            await self.acknowledged.acquire()

    async def moment(self, chance: random.Random) -> None:
        """Wait for a moment in the middle of the load: after so many answers, and a little more."""
        await self.progress(chance.randrange(60))
        await asyncio.sleep(chance.uniform(0, 0.02))

    async def run_until_refused(self, address: str) -> httpx.Response:
        """Send one request after the other until one is refused; give the refusal."""
        async with self._client(address) as client:
            for key in (f"{self.name}-{next(self.numbers)}" for _ in range(2_000)):
                self.sent.append(key)
                answer = await self._take(client, key)
                if answer.status_code != 201:
                    return answer
                self.answered[key] = answer.content
        raise AssertionError("all were taken")

    async def settle(self, address: str) -> None:
        """Account for every request sent: look what is stored, send each again under its key, and look once more."""
        before = await asyncio.to_thread(self._stored)
        for key in self.sent:
            assert len(before[key]) == 1 if key in self.answered else len(before[key]) <= 1, key
        async with self._client(address) as client:
            again = await asyncio.gather(*(self._take(client, key) for key in self.sent))
        after = await asyncio.to_thread(self._stored)
        for key, answer in zip(self.sent, again, strict=True):
            assert answer.status_code == 201, answer.text
            assert (answer.headers.get(REPLAYED) == "true") == bool(before[key])
            assert after[key] == [answer.content]
            assert self.answered.get(key, answer.content) == answer.content
            if key not in self.answered:
                self.unanswered += 1
                self.stored_unanswered += bool(before[key])
        self.total += len(self.sent)
        self.sent.clear()
        self.answered.clear()

    def _stored(self) -> defaultdict[str, list[bytes]]:
        """Give for each key the first answers to the trades that are stored for it."""
        rows = ask(
            self.url,
            "SELECT t.buyer_ref, i.answer FROM trade t LEFT JOIN idempotency i ON i.key = t.buyer_ref AND i.position = t.id",
        )
        stored = defaultdict(list)
        for key, answer in rows:
            assert answer is not None, f"the trade of {key} has no remembered answer"
            stored[key].append(answer.encode())
        return stored

    def _client(self, address: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"{address}/v1",
            headers={"Authorization": f"Bearer {self.secret}"},
            timeout=60,
            verify=False,
            limits=httpx.Limits(max_connections=CLIENTS + 1),
        )

    async def _take(self, client: httpx.AsyncClient, key: str) -> httpx.Response:
        return await client.post("/trades", json=self.body | {"external_ref": key}, headers={"Idempotency-Key": key})

    async def _write(self, client: httpx.AsyncClient, over: asyncio.Event) -> None:
        while not over.is_set():
            key = f"{self.name}-{next(self.numbers)}"
            self.sent.append(key)
            try:
                answer = await self._take(client, key)
            except httpx.TransportError:
                return
            assert answer.status_code in {201, 503}, answer.text
            if answer.status_code == 201:
                self.answered[key] = answer.content
                self.acknowledged.release()

    @staticmethod
    async def _read(client: httpx.AsyncClient, over: asyncio.Event) -> None:
        while not over.is_set():
            try:
                answer = await client.get("/trades", params={"limit": 1})
            except httpx.TransportError:
                return
            assert answer.status_code in {200, 503}, answer.text
            await asyncio.sleep(0.1)
