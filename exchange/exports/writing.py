"""Writing rows to CSV, NDJSON or a workbook, one by one: no text becomes a formula, and no file is there before it is whole."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any, BinaryIO, Final

import orjson

from exchange.imports.sheets import LAST_ROW
from exchange.imports.sources import FileKind
from exchange.problems import Invalid
from exchange.texts import is_formula

Cell = str | int | date | None
Cells = Mapping[str, Cell]
"""The cells of a row by the English names of their columns; what is missing is blank."""
Write = Callable[[Cells], None]

DAY_FORMAT: Final = "yyyy-mm-dd"


class TooManyRows(Invalid):
    """A sheet cannot hold so many rows."""

    remedy = f"Write .csv or .ndjson: a sheet has at most {LAST_ROW} rows."


def safe(text: str) -> str:
    """Write a text so that no spreadsheet takes it for a formula. What got in by the rules is so already, and stays as it is."""
    return f"'{text}" if is_formula(text) else text


@contextmanager
def rows_to(kind: FileKind, file: BinaryIO, names: Sequence[str], rows: int) -> Iterator[Write]:
    """Give the function that writes one row after the other to an open file, under these heads. Raises TooManyRows."""
    with WRITERS[kind](file, names, rows) as write:
        yield write


@contextmanager
def _csv(file: BinaryIO, names: Sequence[str], _: int) -> Iterator[Write]:
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    yield lambda cells: writer.writerow([_text(cells.get(name)) for name in names])
    text.detach()


def _text(cell: Cell) -> str:
    return safe("" if cell is None else str(cell))


@contextmanager
def _ndjson(file: BinaryIO, names: Sequence[str], _: int) -> Iterator[Write]:
    def write(cells: Cells) -> None:
        file.write(orjson.dumps({name: cells[name] for name in names if cells.get(name) not in {None, ""}}) + b"\n")

    yield write


@contextmanager
def _xlsx(file: BinaryIO, names: Sequence[str], rows: int) -> Iterator[Write]:
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    if rows >= LAST_ROW:
        raise TooManyRows(f"There are {rows} rows.")
    book = Workbook(write_only=True)
    sheet: Any = book.create_sheet("exchange")  # a sheet that is written row by row

    def cell_of(value: Cell) -> Any:
        if not isinstance(value, str):
            made: Any = WriteOnlyCell(sheet)
            made.value = value
            if isinstance(value, date):
                made.number_format = DAY_FORMAT
            return made
        made = WriteOnlyCell(sheet)
        made.value = safe(value)
        made.data_type = "s"  # whatever it looks like: a number, an error, a formula
        return made

    sheet.append([cell_of(name) for name in names])
    yield lambda cells: sheet.append([cell_of(cells.get(name)) for name in names])
    book.save(file)


WRITERS: Final = {FileKind.CSV: _csv, FileKind.NDJSON: _ndjson, FileKind.XLSX: _xlsx}
