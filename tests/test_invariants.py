"""Each invariant holds on an exchange that has lived, and is found broken when somebody with the keys to the database has been at it."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import asyncpg
import pytest
from cluster import Cluster
from conftest import TEMPLATE
from exchanges import TABLES, Exchange, a_uscc, terms_of
from sqlalchemy import create_engine, text
from sqlmodel import Session
from tampering import PAST_GUARDS, drop_guards

from exchange.columns import Told
from exchange.database import Database, connect_sqlite
from exchange.journal.invariants import Invariant, all_equal, none_of
from exchange.journal.replay import FOLLOWS, replay
from exchange.journal.schema import schema_of
from exchange.journal.tables import Batch, Event, PartyEvent
from exchange.listings.tables import DataGrade
from exchange.members.states import MemberState
from exchange.regulator.integrity import INVARIANTS, check
from exchange.trades.commands import ApproveTermination, CorrectTrade, ProposeTermination, TerminateTrade
from exchange.trades.states import TradeState
from exchange.volume.commands import CloseMonth
from exchange.volume.invariants import _rebuilt
from exchange.volume.tables import DAILY, ClosedMonth, Dimension, VolumeEntry

TAMPERING = {
    "1a": "UPDATE account SET debits_posted = debits_posted + 1 WHERE id = (SELECT min(id) FROM account)",
    "1b": "DELETE FROM transfer WHERE position = (SELECT max(position) FROM transfer)",
    "2": "UPDATE transfer SET amount = amount + 1 WHERE position = (SELECT min(position) FROM transfer)",
    "4": "UPDATE account SET debits_pending = 5 WHERE id = (SELECT min(id) FROM account)",
    "5a": "UPDATE head SET contracted_gross = contracted_gross + 100",
    "5b": "UPDATE volume_entry SET related = (1 = 0) WHERE related",
    "6": "UPDATE rollup SET trades = trades + 1 WHERE dimension = 'cube'",
    "7": "UPDATE monthly_rollup SET gross = gross + 1 WHERE dimension = 'total'",
    "8a": "UPDATE volume_entry SET gross = gross + 1 WHERE position = (SELECT min(position) FROM volume_entry)",
    "8b": "UPDATE trade SET state = 'contracted' WHERE state = 'reversed'",
    "8c": "UPDATE transfer SET effective_on = '2026-01-01' WHERE position = (SELECT min(position) FROM transfer)",
    "8d": "UPDATE contract SET trade_id = NULL",
    "8e": "UPDATE trade SET purpose = 'Another' WHERE purpose = 'Training two models'",
    "9": "UPDATE idempotency SET position = 1000000 WHERE position = (SELECT max(position) FROM idempotency)",
    "10": "UPDATE batch SET contracted_gross = contracted_gross + 1 WHERE first = (SELECT max(first) FROM batch)",
    "12a": "DELETE FROM batch WHERE first = 5",
    "12b": "UPDATE event SET leaf = replace(leaf, 'HT-', 'HX-') WHERE leaf LIKE '%HT-%'",
    "12c": "UPDATE party_counter SET events = events + 1",
    "12d": "UPDATE party_event SET number = number + 1000 WHERE position = (SELECT max(position) FROM party_event)",
    "A1": "UPDATE proposal SET approved_by = proposed_by WHERE state = 'approved'",
    "G1": f"UPDATE mandate SET principal_uscc = '{a_uscc(99)}'",
    "A2": "UPDATE person SET name = 'Somebody else' WHERE id = (SELECT min(id) FROM person)",
    "L1": "UPDATE listing SET state = 'suspended' WHERE state = 'listed'",
    "L2": "UPDATE data_product SET current_listing_id = NULL",
    "L3": "UPDATE data_product SET versions = versions + 1",
    "L4": "DELETE FROM assessment",
    "M1": "UPDATE member SET state = 'suspended' WHERE state = 'active'",
    "M2": "UPDATE member_history SET effective_on = '2020-01-01' WHERE value = 'active'",
    "M3": "UPDATE company SET live = NOT live",
    "M4": "UPDATE member SET open_trades = open_trades + 1",
    "M5": "UPDATE personal_datum SET value = 'another' WHERE fact = 'contact'",
    "M6": "DELETE FROM member_term WHERE member_id = (SELECT max(member_id) FROM member_term)",
    "V1": "UPDATE closing SET closed_through = '2026-02-27'",
}

MORE_TAMPERING = [
    ("6", "UPDATE monthly_rollup SET trades = trades + 1 WHERE dimension = 'product'"),
    ("12a", "UPDATE head SET position = position + 1"),
    ("12a", "UPDATE batch SET recorded_at = '2026-03-01 00:00:00' WHERE first = (SELECT max(first) FROM batch)"),
    ("12b", "UPDATE event SET kind = 'trade.invented' WHERE position = (SELECT max(position) FROM event)"),
    ("12b", "DELETE FROM event WHERE position = (SELECT max(position) FROM event)"),
    ("12b", "DELETE FROM event WHERE position = 7"),
    ("8e", "UPDATE correction SET before = 'Something else' WHERE after = 'Training two models'"),
    ("12b", "UPDATE event SET person_id = person_id + 1 WHERE position = (SELECT max(position) FROM event)"),
    ("V1", "UPDATE closed_month SET month = '2025-10-01' WHERE month = '2026-01-01'"),
    ("V1", "DELETE FROM closing"),
]


def live(exchange: Exchange) -> None:
    """Let an exchange do a little of everything."""
    offer = exchange.a_listing()
    group = exchange.a_company().uscc
    seller, buyer = exchange.a_member(group_parent_uscc=group), exchange.a_member(group_parent_uscc=group)
    exchange.a_trade(TradeState.CONTRACTED, buyer, exchange.a_listing(seller), terms_of("HT-1"))
    for state in (
        TradeState.REVERSED,
        TradeState.TERMINATED,
        TradeState.PROPOSED,
        TradeState.FILED,
        TradeState.CANCELLED,
    ):
        exchange.a_trade(state, offer=offer)
    exchange.a_taken_listing(offer=offer)
    sale = exchange.a_trade(effective_on=exchange.today - timedelta(days=0))
    exchange.do(ProposeTermination(sale.id, "as it should be"), sale.buyer.by)
    exchange.do(ApproveTermination(sale.id), sale.seller.by)
    for purpose in ("Training three models", "Training two models"):
        exchange.do(CorrectTrade(sale.id, "purpose", purpose, "A slip of the pen"), exchange.operator())
    exchange.a_listing(version={"grade": DataGrade.IMPORTANT})
    exchange.a_mandate(buyer, exchange.a_member(roles=("service_org",)))
    for standing in (MemberState.SUSPENDED, MemberState.EXPELLED, MemberState.WITHDRAWN):
        exchange.a_member(standing)
    exchange.do(CloseMonth(exchange.today.replace(month=1, day=1)), exchange.operator())
    exchange.do(CloseMonth(exchange.today.replace(month=2, day=1)), exchange.operator())


@pytest.fixture(scope="module")
def lived_sqlite(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lived") / "exchange.db"
    with Exchange.on_sqlite(path, sqlite_template) as exchange:
        live(exchange)
    return path


@pytest.fixture(scope="module")
def lived_postgres(postgres: Cluster) -> str:
    postgres.create_database("lived", TEMPLATE)
    with Exchange.on_postgres(postgres.url("lived")) as exchange:
        live(exchange)
    return "lived"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def lived_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give a copy of an exchange that has lived, on each database in turn."""
    if request.param == "sqlite":
        path = tmp_path / "lived.db"
        path.write_bytes(request.getfixturevalue("lived_sqlite").read_bytes())
        yield f"sqlite:///{path}"
        return
    postgres: Cluster = request.getfixturevalue("postgres")
    postgres.create_database("tampered", request.getfixturevalue("lived_postgres"))
    yield postgres.url("tampered")
    postgres.drop_database("tampered")


