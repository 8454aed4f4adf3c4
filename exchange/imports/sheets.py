"""Workbooks (.xlsx): the first sheet row by row; what a cell holds must be plain and exact, or its row is refused."""

import math
import warnings
import zipfile
from collections.abc import Container, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final

from exchange.imports.sources import ROW_LIMIT, FileWrong, Record, Source

PART_LIMIT: Final = 64 * 1024 * 1024
"""The largest part beside the sheets, unpacked, in bytes: a workbook's shared texts are held in memory as a whole."""
LAST_ROW: Final = 1_048_576
"""No sheet has more rows."""
EXACT_LIMIT: Final = 2**53
PLACES: Final = 2


@contextmanager
def sheet_source(path: Path, file: BinaryIO, days: Container[str]) -> Iterator[Source]:
    """Read the first sheet of a workbook. `days`: the heads of the columns that hold dates. Raises FileWrong."""
    from openpyxl import load_workbook

    book = None
    try:
        with _said_of(path), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what openpyxl leaves out: drawings, styles, validations
            _refuse_bombs(path, file)
            book = load_workbook(file, read_only=True, keep_links=False)
            sheet: Any = book.worksheets[0]  # a sheet that is read row by row
            expected = max(0, (sheet.max_row or 1) - 1)
            sheet.reset_dimensions()  # what a file says of its size need not be true
            rows = _rows(path, sheet)
            head = [str(value).strip() for value in _trimmed([cell.value for cell in next(rows, (0, ()))[1]])]
        yield Source(head, _records(path, rows, head, days), expected, "row")
    finally:
        if book is not None:
            book.close()


@contextmanager
def _said_of(path: Path) -> Iterator[None]:
    try:
        yield
    except FileWrong:
        raise
    except Exception:  # noqa: BLE001 - a broken workbook fails inside the library in every way there is
        raise FileWrong(f"{path} is no whole .xlsx workbook.") from None


def _refuse_bombs(path: Path, file: BinaryIO) -> None:
    with zipfile.ZipFile(file) as archive:
        parts = [part for part in archive.infolist() if not part.filename.startswith("xl/worksheets/")]
    if any(part.file_size > PART_LIMIT for part in parts):
        raise FileWrong(f"{path} holds more than {PART_LIMIT} bytes of shared texts: save it as CSV.")


def _rows(path: Path, sheet: Any) -> Iterator[tuple[int, tuple[Any, ...]]]:
    rows = sheet.iter_rows()
    number = 0
    while True:
        with _said_of(path), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cells = next(rows, None)
        if cells is None:
            return
        number += 1
        if number > LAST_ROW:
            raise FileWrong(f"{path} has more than {LAST_ROW} rows.")
        yield number, cells


def _trimmed(values: list[Any]) -> list[Any]:
    while values and values[-1] in {None, ""}:
        values.pop()
    return ["" if value is None else value for value in values]


def _records(
    path: Path, rows: Iterator[tuple[int, tuple[Any, ...]]], head: list[str], days: Container[str]
) -> Iterator[Record]:
    for number, cells in rows:
        texts, faults = [], []
        for place, cell in enumerate(cells):
            text, rule = _value(cell, is_day=place < len(head) and head[place] in days)
            texts.append(text)
            if rule:
                faults.append((place, rule))
        if sum(map(len, texts)) > ROW_LIMIT:
            raise FileWrong(f"{path} has a row of more than {ROW_LIMIT} characters at row {number}.")
        if any(texts[len(head) :]) or any(place >= len(head) for place, _ in faults):
            raise FileWrong(f"{path} has more cells than its head at row {number}.")
        if any(texts) or faults:
            blanks = [""] * (len(head) - len(texts))
            yield Record(number, [*texts[: len(head)], *blanks], tuple(faults))


UNPLAIN: Final = {
    "f": "must be a value: formulas are not taken in",
    "e": "must be a value: the cell shows an error",
}


def _value(cell: Any, *, is_day: bool) -> tuple[str, str]:
    """Give what a cell says as text, and the rule that it breaks, blank where it breaks none."""
    if rule := UNPLAIN.get(cell.data_type):
        return "", rule
    match cell.value:
        case bool(value):
            return str(value).upper(), ""
        case float(value):
            return _exact(value)
        case date() as value:
            return _day(value, is_day=is_day)
        case None | int() | str():
            return str("" if cell.value is None else cell.value), ""
    return "", "must not be a time of day or a duration"


def _exact(number: float) -> tuple[str, str]:
    rule = f"must be exact: a number has at most {PLACES} places and {len(str(EXACT_LIMIT)) - 1} digits, else write it as text"
    if not math.isfinite(number) or abs(number) >= EXACT_LIMIT:
        return "", rule
    if number.is_integer():
        return str(int(number)), ""
    written = Decimal(repr(number))
    exponent = written.as_tuple().exponent
    return (f"{written:f}", "") if isinstance(exponent, int) and exponent >= -PLACES else ("", rule)


def _day(value: date, *, is_day: bool) -> tuple[str, str]:
    if not is_day:
        return "", "must not be a date: spreadsheets make dates of texts as 2020-1; write it as text"
    if isinstance(value, datetime) and value.time() != time():
        return "", "must be a date without a time of day"
    return value.strftime("%Y-%m-%d"), ""
