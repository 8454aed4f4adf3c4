"""No question reads more as the exchange grows: each query of the doors is asked on a small and on a grown exchange, and measured."""

import asyncio
import importlib
import inspect
import pkgutil
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import asyncpg
import orjson
import pytest
from cluster import Cluster
from conftest import TEMPLATE
from doors import Door, lst, mbr, opened, terms, trd
from exchanges import TABLES, Party, terms_of
from sqlalchemy import Column, Date, Engine, event, func, select
from sqlmodel import Session
from tampering import PAST_GUARDS, drop_guards

from exchange import cli, imports
from exchange.access.queries import caller_by_secret, list_keys, operators_exist
from exchange.agents.commands import GrantMandate
from exchange.agents.tables import MandateStep
from exchange.api.doors import Read
from exchange.api.lists import Page
from exchange.app import GROUPS
from exchange.columns import Stored, UtcDateTime
from exchange.database import Database, connect_sqlite
from exchange.desk.queries import QUEUES
from exchange.identifiers import Prefix, written_id
from exchange.journal.events import genesis_leaf, leaf_hash
from exchange.journal.queries import present
from exchange.journal.schema import schema_of
from exchange.listings.tables import Sector
from exchange.members.states import MemberState
from exchange.regulator.queries import standings, summary
from exchange.trades.commands import ProposeReversal, RecordAuction
from exchange.trades.queries import open_reversals
from exchange.trades.states import TradeState
from exchange.volume.invariants import _rebuilt
from exchange.volume.tables import Dimension

COPIES = 2_500
"""So many times the exchange is put beside itself, a day later each time."""
STEP = 100_000
"""By so much the ids of one copy differ from those of the one before."""
COMMON_NAME = "湖南工商有限公司"
"""Many go by this name, and one that waits for its admission."""
ROWS = 300
"""So many rows a query may touch on PostgreSQL, for a page of ten."""
OPERATIONS = 3_000
"""So many steps of its machine a query may take on SQLite."""

SMALL = {
    "head": "one row",
    "closing": "one row",
    "office": "one row",
    "closed_month": "twelve rows a year",
}
"""Tables that may be read whole, each with its reason."""

BY_DESIGN = {
    (
        "show_statement",
        "monthly_rollup",
    ): "sums months, not trades: a few rows for each month in which the member's volume moved",
    ("show_summary", "rollup"): "sums the days of at most three months, however long ago they are",
    ("show_summary", "monthly_rollup"): "sums months, not trades: a few rows for each month in which something counted",
    ("show_summary", "member_history"): "counts members as known at any past moment: a few rows for each member",
    ("show_summary", "member"): "counts the companies ever admitted by their codes",
    ("show_summary", "listing_history"): "counts listings as known at any past moment: a few rows for each listing",
    ("show_summary", "listing"): "looks at the term of each listing that it counts",
}
"""Questions that read more of a table as it grows, by operation and table, each with its reason."""


@dataclass(frozen=True, slots=True)
class Slow:
    """A question that is known to read more as the exchange grows, by whom, on which databases, and what it needs."""

    look: str
    who: str
    stores: str
    reason: str


