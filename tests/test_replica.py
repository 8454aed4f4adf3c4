"""Figures from a replica: a real standby, whose replay is paused, which is killed, stopped, and mistaken for another."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cluster import Cluster, standby
from commandline import CommandLine
from doors import Door, opened, refused
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from exchange import clock
from exchange.access.tables import Role
from exchange.api import health, replica
from exchange.api.replica import Replica, ReplicaAway, unlike
from exchange.cli import doctor
from exchange.database import Database
from exchange.journal.queries import present
from exchange.settings import Settings

pytestmark = pytest.mark.postgres


def say(url: str, *statements: str) -> Any:
    """Run statements on a connection of their own; give what the last one answers."""

    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return [await connection.fetchval(statement) for statement in statements][-1]
        finally:
            await connection.close()

    return asyncio.run(run())


class Follower:
    """A standby of the tests' cluster, and the exchange's database on both."""

    def __init__(self, primary: Cluster, follower: Cluster, url: str) -> None:
        self.primary = primary
        self.cluster = follower
        self.source = url
        self.url = follower.url(url.rpartition("/")[2])
        self.settings = Settings(database_url=url, read_database_url=self.url)
        self.follow()

    def follow(self) -> None:
        """Wait until it has all that was written."""
        admin = self.primary.url("postgres")
        # Committed for sure, so that nothing is held back in memory.
        message = "SELECT pg_logical_emit_message(true, 'exchange', '')"
        end = say(admin, "SET synchronous_commit = on", message, "SELECT pg_current_wal_flush_lsn()::text")
        while not say(self.cluster.url("postgres"), f"SELECT pg_last_wal_replay_lsn() >= '{end}'"):
            time.sleep(0.02)

    def pause(self) -> None:
        """Let it reach nothing more."""
        say(self.cluster.url("postgres"), "SELECT pg_wal_replay_pause()")
        while say(self.cluster.url("postgres"), "SELECT pg_get_wal_replay_pause_state()") != "paused":
            time.sleep(0.02)

    def resume(self) -> None:
        say(self.cluster.url("postgres"), "SELECT pg_wal_replay_resume()")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have it say nothing, and hang up on nobody."""
        postmaster = int((self.cluster.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        all_of = [postmaster, *map(int, children)]
        for process in all_of:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in all_of:
                os.kill(process, signal.SIGCONT)


@pytest.fixture(scope="module")
def following(postgres: Cluster) -> Iterator[Cluster]:
    with standby(postgres) as made:
        yield made


@pytest.fixture
def follower(postgres: Cluster, following: Cluster, postgres_url: str) -> Iterator[Follower]:
    made = Follower(postgres, following, postgres_url)
    yield made
    made.resume()


@pytest.fixture
def door(follower: Follower) -> Iterator[Door]:
    """The service, which reads figures from the standby; a trade is on both, and the regulator has a key."""
    with opened(follower.source, follower.settings) as made:
        made.place.a_trade()
        assert made.regulator
        follower.follow()
        yield made


@pytest.fixture
def quiet() -> Iterator[None]:
    """Let the log be quiet of what a test breaks on purpose."""
    logger = logging.getLogger("exchange.api.replica")
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(logging.NOTSET)


def the_replica(door: Door) -> Replica:
    found: Replica = door.app.state.office.replica
    return found


def summary_of(door: Door, **asked: Any) -> Any:
    return door.ask("GET", "/v1/summary", door.regulator, **asked)


def written(door: Door) -> int:
    """Write something; give its position."""
    door.place.a_trade()
    position: int = door.place.position
    return position


def test_figures_are_those_of_the_position_that_the_replica_has_reached(door: Door, follower: Follower) -> None:
    before = door.place.position
    follower.pause()
    after = written(door)

    behind = summary_of(door)
    ready = door.get("/readyz")
    follower.resume()
    follower.follow()
    at_last = summary_of(door)

    assert (behind.status_code, behind.json()["position"]) == (200, before)
    assert ready == {"status": "ready", "position": after, "replica_position": before}
    assert at_last.json()["position"] == after
    assert behind.json()["trades"] == {"counted": 1}
    assert at_last.json()["trades"] == {"counted": 2}


def test_the_replica_gives_the_same_bytes_as_the_database(door: Door, follower: Follower) -> None:
    asked = {"as_of": door.place.today.isoformat(), "known_at": str(door.place.position)}
    there = summary_of(door, **asked)
    with opened(follower.source) as without:
        here = without.ask("GET", "/v1/summary", door.regulator, **asked)

    assert (there.status_code, there.content, there.headers["etag"]) == (200, here.content, here.headers["etag"])


@pytest.mark.parametrize("by_instant", [False, True])
def test_a_position_that_is_reached_within_two_seconds_is_waited_for(
    door: Door, follower: Follower, *, by_instant: bool
) -> None:
    follower.pause()
    position = written(door)
    instant = door.wait(door.app.state.office.database.read(present)).recorded_at.isoformat().replace("+00:00", "Z")

    async def both() -> Any:
        by, asked = door.regulator, instant if by_instant else str(position)
        asking = asyncio.create_task(door.send("GET", "/v1/summary", by, known_at=asked))
        await asyncio.sleep(0.2)
        assert not asking.done()
        await asyncio.to_thread(follower.resume)
        return await asking

    answer = door.wait(both())

    assert (answer.status_code, answer.json()["position"]) == (200, position)
    assert answer.json()["trades"] == {"counted": 2}


def test_a_position_that_is_not_reached_gets_503_and_is_answered_later(door: Door, follower: Follower) -> None:
    follower.pause()
    position = written(door)

    answer = summary_of(door, known_at=str(position))

    problem = refused(answer, 503, "replica-behind")
    assert f"position {position}." in problem["detail"]
    assert answer.headers["retry-after"] == "1"
    follower.resume()
    follower.follow()
    assert summary_of(door, known_at=str(position)).json()["position"] == position


def test_a_moment_that_is_nowhere_is_not_waited_for(
    door: Door, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "MOST_WAITING", 0)
    follower.pause()
    position = written(door)

    for nowhere in ("999999", "2099-01-01T00:00:00Z", "1969-12-31T23:59:59Z"):
        refused(summary_of(door, known_at=nowhere), 422, "moment-unknown")

    refused(summary_of(door, known_at=str(position)), 503, "replica-behind")


def test_what_is_not_a_figure_is_read_where_it_is_written(door: Door, follower: Follower) -> None:
    follower.pause()
    party = door.place.a_member()

    # A company and a key of which the replica knows nothing.
    own = door.get("/v1/trades", door.of(party))
    key = door.token(Role.AUDITOR, "New")

    assert own["data"] == []
    assert door.ask("GET", "/v1/summary", key).status_code == 200


@pytest.mark.usefixtures("quiet")
def test_a_replica_that_is_killed_takes_the_figures_with_it_and_nothing_else(door: Door, follower: Follower) -> None:
    assert summary_of(door).status_code == 200

    follower.cluster.kill()
    away = [summary_of(door) for _ in range(3)]
    member = door.place.a_member()
    position = door.place.position
    ready = door.get("/readyz")
    lists = door.get("/v1/trades", door.of(member))
    follower.cluster.start()
    follower.follow()

    for answer in away:
        refused(answer, 503, "replica-away")
        assert answer.headers["retry-after"] == "1"
    assert ready == {"status": "ready", "position": position, "replica_position": None}
    assert lists["data"] == []
    # The pool learns of it with its first connection that is dead.
    assert 200 in {summary_of(door).status_code for _ in range(3)}


@pytest.mark.usefixtures("quiet")
def test_a_replica_that_says_nothing_is_given_up(
    door: Door, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert summary_of(door).status_code == 200
    monkeypatch.setattr(health, "PATIENCE_S", 0.2)

    with follower.frozen():
        # The second finds the look of the first still under way.
        assert [door.get("/readyz")["replica_position"] for _ in range(2)] == [None, None]
        monkeypatch.setattr(replica, "PATIENCE_S", 0.2)
        refused(summary_of(door), 503, "replica-away")
    monkeypatch.undo()

    assert summary_of(door).status_code == 200


@pytest.mark.usefixtures("quiet")
def test_the_service_starts_without_its_replica_and_turns_to_it_when_it_is_there(follower: Follower) -> None:
    follower.cluster.stop()
    with opened(follower.source, follower.settings) as door:
        refused(summary_of(door), 503, "replica-away")
        assert door.place.a_member()
        follower.cluster.start()
        follower.follow()
        assert summary_of(door).json()["position"] == door.place.position
        told = door.ask("GET", "/metrics").text
        assert f"exchange_replica_failures_total {2.0}\n" in told
        door.get("/readyz")
        assert f"exchange_replica_position {float(door.place.position)}\n" in door.ask("GET", "/metrics").text


def test_without_a_replica_nothing_is_said_of_one(sqlite_door: Door) -> None:
    assert "replica" not in sqlite_door.ask("GET", "/readyz").text
    assert "replica" not in sqlite_door.ask("GET", "/metrics").text


def test_another_exchange_is_no_replica(door: Door, follower: Follower, caplog: pytest.LogCaptureFixture) -> None:
    follower.primary.create_database("exchange_other", "exchange_template")
    other = follower.primary.url("exchange_other")
    chosen = Settings(database_url=follower.source, read_database_url=other)
    try:
        with opened(other) as strange:
            strange.place.wait(minutes=1)
            strange.place.a_trade()
        with opened(follower.source, chosen) as mistaken:
            problem = refused(mistaken.ask("GET", "/v1/summary", door.regulator), 503, "replica-away")
            ready = mistaken.get("/readyz")
    finally:
        follower.primary.drop_database("exchange_other")

    assert problem["detail"] == "It is not one of this exchange's present database."
    assert ready["replica_position"] is None
    assert "The replica is none: What it has at position" in caplog.text


@pytest.mark.usefixtures("quiet")
def test_a_database_that_is_none_of_an_exchange_takes_nothing_down(door: Door, follower: Follower) -> None:
    for name in ("nobody", "postgres"):
        chosen = Settings(database_url=follower.source, read_database_url=follower.cluster.url(name))
        with opened(follower.source, chosen) as mistaken:
            refused(mistaken.ask("GET", "/v1/summary", door.regulator), 503, "replica-away")
            assert mistaken.get("/readyz")["replica_position"] is None


def test_what_has_more_or_another_schema_is_no_replica(postgres: Cluster, postgres_url: str) -> None:
    postgres.create_database("exchange_ahead", "exchange_template")
    ahead = postgres.url("exchange_ahead")

    async def asked(database: str, replica: str) -> str | None:
        one, other = Database(database), Database(replica, read_only=True)
        try:
            return await unlike(one, other)
        finally:
            await one.close()
            await other.close()

    try:
        assert asyncio.run(asked(postgres_url, ahead)) is None
        with opened(ahead) as door:
            door.place.a_member()
        assert "one of them was restored" in str(asyncio.run(asked(postgres_url, ahead)))
        assert asyncio.run(asked(ahead, postgres_url)) is None
        say(ahead, "UPDATE alembic_version SET version_num = '0001'")
        assert "Its schema is at 0001; " in str(asyncio.run(asked(postgres_url, ahead)))
        say(ahead, "DROP TABLE alembic_version")
        assert "Its schema is at no revision at all; " in str(asyncio.run(asked(postgres_url, ahead)))
    finally:
        postgres.drop_database("exchange_ahead")


@pytest.mark.usefixtures("quiet")
def test_it_is_believed_for_a_while_and_then_looked_at_again(
    door: Door, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert summary_of(door).status_code == 200
    say(follower.source, "UPDATE alembic_version SET version_num = '0001'")
    follower.follow()
    assert summary_of(door).status_code == 200

    moment = time.monotonic() + replica.BELIEF_S
    with monkeypatch.context() as later:
        later.setattr(time, "monotonic", lambda: moment)
        refused(summary_of(door), 503, "replica-away")


@pytest.mark.usefixtures("quiet")
def test_a_read_that_gives_way_to_what_is_followed_can_be_asked_again(door: Door, follower: Follower) -> None:
    """A standby ends a read that would keep it from following: with the error of a serialization failure."""
    admin = follower.cluster.url("postgres")
    say(admin, "ALTER SYSTEM SET max_standby_streaming_delay = 0", "SELECT pg_reload_conf()")

    def slow(session: Session, _: object) -> int:
        session.connection().execute(text("SELECT position FROM head"))
        session.connection().execute(text("SELECT pg_sleep(30)"))
        return 0

    async def both() -> None:
        asking = asyncio.create_task(the_replica(door).read(slow, None))
        await asyncio.sleep(0.2)
        locking = await asyncpg.connect(follower.source)
        async with locking.transaction():
            await locking.execute("LOCK TABLE head IN ACCESS EXCLUSIVE MODE")
            await locking.execute("SELECT pg_switch_wal()")
            with pytest.raises(ReplicaAway):
                await asking
        await locking.close()

    try:
        door.wait(both())
    finally:
        say(admin, "ALTER SYSTEM RESET max_standby_streaming_delay", "SELECT pg_reload_conf()")
    follower.follow()
    assert summary_of(door).status_code == 200


def test_a_defect_of_a_question_is_not_taken_for_a_replica_that_is_away(door: Door) -> None:
    def wrong(session: Session, _: object) -> None:
        session.connection().execute(text("SELECT 1 / 0"))

    with pytest.raises(DBAPIError):
        door.wait(the_replica(door).read(wrong, None))


def test_nothing_is_written_by_way_of_a_replica_even_where_it_could_be(postgres_url: str) -> None:
    async def tried() -> None:
        database = Database(postgres_url, read_only=True)
        try:
            await database.alter(lambda connection: connection.execute(text("CREATE TABLE mine ()")))
        finally:
            await database.close()

    with pytest.raises(DBAPIError, match="read-only transaction"):
        asyncio.run(tried())


# The setting


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys, "postgresql://me@host/exchange")


@pytest.mark.parametrize(
    ("database", "url", "words"),
    [
        ("sqlite:///exchange.db", "postgresql://me@host/exchange", "SQLite has no replicas"),
        ("postgresql://me@host/exchange", "sqlite:///exchange.db", "SQLite has no replicas"),
        ("postgresql://me@host/exchange", "mysql://me:MARK7391@host/exchange", "Only SQLite files and PostgreSQL"),
        ("postgresql://me@host/exchange", "postgresql://me:MARK7391@host:port/exchange", "cannot be read"),
        ("postgresql://me@host/exchange", "", "cannot be read"),
    ],
)
def test_what_is_no_replica_is_refused_before_anything_is_served(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch, database: str, url: str, words: str
) -> None:
    line.use(database)
    monkeypatch.setenv("EXCHANGE_READ_DATABASE_URL", url)

    said = line.refused(3, "serve", "--port", "0")

    assert words in said
    assert "Name a PostgreSQL replica of EXCHANGE_DATABASE_URL" in said
    assert "MARK7391" not in said


def test_a_replica_is_shown_without_its_password(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCHANGE_READ_DATABASE_URL", "postgresql://me:MARK7391@host/exchange")

    for said in (line.done("settings"), line.done("settings", "--json"), repr(Settings.read())):
        assert "MARK7391" not in said
    assert "postgresql://me:***@host/exchange" in line.done("settings")


# The doctor


def looked_at(database: str, other: str | None) -> doctor.Found:
    async def run() -> doctor.Found:
        chosen = Settings(database_url=database, read_database_url=other)
        setup = doctor.Setup(chosen, Database(database))
        try:
            return await doctor.replica(setup)
        finally:
            await setup.database.close()

    return asyncio.run(run())


def test_the_doctor_says_whether_it_is_a_replica_and_how_far_it_is(
    door: Door, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    position = door.place.position

    assert looked_at(follower.source, None).verdict == "skipped"
    assert looked_at(follower.source, follower.url) == doctor.good(f"{follower.url} is at {position}.")
    assert "takes writes itself" in looked_at(follower.source, follower.source).said
    refused_at_start = looked_at(follower.source, "sqlite:///exchange.db")
    assert (refused_at_start.verdict, refused_at_start.said[:6]) == ("wrong", "SQLite")
    nowhere = looked_at(follower.source, f"{follower.url}_of_nobody")
    assert (nowhere.verdict, nowhere.said[:31]) == ("doubtful", "It cannot be read, and figures ")

    follower.pause()
    written(door)
    recorded_at = door.wait(door.app.state.office.database.read(present)).recorded_at
    monkeypatch.setattr(clock, "now", lambda: recorded_at)
    assert looked_at(follower.source, follower.url).verdict == "good"
    monkeypatch.setattr(clock, "now", lambda: recorded_at + 2 * doctor.LATE)
    late = looked_at(follower.source, follower.url)
    assert late.verdict == "doubtful"
    assert late.said.startswith(f"It is at {position}, and lacks what was recorded since ")

    say(follower.source, "UPDATE alembic_version SET version_num = '0001'")
    other_schema = looked_at(follower.url, follower.source)
    assert (other_schema.verdict, other_schema.said[:25]) == ("doubtful", "Its schema is at 0001; 00")
