"""What commands ask and show: the headline and the invariants."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlmodel import Session

from exchange import clock
from exchange.cli.progress import progress_bar
from exchange.cli.running import console, desk
from exchange.journal.queries import present
from exchange.journal.replay import FOLLOWS, replay
from exchange.money import yuan_text
from exchange.regulator.integrity import INVARIANTS, findings
from exchange.regulator.queries import Standing, Summary, standings, summary


async def read_summary(as_of: date | None = None, known_at: int | datetime | None = None) -> Summary:
    """Ask for the headline."""
    async with desk() as place:
        return await place.database.read(summary, clock.business_day(clock.now()), as_of, known_at)


async def read_standings(found: Summary) -> list[Standing]:
    """Ask for the months that led to a headline, as known when it was."""
    async with desk() as place:
        return await place.database.read(standings, found.moment, found.as_of)


def headline(found: Summary) -> Table:
    """Lay the headline out for people."""
    volume = found.contracted
    table = Table(title=f"As of {found.as_of}, as known at position {found.moment.position}", show_header=False)
    rows: list[tuple[str, Any]] = [
        ("Active members 数商会员", f"{found.members_active:,} (ever admitted {found.members_ever_admitted:,})"),
        ("Cumulative volume 累计交易额", f"{yuan_text(volume.net)}  ({Decimal(volume.net).scaleb(-10):,.4f} 亿元)"),
        ("  on exchange 场内", yuan_text(found.on_exchange)),
        ("  filed 场外备案", yuan_text(found.off_exchange_filed)),
        ("  between related parties 关联", yuan_text(found.related_parties)),
        ("  counted, then taken back 冲正", f"{yuan_text(volume.gross)} − {yuan_text(volume.reversed)}"),
        ("Trades counted 成交", f"{volume.trades:,}"),
        ("Listings for sale 挂牌", f"{found.listings_listed:,}"),
        ("Growth 同比 / 环比", f"{found.yoy or '—'} / {found.mom or '—'}"),
    ]
    for name, value in rows:
        table.add_row(name, value)
    return table


def _tell(where: Console, said: str, wrong: Sequence[str]) -> None:
    """Tell what a check came to: whether all is well, and the first that is not."""
    mark = "[red]✗[/red]" if wrong else "[green]✓[/green]"
    where.print(f"{mark} {said}", markup=True)
    for row in wrong:
        where.print(f"       {row}", style="red")


@dataclass(slots=True)
class Tally:
    """How many invariants hold."""

    held: int = 0
    broken: int = 0


async def run_verify(*, replayed: bool = False) -> bool:
    """Check, telling each; say whether all hold. `replayed` also rebuilds the tables from the events."""
    tally = Tally()

    def look(session: Session) -> None:
        for finding in findings(session):
            said = f"{finding.number:>3}  {finding.statement} [dim]({finding.checked:,} checked)[/dim]"
            _tell(console, said, finding.offending)
            tally.held += not finding.offending
            tally.broken += bool(finding.offending)

    async with desk() as place:
        await place.database.read(look)
        console.print(f"{tally.held} of {len(INVARIANTS)} invariants hold.")
        rebuilt = await place.database.read(_replay) if replayed else True
    return tally.broken == 0 and rebuilt


def _replay(session: Session) -> bool:
    """Rebuild every table from the events, telling each; say whether all are as they are stored."""
    bar = progress_bar()
    events = present(session).position
    task = bar.add_task("fold events", total=events)
    held = rows = tables = 0
    with bar:
        for found in replay(session, lambda folded: bar.update(task, completed=folded)):
            _tell(bar.console, f"{found.table} [dim]({found.rows:,} rows)[/dim]", found.differing)
            tables, rows, held = tables + 1, rows + found.rows, held + (not found.differing)
        bar.update(task, completed=events)
    for name, number in FOLLOWS.items():
        console.print(f"  {name} follows from these: invariant {number}", style="dim")
    console.print(f"{held} of {tables} tables, {rows:,} rows, are what the events alone give.")
    return held == tables
