"""The store on SQLite: one connection of its own on one thread of its own, so that the server's loop never waits for the disk."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import orjson

from exchange.database import connect_sqlite
from exchange.journal import statements
from exchange.journal.asks import Ask, Change, Insert, Load
from exchange.journal.batch import Outcome, Rehearsal, drive, rehearse, transact
from exchange.journal.commands import Job
from exchange.journal.events import Chance
from exchange.journal.schema import Columns, Record, Schema, fitted
from exchange.journal.stores import StoreBusy, StoreFailed, StoreUnwritable
from exchange.journal.work import Kept

BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
UNWRITABLE: Final = frozenset(
    {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
)


class SqliteStore:
    """Runs batches on SQLite."""

    def __init__(self, path: Path, now: Callable[[], datetime], chance: Chance) -> None:
        """Take the file, the clock and a source of random bytes. Connects when first used."""
        self._path = path
        self._now = now
        self._chance = chance
        self._kept = Kept()
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="exchange journal")

    async def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Decide and commit these jobs in one transaction."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, jobs)

    async def rehearse(self, jobs: Sequence[Job]) -> Rehearsal:
        """Decide these jobs on a snapshot of their own, beside the writer."""
        return await asyncio.to_thread(self._rehearse, jobs)

    async def close(self) -> None:
        """Close the connection and its thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _run(self, jobs: Sequence[Job]) -> list[Outcome]:
        with _in_our_words(), self._kept.unless_it_fails():
            if self._connection is None:
                self._connection = connect_sqlite(self._path)
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                outcomes = drive(transact(jobs, self._now, self._chance, self._kept), partial(_do, connection))
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise
        return outcomes

    def _rehearse(self, jobs: Sequence[Job]) -> Rehearsal:
        with _in_our_words(), closing(connect_sqlite(self._path)) as connection:
            connection.execute("BEGIN")
            return drive(rehearse(jobs, self._now, self._chance), partial(_do, connection))


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        code = error.sqlite_errorcode & 0xFF
        if code in BUSY:
            raise StoreBusy(str(error)) from error
        if code in UNWRITABLE:
            raise StoreUnwritable(f"SQLite says: {error}.") from error
        raise StoreFailed(str(error)) from error
    except (sqlite3.Error, OverflowError) as error:  # the driver's own word for a number that no column holds
        raise StoreFailed(str(error)) from error


def _do(connection: sqlite3.Connection, ask: Ask) -> list[Record]:
    match ask:
        case Load(schema, by, values):
            binders = _binders(schema, by)
            records = [fitted(value if len(by) > 1 else (value,), binders) for value in values]
            keys = orjson.dumps(records if len(by) > 1 else [record[0] for record in records]).decode()
            readers = _readers(schema)
            return [
                fitted(record, readers) for record in connection.execute(statements.load_sqlite(schema, by), (keys,))
            ]
        case Insert(schema, rows):
            records = list(map(schema.values(schema.columns), rows))
            _write(connection, statements.insert_sqlite(schema), schema, schema.columns, records)
        case Change(schema, columns, rows):
            given = schema.key + columns
            records = list(map(schema.values(given), rows))
            _write(connection, statements.change_sqlite(schema, columns), schema, given, records)
        case _:
            schema, sums = ask
            records = [key + deltas for key, deltas in sums.items()]
            _write(connection, statements.add_sqlite(schema), schema, schema.columns, records)
    return []


def _write(
    connection: sqlite3.Connection, statement: str, schema: Schema, columns: Columns, records: list[Record]
) -> None:
    binders = _binders(schema, columns)
    connection.executemany(statement, [fitted(record, binders) for record in records])


@cache
def _binders(schema: Schema, columns: Columns) -> list[tuple[int, Callable[[Any], Any]]]:
    return schema.binders(columns, statements.SQLITE)


@cache
def _readers(schema: Schema) -> list[tuple[int, Callable[[Any], Any]]]:
    return schema.readers(statements.SQLITE)
