"""The write path against pgbench doing the same work, interleaved in one run on one PostgreSQL at its default durability.

    make bench

`POST /v1/trades` (a buyer takes a fixed-price listing): authenticated, durable, all rows and events, 64 in flight over HTTP by wrk, one process.
The yardstick: pgbench running a set-wise PL/pgSQL function that writes the same rows, 100 trades per transaction, one client.
After the runs every invariant of both databases is checked: a fast wrong answer is a failure.
"""

import argparse
import asyncio
import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

from cluster import Cluster, cluster, free_port  # noqa: E402
from exchanges import Exchange  # noqa: E402

from exchange.access.callers import caller_of, secret_hash, written_secret  # noqa: E402
from exchange.access.commands import CreateKey  # noqa: E402
from exchange.access.tables import Role  # noqa: E402
from exchange.clock import now  # noqa: E402
from exchange.database import Database  # noqa: E402
from exchange.regulator.integrity import check  # noqa: E402
from exchange.revisions import upgrade  # noqa: E402

MEMBERS = 400
CONNECTIONS = 64
PER_TRANSACTION = 100


async def prepare(url: str) -> None:
    database = Database(url)
    await upgrade(database)
    await database.close()


def seed(url: str) -> list[str]:
    """Make 400 members by the commands that everybody has: 200 buyers with keys, 200 sellers with a listing each."""
    lines, members = [], []
    with Exchange.on_postgres(url, now=now()) as exchange:
        for number in range(1, MEMBERS + 1):
            party = exchange.a_member()
            listing = exchange.a_listing(party) if number > MEMBERS // 2 else None
            key_id, person_id = party.by.key_id, party.by.person_id
            if listing is None:
                secret = written_secret(secrets.token_bytes(32))
                made = exchange.do(
                    CreateKey(Role.MEMBER, "Zhang", secret_hash(secret) or "", party.uscc), exchange.operator()
                )
                key_id = caller_of(int(made["id"][4:]), Role.MEMBER, party.uscc, person_id).key_id
                lines.append(f"key {secret}")
            else:
                lines.append(f"listing lst_{listing.id:012}")
            members.append((number, party.id, key_id, person_id, listing.id if listing else None))

    async def reference() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(
            "CREATE TABLE bench_member (n int PRIMARY KEY, member_id bigint, key_id bigint, person_id bigint, listing_id bigint)"
        )
        await connection.copy_records_to_table("bench_member", records=members)
        await connection.execute((HERE / "reference.sql").read_text(encoding="utf-8"))
        await connection.execute("ANALYZE")
        await connection.close()

    asyncio.run(reference())
    return lines


@contextmanager
def server(url: str) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "exchange", "serve", "--port", str(port)]
    environment = os.environ | {"EXCHANGE_DATABASE_URL": url, "PYTHONPATH": str(HERE.parent)}
    with (
        Path(os.devnull).open("w") as log,  # written as it always is, and read by nobody
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as running,
    ):
        assert running.stdout is not None
        running.stdout.readline()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()
            running.wait()


def wrk(url: str, orders: Path, seconds: int, connections: int = CONNECTIONS) -> tuple[float, float, float]:
    """Give trades a second, and the latencies at 50 and 99 percent in milliseconds."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", HERE / "take.lua", url, "--", orders]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\S+) (\S+)", said)
    assert found, said
    requests, microseconds, errors = (int(found[n]) for n in (1, 2, 3))
    assert not errors, f"{errors} of {requests} requests failed: {said}"
    return requests / microseconds * 1e6, float(found[4]), float(found[5])


def pgbench(place: Cluster, database: str, statement: str, seconds: int, clients: int, per_transaction: int) -> float:
    """Give trades a second."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(statement)
        script.flush()
        command = [
            *("pgbench", "-n", "-h", "127.0.0.1", "-p", str(place.port), "-U", "postgres", "-f", script.name),
            *("-c", str(clients), "-j", "1", "-T", str(seconds), "-M", "prepared", database),
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"tps = ([0-9.]+)", said)
    assert found, said
    return float(found[1]) * per_transaction


def median_and_range(values: list[float]) -> str:
    return f"{statistics.median(values):>8,.0f}   ({min(values):,.0f} to {max(values):,.0f})"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=8)
    chosen = options.parse_args()
    missing = [name for name in ("wrk", "pgbench") if shutil.which(name) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} not found: install Debian's packages wrk and postgresql.")
    with cluster(durable=True) as place, tempfile.TemporaryDirectory() as folder:
        place.create_database("app")
        asyncio.run(prepare(place.url("app")))
        orders = Path(folder) / "orders"
        orders.write_text("\n".join(seed(place.url("app"))) + "\n")
        place.create_database("reference", "app")
        variants: dict[str, Callable[[], float]] = {}
        latencies: list[tuple[float, float]] = []
        with server(place.url("app")) as url:

            def over_http() -> float:
                rate, *latency = wrk(url, orders, chosen.seconds)
                latencies.append((latency[0], latency[1]))
                return rate

            def set_wise() -> float:
                return pgbench(
                    place, "reference", f"SELECT post_trades({PER_TRANSACTION})", chosen.seconds, 1, PER_TRANSACTION
                )

            def one_by_one() -> float:
                return pgbench(place, "reference", "SELECT post_trades(1)", chosen.seconds, 8, 1)

            variants = {
                "POST /v1/trades, 64 in flight": over_http,
                f"pgbench, {PER_TRANSACTION} per transaction": set_wise,
                "pgbench, one by one, 8 clients": one_by_one,
            }
            wrk(url, orders, 2)
            rates: dict[str, list[float]] = {name: [] for name in variants}
            for number in range(chosen.rounds):
                for name, run in variants.items():
                    rates[name].append(run())
                    print(f"round {number + 1}: {name}: {rates[name][-1]:,.0f} trades/s", file=sys.stderr)
        print(
            f"\nPostgreSQL {place.version}, {chosen.rounds} rounds of {chosen.seconds} s each, interleaved; trades/s, median (range):"
        )
        for name, values in rates.items():
            print(f"  {name:<34} {median_and_range(values)}")
        ours, best, single = (rates[name] for name in variants)
        ratios = [one / other for one, other in zip(ours, best, strict=True)]
        print(
            f"  ratio to {PER_TRANSACTION} per transaction: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        )
        ratios = [one / other for one, other in zip(ours, single, strict=True)]
        print(
            f"  ratio to one by one:         {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
        print(
            f"  p50 / p99: {statistics.median(p50 for p50, _ in latencies):.0f} / {statistics.median(p99 for _, p99 in latencies):.0f} ms"
        )
        for name in ("app", "reference"):
            verify(place.url(name), name)


def verify(url: str, name: str) -> None:
    async def run() -> None:
        database = Database(url)
        broken = [finding for finding in await database.read(check) if finding.offending]
        # The reference keeps the books, not the commitments' order or the salted names.
        broken = [finding for finding in broken if name == "app" or finding.number not in {"12b", "12d"}]
        await database.close()
        if broken:
            sys.exit(f"{name}: invariant {broken[0].number} does not hold: {broken[0].offending}")
        print(f"  {name}: all invariants hold")

    asyncio.run(run())


if __name__ == "__main__":
    main()
