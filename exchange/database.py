"""The database: where it is, and read sessions on it. Writes are the journal's alone.

Queries are plain functions of a session that sees one snapshot. On PostgreSQL they run over asyncpg, on SQLite on a thread, so that no loop
ever waits for a disk and two drivers do all the work.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar
from urllib.parse import urlsplit

import asyncpg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool
from sqlmodel import Session

from exchange.problems import Invalid

T = TypeVar("T")
P = ParamSpec("P")

SQLITE_BUSY_TIMEOUT_S: Final = 30.0
SQLITE_PRAGMAS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "recursive_triggers = ON",
    "trusted_schema = OFF",
)
READING: Final = {"jit": "off", "max_parallel_workers_per_gather": "0"}
"""What is asked is answered from some thousand rows: to compile a plan, or to start workers for it, takes longer than the answer."""
NEVER_WRITING: Final = READING | {"default_transaction_read_only": "on"}
POOL: Final = 8
READ_ONLY_POOL: Final = 4
"""Connections that are kept to a database."""
POSTGRES_NAMES: Final = ("postgres", "postgresql", "postgresql+asyncpg")


AWAY_STATES: Final = ("08", "53", "57", "58")
"""Classes of PostgreSQL's error codes: no connection, no resources, an operator's intervention, trouble of its system."""


STEP_DOWN: Final = text("SELECT set_config('role', :role, true), set_config('exchange.company', :company, true)")
"""Take on the role that sees of each table only what one company may. For this transaction only: neither outlives it on a pooled connection."""
MEMBER_ROLE: Final = text(
    "SELECT role.rolname FROM pg_roles AS role WHERE role.rolname = regexp_replace(CURRENT_USER::text, '_app$', '_member') "
    "AND role.rolname <> CURRENT_USER AND pg_has_role(role.oid, 'MEMBER') AND NOT role.rolsuper AND NOT role.rolbypassrls AND ("
    "  SELECT bool_and(relrowsecurity AND has_table_privilege(role.oid, pg_class.oid, 'SELECT')) FROM pg_class "
    "  WHERE relnamespace = to_regnamespace(current_schema()) AND relname::text = ANY (CAST(:tables AS text[])))"
)
"""The role that stands beside the service's own, if it may be taken on and sees no more than the policies say."""


class DatabaseUrlWrong(Invalid):
    """EXCHANGE_DATABASE_URL does not name a database that can be used."""

    remedy = "Use sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/DATABASE."


def connect_sqlite(path: Path) -> sqlite3.Connection:
    """Open a SQLite file as everything here does; the caller begins and ends its transactions itself.

    A file that is made is its owner's alone, for it holds personal data; SQLite gives the files beside it the same mode.
    """
    with suppress(OSError):
        # Only a new file: to close one that SQLite has open would give up its locks. What cannot be made is said by SQLite itself.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(path, timeout=SQLITE_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    for pragma in SQLITE_PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return connection


def is_away(error: DBAPIError) -> bool:
    """Tell whether a read failed because the database is away, rather than for what it was asked."""
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        # A farewell that came while nothing was asked leaves the driver at odds with itself: its InternalError.
        return isinstance(error, OperationalError | InterfaceError | InternalError)
    return str(state).startswith(AWAY_STATES)


