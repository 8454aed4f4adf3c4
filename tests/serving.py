"""The server as a process of its own, with its log in a file; and keys for those who ask it."""

import asyncio
import os
import re
import secrets
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import orjson
from commandline import ROOT, process
from exchanges import Exchange

from exchange.access.callers import secret_hash, written_secret
from exchange.access.commands import CreateKey
from exchange.access.tables import Role

ISSUED = re.compile("exk_[0-9a-f]{72}")
"""What every key that is issued anywhere in these tests looks like."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs."""

    process: subprocess.Popen[str]
    url: str
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """Read the log."""
        return [orjson.loads(line) for line in self.log.read_bytes().splitlines()]


@contextmanager
def served(url: str, folder: Path, *arguments: str, **settings: str) -> Iterator[Served]:
    """Run the server on a free port until it is stopped, or to the end of the block."""
    log = folder / "server.log"
    said = {f"EXCHANGE_{name.upper()}": value for name, value in settings.items()}
    with (
        log.open("wb") as written,
        process(
            *("serve", "--port", "0", *arguments),
            env=os.environ | {"EXCHANGE_DATABASE_URL": url, "PYTHONPATH": str(ROOT)} | said,
            stderr=written,
        ) as running,
    ):
        try:
            assert running.stdout is not None
            first = running.stdout.readline()
            assert first, log.read_text(encoding="utf-8")
            yield Served(running, first.split()[2], log)
        finally:
            running.kill()
            assert not ISSUED.search(log.read_text(encoding="utf-8", errors="replace")), "a key is in the server's log"


def a_secret(place: Exchange, role: Role, person: str = "Li", uscc: str | None = None) -> str:
    """Make a key; give its secret."""
    secret = written_secret(secrets.token_bytes(32))
    place.do(CreateKey(role, person, secret_hash(secret) or "", uscc), place.operator())
    return secret


def let_it_refuse(url: str, value: str) -> None:
    """Let the database refuse a personal datum by its value; PostgreSQL then quotes the whole row."""

    async def on_postgres() -> None:
        connection = await asyncpg.connect(url)
        rule = f"CHECK (value <> '{value}')"
        await connection.execute(f"ALTER TABLE personal_datum ADD CONSTRAINT storable {rule}")
        await connection.close()

    if url.startswith("postgresql"):
        asyncio.run(on_postgres())
        return
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.execute(
        f"CREATE TRIGGER storable BEFORE INSERT ON personal_datum WHEN NEW.value = '{value}' "
        "BEGIN SELECT RAISE(ABORT, 'not storable'); END"
    )
    connection.close()