def tamper(url: str, statement: str) -> None:
    """Change stored rows as somebody would who owns the database: past triggers and constraints."""
    path = Database(url).path
    if path is not None:
        connection = connect_sqlite(path)
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        drop_guards(connection)
        assert connection.execute(statement).rowcount > 0
        connection.close()
        return

    async def run() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(PAST_GUARDS)
        done = await connection.execute(statement)
        assert int(done.split()[-1]) > 0
        await connection.close()

    asyncio.run(run())


def test_all_invariants_hold_on_an_exchange_that_has_lived(lived_url: str) -> None:
    with Exchange.at(lived_url) as lived:
        findings = lived.read(check)

    assert [finding for finding in findings if finding.offending] == []
    assert [finding.number for finding in findings if not finding.checked] == []
    said = [(finding.number, finding.statement) for finding in findings]
    assert said == [(invariant.number, invariant.statement) for invariant in INVARIANTS]


def test_every_invariant_has_its_tampering() -> None:
    assert set(TAMPERING) == {invariant.number for invariant in INVARIANTS}


@pytest.mark.parametrize(("number", "statement"), [*TAMPERING.items(), *MORE_TAMPERING])
def test_tampering_is_found(lived_url: str, number: str, statement: str) -> None:
    tamper(lived_url, statement)

    with Exchange.at(lived_url) as lived:
        broken = {finding.number: finding.offending for finding in lived.read(check) if finding.offending}

    assert number in broken, broken
    assert len(broken[number]) <= 10


