"""The set-wise statements, made from a table's metadata alone, each once.

PostgreSQL gets its keys as one array per column, and all rows of a batch in one statement, with one JSON array per table; SQLite gets one
parameter set per row, and its keys as one JSON array.
Names come from the metadata, never from input.
"""

from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple

from sqlalchemy.dialects import postgresql, sqlite

from exchange.journal.schema import Columns, Schema

POSTGRES: Final = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
SQLITE: Final = sqlite.dialect()


def _names(columns: Columns, table: str = "") -> str:
    return ", ".join(f'{table}"{name}"' for name in columns)


def _equal(left: str, right: str, columns: Columns) -> str:
    return " AND ".join(f'{left}."{name}" = {right}."{name}"' for name in columns)


def _type(schema: Schema, name: str) -> str:
    kind: str = schema.table.c[name].type.compile(POSTGRES)
    return kind.split(" COLLATE", maxsplit=1)[0]


def _arrays(schema: Schema, columns: Columns) -> str:
    """Give `unnest($1::bigint[], …)`, one typed array per column."""
    return "unnest(" + ", ".join(f"${n}::{_type(schema, name)}[]" for n, name in enumerate(columns, 1)) + ")"


def _given(schema: Schema, columns: Columns, number: int) -> str:
    """Give the rows of the JSON array that is parameter `number`, of whose objects these columns are read."""
    typed = ", ".join(f'"{name}" {_type(schema, name)}' for name in columns)
    return f"json_to_recordset(${number}::json) AS given({typed})"


def _summed(schema: Schema) -> str:
    rest = tuple(name for name in schema.columns if name not in schema.key)
    return ", ".join(f'"{name}" = "{schema.name}"."{name}" + excluded."{name}"' for name in rest)


@cache
def load(schema: Schema, by: Columns) -> str:
    """Select the rows with one of these keys."""
    return (
        f"SELECT {_names(schema.columns, 'found.')} FROM {_arrays(schema, by)} AS asked({_names(by)})"
        f' JOIN "{schema.name}" AS found ON {_equal("found", "asked", by)}'
    )


class Part(NamedTuple):
    """What is done to one table: its rows are inserted, given new values, or added to. `columns` are those that are read of what is given."""

    verb: Callable[[Schema, Columns, int], str]
    schema: Schema
    columns: Columns


@cache
def write(parts: tuple[Part, ...]) -> str:
    """Write to all these tables in one statement; the n-th parameter holds the rows of the n-th part, as a JSON array."""
    verbs = (part.verb(part.schema, part.columns, number) for number, part in enumerate(parts, 1))
    return "WITH " + ", ".join(f"part_{number} AS ({verb})" for number, verb in enumerate(verbs, 1)) + " SELECT"


def insert(schema: Schema, columns: Columns, number: int) -> str:
    """Insert rows."""
    return f'INSERT INTO "{schema.name}" ({_names(columns)}) SELECT * FROM {_given(schema, columns, number)}'


def change(schema: Schema, columns: Columns, number: int) -> str:
    """Give rows, found by their keys, new values."""
    values = ", ".join(f'"{name}" = given."{name}"' for name in columns if name not in schema.key)
    return (
        f'UPDATE "{schema.name}" AS held SET {values} FROM {_given(schema, columns, number)}'
        f" WHERE {_equal('held', 'given', schema.key)}"
    )


def add(schema: Schema, columns: Columns, number: int) -> str:
    """Add deltas to rows that may not exist yet."""
    return f"{insert(schema, columns, number)} ON CONFLICT ({_names(schema.key)}) DO UPDATE SET {_summed(schema)}"


@cache
def load_sqlite(schema: Schema, by: Columns) -> str:
    """Select the rows with one of the keys in a JSON array. CROSS JOIN keeps the order: keys first, then the index."""
    value = "asked.value" if len(by) == 1 else "json_extract(asked.value, '$[{}]')"
    match = " AND ".join(f'found."{name}" = {value.format(n)}' for n, name in enumerate(by))
    return (
        f"SELECT {_names(schema.columns, 'found.')} FROM json_each(?) AS asked"
        f' CROSS JOIN "{schema.name}" AS found ON {match}'
    )


@cache
def insert_sqlite(schema: Schema) -> str:
    """Insert a row."""
    marks = ", ".join("?" for _ in schema.columns)
    return f'INSERT INTO "{schema.name}" ({_names(schema.columns)}) VALUES ({marks})'


@cache
def change_sqlite(schema: Schema, columns: Columns) -> str:
    """Give a row new values: the key's values come first in the parameters."""
    values = ", ".join(f'"{name}" = ?{len(schema.key) + n}' for n, name in enumerate(columns, 1))
    match = " AND ".join(f'"{name}" = ?{n}' for n, name in enumerate(schema.key, 1))
    return f'UPDATE "{schema.name}" SET {values} WHERE {match}'


@cache
def add_sqlite(schema: Schema) -> str:
    """Add deltas to a row that may not exist yet."""
    return f"{insert_sqlite(schema)} ON CONFLICT ({_names(schema.key)}) DO UPDATE SET {_summed(schema)}"
