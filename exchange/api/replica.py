"""Figures from a replica: a database that follows the journal's, and answers as of the position that it has reached.

Figures alone are read there. Whether it is away, behind, or not a replica at all: nothing else waits for it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlmodel import Session, col, select

from exchange import revisions
from exchange.api.following import HeadWatch
from exchange.database import Database, DatabaseUrlWrong, is_away
from exchange.journal.queries import MomentUnknown, moment_at
from exchange.journal.tables import Event
from exchange.problems import Invalid, Unavailable
from exchange.settings import Settings

T = TypeVar("T")
Known = int | datetime | None
Figures = Callable[[Session, Known], T]
"""A question for figures as known at a position or instant, or at present (None)."""

WAIT_S: Final = 2.0
"""So long a position that the replica has not reached is waited for."""
LOOK_S: Final = 0.05
"""So often it is looked whether it has, however many wait."""
MOST_WAITING: Final = 100
"""So many may wait at once."""
PATIENCE_S: Final = 5.0
"""So long an answer of the replica is waited for: it may be gone without a farewell."""
BELIEF_S: Final = 60.0
"""So long it is believed that it is a replica, before that is looked at again."""
UNSERVED: Final = ("28", "3D", "40")
"""Classes of PostgreSQL's error codes: who asks is not let in, there is no such database, a standby's read gave way to what it follows."""

log = logging.getLogger(__name__)


class ReplicaUrlWrong(Invalid):
    """EXCHANGE_READ_DATABASE_URL does not name a database from which figures can be read."""

    remedy = "Name a PostgreSQL replica of EXCHANGE_DATABASE_URL, as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or leave it unset."


class ReplicaBehind(Unavailable):
    """The replica from which figures are read has not come so far yet."""

    remedy = (
        "Ask again after as many seconds as `Retry-After` says, or without `known_at`: the answer tells how far it is."
    )


class ReplicaAway(Unavailable):
    """The replica from which figures are read does not answer."""

    remedy = "Ask again in a few seconds; everything else is served meanwhile."


def replica_of(chosen: Settings, database: Database) -> Database | None:
    """Give the database from which the settings want figures read; None where it is the journal's own. Raises ReplicaUrlWrong."""
    if chosen.read_database_url is None:
        return None
    try:
        found = Database(chosen.read_database_url.get_secret_value(), read_only=True)
    except DatabaseUrlWrong as wrong:
        raise ReplicaUrlWrong(wrong.detail) from None
    if found.path is not None or database.path is not None:
        raise ReplicaUrlWrong("SQLite has no replicas: both databases must be PostgreSQL.")
    return found


async def unlike(database: Database, replica: Database) -> str | None:
    """Say why a database is no replica of another, in a sentence; None where it is one: what stands at its end stands in the other too."""
    revision, needed = await revisions.current(replica), revisions.newest()
    if revision != needed:
        return f"Its schema is at {revision or 'no revision at all'}; {needed} is needed."
    position, leaf = await replica.read(_last_leaf)
    # Asked after it: what is written meanwhile is not missing here.
    own = await database.read(_leaf_at, position)
    if own is None:
        return f"It has come to position {position}, and the database has not: one of them was restored from a backup."
    return None if own == leaf else f"What it has at position {position} is not what the database has there."


