"""What only who owns a database can do to it: grant, and get past the guards of posted rows."""

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Final

from exchange.cli import granting
from exchange.cli.granting import Login, Part
from exchange.database import Database

PAST_GUARDS: Final = """
DO $$
DECLARE guarded regclass;
BEGIN
  FOR guarded IN SELECT DISTINCT tgrelid FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'A' LOOP
    EXECUTE format('ALTER TABLE %s ENABLE TRIGGER USER', guarded);
  END LOOP;
END $$;
SET session_replication_role = replica
"""
"""PostgreSQL: from then on, guards fire for ordinary sessions alone, of which this one is none."""


def drop_guards(connection: sqlite3.Connection) -> None:
    """Take away all triggers of a SQLite file."""
    for [name] in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")


def granted(url: str, roles: dict[Part, str], logins: Sequence[Login] = ()) -> list[str]:
    """Grant; give the SQL that it took."""
    return asyncio.run(granting.granted(Database(url), roles, list(logins), dry_run=False))
