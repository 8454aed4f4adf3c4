"""The schema's revisions: what the database is at, what this program needs, and how it gets there."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlmodel import Session

from exchange.database import Database
from exchange.problems import Conflict

PACKAGED: Final = Path(__file__).parent / "migrations"
CHECKED_OUT: Final = Path(__file__).parent.parent / "migrations"


class SchemaNotCurrent(Conflict):
    """The database's schema is not the one that this program needs."""

    remedy = "Run `exchange db upgrade`."


def configuration(connection: Connection | None = None) -> Config:
    """Give Alembic's configuration: the migrations of the installed wheel, else of the checkout."""
    config = Config()
    config.set_main_option("script_location", str(PACKAGED if PACKAGED.is_dir() else CHECKED_OUT))
    config.attributes["connection"] = connection
    return config


def newest() -> str:
    """Give the revision that this program needs."""
    head = ScriptDirectory.from_config(configuration()).get_current_head()
    assert head is not None
    return head


async def current(database: Database) -> str | None:
    """Give the revision that the database is at; None where it is empty."""
    return await database.read(_revision)


async def upgrade(database: Database) -> None:
    """Bring the database to the newest revision, in one transaction."""
    await database.alter(lambda connection: command.upgrade(configuration(connection), "head"))


def _revision(session: Session) -> str | None:
    return MigrationContext.configure(session.connection()).get_current_revision()


async def require_current(database: Database) -> None:
    """Refuse to go on with a schema that is not current. Raises SchemaNotCurrent."""
    found = await current(database)
    if found != newest():
        raise SchemaNotCurrent(f"It is at {found or 'no revision at all'}; {newest()} is needed.")
