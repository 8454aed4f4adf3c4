"""The log: a line per event, every request in one, and nothing secret or personal, whatever is sent and whatever fails."""

import asyncio
import io
import logging
import re
import signal
import socket
import sqlite3
import sys
import warnings
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
import pytest
import structlog
from doors import application
from exchanges import Exchange
from serving import a_secret, let_it_refuse, served
from sqlalchemy.exc import OperationalError

from exchange import logs
from exchange.access.queries import operators_exist
from exchange.access.tables import Role
from exchange.database import Database
from exchange.journal.journal import Defect
from exchange.journal.queue import Overloaded
from exchange.journal.stores import StoreFailed
from exchange.settings import LogFormat, LogLevel

MARK = "MARK7391"
"""What is planted wherever somebody can write something."""
UNSTORABLE = f"张三{MARK}-unstorable"


def test_no_secret_and_no_name_is_ever_logged(database_url: str, tmp_path: Path) -> None:
    with Exchange.at(database_url) as place:
        operator = a_secret(place, Role.OPERATOR, f"李四{MARK}")
    let_it_refuse(database_url, UNSTORABLE)
    named = {"legal_representative": f"张三{MARK}", "contact": f"0731-{MARK}", "group_parent_uscc": None}
    bearer = {"Authorization": f"Bearer {operator}"}

    with served(database_url, tmp_path, "--log-format", "json", "--log-level", "debug") as server:
        with httpx.Client(base_url=server.url, timeout=30) as client:

            def post(path: str, body: Any, key: str = "key-1", **headers: str) -> int:
                content = body if isinstance(body, bytes) else orjson.dumps(body)
                sent = bearer | {"Content-Type": "application/json", "Idempotency-Key": key} | headers
                return client.post(path, content=content, headers=sent).status_code

            assert post("/v1/members", application() | named, f"{MARK}-key") == 201
            assert post("/v1/members", application(79) | named | {"legal_representative": UNSTORABLE}, "k2") == 500
            assert post("/v1/members", application() | named | {"uscc": MARK}, "k3") == 422
            assert post("/v1/members", f'{{"{MARK}'.encode(), "k4") == 400
            assert post("/v1/members", b"{}", f"{MARK} not of the form") == 400
            assert post("/v1/keys", {"role": "regulator", "person": f"王五{MARK}", "uscc": None}) == 201
            assert client.get(f"/v1/members?cursor={MARK}", headers=bearer).status_code == 400
            assert client.get(f"/v1/trades/{MARK}", headers=bearer).status_code == 404
            assert client.get(f"/{MARK}/%00%ff?{MARK}", headers=bearer).status_code == 404
            assert client.get("/v1/members", headers={"Authorization": f"Bearer exk_{MARK}"}).status_code == 401
            assert client.get("/v1/members", headers={"Authorization": f"Basic {MARK}"}).status_code == 401
            assert client.get("/livez", headers={"X-Request-ID": f"{MARK} {MARK}"}).status_code == 200
            assert client.request("PROPFIND", f"/{MARK}").status_code == 404
            figures = client.get("/metrics").text
        arguments = Path(f"/proc/{server.process.pid}/cmdline").read_text(encoding="utf-8")
        for shown in (figures, arguments):
            assert MARK not in shown
            assert operator not in shown
        host, _, port = server.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(f"GET /{MARK} HTTP/9.9\r\n{MARK}\x00: {MARK}\r\n\r\n".encode())
            assert b"400" in raw.recv(1_000)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=30) == 0

    written = server.log.read_text(encoding="utf-8")
    assert MARK not in written
    assert operator not in written
    assert "张三" not in written
    # What failed is told all the same, under the id of the request that met it.
    lines = server.lines()
    [failed] = [line for line in lines if line["event"] == "The database refused a job"]
    requests = {line["request_id"]: line for line in lines if line["event"] == "request"}
    assert "storable" in failed["exception"]
    assert (
        "statements.py" in failed["exception"]
        or "sqlite.py" in failed["exception"]
        or "postgres.py" in failed["exception"]
    )
    assert (requests[failed["request_id"]]["status"], requests[failed["request_id"]]["problem"]) == (500, "defect")
    assert [line["event"] for line in lines if line["level"] == "error" and "request_id" not in line] == []
    assert len(requests) == 14
    assert any(line["event"] == "batch" and line["commands"] == 1 for line in lines)


