"""What the exchange is asked, on four years of ten thousand and of ten million movements of its volume: flat, or not.

    make bench-reads

Builds each database once, set-wise in SQL, on a PostgreSQL of its own, and keeps it in the folder given by `--keep`: members, listings,
volume entries of four years with 3 % recorded up to a month late, their rollups, and of the last ones the complete trades, with all rows
and events of real size. Then asks the real server over HTTP, one request at a time on one connection, and the same queries without it.
"""

import argparse
import asyncio
import json
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
from sqlmodel import Session

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests")]

from cluster import FAST, REMEDY, Cluster, _unprivileged, binaries, free_port  # noqa: E402
from exchanges import Exchange  # noqa: E402
from tampering import PAST_GUARDS  # noqa: E402

from benchmarks.servers import served  # noqa: E402
from exchange.access.callers import secret_hash, written_secret  # noqa: E402
from exchange.access.commands import CreateKey  # noqa: E402
from exchange.access.tables import Role  # noqa: E402
from exchange.clock import business_day, now  # noqa: E402
from exchange.database import Database  # noqa: E402
from exchange.identifiers import MemberId  # noqa: E402
from exchange.journal.journal import look_less_often  # noqa: E402
from exchange.journal.queries import moment_at  # noqa: E402
from exchange.regulator.integrity import INVARIANTS  # noqa: E402
from exchange.regulator.queries import standings, summary  # noqa: E402
from exchange.revisions import upgrade  # noqa: E402
from exchange.trades.queries import TradeFilter, list_trades, statement  # noqa: E402
from exchange.volume.queries import Question, cumulative  # noqa: E402
from exchange.volume.tables import Dimension  # noqa: E402

DAYS: Final = 1461
PAIRS: Final = 500
"""So many buyers, and sellers with a product each."""
STEP: Final = 100_000
"""By so much the ids of one pair differ from those of the one before."""
BATCH: Final = 32
HELD: Final = {"5b", "6", "10", "12a"}
"""The invariants that the built rows keep: the others need the trades and ledger lines of all years."""


def copies(table: str, changed: dict[str, str]) -> str:
    """Write how the rows of a pair are put beside it, for all pairs: by column what the k-th copy has."""
    given = ", ".join(f"{value} AS {name}" for name, value in changed.items())
    return (
        f"INSERT INTO {table} SELECT r.* FROM {table} t, generate_series(1, {PAIRS - 1}) k, LATERAL (SELECT {given}) n, "
        f"jsonb_populate_record(NULL::{table}, to_jsonb(t) || to_jsonb(n)) r"
    )


def shifted(*names: str) -> dict[str, str]:
    return {name: f"t.{name} + k * {STEP}" for name in names}


CODE: Final = {"uscc": "substr(t.uscc, 1, 8) || to_char(k, 'FM0000') || substr(t.uscc, 13)"}
CAST: Final = (
    copies("company", CODE | shifted("member_id")),
    copies("member", CODE | shifted("id")),
    copies("member_history", shifted("member_id", "number")),
    copies("account", shifted("id", "owner_id")),
    copies("data_product", shifted("id", "owner_id", "current_listing_id")),
    copies("product_version", shifted("id", "product_id")),
    copies("listing", shifted("id", "owner_id", "product_id", "version_id")),
    copies("listing_history", shifted("listing_id", "number")),
)
"""Account ids are shifted less than they should be: nothing asks for them here."""

