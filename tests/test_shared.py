"""Processes of one server that share a store: one runs the batches of all, and each its own where that one does not answer."""

import asyncio
import fcntl
import os
import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from exchanges import Exchange

from exchange import __version__, clock
from exchange.access.commands import CreateKey
from exchange.access.tables import Role
from exchange.journal import shared
from exchange.journal.commands import Answer, Job
from exchange.journal.journal import Journal
from exchange.journal.postgres import PostgresStore
from exchange.journal.queue import Overloaded
from exchange.journal.shared import SharedStore
from exchange.problems import Conflict, Fault, Problem, problem_types

pytestmark = pytest.mark.postgres


class Process:
    """What a worker has: its own store, shared, and its journal."""

    def __init__(self, url: str, folder: Path) -> None:
        self.own = PostgresStore(url, clock.now, os.urandom)
        self.store = SharedStore(self.own, folder)
        self.journal = Journal(self.store)
        self.store.queue_in(self.journal)

    @property
    def wrote(self) -> bool:
        """Whether it ever ran a batch itself, and has not ended."""
        return self.own._connection is not None


@asynccontextmanager
async def processes(url: str, folder: Path, number: int) -> AsyncIterator[list[Process]]:
    made = [Process(url, folder) for _ in range(number)]
    async with AsyncExitStack() as stack:
        for one in made:
            await stack.enter_async_context(one.journal)
        yield made


