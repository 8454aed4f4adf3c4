"""Very many trades over HTTP, one after the other: does anything grow that should not, and does it stay as fast?

.venv/bin/python -m benchmarks.long_run --trades 1000000 [--json FILE]
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
from cluster import Cluster, cluster

from benchmarks.load import Measured, require_programs, wrk
from benchmarks.market import Market, prepare, seed, verify, wait_for
from benchmarks.processes import MIB, cpu_s, worker_rss_mib
from benchmarks.rounds import IN_FLIGHT, say
from benchmarks.sampling import sampled
from benchmarks.servers import Served, served
from benchmarks.targets import FLAT, Row

TENTHS: Final = 10
SLICE_S: Final = 15
"""wrk runs for times, not for numbers: a tenth is cut into as many runs as it takes."""
SAMPLE_S: Final = 5.0
MILLION: Final = 1_000_000
CHURNED: Final = ("head", "account", "rollup", "party_counter")
"""Tables whose rows are changed all the time, and those of monthly rollups where there are any."""

BLOAT: Final = 1.5
"""Their size may grow by as much once they have settled: it is a few hundred pages, and vacuum comes by the minute."""

CHURN: Final = """
    SELECT s.relname AS name, s.n_live_tup AS live, s.n_dead_tup AS dead, s.n_tup_upd AS changed, s.n_tup_hot_upd AS hot,
      pg_relation_size(s.relid) AS bytes, pg_indexes_size(s.relid) AS index_bytes, s.autovacuum_count AS vacuums
    FROM pg_stat_user_tables s WHERE s.relname = ANY($1) OR s.relname LIKE '%rollup%' OR s.relname LIKE '%month%' ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Churn:
    """How a table stands whose rows are changed all the time."""

    name: str
    live: int
    dead: int
    changed: int
    hot: int
    """So many of the changes touched no index."""
    bytes: int
    index_bytes: int
    vacuums: int


@dataclass(frozen=True, slots=True)
class Tenth:
    """One tenth of the run."""

    trades: int
    seconds: float
    p50_ms: float
    p99_ms: float
    server_cpu_us: float
    postgres_cpu_us: float
    rss_mib: float
    """At its end."""
    tables: list[Churn]

    @property
    def rate(self) -> float:
        """Trades a second."""
        return self.trades / self.seconds

    @property
    def churned_bytes(self) -> int:
        """The size of all tables whose rows are changed all the time, with their indexes."""
        return sum(table.bytes + table.index_bytes for table in self.tables)


@dataclass(frozen=True, slots=True)
class LongRun:
    """The whole run."""

    trades: int
    tenths: list[Tenth]
    sampled_s: list[float]
    rss_mib: list[float]
    database_mib: float

    def told(self) -> dict[str, Any]:
        """Give it as it is written."""
        told = asdict(self)
        for tenth, written in zip(self.tenths, told["tenths"], strict=True):
            written["rate"] = tenth.rate
        return told

    def rows(self) -> list[Row]:
        """Hold it to the targets."""
        first, last = self.tenths[0], self.tenths[-1]
        settled = self.tenths[1:-1] or self.tenths
        return [
            Row(f"{self.trades:,} trades: rate of the last tenth ÷ the first", [last.rate / first.rate], 0.95, True),
            Row(f"memory per worker after {self.trades:,} trades", [last.rss_mib], 150, False, " MiB"),
            Row(
                f"{self.trades:,} trades: memory at the end ÷ after the second tenth",
                [last.rss_mib / settled[0].rss_mib],
                FLAT,
                False,
            ),
            Row(
                f"{self.trades:,} trades: tables whose rows change all the time, at the end ÷ after the second tenth",
                [last.churned_bytes / settled[0].churned_bytes],
                BLOAT,
                False,
            ),
        ]

    def table(self) -> Iterator[str]:
        """Write it for people."""
        yield "tenth  trades/s  p50 ms  p99 ms  server µs  PostgreSQL µs  RSS MiB  dead rows (HOT share, MiB with indexes)"
        for number, tenth in enumerate(self.tenths, 1):
            tables = ", ".join(
                f"{one.name} {one.dead:,} ({one.hot / max(one.changed, 1):.0%}, {(one.bytes + one.index_bytes) / MIB:.1f})"
                for one in tenth.tables
                if one.changed
            )
            yield (
                f"{number:>5}  {tenth.rate:>8,.0f}  {tenth.p50_ms:>6.1f}  {tenth.p99_ms:>6.1f}  {tenth.server_cpu_us:>9,.0f}  "
                f"{tenth.postgres_cpu_us:>13,.0f}  {tenth.rss_mib:>7.1f}  {tables}"
            )
        yield f"database: {self.database_mib:,.0f} MiB, {self.database_mib * MIB / self.trades:,.0f} bytes a trade"


