"""What is measured: variants, run by turns in rounds, each variant for a few seconds."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cluster import Cluster

from benchmarks.importing import Import
from benchmarks.load import Measured, pgbench, send_batches, with_cpu, wrk, wrk_on_both
from benchmarks.market import Market, make_reference, prepare, seed, verify
from benchmarks.processes import worker_rss_mib
from benchmarks.servers import WITHOUT_JOURNAL, Served, served, takes_workers

IN_FLIGHT: Final = 64
HALVES: Final = (32, 32)
UNEVEN: Final = (8, 56)
BATCH_ITEMS: Final = 10_000
WARM_UP_S: Final = 2
OFTEN_IMPORTED: Final = 100_000
"""An import of more rows than this is run once, after the rounds."""

ONE: Final = "POST /v1/trades, 64 in flight"
HOT: Final = "64 in flight, always the same two members"
EMBEDDED: Final = "64 in flight, on SQLite (FULL)"
DOOR: Final = "64 in flight, without the journal"
TWO: Final = "64 in flight, two processes"
UNEVENLY: Final = "two processes, 8 : 56 connections"
LONE: Final = "POST /v1/trades, 1 in flight"
BATCHES: Final = "POST /v1/trades:batch, 10,000 items"
IMPORT: Final = "exchange import trades, CSV"
BY_100: Final = "pgbench, 100 trades per transaction, 1 client"
BY_1000: Final = "pgbench, 1,000 trades per transaction, 1 client"
SINGLE_8: Final = "pgbench, one trade per transaction, 8 clients"
SINGLE_1: Final = "pgbench, one trade per transaction, 1 client"

Results = dict[str, list[Measured]]


def say(text: str) -> None:
    """Tell how far it is, beside what is printed for keeps."""
    print(text, file=sys.stderr, flush=True)


@dataclass(slots=True)
class Bench:
    """Databases, servers, and what runs on them."""

    place: Cluster
    postmaster: int
    folder: Path
    seconds: int
    app: Market
    embedded: Market
    reference: Market
    one: Served
    other: Served
    door: Served
    on_sqlite: Served
    workers: Served | None
    """Two processes behind one address, where the server can be that."""
    importing: Import
    results: Results = field(default_factory=dict)
    started_s: list[float] = field(default_factory=list)

    @classmethod
    @contextmanager
    def opened(cls, place: Cluster, folder: Path, seconds: int, import_rows: int) -> Iterator["Bench"]:
        """Make the databases and start the servers."""
        postmaster = int((place.data / "postmaster.pid").read_text(encoding="ascii").split()[0])
        say("making members, keys and listings …")
        place.create_database("seeded")
        prepare(place.url("seeded"))
        seeded = seed(place.url("seeded"), folder, "app")
        place.create_database("app", "seeded")
        app = Market(place.url("app"), seeded.spread, seeded.hot)
        reference = make_reference(place, "reference", seeded)
        sqlite = f"sqlite:///{folder / 'embedded.db'}"
        prepare(sqlite)
        embedded = seed(sqlite, folder, "embedded")
        importing = Import.of(place, postmaster, folder, import_rows)
        with ExitStack() as stack:
            yield cls(
                place,
                postmaster,
                folder,
                seconds,
                app,
                embedded,
                reference,
                one=stack.enter_context(served(app.url)),
                other=stack.enter_context(served(app.url)),
                door=stack.enter_context(served(app.url, how=WITHOUT_JOURNAL)),
                on_sqlite=stack.enter_context(served(sqlite)),
                workers=stack.enter_context(served(app.url, "--workers", "2")) if takes_workers() else None,
                importing=importing,
            )

    @property
    def variants(self) -> dict[str, Callable[[], Measured]]:
        """All variants, those that are compared next to each other."""
        variants = {
            ONE: lambda: self.over_http(self.one, IN_FLIGHT),
            BY_100: lambda: self.by_pgbench(1, 100),
            SINGLE_8: lambda: self.by_pgbench(8, 1),
            DOOR: lambda: self.measured(
                lambda: wrk(self.door.address, self.app.spread, self.seconds, IN_FLIGHT), self.door
            ),
            HOT: lambda: self.over_http(self.one, IN_FLIGHT, self.app.hot),
            EMBEDDED: self.on_the_embedded,
            TWO: self.by_two,
            UNEVENLY: lambda: self.by_both(UNEVEN),
            LONE: lambda: self.over_http(self.one, 1),
            SINGLE_1: lambda: self.by_pgbench(1, 1),
            BATCHES: self.by_batches,
            BY_1000: lambda: self.by_pgbench(1, 1_000),
        }
        return variants if self.importing.rows > OFTEN_IMPORTED else variants | {IMPORT: self.by_import}

    def run(self, rounds: int, chosen: Callable[[str], bool]) -> None:
        """Run the chosen variants by turns, each round starting a little further on, so that none always follows the same."""
        variants = [(name, run) for name, run in self.variants.items() if chosen(name)]
        wrk(self.door.address, self.app.spread, WARM_UP_S, IN_FLIGHT)
        for market, server in ((self.app, self.one), (self.app, self.other), (self.embedded, self.on_sqlite)):
            market.took(wrk(server.address, market.spread, WARM_UP_S, IN_FLIGHT), IN_FLIGHT)
        self.by_pgbench(1, 100)
        for number in range(rounds):
            start = number * len(variants) // rounds
            for name, run in variants[start:] + variants[:start]:
                self.note(f"round {number + 1} of {rounds}", name, run)
            with served(self.app.url) as started:
                self.started_s.append(started.ready_s)
        if self.importing.rows > OFTEN_IMPORTED and chosen(IMPORT):
            self.note("once", IMPORT, self.by_import)

    def note(self, turn: str, name: str, run: Callable[[], Measured]) -> None:
        """Run a variant and keep what it measured."""
        try:
            found = run()
        finally:
            # Where a server is down, that is what is told, and not what its clients noticed.
            for server in (self.one, self.other, self.door, self.on_sqlite, self.workers):
                if server is not None:
                    server.look()
        self.results.setdefault(name, []).append(found)
        latency = f", p50 {found.p50_ms:,.1f} ms" if found.p50_ms else ""
        say(f"{turn}: {name}: {found.rate:,.0f} trades/s{latency}")

    def measured(self, run: Callable[[], Measured], *servers: Served) -> Measured:
        """Run with the processor time of these servers and of PostgreSQL noted."""
        return with_cpu(run, [server.process.pid for server in servers], self.postmaster)

    def over_http(self, server: Served, in_flight: int, orders: Path | None = None) -> Measured:
        """Take listings on PostgreSQL."""
        found = self.measured(lambda: wrk(server.address, orders or self.app.spread, self.seconds, in_flight), server)
        return self.app.took(found, in_flight)

    def on_the_embedded(self) -> Measured:
        """Take listings on SQLite."""
        address, orders = self.on_sqlite.address, self.embedded.spread
        found = with_cpu(lambda: wrk(address, orders, self.seconds, IN_FLIGHT), [self.on_sqlite.process.pid], None)
        return self.embedded.took(found, IN_FLIGHT)

    def by_two(self) -> Measured:
        """Take listings from two processes: behind one address where the server can be that, else behind two."""
        return self.over_http(self.workers, IN_FLIGHT) if self.workers else self.by_both(HALVES)

    def by_both(self, connections: tuple[int, int]) -> Measured:
        """Take listings from two servers, with so many connections to each."""
        both = (self.one.address, self.other.address)
        found = self.measured(
            lambda: wrk_on_both(both, self.app.spread, self.seconds, connections), self.one, self.other
        )
        return self.app.took(found, sum(connections))

    def by_batches(self) -> Measured:
        """Send large batches."""
        found = self.measured(
            lambda: send_batches(self.one.address, self.app.spread, self.seconds, BATCH_ITEMS), self.one
        )
        return self.app.took(found)

    def by_pgbench(self, clients: int, per_transaction: int) -> Measured:
        """Let the reference do it."""
        found = self.measured(lambda: pgbench(self.place, "reference", self.seconds, clients, per_transaction))
        return self.reference.took(found)

    def by_import(self) -> Measured:
        """Import the file, with the yardstick before and after it."""
        before = self.by_pgbench(1, 1_000)
        found = self.importing.run()
        after = self.by_pgbench(1, 1_000)
        found.more["yardstick"] = (before.rate + after.rate) / 2
        return found

    @property
    def memory_mib(self) -> float:
        """The memory of the server that took most."""
        return worker_rss_mib(self.one.process.pid)

    def verified(self) -> list[str]:
        """Check all databases. Raises Failed."""
        markets = {"PostgreSQL": self.app, "SQLite": self.embedded, "reference": self.reference}
        return [verify(market, name) for name, market in markets.items()]
