"""Measure the write path against pgbench doing the same work, in one run on one PostgreSQL at its default durability.

    python -m benchmarks                short: 3 rounds, about 5 minutes
    python -m benchmarks --full         5 rounds, an import of a million rows, a million trades one after the other, and what the others measure

Variants run by turns; each row of the targets is a ratio of one round, or a latency, given as the median of all rounds. Before them the work of
pgbench's functions is compared with the journal's, and after them every invariant of every database is checked: a fast wrong answer is a failure.

Exit status: 0 measured, whether the targets are met or not; 1 a server failed, an answer was wrong, or an invariant does not hold.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, NoReturn

from cluster import cluster

from benchmarks import HERE, ROOT, faithful, long_run, machine
from benchmarks.load import require_programs
from benchmarks.market import Market, verify
from benchmarks.picture import draw
from benchmarks.processes import Failed
from benchmarks.report import Report, put
from benchmarks.rounds import Bench, say
from benchmarks.servers import served
from benchmarks.targets import Row, rows_of

SHORT: Final = {"rounds": 3, "seconds": 4, "import_rows": 20_000, "long_trades": 0}
FULL: Final = {"rounds": 5, "seconds": 8, "import_rows": 1_000_000, "long_trades": 1_000_000}
OTHERS: Final = ("reads.py", "overload.py")
"""Benchmarks of their own: each writes its rows to the file that `--json` names."""


def _chosen() -> argparse.Namespace:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--full", action="store_true", help="everything, with more rounds")
    options.add_argument("--rounds", type=int)
    options.add_argument("--seconds", type=int, help="for each variant in each round")
    options.add_argument("--import-rows", type=int, help="trades in the imported file")
    options.add_argument("--long-trades", type=int, help="trades of the long run; 0 leaves it out")
    options.add_argument("--only", default="", help="a regular expression: only the variants that it is found in")
    options.add_argument("--json", type=Path, help="write all rounds, for programs")
    options.add_argument("--markdown", type=Path, help="write the tables; into their place, where the file has one")
    options.add_argument("--picture", type=Path, help="write an SVG")
    chosen = options.parse_args()
    for name, value in (FULL if chosen.full else SHORT).items():
        if getattr(chosen, name) is None:
            setattr(chosen, name, value)
    return chosen


def _other(name: str) -> list[dict[str, Any]]:
    """Run a benchmark of its own; give its rows. Raises Failed."""
    say(f"{name} …")
    with tempfile.TemporaryDirectory(prefix="exchange-bench-") as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, str(HERE / name), "--json", str(file)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode or not file.exists():
            raise Failed(f"{' '.join(command)} failed.")
        rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["rows"]
    return rows


def measure(chosen: argparse.Namespace) -> Report:
    """Run it all, and write after each part what is there: who stops a long run keeps what it measured. Raises Failed."""
    checks: list[str] = []
    with cluster(durable=True) as place, tempfile.TemporaryDirectory(prefix="exchange-bench-") as temporary:
        folder = Path(temporary)
        described = machine.described(place)
        with Bench.opened(place, folder, chosen.seconds, chosen.import_rows) as bench:
            checks.append(faithful.compare(bench.app, bench.one.address, bench.reference))
            say(checks[-1])
            bench.run(chosen.rounds, lambda name: re.search(chosen.only, name) is not None)
            report = Report(described, bench.results, rows_of(bench.results), checks=checks)
            memory = bench.memory_mib
        say("checking all invariants …")
        checks += bench.verified()
        report.rows.append(
            Row("start-up to ready on an existing database", bench.started_s, 2, at_least=False, unit=" s")
        )
        _write(report, chosen)
        if chosen.long_trades:
            report.long_run = _long(bench, folder, chosen.long_trades, checks)
            report.rows += report.long_run.rows()
        else:
            report.rows.append(
                Row(
                    f"memory per worker after {bench.app.accepted:,} trades", [memory], 150, at_least=False, unit=" MiB"
                )
            )
    _write(report, chosen)
    if chosen.full:
        for name in OTHERS:
            report.others += _other(name)
            _write(report, chosen)
    return report


def _write(report: Report, chosen: argparse.Namespace) -> None:
    for path in filter(None, (chosen.json, chosen.markdown, chosen.picture)):
        path.parent.mkdir(parents=True, exist_ok=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(report.told(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if chosen.markdown:
        put(chosen.markdown, "\n".join(report.markdown(chosen.picture)) + "\n")
    if chosen.picture:
        draw(report, chosen.picture)


def _long(bench: Bench, folder: Path, trades: int, checks: list[str]) -> long_run.LongRun:
    for name in ("app", "reference"):
        bench.place.drop_database(name)
    bench.place.create_database("long", "seeded")
    market = Market(bench.place.url("long"), bench.app.spread, folder / "nothing")
    with served(market.url) as server:
        found = long_run.run(bench.place, market, server, trades)
    checks.append(verify(market, "long run"))
    return found


def _leave(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Measure, and tell."""
    chosen = _chosen()
    require_programs()
    signal.signal(signal.SIGTERM, _leave)
    try:
        report = measure(chosen)
    except Failed as failed:
        sys.exit(f"FAILED: {failed}")
    except KeyboardInterrupt:
        sys.exit("Stopped; what was started is removed.")
    print("\n".join(report.lines()))


if __name__ == "__main__":
    main()
