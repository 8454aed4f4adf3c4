"""The load: wrk over HTTP, batches over HTTP, and pgbench on the reference."""

import http.client
import re
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from cluster import Cluster

from benchmarks import HERE
from benchmarks.processes import Failed, Program, cpu_s

PLANNING: Final = {
    "jit": "off",
    # One plan for one trade and for a thousand, found once: every table is reached through its indexes.
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
}
"""How the reference's statement is planned."""
PROGRAMS: Final = {"wrk": "wrk", "pgbench": "postgresql", "psql": "postgresql-client"}
OK: Final = 200
CREATED: Final = 201
RUNS: Final = 10**12
SETTLE_S: Final = 0.2
"""In so long a database's processes end after their client: one that is just ending is counted nowhere."""
LONGEST_ANSWER_S: Final = 600


@dataclass(slots=True)
class Measured:
    """One run of one variant."""

    trades: int
    seconds: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    client_cpu: float | None = None
    """The share of one core that the load client took: near 1, it would be what is measured."""
    server_cpu_us: float | None = None
    """Processor time of the application for each trade."""
    postgres_cpu_us: float | None = None
    """Processor time of PostgreSQL for each trade."""
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Trades a second."""
        return self.trades / self.seconds

    def told(self) -> dict[str, Any]:
        """Give it as it is written."""
        return {"rate": self.rate} | {name: value for name, value in asdict(self).items() if value not in (None, {})}


def require_programs() -> None:
    """End where the load clients are not installed."""
    missing = [f"{name} (Debian's package {package})" for name, package in PROGRAMS.items() if not shutil.which(name)]
    if missing:
        sys.exit(f"Not found: {', '.join(missing)}.")


def with_cpu(run: Callable[[], Measured], servers: Sequence[int], postgres: int | None) -> Measured:
    """Run it, and note what the application's processes and the PostgreSQL postmaster's took for each trade."""

    def look() -> tuple[float, float]:
        return sum(map(cpu_s, servers)), cpu_s(postgres) if postgres else 0.0

    before = look()
    found = run()
    time.sleep(SETTLE_S)
    server, database = (after - was for after, was in zip(look(), before, strict=True))
    if servers:
        found.server_cpu_us = server / found.trades * 1e6
    if postgres:
        found.postgres_cpu_us = database / found.trades * 1e6
    return found


def start_wrk(address: str, orders: Path, seconds: int, connections: int) -> Program:
    """Start taking listings over so many connections."""
    command: list[str | Path] = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", HERE / "take.lua", address]
    command += ["--", orders, str(secrets.randbelow(RUNS))]
    return Program.start(command)


def end_wrk(running: Program) -> Measured:
    """Give what it measured. Raises Failed where a request was not answered with 201."""
    said = running.end()
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\S+) (\S+)", said)
    if not found:
        raise Failed(f"wrk told no result:\n{said}")
    requests, microseconds, errors = (int(found[n]) for n in (1, 2, 3))
    if errors or not requests:
        raise Failed(f"{errors} of {requests} requests failed:\n{said}")
    seconds = microseconds / 1e6
    return Measured(requests, seconds, float(found[4]), float(found[5]), client_cpu=running.cpu_s / seconds)


def wrk(address: str, orders: Path, seconds: int, connections: int) -> Measured:
    """Take listings over so many connections, each with one request in flight."""
    return end_wrk(start_wrk(address, orders, seconds, connections))


def wrk_on_both(addresses: tuple[str, str], orders: Path, seconds: int, connections: tuple[int, int]) -> Measured:
    """Load two addresses at the same time; latencies are those of the slower side."""
    running = [start_wrk(address, orders, seconds, n) for address, n in zip(addresses, connections, strict=True)]
    try:
        sides = [end_wrk(one) for one in running]
    finally:
        for one in running:
            one.stop()
    rates = [side.rate for side in sides]
    shares = [n / sum(connections) for n in connections]
    return Measured(
        sum(side.trades for side in sides),
        max(side.seconds for side in sides),
        max(side.p50_ms or 0.0 for side in sides),
        max(side.p99_ms or 0.0 for side in sides),
        sum(side.client_cpu or 0.0 for side in sides),
        more={
            "rates": rates,
            "of_fair_share": [rate / sum(rates) / share for rate, share in zip(rates, shares, strict=True)],
        },
    )


def take_one(address: str, orders: Path) -> Measured:
    """Take one listing. Raises Failed."""
    key, listings = _read(orders)
    sent = time.perf_counter()
    _post(_connect(address), "/v1/trades", key, orjson.dumps(_order(listings[0])))
    took = time.perf_counter() - sent
    return Measured(1, took, took * 1e3)


def send_batches(address: str, orders: Path, seconds: int, items: int) -> Measured:
    """Send batches, one after the other, until the time is over: at least one. Raises Failed where an item was not accepted."""
    key, listings = _read(orders)
    body = orjson.dumps([_order(listings[n % len(listings)]) for n in range(items)])
    connection = _connect(address)
    took: list[float] = []
    until = time.monotonic() + seconds
    while not took or time.monotonic() < until:
        sent = time.perf_counter()
        raw = _post(connection, "/v1/trades:batch", key, body)
        took.append(time.perf_counter() - sent)
        statuses = [item["status"] for item in orjson.loads(raw)["data"]]
        if statuses != [CREATED] * items:
            raise Failed(f"A batch was not accepted: {raw[:1_000]!r}")
    connection.close()
    return Measured(items * len(took), sum(took), statistics.median(took) * 1e3)


def _read(orders: Path) -> tuple[str, list[str]]:
    """Give the first buyer's key, and all listings."""
    lines = [line.split() for line in orders.read_text(encoding="utf-8").splitlines()]
    return next(value for kind, value in lines if kind == "key"), [value for kind, value in lines if kind == "listing"]


