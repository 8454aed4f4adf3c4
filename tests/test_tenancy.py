"""What a company sees: as the application limits it, as the database does behind it, and the one without the other."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import test_query_plans as plans
from cluster import Cluster
from conftest import TEMPLATE
from doors import Door, lst, mbr, opened, trd
from exchanges import TABLES, Offer, Party, Sale, terms_of
from sqlalchemy import event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import ORMExecuteState
from sqlmodel import Session, select
from tampering import granted

from exchange import tenancy
from exchange.access.tables import Role
from exchange.api.doors import Read
from exchange.app import GROUPS
from exchange.cli import granting
from exchange.cli.granting import Login, Part
from exchange.columns import Stored
from exchange.database import Database
from exchange.identifiers import Prefix, written_id
from exchange.journal.events import genesis_leaf, leaf_hash
from exchange.listings.states import ListingState
from exchange.members.states import MemberState
from exchange.members.tables import Member
from exchange.tenancy import VISIBLE, CompanySession, Unlimited, limited, read_for
from exchange.trades.states import TradeState

ROLES = granting.named("tenant")
API = Path(tenancy.__file__).parent / "api"
READS = {route.operation: route for _, routes in GROUPS for route in routes if isinstance(route, Read)}
PERIOD = "from=2026-03-01&to=2026-12-31"
UNLIMITED = {
    "desk.py": "its roles see all",
    "replica.py": "sums of all, to roles that see all, here or from a replica",
    "doors.py": "who asks is not known yet",
    "following.py": "how far the journal has come is everybody's to know",
    "health.py": "the same",
    "personal.py": "its roles see all, for a reason",
}
"""What the doors read without a limit, each with its reason."""


@dataclass
class Market:
    """Companies that have done something with each other, and what each of them may ask for."""

    door: Door
    companies: dict[str, Party]
    paths: list[str]

    def answers(self) -> dict[tuple[str, str], tuple[int, bytes]]:
        """Ask everything as everybody; give what is answered."""
        found = {}
        for name, company in self.companies.items():
            for path in self.paths:
                answer = self.door.ask("GET", path, self.door.of(company))
                # Cursors are signed with a secret of the running service.
                found[name, path] = (answer.status_code, re.sub(rb'"next":"[^"]*"', b'"next":"..."', answer.content))
        return found


def market(door: Door) -> Market:
    """Let two companies trade, a third one sell to the first, and others be in all states."""
    place = door.place
    seller, buyer, third = place.a_member(), place.a_member(), place.a_member()
    applicant, suspended = place.a_member(MemberState.UNDER_REVIEW), place.a_member(MemberState.SUSPENDED)
    listed = place.a_listing(seller)
    drafts: list[Offer] = [place.a_listing(owner, state=ListingState.DRAFT) for owner in (seller, buyer)]
    bare = place.a_version(third)
    others: Offer = place.a_listing(third)
    sales: list[Sale] = [
        place.a_trade(TradeState.CONTRACTED, buyer, listed, terms_of("HT-1")),
        place.a_trade(TradeState.CONFIRMED, buyer, listed, terms_of("HT-2")),
        place.a_trade(TradeState.CONTRACTED, seller, others, terms_of("HT-3")),
        place.a_trade(TradeState.REVERSED, third, listed, terms_of("HT-4")),
    ]
    agent = place.a_member(roles=("service_org",))
    mandate = written_id(Prefix.MANDATE, place.a_mandate(seller, agent))
    offers = [listed, *drafts, others]
    products = {offer.product_id for offer in offers} | {bare[0]}
    companies = {"seller": seller, "buyer": buyer, "third": third, "agent": agent, "applicant": applicant}
    everyone = [*companies.values(), suspended]
    for company in companies.values():
        door.of(company)
    return Market(
        door,
        companies,
        [
            *("/v1/members", "/v1/products", "/v1/listings", "/v1/trades", "/v1/events", "/v1/keys", "/v1/mandates"),
            *("/v1/members?name=湖南", "/v1/trades?contract_number=HT-3"),
            *("/v1/trades?limit=1", "/v1/listings?state=draft", "/v1/members?state=suspended"),
            f"/v1/events?after=1&seen={leaf_hash(genesis_leaf()).hex()}",
            *(f"/v1/events?subject={trd(sale.id)}" for sale in sales),
            f"/v1/mandates/{mandate}",
            *(f"/v1/members/{mbr(one.id)}" for one in everyone),
            *(f"/v1/members/{mbr(one.id)}/statement?{PERIOD}" for one in everyone),
            *(f"/v1/products/{written_id(Prefix.PRODUCT, number)}" for number in sorted(products)),
            *(f"/v1/listings/{lst(offer.id)}" for offer in offers),
            *(f"/v1/trades/{trd(sale.id)}" for sale in sales),
        ],
    )


@contextmanager
def unlimited() -> Iterator[None]:
    """Take away the filter that the application adds, and have questions for one's own trades walk through everybody's."""
    patch = pytest.MonkeyPatch()
    for place in ("exchange.trades.queries", "exchange.api.events"):
        patch.setattr(f"{place}.memberships", lambda session, _: session.exec(select(Member.id)).all())
    event.remove(CompanySession, "do_orm_execute", limited)
    try:
        yield
    finally:
        event.listen(CompanySession, "do_orm_execute", limited)
        patch.undo()


def as_service(url: str) -> str:
    """Grant in a database; give the URL of the role that serves."""
    granted(url, ROLES, [Login(ROLES[Part.APP], granting.verifier("p" * 16, b"s" * 16))])
    return make_url(url).set(username=ROLES[Part.APP]).render_as_string()


# The application


@pytest.fixture
def place(database_url: str) -> Iterator[Market]:
    with opened(database_url) as door:
        yield market(door)


def test_every_read_of_a_member_is_limited(place: Market) -> None:
    sessions: list[str] = []

    def note(state: ORMExecuteState) -> None:
        said = str(state.statement)
        # Who asks is looked up before it is known; how far the journal has come is everybody's to know.
        if "secret_sha256 =" not in said and "FROM batch" not in said:
            sessions.append(type(state.session).__name__)

    place.answers()
    event.listen(Session, "do_orm_execute", note, propagate=True)
    try:
        place.answers()
    finally:
        event.remove(Session, "do_orm_execute", note)
    asked = {re.sub(r"\?.*", "", re.sub(r"\w{3}_\d{12}", "{id}", path)) for path in place.paths}

    assert asked == {f"/v1{route.path}" for route in READS.values() if Role.MEMBER in route.roles}
    assert set(sessions) == {"CompanySession"}


def test_the_doors_read_for_whoever_asks_and_else_for_a_reason() -> None:
    reading = {file.name for file in API.glob("*.py") if "database.read(" in file.read_text(encoding="utf-8")}

    assert reading == set(UNLIMITED)
    assert not [
        name for name, route in READS.items() if Role.MEMBER in route.roles and name in {"search", "show_queue"}
    ]


def test_without_the_filter_companies_see_what_is_others(place: Market) -> None:
    limits = place.answers()
    with unlimited():
        without = place.answers()

    shown = {question for question in limits if limits[question] != without[question]}
    assert {path for name, path in shown if path.startswith("/v1/trades/")} == {
        path for path in place.paths if path.startswith("/v1/trades/")
    }
    assert ("buyer", "/v1/keys") in shown
    for listed in ("listings", "trades", "events"):
        assert ("third", f"/v1/{listed}") in shown


def rows_seen(session: Session) -> dict[str, set[tuple[Any, ...]]]:
    """Give the keys of all rows of all tables."""
    return {
        str(table.__tablename__): {
            tuple(getattr(row, column.key) for column in inspect(table).primary_key)
            for row in session.exec(select(table))
        }
        for table in TABLES
    }


def seen_by(place: Market, company: str | None) -> dict[str, set[tuple[Any, ...]]]:
    return place.door.wait(read_for(place.door.app.state.office.database, company, rows_seen))


def test_of_tables_without_a_rule_a_company_sees_nothing(place: Market) -> None:
    everything = seen_by(place, None)
    for company in place.companies.values():
        found = seen_by(place, company.uscc)
        hidden = {str(table.__tablename__) for table in TABLES if table not in VISIBLE}

        assert {name for name in hidden if found[name]} == set()
        assert {"person", "personal_datum", "proposal", "idempotency", "transfer"} <= {
            name for name in hidden if everything[name]
        }
        assert not [name for name in found if not found[name] <= everything[name]]


def test_a_company_sees_its_own_trades_and_the_sums_of_its_own(place: Market) -> None:
    buyer = place.companies["buyer"]
    found = seen_by(place, buyer.uscc)

    assert len(found["trade"]) == 2
    assert len(seen_by(place, place.companies["seller"].uscc)["trade"]) == 4
    assert {key[1:3] for key in found["monthly_rollup"]} == {("buyer", str(buyer.id))}
    assert (place.companies["applicant"].id,) not in found["member"]


def test_what_cannot_be_limited_is_not_asked(place: Market) -> None:
    def raw(session: Session) -> Any:
        return session.execute(text("SELECT count(*) FROM trade")).scalar()

    def bare(session: Session) -> Any:
        return session.execute(Stored.metadata.tables["trade"].select()).all()

    database = place.door.app.state.office.database
    for query in (raw, bare):
        assert place.door.wait(database.read(query))
        with pytest.raises(Unlimited):
            place.door.wait(read_for(database, place.companies["buyer"].uscc, query))


# The database behind it


@pytest.fixture
def guarded(postgres: Cluster) -> Iterator[Market]:
    """A service as the role that serves, beside which there is that of members."""
    postgres.create_database("tenancy", TEMPLATE)
    url = postgres.url("tenancy")
    with opened(as_service(url)) as door:
        yield market(door)
    postgres.drop_database("tenancy")


def test_without_the_filter_the_database_shows_the_same(guarded: Market) -> None:
    database: Database = guarded.door.app.state.office.database
    assert database.member_role == ROLES[Part.MEMBER]

    limits = guarded.answers()
    with unlimited():
        without = guarded.answers()

    assert without == limits
    assert {status for status, _ in limits.values()} == {200, 404}


def test_filter_and_database_say_the_same_of_every_table(guarded: Market) -> None:
    database: Database = guarded.door.app.state.office.database
    for company in guarded.companies.values():
        by_database = guarded.door.wait(database.read_as(company.uscc, Session, rows_seen))
        database.member_role = None
        by_filter = seen_by(guarded, company.uscc)
        unlimited_rows = guarded.door.wait(database.read_as(company.uscc, Session, rows_seen))
        database.member_role = ROLES[Part.MEMBER]

        assert by_database == by_filter != unlimited_rows


def test_no_role_or_company_stays_on_a_connection(guarded: Market) -> None:
    database: Database = guarded.door.app.state.office.database
    said = text(
        "SELECT pg_backend_pid(), CURRENT_USER, current_setting('exchange.company', true), (SELECT count(*) FROM trade)"
    )

    def look(session: Session) -> tuple[Any, ...]:
        return tuple(session.connection().execute(said).one())

    def fail(session: Session) -> None:
        session.connection().execute(text("SELECT 1 / 0"))

    found = []
    for company in guarded.companies.values():
        found.append(guarded.door.wait(database.read_as(company.uscc, Session, look)))
        with pytest.raises(DBAPIError):
            guarded.door.wait(database.read_as(company.uscc, Session, fail))
        found.append(guarded.door.wait(database.read(look)))
    pids, users, companies, trades = zip(*found, strict=True)

    assert len(set(pids)) == 1
    assert users == (ROLES[Part.MEMBER], ROLES[Part.APP]) * 5
    assert companies[::2] == tuple(company.uscc for company in guarded.companies.values())
    assert not any(companies[1::2])
    assert trades == (4, 4, 2, 4, 2, 4, 0, 4, 0, 4)


def test_every_table_is_limited_for_the_role_of_members(postgres_url: str) -> None:
    policies = text(
        "SELECT tablename FROM pg_policies JOIN pg_class ON oid = tablename::regclass "
        "WHERE relrowsecurity AND policyname = 'of_one_company' AND permissive = 'RESTRICTIVE'"
    )

    def look(session: Session) -> set[str]:
        return set(session.connection().execute(policies).scalars())

    async def run() -> tuple[set[str], str | None]:
        database = Database(postgres_url)
        found = await database.read(look), await database.find_member_role(tenancy.TABLES)
        await database.close()
        return found

    limited_tables, role = asyncio.run(run())

    assert limited_tables >= {str(table.__tablename__) for table in TABLES}
    assert role is None


Grown = dict[str, dict[tuple[str, str], list[plans.Cost]]]
"""By who asks, and by operation and question, what each of its statements costs."""


@pytest.fixture(scope="module")
def grown(postgres: Cluster) -> Iterator[Grown]:
    """An exchange in which years have passed, asked by a service beside whose role there is that of members."""
    postgres.create_database("tenancy_grown", TEMPLATE)
    owner = postgres.url("tenancy_grown")
    with opened(as_service(owner)) as door:
        shop = plans.Shop(door)
        plans.grow(shop, Database(owner))
        asked = plans._ask(shop)
    yield {
        one: {
            (operation, look): asyncio.run(costs_as_member(owner, shop.companies[one], statements))
            for (operation, who, look), statements in asked.items()
            if who == one and operation in plans.READS and Role.MEMBER in plans.READS[operation].roles
        }
        for one in ("buyer", "seller")
    }
    postgres.drop_database("tenancy_grown")


async def costs_as_member(url: str, company: str, statements: list[plans.Statement]) -> list[plans.Cost]:
    """Measure statements as the role of members, for a company."""
    settings = {"jit": "off", "role": ROLES[Part.MEMBER], "exchange.company": company}
    connection = await asyncpg.connect(url, server_settings=settings)
    asked = [one for one in statements if "set_config" not in one.text and "secret_sha256 =" not in one.text]
    found = [await plans.cost_on_postgres(connection, one) for one in asked]
    await connection.close()
    return found


@pytest.mark.parametrize("who", ["buyer", "seller"])
def test_as_the_role_of_members_no_question_reads_more_as_the_exchange_grows(grown: Grown, who: str) -> None:
    slow = {one.look for one in plans.SLOW if who in one.who and "postgresql" in one.stores}
    wrong = [
        f"{look}\n{cost.plan}"
        for (operation, look), costs in grown[who].items()
        for cost in costs
        if look.removesuffix(", the page after") not in slow and plans.too_much(operation, cost)
    ]

    assert len(grown[who]) > len(slow)
    assert not wrong, "\n\n".join(wrong)