BUILT: Final = """
CREATE TEMP TABLE base AS SELECT h.position, t.buyer_id, t.seller_id, t.product_id FROM head h, trade t LIMIT 1;
ALTER TABLE volume_entry DROP CONSTRAINT pk_volume_entry;
DROP INDEX ix_volume_entry_buyer_id_effective_on_position;
DROP INDEX ix_volume_entry_seller_id_effective_on_position;
INSERT INTO volume_entry
  SELECT base.position + i, 1, 'contracted', 'counted', base.position + i, base.buyer_id + b * {step}, base.seller_id + s * {step},
      base.product_id + s * {step}, CASE WHEN hashint8(i * 7) % 100 BETWEEN 0 AND 5 THEN recorded - 1 - (i % 30)::int ELSE recorded END, recorded,
      106 * (100 + i % 1000), 100 * (100 + i % 1000), (ARRAY['energy','finance','health','transport','industry'])[1 + s % 5],
      (ARRAY['dataset','api','report'])[1 + s % 3], CASE WHEN b % 10 = 0 THEN '440100' ELSE '430100' END,
      CASE WHEN i % 10 = 0 THEN 'off_exchange_filed' ELSE 'on_exchange' END, (ARRAY['listed','listed','negotiated'])[1 + i % 3], i % 50 = 0
    FROM base, generate_series(1, {entries}) i,
      LATERAL (SELECT abs(hashint8(i)::bigint) % {pairs} AS b, abs(hashint8(i + 17)::bigint) % {pairs} AS s,
        date '{start}' + ((i - 1) / {batch} * {batch} * {days}::bigint / {entries})::int AS recorded) x;
ALTER TABLE volume_entry ADD CONSTRAINT pk_volume_entry PRIMARY KEY (position, number);
CREATE INDEX ix_volume_entry_buyer_id_effective_on_position ON volume_entry (buyer_id, effective_on, position);
CREATE INDEX ix_volume_entry_seller_id_effective_on_position ON volume_entry (seller_id, effective_on, position);
INSERT INTO batch
  SELECT first, least(first + {batch} - 1, base.position + {entries}),
      timestamptz '{start} 00:00:00.001+08' + (first - base.position - 1) * ({days} * 86400.0 / {entries}) * interval '1 second', 0, 0
    FROM base, generate_series(base.position + 1, base.position + {entries}, {batch}) first;
UPDATE batch SET contracted_gross = r.gross, contracted_reversed = r.back FROM (
    SELECT last, sum(sum(greatest(gross, 0))) OVER (ORDER BY last) AS gross, sum(sum(greatest(-gross, 0))) OVER (ORDER BY last) AS back
    FROM batch JOIN volume_entry ON position BETWEEN first AND last WHERE first > (SELECT position FROM base) GROUP BY last) r
  WHERE batch.last = r.last;
UPDATE batch SET contracted_gross = batch.contracted_gross + h.contracted_gross FROM head h WHERE first > (SELECT position FROM base);
UPDATE head SET position = last, recorded_at = b.recorded_at, contracted_gross = b.contracted_gross, contracted_reversed = b.contracted_reversed
  FROM (SELECT * FROM batch ORDER BY last DESC LIMIT 1) b;
CREATE TEMP TABLE days AS SELECT sector || '|' || kind || '|' || left(region, 2) || '|' || venue || '|' || mode || '|' ||
    CASE WHEN related THEN 'related' ELSE 'unrelated' END AS cube, venue, related, effective_on, recorded_on, sum(gross) AS gross,
    sum(net_excluding_vat) AS net, count(*) AS trades
  FROM volume_entry, base WHERE volume_entry.position > base.position GROUP BY 1, 2, 3, 4, 5;
CREATE TEMP TABLE kept AS SELECT 'cube' AS dimension, cube AS value, * FROM days UNION ALL SELECT 'total', '', * FROM days
  UNION ALL SELECT 'venue', venue, * FROM days UNION ALL SELECT 'related', 'related', * FROM days WHERE related;
INSERT INTO rollup SELECT 'contracted', dimension, value, effective_on, recorded_on, sum(gross), 0, sum(net), sum(trades)
  FROM kept GROUP BY 2, 3, 4, 5
  ON CONFLICT (measure, dimension, value, effective_on, recorded_on) DO UPDATE SET gross = rollup.gross + excluded.gross,
    net_excluding_vat = rollup.net_excluding_vat + excluded.net_excluding_vat, trades = rollup.trades + excluded.trades;
INSERT INTO monthly_rollup
  SELECT 'contracted', dimension, value, date_trunc('month', effective_on), date_trunc('month', recorded_on), sum(gross), 0, sum(net), sum(trades)
  FROM kept GROUP BY 2, 3, 4, 5
  ON CONFLICT (measure, dimension, value, effective_in, recorded_in) DO UPDATE SET gross = monthly_rollup.gross + excluded.gross,
    net_excluding_vat = monthly_rollup.net_excluding_vat + excluded.net_excluding_vat, trades = monthly_rollup.trades + excluded.trades;
INSERT INTO monthly_rollup
  SELECT 'contracted', d.dimension, d.value, date_trunc('month', effective_on), date_trunc('month', recorded_on), sum(gross), 0,
    sum(net_excluding_vat), count(*)
  FROM volume_entry v, base,
    LATERAL (VALUES ('buyer', v.buyer_id::text), ('seller', v.seller_id::text), ('product', v.product_id::text)) d (dimension, value)
  WHERE v.position > base.position GROUP BY 2, 3, 4, 5
  ON CONFLICT (measure, dimension, value, effective_in, recorded_in) DO UPDATE SET gross = monthly_rollup.gross + excluded.gross,
    net_excluding_vat = monthly_rollup.net_excluding_vat + excluded.net_excluding_vat, trades = monthly_rollup.trades + excluded.trades;
"""