@asynccontextmanager
async def a_silent_leader(
    folder: Path, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]
) -> AsyncIterator[None]:
    """Hold the lock as a leader does, and answer as is given."""
    with (folder / f"{__version__}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        async with await asyncio.start_unix_server(serve, folder / f"{__version__}.sock"):
            yield


@asynccontextmanager
async def head_held(url: str) -> AsyncIterator[None]:
    """Let nobody commit meanwhile."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM head FOR UPDATE")
            yield
    finally:
        await connection.close()


Wish = Callable[..., Job]


@pytest.fixture
def a_key(postgres_url: str) -> Wish:
    """Give what wishes for the auditor's key of a number; its hash tells it from others. The next position is 3."""
    with Exchange.at(postgres_url) as exchange:
        operator = exchange.operator()

    def wish(number: int, hashed: int | None = None) -> Job:
        digest = f"e{number if hashed is None else hashed:063x}"
        return Job((CreateKey(Role.AUDITOR, f"Li {number}", digest),), operator, f"key {number}", bytes(32))

    return wish


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not met():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


def test_the_first_that_writes_runs_the_batches_of_all(a_key: Wish, postgres_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(postgres_url, tmp_path, 3) as (first, second, third):
            answers = [await one.journal.do(a_key(n)) for n, one in enumerate((first, second, third, second))]
            many = await asyncio.gather(*(one.journal.do(a_key(10 + n)) for n, one in enumerate([second, third] * 50)))
            again = await third.journal.do(a_key(1))

            assert [answer.position for answer in answers] == [3, 4, 5, 6]
            assert {answer.position for answer in many} == set(range(7, 107))
            assert again == Answer(201, answers[1].body, 4, replayed=True)
            assert (first.wrote, second.wrote, third.wrote) == (True, False, False)

    asyncio.run(run())


def test_a_refusal_is_the_same_wherever_it_was_decided(a_key: Wish, postgres_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(postgres_url, tmp_path, 2) as (leader, other):
            await leader.journal.do(a_key(1))

            with pytest.raises(Problem) as here:
                await leader.journal.do(a_key(2, hashed=1))
            with pytest.raises(Problem) as there:
                await other.journal.do(a_key(2, hashed=1))

            assert type(there.value) is type(here.value)
            assert (there.value.detail, there.value.faults) == (here.value.detail, here.value.faults)
            assert not other.wrote

    asyncio.run(run())


@pytest.mark.parametrize("kind", [kind for _, kind in sorted(problem_types().items())])
def test_every_problem_can_be_handed_over(kind: type[Problem]) -> None:
    problem = kind("as it is")
    problem.faults, problem.index = (Fault("/a/0", "must be so"),), 3

    handed = pickle.loads(pickle.dumps(problem))

    assert type(handed) is kind
    assert vars(handed) == vars(problem)
    assert str(handed) == "as it is"


def test_what_an_overloaded_queue_says_is_handed_over_too() -> None:
    assert pickle.loads(pickle.dumps(Overloaded("much", 7))).retry_after_s == 7


def test_where_the_leader_ends_another_leads(a_key: Wish, postgres_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(postgres_url, tmp_path, 2) as (second, third):
            async with processes(postgres_url, tmp_path, 1) as (first,):
                await first.journal.do(a_key(1))
                await second.journal.do(a_key(2))
                await third.journal.do(a_key(3))
                assert not second.wrote

            await second.journal.do(a_key(4))
            await second.journal.do(a_key(5))
            await third.store.close()  # what it was connected to is gone
            answer = await third.journal.do(a_key(6))

            assert answer.position == 8
            assert (second.wrote, third.wrote) == (True, False)

    asyncio.run(run())


def test_a_leader_that_stops_still_tells_what_it_ran_for_others(a_key: Wish, postgres_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(postgres_url, tmp_path, 2) as (leader, other):
            await leader.journal.do(a_key(1))
            await other.journal.do(a_key(2))
            async with head_held(postgres_url):
                asked = asyncio.create_task(other.journal.do(a_key(3)))
                await until(lambda: bool(leader.store._serving) and not leader.store._idle)
                stopping = asyncio.create_task(leader.journal.__aexit__())
                await asyncio.sleep(0.05)
            await stopping

            assert await asked == Answer(201, (await asked).body, 5)
            assert not other.wrote

    asyncio.run(run())


def test_what_comes_to_a_leader_that_stops_is_run_where_it_came_from(
    a_key: Wish, postgres_url: str, tmp_path: Path
) -> None:
    async def run() -> None:
        async with processes(postgres_url, tmp_path, 2) as (leader, other):
            await other.journal.do(a_key(1))
            await leader.journal.do(a_key(2))  # `other` leads
            async with head_held(postgres_url):
                held = asyncio.create_task(other.journal.do(a_key(3)))
                await until(lambda: other.journal.waiting == 0)
                stopping = asyncio.create_task(other.journal.__aexit__())
                await asyncio.sleep(0)
                asked = asyncio.create_task(leader.journal.do(a_key(4)))
                await until(lambda: leader.own._connection is not None)
            await stopping

            assert {(await held).position, (await asked).position} == {5, 6}
            assert leader.wrote

    asyncio.run(run())


def test_a_leader_that_says_nothing_is_left_alone_for_a_while(
    a_key: Wish, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "PATIENCE_S", 0.2)
    came = []

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(reader)
        await reader.read()
        writer.close()

    async def run() -> None:
        async with a_silent_leader(tmp_path, say_nothing), processes(postgres_url, tmp_path, 1) as (one,):
            positions = [(await one.journal.do(a_key(n))).position for n in range(3)]

            assert positions == [3, 4, 5]
            assert len(came) == 1

            monkeypatch.setattr(one.store, "_alone_until", 0.0)
            await one.journal.do(a_key(4))
            assert len(came) == 2

    asyncio.run(run())


def test_a_leader_that_hangs_up_is_asked_again_each_time(a_key: Wish, postgres_url: str, tmp_path: Path) -> None:
    came = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(reader)
        writer.close()

    async def run() -> None:
        async with a_silent_leader(tmp_path, hang_up), processes(postgres_url, tmp_path, 1) as (one,):
            positions = [(await one.journal.do(a_key(n))).position for n in range(3)]

            assert positions == [3, 4, 5]
            assert len(came) == 3

    asyncio.run(run())


def test_where_there_is_no_folder_each_runs_its_own(a_key: Wish, postgres_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(postgres_url, tmp_path / "none", 2) as (one, other):
            positions = [(await process.journal.do(a_key(n))).position for n, process in enumerate((one, other, one))]

            assert positions == [3, 4, 5]
            assert one.wrote
            assert other.wrote

    asyncio.run(run())


def test_where_no_socket_can_be_made_each_runs_its_own(
    a_key: Wish, postgres_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / ("so long a name that no socket has one " * 5)
    folder.mkdir()

    async def run() -> None:
        async with processes(postgres_url, folder, 1) as (one,):
            positions = []
            for number in range(3):
                positions.append((await one.journal.do(a_key(number))).position)
                if number:
                    one.store._alone_until = 0.0  # as if it had been long enough

            assert positions == [3, 4, 5]
            assert one.wrote

    asyncio.run(run())
    assert len([line for line in caplog.messages if "does not answer" in line]) == 2


def test_a_dry_run_is_decided_where_it_is_asked(a_key: Wish, postgres_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(postgres_url, tmp_path, 2) as (leader, other):
            await leader.journal.do(a_key(1))
            told = await other.journal.rehearse([a_key(1), a_key(2), a_key(3, hashed=1)])

            assert told.position == 3
            assert [getattr(one, "replayed", None) for one in told.outcomes] == [True, False, None]
            assert not other.wrote

    asyncio.run(run())


def test_the_queue_of_the_leader_refuses_nothing_that_another_has_taken(
    a_key: Wish, postgres_url: str, tmp_path: Path
) -> None:
    async def run() -> None:
        async with processes(postgres_url, tmp_path, 2) as (leader, other):
            await leader.journal.do(a_key(0))
            leader.journal._queue.bound = 10
            async with head_held(postgres_url):
                first = asyncio.create_task(leader.journal.do(a_key(1)))
                await asyncio.sleep(0.05)  # it is under way, and what comes now waits
                waiting = [asyncio.create_task(leader.journal.do(a_key(n))) for n in range(2, 12)]
                await asyncio.sleep(0.05)
                with pytest.raises(Overloaded):
                    await leader.journal.do(a_key(99))
                asked = asyncio.create_task(other.journal.do_all([a_key(n) for n in range(20, 60)]))
                await until(lambda: bool(leader.store._serving) and not leader.store._idle)
            outcomes = await asked
            await asyncio.gather(first, *waiting)

            assert [type(outcome) for outcome in outcomes] == [Answer] * 40

    asyncio.run(run())


def test_who_looks_on_is_told_where_a_job_was_taken(a_key: Wish, postgres_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(postgres_url, tmp_path, 2) as (leader, other):
            noted: dict[str, list[str]] = {"leader": [], "other": []}

            class Looker:
                def __init__(self, name: str) -> None:
                    self.name = name

                def batch_done(self, jobs: Any, outcomes: Any, seconds: float) -> None:
                    assert len(jobs) == len(outcomes)
                    assert seconds > 0
                    noted[self.name] += [job.key for job in jobs]

                def connection_lost(self) -> None:
                    raise Conflict

            leader.journal._watch, other.journal._watch = Looker("leader"), Looker("other")
            await leader.journal.do(a_key(1))
            await other.journal.do(a_key(2))
            await leader.journal.do(a_key(3))

            assert noted == {"leader": ["key 1", "key 3"], "other": ["key 2"]}

    asyncio.run(run())
