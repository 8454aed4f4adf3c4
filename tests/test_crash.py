"""Processes that are killed, databases that crash: every write that was acknowledged is there once, every other at most once."""

import asyncio
import os
import random
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg
import httpx
import pytest
from cluster import Cluster, cluster
from conftest import TEMPLATE, migrated
from disks import Disk, small_disk
from doors import refused
from exchanges import Exchange, a_price
from markets import Load, Server, ask, assert_sound, server
from proxy import PASSED_ON, Cut, Proxy
from sqlalchemy.exc import DBAPIError

from exchange.clock import now
from exchange.database import Database, is_away
from exchange.journal import postgres
from exchange.journal.commands import Answer, Job
from exchange.journal.journal import Journal
from exchange.journal.postgres import PostgresStore
from exchange.journal.queries import present
from exchange.journal.stores import StoreUnwritable
from exchange.trades.commands import TakeListing

CRASHES: Final = int(os.environ.get("EXCHANGE_CRASHES", "6"))
"""Of each kind, on each database."""
SEED: Final = os.environ.get("EXCHANGE_SEED") or secrets.token_hex(4)
"""Of the moments; give the one that a failed run has printed to have its moments again."""


@pytest.fixture
def chance() -> random.Random:
    print(f"EXCHANGE_SEED={SEED}")  # noqa: T201 - shown where the test fails
    return random.Random(SEED)


def assert_all_there(load: Load) -> None:
    """The ledger holds what was acknowledged, and is sound."""
    print(f"{load.total} writes, {load.unanswered} without an answer, {load.stored_unanswered} of them done")  # noqa: T201
    with Exchange.at(load.url) as exchange:
        assert_sound(exchange)
        assert len(exchange.dump()["Trade"]) == load.total


def test_a_server_that_is_killed_loses_and_doubles_nothing(database_url: str, chance: random.Random) -> None:
    load = Load.at(database_url, SEED)

    async def crash(running: Server) -> None:
        async def kill() -> None:
            await load.moment(chance)
            running.stop(signal.SIGKILL)

        await load.settle(running.address)
        await load.run(running.address, kill)

    for _ in range(CRASHES):
        asyncio.run(crash(Server.start(database_url)))
    with server(database_url) as running:
        asyncio.run(load.settle(running.address))

    assert load.unanswered > 0
    assert_all_there(load)


@pytest.fixture(scope="module")
def durable(postgres: Cluster) -> Iterator[Cluster]:
    """A cluster with a database that does wait for the disk, and may be crashed."""
    with cluster(durable=True) as running:
        running.create_database("exchange")
        migrated(running.url("exchange"))
        yield running


def stop_at_once(running: Cluster) -> None:
    running.stop("immediate")
    running.start()


def kill_all(running: Cluster) -> None:
    running.kill()
    running.start()


def kill_the_writer(running: Cluster) -> None:
    """Kill the process behind the journal's connection: PostgreSQL then restarts by itself, dropping all others."""
    [[writer]] = ask(
        running.url("exchange"), "SELECT pid FROM pg_stat_activity WHERE application_name = 'exchange journal' LIMIT 1"
    )
    os.kill(writer, signal.SIGKILL)


@pytest.mark.postgres
def test_a_postgres_that_crashes_loses_and_doubles_nothing(durable: Cluster, chance: random.Random) -> None:
    load = Load.at(durable.url("exchange"), SEED)

    async def crash(running: Server, how: Callable[[Cluster], None]) -> None:
        async def fault() -> None:
            await load.moment(chance)
            await asyncio.to_thread(how, durable)
            await load.moment(chance)

        await load.run(running.address, fault)
        await load.settle(running.address)

    with server(load.url) as running:
        for number in range(CRASHES):
            asyncio.run(crash(running, [kill_all, kill_the_writer, stop_at_once][number % 3]))

    assert_all_there(load)


# A connection that is lost