class Replica:
    """A replica that is asked for figures. It is looked at before it is believed, again each time that it was away, and from time to time."""

    def __init__(self, database: Database, replica: Database, registry: CollectorRegistry) -> None:
        """Take the journal's database, the one that follows it, and where figures of the service itself are kept."""
        self._database = database
        self._replica = replica
        self._watch = HeadWatch(replica, LOOK_S)
        self._believed_until = 0.0
        self._waiting = 0
        self._looking: asyncio.Task[int | None] | None = None
        self._reached = Gauge(
            "exchange_replica_position", "The last position that was seen on the replica", registry=registry
        )
        self._failures = Counter(
            "exchange_replica_failures", "How often the replica did not answer, or was none", registry=registry
        )

    async def read(self, figures: Figures[T], known_at: Known) -> T:
        """Answer from the replica; a position that it has not reached is waited for, if there is such a one.

        Raises MomentUnknown, ReplicaBehind, ReplicaAway.
        """
        try:
            async with self._asked():
                return await self._replica.read(figures, known_at)
        except MomentUnknown:
            # Nobody waits for what there is nowhere: then this is the answer, too.
            moment = await self._database.read(moment_at, known_at)
        await self._reach(moment.position)
        async with self._asked():
            return await self._replica.read(figures, moment.position)

    async def position_within(self, patience_s: float) -> int | None:
        """Say how far it has come; None where it does not answer in that time, or is none. Whoever asks meanwhile waits for the same look."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        # Not cancelled: to leave a connection that says nothing takes seconds by itself.
        done, _ = await asyncio.wait({self._looking}, timeout=patience_s)
        return self._looking.result() if done else None

    async def close(self) -> None:
        """End what is under way, and close all connections."""
        looking = [] if self._looking is None else [self._looking]
        for one in looking:
            one.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
        await self._replica.close()

    async def _look(self) -> int | None:
        try:
            async with self._asked():
                position = await self._watch.position()
        except ReplicaAway:
            return None
        self._reached.set(position)
        return position

    async def _reach(self, position: int) -> None:
        if self._waiting >= MOST_WAITING:
            raise ReplicaBehind(f"It has not come to position {position}, and too many wait for it.")
        self._waiting += 1
        try:
            async with self._asked():
                reached = await self._watch.wait(position - 1, time.monotonic() + WAIT_S, lambda: False)
        finally:
            self._waiting -= 1
        if not reached:
            raise ReplicaBehind(f"It has not come to position {position}.")

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[None]:
        """Ask a replica that is one, and not for long. Raises ReplicaAway."""
        believed = False
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._believe()
                believed = True
                yield
        except (DBAPIError, NoneFree, OSError) as error:
            # Of what is no replica nothing need be right; of one, what a question is answered is the question's affair.
            if believed and isinstance(error, DBAPIError) and not _is_lost(error):
                raise
            self._believed_until = 0.0
            self._failures.inc()
            log.exception("The replica did not answer")
            raise ReplicaAway("It could not be read.") from None

    async def _believe(self) -> None:
        if time.monotonic() < self._believed_until:
            return
        why = await unlike(self._database, self._replica)
        if why is not None:
            self._failures.inc()
            log.error("The replica is none: %s", why)
            raise ReplicaAway("It is not one of this exchange's present database.")
        self._believed_until = time.monotonic() + BELIEF_S


def _is_lost(error: DBAPIError) -> bool:
    """Tell whether a read of a replica failed because it is away, or for no reason of what was asked."""
    return is_away(error) or str(getattr(error.orig, "sqlstate", "")).startswith(UNSERVED)


@asynccontextmanager
async def replica_opened(
    chosen: Settings, database: Database, registry: CollectorRegistry
) -> AsyncIterator[Replica | None]:
    """Hold the replica that the settings name, or None; one that does not answer is only logged. Raises ReplicaUrlWrong."""
    found = replica_of(chosen, database)
    if found is None:
        yield None
        return
    replica = Replica(database, found, registry)
    log.info("Figures are read from %s.", found)
    try:
        await replica.position_within(PATIENCE_S)
        yield replica
    finally:
        await replica.close()


async def read_figures(database: Database, replica: Replica | None, figures: Figures[T], known_at: Known) -> T:
    """Answer from the replica where there is one, else from the journal's database. Raises MomentUnknown, ReplicaBehind, ReplicaAway."""
    if replica is None:
        return await database.read(figures, known_at)
    return await replica.read(figures, known_at)


def _last_leaf(session: Session) -> tuple[int, bytes]:
    event = session.exec(select(Event).order_by(col(Event.position).desc()).limit(1)).one()
    return event.position, event.leaf_sha256


def _leaf_at(session: Session, position: int) -> bytes | None:
    event = session.get(Event, position)
    return None if event is None else event.leaf_sha256