def _connect(address: str) -> http.client.HTTPConnection:
    place = urlsplit(address)
    assert place.hostname
    return http.client.HTTPConnection(place.hostname, place.port, timeout=LONGEST_ANSWER_S)


def _post(connection: http.client.HTTPConnection, path: str, key: str, body: bytes) -> bytes:
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Idempotency-Key": secrets.token_hex(12),
    }
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    raw = answer.read()
    if answer.status not in {OK, CREATED}:
        raise Failed(f"{path} answered {answer.status}: {raw[:1_000]!r}")
    return raw


def _order(listing: str) -> dict[str, object]:
    amounts = {"net": "100000", "vat": "6000", "gross": "106000"}
    return {
        "mode": "listed",
        "listing_id": listing,
        "quantity": 1,
        "purpose": "credit risk model",
        **{name: {"amount": amount, "currency": "CNY"} for name, amount in amounts.items()},
    }


def pgbench(place: Cluster, database: str, seconds: int, clients: int, per_transaction: int) -> Measured:
    """Have the reference post so many trades per transaction."""
    with tempfile.TemporaryDirectory(prefix="exchange-bench-") as folder:
        script = Path(folder) / "post.sql"
        script.write_text(f"SELECT post_trades({per_transaction});\n", encoding="ascii")
        running = Program.start(
            [
                *("pgbench", "-n", "-h", "127.0.0.1", "-p", str(place.port), "-U", "postgres", "-f", script),
                *("-c", str(clients), "-j", "1", "-T", str(seconds), "-M", "prepared"),
                *("--log", "--log-prefix", Path(folder) / "log", database),
            ],
            PGOPTIONS=" ".join(f"-c {name}={value}" for name, value in PLANNING.items()),
        )
        said = running.end()
        found = re.search(r"tps = ([0-9.]+)", said)
        if not found or re.search(r"number of failed transactions: [1-9]", said):
            raise Failed(f"pgbench did not do it:\n{said}")
        logs = [line.split() for file in Path(folder).glob("log*") for line in file.read_text("ascii").splitlines()]
    latencies = sorted(int(line[2]) / 1e3 for line in logs)
    trades = len(latencies) * per_transaction
    return Measured(
        trades,
        trades / (float(found[1]) * per_transaction),
        statistics.median(latencies),
        latencies[int(0.99 * (len(latencies) - 1))],
        running.cpu_s / seconds,
    )
