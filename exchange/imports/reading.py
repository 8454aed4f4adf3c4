"""Reading files row by row: heads in English or Chinese, cells as plain text, never more than a row at once."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from exchange.imports.sheets import sheet_source
from exchange.imports.sources import (
    REFUSAL,
    Encoding,
    FileKind,
    FileWrong,
    Source,
    csv_source,
    file_kind,
    ndjson_source,
    plain_file,
)
from exchange.problems import Fault, Invalid
from exchange.texts import FORMULA_RULE, is_formula

E = TypeVar("E", bound=StrEnum)

_WHOLE: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_BETWEEN: Final = re.compile(r";\s*(?=[0-9]{4}-[0-9]{2}-[0-9]{2} )", re.ASCII)
"""Changes are separated by semicolons, and begin with their day: a name in one may hold a semicolon."""
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


class CellWrong(Invalid):
    """A value is not of the form that its column or option has."""

    remedy = "Correct it."


@dataclass(frozen=True, slots=True)
class Row:
    """A row by the English names of its columns, and where it ends in the file."""

    line: int
    cells: dict[str, str]
    faults: tuple[Fault, ...] = ()
    """What of it is no plain value."""
    unit: str = "line"
    """By what its file is counted."""

    def check(self) -> None:
        """Refuse cells that are no plain values. Raises CellWrong."""
        if self.faults:
            raise CellWrong(f"{len(self.faults)} of the cells are no plain values.", *self.faults)

    def given(self, name: str) -> str:
        """Give a cell as it is; blank where its column is left out."""
        return self.cells.get(name, "")

    def filled(self, name: str) -> str:
        """Give a cell that must not be blank."""
        value = self.given(name)
        if not value:
            raise CellWrong("A cell is blank.", Fault(f"/{name}", "must not be blank"))
        return value

    def text(self, name: str) -> str:
        """Give a text that must not be blank, nor be a formula for a spreadsheet."""
        value = self.filled(name)
        if is_formula(value):
            raise CellWrong("A text looks like a formula.", Fault(f"/{name}", FORMULA_RULE))
        return value

    def maybe(self, name: str) -> str | None:
        """Give a text, None where the cell is blank."""
        return self.text(name) if self.given(name) else None

    def whole(self, name: str) -> int:
        """Give a whole number."""
        value = self.filled(name)
        if not _WHOLE.fullmatch(value):
            raise CellWrong("A number is not whole.", Fault(f"/{name}", "must be a whole number of at most 18 digits"))
        return int(value)

    def maybe_whole(self, name: str) -> int | None:
        """Give a whole number, None where the cell is blank."""
        return self.whole(name) if self.given(name) else None

    def day(self, name: str) -> date:
        """Give a date."""
        return read_day(self.filled(name), name)

    def maybe_day(self, name: str) -> date | None:
        """Give a date, None where the cell is blank."""
        return self.day(name) if self.given(name) else None

    def one_of(self, name: str, kind: type[E]) -> E:
        """Give one of some names."""
        try:
            return kind(self.filled(name))
        except ValueError:
            raise CellWrong("A name is unknown.", Fault(f"/{name}", "must be one of " + ", ".join(kind))) from None

    def maybe_one_of(self, name: str, kind: type[E]) -> E | None:
        """Give one of some names, None where the cell is blank."""
        return self.one_of(name, kind) if self.given(name) else None

    def yes(self, name: str) -> bool:
        """Give whether a cell says yes."""
        answers = {"yes": True, "no": False, "是": True, "否": False, "TRUE": True, "FALSE": False}
        value = answers.get(self.filled(name))
        if value is None:
            raise CellWrong("A cell says neither yes nor no.", Fault(f"/{name}", "must be yes or no"))
        return value

    def several(self, name: str) -> tuple[str, ...]:
        """Give the parts of a list, separated by semicolons."""
        return tuple(part.strip() for part in self.given(name).split(";")) if self.given(name) else ()

    def changes(self, name: str) -> list[tuple[date, str]]:
        """Give dated changes, as `2021-03-01 suspended; 2021-04-01 active`: the day of each and its words."""
        parts = _BETWEEN.split(self.given(name)) if self.given(name) else []
        return [(read_day(day, name), words) for day, _, words in (part.partition(" ") for part in parts)]

    def turn(self, name: str) -> int:
        """Give which of several like it this is: 1 where the cell is blank."""
        number = self.maybe_whole(name)
        if number == 0:
            raise CellWrong("A number is not positive.", Fault(f"/{name}", "must be 1, 2, 3 …"))
        return number or 1


def read_day(text: str, name: str) -> date:
    """Read a date; `name` is for the refusal. Raises CellWrong."""
    fault = Fault(f"/{name}", "must be a date, as 2023-12-31")
    if not _DAY.fullmatch(text):
        raise CellWrong("A date cannot be read.", fault)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise CellWrong("There is no such day.", fault) from None


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a kind of file, English → Chinese names."""

    needed: dict[str, str]
    optional: dict[str, str]
    """A file may lack these; then their cells are blank."""

    @property
    def heads(self) -> dict[str, str]:
        """All of them."""
        return self.needed | self.optional


