"""The command line: what it does, in whose name, and how it says what goes wrong."""

import logging
import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
import pytest
import typer
import uvicorn
from commandline import CommandLine, member_row, process, product_row, trade_row, write_rows
from exchanges import a_uscc
from sqlalchemy.exc import OperationalError

from exchange import clock
from exchange.app import openapi_json
from exchange.cli import running
from exchange.cli.commands import app
from exchange.database import SQLITE_PRAGMAS
from exchange.journal.journal import Defect, Journal
from exchange.problems import Problem, Unavailable
from exchange.revisions import newest
from exchange.settings import SettingWrong

SECRET = re.compile(r"exk_[0-9a-f]{72}")


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str) -> CommandLine:
    """The command line on a fresh exchange, on each database in turn."""
    return CommandLine(monkeypatch, capsys, database_url)


@pytest.fixture
def sqlite_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sqlite_url: str) -> CommandLine:
    """The command line on a fresh SQLite file."""
    return CommandLine(monkeypatch, capsys, sqlite_url)


def import_two_trades(line: CommandLine, folder: Path, **changed: Any) -> None:
    """Record two members, a product and two trades."""
    line.done("import", "members", write_rows(folder / "members.csv", "members", [member_row(1), member_row(2)]))
    line.done("import", "products", write_rows(folder / "products.csv", "products", [product_row(1)]))
    rows = [trade_row(n, **changed) for n in (1, 2)]
    line.done("import", "trades", write_rows(folder / "trades.csv", "trades", rows))


# The schema


