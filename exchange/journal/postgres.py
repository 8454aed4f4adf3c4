"""The store on PostgreSQL: one connection of its own, through asyncpg, with one array per column."""

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any, Final, TypeVar

import asyncpg

from exchange.journal import statements
from exchange.journal.asks import Ask, Change, Insert, Load
from exchange.journal.batch import Outcome, Rehearsal, rehearse, transact
from exchange.journal.commands import Job
from exchange.journal.events import Chance
from exchange.journal.schema import Columns, Record, Schema, fitted
from exchange.journal.stores import StoreBusy, StoreFailed, StoreLost, StoreUnwritable

T = TypeVar("T")

SESSION: Final = {
    "application_name": "exchange journal",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    # A stopped process that holds the head must not stop the exchange.
    "idle_in_transaction_session_timeout": "5000",
    "lock_timeout": "5000",
    "statement_timeout": "30000",
    "tcp_keepalives_idle": "10",
    "tcp_user_timeout": "10000",
}

# Lock first, read in a later statement: a snapshot taken before the lock would not see what its last holder committed.
# NO KEY: foreign-key checks pass.
LOCK_HEAD: Final = "SELECT 1 FROM head WHERE id = 1 FOR NO KEY UPDATE"

ANSWER_S: Final = 60.0
"""A connection on which a batch has not ended by then is dropped: the network may have lost it without a word to us."""
CONNECT_S: Final = 10.0

LOST: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a farewell that came while nothing was asked leaves the driver at odds with itself
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.IdleInTransactionSessionTimeoutError,
    OSError,
)
UNWRITABLE: Final = (asyncpg.DiskFullError, asyncpg.ReadOnlySQLTransactionError, asyncpg.PostgresIOError)
BUSY: Final = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, asyncpg.DeadlockDetectedError)


class PostgresStore:
    """Runs batches on PostgreSQL."""

    def __init__(self, url: str, now: Callable[[], datetime], chance: Chance) -> None:
        """Take `postgresql://…`, the clock and a source of random bytes. Connects when first used."""
        self._url = url
        self._now = now
        self._chance = chance
        self._connection: asyncpg.Connection[Any] | None = None
        self._stage = asyncio.Lock()

    async def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Decide and commit these jobs in one transaction."""
        try:
            with _in_our_words():
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._connect()
                with _answering(self._connection):
                    async with self._connection.transaction():
                        await self._connection.execute(LOCK_HEAD)
                        return await self._drive(self._connection, transact(jobs, self._now, self._chance))
        except (StoreLost, StoreUnwritable):
            # Another server may have taken its place: the next batch looks anew.
            await self.close()
            raise

    async def rehearse(self, jobs: Sequence[Job]) -> Rehearsal:
        """Decide these jobs on a snapshot, on a connection of its own beside the writer's, one rehearsal at a time."""
        async with self._stage:
            with _in_our_words():
                connection = await self._connect()
                try:
                    with _answering(connection):
                        async with connection.transaction(isolation="repeatable_read", readonly=True):
                            return await self._drive(connection, rehearse(jobs, self._now, self._chance))
                finally:
                    connection.terminate()

    async def _connect(self) -> "asyncpg.Connection[Any]":
        return await asyncpg.connect(self._url, timeout=CONNECT_S, server_settings=SESSION)

    async def _drive(
        self, connection: "asyncpg.Connection[Any]", steps: Generator[list[Ask], list[list[Record]], T]
    ) -> T:
        try:
            asks = next(steps)
            while True:
                asks = steps.send([await self._do(connection, ask) for ask in asks])
        except StopIteration as done:
            outcome: T = done.value
            return outcome

    async def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    @staticmethod
    async def _do(connection: "asyncpg.Connection[Any]", ask: Ask) -> list[Record]:
        match ask:
            case Load(schema, by, values):
                records = values if len(by) > 1 else [(value,) for value in values]
                found = await connection.fetch(statements.load(schema, by), *_arrays(schema, by, records))
                readers = _readers(schema)
                return [fitted(tuple(record), readers) for record in found]
            case Insert(schema, rows):
                await _write(
                    connection,
                    statements.insert(schema),
                    schema,
                    schema.columns,
                    map(schema.values(schema.columns), rows),
                )
            case Change(schema, columns, rows):
                given = schema.key + columns
                await _write(
                    connection, statements.change(schema, columns), schema, given, map(schema.values(given), rows)
                )
            case _:
                schema, sums = ask
                records = [key + deltas for key, deltas in sums.items()]
                await _write(connection, statements.add(schema), schema, schema.columns, records)
        return []


@contextmanager
def _answering(connection: "asyncpg.Connection[Any]") -> Iterator[None]:
    """Let go of a server that says nothing any more."""
    watch = asyncio.get_running_loop().call_later(ANSWER_S, connection.terminate)
    try:
        yield
    finally:
        watch.cancel()


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except BUSY as error:
        raise StoreBusy(str(error)) from error
    except UNWRITABLE as error:
        raise StoreUnwritable(f"PostgreSQL says: {error.args[0]}.") from error
    except LOST as error:
        raise StoreLost(str(error)) from error
    except asyncpg.PostgresError as error:
        raise StoreFailed(str(error)) from error


async def _write(
    connection: "asyncpg.Connection[Any]", statement: str, schema: Schema, columns: Columns, records: Iterable[Record]
) -> None:
    await connection.fetch(statement, *_arrays(schema, columns, records))


def _arrays(schema: Schema, columns: Columns, records: Iterable[Record]) -> list[list[Any]]:
    """Turn records into one list per column, as the driver takes them."""
    lists = [list(column) for column in zip(*records, strict=True)]
    for n, bind in _binders(schema, columns):
        lists[n] = [bind(value) for value in lists[n]]
    return lists


@cache
def _binders(schema: Schema, columns: Columns) -> list[tuple[int, Callable[[Any], Any]]]:
    return schema.binders(columns, statements.POSTGRES)


@cache
def _readers(schema: Schema) -> list[tuple[int, Callable[[Any], Any]]]:
    return schema.readers(statements.POSTGRES)
