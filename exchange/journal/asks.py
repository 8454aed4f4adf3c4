"""What a batch asks of its store: rows by key, and what is to be written."""

from typing import Any, NamedTuple

from exchange.journal.schema import Columns, Schema


class Load(NamedTuple):
    """All rows whose columns `by` have one of the values: a scalar where `by` is one column, else a tuple."""

    schema: Schema
    by: Columns
    values: list[Any]


class Insert(NamedTuple):
    """New rows."""

    schema: Schema
    rows: list[Any]


class Change(NamedTuple):
    """Rows, found by their primary key, whose other `columns` get new values."""

    schema: Schema
    columns: Columns
    rows: list[Any]


class Add(NamedTuple):
    """Deltas to be added to the rows of these primary keys, which may not exist yet; both in column order."""

    schema: Schema
    sums: dict[tuple[Any, ...], tuple[int, ...]]


Ask = Load | Insert | Change | Add
