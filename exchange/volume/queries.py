"""What can be asked of the volume: sums of rollups, never of trades.

As known at a past position: the rollups of earlier recording days, and the entries of that one day up to the position.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import ColumnElement, case, func
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


ENTRY_COLUMN = {
    Dimension.VENUE: VolumeEntry.venue,
    Dimension.BUYER: VolumeEntry.buyer_id,
    Dimension.SELLER: VolumeEntry.seller_id,
    Dimension.PRODUCT: VolumeEntry.product_id,
}


def cumulative(
    session: Session,
    moment: Moment,
    as_of: date,
    since: date | None = None,
    dimension: Dimension = Dimension.TOTAL,
    measure: Measure = Measure.CONTRACTED,
) -> dict[str, Volume]:
    """Give `cumulative(measure, as_of, known_at)` by the values of a dimension; with `since`, only the flow from that day on.

    The total has the one value "".
    """
    now = moment.position == present(session).position
    sums = _rolled_up(session, dimension, measure, as_of, since, None if now else moment.recorded_on)
    if not now:
        for value, volume in _entries_of_the_day(session, dimension, measure, as_of, since, moment).items():
            sums[value] = sums.get(value, NOTHING) + volume
    return sums


def total(session: Session, moment: Moment, as_of: date, since: date | None = None) -> Volume:
    """Give the total of the contracted volume; with `since`, only the flow from that day on."""
    return cumulative(session, moment, as_of, since).get("", NOTHING)


def _rolled_up(
    session: Session,
    dimension: Dimension,
    measure: Measure,
    as_of: date,
    since: date | None,
    recorded_before: date | None,
) -> dict[str, Volume]:
    query: Any = (
        select(  # type: ignore[call-overload]  # five columns; the stubs stop at four
            Rollup.value,
            func.sum(Rollup.gross),
            func.sum(Rollup.reversed),
            func.sum(Rollup.net_excluding_vat),
            func.sum(Rollup.trades),
        )
        .where(Rollup.measure == measure, Rollup.dimension == dimension, col(Rollup.effective_on) <= as_of)
        .group_by(col(Rollup.value))
    )
    if since is not None:
        query = query.where(col(Rollup.effective_on) >= since)
    if recorded_before is not None:
        query = query.where(col(Rollup.recorded_on) < recorded_before)
    return _volumes(session.exec(query))


def _entries_of_the_day(
    session: Session, dimension: Dimension, measure: Measure, as_of: date, since: date | None, moment: Moment
) -> dict[str, Volume]:
    counted = col(VolumeEntry.movement) == Movement.COUNTED
    gross = col(VolumeEntry.gross)
    conditions: list[ColumnElement[bool]] = [
        col(VolumeEntry.recorded_on) == moment.recorded_on,
        col(VolumeEntry.position) <= moment.position,
        col(VolumeEntry.measure) == measure,
        col(VolumeEntry.effective_on) <= as_of,
    ]
    if since is not None:
        conditions.append(col(VolumeEntry.effective_on) >= since)
    if dimension is Dimension.RELATED:
        conditions.append(col(VolumeEntry.related).is_(True))
    column: Any = ENTRY_COLUMN.get(dimension)
    values = [] if column is None else [column]
    query: Any = (
        select(  # type: ignore[call-overload]  # with or without a value before the sums
            *values,
            func.sum(case((counted, gross), else_=0)),
            func.sum(case((counted, 0), else_=-gross)),
            func.sum(col(VolumeEntry.net_excluding_vat)),
            func.sum(case((counted, 1), else_=-1)),
        )
        .where(*conditions)
        .group_by(*values)
    )
    constant = "related" if dimension is Dimension.RELATED else ""
    return _volumes(row if values else (constant, *row) for row in session.exec(query))


def _volumes(rows: Iterable[Any]) -> dict[str, Volume]:
    return {
        str(value): Volume(Money(int(gross)), Money(int(taken_back)), Money(int(net)), int(trades))
        for value, gross, taken_back, net, trades in rows
        if gross is not None
    }
