"""The picture of one run: how fast each variant was, how far each row is from its target, and how the long run went."""

import statistics
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.long_run import LongRun
from benchmarks.report import Report
from benchmarks.rounds import Results
from benchmarks.targets import Row

OURS: Final = "#0969da"
YARDSTICK: Final = "#8c959f"
MISSED: Final = "#cf222e"
MET: Final = "#1a7f37"
STYLE: Final[Any] = {
    "font.size": 10,
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "benchmarks",
}
WIDTH_IN: Final = 11.0
ROW_IN: Final = 0.3
FARTHEST: Final = 10.0
"""Distances beyond this are drawn at it."""


def draw(report: Report, path: Path) -> None:
    """Write the picture."""
    with mpl.rc_context(STYLE):
        rows = [row for row in report.rows if row.value > 0]
        heights = [len(report.results) * ROW_IN + 0.9, len(rows) * ROW_IN + 0.9]
        if report.long_run:
            heights.append(2.4)
        figure = Figure(figsize=(WIDTH_IN, sum(heights) + 0.5), layout="constrained")
        axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        _variants(axes[0], report.results)
        _targets(axes[1], rows)
        if report.long_run:
            _long_run(axes[2], report.long_run)
        versions, cores = report.described["versions"], report.described["machine"]["cores"]
        figure.suptitle(
            f"{report.described['date'][:10]}, {cores} cores, PostgreSQL {versions['postgresql']}, Python {versions['python']}",
            fontsize=10,
        )
        figure.savefig(path, metadata={"Date": None})


def _variants(axes: Axes, results: Results) -> None:
    names = list(results)[::-1]
    rates = [[one.rate for one in results[name]] for name in names]
    middle = [statistics.median(found) for found in rates]
    reach = [
        [at - min(found) for at, found in zip(middle, rates, strict=True)],
        [max(found) - at for at, found in zip(middle, rates, strict=True)],
    ]
    colours = [YARDSTICK if name.startswith("pgbench") else OURS for name in names]
    axes.barh(names, middle, color=colours, height=0.62, xerr=reach, error_kw={"ecolor": "#1f2328", "capsize": 3})
    for place, (at, found) in enumerate(zip(middle, rates, strict=True)):
        axes.annotate(f"{at:,.0f}", (max(found), place), (6, 0), textcoords="offset points", va="center")
    axes.set_title("trades a second: median, and range of all rounds", loc="left")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.margins(x=0.12, y=0.02)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _targets(axes: Axes, rows: list[Row]) -> None:
    shown = rows[::-1]
    # So that to the right is always better: by how much the target is exceeded, or undercut.
    distances = [row.value / row.limit if row.at_least else row.limit / row.value for row in shown]
    drawn = [min(max(distance, 1 / FARTHEST), FARTHEST) for distance in distances]
    colours = [MET if row.met else MISSED for row in shown]
    axes.hlines(range(len(shown)), 1, drawn, color=colours, linewidth=2)
    axes.scatter(drawn, range(len(shown)), color=colours, s=36, zorder=3)
    for place, (row, at) in enumerate(zip(shown, drawn, strict=True)):
        right = at >= 1
        said = f"{row.written(row.value)}  ({row.target})"
        axes.annotate(
            said,
            (at, place),
            (8 if right else -8, 0),
            textcoords="offset points",
            va="center",
            ha="left" if right else "right",
        )
    axes.axvline(1, color="#1f2328", linewidth=1)
    axes.set_yticks(range(len(shown)), [row.what for row in shown])
    axes.set_xscale("log")
    axes.set_xlim(1 / FARTHEST / 2.5, FARTHEST * 4)
    axes.set_xticks([0.1, 0.25, 0.5, 1, 2, 4, 10], ["1/10", "1/4", "1/2", "target", "2 ×", "4 ×", "10 ×"])
    axes.minorticks_off()
    axes.set_title("how far from its target: right of the line is met", loc="left")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _long_run(axes: Axes, found: LongRun) -> None:
    places = range(1, len(found.tenths) + 1)
    rates = [tenth.rate for tenth in found.tenths]
    axes.plot(places, rates, color=OURS, marker="o")
    axes.set_ylim(0, 1.25 * max(rates))
    axes.set_ylabel("trades/s", color=OURS)
    axes.set_xticks(list(places))
    axes.set_xlabel(f"tenth of {found.trades:,} trades")
    memory = axes.twinx()
    rss = [tenth.rss_mib for tenth in found.tenths]
    memory.plot(places, rss, color=MISSED, marker="s", linestyle="--")
    memory.set_ylim(0, 1.25 * max(rss))
    memory.set_ylabel("server's memory, MiB", color=MISSED)
    memory.spines["right"].set_visible(True)
    axes.set_title("very many trades, one after the other", loc="left")
    axes.grid(alpha=0.3)