COMPLETE: Final = """
CREATE TEMP TABLE made AS SELECT v.*, row_number() OVER (PARTITION BY v.buyer_id ORDER BY v.position) AS bn,
    row_number() OVER (PARTITION BY v.seller_id ORDER BY v.position) AS sn FROM volume_entry v, head h
  WHERE v.position > h.position - {trades} AND v.position > (SELECT max(id) FROM trade);
INSERT INTO trade SELECT r.* FROM made m, (SELECT * FROM trade LIMIT 1) t, jsonb_populate_record(NULL::trade, to_jsonb(t) || jsonb_build_object(
    'id', m.position, 'buyer_id', m.buyer_id, 'seller_id', m.seller_id, 'product_id', m.product_id, 'contract_number', 'HT-' || m.position,
    'gross', m.gross, 'net', m.net_excluding_vat, 'vat', m.gross - m.net_excluding_vat, 'effective_on', m.effective_on, 'venue', m.venue,
    'mode', m.mode, 'changed_at', m.position, 'contract_sha256', encode(sha256(m.position::text::bytea), 'hex'), 'related', m.related)) r;
INSERT INTO contract SELECT seller_id, buyer_id, 'HT-' || position, encode(sha256(position::text::bytea), 'hex'), position FROM made;
INSERT INTO entry SELECT position, 'contract', position FROM made;
INSERT INTO transfer SELECT position, 1, buyer_id * 16, seller_id * 16 + 1, gross, effective_on FROM made;
INSERT INTO party_event SELECT buyer_id, 1000 + bn, position, substr(sha256(position::text::bytea), 1, 16) FROM made
  UNION ALL SELECT seller_id, 1000 + sn, position, substr(sha256(('s' || position)::bytea), 1, 16) FROM made;
INSERT INTO idempotency SELECT 'company:' || buyer_id, gen_random_uuid()::text, sha256(position::text::bytea), 201, format(
    '{{"id":"trd_%s","late":false,"position":%s,"recorded_at":"2026-11-25T04:50:00.000000Z","related":false,"state":"contracted"}}',
    lpad(position::text, 12, '0'), position), position FROM made;
INSERT INTO event (position, kind, subject, person_id, leaf, leaf_sha256)
  SELECT m.position, e.kind, 'trd_' || lpad(m.position::text, 12, '0'), e.person_id, left(e.leaf, -12) || lpad(m.position::text, 12, '0'),
    sha256(m.position::text::bytea) FROM made m, (SELECT * FROM event WHERE kind = 'trade.contracted' ORDER BY position DESC LIMIT 1) e;
"""

STORED: Final = """
SELECT c.relname AS name, pg_table_size(c.oid) AS rows, pg_indexes_size(c.oid) AS indexes, c.reltuples::bigint AS number,
  (SELECT jsonb_object_agg(i.indexrelid::regclass::text, pg_relation_size(i.indexrelid)) FROM pg_index i WHERE i.indrelid = c.oid) AS each
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND c.relkind = 'r' ORDER BY 2 DESC
"""
PER_TRADE: Final = ("trade", "contract", "entry", "transfer", "party_event", "idempotency", "event")
PER_ENTRY: Final = ("volume_entry", "rollup", "monthly_rollup")


@dataclass(frozen=True, slots=True)
class Names:
    """Whom and what to ask for."""

    secret: str
    member: str


def build(url: str, entries: int, trades: int) -> Names:
    """Build a database; takes some minutes for ten million entries."""

    async def migrate() -> None:
        database = Database(url)
        await upgrade(database)
        await database.close()

    asyncio.run(migrate())
    start = business_day(now()) - timedelta(days=DAYS)
    secret = written_secret(secrets.token_bytes(32))
    with Exchange.on_postgres(url, now=now() - timedelta(days=DAYS + 2)) as exchange:
        sale = exchange.a_taken_listing()
        exchange.do(CreateKey(Role.AUDITOR, "Zhang", secret_hash(secret) or ""), exchange.operator())
    values = {
        "entries": entries,
        "trades": trades,
        "days": DAYS,
        "start": start,
        "batch": BATCH,
        "pairs": PAIRS,
        "step": STEP,
    }

    async def fill() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(f"{PAST_GUARDS}; SET synchronous_commit = off; SET maintenance_work_mem = '512MB'")
        await connection.execute("SET work_mem = '256MB'")
        scripts = (BUILT + COMPLETE).format(**values).strip().removesuffix(";").split(";\n")
        for script in (*CAST, *scripts):
            began = time.monotonic()
            await connection.execute(script)
            if time.monotonic() - began > 1:
                print(f"  {time.monotonic() - began:6.1f} s  {' '.join(script.split())[:90]}", file=sys.stderr)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()

    asyncio.run(fill())
    return Names(secret, f"mbr_{sale.buyer.id:012}")