def test_a_new_file_is_upgraded_and_says_where_it_is(sqlite_line: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    sqlite_line.use(f"sqlite:///{path}")

    assert "no revision" in sqlite_line.done("db", "current")
    assert not path.exists()
    assert f"is at {newest()}" in sqlite_line.done("db", "upgrade")
    assert f"is at {newest()}; {newest()} is needed" in sqlite_line.done("db", "current")


def test_a_database_on_each_server_says_where_it_is(line: CommandLine) -> None:
    assert f"is at {newest()}; {newest()} is needed" in line.done("db", "current")


@pytest.mark.parametrize("arguments", [["summary"], ["verify"], ["serve", "--port", "0"], ["close", "2023-12"]])
def test_without_a_current_schema_nothing_starts(
    sqlite_line: CommandLine, tmp_path: Path, arguments: list[str]
) -> None:
    sqlite_line.use(f"sqlite:///{tmp_path}/missing.db")
    missing = sqlite_line.refused(6, *arguments)
    (tmp_path / "missing.db").touch()
    empty = sqlite_line.refused(6, *arguments)

    assert "There is no file" in missing
    assert "It is at no revision at all" in empty
    assert "exchange db upgrade" in missing
    assert "exchange db upgrade" in empty


# Keys


def test_the_first_operator_needs_no_key_and_everybody_after_does(line: CommandLine) -> None:
    first = line("keys", "create", "--role", "operator", "--person", "李四")
    second = ["keys", "create", "--role", "operator", "--person", "王五"]

    assert first.code == 0
    assert SECRET.fullmatch(first.out.strip())
    assert re.fullmatch(r"key_[0-9]{12} is made\.\n", first.err)
    assert "EXCHANGE_KEY is not set" in line.refused(4, *second)
    line.act_as("exk_wrong")
    assert "no live key" in line.refused(4, *second)
    line.act_as(first.out.strip())
    assert SECRET.fullmatch(line.done(*second).strip())


def test_the_first_key_is_an_operators(line: CommandLine) -> None:
    assert "The first key must be an operator's" in line.refused(
        4, "keys", "create", "--role", "auditor", "--person", "陈"
    )


def test_the_database_knows_the_hash_of_a_key_alone(sqlite_line: CommandLine, tmp_path: Path) -> None:
    key = sqlite_line.a_key()

    stored = b"".join(path.read_bytes() for path in tmp_path.glob("exchange.db*"))
    assert key.encode() not in stored
    assert key[4:68].encode() not in stored
    assert bytes.fromhex(key[4:68]) not in stored


def test_members_keys_name_the_company(line: CommandLine) -> None:
    line.a_key()
    member = ["keys", "create", "--role", "member", "--person", "张三"]

    assert SECRET.fullmatch(line.done(*member, "--member", a_uscc(1)).strip())
    assert "uscc must be given" in line.refused(3, *member)
    assert "check character" in line.refused(3, *member, "--member", "91430100")


def test_keys_are_listed_with_what_they_are_restricted_to(line: CommandLine) -> None:
    line.a_key()
    auditor = line(
        "keys", "create", "--role", "auditor", "--person", "陈", "--scope", "read", "--expires", "2030-12-31"
    )
    member = line(
        *("keys", "create", "--role", "member", "--person", "张三", "--member", a_uscc(1)),
        *("--name", "billing", "--scope", "read", "--scope", "keys"),
    )
    line.done("keys", "revoke", auditor.err.split()[0])

    told = [row.split() for row in line.done("keys", "list").splitlines()]
    told = [[cell for cell in row if cell != "│"] for row in told if "key_" in "".join(row)]
    line.act_as(member.out.strip())
    own = [row for row in line.done("keys", "list").splitlines() if "key_" in row]

    assert [row[1:] for row in told] == [
        ["operator", f"prs_{told[0][0][4:]}", "all", "active"],
        ["auditor", f"prs_{told[1][0][4:]}", "read", "2030-12-31", "revoked"],
        ["billing", "member", a_uscc(1), f"prs_{told[2][0][4:]}", "read,", "keys", "active"],
    ]
    assert [member.err.split()[0] in row for row in own] == [True]
    assert "a date" in line.refused(
        3, "keys", "create", "--role", "auditor", "--person", "陈", "--expires", "31.12.2030"
    )


def test_only_operators_and_members_list_keys(line: CommandLine) -> None:
    line.a_key()
    line.act_as(line.a_key("陈", "auditor"))

    assert "The role auditor does not do this" in line.refused(4, "keys", "list")


def test_a_key_that_is_not_for_reading_exports_nothing(sqlite_line: CommandLine, tmp_path: Path) -> None:
    sqlite_line.a_key()
    key = sqlite_line.done("keys", "create", "--role", "operator", "--person", "王五", "--scope", "keys")
    sqlite_line.act_as(key.strip())

    assert "the scope read" in sqlite_line.refused(4, "export", "members", tmp_path / "members.csv")
    assert not (tmp_path / "members.csv").exists()


def test_a_key_whose_last_day_is_over_acts_for_nobody(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    line.a_key()
    today = clock.business_day(clock.now())
    key = line.done("keys", "create", "--role", "operator", "--person", "王五", "--expires", today.isoformat())
    line.act_as(key.strip())
    assert "王五" not in line.done("keys", "list")
    later = clock.now() + timedelta(days=1)
    monkeypatch.setattr(clock, "now", lambda: later)

    assert "no live key" in line.refused(4, "keys", "list")


def test_a_revoked_key_opens_nothing(line: CommandLine) -> None:
    line.a_key()
    made = line("keys", "create", "--role", "operator", "--person", "王五")
    key_id = made.err.split()[0]

    assert f"{key_id} is revoked" in line.done("keys", "revoke", key_id)
    assert "revoked already" in line.refused(6, "keys", "revoke", key_id)
    assert "no such thing" in line.refused(5, "keys", "revoke", "key_000000999999")
    assert "key_000000000042" in line.refused(3, "keys", "revoke", "trd_000000000042")
    line.act_as(made.out.strip())
    assert "no live key" in line.refused(4, "close", "2023-12")


# Months


def test_months_are_closed_in_turn(line: CommandLine) -> None:
    line.a_key()

    assert "2023-11 is closed" in line.done("close", "2023-11")
    assert "2023-12 is the next" in line.refused(6, "close", "2023-11")
    assert "2023-12 is closed" in line.done("close", "2023-12")
    assert "not over" in line.refused(3, "close", "9999-12")


@pytest.mark.parametrize("month", ["2023-13", "0000-01", "2023-1", "2023-12-01", "２０２３-12", "December"])
def test_what_is_no_month_is_refused(sqlite_line: CommandLine, month: str) -> None:
    assert "must be as 2023-12" in sqlite_line.refused(3, "close", month)


def test_only_operators_close_months(line: CommandLine) -> None:
    line.a_key()
    line.act_as(line.a_key("陈", "auditor"))

    assert "does not do this" in line.refused(4, "close", "2023-12")


# Reversals


def test_reversals_are_listed_and_approved_by_another_person(line: CommandLine, tmp_path: Path) -> None:
    first = line.a_key()
    second = line.a_key("王五")
    reason = "登记有误 [/bold] [red]"
    import_two_trades(line, tmp_path, outcome="reversed", ended_on="2020-05-01", reason=reason)

    listed = line.done("reversals", "list")
    trades = re.findall(r"trd_[0-9]{12}", listed)
    own = line("reversals", "approve", "--all", "--reason", "as it should be")
    line.act_as(second)
    one = line.done("reversals", "approve", trades[0], "--reason", "as it should be")
    again = line("reversals", "approve", trades[0], "--reason", "as it should be")
    rest = line.done("reversals", "approve", "--all", "--reason", "as it should be")
    none = line.done("reversals", "approve", "--all", "--reason", "as it should be")

    assert len(trades) == 2
    assert reason in listed
    assert own.code == 1
    assert own.out.count("Nobody approves what they proposed themselves") == 2
    assert "0 reversals approved, 2 refused" in own.out
    assert "1 reversals approved, 0 refused" in one
    assert again.code == 1
    assert "1 reversals approved, 0 refused" in rest
    assert "0 reversals approved, 0 refused" in none
    line.act_as(first)
    assert orjson.loads(line.done("summary", "--json"))["cumulative_volume"]["contracted"]["net"]["amount"] == "0"


def test_which_reversals_are_meant_must_be_said(sqlite_line: CommandLine) -> None:
    sqlite_line.a_key()

    assert "Name trades" in sqlite_line.refused(3, "reversals", "approve", "--reason", "as it should be")
    assert "Name trades" in sqlite_line.refused(
        3, "reversals", "approve", "trd_000000000001", "--all", "--reason", "as it should be"
    )
    assert "no id" in sqlite_line.refused(3, "reversals", "approve", "trd_1", "--reason", "as it should be")


def test_approving_stops_where_the_database_is_away(
    sqlite_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_line.a_key()
    import_two_trades(sqlite_line, tmp_path, outcome="reversed", reason="登记有误")
    monkeypatch.setattr("exchange.database.SQLITE_PRAGMAS", (*SQLITE_PRAGMAS, "query_only = ON"))

    assert "cannot be written" in sqlite_line.refused(7, "reversals", "approve", "--all", "--reason", "as it should be")


# Figures


def test_the_headline_is_shown_for_people_and_for_programs(line: CommandLine, tmp_path: Path) -> None:
    line.a_key()
    import_two_trades(line, tmp_path, gross=1_234_567_890_12)

    shown = line.done("summary")
    told = orjson.loads(line.done("summary", "--as-of", "2020-04-30", "--json"))
    pinned = line.done("summary", "--as-of", "2020-04-30", "--known-at", str(told["position"]), "--json")
    line.done("close", "2020-04")

    assert "CNY 2,469,135,780.24  (24.6914 亿元)" in shown
    assert "2 (ever admitted 2)" in shown
    assert told["cumulative_volume"]["contracted"]["net"] == {"amount": "246913578024", "currency": "CNY"}
    assert told["members"] == {"active": 2, "ever_admitted": 2}
    assert pinned == line.done("summary", "--as-of", "2020-04-30", "--known-at", str(told["position"]), "--json")
    assert pinned == line.done("summary", "--as-of", "2020-04-30", "--known-at", told["recorded_at"], "--json")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--as-of", "2023-02-30"], "as-of must be a date"),
        (["--as-of", "20231231"], "as-of must be a date"),
        (["--as-of", "9999-12-31"], "must lie between"),
        (["--known-at", "yesterday"], "known_at must be a position"),
        (["--known-at", "0"], "known_at must be a position"),
        (["--known-at", "999999"], "must not lie beyond"),
        (["--known-at", "9999-12-31T23:59:59Z"], "must not lie beyond"),
    ],
)
def test_figures_are_asked_for_a_day_and_a_moment_that_there_are(
    sqlite_line: CommandLine, arguments: list[str], words: str
) -> None:
    assert words in sqlite_line.refused(3, "summary", *arguments)


def test_all_invariants_hold_until_somebody_touches_the_rows(sqlite_line: CommandLine, tmp_path: Path) -> None:
    sqlite_line.a_key()
    import_two_trades(sqlite_line, tmp_path)
    sound = sqlite_line.done("verify")
    connection = sqlite3.connect(tmp_path / "exchange.db")
    with connection:
        connection.execute("UPDATE account SET credits_posted = credits_posted + 1 WHERE credits_posted > 0")
    connection.close()
    touched = sqlite_line("verify")

    held, of = re.findall(r"(\d+) of (\d+) invariants hold", sound)[0]
    assert held == of
    assert "✗" not in sound
    assert "checked)" in sound
    assert touched.code == 1
    assert "✗   2  An account's counters equal the sum of its transfers" in touched.out
    assert re.search(r"✗   2 .*\n {7}\S", touched.out)


def test_the_events_alone_rebuild_every_table_until_somebody_touches_the_rows(
    sqlite_line: CommandLine, tmp_path: Path
) -> None:
    sqlite_line.a_key()
    import_two_trades(sqlite_line, tmp_path)
    sound = sqlite_line.done("verify", "--replay")
    connection = sqlite3.connect(tmp_path / "exchange.db")
    with connection:
        connection.execute("UPDATE member SET address = 'elsewhere'")
    connection.close()
    touched = sqlite_line("verify", "--replay")

    tables, of = re.findall(r"(\d+) of (\d+) tables, \d+ rows, are what the events alone give", sound)[0]
    assert tables == of
    assert "rollup follows from these: invariant 6" in sound
    assert touched.code == 1
    assert "invariants hold" in touched.out
    assert "✗ member" in touched.out
    assert "address is not what the events give" in touched.out


def test_invariants_hold_on_each_database(line: CommandLine, tmp_path: Path) -> None:
    line.a_key()
    import_two_trades(line, tmp_path)

    assert "invariants hold" in line.done("verify")


def test_the_document_is_printed(sqlite_line: CommandLine) -> None:
    assert sqlite_line.done("openapi") == openapi_json()


# Help


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Walk through all commands."""
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))
    if not hasattr(group, "commands"):
        yield path


@pytest.mark.parametrize("path", list(commands(typer.main.get_command(app))), ids=" ".join)
def test_every_command_shows_an_example(sqlite_line: CommandLine, path: tuple[str, ...]) -> None:
    said = sqlite_line.done(*path, "--help")

    assert "exchange " + " ".join(path) in said.split("Example", 1)[1]


def test_help_says_how_commands_end(sqlite_line: CommandLine) -> None:
    said = " ".join(sqlite_line.done("--help").split())

    assert running.EXIT_CODES_HELP in said
    for code in {0, 1, 2, *running.EXIT_CODES.values(), running.DEFECT}:
        assert f"{code} " in running.EXIT_CODES_HELP


def test_wrong_usage_ends_with_two(sqlite_line: CommandLine) -> None:
    assert sqlite_line("no-such-command").code == 2
    assert sqlite_line("serve", "--port", "70000").code == 2
    assert sqlite_line("keys", "create", "--role", "king", "--person", "李四").code == 2


def test_every_kind_of_refusal_has_its_exit_code() -> None:
    kinds = {kind for kind in Problem.__subclasses__() if kind.__module__ == "exchange.problems"}

    assert set(running.EXIT_CODES) == kinds | {SettingWrong}


# Trouble that can be foreseen


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("sqlite:////proc/exchange.db", 7, "unable to open database file"),
        ("sqlite:////tmp", 7, "unable to open database file"),
        ("sqlite:////tmp/no/such/folder/exchange.db", 7, "unable to open database file"),
        (f"sqlite:///{Path(__file__)}", 7, "not a database"),
        ("sqlite://", 3, "Only SQLite files and PostgreSQL"),
        ("mysql://host/database", 3, "Only SQLite files and PostgreSQL"),
        ("exchange.db", 3, "URL cannot be read"),
        ("postgresql://somebody:s3cret@127.0.0.1:port/exchange", 3, "URL cannot be read"),
        ("postgresql://somebody:s3cret@[bad/exchange", 3, "URL cannot be read"),
        ("postgresql://somebody:s3cret@127.0.0.1:1/exchange", 7, "Connect call failed"),
        ("postgresql://somebody:s3cret@127.0.0.1:1/exchange?sslmode=maybe", 7, "cannot be opened"),
    ],
)
def test_a_database_that_cannot_be_had_is_told_in_a_line(
    sqlite_line: CommandLine, url: str, code: int, words: str
) -> None:
    sqlite_line.use(url)
    told = sqlite_line.refused(code, "db", "upgrade")

    assert words in told
    assert "s3cret" not in told


@pytest.mark.postgres
def test_a_database_that_the_server_has_not_is_told_in_a_line(sqlite_line: CommandLine, postgres_url: str) -> None:
    sqlite_line.use(f"{postgres_url}_missing")

    assert "does not exist" in sqlite_line.refused(7, "summary")


def test_a_setting_that_cannot_be_read_is_named(sqlite_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCHANGE_QUEUE_LIMIT", "many")

    assert "EXCHANGE_QUEUE_LIMIT" in sqlite_line.refused(2, "summary")


def test_a_database_that_is_read_only_takes_no_command(
    sqlite_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_line.a_key()
    monkeypatch.setattr("exchange.database.SQLITE_PRAGMAS", (*SQLITE_PRAGMAS, "query_only = ON"))

    assert "cannot be written" in sqlite_line.refused(7, "close", "2023-12")
    assert "Make the database writable" in sqlite_line.refused(7, "close", "2023-12")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OperationalError("SELECT 1", {}, RuntimeError("gone\nelsewhere")), 7, "gone. Check"),
        (sqlite3.DatabaseError("torn"), 7, "torn. Check"),
        (asyncpg.PostgresError("shut down"), 7, "shut down. Check"),
        (TimeoutError(), 7, "TimeoutError. Check"),
        (PermissionError(13, "Permission denied", "/secret.csv"), 3, "/secret.csv: Permission denied."),
        (Defect("it burst"), 70, "it burst"),
    ],
)
def test_what_fails_below_is_told_in_a_line(
    sqlite_line: CommandLine, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, words: str
) -> None:
    def fail(work: Coroutine[Any, Any, Any]) -> None:
        work.close()
        raise error

    monkeypatch.setattr("exchange.cli.commands.wait", fail)

    assert words in sqlite_line.refused(code, "verify")


def test_the_log_shows_how_defects_happened_and_nothing_else() -> None:
    with pytest.raises(ValueError, match="invalid literal") as raised:
        int("inside")
    found = (raised.type, raised.value, raised.tb)
    brief = running._Brief("%(message)s")

    def written(level: int) -> str:
        return brief.format(logging.LogRecord("exchange", level, "", 0, "trying again", (), found))

    assert written(logging.WARNING) == "trying again"
    assert written(logging.ERROR).startswith("trying again\nTraceback")


# The server


@contextmanager
def server(url: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the server; give its process and where it is."""
    with process("serve", *arguments, env=os.environ | {"EXCHANGE_DATABASE_URL": url}) as running_server:
        try:
            assert running_server.stdout is not None
            said = running_server.stdout.readline()
            yield running_server, said.split()[2]
        finally:
            running_server.kill()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_server_takes_a_free_port_says_it_and_stops_cleanly(database_url: str, stop: signal.Signals) -> None:
    with server(database_url, "--port", "0") as (running_server, url):
        answer = httpx.get(f"{url}/livez", timeout=30)
        running_server.send_signal(stop)
        code = running_server.wait(timeout=30)

    assert answer.status_code == 200
    assert code == 0
    assert not url.endswith(":0")


def test_the_server_listens_at_addresses_of_both_families(sqlite_url: str) -> None:
    with server(sqlite_url, "--port", "0", "--host", "::1") as (_, url):
        answer = httpx.get(f"{url}/livez", timeout=30)

    assert url.startswith("http://[::1]:")
    assert answer.status_code == 200


@pytest.fixture
def _own_signals() -> Iterator[None]:
    """Give the signals back after a test that serves in this process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_own_signals")
def test_a_port_that_is_taken_is_told_in_a_line(sqlite_line: CommandLine, sqlite_url: str) -> None:
    with server(sqlite_url, "--port", "0") as (_, url):
        told = sqlite_line.refused(7, "serve", "--port", url.rpartition(":")[2])

    assert "Address already in use" in told
    assert "Choose another --host or --port" in told
    assert "cannot listen" in sqlite_line.refused(7, "serve", "--host", "no.such.host.invalid")


@pytest.mark.usefixtures("_own_signals")
def test_a_server_that_could_not_start_does_not_end_as_if_it_had(
    sqlite_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(self: uvicorn.Server, sockets: object) -> None:
        """Give up at once."""

    monkeypatch.setattr(uvicorn.Server, "run", run)

    assert sqlite_line("serve", "--port", "0").code == running.EXIT_CODES[Unavailable]


@pytest.mark.usefixtures("_own_signals")
def test_a_server_that_was_stopped_ends_well(sqlite_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: uvicorn.Server, sockets: object) -> None:
        """Run, and be stopped from within."""
        self.started = True
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(uvicorn.Server, "run", run)

    assert sqlite_line("serve", "--port", "0").code == 0


def test_commands_wait_their_turn_in_a_queue_as_long_as_a_slice(
    sqlite_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[int] = []
    made = Journal.__init__

    def noted(self: Journal, store: Any, queue_limit: int) -> None:
        limits.append(queue_limit)
        made(self, store, queue_limit)

    monkeypatch.setattr(Journal, "__init__", noted)
    monkeypatch.setenv("EXCHANGE_QUEUE_LIMIT", "1")
    sqlite_line.a_key()

    assert limits == [1_000]
