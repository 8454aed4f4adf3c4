"""Backup and restore: a whole database as one file, by the database's own means, taken while the exchange runs."""

import asyncio
import os
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import asyncpg
import typer

from exchange import revisions
from exchange.cli.files import finished, put, refuse_there, sync
from exchange.cli.reading import run_verify
from exchange.cli.running import FOUND_WANTING, FileUnusable, console, desk, wait
from exchange.database import Database, connect_sqlite
from exchange.problems import Conflict, Unavailable

SQLITE_MAGIC: Final = b"SQLite format 3\0"
POSTGRES_MAGIC: Final = b"PGDMP"
POSTGRES_FOLDERS: Final = Path("/usr/lib/postgresql")
"""Where Debian keeps what is not on PATH."""


class NotEmpty(Conflict):
    """A backup is restored into an empty database only."""

    remedy = "Point EXCHANGE_DATABASE_URL at a SQLite file that does not exist, or at a new PostgreSQL database."


class NothingToKeep(Conflict):
    """There is no exchange in the database."""

    remedy = "Check EXCHANGE_DATABASE_URL."


class BackupWrong(FileUnusable):
    """The file is no whole backup for this sort of database."""

    remedy = "Take another backup; one of SQLite is restored on SQLite, one of PostgreSQL on PostgreSQL."


class ProgramMissing(Unavailable):
    """A program of PostgreSQL's is needed that is not here, or is older than the server."""

    remedy = "Install PostgreSQL's client programs of the server's version or newer (Debian: postgresql-client), or put them on PATH."


class ProgramFailed(Unavailable):
    """A program of PostgreSQL's failed."""

    remedy = "Look at what it says; nothing was changed."


@dataclass(frozen=True, slots=True)
class Place:
    """Up to where a database holds everything: a position, and the hash of its event's leaf."""

    position: int
    leaf_sha256: bytes

    def __str__(self) -> str:
        """Tell it in words."""
        return f"everything up to position {self.position}, whose leaf is {self.leaf_sha256.hex()}"


