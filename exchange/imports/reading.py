"""Reading CSV files row by row: UTF-8 with or without BOM, heads in English or Chinese, never more than a row at once."""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from exchange.problems import Fault, Invalid, Malformed

E = TypeVar("E", bound=StrEnum)

LINE_LIMIT: Final = 64 * 1024
REFUSAL: Final = "refusal"
"""The column added to refused rows; ignored when they are sent again."""

_WHOLE: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


class FileWrong(Malformed):
    """The file cannot be read."""

    remedy = "Give a CSV file in UTF-8 with the columns that `exchange import --help` lists."


class CellWrong(Invalid):
    """A cell is not of the form that its column has."""

    remedy = "Correct the cell."


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
        value = self.text(name)
        fault = Fault(f"/{name}", "must be a date, as 2023-12-31")
        if not _DAY.fullmatch(value):
            raise CellWrong("A date cannot be read.", fault)
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise CellWrong("There is no such day.", fault) from None

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


@contextmanager
def rows_of(path: Path, heads: dict[str, str]) -> Iterator[tuple[Sequence[str], Iterator[Row]]]:
    """Open a file; give its head as it stands there, and its rows. `heads`: English → Chinese names of the columns.

    Raises FileWrong at once where the head is wrong, and on the way where a later line is.
    """
    try:
        file = path.open(encoding="utf-8-sig", newline="")
    except IsADirectoryError:
        raise FileWrong(f"{path} is a folder.") from None
    except FileNotFoundError:
        raise FileWrong(f"There is no file {path}.") from None
    except PermissionError:
        raise FileWrong(f"{path} may not be read by you.") from None
    with file:
        reader = _lines(path, csv.reader(_bounded(path, file), strict=True))
        head = [name.strip() for name in next(reader, (0, []))[1]]
        if not head:
            raise FileWrong(f"{path} is empty.")
        yield head, _rows(path, reader, _columns(path, head, heads))


def _bounded(path: Path, file: Any) -> Iterator[str]:
    while line := file.readline(LINE_LIMIT + 1):
        if len(line) > LINE_LIMIT:
            raise FileWrong(f"{path} has a line of more than {LINE_LIMIT} characters.")
        yield line


def _lines(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except UnicodeDecodeError:
            raise FileWrong(f"{path} is not UTF-8 after line {reader.line_num}.") from None
        except csv.Error as error:
            raise FileWrong(f"{path} is no CSV at line {reader.line_num}: {error}.") from None
        yield reader.line_num, cells


def _columns(path: Path, head: Sequence[str], heads: dict[str, str]) -> list[str]:
    english = {chinese: name for name, chinese in heads.items()} | {name: name for name in heads}
    columns = [REFUSAL if name == REFUSAL else english.get(name, "") for name in head]
    unknown = [str(n) for n, name in enumerate(columns, 1) if not name]
    missing = [name for name in heads if name not in columns]
    if unknown or missing:
        said = [f"column {', '.join(unknown)} is unknown"] if unknown else []
        said += [f"{', '.join(missing)} is missing"] if missing else []
        raise FileWrong(f"{path} has another head: {'; '.join(said)}.")
    if len(set(columns)) < len(columns):
        raise FileWrong(f"{path} has a column twice.")
    return columns


def _rows(path: Path, reader: Iterator[tuple[int, list[str]]], columns: Sequence[str]) -> Iterator[Row]:
    for line, cells in reader:
        if not cells:
            continue
        if len(cells) != len(columns):
            raise FileWrong(f"{path} has {len(cells)} cells instead of {len(columns)} at line {line}.")
        yield Row(line, dict(zip(columns, cells, strict=True)))