def test_each_request_is_told_in_a_line(sqlite_url: str, tmp_path: Path) -> None:
    with Exchange.at(sqlite_url) as place:
        party = place.a_member()
        member = a_secret(place, Role.MEMBER, uscc=party.uscc)
    with served(sqlite_url, tmp_path, log_format="json") as server:
        bearer = {"Authorization": f"Bearer {member}", "X-Request-ID": "req-1"}
        path = f"/v1/members/mbr_{party.id:012}"
        assert httpx.get(f"{server.url}{path}?x=1", headers=bearer, timeout=30).status_code == 400
        assert httpx.post(f"{server.url}{path}/admission", headers=bearer, timeout=30).status_code == 403
        server.process.terminate()
        server.process.wait(timeout=30)

    first, *requests, stopping, stopped = server.lines()
    assert (first["event"], first["database"], first["level"]) == ("serving", sqlite_url, "info")
    assert (stopping["event"], stopped["event"]) == ("stopping", "stopped")
    for line in requests:
        assert re.fullmatch(r"key_[0-9]{12}", line.pop("key_id"))
        assert 0 < line.pop("duration_ms") < 10_000
        assert re.fullmatch(r"[0-9-]{10}T[0-9:]{8}\.[0-9]{6}Z", line.pop("at"))
    same = {
        "event": "request",
        "level": "info",
        "logger": "exchange.api.reception",
        "request_id": "req-1",
        "id": path.rpartition("/")[2],
        "role": "member",
    }
    assert requests == [
        same
        | {"operation": "show_member", "method": "GET", "path": "/v1/members/{id}"}
        | {"status": 400, "problem": requests[0]["problem"]},
        same
        | {"operation": "admit_member", "method": "POST", "path": "/v1/members/{id}/admission"}
        | {"status": 403, "problem": "role-lacks-route"},
    ]


@pytest.mark.parametrize("given", [{"arguments": ["--no-access-log"]}, {"settings": {"access_log": "false"}}])
def test_requests_are_not_told_where_nobody_wants_it(sqlite_url: str, tmp_path: Path, given: dict[str, Any]) -> None:
    with served(sqlite_url, tmp_path, *given.get("arguments", ()), **given.get("settings", {})) as server:
        assert httpx.get(f"{server.url}/livez", timeout=30).status_code == 200
        server.process.terminate()
        server.process.wait(timeout=30)

    # Without a terminal the lines are JSON.
    assert [line["event"] for line in server.lines()] == ["serving", "stopping", "stopped"]


# What a line is


Written = pytest.CaptureFixture[str]


def lines_in(capsys: Written) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_other_libraries_lines_and_warnings_pass_through_the_same(capsys: Written) -> None:
    logs.configure("info", "json")
    structlog.contextvars.bind_contextvars(request_id="req-1")

    logging.getLogger("sqlalchemy.engine").warning("a %s", "word", extra={"color_message": "no"})
    logging.getLogger("sqlalchemy.engine").info("not told")
    logging.getLogger("exchange.journal").info("told")
    logging.getLogger("exchange.journal").debug("not told")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("careful", UserWarning, stacklevel=1)

    lines = lines_in(capsys)
    assert [(line["event"], line["logger"], line["level"]) for line in lines[:2]] == [
        ("a word", "sqlalchemy.engine", "warning"),
        ("told", "exchange.journal", "info"),
    ]
    assert "careful" in lines[2]["event"]
    assert {line["request_id"] for line in lines} == {"req-1"}
    assert all("color_message" not in line for line in lines)