class Database:
    """One database, by its URL: `sqlite:///FILE` or `postgresql://…`."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        """Take the URL; connects when first used, where PostgreSQL is `read_only` for reading alone. Raises DatabaseUrlWrong."""
        self._read_only = read_only
        try:
            self._url = make_url(url)
            urlsplit(self.dsn)  # as the driver reads it
        except (ArgumentError, ValueError):
            # The cause stays unsaid: it may quote the URL, and with it the password.
            raise DatabaseUrlWrong("The database's URL cannot be read.") from None
        self.member_role: str | None = None
        if self._url.drivername == "sqlite" and self._url.database:
            self.path: Path | None = Path(self._url.database)
        elif self._url.drivername in POSTGRES_NAMES:
            self.path = None
        else:
            raise DatabaseUrlWrong("Only SQLite files and PostgreSQL can be used.")

    @property
    def dsn(self) -> str:
        """The URL as PostgreSQL's own clients take it."""
        return self._url.set(drivername="postgresql").render_as_string(hide_password=False)

    @property
    def without_password(self) -> tuple[str, dict[str, str]]:
        """The same for a program's arguments, without a password, and the environment that holds it."""
        url = self._url
        password = url.password or url.query.get("password")
        # Not `set(password=None)`, which means: as it is.
        bare = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
        bare = bare.difference_update_query(["password"])
        return bare.render_as_string(hide_password=False), {"PGPASSWORD": str(password)} if password else {}

    async def find_member_role(self, tables: Iterable[str]) -> str | None:
        """Find the role that a company's reads of these tables can take on; from then on they do. None where there is none."""
        self.member_role = await self.read(_member_role, [*tables]) if self.path is None else None
        return self.member_role

    def __str__(self) -> str:
        """Name the database without its password, wherever in the URL it stands."""
        shown = {name: "***" if "password" in name else value for name, value in self._url.query.items()}
        return self._url.set(query=shown).render_as_string(hide_password=True)

    async def read(self, query: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a query on one snapshot."""

        def on_connection(connection: Connection) -> T:
            with Session(connection) as session:
                return query(session, *args, **kwargs)

        return await self._on_snapshot(on_connection)

    async def read_as(
        self,
        company: str,
        opened: Callable[[Connection], Session],
        query: Callable[Concatenate[Session, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a query on one snapshot in a session that is opened for a company; the role of members is taken on where there is one."""

        def on_connection(connection: Connection) -> T:
            if self.member_role is not None:
                connection.execute(STEP_DOWN, {"role": self.member_role, "company": company})
            with opened(connection) as session:
                return query(session, *args, **kwargs)

        return await self._on_snapshot(on_connection)

    async def alter(self, change: Callable[[Connection], T]) -> T:
        """Run a change in one transaction: a migration's, or what is noted beside the journal."""
        if self.path is not None:
            return await asyncio.to_thread(_within, self._sqlite, change)
        async with self._postgres.begin() as connection:
            return await connection.run_sync(change)

    async def close(self) -> None:
        """Close all connections."""
        if "_sqlite" in self.__dict__:
            self._sqlite.dispose()
        if "_postgres" in self.__dict__:
            await self._postgres.dispose()

    async def _on_snapshot(self, query: Callable[[Connection], T]) -> T:
        if self.path is not None:
            return await asyncio.to_thread(_within, self._sqlite, query)
        async with self._snapshots.connect() as connection:
            return await connection.run_sync(query)

    @cached_property
    def _sqlite(self) -> Engine:
        assert self.path is not None
        path = self.path
        engine = create_engine("sqlite://", creator=lambda: connect_sqlite(path), poolclass=QueuePool, pool_size=POOL)

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        return engine

    @cached_property
    def _postgres(self) -> AsyncEngine:
        # Connected as the journal does, so that an option in the URL, as sslmode, means the same for both.
        return create_async_engine(
            "postgresql+asyncpg://",
            pool_size=READ_ONLY_POOL if self._read_only else POOL,
            max_overflow=0,  # a connection beyond the pool costs more than the wait for one in it
            async_creator=lambda: asyncpg.connect(
                self.dsn, server_settings=NEVER_WRITING if self._read_only else READING
            ),
        )

    @cached_property
    def _snapshots(self) -> AsyncEngine:
        return self._postgres.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _member_role(session: Session, tables: list[str]) -> str | None:
    found: str | None = session.connection().execute(MEMBER_ROLE, {"tables": tables}).scalar()
    return found


def _within(engine: Engine, act: Callable[[Connection], Any]) -> Any:
    with engine.begin() as connection:
        return act(connection)