LAST = "(SELECT max(position) FROM event)"
SAID = [
    ("12a", "DELETE FROM batch WHERE first = 5", ["batch 6 follows position 4"]),
    ("12a", "UPDATE head SET position = position + 1", ["the head stands at {after}, the last batch at {last}"]),
    (
        "12a",
        "UPDATE batch SET recorded_at = '2026-03-01 00:00:00' WHERE first = (SELECT max(first) FROM batch)",
        [
            "batch {last} was recorded no later than the one before it",
            "the head stands at {last}, the last batch at {last}",
        ],
    ),
    (
        "12b",
        f"DELETE FROM event WHERE position = {LAST}",
        ["the last event is {before}, which is not the head's position"],
    ),
    ("12b", "DELETE FROM event WHERE position = 7", ["event 8 follows event 6"]),
    ("12b", "UPDATE event SET leaf_sha256 = 'x' WHERE position = 7", ["the leaf of event 7 does not have its hash"]),
    (
        "12b",
        "UPDATE event SET kind = 'test.invented' WHERE position = 7",
        ["the leaf of event 7 tells another position, kind, instant or person"],
    ),
    (
        "12d",
        "UPDATE party_event SET number = number + 1000 WHERE position = (SELECT max(position) FROM party_event WHERE number = 1)",
        ["the parties of event {party} are not those it commits to"],
    ),
    (
        "7",
        "UPDATE monthly_rollup SET gross = gross + 1 WHERE dimension = 'total'",
        [
            "the cumulative volume does not grow by the entries of the month from 2026-03-01",
            "the cumulative volume does not grow by the entries of the year from 2026-01-01",
        ],
    ),
    (
        "V1",
        "UPDATE closed_month SET month = '2025-12-01' WHERE month = '2026-01-01'",
        ["2026-02-01 is closed, and 2026-01-01 is not"],
    ),
    ("V1", "DELETE FROM closing", ["the months are closed through 2026-02-28, and are said to be through None"]),
    ("V1", "DELETE FROM closed_month", ["the months are closed through None, and are said to be through 2026-02-28"]),
]


@pytest.mark.parametrize(("number", "statement", "said"), SAID)
def test_what_is_found_is_said_in_words_that_lead_to_it(
    lived_url: str, number: str, statement: str, said: list[str]
) -> None:
    with Exchange.at(lived_url) as lived:
        last = lived.position
        party = max(row.position for row in lived.records(PartyEvent) if row.number == 1)
    tamper(lived_url, statement)

    with Exchange.at(lived_url) as lived:
        [found] = [finding.offending for finding in lived.read(check) if finding.number == number]

    assert found == [text.format(before=last - 1, last=last, after=last + 1, party=party) for text in said]