BOTH = "sqlite postgresql"
ALL = "buyer seller operator"
SECTOR = "needs sector and kind beside the listing, each with an index together with id"
OWN = "looks at a company's own trades one by one"
NAMED = "finds all whose names have that part before it takes the first of them"
SLOW = [
    Slow("/v1/members?name=湖南", ALL, BOTH, NAMED),
    Slow("/v1/search?q=湖南", "operator", BOTH, NAMED),
    Slow("/v1/listings?sector=energy", ALL, BOTH, SECTOR),
    Slow("/v1/listings?kind=report", ALL, BOTH, SECTOR),
    Slow("/v1/listings?state=listed&sector=energy&kind=dataset", ALL, BOTH, SECTOR),
    Slow("/v1/trades?state=filed", "buyer", BOTH, OWN),
    Slow("/v1/trades?mode=auction", "buyer", BOTH, OWN),
    Slow("/v1/trades?venue=off_exchange_filed", "buyer", BOTH, OWN),
    Slow("/v1/trades?from=2028-03-02&to=2028-03-02", "buyer", "sqlite", OWN),
]


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as it was sent to the database."""

    text: str
    parameters: tuple[Any, ...]


class Shop:
    """An exchange with something of everything, and who asks."""

    def __init__(self, door: Door) -> None:
        self.door = door
        place = door.place
        seller: Party = place.a_member(roles=("provider", "consumer", "service_org"), legal_name=COMMON_NAME)
        buyer: Party = place.a_member()
        offer = place.a_listing(seller)
        for number in range(3):
            place.a_trade(TradeState.CONTRACTED, buyer, offer, terms_of(f"HT-{number}"))
        place.a_trade(TradeState.REVERSED, buyer, offer)
        door.post("/v1/keys", door.of(seller), {"role": "member", "person": "Sun", "name": "billing"})
        door.wait(door.app.state.office.uses.write())
        given = place.do(GrantMandate(seller.id, tuple(MandateStep), date(2028, 12, 31)), buyer.by)
        self.common = place.position
        """Up to here all is copied; what follows is rare."""
        rare = place.a_listing(seller, version={"sector": Sector.ENERGY})
        confirmed = place.a_trade(TradeState.CONFIRMED, buyer, offer, terms_of("HT-rare"))
        place.a_trade(TradeState.FILED, buyer, rare, terms_of("HT-filed"))
        sold = place.a_trade(TradeState.CONTRACTED, buyer, rare, terms_of("HT-back"))
        place.do(ProposeReversal(sold.id, "as it should be"), place.operator())
        place.do(RecordAuction(rare.id, buyer.id, terms_of("HT-auction"), place.today), place.operator())
        place.a_member(MemberState.SUSPENDED)
        place.a_member(MemberState.SUBMITTED, legal_name=COMMON_NAME)
        taken = {"mode": "negotiated", "external_ref": "PO-1"} | terms(offer, "HT-ref")
        door.post("/v1/trades", door.of(buyer), taken)
        self.names = {
            "uscc": seller.uscc,
            "buyer": mbr(buyer.id),
            "product": written_id(Prefix.PRODUCT, rare.product_id),
            "listing": lst(rare.id),
            "trade": trd(confirmed.id),
            "mandate": given["id"],
            "person": written_id(Prefix.PERSON, place.operator().person_id or 0),
        }
        self.companies = {"buyer": buyer.uscc, "seller": seller.uscc}
        self.who = {"buyer": door.of(buyer), "seller": door.of(seller), "operator": door.operator}


LOOKS: dict[str, list[str]] = {
    "list_members": ["/v1/members", "/v1/members?state=suspended", "/v1/members?uscc={uscc}", "/v1/members?name=湖南"],
    "show_member": ["/v1/members/{buyer}"],
    "show_statement": [
        "/v1/members/{buyer}/statement?from=2026-03-01&to=2030-12-31",
        "/v1/members/{buyer}/statement?from=2026-03-02&to=2026-03-02",
    ],
    "list_products": ["/v1/products"],
    "show_product": ["/v1/products/{product}"],
    "list_listings": [
        "/v1/listings",
        "/v1/listings?state=listed",
        "/v1/listings?state=draft",
        "/v1/listings?sector=energy",
        "/v1/listings?kind=report",
        "/v1/listings?state=listed&sector=energy&kind=dataset",
    ],
    "show_listing": ["/v1/listings/{listing}"],
    "list_trades": [
        "/v1/trades",
        "/v1/trades?state=filed",
        "/v1/trades?state=contracted",
        "/v1/trades?mode=auction",
        "/v1/trades?venue=off_exchange_filed",
        "/v1/trades?contract_number=HT-rare",
        "/v1/trades?external_ref=PO-1",
        "/v1/trades?counterparty={uscc}",
        "/v1/trades?from=2028-03-02&to=2028-03-02",
        "/v1/trades?side=buyer",
        "/v1/trades?side=seller&state=contracted",
    ],
    "show_trade": ["/v1/trades/{trade}"],
    "list_events": [
        "/v1/events",
        "/v1/events?after=30",
        "/v1/events?after=40&wait=0&leaves=true",
        "/v1/events?subject={trade}",
        "/v1/events?person={person}",
        f"/v1/events?after=1&seen={leaf_hash(genesis_leaf()).hex()}",
    ],
    "list_keys": ["/v1/keys"],
    "list_mandates": ["/v1/mandates"],
    "show_mandate": ["/v1/mandates/{mandate}"],
    "list_queues": ["/v1/queues"],
    "show_queue": [f"/v1/queues/{name}" for name in QUEUES],
    "search": [
        f"/v1/search?q={asked}" for asked in ("{uscc}", "HT-rare", "PO-1", "{trade}", "湖南", "数据91", "nobody")
    ],
    "show_summary": [
        "/v1/summary",
        "/v1/summary?as_of=2026-03-02",
        "/v1/summary?known_at=20",
        "/v1/summary?as_of=2026-03-02&known_at=2026-03-02T01:00:00.000030Z",
    ],
}
"""What is asked of each operation that reads: typical questions, also such as find little or nothing."""

READS = {route.operation: route for _, routes in GROUPS for route in routes if isinstance(route, Read)}

QUERIES: dict[str, Callable[[Session], object]] = {
    "exchange reversals list": open_reversals,
    "exchange keys create": operators_exist,
}
"""What the command line asks."""
ASKED_BY_DOORS = {caller_by_secret, list_keys, present, standings, summary}
"""What it asks as the API does."""


@contextmanager
def recorded() -> Iterator[list[Statement]]:
    """Record the statements of all reads."""
    found: list[Statement] = []

    def note(_: Any, __: Any, text: str, parameters: Any, *___: Any) -> None:
        if text.lstrip().upper().startswith(("SELECT", "WITH")):
            found.append(Statement(text, tuple(parameters)))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


# Growing


SHIFTED = {"id", "first", "last", "position", "changed_at", "proposed_by", "approved_by", "approved_at"}
FIXED = {"uscc", "secret_sha256"}
"""Texts of fixed length of which each thing has its own."""
SUFFIXED = {"organisation", "holder", "code", "contract_number", "buyer_ref", "seller_ref", "subject"}
"""The others."""
KEPT = {
    *(("trade", "buyer_id"), ("volume_entry", "buyer_id"), ("contract", "buyer_id")),
    *(("data_product", "owner_id"), ("listing", "owner_id")),
}
"""Ids that stay: one buyer has all the trades, one owner all the listings, so that what is one's own grows, too."""
PLACED = ("position", "first", "id", "member_id", "seller_id")
"""By which column it is told when a row was made, the first that a table has."""


