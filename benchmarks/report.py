"""What came out, in words: for the terminal, for docs/benchmarks.md, and for programs."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.load import Measured
from benchmarks.long_run import LongRun
from benchmarks.rounds import Results
from benchmarks.targets import Row

BEGIN: Final = "<!-- figures -->\n"
END: Final = "<!-- /figures -->\n"


def put(path: Path, figures: str) -> None:
    """Write figures into a file: between its marks, where it has them, else as all of it."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN) if path.exists() else ("", "", "")
    _, end, after = rest.partition(END)
    path.write_text(f"{before}{begin}{figures}{end}{after}" if end else figures, encoding="utf-8")


@dataclass(slots=True)
class Report:
    """All of one run."""

    described: dict[str, Any]
    results: Results
    rows: list[Row]
    long_run: LongRun | None = None
    others: list[dict[str, Any]] = field(default_factory=list)
    """Rows that other benchmarks told: what, value, target, met."""
    checks: list[str] = field(default_factory=list)
    """What was checked, and held."""

    def told(self) -> dict[str, Any]:
        """Give it for programs: every round of every variant."""
        return self.described | {
            "results": {name: [one.told() for one in found] for name, found in self.results.items()},
            "rows": [*(row.told() for row in self.rows), *self.others],
            "long_run": self.long_run.told() if self.long_run else None,
            "checks": self.checks,
        }

    def lines(self) -> Iterator[str]:
        """Write it for the terminal."""
        machine = self.described["machine"]
        yield f"{self.described['command']}  ({self.described['commit']}, {self.described['date']})"
        yield (
            f"{machine['cores']} cores, {machine['processor']}; fsync {machine['fsync_ms']} ms on {machine['file_system']}; "
            f"PostgreSQL {self.described['versions']['postgresql']}, Python {self.described['versions']['python']}"
        )
        yield ""
        yield f"{'':<48}{'trades/s':>10}  {'(range)':<18}{'p50 ms':>8}{'p99 ms':>9}   µs of processor a trade: application, PostgreSQL"
        for name, found in self.results.items():
            rate, spread = _rate(found)
            cpu = f"{_cell(found, 'server_cpu_us', 0):>8}{_cell(found, 'postgres_cpu_us', 0):>8}"
            yield f"{name:<48}{rate:>10}  {spread:<18}{_cell(found, 'p50_ms', 1):>8}{_cell(found, 'p99_ms', 1):>9}   {cpu}"
        yield ""
        for row in self.rows:
            low, high = row.written(min(row.values)), row.written(max(row.values))
            spread = f" ({low} to {high})" if len(row.values) > 1 else ""
            yield f"{_verdict(met=row.met)}  {row.what}: {row.written(row.value)}{spread}, target {row.target}"
        for other in self.others:
            yield f"{_verdict(met=bool(other['met']))}  {other['what']}: {_value(other['value'])}, target {other['target']}"
        if self.long_run:
            yield ""
            yield from self.long_run.table()
        yield ""
        yield from self.checks

    def markdown(self, picture: Path | None) -> Iterator[str]:
        """Write the tables of docs/benchmarks.md, with the picture, which lies beside it."""
        machine, versions = self.described["machine"], self.described["versions"]
        yield (
            f"`{self.described['command']}` on {self.described['date'][:10]}, commit {self.described['commit']}: {machine['cores']} cores "
            f"({machine['processor']}), fsync {machine['fsync_ms']} ms on {machine['file_system']}, PostgreSQL {versions['postgresql']}, "
            f"Python {versions['python']}, wrk {versions['wrk']}."
        )
        yield ""
        if picture:
            yield f"![Trades a second of each variant, and how far each row is from its target]({picture.name})"
            yield ""
        yield "| what | measured | range | target | |"
        yield "|---|---|---|---|---|"
        for row in self.rows:
            low, high = row.written(min(row.values)), row.written(max(row.values))
            spread = f"{low} to {high}" if len(row.values) > 1 else ""
            yield f"| {row.what} | {row.written(row.value)} | {spread} | {row.target} | {_marked(met=row.met)} |"
        for other in self.others:
            met = _marked(met=bool(other["met"]))
            yield f"| {other['what']} | {_value(other['value'])} | | {other['target']} | {met} |"
        yield ""
        yield "| variant | trades/s, median (range) | p50 ms | p99 ms | µs of processor a trade: application | PostgreSQL |"
        yield "|---|---|---|---|---|---|"
        for name, found in self.results.items():
            cells = [_cell(found, "p50_ms", 1), _cell(found, "p99_ms", 1)]
            cells += [_cell(found, "server_cpu_us", 0), _cell(found, "postgres_cpu_us", 0)]
            yield f"| {name} | {' '.join(_rate(found))} | {' | '.join(cells)} |"
        if self.long_run:
            yield from _tenths(self.long_run)


def _tenths(found: LongRun) -> Iterator[str]:
    names = [table.name for table in found.tenths[-1].tables if table.changed]
    yield ""
    yield f"| tenth of {found.trades:,} trades | trades/s | p99 ms | µs: application | PostgreSQL | RSS MiB | {' | '.join(names)} |"
    yield "|---" * (6 + len(names)) + "|"
    for number, tenth in enumerate(found.tenths, 1):
        held = {table.name: table for table in tenth.tables}
        dead = [f"{held[name].dead:,} dead, {held[name].hot / max(held[name].changed, 1):.0%} HOT" for name in names]
        figures = [f"{tenth.rate:,.0f}", f"{tenth.p99_ms:.0f}", f"{tenth.server_cpu_us:,.0f}"]
        figures += [f"{tenth.postgres_cpu_us:,.0f}", f"{tenth.rss_mib:.0f}"]
        yield f"| {number} | {' | '.join([*figures, *dead])} |"


def _rate(found: Sequence[Measured]) -> tuple[str, str]:
    rates = [one.rate for one in found]
    return f"{statistics.median(rates):,.0f}", f"({min(rates):,.0f} to {max(rates):,.0f})"


def _cell(found: Sequence[Measured], name: str, digits: int) -> str:
    values = [value for one in found if (value := getattr(one, name)) is not None]
    return f"{statistics.median(values):,.{digits}f}" if values else ""


def _verdict(*, met: bool) -> str:
    return "met   " if met else "MISSED"


def _marked(*, met: bool) -> str:
    return "met" if met else "**missed**"


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - figures are shown to three places
    return str(value)
