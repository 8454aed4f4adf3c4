"""What becomes of the rate and of those who wait when far more is asked than can be done.

    .venv/bin/python benchmarks/overload.py [--rounds 3] [--seconds 8] [--json FILE]

Every client sends `POST /v1/trades` over a connection of its own, waits for the answer and sends the next at once, also after a 503:
nobody heeds `Retry-After`. Rates and latencies are those of what was accepted (201). One server on one PostgreSQL at its default durability;
the variants are interleaved, each compared with others of its round, medians told. At the end every invariant is checked, and that all that
was accepted is there once.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import resource
import secrets
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import uvloop
from sqlalchemy import text
from sqlmodel import Session

ROOT: Final = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from cluster import cluster  # noqa: E402
from exchanges import Exchange  # noqa: E402
from markets import give_key, taking  # noqa: E402
from serving import Served, served  # noqa: E402

from exchange.access.tables import Role  # noqa: E402
from exchange.clock import now  # noqa: E402
from exchange.database import Database  # noqa: E402
from exchange.regulator.integrity import check  # noqa: E402
from exchange.revisions import upgrade  # noqa: E402

BUYERS: Final = 200
LISTINGS: Final = 200
CREATED: Final = 201
UNAVAILABLE: Final = 503
SUSTAINED: Final = 64
OTHERS: Final = 20
FLOOD: Final = 600
SLOW: Final = 500
MIB: Final = 2**20
PATIENCE_S: Final = 60
CONNECT_S: Final = 0.0005
SETTLE_S: Final = 1.0
SLOW_SETTLE_S: Final = 2.0
P99_LIMIT_MS: Final = 2_000
"""A second's work waits at most, and as much again is under way."""
P99_FAR_LIMIT_MS: Final = 5_000
BESIDE_FLOOD_MS: Final = 250
KEEPS: Final = 0.8
RETRY_AFTER: Final = b"retry-after:"


@dataclass(slots=True)
class Load:
    """What some clients got."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    """Of what was accepted, in milliseconds, ascending."""
    all_accepted: int = 0
    """Also while clients connect, and of the last requests."""
    unanswered: int = 0
    without_retry_after: int = 0
    cpu_share: float = 0.0
    """Of one core, by the client: near 1, it would be what is measured."""

    @property
    def accepted(self) -> int:
        """So many were accepted in the time that counts."""
        return self.statuses[CREATED]

    @property
    def rate(self) -> float:
        """Accepted trades a second."""
        return self.accepted / self.seconds

    @property
    def refused(self) -> float:
        """The share of answers that were 503."""
        return self.statuses[UNAVAILABLE] / (self.statuses.total() or 1)

    def percentile(self, part: float) -> float:
        """Give a latency in milliseconds."""
        return self.latencies[int(part * (len(self.latencies) - 1))] if self.latencies else float("inf")

    def __str__(self) -> str:
        return (
            f"{self.rate:,.0f} accepted/s, p50 {self.percentile(0.5):,.0f} ms, p99 {self.percentile(0.99):,.0f} ms, "
            f"{self.refused:.0%} of {self.statuses.total():,} answers 503, client {self.cpu_share:.2f} of a core"
        )


class Client(asyncio.Protocol):
    """One connection with one request in flight."""

    def __init__(self, run: "Run") -> None:
        """Take what it is part of."""
        self._run = run
        self._transport: Any = None
        self._answer = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._run.request())

    def data_received(self, data: bytes) -> None:
        """Note the answer where it is whole, and send the next request."""
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end:
            return
        told = head.lower()
        if len(body) < int(told.partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        at = time.perf_counter()
        status = int(head[9:12])
        self._answer = b""
        self._run.note(status, self._sent, at)
        if status == UNAVAILABLE and RETRY_AFTER not in told:
            self._run.load.without_retry_after += 1
        if at < self._run.until and b"connection: close" not in told:
            self._send()
        else:
            self._sent = 0
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        """Note whether a request stays without an answer."""
        self._run.load.unanswered += bool(self._sent)
        self._run.left -= 1
        if not self._run.left:
            self._run.over.set()


@dataclass(slots=True)
class Run:
    """Clients that run at the same time. What they get counts from when all are connected until the time is over."""

    keys: list[str]
    listings: list[bytes]
    left: int
    load: Load = field(default_factory=Load)
    name: str = field(default_factory=lambda: secrets.token_hex(6))
    number: int = 0
    since: float = float("inf")
    until: float = float("inf")
    over: asyncio.Event = field(default_factory=asyncio.Event)
    chance: random.Random = field(default_factory=random.Random)

    def request(self) -> bytes:
        """Write a request of some key for some listing."""
        self.number += 1
        body = self.chance.choice(self.listings)
        return (
            f"POST /v1/trades HTTP/1.1\r\nHost: exchange\r\nAuthorization: Bearer {self.chance.choice(self.keys)}\r\n"
            f"Idempotency-Key: {self.name}-{self.number}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def note(self, status: int, sent: float, at: float) -> None:
        """Note an answer."""
        self.load.all_accepted += status == CREATED
        if self.since <= at < self.until:
            self.load.statuses[status] += 1
            # One that was sent before then has waited for connections to be made.
            if status == CREATED and sent >= self.since:
                self.load.latencies.append((at - sent) * 1_000)
        elif status not in {CREATED, UNAVAILABLE}:
            self.load.statuses[status] += 1

    async def go(self, address: str, seconds: float) -> None:
        """Connect, run until the time is over, and wait for the last answers."""
        place, loop = urlsplit(address), asyncio.get_running_loop()
        for _ in range(self.left):
            await loop.create_connection(lambda: Client(self), place.hostname, place.port)
            await asyncio.sleep(CONNECT_S)
        await asyncio.sleep(SETTLE_S)
        self.since = time.perf_counter()
        self.until = self.since + seconds
        self.load.seconds = seconds
        async with asyncio.timeout(seconds + PATIENCE_S):
            await self.over.wait()


def run_load(address: str, keys: list[str], listings: list[bytes], connections: int, seconds: float) -> Load:
    """Run clients in a process of its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(connections + 100, hard)), hard))
    run = Run(keys, listings, connections)
    began, cpu = time.perf_counter(), time.process_time()
    uvloop.run(run.go(address, seconds))
    run.load.cpu_share = (time.process_time() - cpu) / (time.perf_counter() - began)
    run.load.latencies.sort()
    return run.load


