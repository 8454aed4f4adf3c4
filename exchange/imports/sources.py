"""Files as they come: records of plain text cells from CSV, NDJSON or a workbook, never more than one at once."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final, Self

from exchange.problems import Malformed
from exchange.strict_json import NotJson, parsed

ROW_LIMIT: Final = 64 * 1024
"""The longest row, in bytes: an unclosed quote must not take the whole file for one."""
REFUSAL: Final = "refusal"
"""The column added to refused rows; ignored when they are sent again."""


class FileWrong(Malformed):
    """The file cannot be read."""

    remedy = "Give a .csv, .ndjson or .xlsx file with the columns that `exchange import KIND --help` lists."


class FileKind(StrEnum):
    """What a file is, by the ending of its name."""

    CSV = ".csv"
    NDJSON = ".ndjson"
    XLSX = ".xlsx"


class Encoding(StrEnum):
    """How the text of a CSV file is written."""

    UTF_8 = "utf-8"
    GB18030 = "gb18030"

    def __str__(self) -> str:
        """Name it for people."""
        return self.value.upper()


@dataclass(frozen=True, slots=True)
class Record:
    """The cells of one row, where it ends in the file, and what of it cannot be taken for a value: (place of the cell, rule)."""

    line: int
    cells: Sequence[str]
    faults: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """An open file: its head as it stands there, and its records after it."""

    head: Sequence[str]
    records: Iterator[Record]
    expected: int
    """So many records at most, for who shows how far it is; 0 where nobody knows."""
    unit: str = "line"
    """By what the file is counted."""


def file_kind(path: Path) -> FileKind:
    """Tell what a file is by its ending. Raises FileWrong."""
    try:
        return FileKind(path.suffix.lower())
    except ValueError:
        raise FileWrong(f"{path} does not end in {', '.join(FileKind)}.") from None


@contextmanager
def plain_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that can be read more than once. Raises FileWrong."""
    try:
        # What can be read only once, as a pipe, could not be sent again.
        if path.exists() and not path.is_file():
            raise FileWrong(f"{path} is no plain file.")
        file = path.open("rb")
    except OSError as error:
        raise FileWrong(f"{path} cannot be opened: {error.strerror}.") from None
    with file:
        yield file


def csv_source(path: Path, file: BinaryIO, encoding: Encoding | None) -> Source:
    """Read a CSV file; without an encoding it is found. Raises FileWrong."""
    found, expected = _look_through(file)
    records = _csv_records(_Lines(path, file, encoding or found))
    head = next(records, None)
    return Source(head.cells if head else [], records, expected)


def ndjson_source(path: Path, file: BinaryIO, names: Sequence[str]) -> Source:
    """Read one JSON object a line, each with some of these names. Raises FileWrong."""
    _, expected = _look_through(file)
    head = [*names, REFUSAL]
    return Source(head, _ndjson_records(_Lines(path, file, Encoding.UTF_8), head), expected + 1)


def _look_through(file: BinaryIO) -> tuple[Encoding, int]:
    """Find the encoding of a file, and how many lines come after its first.

    It is UTF-8 unless no line with more than ASCII in it is: a file that is partly UTF-8 is a broken one, and read as GB18030 it would
    become other, wrong characters without any error.
    """
    lines, fitting = 0, set(Encoding)
    partly_utf_8 = False
    for line in iter(lambda: file.readline(ROW_LIMIT + 1), b""):
        lines += line.endswith(b"\n")
        if not line.isascii():
            partly_utf_8 |= _is(line, Encoding.UTF_8)
            fitting -= {encoding for encoding in fitting if not _is(line, encoding)}
    file.seek(0)
    return Encoding.GB18030 if fitting == {Encoding.GB18030} and not partly_utf_8 else Encoding.UTF_8, max(0, lines - 1)


def _is(line: bytes, encoding: Encoding) -> bool:
    try:
        line.decode(encoding.value)
    except UnicodeDecodeError:
        return False
    return True


class _Lines:
    """The lines of a file, decoded one by one, so that what is wrong with one is said of it and not of its neighbours."""

    def __init__(self, path: Path, file: BinaryIO, encoding: Encoding) -> None:
        self.path = path
        self.number = 0
        self.row_size = 0
        """Bytes of the row so far, which may run over several lines; set back by who reads the rows."""
        self._file = file
        self._encoding = encoding

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
            text = line.decode(self._encoding.value)
        except UnicodeDecodeError:
            raise FileWrong(f"{self.path} is not {self._encoding} at line {self.number}.") from None
        if "\0" in text:
            raise FileWrong(f"{self.path} has a NUL at line {self.number}.")
        return text.removeprefix("\ufeff") if self.number == 1 else text


def _csv_records(lines: _Lines) -> Iterator[Record]:
    reader = csv.reader(lines, strict=True)
    while True:
        lines.row_size = 0
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise FileWrong(f"{lines.path} is no CSV at line {lines.number}: {error}.") from None
        if cells or lines.number == 1:
            yield Record(lines.number, cells)


def _ndjson_records(lines: _Lines, names: Sequence[str]) -> Iterator[Record]:
    for text in lines:
        lines.row_size = 0
        if not text.strip():
            continue
        where = f"{lines.path} has no JSON object as it must be at line {lines.number}"
        try:
            value = parsed(text.encode())
        except NotJson as problem:
            raise FileWrong(f"{where}: {problem.detail}") from None
        if not isinstance(value, dict):
            raise FileWrong(f"{where}: It is something else.")
        if unknown := set(value) - set(names):
            raise FileWrong(f"{where}: {len(unknown)} of its names are unknown.")
        cells = [_json_cell(value.get(name)) for name in names]
        rule = "must be a text, a whole number, true, false or null"
        faults = tuple((place, rule) for place, cell in enumerate(cells) if cell is None)
        yield Record(lines.number, [cell or "" for cell in cells], faults)


def _json_cell(value: object) -> str | None:
    """Write a JSON value as a cell; None where it is none."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).upper()
        case int():
            return str(value)
        case str() if _is_whole(value):
            return value
        case _:
            return None


def _is_whole(text: str) -> bool:
    """Tell whether a text has no half characters, which JSON can name by escapes."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
