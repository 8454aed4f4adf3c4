"""What the journal needs to know of a table, read off its metadata once, and the light rows it works on.

An instance of a SQLModel class costs five times as much as a slots dataclass of the same columns, so the unit of work holds the latter;
to the reader and to mypy they are the SQLModel classes, whose columns they have.
"""

from collections.abc import Callable, Iterable
from dataclasses import make_dataclass
from functools import cache, cached_property
from operator import attrgetter
from typing import Any

from sqlalchemy import Boolean, Dialect, LargeBinary, Table, UniqueConstraint

from exchange.columns import Stored, Told, UtcDateTime, told_value

Record = tuple[Any, ...]
Columns = tuple[str, ...]


class Index:
    """A key that rows are found by: one row by a unique key, all that share it by a list key."""

    __slots__ = ("columns", "many", "schema", "value")

    def __init__(self, schema: "Schema", columns: Columns, *, many: bool) -> None:
        """Take the table, the key's columns, and whether several rows may share it."""
        self.schema = schema
        self.columns = columns
        self.many = many
        self.value: Callable[[Any], Any] = attrgetter(*columns)
        """The key of a row: a scalar, or a tuple where it has several columns."""


class Schema:
    """One table: its columns and keys, its rows, and how values travel to and from a database."""

    def __init__(self, model: type[Stored]) -> None:
        """Read the metadata of a model."""
        self.model = model
        table = model.__table__  # type: ignore[attr-defined]  # SQLModel adds it to classes with table=True
        assert isinstance(table, Table)
        self.table = table
        self.name = self.table.name
        self.columns: Columns = tuple(column.name for column in self.table.columns)
        self.key: Columns = tuple(column.name for column in self.table.primary_key)
        unique = {
            tuple(column.name for column in constraint.columns)
            for constraint in self.table.constraints
            if isinstance(constraint, UniqueConstraint)
        }
        self.uniques = tuple(Index(self, columns, many=False) for columns in dict.fromkeys((self.key, *sorted(unique))))
        self.lists = tuple(Index(self, columns, many=True) for columns in model.lists)
        self.primary = self.uniques[0]
        self.identity = self.primary.value
        self.indexes: dict[Columns | None, Index] = {None: self.primary}
        """All of them by their columns, and the primary key's also by null."""
        self.indexes |= {index.columns: index for index in (*self.uniques, *self.lists)}
        # What can be erased may be emptied, also where it is what a row is found by.
        self.fixed = frozenset(name for columns in self.indexes if columns for name in columns) - model.untold
        self.told = model.told is Told.AS_IS
        self.row = make_dataclass(model.__name__, self.columns, slots=True, eq=False, namespace={"schema": self})
        self.told_columns = tuple(name for name in self.columns if name not in model.untold)

    @cached_property
    def told_writers(self) -> dict[str, Callable[[Any], object]]:
        """Tell which columns an event does not hold as they are: amounts are decimal strings, flags 0 and 1, and so on."""
        writers: dict[str, Callable[[Any], object]] = {}
        for column in self.table.columns:
            if column.info.get("unit") == "fen":
                writers[column.name] = str
            elif isinstance(column.type, (Boolean, LargeBinary, UtcDateTime)):
                writers[column.name] = told_value
        return writers

    def tell(self, row: object, columns: Iterable[str]) -> dict[str, object]:
        """Give these columns of a row as an event holds them."""
        return self._told({name: getattr(row, name) for name in columns})

    def tell_new(self, row: object) -> dict[str, object]:
        """Give all columns that may be told and are not null."""
        values = zip(self.told_columns, self.values(self.told_columns)(row), strict=True)
        return self._told({name: value for name, value in values if value is not None})

    def _told(self, values: dict[str, Any]) -> dict[str, object]:
        for name, write in self.told_writers.items():
            if values.get(name) is not None:
                values[name] = write(values[name])
        return values

    @cache  # noqa: B019 - one schema per table, for the life of the process
    def values(self, columns: Columns) -> Callable[[Any], Any]:
        """Give a getter of several columns at once, always as a tuple."""
        if len(columns) == 1:
            (name,) = columns
            return lambda row: (getattr(row, name),)
        return attrgetter(*columns)

    def binders(self, columns: Columns, dialect: Dialect) -> list[tuple[int, Callable[[Any], Any]]]:
        """List the positions of those columns whose values a driver does not take as they are, with what makes them fit."""
        made = (
            (n, self.table.c[name].type.dialect_impl(dialect).bind_processor(dialect)) for n, name in enumerate(columns)
        )
        return [(n, bind) for n, bind in made if bind is not None]

    def readers(self, dialect: Dialect) -> list[tuple[int, Callable[[Any], Any]]]:
        """List the positions of the columns whose values a driver does not give as they should be, with what makes them right."""
        made = (
            (n, column.type.dialect_impl(dialect).result_processor(dialect, None))
            for n, column in enumerate(self.table.columns)
        )
        return [(n, read) for n, read in made if read is not None]


@cache
def schema_of(model: type[Stored]) -> Schema:
    """Give the one schema of a model."""
    return Schema(model)


def fitted(record: Record, processors: list[tuple[int, Callable[[Any], Any]]]) -> Record:
    """Pass the named positions of a record through their processors."""
    if not processors:
        return record
    values = list(record)
    for n, process in processors:
        values[n] = process(values[n])
    return tuple(values)