@dataclass(slots=True)
class Place:
    """A server, and who asks it for what."""

    server: Served
    keys: list[str]
    listings: list[bytes]
    pool: ProcessPoolExecutor
    seconds: float
    accepted: int = 0
    unanswered: int = 0
    wrong: Counter[str] = field(default_factory=Counter)

    def load(self, *sides: tuple[list[str], int]) -> list[Load]:
        """Run some keys' clients on so many connections, all sides at once."""
        running = [
            self.pool.submit(run_load, self.server.url, keys, self.listings, connections, self.seconds)
            for keys, connections in sides
        ]
        found = [one.result() for one in running]
        for load in found:
            self.accepted += load.all_accepted
            self.unanswered += load.unanswered
            self.wrong += Counter(
                {str(status): n for status, n in load.statuses.items() if status not in {CREATED, UNAVAILABLE}}
            )
            self.wrong["503 without Retry-After"] += load.without_retry_after
        return found

    @property
    def rss_mib(self) -> float:
        """The server's memory."""
        pages = int(Path(f"/proc/{self.server.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB

    @property
    def cpu_s(self) -> float:
        """The processor time that the server has taken."""
        fields = Path(f"/proc/{self.server.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def slow_clients(address: str, secret: str, body: bytes) -> Iterator[None]:
    """Keep connections that send half a request or nothing, or read nothing of what they asked for."""
    place = urlsplit(address)
    head = (
        f"POST /v1/trades HTTP/1.1\r\nHost: exchange\r\nAuthorization: Bearer {secret}\r\nIdempotency-Key: slow\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    sent = [b"", head[:40], head, head + body[:-1], b"GET /openapi.json HTTP/1.1\r\nHost: exchange\r\n\r\n" * 20]
    with ExitStack() as opened:
        for number in range(SLOW):
            connection = opened.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            connection.connect((place.hostname, place.port))
            connection.sendall(sent[number % len(sent)])
        time.sleep(SLOW_SETTLE_S)
        yield


def seed(url: str) -> tuple[list[str], list[bytes]]:
    """Make buyers with keys, and listings; give the secrets, and the bodies that take each listing once."""

    async def prepare() -> None:
        database = Database(url)
        await upgrade(database)
        await database.close()

    asyncio.run(prepare())
    with Exchange.at(url, now=now()) as exchange:
        listings = [orjson.dumps(taking(exchange.a_listing())) for _ in range(LISTINGS)]
        keys = [give_key(exchange, Role.MEMBER, "Zhang", exchange.a_member().uscc)[1] for _ in range(BUYERS)]
    return keys, listings


Rounds = dict[str, list[float]]


def one_round(place: Place, found: Rounds) -> None:
    """Run every variant once."""

    def note(what: str, value: float) -> None:
        found.setdefault(what, []).append(value)

    def say(what: str, load: Load, more: str = "") -> Load:
        print(f"  {what:<48} {load}{more}", file=sys.stderr)
        return load

    def cpu_of(run: Callable[[], Load]) -> tuple[Load, float]:
        before = place.cpu_s
        load = run()
        return load, (place.cpu_s - before) * 1e6 / load.all_accepted

    buyers, one, others = place.keys[OTHERS + 1 :], place.keys[:1], place.keys[1 : OTHERS + 1]
    peak, peak_us = cpu_of(lambda: place.load((buyers, SUSTAINED))[0])
    say(f"{SUSTAINED} connections", peak, f", {peak_us:.0f} µs of processor each")
    for times in (10, 100):
        many, many_us = cpu_of(lambda times=times: place.load((buyers, times * SUSTAINED))[0])  # type: ignore[misc]
        say(f"{times * SUSTAINED} connections", many, f", server {place.rss_mib:.0f} MiB")
        note(f"accepted rate at {times} times the load ÷ peak", many.rate / peak.rate)
        note(f"p99 of what is accepted at {times} times the load, ms", many.percentile(0.99))
        note(f"processor time for each accepted at {times} times the load ÷ at peak", many_us / peak_us)
    alone = say(f"{OTHERS} members", place.load((others, OTHERS))[0])
    beside, flood = place.load((others, OTHERS), (one, FLOOD))
    say(f"the same beside one with {FLOOD} connections", beside)
    say("that one", flood)
    note(f"{OTHERS} members beside one with {FLOOD} connections: p99, ms", beside.percentile(0.99))
    note("the same: share of their requests that is refused", beside.refused)
    note("the same: accepted in all ÷ peak", (beside.rate + flood.rate) / peak.rate)
    note("the same members alone: p99, ms", alone.percentile(0.99))
    with slow_clients(place.server.url, one[0], place.listings[0]):
        slowed, slowed_us = cpu_of(lambda: place.load((buyers, SUSTAINED))[0])
    say(f"{SUSTAINED} connections beside {SLOW} slow ones", slowed)
    note(f"rate beside {SLOW} slow clients ÷ peak", slowed.rate / peak.rate)
    note("the same: processor time for each accepted ÷ at peak", slowed_us / peak_us)
    note("memory of the server at the end of a round, MiB", place.rss_mib)


TARGETS: Final[dict[str, tuple[str, Callable[[float], bool]]]] = {
    "accepted rate at": (f"≥ {KEEPS}", lambda value: value >= KEEPS),
    "p99 of what is accepted at 10 times": (f"≤ {P99_LIMIT_MS:,}", lambda value: value <= P99_LIMIT_MS),
    "p99 of what is accepted at 100 times": (f"≤ {P99_FAR_LIMIT_MS:,}", lambda value: value <= P99_FAR_LIMIT_MS),
    f"{OTHERS} members beside": (f"≤ {BESIDE_FLOOD_MS}", lambda value: value <= BESIDE_FLOOD_MS),
    "the same: share": ("0", lambda value: value == 0),
    "the same: accepted in all": (f"≥ {KEEPS}", lambda value: value >= KEEPS),
    f"rate beside {SLOW} slow": ("≥ 0.9", lambda value: value >= 0.9),  # noqa: PLR2004 - the same number
}


def rows(found: Rounds) -> list[dict[str, Any]]:
    """Give the medians with their targets; what has none is only told."""
    made = []
    for what, values in found.items():
        value = statistics.median(values)
        target, met = next((told for name, told in TARGETS.items() if what.startswith(name)), ("told", lambda _: True))
        made.append({"what": what, "value": round(value, 3), "target": target, "met": met(value)})
    return made


def verify(place: Place, url: str) -> str:
    """Check all invariants, and that what was accepted is there once."""

    def look(session: Session) -> tuple[int, list[str]]:
        trades: int = session.connection().execute(text("SELECT count(*) FROM trade")).scalar_one()
        return trades, [finding.number for finding in check(session) if finding.offending]

    async def run() -> tuple[int, list[str]]:
        database = Database(url)
        try:
            return await database.read(look)
        finally:
            await database.close()

    trades, broken = asyncio.run(run())
    if broken or +place.wrong or not place.accepted <= trades <= place.accepted + place.unanswered:
        sys.exit(
            f"{trades:,} trades for {place.accepted:,} accepted; invariants {broken}; other answers {+place.wrong}"
        )
    return f"all invariants hold over {trades:,} trades, of which {place.accepted:,} were acknowledged"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=8)
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    with (
        cluster(durable=True) as database,
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool,
    ):
        database.create_database("overload")
        url = database.url("overload")
        keys, listings = seed(url)
        # One member floods: how often it may ask is not what is measured.
        with served(url, Path(folder), rate_per_key="0", rate_per_address="0") as server:
            place = Place(server, keys, listings, pool, chosen.seconds)
            place.load((keys, SUSTAINED))
            found: Rounds = {}
            for number in range(chosen.rounds):
                print(f"round {number + 1}:", file=sys.stderr)
                one_round(place, found)
        made = rows(found)
        for row in made:
            print(f"{'met   ' if row['met'] else 'MISSED'} {row['what']:<70} {row['value']:>10,}   {row['target']}")
        print(verify(place, url))
    if chosen.json:
        chosen.json.write_text(json.dumps({"rows": made}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