@contextmanager
def kept(folder: Path) -> Iterator[Cluster]:
    """Run the cluster of a folder; it is made where there is none."""
    binary = binaries()
    if binary is None:
        sys.exit(REMEDY)
    folder.mkdir(parents=True, exist_ok=True)
    user = _unprivileged()
    if user:
        shutil.chown(folder, user)
    place = Cluster(binary, folder / "data", free_port(), (*FAST, "shared_buffers=512MB", "max_wal_size=8GB"), user)
    if not place.data.exists():
        place.run(
            binary / "initdb", "-D", place.data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-N"
        )
    place.start()
    try:
        yield place
    finally:
        place.stop()


def spread(ask: Callable[[], object], times: int) -> tuple[float, float]:
    """Ask so often; give the latencies at 50 and 99 percent, in milliseconds."""
    for _ in range(5):
        ask()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        took.append((time.perf_counter() - began) * 1e3)
    return statistics.median(took), statistics.quantiles(took, n=100)[98]


ROWS: Final = {
    "summary": (10, True),
    "monthly series": (10, True),
    "statement of one member": (10, True),
    "trades, first page": (10, True),
    "breakdown by cube": (20, False),
    "breakdown by buyer": (20, False),
    "summary, past as_of": (20, False),
    "summary, past known_at": (20, False),
}
"""By question: the bound on p99 in milliseconds, and whether it may also take no more than some times as long as on the small one."""
FLAT: Final = 4
"""So many times."""


def questions(session: Session, day: date, member: MemberId) -> dict[str, Callable[[], object]]:
    """Give what is asked, as queries on one snapshot."""
    moment = moment_at(session, None)
    past, year = moment.position - moment.position // 3, day - timedelta(days=400)
    return {
        "summary": lambda: summary(session, day),
        "monthly series": lambda: standings(session, moment, day),
        "statement of one member": lambda: statement(
            session, member, day - timedelta(days=60), day, None, 100, company=None
        ),
        "trades, first page": lambda: list_trades(session, None, None, 100, TradeFilter()),
        "breakdown by cube": lambda: cumulative(session, moment, Question(day, dimension=Dimension.CUBE)),
        "breakdown by buyer": lambda: cumulative(session, moment, Question(day, dimension=Dimension.BUYER)),
        "summary, past as_of": lambda: summary(session, day, year),
        "summary, past known_at": lambda: summary(session, day, None, past),
    }


def measure(url: str, names: Names, times: int) -> dict[str, dict[str, tuple[float, float]]]:
    """Measure each question over HTTP, where the API has it, and without."""
    day = business_day(now())
    member = MemberId(int(names.member[4:]))

    look_less_often()  # as the server does once it is ready

    def direct(session: Session) -> dict[str, tuple[float, float]]:
        asked = questions(session, day, member)
        found = {}
        for name, ask in asked.items():

            def fresh(ask: Callable[[], object] = ask) -> None:
                session.expunge_all()
                ask()

            found[name] = spread(fresh, times)
        return found

    async def run() -> tuple[dict[str, tuple[float, float]], int]:
        database = Database(url)
        found = await database.read(direct)
        position = await database.read(lambda session: moment_at(session, None).position)
        await database.close()
        return found, position

    queries, position = asyncio.run(run())
    paths = {
        "summary": "/v1/summary",
        "statement of one member": f"/v1/members/{names.member}/statement?from={day - timedelta(days=60)}&to={day}",
        "trades, first page": "/v1/trades",
        "summary, past as_of": f"/v1/summary?as_of={day - timedelta(days=400)}",
        "summary, past known_at": f"/v1/summary?known_at={position - position // 3}",
    }
    over_http = {}
    with served(url) as server:
        connection = HTTPConnection(urlsplit(server.address).netloc)
        for name, path in paths.items():

            def ask(path: str = path) -> None:
                connection.request("GET", path, headers={"Authorization": f"Bearer {names.secret}"})
                answer = connection.getresponse()
                said = answer.read()
                assert answer.status == HTTPStatus.OK, said

            over_http[name] = spread(ask, times)
    return {"query": queries, "http": over_http}