def test_each_check_says_how_many_rows_it_looked_at(lived_url: str) -> None:
    with Exchange.at(lived_url) as lived:
        checked = {finding.number: finding.checked for finding in lived.read(check)}
        days = {entry.effective_on for entry in lived.records(VolumeEntry)}
        counted = {
            "7": len({(day.year, day.month) for day in days}) + len({day.year for day in days}),
            "12a": len(lived.records(Batch)),
            "12b": len(lived.records(Event)),
            "12d": len(lived.records(PartyEvent)),
            "V1": len(lived.records(ClosedMonth)),
        }

    assert {number: checked[number] for number in counted} == counted


@pytest.mark.parametrize("number", ["12a", "12b", "12d"])
def test_ten_offending_rows_are_shown_at_most(lived_url: str, number: str) -> None:
    tamper(lived_url, "DELETE FROM batch WHERE first % 2 = 0")
    tamper(lived_url, "UPDATE event SET leaf_sha256 = 'x'")
    tamper(lived_url, "UPDATE party_event SET number = number + 1000")

    with Exchange.at(lived_url) as lived:
        [found] = [finding.offending for finding in lived.read(check) if finding.number == number]

    assert len(found) == 10


def test_a_check_of_rows_names_their_columns_and_shows_ten_at_most() -> None:
    eleven = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 11) SELECT i FROM n"
    with Session(create_engine("sqlite://")) as session:
        assert none_of("SELECT 7", "SELECT 1 WHERE 1 = 0")(session) == (7, [])
        assert none_of("SELECT 7", "SELECT 1 AS a, 'x' AS b", "SELECT 2 AS c")(session) == (7, ["a 1, b x", "c 2"])
        assert none_of("SELECT 7", eleven, eleven)(session) == (7, [f"i {n}" for n in range(1, 11)])


def test_a_check_of_sums_compares_each_with_the_first() -> None:
    with Session(create_engine("sqlite://")) as session:
        assert all_equal("ab", ["SELECT 1, 2", "SELECT '1', 2"])(session) == (2, [])
        assert all_equal("abc", ["SELECT 1, 2", "SELECT 1, 3", "SELECT 1, 2"])(session) == (
            3,
            ["b: (1, 3) instead of (1, 2)"],
        )
        checked, offending = all_equal("abcdefghijkl", ["SELECT 1", *["SELECT 2"] * 11])(session)
        assert (checked, len(offending)) == (12, 10)
        with pytest.raises(ValueError, match="longer"):
            all_equal("a", ["SELECT 1", "SELECT 1"])(session)


@pytest.mark.parametrize(
    ("dimension", "by_month"),
    [*((dimension, True) for dimension in Dimension), *((dimension, False) for dimension in sorted(DAILY))],
)
def test_the_rollups_of_a_dimension_are_rebuilt_from_the_entries(
    lived_url: str, dimension: Dimension, *, by_month: bool
) -> None:
    def sums(session: Session, query: str) -> dict[tuple[str, ...], tuple[int, ...]]:
        found: dict[tuple[str, ...], tuple[int, ...]] = {}
        for row in session.connection().execute(text(query)):
            key, given = tuple(map(str, row[:5])), tuple(row[5:])
            found[key] = tuple(map(int.__add__, found.get(key, (0,) * 4), given))
        return found

    table, days = (
        ("monthly_rollup", "effective_in, recorded_in") if by_month else ("rollup", "effective_on, recorded_on")
    )
    stored = (
        f"SELECT measure, dimension, value, {days}, -gross, -reversed, -net_excluding_vat, -trades "
        f"FROM {table} WHERE dimension = '{dimension}'"
    )
    with Exchange.at(lived_url) as lived:
        rollups = lived.read(sums, stored)

        assert rollups
        assert lived.read(sums, _rebuilt(dimension, by_month=by_month)) == rollups


