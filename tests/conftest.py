"""What all tests share: profiles of Hypothesis, and databases of both kinds."""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import structlog
from cluster import REMEDY, Cluster, binaries, cluster
from doors import Door, opened
from exchanges import Exchange
from hypothesis import HealthCheck, Phase, settings
from serving import ISSUED

from exchange.database import Database
from exchange.revisions import upgrade

UNHURRIED = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
settings.register_profile("short", derandomize=True, deadline=None, max_examples=30, suppress_health_check=UNHURRIED)
# For the one who builds: a failure is shown as found, without looking for the smallest.
settings.register_profile("quick", settings.get_profile("short"), phases=[Phase.explicit, Phase.generate])
settings.register_profile(
    "fuzz", deadline=None, max_examples=2_000, stateful_step_count=100, suppress_health_check=UNHURRIED
)
settings.register_profile(
    "mutants", settings.get_profile("short"), max_examples=15, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))

TEMPLATE = "exchange_template"
RAN = Path(__file__).parent.parent / ".pytest_cache" / "postgres-ran"
LONGEST = ("imports", "workers", "guides", "crash", "connections", "demo", "model", "bad_input")
"""Files of tests that take longest; they go first, so that no process works on one of them alone when all others have ended."""
_numbers = count(1)
_found: list[str] = []


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """Give this process its log back, after a test that serves in it."""
    root, own = logging.getLogger(), logging.getLogger("exchange")
    before, levels = root.handlers[:], (root.level, own.level)
    yield
    structlog.contextvars.clear_contextvars()
    if structlog.is_configured():
        structlog.reset_defaults()
        logging.captureWarnings(capture=False)
        root.handlers[:] = before
        root.setLevel(levels[0])
        own.setLevel(levels[1])


@pytest.fixture(autouse=True)
def _no_key_in_any_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """See that no test has this process log a key; `serving.served` sees the same of servers of their own."""
    yield
    written = logging.Formatter()
    assert not [record.name for record in caplog.get_records("call") if ISSUED.search(written.format(record))]


def migrated(url: str) -> str:
    """Bring a database to the newest revision; give its URL back."""

    async def run() -> None:
        database = Database(url)
        await upgrade(database)
        await database.close()

    asyncio.run(run())
    return url


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A cluster with a migrated database to copy; where there is none, the test is skipped in plain sight."""
    if binaries() is None:
        RAN.unlink(missing_ok=True)
        if os.environ.get("EXCHANGE_TEST_REQUIRE_POSTGRES") == "1":
            pytest.fail(REMEDY)
        _found[:] = [f"PostgreSQL: SKIPPED, there is none. {REMEDY}"]
        pytest.skip(REMEDY)
    with cluster() as running:
        running.create_database(TEMPLATE)
        migrated(running.url(TEMPLATE))
        _found[:] = [f"PostgreSQL: {running.version}, a cluster of the tests' own"]
        RAN.parent.mkdir(exist_ok=True)
        RAN.touch()
        yield running


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "exchange.db"
    migrated(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh exchange on SQLite."""
    path = tmp_path / "exchange.db"
    path.write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres: Cluster) -> Iterator[str]:
    """A fresh exchange on PostgreSQL."""
    name = f"exchange_{next(_numbers)}"
    postgres.create_database(name, TEMPLATE)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh exchange on each database in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def stored(database_url: str) -> Iterator[Exchange]:
    """An exchange on a database of its own: each test runs on both sorts."""
    with Exchange.at(database_url) as made:
        yield made


@pytest.fixture
def door(database_url: str) -> Iterator[Door]:
    """The service over a fresh exchange, on each database in turn."""
    with opened(database_url) as made:
        yield made


@pytest.fixture
def sqlite_door(sqlite_url: str) -> Iterator[Door]:
    """The service over a fresh exchange on SQLite."""
    with opened(sqlite_url) as made:
        yield made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    turn = {f"test_{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: turn.get(item.path.stem, len(LONGEST)))


def pytest_sessionstart() -> None:
    """Hear Ctrl-C: who starts tests in the background has them, and all that they start, ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that sums up, where the tests are shared out among several."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["databases"] = _found


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear from one of several processes on what its tests ran."""
    _found[:] = node.workeroutput.get("databases") or _found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in plain sight on what the tests ran."""
    for line in _found:
        terminalreporter.section("databases", sep="-")
        terminalreporter.write_line(line)