def growth(shop: Shop, *, postgres: bool) -> Iterator[str]:
    """Write the statements that put copies of all that is common beside it."""
    numbers = (
        f"generate_series(1, {COPIES}) AS n(k)"
        if postgres
        else f"(WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < {COPIES}) SELECT k FROM n) AS n"
    )
    for schema in map(schema_of, TABLES):
        if schema.name in {*SMALL, "monthly_rollup"}:
            continue
        made = "owner_id" if schema.name == "account" else next((one for one in PLACED if one in schema.columns), None)
        where = "" if made is None else f' WHERE t."{made}" <= {shop.common}'
        columns = Stored.metadata.tables[schema.name].columns
        names = ", ".join(f'"{column.name}"' for column in columns)
        values = ", ".join(copied(schema.name, column, postgres=postgres) for column in columns)
        yield f'INSERT INTO "{schema.name}" ({names}) SELECT {values} FROM "{schema.name}" AS t, {numbers}{where}'
    yield "DELETE FROM monthly_rollup"
    month = "CAST({} AS DATE)" if postgres else "{}"
    keys = f"measure, dimension, value, {month.format('effective')}, {month.format('recorded')}"
    sums = ", ".join(f"-sum({name})" for name in ("gross", "reversed", "net_excluding_vat", "trades"))
    for dimension in Dimension:
        entries = _rebuilt(dimension, by_month=True)
        yield f"INSERT INTO monthly_rollup SELECT {keys}, {sums} FROM ({entries}) AS entries GROUP BY {keys}"


def copied(table: str, column: Column[Any], *, postgres: bool) -> str:
    """Write what the k-th copy has in a column."""
    value, name = f't."{column.name}"', column.name
    later = f"date({value}, '+' || k || ' days')"
    fourth = "to_char(k, 'FM0000')" if postgres else "printf('%04d', k)"
    written = value
    if (table, name) in KEPT:
        pass
    elif name in SHIFTED or name.endswith("_id"):
        written = f"{value} + k * {STEP}"
    elif name in FIXED:
        # No digit of a hash comes first, so that no copy is taken for an original whose digits happen to be a number of ours.
        first = "'-' || substr({}, 2, 7)" if name == "secret_sha256" else "substr({}, 1, 8)"
        written = f"{first.format(value)} || {fourth} || substr({value}, 13)"
    elif name in SUFFIXED or (table, name) == ("contract", "number"):
        written = f"{value} || '-' || k"
    elif isinstance(column.type, Date):
        written = f"{value} + k" if postgres else later
    elif isinstance(column.type, UtcDateTime):
        written = f"{value} + k * INTERVAL '1 day'" if postgres else f"{later} || substr({value}, 11)"
    return written