def test_the_invariants_hold_over_days_months_and_years(database_url: str) -> None:
    with Exchange.at(database_url) as exchange:
        sale = exchange.a_taken_listing()
        for days in (1, 28, 1, 275):
            exchange.wait(days=days)
            exchange.a_taken_listing(sale.buyer, sale.offer)
        exchange.do(TerminateTrade(sale.id, "void"), exchange.operator())
        for month in (3, 4, 5):
            exchange.do(CloseMonth(exchange.today.replace(year=2026, month=month, day=1)), exchange.operator())
        findings = exchange.read(check)
        days_counted = sorted({entry.effective_on.isoformat() for entry in exchange.records(VolumeEntry)})

    assert days_counted == ["2026-03-02", "2026-03-03", "2026-03-31", "2026-04-01", "2027-01-01"]
    assert [finding for finding in findings if finding.offending] == []
    assert [finding.checked for finding in findings if finding.number == "7"] == [3 + 2]


def test_eight_times_the_trades_are_checked_in_about_eight_times_the_steps(sqlite_url: str) -> None:
    def steps(session: Session, one: Invariant) -> int:
        counted = count()
        driver = session.connection().connection.driver_connection
        assert driver is not None
        driver.set_progress_handler(lambda: next(counted) < 0, 100)
        one.find(session)
        return next(counted)

    with Exchange.at(sqlite_url) as exchange:
        sale = exchange.a_taken_listing()

        def taken(number: int) -> dict[str, int]:
            for _ in range(number):
                exchange.a_taken_listing(sale.buyer, sale.offer)
            return {one.number: exchange.read(steps, one) for one in INVARIANTS}

        few, many = taken(49), taken(350)

    assert {number: many[number] / few[number] for number in few if many[number] > 10 * (few[number] + 10)} == {}
    assert many["12b"] > 50


def test_an_exchange_that_has_not_begun_holds_too(database_url: str) -> None:
    with Exchange.at(database_url) as exchange:
        assert [finding for finding in exchange.read(check) if finding.offending] == []


def test_the_events_alone_rebuild_every_table(lived_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folded: list[int] = []
    monkeypatch.setattr("exchange.journal.replay.CHUNK", 50)

    with Exchange.at(lived_url) as lived:
        found = lived.read(lambda session: list(replay(session, folded.append)))

    assert {one.table for one in found} | set(FOLLOWS) == {
        schema_of(model).name for model in TABLES if model.told is not Told.NEVER
    }
    assert [one for one in found if one.differing] == []
    assert sum(one.rows for one in found) > 200
    assert folded == list(range(50, 50 * len(folded) + 1, 50))
    assert {invariant.number for invariant in INVARIANTS} >= set(FOLLOWS.values())


def test_only_the_first_differences_are_shown(lived_url: str) -> None:
    tamper(lived_url, "UPDATE member_history SET value = 'another'")

    with Exchange.at(lived_url) as lived:
        found = {one.table: one.differing for one in lived.read(lambda session: list(replay(session)))}

    assert len(found["member_history"]) == 10


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE trade SET acceptance_window_days = 7 WHERE id = (SELECT max(id) FROM trade)", "acceptance_window_days is not"),
        ("DELETE FROM assessment", "it is not stored"),
        ("INSERT INTO closed_month VALUES ('2026-03-01', 9, '2026-03-01')", "no event tells of it"),
        ("""UPDATE event SET leaf = replace(leaf, '["entry",', '["entries",') WHERE leaf LIKE '%["entry",%'""", "a table that there is not"),
    ],
)  # fmt: skip
def test_what_differs_from_the_events_is_found(lived_url: str, statement: str, said: str) -> None:
    tamper(lived_url, statement)

    with Exchange.at(lived_url) as lived:
        found = lived.read(lambda session: list(replay(session)))

    assert any(said in row for one in found for row in one.differing), found