@pytest.mark.postgres
@pytest.mark.parametrize("cut", Cut, ids=lambda cut: cut.name)
def test_a_job_whose_commit_is_cut_off_is_done_once_and_answered(
    postgres_url: str, cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "ANSWER_S", 1)
    monkeypatch.setitem(postgres.SESSION, "idle_in_transaction_session_timeout", "1000")
    with Exchange.on_postgres(postgres_url, now=now()) as exchange:
        offer, buyer = exchange.a_listing(), exchange.a_member()
        jobs = [Job((TakeListing(offer.id, 1, a_price(), "use"),), buyer.by, f"{n}", b"") for n in range(5)]
        before = exchange.position

        async def through_the_proxy() -> tuple[list[Answer], Proxy]:
            async with Proxy(postgres_url, cut) as proxy:
                store = PostgresStore(proxy.url, now, secrets.token_bytes)
                async with Journal(store) as journal:
                    return await asyncio.gather(*(journal.do(job) for job in jobs)), proxy

        answers, proxy = asyncio.run(through_the_proxy())

        assert (proxy.cuts, proxy.connections) == (1, 2)
        assert [answer.position for answer in answers] == [before + 1 + n for n in range(5)]
        assert {answer.replayed for answer in answers} == {cut in PASSED_ON}
        assert len(exchange.dump()["Trade"]) == 5
        assert_sound(exchange)


@pytest.mark.postgres
def test_a_farewell_that_comes_while_nothing_is_asked_costs_no_write_and_at_most_one_read(postgres_url: str) -> None:
    with Exchange.on_postgres(postgres_url, now=now()) as exchange:
        offer, buyer = exchange.a_listing(), exchange.a_member()
        first, second = (Job((TakeListing(offer.id, 1, a_price(), "use"),), buyer.by, f"{n}", b"") for n in range(2))

        async def through_the_proxy() -> int:
            async with Proxy(postgres_url) as proxy:
                database = Database(proxy.url)
                async with Journal(PostgresStore(proxy.url, now, secrets.token_bytes)) as journal:
                    await journal.do(first)
                    await database.read(present)
                    proxy.say_farewell()
                    await asyncio.sleep(0.1)
                    answer = await journal.do(second)
                    with pytest.raises(DBAPIError) as refused:
                        await database.read(present)
                    assert is_away(refused.value)
                    assert (await database.read(present)).position == answer.position
                await database.close()
                return proxy.connections

        assert asyncio.run(through_the_proxy()) == 4
        assert len(exchange.dump()["Trade"]) == 2


# A disk that is full


@pytest.fixture
def sqlite_on_a_small_disk(sqlite_template: Path, tmp_path: Path) -> Iterator[tuple[str, Disk]]:
    with small_disk(tmp_path / "disk", 16) as disk:
        path = disk.folder / "exchange.db"
        path.write_bytes(sqlite_template.read_bytes())
        yield f"sqlite:///{path}", disk


@pytest.fixture
def postgres_on_a_small_disk(postgres: Cluster, tmp_path: Path) -> Iterator[tuple[str, Disk]]:
    """A database in a tablespace on it; the write-ahead log is elsewhere, so that the server itself lives on."""
    with small_disk(postgres.data.parent / "disk", 32) as disk:
        if postgres.user:
            shutil.chown(disk.folder, postgres.user)
        postgres.create_tablespace("small", disk.folder)
        postgres.create_database("full", TEMPLATE, tablespace="small")
        yield postgres.url("full"), disk
        postgres.drop_database("full")
        postgres.drop_tablespace("small")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def on_a_small_disk(request: pytest.FixtureRequest) -> tuple[str, Disk]:
    place: tuple[str, Disk] = request.getfixturevalue(f"{request.param}_on_a_small_disk")
    return place


def test_a_full_disk_refuses_writes_without_a_trace_until_there_is_room(on_a_small_disk: tuple[str, Disk]) -> None:
    url, disk = on_a_small_disk
    load = Load.at(url, SEED)

    with server(url) as running, Exchange.at(url) as exchange:
        disk.fill()
        asyncio.run(load.run_until_refused(running.address))
        before = exchange.dump()
        for _ in range(5):
            refusal = refused(asyncio.run(load.run_until_refused(running.address)), 503, "store-unwritable")
            assert "Make the database writable" in refusal["remedy"]
        assert exchange.dump() == before
        headers = {"Authorization": f"Bearer {load.secret}"}
        assert httpx.get(f"{running.address}/v1/trades", headers=headers).status_code == 200
        assert httpx.get(f"{running.address}/readyz").status_code == 200
        disk.make_room()
        asyncio.run(load.settle(running.address))

    assert load.unanswered >= 6
    assert load.stored_unanswered == 0
    assert_all_there(load)


@pytest.mark.postgres
def test_who_connects_while_the_disk_is_full_is_told_that_nothing_can_be_written(
    postgres_on_a_small_disk: tuple[str, Disk],
) -> None:
    url, disk = postgres_on_a_small_disk
    with Exchange.at(url) as exchange:
        offer, buyer = exchange.a_listing(), exchange.a_member()
    job = Job((TakeListing(offer.id, 1, a_price(), "use"),), buyer.by, "key", b"")

    async def order() -> None:
        async with Journal(PostgresStore(url, now, secrets.token_bytes)) as journal:
            await journal.do(job)

    # Notes that each session reads and, where they are not there, writes.
    [notes] = disk.folder.rglob("pg_internal.init")
    notes.unlink()
    disk.fill()

    with pytest.raises(StoreUnwritable):
        asyncio.run(order())


