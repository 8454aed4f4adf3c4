"""The house is as its plan says."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command

from exchange.columns import Stored
from exchange.database import Database
from exchange.journal.events import genesis_leaf, leaf_hash
from exchange.journal.schema import schema_of
from exchange.journal.tables import Event
from exchange.revisions import SchemaNotCurrent, configuration, current, newest, require_current, upgrade

ROOT = Path(__file__).parent.parent


def test_imports_go_down_only() -> None:
    linted = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert linted.returncode == 0, linted.stdout


def test_every_lint_rule_that_is_ignored_has_its_reason() -> None:
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    codes = [line for line in settings.splitlines() if re.match(r'\s+"[A-Z]+[0-9]*",', line)]

    assert codes
    assert [line for line in codes if "  # " not in line] == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_lock_files_pin_with_hashes_and_name_no_host(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if re.match(r"[a-z]", line)]

    assert [line for line in lines if "://" in line or "index-url" in line] == []
    assert pins
    assert [line for line in pins if "==" not in line] == []
    assert sum("--hash=sha256:" in line for line in lines) >= len(pins)


def test_every_table_says_of_which_sort_it_is_and_its_rows_have_its_columns() -> None:
    tables = [model for model in Stored.__subclasses__() if model.__module__.startswith("exchange.")]

    assert {model.__tablename__ for model in tables} == set(Stored.metadata.tables)
    for model in tables:
        schema = schema_of(model)
        assert model.sort
        assert vars(schema.row)["__slots__"] == schema.columns == tuple(model.model_fields)


def test_migrations_make_the_schema_that_the_tables_describe(database_url: str) -> None:
    async def compare() -> None:
        database = Database(database_url)
        await database.alter(lambda connection: command.check(configuration(connection)))
        await require_current(database)
        await upgrade(database)
        await database.close()

    asyncio.run(compare())


def test_a_database_without_schema_is_refused_with_the_command_that_makes_it(tmp_path: Path) -> None:
    async def look() -> None:
        database = Database(f"sqlite:///{tmp_path}/empty.db")
        assert await current(database) is None
        with pytest.raises(SchemaNotCurrent, match=newest()):
            await require_current(database)
        await database.close()

    asyncio.run(look())

    assert "exchange db upgrade" in SchemaNotCurrent.remedy


def test_to_look_for_the_newest_revision_loads_no_dictionary() -> None:
    look = "import sys; from exchange.revisions import newest; newest(); sys.exit('pypinyin' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", look], cwd=ROOT, check=False).returncode == 0


def test_the_first_migration_writes_the_genesis_leaf_that_the_journal_knows(database_url: str) -> None:
    async def genesis() -> Event:
        database = Database(database_url)
        event = await database.read(lambda session: session.get_one(Event, 1).model_copy())
        await database.close()
        return event

    event = asyncio.run(genesis())

    assert event.leaf.encode() == genesis_leaf()
    assert event.leaf_sha256 == leaf_hash(genesis_leaf())


@pytest.mark.parametrize("program", [["-m", "benchmarks"], ["benchmarks/reads.py"], ["benchmarks/overload.py"]])
def test_every_benchmark_can_be_started(program: list[str]) -> None:
    said = subprocess.run([sys.executable, *program, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert said.returncode == 0, said.stderr
    assert "--json" in said.stdout