def run(place: Cluster, market: Market, server: Served, trades: int) -> LongRun:
    """Take listings until so many trades are made."""
    postmaster = int((place.data / "postmaster.pid").read_text(encoding="ascii").split()[0])
    tenths: list[Tenth] = []
    rate = 500.0
    with sampled(server.process.pid, SAMPLE_S) as memory:
        while len(tenths) < TENTHS:
            tenths.append(_tenth(market, server, postmaster, trades // TENTHS, rate))
            rate = tenths[-1].rate
            said = f"{len(tenths)} of {TENTHS} tenths: {rate:,.0f} trades/s, {tenths[-1].rss_mib:.0f} MiB"
            say(f"long run: {said}")
    total = sum(tenth.trades for tenth in tenths)
    return LongRun(total, tenths, memory.seconds, memory.rss_mib, wait_for(_size_mib(market.url)))


def _tenth(market: Market, server: Served, postmaster: int, trades: int, rate: float) -> Tenth:
    before = cpu_s(server.process.pid), cpu_s(postmaster)
    slices: list[Measured] = []
    while (left := trades - sum(one.trades for one in slices)) > 0:
        seconds = max(1, min(SLICE_S, round(left / rate)))
        slices.append(market.took(wrk(server.address, market.spread, seconds, IN_FLIGHT), IN_FLIGHT))
        rate = slices[-1].rate
        server.look()
    made = sum(one.trades for one in slices)
    after = cpu_s(server.process.pid), cpu_s(postmaster)
    return Tenth(
        made,
        sum(one.seconds for one in slices),
        statistics.median(one.p50_ms or 0.0 for one in slices),
        max(one.p99_ms or 0.0 for one in slices),
        (after[0] - before[0]) / made * 1e6,
        (after[1] - before[1]) / made * 1e6,
        worker_rss_mib(server.process.pid),
        wait_for(_churn(market.url)),
    )


async def _churn(url: str) -> list[Churn]:
    connection = await asyncpg.connect(url)
    found = [Churn(**row) for row in await connection.fetch(CHURN, CHURNED)]
    await connection.close()
    return found


async def _size_mib(url: str) -> float:
    connection = await asyncpg.connect(url)
    size: int = await connection.fetchval("SELECT pg_database_size(current_database())")
    await connection.close()
    return size / MIB


def alone(trades: int) -> tuple[LongRun, str]:
    """Do it on a cluster of its own; give it with what the check of the invariants says."""
    with cluster(durable=True) as place, tempfile.TemporaryDirectory(prefix="exchange-bench-") as folder:
        place.create_database("long")
        prepare(place.url("long"))
        market = seed(place.url("long"), Path(folder), "long")
        with served(market.url) as server:
            found = run(place, market, server, trades)
        return found, verify(market, "long run")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trades", type=int, default=MILLION)
    options.add_argument("--json", type=Path, help="where to write it for programs")
    chosen = options.parse_args()
    require_programs()
    found, said = alone(chosen.trades)
    for line in (*found.table(), said):
        print(line)
    rows = found.rows()
    for row in rows:
        print(f"{'met   ' if row.met else 'MISSED'} {row.what}: {row.written(row.value)} (target {row.target})")
    if chosen.json:
        told = found.told() | {"rows": [row.told() for row in rows]}
        chosen.json.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