def grow(shop: Shop, database: Database) -> None:
    """Let years pass."""
    if database.path is not None:
        connection = connect_sqlite(database.path)
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        drop_guards(connection)
        connection.execute("BEGIN")
        for statement in growth(shop, postgres=False):
            connection.execute(statement)
        connection.execute("COMMIT")
        connection.close()
    else:
        script = [*growth(shop, postgres=True)]
        asyncio.run(_script(database.dsn, [PAST_GUARDS, *script, "ANALYZE"]))
    shop.door.place.wait(days=COPIES + 1)


async def _script(dsn: str, statements: list[str]) -> None:
    connection = await asyncpg.connect(dsn)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


# Measuring


@dataclass(frozen=True, slots=True)
class Cost:
    """What a statement touches: rows by table (PostgreSQL), or steps in all (SQLite); and the plan."""

    touched: dict[str, int]
    plan: str

    @property
    def tables(self) -> set[str]:
        """The tables that the plan names."""
        return set(re.findall(r"(?:SCAN|SEARCH|Scan on) (\w+)", self.plan)) & {
            schema_of(table).name for table in TABLES
        }


def costs_on_sqlite(path: Any, statements: list[Statement]) -> list[Cost]:
    connection = connect_sqlite(path)
    found = []
    for statement in statements:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", statement.parameters).fetchall()
        steps = _steps(connection, statement)
        found.append(Cost({"": steps}, "\n".join(row[3] for row in plan)))
    connection.close()
    return found


def _steps(connection: sqlite3.Connection, statement: Statement) -> int:
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 100
        return 0

    connection.set_progress_handler(count, 100)
    connection.execute(statement.text, statement.parameters).fetchall()
    connection.set_progress_handler(None, 0)
    return counted


async def costs_on_postgres(dsn: str, statements: list[Statement]) -> list[Cost]:
    connection = await asyncpg.connect(dsn, server_settings={"jit": "off"})
    found = [await cost_on_postgres(connection, statement) for statement in statements]
    await connection.close()
    return found


async def cost_on_postgres(connection: "asyncpg.Connection[Any]", statement: Statement) -> Cost:
    told = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.text}", *statement.parameters)
    touched: dict[str, int] = {}
    lines: list[str] = []
    _walk(orjson.loads(told)[0]["Plan"], touched, lines)
    return Cost(touched, "\n".join(lines))


def _walk(node: dict[str, Any], touched: dict[str, int], lines: list[str]) -> None:
    """Count the rows that a plan's nodes take from tables, those included that they throw away."""
    if table := node.get("Relation Name"):
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        rows = round((node["Actual Rows"] + removed) * node["Actual Loops"])
        touched[table] = touched.get(table, 0) + rows
        how = node.get("Index Cond") or node.get("Recheck Cond") or ""
        lines.append(f"{node['Node Type']} on {table}: {rows} rows {how} {node.get('Filter', '')}")
    for inner in node.get("Plans", ()):
        _walk(inner, touched, lines)


@dataclass(frozen=True, slots=True)
class Found:
    """What a question came to: how many statements before and after growing, and what each costs after."""

    before: int
    after: int
    costs: list[Cost]


Questions = dict[tuple[str, str, str], Found]
"""By operation, who asks, and what."""


def _ask(shop: Shop) -> dict[tuple[str, str, str], list[Statement]]:
    """Ask everything, each list for its first page and the one after it; give the statements."""
    asked: dict[tuple[str, str, str], list[Statement]] = {}
    door = shop.door
    for operation, looks in LOOKS.items():
        paged = issubclass(READS[operation].query, Page)
        for look in looks:
            path = look.format(**shop.names)
            where = path + ("&" if "?" in path else "?") + "limit=10" if paged else path
            for who, key in shop.who.items():
                door.app.state.office.callers.clear()
                with recorded() as statements:
                    answer = door.ask("GET", where, key)
                if answer.status_code not in {200, 403, 404} and not {"side", "person", "leaves"} & {
                    *re.findall(r"[a-z]+", where)
                }:
                    pytest.fail(answer.text)
                asked[operation, who, look] = statements
                if following := answer.json().get("next"):
                    with recorded() as statements:
                        assert door.ask("GET", f"{where}&cursor={following}", key).status_code == 200
                    asked[operation, who, f"{look}, the page after"] = statements
    for name, query in QUERIES.items():
        with recorded() as statements:
            door.place.read(query)
        asked[name, "operator", name] = statements
    return asked


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("plans") / "exchange.db"
        path.write_bytes(request.getfixturevalue("sqlite_template").read_bytes())
        yield f"sqlite:///{path}"
        return
    running: Cluster = request.getfixturevalue("postgres")
    running.create_database("plans", TEMPLATE)
    yield running.url("plans")
    running.drop_database("plans")


