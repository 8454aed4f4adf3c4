"""Backups: whole and of one moment, also while the exchange runs; and restored, the exchange goes on from there."""

import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from cluster import Cluster
from commandline import CommandLine, member_row, process, write_rows
from exchanges import Exchange

from exchange.cli import backups, files
from exchange.cli.running import wait
from exchange.database import Database, connect_sqlite

HELD = re.compile(r"holds everything up to position ([0-9]+), whose leaf is ([0-9a-f]{64})\.")


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str) -> CommandLine:
    """An operator's command line on a fresh exchange, on each database in turn."""
    made = CommandLine(monkeypatch, capsys, database_url)
    made.a_key()
    return made


@pytest.fixture
def postgres_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], postgres_url: str
) -> CommandLine:
    """An operator's command line on a fresh PostgreSQL database."""
    made = CommandLine(monkeypatch, capsys, postgres_url)
    made.a_key()
    return made


@pytest.fixture
def sqlite_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sqlite_url: str) -> CommandLine:
    """An operator's command line on a fresh SQLite file."""
    made = CommandLine(monkeypatch, capsys, sqlite_url)
    made.a_key()
    return made


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[str]:
    """A place for a restored database of the same sort: nothing is there yet."""
    if database_url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path / 'restored.db'}"
    else:
        running: Cluster = request.getfixturevalue("postgres")
        name = f"{database_url.rpartition('/')[2]}_restored"
        running.create_database(name)
        yield running.url(name)
        running.drop_database(name)


def held(said: str) -> tuple[int, str]:
    found = HELD.search(said)
    assert found, said
    return int(found[1]), found[2]


def members(folder: Path, count: int, first: int = 1) -> Path:
    rows = [member_row(number) for number in range(first, first + count)]
    return write_rows(folder / "members.csv", "members", rows)


def no_parts(folder: Path) -> bool:
    return not list(folder.glob("*.part"))


def test_a_restored_exchange_holds_the_same_and_goes_on_from_there(
    line: CommandLine, tmp_path: Path, database_url: str, elsewhere: str
) -> None:
    file = tmp_path / "kept.backup"
    line.done("import", "members", members(tmp_path, 3))
    at = held(line.done("backup", file))
    with Exchange.at(database_url) as exchange:
        before = exchange.dump()
    line.done("import", "members", members(tmp_path, 4))
    line.use(elsewhere)
    said = line.done("restore", file)
    with Exchange.at(elsewhere) as restored:
        after, events = restored.dump(), restored.leaves()

    assert held(said) == at
    assert after == before
    assert at[0] == len(events)
    assert "invariants hold" in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "4 rows: 1 added, 3 there already" in line.done("import", "members", members(tmp_path, 4))
    assert "invariants hold" in line.done("verify")
    assert no_parts(tmp_path)


def test_a_backup_taken_while_others_write_is_of_one_moment(
    line: CommandLine, tmp_path: Path, database_url: str, elsewhere: str
) -> None:
    count, at = 4_500, (0, "")
    file = tmp_path / "kept.backup"
    path = members(tmp_path, count)
    with process("import", "members", path) as importing:
        while not 2 < at[0] < count + 2:
            assert importing.poll() is None
            at = held(line.done("backup", "--force", file))
        assert importing.wait(timeout=120) == 0
    line.use(elsewhere)
    said = line.done("restore", file)

    assert held(said) == at
    assert f"{count} rows: {count + 2 - at[0]} added, {at[0] - 2} there already" in line.done("import", "members", path)
    assert "invariants hold" in line.done("verify")