@dataclass(frozen=True, slots=True)
class Rows:
    """An open file as rows: its head as it stands there, and how many rows there may be (0: nobody knows)."""

    head: Sequence[str]
    rows: Iterator[Row]
    expected: int


@contextmanager
def rows_of(path: Path, columns: Columns, encoding: Encoding | None = None) -> Iterator[Rows]:
    """Open a file as what its ending says. `encoding` is for CSV alone; without it, it is found.

    Raises FileWrong at once where the head is wrong, and on the way where a later line is.
    """
    with plain_file(path) as file, ExitStack() as stack:
        kind = file_kind(path)
        if encoding is not None and kind is not FileKind.CSV:
            raise FileWrong(f"{path} is no CSV file: its encoding is not to be chosen.")
        if kind is FileKind.XLSX:
            days = {name for pair in columns.heads.items() if pair[0].endswith("_on") for name in pair}
            source = stack.enter_context(sheet_source(path, file, days))
        elif kind is FileKind.NDJSON:
            source = ndjson_source(path, file, list(columns.heads))
        else:
            source = csv_source(path, file, encoding)
        head = [name.strip() for name in source.head]
        if not head:
            raise FileWrong(f"{path} has no head in its first {source.unit}.")
        names = _names(path, head, columns)
        yield Rows(head, _rows(path, source, names), source.expected)


def _names(path: Path, head: Sequence[str], columns: Columns) -> list[str]:
    english = {chinese: name for name, chinese in columns.heads.items()} | {name: name for name in columns.heads}
    names = [REFUSAL if name == REFUSAL else english.get(name, "") for name in head]
    unknown = [f"{n} ({said[:40]!r})" for n, (said, name) in enumerate(zip(head, names, strict=True), 1) if not name]
    missing = [name for name in columns.needed if name not in names]
    if unknown or missing:
        wrong = [f"unknown: column {', '.join(unknown)}"] if unknown else []
        wrong += [f"missing: {', '.join(missing)}"] if missing else []
        raise FileWrong(f"{path} has another head; {'; '.join(wrong)}.")
    if len(set(names)) < len(names):
        raise FileWrong(f"{path} has a column twice in its head.")
    return names


def _rows(path: Path, source: Source, names: Sequence[str]) -> Iterator[Row]:
    for record in source.records:
        if len(record.cells) != len(names):
            raise FileWrong(
                f"{path} has {len(record.cells)} cells instead of {len(names)} at {source.unit} {record.line}."
            )
        faults = tuple(Fault(f"/{names[place]}", rule) for place, rule in record.faults)
        yield Row(record.line, dict(zip(names, record.cells, strict=True)), faults, source.unit)