def stored(url: str, entries: int, trades: int) -> dict[str, Any]:
    """Give the bytes that each table takes, with its indexes, for a trade."""

    async def run() -> dict[str, Any]:
        connection = await asyncpg.connect(url)
        found = {row["name"]: row for row in await connection.fetch(STORED)}
        await connection.close()
        per = dict.fromkeys(PER_TRADE, trades) | dict.fromkeys(PER_ENTRY, entries)
        return {
            name: {
                "rows": found[name]["rows"] / count,
                "indexes": {index: size / count for index, size in json.loads(found[name]["each"]).items()},
                "number": found[name]["number"],
            }
            for name, count in per.items()
        }

    return asyncio.run(run())


def broken(url: str) -> list[str]:
    """Name the invariants that do not hold, of those that the built rows keep."""

    async def run() -> list[str]:
        database = Database(url)
        findings = [await database.read(one.find) for one in INVARIANTS if one.number in HELD]
        await database.close()
        return [one.number for one in findings if one.offending]

    return asyncio.run(run())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--entries", type=int, default=10_000_000, help="movements of the volume in the large database"
    )
    options.add_argument("--trades", type=int, default=1_000_000, help="complete trades among them")
    options.add_argument("--times", type=int, default=300, help="how often each question is asked")
    options.add_argument("--keep", type=Path, help="a folder that keeps the built databases for the next run")
    options.add_argument("--json", type=Path, help="write the figures there, too")
    options.add_argument("--verify", action="store_true", help="check the invariants that the built rows keep")
    chosen = options.parse_args()
    home = chosen.keep or Path(tempfile.mkdtemp(prefix="bench-reads-"))
    sizes = {"small": (10_000, 10_000), "large": (chosen.entries, chosen.trades)}
    found: dict[str, Any] = {}
    try:
        with kept(home) as place:
            for size, (entries, trades) in sizes.items():
                name = f"{size}_{entries}_{trades}"
                note = home / f"{name}.json"
                if not note.exists():
                    print(f"building {entries:,} entries, {trades:,} complete trades", file=sys.stderr)
                    place.drop_database(name)
                    place.create_database(name)
                    names = build(place.url(name), entries, trades)
                    note.write_text(json.dumps([names.secret, names.member]), encoding="utf-8")
                names = Names(*json.loads(note.read_text(encoding="utf-8")))
                found[size] = measure(place.url(name), names, chosen.times)
                found[size]["stored"] = stored(place.url(name), entries, trades)
                if chosen.verify and (wrong := broken(place.url(name))):
                    sys.exit(f"{name}: invariants {', '.join(wrong)} do not hold")
    finally:
        if chosen.keep is None:
            shutil.rmtree(home)
    made = rows(found, chosen.entries)
    for row in made:
        print(f"{'met   ' if row['met'] else 'MISSED'} {row['what']:<60} {row['value']:<50} {row['target']}")
    print("bytes a trade: rows + indexes")
    for name, sizes in found["large"]["stored"].items():
        print(
            f"  {name:<16} {sizes['rows']:7.0f} + {sum(sizes['indexes'].values()):6.0f}   {sizes['number']:>12,} rows"
        )
    if chosen.json:
        chosen.json.write_text(json.dumps({"rows": made, "found": found}, indent=1) + "\n", encoding="utf-8")


def rows(found: dict[str, Any], entries: int) -> list[dict[str, Any]]:
    """Compare with the targets: over HTTP where the API has it, and the query alone."""
    made = []
    for how, named in (("http", "over HTTP"), ("query", "the query alone")):
        for name, (bound, flat) in ROWS.items():
            if name in found["large"][how]:
                (small, _), (median, p99) = found["small"][how][name], found["large"][how][name]
                made.append(
                    {
                        "what": f"{name} at {entries:,} movements, {named}",
                        "value": f"p99 {p99:.1f} ms, p50 {median:.1f} ms, {median / small:.2f} × its p50 at 10,000",
                        "target": f"p99 ≤ {bound} ms{f', ≤ {FLAT} ×' if flat else ''}",
                        "met": p99 <= bound and not (flat and median > FLAT * small),
                    }
                )
    return made


if __name__ == "__main__":
    main()
