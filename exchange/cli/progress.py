"""How far long work has come: a bar where somebody looks, lines where a file does."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from exchange.cli.running import console, errors

LINE_EVERY_S: Final = 5.0

Tell = Callable[[int, int], None]
"""Takes how many are done, and of how many: 0 where nobody knows."""


class CountColumn(ProgressColumn):
    """How many, and of how many where that is known."""

    def render(self, task: Task) -> Text:
        """Write it."""
        return Text(f"{task.completed:,.0f}" + ("" if task.total is None else f"/{task.total:,.0f}"))


class RateColumn(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        """Write it, once it is known."""
        return Text(f"{task.completed / task.elapsed:,.0f}/s" if task.completed and task.elapsed else "")


def progress_bar(where: Console = console) -> Progress:
    """Make a bar for long work: how far, how fast, how long still."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        CountColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=where,
    )


@contextmanager
def rows_shown(what: str) -> Iterator[Tell]:
    """Show on stderr how many rows are done: as a bar on a terminal, else as a line every few seconds.

    Nothing is shown before the first of them is told: who is refused at once has seen no bar.
    """
    bar = progress_bar(errors)
    bar.add_task(what, total=None)
    [task] = bar.tasks
    said_at = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal said_at
        bar.update(task.id, completed=done, total=max(done, total) if total else None)
        if errors.is_terminal:
            bar.start()
        elif time.monotonic() - said_at >= LINE_EVERY_S:
            said_at = time.monotonic()
            errors.print(line(task))

    try:
        yield tell
    finally:
        if bar.live.is_started:
            bar.stop()


def line(task: Task) -> str:
    """Write how far rows have come, as far as it is known: `import trades: 120,000 of 1,000,000 rows, 12 %, 1,850/s, 0:07:55 left`."""
    known = [f"{task.completed:,.0f} rows"]
    if task.total is not None:
        known = [f"{task.completed:,.0f} of {task.total:,.0f} rows", f"{task.percentage:.0f} %"]
    if task.speed:
        known.append(f"{task.speed:,.0f}/s")
    if task.time_remaining is not None:
        known.append(f"{timedelta(seconds=int(task.time_remaining))} left")
    return f"{task.description}: {', '.join(known)}"
