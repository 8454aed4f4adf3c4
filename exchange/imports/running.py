"""Sending the rows of a file through the journal: in slices, each row a job of its own, with a result per row."""

import asyncio
import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import orjson

from exchange.identifiers import Prefix, read_id
from exchange.imports.kinds import Kind
from exchange.imports.reading import Row, rows_of
from exchange.imports.sources import REFUSAL, Encoding, FileWrong
from exchange.journal.batch import KeyReused
from exchange.journal.callers import Caller
from exchange.journal.commands import Command, Job
from exchange.journal.events import canonical
from exchange.journal.journal import Journal
from exchange.problems import Problem, Unavailable
from exchange.texts import is_formula

SLICE: Final = 1_000
HOLDER: Final = "exchange/import"
"""Rows are the exchange's, whoever sends them: the same row by another operator is there already."""


@dataclass(slots=True)
class Report:
    """What became of the rows."""

    added: int = 0
    there_already: int = 0
    refused: int = 0
    dry_run: bool = False
    expected: int = 0
    """So many rows the file may have; 0 where nobody knows."""
    refused_file: Path | None = None
    first_refusals: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """All of them."""
        return self.added + self.there_already + self.refused

    def __str__(self) -> str:
        """Tell it in one line."""
        added = "can be read" if self.dry_run else "added"
        return f"{self.rows} rows: {self.added} {added}, {self.there_already} there already, {self.refused} refused"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A row with its commands."""

    row: Row
    command: Command
    follow: Callable[[int], Command] | None


SHOWN: Final = 5


class Refusals:
    """The file of refused rows, beside the one they came from: to be mended and sent again. Absent where there are none."""

    def __init__(self, path: Path, heads: Iterable[str]) -> None:
        """Stand ready to write beside `path`."""
        self.path = path.with_name(f"{path.name}.refused.csv")
        self._heads = [name for name in heads if name != REFUSAL]
        self._unfinished = self.path.with_name(f"{self.path.name}.part")
        self._file = self._unfinished.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow([*self._heads, REFUSAL])
        self._count = 0

    def add(self, row: Row, why: str) -> None:
        """Write a refused row with its reason."""
        cells = (f"'{value}" if is_formula(value) else value for name, value in row.cells.items() if name != REFUSAL)
        self._writer.writerow([*cells, why])
        self._count += 1

    def finish(self, *, keep_earlier: bool) -> Path | None:
        """Put the file in its place, instead of an earlier one; give it, or None where nothing was refused.

        Then an earlier one is removed, unless it is to be kept.
        """
        self._file.close()
        if self._count:
            self._unfinished.replace(self.path)
            return self.path
        self._unfinished.unlink()
        if not keep_earlier:
            self.path.unlink(missing_ok=True)
        return None


async def run(
    kind: Kind,
    path: Path,
    journal: Journal | None,
    caller: Caller,
    progress: Callable[[Report], None],
    *,
    encoding: Encoding | None = None,
) -> Report:
    """Import a file; without a journal (dry run) only look at it. Raises FileWrong, and Unavailable when the journal cannot go on.

    A broken line ends the import after the rows before it: sent again when mended, they are there already.
    """
    report = Report(dry_run=journal is None)
    whole = False
    with rows_of(path, kind.columns, encoding) as opened:
        report.expected = opened.expected
        refusals = Refusals(path, opened.head)
        try:
            for some in _slices(opened.rows):
                for row, outcome in zip(some, await _send(kind, some, journal, caller), strict=True):
                    _note(report, refusals, row, outcome)
                progress(report)
            whole = True
        except FileWrong as broken:
            raise FileWrong(f"{broken.detail} Before it were {report}.") from None
        finally:
            report.refused_file = refusals.finish(keep_earlier=report.dry_run or not whole)
    return report


def _slices(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Cut rows into slices; where the file breaks, the rows before the break come first."""
    while True:
        some: list[Row] = []
        try:
            for row in islice(rows, SLICE):
                some.append(row)  # noqa: PERF402 - those before a break are kept
        except FileWrong:
            yield some
            raise
        if not some:
            return
        yield some


async def _send(kind: Kind, rows: list[Row], journal: Journal | None, caller: Caller) -> list[bool | Problem]:
    """Give for each row whether it was added (False: there already), or why it was refused."""
    return await asyncio.gather(*(_send_one(kind, row, journal, caller) for row in rows))


async def _send_one(kind: Kind, row: Row, journal: Journal | None, caller: Caller) -> bool | Problem:
    try:
        row.check()
        prepared = Prepared(row, kind.command(row), kind.follow(row))
        if journal is None:
            return True
        job = _job(kind.key(row), kind.content(row), prepared.command, caller)
        answer = await journal.do(job)
        added = not answer.replayed
        if prepared.follow is not None:
            follow = prepared.follow(_number(answer.body))
            added |= not (await journal.do(_job(f"{job.key}/reversal", kind.content(row), follow, caller))).replayed
    except Unavailable:
        raise
    except Problem as problem:
        return problem
    return added


def _job(key: str, content: dict[str, str], command: Command, caller: Caller) -> Job:
    return Job((command,), caller, key, hashlib.sha256(canonical(content)).digest(), holder=HOLDER)


def _number(body: str) -> int:
    number = read_id(Prefix.TRADE, orjson.loads(body)["id"])
    assert number is not None
    return number


def _note(report: Report, refusals: Refusals, row: Row, outcome: bool | Problem) -> None:
    if isinstance(outcome, Problem):
        report.refused += 1
        why = in_words(outcome)
        refusals.add(row, why)
        if len(report.first_refusals) < SHOWN:
            report.first_refusals.append(f"{row.unit} {row.line}: {why}")
    elif outcome:
        report.added += 1
    else:
        report.there_already += 1


def in_words(problem: Problem) -> str:
    """Write a refusal in one line."""
    if isinstance(problem, KeyReused):
        return "It was recorded before with other content. Correct it by a command of its own, never by another import."
    faults = "; ".join(f"{fault.pointer.lstrip('/')} {fault.rule}" for fault in problem.faults)
    parts = [problem.title(), problem.detail, f"({faults})" if faults else "", problem.remedy]
    return " ".join(part for part in parts if part)