@pytest.mark.parametrize(("level", "told"), [("debug", 6), ("info", 5), ("warning", 4), ("error", 2)])
def test_the_level_is_the_least_that_is_told(capsys: Written, level: LogLevel, told: int) -> None:
    logs.configure(level, "json")

    for name in ("exchange.journal", "uvicorn.error"):
        for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(number, "event")

    assert len(lines_in(capsys)) == told


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("form", "stream", "is_json"),
    [
        (None, io.StringIO, True),
        (None, Terminal, False),
        ("console", io.StringIO, False),
        ("json", Terminal, True),
    ],
)
def test_a_terminal_is_written_to_as_one(
    monkeypatch: pytest.MonkeyPatch, form: LogFormat | None, stream: Any, is_json: bool
) -> None:
    written = stream()
    monkeypatch.setattr(sys, "stderr", written)
    logs.configure("info", form)

    logging.getLogger("exchange").info("told")

    assert "told" in written.getvalue()
    assert written.getvalue().startswith("{") == is_json


def fail(error: Exception, cause: Exception | None = None) -> None:
    if cause is None:
        raise error
    try:
        fail(cause)
    except Exception as before:
        raise error from before


def test_an_error_is_told_with_its_causes_and_places(capsys: Written) -> None:
    logs.configure("info", "json")
    log = logging.getLogger("exchange")

    try:
        fail(StoreFailed(MARK), ValueError(MARK))
    except StoreFailed:
        log.exception("Caused")
    try:
        try:
            fail(ValueError(MARK))
        except ValueError:
            raise KeyError(MARK) from None
    except KeyError:
        log.exception("Alone")
    try:
        try:
            fail(ValueError(MARK))
        except ValueError:
            fail(KeyError(MARK))
    except KeyError:
        log.exception("Meanwhile")
    log.error("Without", exc_info=True)  # noqa: LOG014 - what a library may do

    written = capsys.readouterr().err
    caused, alone, meanwhile, without = [orjson.loads(line) for line in written.splitlines()]
    heads = [line for line in caused["exception"].splitlines() if not line.startswith("  ")]
    assert heads == ["builtins.ValueError", "exchange.journal.stores.StoreFailed"]
    assert re.search(r"\n  .*test_logs\.py:[0-9]+ fail", caused["exception"])
    assert "ValueError" not in alone["exception"]
    assert "ValueError" in meanwhile["exception"]
    assert "exception" not in without
    assert MARK not in written


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Overloaded("7 commands\nwait already."), "7 commands wait already."),
        (ValueError(MARK), ""),
        (Defect(MARK), ""),
        (sqlite3.OperationalError("database is locked"), "database is locked"),
        (OSError(28, "No space left on device", MARK), "No space left on device"),
        (TimeoutError(), ""),
        (
            OperationalError("SELECT 1", {"name": MARK}, sqlite3.OperationalError("no such table: head")),
            "no such table: head",
        ),
        (None, ""),
        (asyncpg.CheckViolationError("violates check"), "violates check (SQLSTATE 23514)"),
        (asyncpg.InvalidTextRepresentationError(f'invalid input: "{MARK}"'), "(SQLSTATE 22P02)"),
        (asyncpg.DuplicateDatabaseError(), "(SQLSTATE 42P04)"),
        (asyncpg.InterfaceError(MARK), ""),
    ],
)
def test_an_error_says_its_words_only_where_they_quote_no_value(error: BaseException | None, words: str) -> None:
    assert logs.words_of(error) == words


@pytest.mark.postgres
def test_the_row_that_a_database_quotes_is_left_out(postgres_url: str) -> None:
    async def refuse() -> BaseException:
        connection = await asyncpg.connect(postgres_url)
        await connection.execute("CREATE TABLE planted (name text CHECK (length(name) < 3))")
        try:
            await connection.execute("INSERT INTO planted VALUES ($1)", MARK)
        except asyncpg.PostgresError as error:
            return error
        finally:
            await connection.close()
        raise AssertionError("it was stored")

    error = asyncio.run(refuse())

    assert MARK in str(error)
    assert MARK not in logs.words_of(error)
    assert "planted_name_check" in logs.words_of(error)


def test_a_database_that_is_away_is_told_with_the_reason() -> None:
    async def look() -> BaseException:
        database = Database(f"postgresql://me:{MARK}@127.0.0.1:1/exchange")
        try:
            await database.read(operators_exist)
        except OSError as error:
            return error
        finally:
            await database.close()
        raise AssertionError("it is there")

    said = "\n".join(logs.lines_of(asyncio.run(look())))

    assert "Connect call failed" in said
    assert MARK not in said
