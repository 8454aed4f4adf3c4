"""`exchange doctor`: looks at a set-up, and says what is wrong with it and what helps. One check, one row in a table, one line."""

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, func, select

from exchange import clock, logs, revisions, tenancy
from exchange.access.callers import secret_hash
from exchange.access.queries import caller_by_secret
from exchange.api.replica import ReplicaUrlWrong, replica_of, unlike
from exchange.cli.granting import VERSION_TABLE, models, service_may
from exchange.clock import instant_text
from exchange.columns import Sort, Stored
from exchange.database import Database
from exchange.identifiers import Prefix, written_id
from exchange.journal.batch import CLOCK_TOLERANCE
from exchange.journal.events import genesis_leaf, leaf_hash
from exchange.journal.queries import present
from exchange.journal.tables import HEAD_ID, Batch, Event, Head
from exchange.problems import Problem
from exchange.settings import Settings, SettingWrong, variable

OLDEST_PYTHON: Final = (3, 11)
OLDEST_SQLITE: Final = (3, 38, 0)
OLDEST_POSTGRES: Final = 15
LEAST_FREE: Final = 1 << 30
"""Bytes: with less room on the disk a warning is due."""
SHORTEST_SECRET: Final = 16
"""Bytes of a cursor secret."""
PATIENCE_S: Final = 10.0
"""So long a check may take."""
LATE: Final = timedelta(seconds=10)
"""So far behind a replica may be without a warning."""
WAL_FORMAT: Final = 2
"""What bytes 18 and 19 of a SQLite file say where it is written ahead of."""
DURABLE: Final = {
    "fsync": {"on"},
    "full_page_writes": {"on"},
    "synchronous_commit": {"on", "local", "remote_write", "remote_apply"},
}
"""PostgreSQL's settings without which a crash can lose what was answered, and the values that do."""
RIGHTS: Final = """
SELECT rolsuper AS superuser, rolcreaterole AS makes_roles, rolbypassrls AS sees_all_rows,
  EXISTS (SELECT FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND pg_has_role(relowner, 'MEMBER')) AS owns_tables,
  EXISTS (SELECT FROM pg_database WHERE datname = current_database() AND pg_has_role(datdba, 'MEMBER')) AS owns_database
FROM pg_roles WHERE rolname = current_user
"""
"""What else than grants a role can rest on; to be able to become an owner is as good as to be one."""
RIGHTS_SAID: Final = {
    "superuser": "It is a superuser",
    "makes_roles": "It can make roles",
    "sees_all_rows": "It passes row-level security",
    "owns_tables": "It owns tables",
    "owns_database": "It owns the database",
}
PRIVILEGES: Final = """
SELECT relname, privilege FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) privilege
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
AND (has_table_privilege(pg_class.oid, privilege)
  OR privilege IN ('INSERT', 'UPDATE') AND has_any_column_privilege(pg_class.oid, privilege))
"""
FIRING: Final = """
SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid JOIN pg_proc ON pg_proc.oid = tgfoid
WHERE relnamespace = current_schema()::regnamespace AND relname = ANY (:tables) AND tgenabled = 'A'
AND EXISTS (SELECT FROM unnest(proconfig) setting WHERE setting LIKE 'search_path=pg_catalog%')
"""
"""Guards that fire for every session, and find what they mean whatever a session's search path is."""
OTHER_GUARDS: Final = {
    *("batch_comes_next", "head_moves_on", "head_is_kept", "trade_is_kept", "trade_is_frozen"),
    *(f"trade_{fact}_is_frozen" for fact in ("purpose", "contract_number", "delivery_terms")),
}
ROLE_REMEDY: Final = "Run `exchange db grant`, and serve as the role …_app that it makes."

T = TypeVar("T")


class Verdict(StrEnum):
    """What a check came to."""

    GOOD = "good"
    WRONG = "wrong"
    DOUBTFUL = "doubtful"
    SKIPPED = "skipped"


MARKS: Final = {Verdict.GOOD: "✓", Verdict.WRONG: "✗", Verdict.DOUBTFUL: "!", Verdict.SKIPPED: "–"}


@dataclass(frozen=True, slots=True)
class Found:
    """What a check found, in words, and what helps where it is not good."""

    verdict: Verdict
    said: str
    remedy: str = ""


good = partial(Found, Verdict.GOOD)
wrong = partial(Found, Verdict.WRONG)
doubtful = partial(Found, Verdict.DOUBTFUL)
skipped = partial(Found, Verdict.SKIPPED)


