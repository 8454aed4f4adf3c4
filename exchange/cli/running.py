"""What all commands share: settings, the database, the journal, who acts, exit codes, and one line for what goes wrong."""

import asyncio
import copy
import hashlib
import logging
import secrets
import sqlite3
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

import asyncpg
import orjson
import typer
from rich.console import Console
from sqlalchemy.exc import DBAPIError

from exchange import clock, revisions
from exchange.access.callers import KeyHolder, secret_hash
from exchange.access.queries import caller_by_secret
from exchange.database import Database
from exchange.imports.running import SLICE, in_words
from exchange.journal.callers import Caller
from exchange.journal.commands import Command, Job
from exchange.journal.journal import Defect, Journal
from exchange.journal.opening import open_store
from exchange.problems import (
    Conflict,
    Forbidden,
    Invalid,
    Malformed,
    NotFound,
    PreconditionFailed,
    Problem,
    TooLarge,
    TooOften,
    TooSlow,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)
from exchange.settings import Settings, SettingWrong

T = TypeVar("T")

FOUND_WANTING: Final = 1
"""An invariant does not hold, or rows were refused."""

WRONG_USAGE: Final = 2
DEFECT: Final = 70
INTERRUPTED: Final = 130
"""Ctrl-C, as shells tell it."""

EXIT_CODES: Final[dict[type[Problem], int]] = {
    SettingWrong: WRONG_USAGE,
    Malformed: 3,
    UnsupportedMedia: 3,
    TooLarge: 3,
    TooSlow: 3,
    Invalid: 3,
    Unauthenticated: 4,
    Forbidden: 4,
    NotFound: 5,
    Conflict: 6,
    PreconditionFailed: 6,
    TooOften: 7,
    Unavailable: 7,
}
"""How a refusal ends a command, by its kind."""

EXIT_CODES_HELP: Final = (
    "Exit codes: 0 done; 1 an invariant does not hold, or rows were refused; 2 wrong usage; 3 wrong input; 4 no key, or not yours to do; "
    "5 not found; 6 the state of things does not allow it; 7 not now, try again; 70 a defect of the program; 130 interrupted."
)

console = Console(markup=False, soft_wrap=True)
"""Where people read. What it is given is text: only who asks for markup gets it."""
errors = Console(markup=False, soft_wrap=True, stderr=True)
"""Where people read while stdout belongs to a program."""


class DatabaseUnusable(Unavailable):
    """The database cannot be opened."""

    remedy = "Check EXCHANGE_DATABASE_URL, and that the server runs or the file may be read and written."


class FileUnusable(Malformed):
    """A file or folder cannot be used."""

    remedy = "Look at its place and permissions."


class NoKey(Unauthenticated):
    """This needs a key."""

    remedy = "Set EXCHANGE_KEY to your API key."


def run(app: typer.Typer) -> None:
    """Run the command line; refusals become one line on stderr and an exit code."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Brief("exchange: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    try:
        app()
    except Problem as problem:
        fail(problem)
    except DBAPIError as error:
        fail(DatabaseUnusable(_first_line(error.orig or error)))
    except (sqlite3.Error, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        fail(DatabaseUnusable(_first_line(error)))
    except OSError as error:
        fail(
            FileUnusable(f"{error.filename}: {error.strerror}.")
            if error.filename
            else DatabaseUnusable(_first_line(error))
        )
    except Defect as defect:
        print(f"exchange: {Defect.__doc__} {defect}", file=sys.stderr)  # noqa: T201 - the one line for people
        sys.exit(DEFECT)


class _Brief(logging.Formatter):
    """Shows how something failed for defects alone; what may happen to anybody is said in a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        if record.levelno < logging.ERROR:
            record = copy.copy(record)
            record.exc_info = record.exc_text = None
        return super().format(record)


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".") + "."


def fail(problem: Problem) -> NoReturn:
    """End with a refusal's line and code."""
    print(f"exchange: {in_words(problem)}", file=sys.stderr)  # noqa: T201 - the one line for people
    sys.exit(exit_code(type(problem)))


def exit_code(problem: type[Problem]) -> int:
    """Give the exit code of a type of problem by its kind."""
    return next(EXIT_CODES[kind] for kind in problem.__mro__ if kind in EXIT_CODES)


def wait(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end."""
    return asyncio.run(work)


@dataclass(frozen=True, slots=True)
class Desk:
    """A database that is up to date, and what the environment says."""

    settings: Settings
    database: Database

    async def caller(self) -> KeyHolder:
        """Say who acts, by EXCHANGE_KEY. Raises NoKey, Unauthenticated."""
        if self.settings.key is None:
            raise NoKey("EXCHANGE_KEY is not set.")
        digest = secret_hash(self.settings.key.get_secret_value())
        caller = await self.database.read(caller_by_secret, digest) if digest else None
        if caller is None or caller.has_ended(clock.business_day(clock.now())):
            raise Unauthenticated("EXCHANGE_KEY holds no live key.")
        return caller

    @asynccontextmanager
    async def journal(self) -> AsyncIterator[Journal]:
        """Write through a journal of this process's own."""
        store = open_store(self.database, clock.now, secrets.token_bytes)
        async with Journal(store, SLICE) as journal:
            yield journal

    async def do(self, command: Command, caller: Caller) -> dict[str, Any]:
        """Have one command done: a new wish each time."""
        request = hashlib.sha256(repr(command).encode()).digest()
        async with self.journal() as journal:
            answer = await journal.do(Job((command,), caller, f"cli/{secrets.token_hex(16)}", request))
        told: dict[str, Any] = orjson.loads(answer.body)
        return told


@asynccontextmanager
async def desk(*, current: bool = True) -> AsyncIterator[Desk]:
    """Open the database. Raises SchemaNotCurrent unless told not to look."""
    settings = Settings.read()
    database = Database(settings.database_url.get_secret_value())
    try:
        if current:
            if database.path is not None and not database.path.exists():
                raise revisions.SchemaNotCurrent(f"There is no file {database.path}.")
            await revisions.require_current(database)
        yield Desk(settings, database)
    finally:
        await database.close()