@pytest.fixture(scope="module")
def questions(url: str) -> Questions:
    database = Database(url)
    with opened(url) as door:
        shop = Shop(door)
        small = _ask(shop)
        grow(shop, database)
        grown = _ask(shop)
    found: Questions = {}
    for question, statements in grown.items():
        costs = (
            asyncio.run(costs_on_postgres(database.dsn, statements))
            if database.path is None
            else costs_on_sqlite(database.path, statements)
        )
        found[question] = Found(len(small.get(question, statements)), len(statements), costs)
    return found


WHO = ("buyer", "seller", "operator")
CASES = [(operation, look, who) for operation, looks in LOOKS.items() for look in looks for who in WHO]
CASES += [(name, name, "operator") for name in QUERIES]


def too_much(operation: str, cost: Cost) -> list[str]:
    """Tell which tables a statement reads too much of; on SQLite, whether it works too long on tables of which it may not."""
    allowed = {table for named, table in BY_DESIGN if named == operation} | set(SMALL)
    return [
        table or cost.plan
        for table, touched in cost.touched.items()
        if touched > (ROWS if table else OPERATIONS) and not (cost.tables if not table else {table}) <= allowed
    ]


@pytest.mark.parametrize(("operation", "look", "who"), CASES)
def test_no_question_reads_more_as_the_exchange_grows(
    request: pytest.FixtureRequest, url: str, questions: Questions, operation: str, look: str, who: str
) -> None:
    store = url.partition(":")[0]
    for slow in SLOW:
        if slow.look == look and who in slow.who and store in slow.stores:
            request.applymarker(pytest.mark.xfail(reason=slow.reason))
    found = [
        questions[place]
        for place in ((operation, who, look), (operation, who, f"{look}, the page after"))
        if place in questions
    ]

    assert [(one.before, one.after) for one in found] == [(one.before, one.before) for one in found]
    wrong = [(too_much(operation, cost), cost.plan) for one in found for cost in one.costs]
    assert not [plan for tables, plan in wrong if tables], "\n\n".join(plan for tables, plan in wrong if tables)


@pytest.mark.parametrize("look", ["/v1/queues/applications", "/v1/members"])
def test_whom_a_page_of_members_looks_like_is_asked_once_by_the_look_and_for_operators_alone(
    questions: Questions, look: str
) -> None:
    operation = "show_queue" if "queues" in look else "list_members"

    asked = [cost for cost in questions[operation, "operator", look].costs if "member_term" in cost.tables]

    assert [bool(re.search(r"term ?>", cost.plan)) for cost in asked] == [True]
    for other in ("buyer", "seller"):
        assert not [cost for cost in questions[operation, other, look].costs if "member_term" in cost.tables]


def test_everything_that_the_command_line_asks_is_asked() -> None:
    modules = [
        importlib.import_module(found.name)
        for package in (cli, imports)
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    found: set[object] = {
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isfunction(value) and value.__module__.endswith(".queries")
    }

    assert found == {*QUERIES.values(), *ASKED_BY_DOORS}


def test_everything_that_can_be_asked_is_asked() -> None:
    assert set(LOOKS) == set(READS)
    for operation, route in READS.items():
        said = " ".join(LOOKS[operation])
        names = {field.alias or name for name, field in route.query.model_fields.items()} - {"limit", "cursor"}
        assert not [name for name in names if not re.search(rf"[?&]{name}=", said)], operation


def rows_of(database: Database, tables: Iterable[str]) -> dict[str, int]:
    """Count rows."""

    def count(session: Session) -> dict[str, int]:
        return {
            name: session.scalars(select(func.count()).select_from(Stored.metadata.tables[name])).one()
            for name in tables
        }

    async def run() -> dict[str, int]:
        try:
            return await database.read(count)
        finally:
            await database.close()

    return asyncio.run(run())


def test_the_questions_read_tables_that_have_grown(url: str, questions: Questions) -> None:
    statements = {
        operation: sum(len(found.costs) for place, found in questions.items() if place[0] == operation)
        for operation in LOOKS
    }

    assert min(statements.values()) > 0
    read = {table for found in questions.values() for cost in found.costs for table in cost.tables} - set(SMALL)
    assert {table: number for table, number in rows_of(Database(url), read).items() if number < 3 * ROWS} == {}
    assert {"member", "trade", "listing", "proposal", "volume_entry", "monthly_rollup", "batch"} <= read
    assert sum(place[2].endswith("the page after") for place in questions) > 10
