"""The store on PostgreSQL: one connection of its own, through asyncpg, with two statements for all that a batch writes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from functools import cache
from itertools import groupby
from typing import Any, Final, TypeVar

import asyncpg
import orjson

from exchange.journal import statements
from exchange.journal.asks import Add, Ask, Change, Insert, Load
from exchange.journal.batch import Outcome, Rehearsal, rehearse, transact
from exchange.journal.commands import Job
from exchange.journal.events import Chance
from exchange.journal.schema import Columns, Record, Schema, fitted
from exchange.journal.stores import StoreBusy, StoreFailed, StoreLost, StoreUnwritable
from exchange.journal.work import Kept

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
BEGIN_AND_LOCK: Final = "BEGIN; SELECT 1 FROM head WHERE id = 1 FOR NO KEY UPDATE"

ANSWER_S: Final = 60.0
"""A connection on which a batch has not ended by then is dropped: the network may have lost it without a word to us."""
CONNECT_S: Final = 10.0
ANY_SIZE: Final = 0
"""Also the longest statement is prepared once: the driver else sends those of more than 15 KiB anew each time."""

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
UNWRITABLE_AT_FIRST: Final = (*UNWRITABLE, asyncpg.InternalServerError)
"""Also what a full disk says to who connects: without another name, as it could not write its own notes."""
BUSY: Final = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, asyncpg.DeadlockDetectedError)


class PostgresStore:
    """Runs batches on PostgreSQL."""

    def __init__(self, url: str, now: Callable[[], datetime], chance: Chance) -> None:
        """Take `postgresql://…`, the clock and a source of random bytes. Connects when first used."""
        self._url = url
        self._now = now
        self._chance = chance
        self._kept = Kept()
        self._connection: asyncpg.Connection[Any] | None = None
        self._stage = asyncio.Lock()

    async def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Decide and commit these jobs in one transaction."""
        try:
            with _in_our_words(), self._kept.unless_it_fails():
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._connect()
                with _answering(self._connection):
                    async with _holding_the_head(self._connection):
                        return await _drive(self._connection, transact(jobs, self._now, self._chance, self._kept))
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
                            return await _drive(connection, rehearse(jobs, self._now, self._chance))
                finally:
                    connection.terminate()

    async def _connect(self) -> "asyncpg.Connection[Any]":
        with _in_our_words(UNWRITABLE_AT_FIRST):
            return await asyncpg.connect(
                self._url, timeout=CONNECT_S, server_settings=SESSION, max_cacheable_statement_size=ANY_SIZE
            )

    async def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


@asynccontextmanager
async def _holding_the_head(connection: "asyncpg.Connection[Any]") -> AsyncIterator[None]:
    """Hold the head for a transaction: begun and ended by hand, for the driver's own begins with one more round trip."""
    try:
        await connection.execute(BEGIN_AND_LOCK)
        yield
        await connection.execute("COMMIT")
    except BaseException:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise


async def _drive(connection: "asyncpg.Connection[Any]", steps: Generator[list[Ask], list[list[Record]], T]) -> T:
    """Answer a batch's loads. What it writes is on its way while the batch goes on, and done before the next statement and at the end."""
    writing: asyncio.Task[None] | None = None
    answer: list[list[Record]] | None = None
    try:
        while True:
            asks = next(steps) if answer is None else steps.send(answer)
            if writing is not None:
                await writing
            answer = [await _load(connection, *ask) for ask in asks if isinstance(ask, Load)]
            writes = [ask for ask in asks if not isinstance(ask, Load)]
            writing = asyncio.create_task(_write(connection, writes)) if writes else None
            await asyncio.sleep(0)  # on its way, before more is decided
    except StopIteration as done:
        outcome: T = done.value
        return outcome
    finally:
        if writing is not None:
            await writing


async def _write(connection: "asyncpg.Connection[Any]", asks: list[Insert | Change | Add]) -> None:
    """Write all that is inserted with one statement, and all else, which may refer to it, with the next."""
    for _, writes in groupby(asks, lambda ask: isinstance(ask, Insert)):
        parts, rows = zip(*map(_part, writes), strict=True)
        await connection.fetch(statements.write(parts), *rows)


async def _load(connection: "asyncpg.Connection[Any]", schema: Schema, by: Columns, values: list[Any]) -> list[Record]:
    records = values if len(by) > 1 else [(value,) for value in values]
    arrays = [list(column) for column in zip(*records, strict=True)]
    for n, bind in _binders(schema, by):
        arrays[n] = [bind(value) for value in arrays[n]]
    readers = _readers(schema)
    return [fitted(tuple(record), readers) for record in await connection.fetch(statements.load(schema, by), *arrays)]


def _part(ask: Insert | Change | Add) -> tuple[statements.Part, str]:
    """Say what is to be done to a table, and with which rows, as JSON."""
    match ask:
        case Insert(schema, rows):
            return statements.Part(statements.insert, schema, schema.columns), _json(rows)
        case Change(schema, columns, rows):
            return statements.Part(statements.change, schema, schema.key + columns), _json(rows)
        case _:
            schema, sums = ask
            rows = [dict(zip(schema.columns, key + deltas, strict=True)) for key, deltas in sums.items()]
            return statements.Part(statements.add, schema, schema.columns), _json(rows)


def _json(rows: list[Any]) -> str:
    """Write rows as a JSON array of objects, each value as PostgreSQL reads its type from text."""
    return orjson.dumps(rows, default=_hexadecimal).decode()


def _hexadecimal(value: bytes) -> str:
    return f"\\x{value.hex()}"


@contextmanager
def _answering(connection: "asyncpg.Connection[Any]") -> Iterator[None]:
    """Let go of a server that says nothing any more."""
    watch = asyncio.get_running_loop().call_later(ANSWER_S, connection.terminate)
    try:
        yield
    finally:
        watch.cancel()


@contextmanager
def _in_our_words(unwritable: tuple[type[Exception], ...] = UNWRITABLE) -> Iterator[None]:
    try:
        yield
    except BUSY as error:
        raise StoreBusy(str(error)) from error
    except unwritable as error:
        raise StoreUnwritable(f"PostgreSQL says: {error.args[0]}.") from error
    except LOST as error:
        raise StoreLost(str(error)) from error
    except (asyncpg.PostgresError, orjson.JSONEncodeError) as error:  # the latter for a number that no column holds
        raise StoreFailed(str(error)) from error


@cache
def _binders(schema: Schema, columns: Columns) -> list[tuple[int, Callable[[Any], Any]]]:
    return schema.binders(columns, statements.POSTGRES)


@cache
def _readers(schema: Schema) -> list[tuple[int, Callable[[Any], Any]]]:
    return schema.readers(statements.POSTGRES)