NOBODYS: Final = ("--no-owner", "--no-privileges")
HELD: Final = re.compile(rb"TABLE DATA \S+ head ")
VERSION: Final = re.compile(rb"\) ([0-9]+)")
PLACE: Final = "SELECT h.position, e.leaf_sha256 FROM head h JOIN event e ON e.position = h.position"


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; its folder must exist.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write the whole database to a file while the exchange runs: as it is at one position, which is told.

    Whoever has the file has all that is in the database: it is readable by its owner alone.

    Example: exchange backup exchange-2023-12-31.backup
    """
    refuse_there(file, force=force)

    async def work() -> Place:
        async with desk(current=False) as place:
            missing = place.database.path is not None and not place.database.path.exists()
            if missing or await revisions.current(place.database) is None:
                raise NothingToKeep(f"{place.database} holds none.")
            with finished(file, force=force) as unfinished:
                if place.database.path is not None:
                    return await asyncio.to_thread(_copy_sqlite, place.database.path, unfinished)
                return await _dump(place.database, unfinished)

    kept = wait(work())
    console.print(f"{file} holds {kept}.")


def restore(file: Annotated[Path, typer.Argument(help="A file that `exchange backup` wrote.")]) -> None:
    """Restore a backup into an empty database, and check every invariant on it.

    Example: EXCHANGE_DATABASE_URL=sqlite:///restored.db exchange restore exchange-2023-12-31.backup
    """

    async def work() -> tuple[Place, str | None]:
        async with desk(current=False) as place:
            if place.database.path is not None:
                _check_kind(file, SQLITE_MAGIC)
                held = await asyncio.to_thread(_restore_sqlite, file, place.database.path)
            else:
                _check_kind(file, POSTGRES_MAGIC)
                held = await _restore_dump(place.database, file)
            return held, await revisions.current(place.database)

    held, revision = wait(work())
    console.print(f"The database holds {held}.")
    if revision != revisions.newest():
        console.print(
            f"It is at {revision}; {revisions.newest()} is needed: run `exchange db upgrade`, then `exchange verify`."
        )
    elif not wait(run_verify()):
        console.print("Do not serve this database: take another backup.", style="bold red")
        raise typer.Exit(FOUND_WANTING)


def _check_kind(file: Path, magic: bytes) -> None:
    with file.open("rb") as opened:
        if opened.read(len(magic)) != magic:
            raise BackupWrong(f"{file} is none.")


# SQLite


def _copy_sqlite(path: Path, copy: Path) -> Place:
    # All pages in one step: a snapshot, and nobody who writes has to wait for it.
    with closing(connect_sqlite(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        # A backup is one file; the log beside it is made again by who opens the database.
        target.execute("PRAGMA journal_mode = DELETE")
        return _sqlite_place(target, copy)


def _restore_sqlite(file: Path, path: Path) -> Place:
    there = [
        other
        for other in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal")))
        if other.exists()
    ]
    if there:
        raise NotEmpty(f"{there[0]} exists.")
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.touch(exist_ok=False)
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as source:
            held = _sqlite_place(source, file)
            with closing(sqlite3.connect(unfinished)) as target:
                source.backup(target)
        sync(unfinished)
        put(unfinished, path, force=False)
    finally:
        unfinished.unlink(missing_ok=True)
    return held


def _sqlite_place(connection: sqlite3.Connection, file: Path) -> Place:
    """Check a copy page by page, and give its place. Raises BackupWrong."""
    try:
        wrong = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        found = connection.execute(PLACE).fetchone() if wrong == "ok" else None
    except sqlite3.DatabaseError as error:
        raise BackupWrong(f"{file} cannot be read: {error}.") from None
    if found is None:
        raise BackupWrong(f"{file} is damaged, or holds no exchange.")
    return Place(*found)


# PostgreSQL


async def _dump(database: Database, copy: Path) -> Place:
    url, secret = database.without_password
    async with _snapshot(database) as connection:
        program = await _program("pg_dump", connection)
        snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
        found = await connection.fetchrow(PLACE)
        # With the policies, which show the service every row: without, only who owns the tables is let dump them.
        how = [
            "--format=custom",
            "--enable-row-security",
            *NOBODYS,
            f"--snapshot={snapshot}",
            f"--file={copy}",
            f"--dbname={url}",
        ]
        await _run(program, *how, **secret)
    assert found is not None
    return Place(*found)


async def _restore_dump(database: Database, file: Path) -> Place:
    url, secret = database.without_password
    async with _snapshot(database) as connection:
        there = await connection.fetchval(
            "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace LIMIT 1"
        )
        if there is not None:
            raise NotEmpty(f"{database} has a relation {there}.")
        program = await _program("pg_restore", connection)
    try:
        if not HELD.search(await _run(program, "--list", str(file))):
            raise BackupWrong(f"{file} holds no exchange.")
        await _run(program, *NOBODYS, "--exit-on-error", "--single-transaction", f"--dbname={url}", str(file), **secret)
    except ProgramFailed as problem:
        raise BackupWrong(f"{file} cannot be restored: {problem.detail}") from None
    async with _snapshot(database) as connection:
        found = await connection.fetchrow(PLACE)
    assert found is not None
    return Place(*found)


@asynccontextmanager
async def _snapshot(database: Database) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database.dsn)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    finally:
        await connection.close()


async def _program(name: str, connection: "asyncpg.Connection[asyncpg.Record]") -> Path:
    """Find a program that can deal with the server: of its own version, else the newest. Raises ProgramMissing."""
    server = connection.get_server_version().major
    on_path = shutil.which(name)
    places = [*([Path(on_path)] if on_path else []), *POSTGRES_FOLDERS.glob(f"*/bin/{name}")]
    versions = [(await _version(place), place) for place in places]
    fitting = [(version == server, version, place) for version, place in versions if version >= server]
    if not fitting:
        raise ProgramMissing(f"{name} {server} or newer is needed; what is here: {len(places)} older ones.")
    return max(fitting)[2]


async def _version(program: Path) -> int:
    version = VERSION.search(await _run(program, "--version"))
    return int(version[1]) if version else 0


async def _run(program: Path, *arguments: str, **environment: str) -> bytes:
    """Run a program; give what it writes. A password goes by the environment, which no other user sees. Raises ProgramFailed."""
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        env={**os.environ, "LC_ALL": "C", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode:
        lines = err.decode(errors="replace").splitlines() or [f"it ended with {process.returncode}"]
        raise ProgramFailed(f"{lines[0]}.")
    return out
