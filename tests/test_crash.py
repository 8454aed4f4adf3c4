"""Processes that are killed, databases that crash: every write that was acknowledged is there once, every other at most once."""

import asyncio
import os
import random
import secrets
import signal
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from cluster import Cluster, cluster
from conftest import migrated
from exchanges import Exchange
from markets import Load, Server, ask, assert_sound, server

CRASHES: Final = int(os.environ.get("EXCHANGE_CRASHES", "5"))
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
