"""A database that an older program filled is brought up to date with all that is in it; a step back never drops what is posted."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from cluster import Cluster
from exchanges import Exchange
from filled import FOLDER, fill, live, written
from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from exchange.access.callers import caller_of
from exchange.access.tables import ApiKey, Correction, Role
from exchange.database import Database
from exchange.identifiers import Prefix, TradeId, written_id
from exchange.journal.tables import Event
from exchange.members.names import LOOK, known_by
from exchange.members.tables import Member, MemberTerm
from exchange.regulator import integrity
from exchange.revisions import configuration, newest
from exchange.trades.commands import CorrectTrade
from exchange.trades.states import TradeState
from exchange.trades.tables import Trade

REVISIONS = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[str]:
    """A database without any schema, of the kind of `database_url`."""
    if database_url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path}/old.db"
        return
    postgres: Cluster = request.getfixturevalue("postgres")
    name = f"old_{make_url(database_url).database}"
    postgres.create_database(name)
    yield postgres.url(name)
    postgres.drop_database(name)


def on(url: str, act: Callable[[Connection], Any]) -> Any:
    async def run() -> Any:
        database = Database(url)
        try:
            return await database.alter(act)
        finally:
            await database.close()

    return asyncio.run(run())


def upgraded(connection: Connection, revision: str = "head") -> None:
    command.upgrade(configuration(connection), revision)


def downgraded(connection: Connection, revision: str) -> None:
    command.downgrade(configuration(connection), revision)


def test_there_is_a_filled_database_of_every_revision_before_the_newest() -> None:
    number = int(newest())

    assert [f"{n:04}" for n in range(1, number)] == REVISIONS


@pytest.mark.parametrize("revision", REVISIONS)
def test_an_old_database_is_upgraded_with_all_that_is_in_it(empty_url: str, revision: str) -> None:
    before = json.loads((FOLDER / f"{revision}.json").read_text(encoding="utf-8"))
    on(empty_url, lambda connection: fill(connection, revision))
    assert on(empty_url, written) == before, "it was filled as it was kept"

    on(empty_url, upgraded)

    after = on(empty_url, written)
    for table, rows in before.items():
        if table != "alembic_version":
            if table == "rollup":  # what is counted by member and product is kept by month since 0003
                rows = [row for row in rows if row["dimension"] not in {"buyer", "seller", "product"}]  # noqa: PLW2901
            # Looks are kept since 0005.
            found = [row for row in after[table] if table != "member_term" or not row["term"].startswith(LOOK)]
            kept = [{name: row.get(name) for name in old} for row, old in zip(found, rows, strict=True)]
            assert kept == rows, table
    with Exchange.at(empty_url, seed=1) as exchange:
        exchange.wait(days=60)
        assert [finding for finding in exchange.read(integrity.check) if finding.offending] == []


def test_the_upgraded_exchange_goes_on_where_the_old_one_stood(empty_url: str) -> None:
    on(empty_url, lambda connection: fill(connection, REVISIONS[-1]))
    on(empty_url, upgraded)

    with Exchange.at(empty_url, seed=1) as exchange:
        exchange.wait(days=60)
        counted = exchange.summary().contracted
        [key, *_] = [row for row in exchange.records(ApiKey) if row.role is Role.OPERATOR]
        operator = caller_of(key.id, key.role, key.uscc, key.person_id)
        [trade, *_] = [row for row in exchange.records(Trade) if row.state is TradeState.CONTRACTED]
        exchange.do(CorrectTrade(TradeId(trade.id), "purpose", "Training two models", "A slip of the pen"), operator)
        assert exchange.summary().contracted == counted
        assert [finding for finding in exchange.read(integrity.check) if finding.offending] == []


def test_old_events_are_found_by_their_subject_and_their_person(empty_url: str) -> None:
    on(empty_url, lambda connection: fill(connection, "0001"))

    on(empty_url, upgraded)

    with Exchange.at(empty_url) as exchange:
        events = {event.position: event for event in exchange.records(Event)}
        leaves = {leaf["position"]: leaf for leaf in exchange.leaves()}
        for trade in exchange.records(Trade):
            mine = [event.kind for event in events.values() if event.subject == written_id(Prefix.TRADE, trade.id)]
            assert mine[0] in {"trade.proposed", "trade.filed", "trade.contracted"}
        for position, event in events.items():
            actor = leaves[position]["actor"]
            assert event.person_id == (actor if isinstance(actor, int) else None)
        assert [event.kind for event in events.values() if event.subject is None] == ["genesis", "month.closed"]


def test_old_members_are_found_by_their_names_as_new_ones_are(empty_url: str) -> None:
    on(empty_url, lambda connection: fill(connection, "0001"))

    on(empty_url, upgraded)

    with Exchange.at(empty_url) as exchange:
        found: dict[int, set[str]] = {}
        for row in exchange.records(MemberTerm):
            found.setdefault(row.member_id, set()).add(row.term)
        for member in exchange.records(Member):
            assert known_by(member.legal_name, member.short_name) <= found[member.id]
        renamed = next(member for member in exchange.records(Member) if member.legal_name == "湖南新名有限公司")
        assert any(term.startswith("湖南数据") for term in found[renamed.id])


def test_a_step_back_and_forth_again_leaves_everything_as_it_was(database_url: str) -> None:
    with Exchange.at(database_url) as exchange:
        exchange.a_trade()
    before = on(database_url, written)

    on(database_url, lambda connection: downgraded(connection, "0001"))
    on(database_url, upgraded)

    assert on(database_url, written) == before


def test_a_step_back_that_would_drop_corrections_is_refused(database_url: str) -> None:
    with Exchange.at(database_url) as exchange:
        sale = exchange.a_trade()
        exchange.do(CorrectTrade(sale.id, "purpose", "Training two models", "A slip of the pen"), exchange.operator())

    with pytest.raises(Exception, match="1 corrections are recorded"):
        on(database_url, lambda connection: downgraded(connection, "0001"))

    with Exchange.at(database_url) as exchange:
        assert len(exchange.rows(Correction)) == 1


def test_the_first_schema_is_never_taken_away(database_url: str) -> None:
    with pytest.raises(NotImplementedError, match="drop posted rows"):
        on(database_url, lambda connection: downgraded(connection, "base"))


def test_the_filled_databases_have_a_little_of_everything(database_url: str) -> None:
    with Exchange.at(database_url) as exchange:
        live(exchange)

        assert {row.state for row in exchange.records(Trade)} == set(TradeState)
        assert [finding for finding in exchange.read(integrity.check) if finding.offending] == []
