"""The targets, and whether what was measured meets them."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.load import Measured
from benchmarks.rounds import (
    BATCHES,
    BY_100,
    BY_1000,
    DOOR,
    EMBEDDED,
    HOT,
    IMPORT,
    LONE,
    ONE,
    SINGLE_1,
    SINGLE_8,
    TWO,
    UNEVENLY,
    Results,
)

FLAT: Final = 1.1
"""What does not grow by more than a tenth is flat."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was measured, once per round, and what it should be."""

    what: str
    values: Sequence[float]
    limit: float
    at_least: bool
    unit: str = ""

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        """Whether the median meets the target."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def target(self) -> str:
        """The target in words."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}{self.unit}"

    def written(self, value: float) -> str:
        """Write a value of this row."""
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if self.unit or abs(value) >= 1 else 3  # noqa: PLR2004 - figures are shown to three places
        return f"{value:,.{digits}f}{self.unit}"

    def told(self) -> dict[str, Any]:
        """Give it as it is written."""
        return {
            "what": self.what,
            "value": self.value,
            "range": [min(self.values), max(self.values)],
            "target": self.target,
            "met": self.met,
        }


def _each(result: Callable[[Measured], float | None], found: Sequence[Measured]) -> list[float]:
    return [value for one in found if (value := result(one)) is not None]


def rows_of(results: Results) -> list[Row]:
    """Hold the rounds to the targets; what was not run is left out."""

    def ratios(ours: str, theirs: str) -> list[float]:
        return [a.rate / b.rate for a, b in zip(results.get(ours, []), results.get(theirs, []), strict=False)]

    def latency(ours: str) -> list[float]:
        return _each(lambda one: one.p99_ms, results.get(ours, []))

    def more(name: str, ours: str) -> list[Any]:
        return [one.more[name] for one in results.get(ours, [])]

    lone = [
        (a.p50_ms or 0.0) / (b.p50_ms or 1.0)
        for a, b in zip(results.get(LONE, []), results.get(SINGLE_1, []), strict=False)
    ]
    imported = [one.rate / one.more["yardstick"] for one in results.get(IMPORT, [])]
    client = [one.client_cpu for name in (DOOR, ONE) for one in results.get(name, []) if one.client_cpu is not None]
    rows = [
        Row("64 in flight, one process ÷ pgbench at 100 per transaction", ratios(ONE, BY_100), 0.30, at_least=True),
        Row("64 in flight, one process ÷ pgbench one by one at 8 clients", ratios(ONE, SINGLE_8), 1.3, at_least=True),
        Row("the door's share: with ÷ without the journal", ratios(ONE, DOOR), 0.45, at_least=True),
        Row("always the same two members ÷ spread", ratios(HOT, ONE), 0.95, at_least=True),
        Row("SQLite, FULL ÷ PostgreSQL", ratios(EMBEDDED, ONE), 0.8, at_least=True),
        Row("p99 at 64 in flight", latency(ONE), 60, at_least=False, unit=" ms"),
        Row("p50 at 1 in flight ÷ p50 of one function with its fsync", lone, 4, at_least=False),
        Row("two processes ÷ one", ratios(TWO, ONE), 1, at_least=True),
        Row("p99 with two processes", latency(TWO), 150, at_least=False, unit=" ms"),
        Row(
            "two processes at 8 : 56 connections, the slower one ÷ its fair share",
            [min(one) for one in more("of_fair_share", UNEVENLY)],
            0.5,
            at_least=True,
        ),
        Row("trades:batch of 10,000 ÷ pgbench at 1,000 per transaction", ratios(BATCHES, BY_1000), 0.6, at_least=True),
        Row("import of a CSV file ÷ pgbench at 1,000 per transaction", imported, 0.5, at_least=True),
        Row("import: memory, second half ÷ first half", more("growth", IMPORT), FLAT, at_least=False),
        Row("the load client's share of a core, at most", [max(client)] if client else [], 0.5, at_least=False),
    ]
    return [row for row in rows if row.values]
