"""Which store belongs to which database."""

from collections.abc import Callable
from datetime import datetime

from exchange.database import Database
from exchange.journal.events import Chance
from exchange.journal.postgres import PostgresStore
from exchange.journal.sqlite import SqliteStore
from exchange.journal.stores import Store


def open_store(database: Database, now: Callable[[], datetime], chance: Chance) -> Store:
    """Give the store for a database, with the clock and the source of random bytes that it shall use."""
    if database.path is not None:
        return SqliteStore(database.path, now, chance)
    return PostgresStore(database.dsn, now, chance)
