"""The doctor: each check passes on a good set-up, and finds what is broken on purpose."""

import asyncio
import os
import re
import shutil
import socket
import sqlite3
import stat
import tempfile
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest
from cluster import Cluster, cluster
from commandline import CommandLine
from conftest import migrated
from exchanges import Exchange

from exchange import clock
from exchange.access.callers import written_secret
from exchange.cli import doctor
from exchange.database import Database
from exchange.settings import Settings

NOBODY = 65_534
SECRET = "s3cret-MARK7391-0123456789abcdef"
Looked = dict[str, tuple[str, str]]


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sqlite_url: str) -> CommandLine:
    monkeypatch.delenv("EXCHANGE_CURSOR_SECRET", raising=False)
    return CommandLine(monkeypatch, capsys, sqlite_url)


@pytest.fixture
def path(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


@pytest.fixture
def postgres_line(line: CommandLine, postgres_url: str) -> CommandLine:
    line.use(postgres_url)
    return line


def look(line: CommandLine, *, code: int | None = None) -> Looked:
    """Have the doctor look; give each check's verdict, and its words with the remedy."""
    said = line("doctor", "--json")
    found = {one["check"]: (one["verdict"], f"{one['said']} {one['remedy']}") for one in orjson.loads(said.out)}
    assert said.code == any(verdict == "wrong" for verdict, _ in found.values())
    assert code in {None, said.code}, found
    return found


def verdicts(found: Looked, *wanted: str) -> set[str]:
    return {name for name, (verdict, _) in found.items() if verdict in wanted}


def script(url: str, statements: str) -> None:
    """Run statements on PostgreSQL."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statements)
        await connection.close()

    asyncio.run(run())


def change(path: Path, statements: str) -> None:
    """Run statements on a SQLite file."""
    connection = sqlite3.connect(path)
    connection.executescript(statements)
    connection.close()


def test_a_good_set_up_on_sqlite_passes(line: CommandLine, path: Path) -> None:
    path.chmod(0o600)
    line.a_key()

    found = look(line, code=0)

    assert set(found) == {"settings", *(check.name for check in doctor.CHECKS)}
    assert verdicts(found, "wrong", "doubtful") == set()
    assert verdicts(found, "skipped") == {
        "durability",
        "database role",
        "grants",
        "row security",
        "cursor secret",
        "backup tool",
        "replica",
    }
    assert "of role operator" in found["key"][1]


def test_a_good_set_up_on_postgres_passes(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCHANGE_CURSOR_SECRET", SECRET)
    with cluster(durable=True) as running:
        running.create_database("exchange")
        line.use(migrated(running.url("exchange")))
        line.done("db", "grant")
        script(running.url("exchange"), "ALTER ROLE exchange_app LOGIN")
        line.use(running.url("exchange").replace("postgres@", "exchange_app@"))
        line.a_key()
        monkeypatch.setenv("PATH", str(running.bin), prepend=":")
        found = look(line, code=0)

    assert verdicts(found, "wrong", "doubtful") == set()
    assert verdicts(found, "skipped") == {"file mode", "folder", "disk space", "WAL mode", "database file", "replica"}


def test_a_file_that_is_made_is_its_owners_alone(line: CommandLine, tmp_path: Path) -> None:
    line.use(f"sqlite:///{tmp_path}/new.db")
    line.done("db", "upgrade")

    assert look(line, code=0)["file mode"] == ("good", "Its mode is -rw-------. ")
    line.done("keys", "create", "--role", "operator", "--person", "李四")
    assert {stat.filemode(one.stat().st_mode) for one in tmp_path.glob("new.db*")} == {"-rw-------"}


def test_it_says_one_line_for_each_check(line: CommandLine, path: Path) -> None:
    path.chmod(0o644)
    change(path, "UPDATE head SET position = position + 1")

    said = line("doctor")

    assert said.code == 1
    assert len(said.out.splitlines()) == len(doctor.CHECKS) + 1
    assert "✓ schema: It is at " in said.out
    assert "✗ journal: Head is at 2, batches end at 1, events at 1. Run `exchange verify`" in said.out
    assert "! file mode: Its mode is -rw-r--r--" in said.out
    assert f"chmod 600 {path}\n" in said.out
    assert "– durability: " in said.out


# The machine


def test_an_old_python_is_found(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (4, 0))

    assert verdicts(look(line), "wrong") == {"python"}
    assert "Install Python 4.0 or newer" in look(line)["python"][1]


@pytest.fixture
def _wrong_zones(tmp_path: Path) -> Iterator[None]:
    """Let Shanghai have another zone's time."""
    utc = next(Path(folder) / "UTC" for folder in zoneinfo.TZPATH if (Path(folder) / "UTC").is_file())
    (tmp_path / "zones" / "Asia").mkdir(parents=True)
    shutil.copyfile(utc, tmp_path / "zones" / "Asia" / "Shanghai")
    zoneinfo.reset_tzpath([str(tmp_path / "zones")])
    yield
    zoneinfo.reset_tzpath()


@pytest.mark.usefixtures("_wrong_zones")
def test_wrong_time_zones_are_found(line: CommandLine) -> None:
    found = look(line)

    assert verdicts(found, "wrong") == {"time zones"}
    assert "tzdata" in found["time zones"][1]


@pytest.mark.parametrize(("behind_s", "verdict"), [(3_600, "wrong"), (30, "doubtful")])
def test_a_clock_that_is_behind_is_found(line: CommandLine, sqlite_url: str, behind_s: int, verdict: str) -> None:
    with Exchange.at(sqlite_url, now=datetime.now(UTC) + timedelta(seconds=behind_s)) as place:
        place.a_member()

    found = look(line)["clock"]

    assert found[0] == verdict
    assert "behind the last record" in found[1]
    assert "Set the clock" in found[1]


# Settings


def test_settings_that_cannot_be_read_are_all_that_is_said(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCHANGE_QUEUE_LIMIT", SECRET)
    found = look(line, code=1)
    monkeypatch.delenv("EXCHANGE_QUEUE_LIMIT")
    line.use(f"mysql://{SECRET}@host/x")
    other = look(line, code=1)

    assert list(found) == list(other) == ["settings"]
    assert "EXCHANGE_QUEUE_LIMIT" in found["settings"][1]
    assert "EXCHANGE_DATABASE_URL: Only SQLite files and PostgreSQL" in other["settings"][1]
    assert SECRET not in found["settings"][1] + other["settings"][1]


def test_a_key_that_opens_nothing_is_found(line: CommandLine) -> None:
    unknown = written_secret(b"1" * 32)
    for held in (unknown, SECRET):
        line.act_as(held)
        found = look(line)
        assert verdicts(found, "wrong") == {"key"}
        assert held not in found["key"][1]
    line.act_as(None)
    assert look(line)["key"][0] == "skipped"


def test_a_cursor_secret_that_is_too_short_is_found(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCHANGE_CURSOR_SECRET", "short")
    assert verdicts(look(line), "wrong") == {"cursor secret"}
    monkeypatch.setenv("EXCHANGE_CURSOR_SECRET", SECRET)
    assert look(line)["cursor secret"][0] == "good"


# SQLite


def test_a_missing_file_is_found_and_not_made(line: CommandLine, tmp_path: Path) -> None:
    line.use(f"sqlite:///{tmp_path}/missing.db")

    found = look(line)

    assert verdicts(found, "wrong") == {"database file"}
    assert "exchange db upgrade" in found["database file"][1]
    assert found["journal"] == ("skipped", "Mend “schema” first. ")
    assert not (tmp_path / "missing.db").exists()


def alone(check: Callable[[doctor.Setup], Any], url: str) -> doctor.Found:
    """Make one check as a user without rights."""
    before = os.geteuid()
    try:
        if before == 0:
            os.seteuid(NOBODY)
        found: doctor.Found = asyncio.run(check(doctor.Setup(Settings(database_url=url), Database(url))))
    finally:
        os.seteuid(before)
    return found


def test_a_file_and_a_folder_of_others_are_found(path: Path) -> None:
    # Not in pytest's own folder, into which nobody else can look.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{shutil.copyfile(path, folder / 'exchange.db')}"
        (folder / "exchange.db").chmod(0o444)
        folder.chmod(0o555)
        file, beside = alone(doctor.file_there, url), alone(doctor.folder_writable, url)
        folder.chmod(0o755)

    assert (file.verdict, "cannot be read and written" in file.said) == ("wrong", True)
    assert (beside.verdict, "Permission denied" in beside.said) == ("wrong", True)


def test_a_disk_that_is_nearly_full_is_found(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_FREE", 1 << 62)

    assert look(line, code=0)["disk space"][0] == "doubtful"


def test_a_file_that_is_not_written_ahead_is_found(line: CommandLine, path: Path) -> None:
    change(path, "PRAGMA journal_mode = DELETE")
    found = look(line, code=0)["WAL mode"]
    again = look(line, code=0)["WAL mode"]

    assert found[0] == "doubtful"
    assert again[0] == "good"


def test_an_old_sqlite_is_found(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OLDEST_SQLITE", (99, 0, 0))

    assert "SQLite 99.0.0 or newer" in look(line, code=1)["database version"][1]


def test_a_file_that_is_no_database_is_found(line: CommandLine, path: Path) -> None:
    path.write_text("This is a letter. " * 100)

    found = look(line)

    assert verdicts(found, "wrong") == {"database answers"}
    assert "not a database" in found["database answers"][1]


# The schema and the journal


def test_a_schema_that_is_not_current_is_found(line: CommandLine, path: Path) -> None:
    change(path, "DELETE FROM alembic_version")

    found = look(line)

    assert verdicts(found, "wrong") == {"schema"}
    assert "no revision at all" in found["schema"][1]
    assert "exchange db upgrade" in found["schema"][1]


def test_a_schema_of_another_program_is_found(line: CommandLine, path: Path) -> None:
    change(path, "UPDATE alembic_version SET version_num = '9999'")

    assert "It is at 9999" in look(line, code=1)["schema"][1]


def test_a_trigger_that_is_gone_is_found_on_sqlite(line: CommandLine, path: Path) -> None:
    change(path, "DROP TRIGGER event_refuses_delete; DROP TRIGGER trade_is_kept")

    found = look(line)

    assert verdicts(found, "wrong") == {"triggers"}
    assert "2 do not guard posted rows: event_refuses_delete, trade_is_kept." in found["triggers"][1]


def test_a_first_event_that_is_not_the_genesis_is_found(line: CommandLine, path: Path) -> None:
    change(path, "DROP TRIGGER event_refuses_update; UPDATE event SET leaf_sha256 = x'00' WHERE position = 1")

    assert "first event" in look(line)["journal"][1]


def test_a_journal_without_its_end_is_found(line: CommandLine, sqlite_url: str, path: Path) -> None:
    with Exchange.at(sqlite_url) as place:
        place.a_member()
        position = place.position
    change(path, f"DROP TRIGGER event_refuses_delete; DELETE FROM event WHERE position = {position}")

    found = look(line)

    assert verdicts(found, "wrong") == {"triggers", "journal"}
    assert f"Head is at {position}, batches end at {position}, events at {position - 1}." in found["journal"][1]


def test_a_journal_that_cannot_be_looked_at_is_found(line: CommandLine, path: Path) -> None:
    change(path, "DROP TABLE head")

    found = look(line)

    assert {"journal", "clock"} <= verdicts(found, "wrong")
    assert "no such table: head" in found["journal"][1]


# PostgreSQL


@pytest.mark.postgres
def test_a_server_that_does_not_wait_for_the_disk_is_found(postgres_line: CommandLine) -> None:
    found = look(postgres_line)

    assert verdicts(found, "wrong") == {"durability"}
    for name in ("fsync is off", "synchronous_commit is off", "full_page_writes is off"):
        assert name in found["durability"][1]
    assert found["database role"][0] == "doubtful"
    assert found["cursor secret"][0] == "doubtful"


@pytest.mark.postgres
def test_a_server_that_does_not_answer_is_found(line: CommandLine, postgres: Cluster) -> None:
    line.use("postgresql://me:s3cret@127.0.0.1:1/exchange")
    away = look(line)
    line.use(postgres.url("missing"))
    missing = look(line)

    assert verdicts(away, "wrong") == verdicts(missing, "wrong") == {"database answers"}
    assert "Connect call failed" in away["database answers"][1]
    assert "s3cret" not in str(away)
    assert 'database "missing" does not exist' in missing["database answers"][1]
    assert "3D000" in missing["database answers"][1]


@pytest.mark.postgres
def test_a_server_that_keeps_silent_is_given_up(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PATIENCE_S", 0.2)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        line.use(f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/exchange")
        found = look(line)

    assert found["database answers"][0] == "wrong"
    assert "TimeoutError" in found["database answers"][1]


@pytest.mark.postgres
def test_an_old_server_is_found(postgres_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OLDEST_POSTGRES", 99)

    assert "Upgrade it to 99 or newer" in look(postgres_line)["database version"][1]


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("statements", "words"),
    [
        ("ALTER TABLE event DISABLE TRIGGER event_is_posted", "1 do not guard posted rows: event_is_posted."),
        ("ALTER TABLE trade ENABLE REPLICA TRIGGER trade_is_kept", "1 do not guard posted rows: trade_is_kept."),
        ("ALTER TABLE entry ENABLE TRIGGER entry_comes_last", "1 do not guard posted rows: entry_comes_last."),
        ("ALTER FUNCTION refuse_gap() RESET search_path", "1 do not guard posted rows: batch_comes_next."),
        ("DROP TRIGGER head_moves_on ON head", "head_moves_on"),
        ("DROP TRIGGER batch_is_posted ON batch", "batch_is_posted"),
        ("ALTER DATABASE {name} SET session_replication_role = replica", "session_replication_role is not origin"),
    ],
)
def test_triggers_that_do_not_fire_are_found_on_postgres(
    postgres_line: CommandLine, postgres_url: str, statements: str, words: str
) -> None:
    script(postgres_url, statements.format(name=postgres_url.rpartition("/")[2]))

    found = look(postgres_line)["triggers"]

    assert found[0] == "wrong"
    assert words in found[1]


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("statements", "check", "words"),
    [
        ("ALTER ROLE {app} CREATEROLE", "database role", "It can make roles"),
        ("ALTER ROLE {app} BYPASSRLS", "database role", "It passes row-level security"),
        ("GRANT {owner} TO {app}", "database role", "It owns tables"),
        ("ALTER DATABASE {name} OWNER TO {app}", "database role", "It owns the database"),
        ("GRANT DELETE ON event TO {app}", "grants", "1 are too many: DELETE on event."),
        ("GRANT UPDATE (leaf) ON event TO {app}", "grants", "1 are too many: UPDATE on event."),
        ("GRANT TRUNCATE ON event TO PUBLIC", "grants", "1 are too many: TRUNCATE on event."),
    ],
)
def test_a_role_that_may_too_much_is_found(
    postgres_line: CommandLine, postgres_url: str, statements: str, check: str, words: str
) -> None:
    serving_role(postgres_line, postgres_url, statements)

    found = look(postgres_line)

    assert found[check][0] == "doubtful"
    assert words in found[check][1]
    assert "exchange db grant" in found[check][1]


@pytest.mark.postgres
def test_a_grant_that_is_missing_is_found(postgres_line: CommandLine, postgres_url: str) -> None:
    serving_role(
        postgres_line, postgres_url, "REVOKE INSERT ON event FROM {app}; REVOKE UPDATE ON head, trade FROM {app}"
    )

    found = look(postgres_line)["grants"]

    assert found[0] == "wrong"
    assert "3 are missing: INSERT on event, UPDATE on head, UPDATE on trade." in found[1]


@pytest.mark.postgres
def test_a_role_that_serves_as_it_should_passes_and_only_strictly_is_doubt_a_failure(
    postgres_line: CommandLine, postgres_url: str, sqlite_url: str, path: Path
) -> None:
    serving_role(postgres_line, postgres_url, "SELECT 1")

    found = look(postgres_line)

    assert found["grants"] == ("good", "It may do what the service does, and no more. ")
    assert found["database role"][0] == "good"
    path.chmod(0o644)
    postgres_line.use(sqlite_url)
    assert postgres_line("doctor").code == 0
    assert postgres_line("doctor", "--strict").code == 1


def serving_role(line: CommandLine, url: str, statements: str) -> None:
    """Turn to the role that serves, after these statements."""
    name = url.rpartition("/")[2]
    roles = {"name": name, "app": f"{name}_app", "owner": f"{name}_owner"}
    line.use(url)
    line.done("db", "grant", "--prefix", name)
    script(url, f"ALTER ROLE {roles['app']} LOGIN; {statements.format(**roles)}")
    line.use(url.replace("postgres@", f"{roles['app']}@"))


@pytest.mark.postgres
def test_a_backup_tool_that_is_missing_or_old_is_found(
    postgres_line: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = look(postgres_line)["backup tool"]
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n")
    old.chmod(0o755)
    found = look(postgres_line)["backup tool"]

    assert (missing[0], "no pg_dump" in missing[1]) == ("doubtful", True)
    assert (found[0], "9.6.1, older" in found[1]) == ("doubtful", True)


def test_the_clock_of_the_doctor_is_the_doors(monkeypatch: pytest.MonkeyPatch, line: CommandLine) -> None:
    monkeypatch.setattr(clock, "now", lambda: datetime(1969, 12, 31, tzinfo=UTC))

    assert look(line)["clock"][0] == "wrong"


def test_every_check_is_in_the_documentation() -> None:
    document = (Path(__file__).parent.parent / "docs" / "operations.md").read_text(encoding="utf-8")
    table = document.split("## Doctor")[1].split("## Logs")[0]
    rows = re.findall(r"^\| ([a-zA-Z, ]+) \|", table, re.MULTILINE)

    named = {name for row in rows for name in row.split(", ")} - {"check"}
    assert named == {"settings", *(check.name for check in doctor.CHECKS)}
