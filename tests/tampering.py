"""What only who owns a database can do to it: get past the guards of posted rows."""

import sqlite3
from typing import Final

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
