"""Sending the rows of a file through the journal: in slices, each row a job of its own, with a result per row."""

import asyncio
import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from exchange.journal.commands import Answer, Command, Job
from exchange.journal.events import canonical
from exchange.journal.journal import Defect, Journal, in_turns, look_less_often
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


@dataclass(slots=True)
class Passage:
    """A row on its way, and what has become of it so far."""

    row: Row
    job: Job | None = None
    follow: Callable[[int], Command] | None = None
    added: bool = False
    """Whether anything was recorded that was not there already."""
    problem: Problem | None = None
    """Why it is refused."""
    answer: Answer | None = None

    def take(self, outcome: Answer | Problem) -> None:
        """Take what became of a job of it."""
        if isinstance(outcome, Problem):
            self.problem = outcome
        else:
            self.answer = outcome
            self.added |= not outcome.replayed


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

    A broken line, or Ctrl-C, ends the import after the rows that are on their way then: sent again, they are there already.
    """
    report = Report(dry_run=journal is None)
    whole = False
    look_less_often()
    with rows_of(path, kind.columns, encoding) as opened:
        report.expected = opened.expected
        refusals = Refusals(path, opened.head)
        try:
            await _Sending(kind, journal, caller, report, refusals, progress).send_all(opened.rows)
            whole = True
        except FileWrong as broken:
            raise FileWrong(f"{broken.detail} Before it were {report}.") from None
        except Unavailable as problem:
            said = f"{problem.detail} Before it were {report}; the same file again goes on from there."
            raise type(problem)(said.strip()) from problem
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


@dataclass(frozen=True, slots=True)
class _Sending:
    """Sends rows through the journal: while it commits one slice, the next is made ready."""

    kind: Kind
    journal: Journal | None
    caller: Caller
    report: Report
    refusals: Refusals
    progress: Callable[[Report], None]

    async def send_all(self, rows: Iterator[Row]) -> None:
        """Send all rows, and note what becomes of them, whatever ends it. Raises FileWrong, Unavailable."""
        sent: asyncio.Task[None] | None = None
        try:
            for some in _slices(rows):
                ready = await self._made_ready(some)
                if sent is not None:
                    await asyncio.shield(sent)
                sent = asyncio.create_task(self._send(ready))
        finally:
            if sent is not None:
                await sent

    async def _made_ready(self, rows: Iterable[Row]) -> list[Passage]:
        return [self._passage(row) async for row in in_turns(rows)]

    def _passage(self, row: Row) -> Passage:
        try:
            row.check()
            command, follow = self.kind.command(row), self.kind.follow(row)
            return Passage(row, self._job(self.kind.key(row), row, command), follow, added=self.journal is None)
        except Problem as problem:
            return Passage(row, problem=problem)

    def _job(self, key: str, row: Row, command: Command) -> Job:
        digest = hashlib.sha256(canonical(self.kind.content(row))).digest()
        return Job((command,), self.caller, key, digest, holder=HOLDER)

    async def _send(self, slice_: Sequence[Passage]) -> None:
        """Send a slice, then what follows from its rows, and note what became of them. Raises Unavailable, Defect."""
        if self.journal is not None:
            await _do(self.journal, [(one, one.job) for one in slice_ if one.job is not None])
            await _do(self.journal, [(one, job) for one in slice_ if (job := self._following(one)) is not None])
        for one in slice_:
            _note(self.report, self.refusals, one)
        self.progress(self.report)

    def _following(self, one: Passage) -> Job | None:
        if one.job is None or one.follow is None or one.answer is None:
            return None
        return self._job(f"{one.job.key}/reversal", one.row, one.follow(_number(one.answer.body)))


async def _do(journal: Journal, rows: Sequence[tuple[Passage, Job]]) -> None:
    outcomes = await journal.do_all([job for _, job in rows])
    for (row, _), outcome in zip(rows, outcomes, strict=True):
        if isinstance(outcome, (Unavailable, Defect)):
            raise outcome
        row.take(outcome)


def _number(body: str) -> int:
    number = read_id(Prefix.TRADE, orjson.loads(body)["id"])
    assert number is not None
    return number


def _note(report: Report, refusals: Refusals, one: Passage) -> None:
    if one.problem is not None:
        report.refused += 1
        why = in_words(one.problem)
        refusals.add(one.row, why)
        if len(report.first_refusals) < SHOWN:
            report.first_refusals.append(f"{one.row.unit} {one.row.line}: {why}")
    elif one.added:
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
