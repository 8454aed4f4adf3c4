"""The set-wise statements, made from a table's metadata alone, each once.

PostgreSQL gets one array per column and one statement per set; SQLite one parameter set per row, and its keys as one JSON array.
Names come from the metadata, never from input.
"""

from functools import cache
from typing import Final

from sqlalchemy.dialects import postgresql, sqlite

from exchange.journal.schema import Columns, Schema

POSTGRES: Final = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
SQLITE: Final = sqlite.dialect()


def _names(columns: Columns, table: str = "") -> str:
    return ", ".join(f'{table}"{name}"' for name in columns)


def _equal(left: str, right: str, columns: Columns) -> str:
    return " AND ".join(f'{left}."{name}" = {right}."{name}"' for name in columns)


def _arrays(schema: Schema, columns: Columns) -> str:
    """Give `unnest($1::bigint[], …)`, one typed array per column."""
    types = (schema.table.c[name].type.compile(POSTGRES).split(" COLLATE")[0] for name in columns)
    return "unnest(" + ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(types, 1)) + ")"


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


@cache
def insert(schema: Schema) -> str:
    """Insert rows."""
    return f'INSERT INTO "{schema.name}" ({_names(schema.columns)}) SELECT * FROM {_arrays(schema, schema.columns)}'


@cache
def change(schema: Schema, columns: Columns) -> str:
    """Give rows new values."""
    values = ", ".join(f'"{name}" = new."{name}"' for name in columns)
    given = schema.key + columns
    return (
        f'UPDATE "{schema.name}" AS held SET {values} FROM {_arrays(schema, given)} AS new({_names(given)})'
        f" WHERE {_equal('held', 'new', schema.key)}"
    )


@cache
def add(schema: Schema) -> str:
    """Add deltas to rows that may not exist yet."""
    return f"{insert(schema)} ON CONFLICT ({_names(schema.key)}) DO UPDATE SET {_summed(schema)}"


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