def test_a_file_that_is_there_is_written_over_only_by_force(line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "kept.backup"
    file.write_text("dear", encoding="utf-8")
    file.chmod(0o644)

    assert "--force" in line.refused(6, "backup", file)
    assert file.read_text(encoding="utf-8") == "dear"
    held(line.done("backup", file, "--force"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert no_parts(tmp_path)


def test_a_file_made_meanwhile_is_not_written_over(
    sqlite_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kept.backup"
    sync = files.sync

    def meanwhile(path: Path) -> None:
        sync(path)
        file.touch()

    monkeypatch.setattr(files, "sync", meanwhile)

    assert "is there" in sqlite_line.refused(6, "backup", file)
    assert file.stat().st_size == 0
    assert no_parts(tmp_path)


def test_what_is_not_empty_is_not_restored_into(line: CommandLine, tmp_path: Path, database_url: str) -> None:
    file = tmp_path / "kept.backup"
    line.done("backup", file)
    with Exchange.at(database_url) as exchange:
        before = exchange.dump()

    assert "empty database only" in line.refused(6, "restore", file)
    with Exchange.at(database_url) as exchange:
        assert exchange.dump() == before


def test_a_log_left_of_an_earlier_file_is_no_empty_database(sqlite_line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "kept.backup"
    sqlite_line.done("backup", file)
    (tmp_path / "other.db-wal").touch()
    sqlite_line.use(f"sqlite:///{tmp_path}/other.db")

    assert "other.db-wal exists" in sqlite_line.refused(6, "restore", file)


def test_where_there_is_no_exchange_nothing_is_backed_up(line: CommandLine, tmp_path: Path, elsewhere: str) -> None:
    line.use(elsewhere)

    assert "There is no exchange in the database" in line.refused(6, "backup", tmp_path / "kept.backup")
    assert list(tmp_path.glob("kept*")) == []


def pg_dump() -> str:
    found = shutil.which("pg_dump") or next(map(str, backups.POSTGRES_FOLDERS.glob("*/bin/pg_dump")), None)
    assert found, "there is a server without its programs"
    return found


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:20],
        lambda _: b"",
        lambda _: b"anything else",
        lambda content: content[: len(content) // 2] + bytes(4_096) + content[len(content) // 2 + 4_096 :],
    ],
    ids=["half", "start", "empty", "other", "hole"],
)
def test_a_damaged_backup_restores_nothing(
    line: CommandLine, tmp_path: Path, elsewhere: str, damage: Callable[[bytes], bytes]
) -> None:
    file = tmp_path / "kept.backup"
    line.done("import", "members", members(tmp_path, 50))
    line.done("backup", file)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    line.use(elsewhere)

    assert "Take another backup" in line.refused(3, "restore", file)
    file.write_bytes(whole)
    held(line.done("restore", file))
    assert no_parts(tmp_path)


def test_a_backup_of_one_sort_of_database_is_not_restored_on_the_other(
    sqlite_line: CommandLine, tmp_path: Path, postgres: Cluster
) -> None:
    of_sqlite, of_postgres = tmp_path / "sqlite.backup", tmp_path / "postgres.backup"
    sqlite_line.done("backup", of_sqlite)
    sqlite_line.use(postgres.url("exchange_template"))
    sqlite_line.done("backup", of_postgres)

    assert "one of SQLite is restored on SQLite" in sqlite_line.refused(3, "restore", of_sqlite)
    sqlite_line.use(f"sqlite:///{tmp_path}/restored.db")
    assert "one of SQLite is restored on SQLite" in sqlite_line.refused(3, "restore", of_postgres)
    assert not (tmp_path / "restored.db").exists()


def test_a_whole_file_without_an_exchange_is_no_backup(
    line: CommandLine, tmp_path: Path, elsewhere: str, request: pytest.FixtureRequest
) -> None:
    file = tmp_path / "other.backup"
    if elsewhere.startswith("sqlite"):
        with closing(sqlite3.connect(file)) as other:
            other.execute("CREATE TABLE t (x)")
    else:
        running: Cluster = request.getfixturevalue("postgres")
        running.run(pg_dump(), "-Fc", "-f", running.data.parent / "other", running.url("template1"))
        file.write_bytes((running.data.parent / "other").read_bytes())
    line.use(elsewhere)

    assert "no whole backup" in line.refused(3, "restore", file)


def test_a_restored_exchange_that_breaks_an_invariant_is_not_to_be_served(
    sqlite_line: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "kept.backup"
    sqlite_line.done("import", "members", members(tmp_path, 1))
    with closing(connect_sqlite(tmp_path / "exchange.db")) as connection:
        connection.execute("UPDATE member SET open_trades = 7")
    sqlite_line.done("backup", file)
    sqlite_line.use(f"sqlite:///{tmp_path}/restored.db")
    said = sqlite_line("restore", file)

    assert said.code == 1
    assert "Do not serve this database" in said.out


def test_a_backup_of_an_older_schema_is_restored_to_be_upgraded(
    sqlite_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kept.backup"
    with closing(connect_sqlite(tmp_path / "exchange.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    sqlite_line.done("backup", file)
    sqlite_line.use(f"sqlite:///{tmp_path}/restored.db")

    said = sqlite_line.done("restore", file)
    assert "It is at 0000" in said
    assert "exchange db upgrade" in said


# PostgreSQL's programs


def a_program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def test_without_a_program_for_the_server_it_is_said_which_one_is_needed(
    postgres_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(backups, "POSTGRES_FOLDERS", tmp_path / "none")
    missing = postgres_line.refused(7, "backup", tmp_path / "kept.backup")
    a_program(tmp_path / "bin", "pg_dump", "echo 'pg_dump (PostgreSQL) 9.6.24'")
    old = postgres_line.refused(7, "backup", tmp_path / "kept.backup")
    a_program(tmp_path / "bin", "pg_dump", "echo 'something else'")
    other = postgres_line.refused(7, "backup", tmp_path / "kept.backup")

    for said in (missing, old, other):
        assert re.search(r"pg_dump [0-9]+ or newer is needed", said)
        assert "postgresql-client" in said
    assert list(tmp_path.glob("kept*")) == []


def test_a_program_that_fails_leaves_nothing(
    postgres_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "POSTGRES_FOLDERS", tmp_path / "none")
    a_program(tmp_path / "bin", "pg_dump", "case $1 in --version) echo 'pg_dump (PostgreSQL) 99';; *) exit 3;; esac")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    assert "it ended with 3" in postgres_line.refused(7, "backup", tmp_path / "kept.backup")
    assert list(tmp_path.glob("kept*")) == []


def test_a_password_is_never_an_argument(
    postgres_line: CommandLine, tmp_path: Path, postgres: Cluster, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    script = f'echo "$@ / $PGPASSWORD" >> {seen}; exec {pg_dump()} "$@"'
    a_program(tmp_path / "bin", "pg_dump", script)
    monkeypatch.setattr(backups, "POSTGRES_FOLDERS", tmp_path / "none")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    postgres_line.use(postgres_url.replace("postgres@", "postgres:s3cret@"))
    postgres_line.done("backup", tmp_path / "kept.backup")
    arguments, _, password = seen.read_text(encoding="utf-8").splitlines()[-1].rpartition(" / ")

    assert password == "s3cret"
    assert "--format=custom" in arguments
    assert "s3cret" not in arguments


def test_the_program_of_the_servers_own_version_is_taken_before_a_newer_one(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "POSTGRES_FOLDERS", tmp_path)
    monkeypatch.setenv("PATH", "")

    async def chosen() -> tuple[int, Path]:
        connection = await asyncpg.connect(postgres_url)
        server = connection.get_server_version().major
        for version in (server - 1, server, server + 1):
            (tmp_path / str(version)).mkdir()
            a_program(tmp_path / str(version) / "bin", "pg_dump", f"echo 'pg_dump (PostgreSQL) {version}.1'")
        found = await backups._program("pg_dump", connection)
        await connection.close()
        return server, found

    server, program = wait(chosen())

    assert program == tmp_path / str(server) / "bin" / "pg_dump"


@pytest.mark.parametrize(
    ("url", "bare", "environment"),
    [
        ("postgresql://u:p%40@h:1/d?sslmode=require", "postgresql://u@h:1/d?sslmode=require", {"PGPASSWORD": "p@"}),
        ("postgresql+asyncpg://u@h/d?password=p", "postgresql://u@h/d", {"PGPASSWORD": "p"}),
        ("postgresql://u@h/d", "postgresql://u@h/d", {}),
    ],
)
def test_a_url_is_parted_from_its_password(url: str, bare: str, environment: dict[str, str]) -> None:
    assert Database(url).without_password == (bare, environment)
