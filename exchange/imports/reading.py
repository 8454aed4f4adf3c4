"""Reading CSV files row by row: UTF-8 with or without BOM, heads in English or Chinese, never more than a row at once."""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final, Self, TypeVar

from exchange.problems import Fault, Invalid, Malformed

E = TypeVar("E", bound=StrEnum)

ROW_LIMIT: Final = 64 * 1024
"""The longest row, in bytes: an unclosed quote must not take the whole file for one."""
REFUSAL: Final = "refusal"
"""The column added to refused rows; ignored when they are sent again."""

_WHOLE: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


class FileWrong(Malformed):
    """The file cannot be read."""

    remedy = "Give a CSV file in UTF-8 with the columns that `exchange import KIND --help` lists."


class CellWrong(Invalid):
    """A value is not of the form that its column or option has."""

    remedy = "Correct it."


@dataclass(frozen=True, slots=True)
class Row:
    """A row by the English names of its columns, and where it ends in the file."""

    line: int
    cells: dict[str, str]

    def text(self, name: str) -> str:
        """Give a cell that must not be blank."""
        value = self.cells[name]
        if not value:
            raise CellWrong("A cell is blank.", Fault(f"/{name}", "must not be blank"))
        return value

    def maybe(self, name: str) -> str | None:
        """Give a cell, None where it is blank."""
        return self.cells[name] or None

    def whole(self, name: str) -> int:
        """Give a whole number."""
        value = self.text(name)
        if not _WHOLE.fullmatch(value):
            raise CellWrong("A number is not whole.", Fault(f"/{name}", "must be a whole number of at most 18 digits"))
        return int(value)

    def maybe_whole(self, name: str) -> int | None:
        """Give a whole number, None where the cell is blank."""
        return self.whole(name) if self.cells[name] else None

    def day(self, name: str) -> date:
        """Give a date."""
        return read_day(self.text(name), name)

    def maybe_day(self, name: str) -> date | None:
        """Give a date, None where the cell is blank."""
        return self.day(name) if self.cells[name] else None

    def one_of(self, name: str, kind: type[E]) -> E:
        """Give one of some names."""
        try:
            return kind(self.text(name))
        except ValueError:
            raise CellWrong("A name is unknown.", Fault(f"/{name}", "must be one of " + ", ".join(kind))) from None

    def maybe_one_of(self, name: str, kind: type[E]) -> E | None:
        """Give one of some names, None where the cell is blank."""
        return self.one_of(name, kind) if self.cells[name] else None

    def yes(self, name: str) -> bool:
        """Give whether a cell says yes."""
        answers = {"yes": True, "no": False, "是": True, "否": False}
        value = answers.get(self.text(name))
        if value is None:
            raise CellWrong("A cell says neither yes nor no.", Fault(f"/{name}", "must be yes or no"))
        return value

    def several(self, name: str) -> tuple[str, ...]:
        """Give the parts of a list, separated by semicolons."""
        return tuple(part.strip() for part in self.cells[name].split(";")) if self.cells[name] else ()


def read_day(text: str, name: str) -> date:
    """Read a date; `name` is for the refusal. Raises CellWrong."""
    fault = Fault(f"/{name}", "must be a date, as 2023-12-31")
    if not _DAY.fullmatch(text):
        raise CellWrong("A date cannot be read.", fault)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise CellWrong("There is no such day.", fault) from None


@contextmanager
def rows_of(path: Path, heads: dict[str, str]) -> Iterator[tuple[Sequence[str], Iterator[Row]]]:
    """Open a file; give its head as it stands there, and its rows. `heads`: English → Chinese names of the columns.

    Raises FileWrong at once where the head is wrong, and on the way where a later line is.
    """
    try:
        # What can be read only once, as a pipe, could not be sent again.
        if path.exists() and not path.is_file():
            raise FileWrong(f"{path} is no plain file.")
        file = path.open("rb")
    except OSError as error:
        raise FileWrong(f"{path} cannot be opened: {error.strerror}.") from None
    with file:
        records = _records(_Lines(path, file))
        head = [name.strip() for name in next(records, (0, []))[1]]
        if not head:
            raise FileWrong(f"{path} has no head in its first line.")
        yield head, _rows(path, records, _columns(path, head, heads))


class _Lines:
    """The lines of a file, decoded one by one, so that what is wrong with one is said of it and not of its neighbours."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.number = 0
        self.row_size = 0
        """Bytes of the row so far, which may run over several lines; set back by who reads the rows."""
        self._file = file

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._file.readline(ROW_LIMIT + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.row_size += len(line)
        if self.row_size > ROW_LIMIT:
            raise FileWrong(f"{self.path} has a row of more than {ROW_LIMIT} bytes at line {self.number}.")
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise FileWrong(f"{self.path} is not UTF-8 at line {self.number}.") from None
        if "\0" in text:
            raise FileWrong(f"{self.path} has a NUL at line {self.number}.")
        return text.removeprefix("\ufeff") if self.number == 1 else text


def _records(lines: _Lines) -> Iterator[tuple[int, list[str]]]:
    """Give the number of its last line, and the cells, of each record."""
    reader = csv.reader(lines, strict=True)
    while True:
        lines.row_size = 0
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise FileWrong(f"{lines.path} is no CSV at line {lines.number}: {error}.") from None
        yield lines.number, cells


def _columns(path: Path, head: Sequence[str], heads: dict[str, str]) -> list[str]:
    english = {chinese: name for name, chinese in heads.items()} | {name: name for name in heads}
    columns = [REFUSAL if name == REFUSAL else english.get(name, "") for name in head]
    unknown = [f"{n} ({said[:40]!r})" for n, (said, name) in enumerate(zip(head, columns, strict=True), 1) if not name]
    missing = [name for name in heads if name not in columns]
    if unknown or missing:
        wrong = [f"unknown: column {', '.join(unknown)}"] if unknown else []
        wrong += [f"missing: {', '.join(missing)}"] if missing else []
        raise FileWrong(f"{path} has another head; {'; '.join(wrong)}.")
    if len(set(columns)) < len(columns):
        raise FileWrong(f"{path} has a column twice in its head.")
    return columns


def _rows(path: Path, records: Iterator[tuple[int, list[str]]], columns: Sequence[str]) -> Iterator[Row]:
    for line, cells in records:
        if not cells:
            continue
        if len(cells) != len(columns):
            raise FileWrong(f"{path} has {len(cells)} cells instead of {len(columns)} at line {line}.")
        yield Row(line, dict(zip(columns, cells, strict=True)))
