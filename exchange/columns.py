"""The few sorts of column that tables are made of, and what a table declares of itself.

Write columns as `gross: Money = column(FEN)`: the annotation is for the reader and for mypy, the options say how it is stored.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from enum import Enum, StrEnum
from typing import Any, ClassVar, Final, dataclass_transform

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    DateTime,
    Dialect,
    Index,
    LargeBinary,
    MetaData,
    Text,
    text,
)
from sqlalchemy.orm import declared_attr
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

from exchange.clock import instant_text

SQLModel.metadata.naming_convention = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
).naming_convention


Options = dict[str, Any]
"""How a column is stored: what SQLModel's Field takes."""


class Sort(Enum):
    """What may happen to the rows of a table."""

    POSTED = "posted"
    """Insert only; triggers refuse the rest."""
    CURRENT = "current"
    """Written by the journal only, and changed by it."""


class Told(Enum):
    """How the rows of a table appear in the events, from which everything is rebuilt."""

    AS_IS = "as is"
    """Each insert and change is in the event."""
    DERIVED = "derived"
    """Follows from what is told elsewhere, e.g. counters from transfers."""
    NEVER = "never"
    """The journal's own, or erasable."""


def column(kind: Options, *, primary_key: bool = False, foreign_key: str | None = None) -> Any:
    """Declare a column; it may be null where its annotation allows None."""
    keys: Options = {"primary_key": True} if primary_key else {}
    if foreign_key is not None:
        keys["foreign_key"] = foreign_key
    return Field(**keys, **kind)


@dataclass_transform(kw_only_default=True, field_specifiers=(column,))
class Stored(SQLModel):
    """A table of the journal's. Subclasses with `table=True` say of which sort they are, and how they are told."""

    @declared_attr.directive
    def __tablename__(cls) -> str:  # noqa: N805 - a declared attribute is given the class
        """Name the table after the class, in snake_case."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    sort: ClassVar[Sort]
    told: ClassVar[Told] = Told.AS_IS
    untold: ClassVar[frozenset[str]] = frozenset()
    """Columns that never enter an event: secrets, and what can be erased."""
    kept: ClassVar[bool] = False
    """Whether its rows are asked for again and again, so that the journal keeps them from batch to batch."""
    lists: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Keys that lead to a short list of rows instead of to one."""


class UtcDateTime(TypeDecorator[datetime]):
    """An instant in UTC, aware on both sides; SQLite keeps it naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give back UTC."""
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


TEXT_TYPE: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that sorts by code point on both databases."""


class Named(TypeDecorator[StrEnum]):
    """A member of a StrEnum, stored as its value."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        """Take the enumeration."""
        super().__init__()
        self.kind = kind
        self._members = {member.value: member for member in kind}

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Use the same text as everywhere."""
        return dialect.type_descriptor(TEXT_TYPE)

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:
        """Store the value."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        """Give back the member; an unknown value is a defect and raises."""
        return None if value is None else self._members[value]


class Texts(TypeDecorator[tuple[str, ...]]):
    """A short list of texts, stored as a JSON array."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str | None:
        """Store JSON."""
        return None if value is None else orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...] | None:
        """Give back a tuple."""
        return None if value is None else tuple(orjson.loads(value))


BIG: Final[Options] = {"sa_type": BigInteger, "sa_column_kwargs": {"autoincrement": False}}
FEN: Final[Options] = {"sa_type": BigInteger, "sa_column_kwargs": {"info": {"unit": "fen"}}}
TEXT: Final[Options] = {"sa_type": TEXT_TYPE}
TEXTS: Final[Options] = {"sa_type": Texts}
FLAG: Final[Options] = {"sa_type": Boolean}
DAY: Final[Options] = {"sa_type": Date}
INSTANT: Final[Options] = {"sa_type": UtcDateTime}
BYTES: Final[Options] = {"sa_type": LargeBinary}


def named(kind: type[StrEnum]) -> Options:
    """Give the options of a column that holds one of these names; add `one_of` to the table so that the database checks it."""
    return {"sa_type": Named(kind)}


def one_of(column: str, kind: type[StrEnum]) -> CheckConstraint:
    """Let the database refuse a name that is not one of these."""
    names = ", ".join(f"'{member}'" for member in kind)
    return CheckConstraint(f"{column} IN ({names})", name=f"{column}_known")


def sparse_index(*columns: str) -> Index:
    """Index only the rows whose first of these columns is not null."""
    held = text(f"{columns[0]} IS NOT NULL")
    return Index(None, *columns, postgresql_where=held, sqlite_where=held)


def told_value(value: object) -> object:
    """Write a value as events hold it: strings, null, integers and lists of strings."""
    writer = _WRITERS.get(type(value))
    return value if writer is None else writer(value)


_WRITERS: Final[dict[type, Callable[[Any], object]]] = {
    bool: int,
    date: date.isoformat,
    datetime: instant_text,
    bytes: bytes.hex,
}