@pytest.mark.postgres
def test_a_postgres_that_dies_of_a_full_disk_is_away_until_it_runs_again(postgres: Cluster) -> None:
    folder = Path(tempfile.mkdtemp(prefix="exchange-disk-", dir="/tmp"))
    folder.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(folder.rmdir)
        disk = stack.enter_context(small_disk(folder / "disk", 128))
        dying = stack.enter_context(cluster(durable=True, within=disk.folder))
        dying.create_database("exchange")
        load = Load.at(migrated(dying.url("exchange")), SEED)
        running = stack.enter_context(server(load.url))
        assert httpx.get(f"{running.address}/readyz", timeout=60).status_code == 200
        disk.fill()
        with suppress(OSError, asyncpg.PostgresError):
            # What is committed now begins another segment of its log, for which there is no room.
            ask(load.url, "SELECT pg_switch_wal(), pg_logical_emit_message(true, '', '')")
        refused(asyncio.run(load.run_until_refused(running.address)), 503, "database-away")
        assert not dying.runs()
        disk.make_room()
        with suppress(RuntimeError):  # it may have ended by itself
            dying.stop("immediate")
        dying.start()
        asyncio.run(load.settle(running.address))
        assert_all_there(load)


# A process that stops in the middle


@pytest.mark.postgres
def test_a_stopped_server_that_holds_the_head_stops_another_for_ten_seconds_at_most(
    postgres_url: str, chance: random.Random
) -> None:
    load = Load.at(postgres_url, SEED)
    other = replace(load, name=f"{SEED}-other", sent=[], answered={})
    waited = []

    def head_is_held() -> bool:
        """Tell whether a transaction that waits for its client holds the head."""
        idle = ask(
            postgres_url,
            "SELECT 1 FROM pg_stat_activity WHERE application_name = 'exchange journal' AND state = 'idle in transaction'",
        )
        try:
            ask(postgres_url, "SELECT 1 FROM head FOR NO KEY UPDATE NOWAIT")
        except asyncpg.LockNotAvailableError:
            return bool(idle)
        return False

    async def attack(stopped: Server, alive: Server) -> None:
        async def stop() -> None:
            while True:
                await load.moment(chance)
                stopped.send(signal.SIGSTOP)
                await asyncio.sleep(0.05)  # its last statement ends
                if await asyncio.to_thread(head_is_held):
                    break
                stopped.send(signal.SIGCONT)
            began = time.monotonic()
            async with asyncio.timeout(10):
                await other.run(alive.address, partial(other.progress, 5))
            waited.append(time.monotonic() - began)
            stopped.send(signal.SIGCONT)
            await load.moment(chance)

        await load.run(stopped.address, stop)
        await load.settle(stopped.address)
        await other.settle(stopped.address)

    with server(postgres_url) as stopped, server(postgres_url) as alive:
        asyncio.run(attack(stopped, alive))

    assert waited[0] > 1  # it had to wait for the head indeed
    load.total += other.total
    assert_all_there(load)


# A clock that stands behind


def test_a_server_whose_clock_stands_far_behind_refuses_writes_and_one_a_little_behind_goes_on(
    database_url: str,
) -> None:
    with Exchange.at(database_url, now=now()) as exchange:
        exchange.now = now() + timedelta(seconds=30)  # as recorded by a machine whose clock is ahead
        load = Load.of(exchange, database_url, SEED)
        with server(database_url) as running:
            asyncio.run(load.run(running.address, partial(load.progress, 3)))
            exchange.now = now() + timedelta(seconds=63)
            exchange.a_member()
            before = exchange.dump()
            refusal = refused(asyncio.run(load.run_until_refused(running.address)), 503, "clock-behind")
            assert "Set the clock" in refusal["remedy"]
            assert exchange.dump() == before
            time.sleep(max(0, (exchange.now - now()).total_seconds() - 59))
            asyncio.run(load.settle(running.address))

        recorded = [batch.recorded_at for batch in exchange.batches()]
        assert recorded == sorted(set(recorded))
        assert recorded[-1] - exchange.now < timedelta(seconds=1)
    assert_all_there(load)
