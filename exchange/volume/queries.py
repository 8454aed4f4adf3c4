"""What can be asked of the volume: sums of rollups, never of trades.

As known at a past position: the rollups of earlier recording days, and the entries of that one day up to the position.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import ColumnElement, case, func, literal_column
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from exchange.journal.queries import Moment, present
from exchange.money import Money
from exchange.volume.tables import Dimension, Measure, Movement, Rollup, VolumeEntry


@dataclass(frozen=True, slots=True)
class Volume:
    """A sum of volume, in fen: what was counted, what was taken back, and the trades that count."""

    gross: Money
    reversed: Money
    net_excluding_vat: Money
    trades: int

    @property
    def net(self) -> Money:
        """What was counted less what was taken back: the cumulative volume."""
        return Money(self.gross - self.reversed)

    def __add__(self, other: "Volume") -> "Volume":
        """Add two sums."""
        return Volume(
            Money(self.gross + other.gross),
            Money(self.reversed + other.reversed),
            Money(self.net_excluding_vat + other.net_excluding_vat),
            self.trades + other.trades,
        )


NOTHING: Final = Volume(Money(0), Money(0), Money(0), 0)


# Literals, not parameters: PostgreSQL would take two of them for different ones in SELECT and GROUP BY.
_BAR: Final[Any] = literal_column("'|'")
_CUBE: Final[Any] = (
    col(VolumeEntry.sector)
    + _BAR
    + col(VolumeEntry.kind)
    + _BAR
    + func.substr(col(VolumeEntry.region), literal_column("1"), literal_column("2"))
    + _BAR
    + col(VolumeEntry.venue)
    + _BAR
    + col(VolumeEntry.mode)
    + _BAR
    + case((col(VolumeEntry.related), literal_column("'related'")), else_=literal_column("'unrelated'"))
)
ENTRY_COLUMN: Final[dict[Dimension, Any]] = {
    Dimension.VENUE: col(VolumeEntry.venue),
    Dimension.CUBE: _CUBE,
    Dimension.BUYER: col(VolumeEntry.buyer_id),
    Dimension.SELLER: col(VolumeEntry.seller_id),
    Dimension.PRODUCT: col(VolumeEntry.product_id),
}
"""Where an entry says what a rollup is kept by."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which volume: of a measure, by the values of a dimension, up to a business date, and perhaps from one on or of one value only."""

    as_of: date
    since: date | None = None
    dimension: Dimension = Dimension.TOTAL
    value: str | None = None
    """Of buyer, seller or product only."""
    measure: Measure = Measure.CONTRACTED


def cumulative(session: Session, moment: Moment, question: Question) -> dict[str, Volume]:
    """Give `cumulative(measure, as_of, known_at)` by the values of a dimension; the total has the one value ""."""
    if moment.position == present(session).position:
        return _rolled_up(session, question, None)
    sums = _rolled_up(session, question, moment.recorded_on)
    for value, volume in _entries_of_the_day(session, question, moment).items():
        sums[value] = sums.get(value, NOTHING) + volume
    return sums


def total(session: Session, moment: Moment, as_of: date, since: date | None = None) -> Volume:
    """Give the total of the contracted volume; with `since`, only the flow from that day on."""
    return cumulative(session, moment, Question(as_of, since)).get("", NOTHING)


def first_counted(session: Session, moment: Moment) -> date | None:
    """Give the business date of the first trade that counts; None where there is none."""
    query = select(func.min(col(Rollup.effective_on))).where(
        Rollup.dimension == Dimension.TOTAL, col(Rollup.recorded_on) <= moment.recorded_on
    )
    return session.exec(query).one()


def _rolled_up(session: Session, question: Question, recorded_before: date | None) -> dict[str, Volume]:
    conditions: list[ColumnElement[bool]] = [
        col(Rollup.measure) == question.measure,
        col(Rollup.dimension) == question.dimension,
        col(Rollup.effective_on) <= question.as_of,
    ]
    if question.value is not None:
        conditions.append(col(Rollup.value) == question.value)
    if question.since is not None:
        conditions.append(col(Rollup.effective_on) >= question.since)
    if recorded_before is not None:
        conditions.append(col(Rollup.recorded_on) < recorded_before)
    sums = (func.sum(column) for column in (Rollup.gross, Rollup.reversed, Rollup.net_excluding_vat, Rollup.trades))
    query: Any = sa_select(col(Rollup.value), *sums).where(*conditions).group_by(col(Rollup.value))
    return _volumes(session.execute(query))


def _entries_of_the_day(session: Session, question: Question, moment: Moment) -> dict[str, Volume]:
    counted = col(VolumeEntry.movement) == Movement.COUNTED
    gross = col(VolumeEntry.gross)
    conditions: list[ColumnElement[bool]] = [
        col(VolumeEntry.recorded_on) == moment.recorded_on,
        col(VolumeEntry.position) <= moment.position,
        col(VolumeEntry.measure) == question.measure,
        col(VolumeEntry.effective_on) <= question.as_of,
    ]
    if question.since is not None:
        conditions.append(col(VolumeEntry.effective_on) >= question.since)
    if question.dimension is Dimension.RELATED:
        conditions.append(col(VolumeEntry.related).is_(True))
    column = ENTRY_COLUMN.get(question.dimension)
    if question.value is not None and column is not None:
        conditions.append(column == int(question.value))
    # CAST: PostgreSQL groups by no bare constant.
    constant: Any = literal_column(f"CAST('{'related' if question.dimension is Dimension.RELATED else ''}' AS TEXT)")
    values: Any = constant if column is None else column
    query: Any = (
        sa_select(
            values,
            func.sum(case((counted, gross), else_=0)),
            func.sum(case((counted, 0), else_=-gross)),
            func.sum(col(VolumeEntry.net_excluding_vat)),
            func.sum(case((counted, 1), else_=-1)),
        )
        .where(*conditions)
        .group_by(values)
    )
    return _volumes(session.execute(query))


def _volumes(rows: Iterable[Any]) -> dict[str, Volume]:
    return {
        str(value): Volume(Money(int(gross)), Money(int(taken_back)), Money(int(net)), int(trades))
        for value, gross, taken_back, net, trades in rows
    }
