"""Folding the events, in order, rebuilds every table that they tell; row by row it must be what is stored.

What is rebuilt is kept in a temporary SQLite file, so that memory does not grow with history.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from sqlmodel import Session, col, select

from exchange.columns import Stored, Told
from exchange.journal.events import canonical
from exchange.journal.invariants import CHUNK, SHOWN
from exchange.journal.schema import Schema, schema_of
from exchange.journal.tables import Event

FOLLOWS: Final = {
    "account": "2",
    "batch": "12a",
    "event": "12b",
    "head": "12a",
    "monthly_rollup": "6",
    "party_counter": "12c",
    "rollup": "6",
}
"""Tables that no event tells because they follow from those that are told: the invariant that rebuilds each."""


@dataclass(slots=True)
class Rebuilt:
    """What became of one table: so many rows were rebuilt and compared, and the first that differ, in words."""

    table: str
    rows: int = 0
    differing: list[str] = field(default_factory=list)

    def differs(self, key: str, how: str) -> None:
        """Take note of a row, the first ones only."""
        if len(self.differing) < SHOWN:
            self.differing.append(f"{self.table} {key}: {how}")


def told_schemas() -> list[Schema]:
    """Give the tables that events tell, by name."""
    models = [model for model in Stored.__subclasses__() if model.told is Told.AS_IS and hasattr(model, "__table__")]
    return sorted(map(schema_of, models), key=lambda schema: schema.name)


def replay(session: Session, progress: Callable[[int], None] = lambda _: None) -> Iterator[Rebuilt]:
    """Rebuild from the events alone, then compare table by table; `progress` is told how many events are folded."""
    with closing(sqlite3.connect("")) as folded:
        folded.execute("CREATE TABLE folded (name TEXT, key TEXT, row TEXT, PRIMARY KEY (name, key)) WITHOUT ROWID")
        _fold(session, folded, progress)
        for schema in told_schemas():
            yield _compared(session, folded, schema)
        for (name,) in folded.execute("SELECT DISTINCT name FROM folded ORDER BY name").fetchall():
            stray = Rebuilt(name)
            stray.differs("", "events tell of a table that there is not")
            yield stray


def _fold(session: Session, folded: sqlite3.Connection, progress: Callable[[int], None]) -> None:
    keys = {schema.name: schema.key for schema in told_schemas()}
    query = select(Event.leaf).order_by(col(Event.position)).execution_options(yield_per=CHUNK)
    for number, leaf in enumerate(session.exec(query), 1):
        # A null takes the column away, as it is left out of new rows.
        folded.executemany(
            "INSERT INTO folded VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET row = json_patch(row, excluded.row)",
            [
                (name, _written(values[part] for part in keys.get(name, ())), orjson.dumps(values).decode())
                for name, values in orjson.loads(leaf)["rows"]
            ],
        )
        if number % CHUNK == 0:
            progress(number)


def _compared(session: Session, folded: sqlite3.Connection, schema: Schema) -> Rebuilt:
    """Compare a table with what was rebuilt of it, and take that away."""
    found = Rebuilt(schema.name)
    model: Any = schema.model
    query = select(model).order_by(*(getattr(model, name) for name in schema.key)).execution_options(yield_per=CHUNK)
    for row in session.exec(query):
        found.rows += 1
        told = orjson.loads(canonical(schema.tell(row, schema.told_columns)))
        key = _written(told[name] for name in schema.key)
        rebuilt = folded.execute(
            "DELETE FROM folded WHERE name = ? AND key = ? RETURNING row", (schema.name, key)
        ).fetchone()
        session.expunge(row)
        if rebuilt is None:
            found.differs(key, "no event tells of it")
            continue
        stored = {name: value for name, value in told.items() if value is not None}
        events = {name: value for name, value in orjson.loads(rebuilt[0]).items() if value is not None}
        for name in sorted(stored.keys() | events.keys()):
            if stored.get(name) != events.get(name):
                found.differs(key, f"{name} is not what the events give")
    for (key,) in folded.execute("SELECT key FROM folded WHERE name = ? LIMIT ?", (schema.name, SHOWN)).fetchall():
        found.differs(key, "events tell of it, and it is not stored")
    folded.execute("DELETE FROM folded WHERE name = ?", (schema.name,))
    return found


def _written(values: Iterator[Any]) -> str:
    return orjson.dumps(list(values)).decode()