@dataclass(frozen=True, slots=True)
class Setup:
    """What is looked at."""

    settings: Settings
    database: Database


@dataclass(frozen=True, slots=True)
class Check:
    """A row of the table: what is looked at, how, and which checks must have passed for it to make sense."""

    name: str
    look: Callable[[Setup], Awaitable[Found]]
    after: tuple[str, ...] = ()


async def python(_: Setup) -> Found:
    """Look at the interpreter."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return wrong(f"It is {found}.", f"Install Python {'.'.join(map(str, OLDEST_PYTHON))} or newer.")
    return good(f"It is {found}.")


async def time_zones(_: Setup) -> Found:
    """Look whether the time zone data know Shanghai: eight hours ahead, and nine in the summers of 1986 to 1991."""
    zone = ZoneInfo.no_cache(clock.SHANGHAI.key)
    offsets = [zone.utcoffset(datetime(year, 7, 1)) for year in (2024, 1988)]  # noqa: DTZ001 - of that zone's own clock
    if offsets != [timedelta(hours=8), timedelta(hours=9)]:
        return wrong(
            "The data for Asia/Shanghai are not right.", "Install the package tzdata, of the system or of Python."
        )
    return good("Asia/Shanghai is known.")


async def clock_right(at: Setup) -> Found:
    """Hold this machine's clock against the last record's."""
    head = await at.database.read(_head)
    behind = head.recorded_at - clock.now()
    said = f"The last record is of {instant_text(head.recorded_at)}."
    remedy = "Set the clock (NTP)."
    if behind > CLOCK_TOLERANCE:
        return wrong(
            f"It is {behind.total_seconds():.0f} s behind the last record, and nothing can be written.", remedy
        )
    if behind > timedelta(0):
        return doubtful(f"It is {behind.total_seconds():.0f} s behind the last record.", remedy)
    return good(said)


async def file_there(at: Setup) -> Found:
    """Look whether the SQLite file is there, and can be read and written."""
    path = at.database.path
    if path is None:
        return skipped("The database is PostgreSQL.")
    if not path.is_file():
        return wrong(
            f"There is no file {path}.", "Run `exchange db upgrade`, which makes it, or mend EXCHANGE_DATABASE_URL."
        )
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        return wrong(f"{path} cannot be read and written.", "Give it to the user that the service runs as.")
    return good(f"{path} is there.")


async def file_private(at: Setup) -> Found:
    """Look whether other users can read the SQLite file, which holds personal data."""
    path = at.database.path
    if path is None:
        return skipped("The database is PostgreSQL.")
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return doubtful(f"Its mode is {stat.filemode(mode)}: other users can read personal data.", f"chmod 600 {path}")
    return good(f"Its mode is {stat.filemode(mode)}.")


async def folder_writable(at: Setup) -> Found:
    """Look whether SQLite can write its log beside the file."""
    path = at.database.path
    if path is None:
        return skipped("The database is PostgreSQL.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        return wrong(
            f"Nothing can be written in {path.parent.absolute()}: {error.strerror}.",
            "SQLite keeps its log beside the file: give the folder to the user that the service runs as.",
        )
    return good(f"{path.parent.absolute()} can be written.")


async def disk_space(at: Setup) -> Found:
    """Look how much room there is."""
    path = at.database.path
    if path is None:
        return skipped("The database is PostgreSQL.")
    free = shutil.disk_usage(path.parent).free
    said = f"{free >> 20:,} MiB are free."
    return good(said) if free >= LEAST_FREE else doubtful(said, "Make room before the disk is full.")


async def written_ahead(at: Setup) -> Found:
    """Look whether the SQLite file is in WAL mode, past SQLite, which would turn it on.

    Before this process opens the database: to close the file later would give up SQLite's locks on it.
    """
    path = at.database.path
    if path is None:
        return skipped("The database is PostgreSQL.")
    with path.open("rb") as file:
        header = file.read(20)
    if set(header[18:20]) != {WAL_FORMAT}:
        return doubtful(
            "It is not in WAL mode.",
            "The service turns it on; if this is said again, its file system does not allow it.",
        )
    return good("It is in WAL mode.")


async def reachable(at: Setup) -> Found:
    """Look whether the database answers."""
    await at.database.read(_ask, "SELECT 1")
    return good(f"{at.database} answers.")


async def server_version(at: Setup) -> Found:
    """Look whether the database is new enough."""
    if at.database.path is not None:
        found, oldest = sqlite3.sqlite_version, ".".join(map(str, OLDEST_SQLITE))
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            return wrong(f"It is SQLite {found}.", f"Use a Python that is built with SQLite {oldest} or newer.")
        return good(f"It is SQLite {found}.")
    found = str(await at.database.read(_ask, "SHOW server_version"))
    if _major(found) < OLDEST_POSTGRES:
        return wrong(f"It is PostgreSQL {found}.", f"Upgrade it to {OLDEST_POSTGRES} or newer.")
    return good(f"It is PostgreSQL {found}.")


async def schema(at: Setup) -> Found:
    """Look whether the schema is the one that this program needs."""
    found = await revisions.current(at.database)
    if found != revisions.newest():
        return wrong(
            f"It is at {found or 'no revision at all'}; {revisions.newest()} is needed.",
            revisions.SchemaNotCurrent.remedy,
        )
    return good(f"It is at {found}.")


async def durable(at: Setup) -> Found:
    """Look whether PostgreSQL keeps what it committed."""
    if at.database.path is not None:
        return skipped("The service itself has SQLite wait for the disk.")
    found = {name: str(await at.database.read(_ask, f"SHOW {name}")) for name in DURABLE}
    off = {name: value for name, value in found.items() if value not in DURABLE[name]}
    if off:
        said = ", ".join(f"{name} is {value}" for name, value in off.items())
        return wrong(f"A crash can lose what was answered: {said}.", "Set them on in postgresql.conf, or for the role.")
    return good("Commits wait for the disk.")


async def humble(at: Setup) -> Found:
    """Look whether the role is more than it need be."""
    if at.database.path is not None:
        return skipped("SQLite has no roles.")
    first = await at.database.read(_too_much)
    if first is not None:
        return doubtful(f"{RIGHTS_SAID[first]}: it could switch off what keeps posted rows.", ROLE_REMEDY)
    return good("It is no superuser, and owns nothing.")


async def grants(at: Setup) -> Found:
    """Look whether the role may do to each table what the service does, and no more."""
    if at.database.path is not None:
        return skipped("SQLite has no roles.")
    if await at.database.read(_too_much) is not None:
        return skipped("It is not by grants that this role may do what it does.")
    needed, held = set(service_may(models())), await at.database.read(_privileges)
    if lacking := sorted(needed - held):
        return wrong(
            f"{len(lacking)} are missing: {_privileges_said(lacking)}.", "Run `exchange db grant` as the owner."
        )
    if beyond := sorted(held - needed):
        return doubtful(
            f"{len(beyond)} are too many: {_privileges_said(beyond)}.", "Run `exchange db grant` as the owner."
        )
    return good("It may do what the service does, and no more.")


async def members_limited(at: Setup) -> Found:
    """Look whether the database itself limits what members read."""
    if at.database.path is not None:
        return skipped("SQLite has no roles.")
    role = await at.database.find_member_role(tenancy.TABLES)
    if role is None:
        return doubtful(
            "Only the service's own filter limits what members read.", "Run `exchange db grant`, and serve as its role."
        )
    return good(f"Members read as {role}.")


async def triggers(at: Setup) -> Found:
    """Look whether the triggers that keep posted rows are there, and fire whatever a session says of its role."""
    if at.database.path is None:
        if await at.database.read(_ask, "SHOW session_replication_role") != "origin":
            return wrong(
                "References are not looked at: session_replication_role is not origin for this role.",
                "ALTER ROLE … RESET session_replication_role, and the same for the database.",
            )
        there = await at.database.read(_postgres_triggers)
        names = {f"{table}_is_posted" for table in _posted()}
    else:
        there = await at.database.read(_sqlite_triggers)
        names = {f"{table}_refuses_{verb}" for table in _posted() for verb in ("update", "delete")}
    names |= {f"{table}_comes_last" for table in _posted() if table != Batch.__tablename__}
    missing = sorted((names | OTHER_GUARDS) - there)
    if missing:
        return wrong(
            f"{len(missing)} do not guard posted rows: {', '.join(missing[:3])}.",
            "Find out who took them away, run `exchange verify`, and restore them from the migrations.",
        )
    return good(f"{len(there)} guard posted rows.")


async def head_right(at: Setup) -> Found:
    """Look whether head, batches and events end at the same position."""
    head, batch, event, genesis = await at.database.read(_ends)
    if not head == batch == event:
        return wrong(
            f"Head is at {head}, batches end at {batch}, events at {event}.", "Run `exchange verify`; restore a backup."
        )
    if not genesis:
        return wrong("The first event is not the one that every exchange begins with.", "Restore a backup.")
    return good(f"It is at {head}.")


async def key(at: Setup) -> Found:
    """Look whose EXCHANGE_KEY is."""
    if at.settings.key is None:
        return skipped("EXCHANGE_KEY is not set; only the command line needs it, to act.")
    digest = secret_hash(at.settings.key.get_secret_value())
    caller = await at.database.read(caller_by_secret, digest) if digest else None
    if caller is None or caller.has_ended(clock.business_day(clock.now())):
        return wrong("EXCHANGE_KEY holds no live key.", "Set it to a live one, or unset it.")
    assert caller.key_id is not None
    return good(f"EXCHANGE_KEY is {written_id(Prefix.KEY, caller.key_id)}, of role {caller.role}.")


async def replica(at: Setup) -> Found:
    """Look whether the replica from which figures are read is one, and how far behind.

    But for its URL nothing of it is more than a warning: the service starts, and serves all but figures, without it.
    """
    if at.settings.read_database_url is None:
        return skipped("EXCHANGE_READ_DATABASE_URL is not set: figures are read where all is.")
    try:
        other = replica_of(at.settings, at.database)
        assert other is not None
    except ReplicaUrlWrong as problem:
        return wrong(problem.detail, problem.remedy)
    try:
        async with asyncio.timeout(PATIENCE_S / 2):
            return await _follows(at.database, other)
    except (OSError, SQLAlchemyError) as error:
        return doubtful(
            f"It cannot be read, and figures get 503: {logs.words_of(error) or type(error).__name__}.",
            "Check EXCHANGE_READ_DATABASE_URL and that the replica runs; unset it to read figures where all is.",
        )
    finally:
        await other.close()


async def _follows(database: Database, other: Database) -> Found:
    why = await unlike(database, other)
    if why is not None:
        return doubtful(why, "Figures get 503: name a replica of EXCHANGE_DATABASE_URL, or make it anew.")
    if not await other.read(_ask, "SELECT pg_is_in_recovery()"):
        return doubtful("It follows nothing: it takes writes itself.", "Name a standby, or make it one again.")
    position = (await other.read(present)).position
    lacking_since = await database.read(_first_after, position)
    if lacking_since is not None and clock.now() - lacking_since > LATE:
        return doubtful(
            f"It is at {position}, and lacks what was recorded since {instant_text(lacking_since)}.",
            "Look at pg_stat_replication on the database, and at pg_is_wal_replay_paused() and the log on the replica.",
        )
    return good(f"{other} is at {position}.")


async def cursor_secret(at: Setup) -> Found:
    """Look whether list cursors hold across processes and restarts."""
    if at.settings.cursor_secret is None:
        if at.database.path is not None:
            return skipped("EXCHANGE_CURSOR_SECRET is not set: lists begun before a restart begin anew.")
        return doubtful(
            "EXCHANGE_CURSOR_SECRET is not set: lists break between processes and at each restart.",
            "Set the same for all processes: `openssl rand -hex 32`.",
        )
    if len(at.settings.cursor_secret.get_secret_value().encode()) < SHORTEST_SECRET:
        return wrong("EXCHANGE_CURSOR_SECRET is too short.", "Set a longer one: `openssl rand -hex 32`.")
    return good("EXCHANGE_CURSOR_SECRET is set.")


async def backup_tool(at: Setup) -> Found:
    """Look for pg_dump, at least as new as the server."""
    if at.database.path is not None:
        return skipped("SQLite needs none.")
    tool = shutil.which("pg_dump")
    if tool is None:
        return doubtful(
            "There is no pg_dump on this machine.", "Install PostgreSQL's client, or make backups elsewhere."
        )
    told = await asyncio.to_thread(subprocess.run, [tool, "--version"], capture_output=True, text=True, check=True)
    server = _major(str(await at.database.read(_ask, "SHOW server_version")))
    found = told.stdout.split()[2]
    if _major(found) < server:
        return doubtful(
            f"pg_dump is {found}, older than the server.", f"Install PostgreSQL's client {server} or newer."
        )
    return good(f"pg_dump is {found}.")


FILE: Final = "database file"
ANSWERS: Final = "database answers"
SCHEMA: Final = "schema"

CHECKS: Final = (
    Check("python", python),
    Check("time zones", time_zones),
    Check(FILE, file_there),
    Check("file mode", file_private, (FILE,)),
    Check("folder", folder_writable, (FILE,)),
    Check("disk space", disk_space, (FILE,)),
    Check("WAL mode", written_ahead, (FILE,)),
    Check(ANSWERS, reachable, (FILE,)),
    Check("database version", server_version, (ANSWERS,)),
    Check("durability", durable, (ANSWERS,)),
    Check("database role", humble, (ANSWERS,)),
    Check(SCHEMA, schema, (ANSWERS,)),
    Check("grants", grants, (SCHEMA,)),
    Check("row security", members_limited, (SCHEMA,)),
    Check("triggers", triggers, (SCHEMA,)),
    Check("journal", head_right, (SCHEMA,)),
    Check("clock", clock_right, (SCHEMA,)),
    Check("replica", replica, (SCHEMA,)),
    Check("key", key, (SCHEMA,)),
    Check("cursor secret", cursor_secret),
    Check("backup tool", backup_tool, (ANSWERS,)),
)


async def examine() -> list[tuple[str, Found]]:
    """Make all checks; where the settings themselves cannot be read, they are all that is said."""
    try:
        settings = Settings.read()
        database = Database(settings.database_url.get_secret_value())
    except Problem as problem:
        by = "" if isinstance(problem, SettingWrong) else f"{variable('database_url')}: "
        return [("settings", wrong(f"{by}{problem.detail}", problem.remedy))]
    found: list[tuple[str, Found]] = [("settings", good("They can be read."))]
    failed: set[str] = set()
    try:
        for check in CHECKS:
            first = next((name for name in check.after if name in failed), None)
            if first is None:
                one = await _made(check, Setup(settings, database))
            else:
                one = skipped(f"Mend “{first}” first.")
            if one.verdict is Verdict.WRONG or first is not None:
                failed.add(check.name)
            found.append((check.name, one))
    finally:
        await database.close()
    return found


async def _made(check: Check, setup: Setup) -> Found:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await check.look(setup)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is what was to be found out
        said = logs.words_of(error) or type(error).__name__
        return wrong(
            f"It cannot be looked at: {said}.", f"Check {variable('database_url')} and that the database runs."
        )


def _ask(session: Session, question: str) -> object:
    return session.connection().execute(text(question)).scalar_one()


def _head(session: Session) -> Head:
    return session.get_one(Head, HEAD_ID).model_copy()


def _first_after(session: Session, position: int) -> datetime | None:
    query = select(Batch.recorded_at).where(col(Batch.last) > position).order_by(col(Batch.last)).limit(1)
    return session.exec(query).one_or_none()


def _ends(session: Session) -> tuple[int, int, int, bool]:
    batch = session.exec(select(func.max(col(Batch.last)))).one()
    event = session.exec(select(func.max(col(Event.position)))).one()
    first = session.get(Event, 1)
    genesis = first is not None and first.leaf_sha256 == leaf_hash(genesis_leaf())
    return session.get_one(Head, HEAD_ID).position, batch, event, genesis


def _posted() -> Iterator[str]:
    for model in Stored.__subclasses__():
        if model.sort is Sort.POSTED:
            yield str(model.__tablename__)


def _postgres_triggers(session: Session) -> set[str]:
    tables = {"tables": [*_posted(), "head", "trade"]}
    return set(session.connection().execute(text(FIRING), tables).scalars())


def _sqlite_triggers(session: Session) -> set[str]:
    return set(session.connection().execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars())


def _too_much(session: Session) -> str | None:
    [rights] = session.connection().execute(text(RIGHTS)).mappings()
    return next((right for right, held in rights.items() if held), None)


def _privileges(session: Session) -> set[tuple[str, str]]:
    ours = {VERSION_TABLE, *Stored.metadata.tables}
    return {(table, privilege) for table, privilege in session.connection().execute(text(PRIVILEGES)) if table in ours}


def _privileges_said(few: list[tuple[str, str]]) -> str:
    return ", ".join(f"{privilege} on {table}" for table, privilege in few[:3])


def _major(version: str) -> int:
    return int(version.split(maxsplit=1)[0].split(".", maxsplit=1)[0])
