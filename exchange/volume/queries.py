"""What can be asked of the volume: sums of rollups, never of trades.

Up to a day: the months before, and the days of its own month. As known at a past position: what earlier months recorded, then the earlier
days of the month of recording, then the entries of that one day up to the position. What is not kept by day is read from the entries.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Select, Text, case, cast, func, literal, literal_column, union_all
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from exchange.journal.queries import Moment, first_position_on
from exchange.journal.tables import PartyEvent
from exchange.money import Money
from exchange.volume.rules import last_day, month_of, next_month
from exchange.volume.tables import DAILY, Dimension, Measure, MonthlyRollup, Movement, Rollup, VolumeEntry


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

    def __sub__(self, other: "Volume") -> "Volume":
        """Take from a sum what it was before: the flow between."""
        return Volume(
            Money(self.gross - other.gross),
            Money(self.reversed - other.reversed),
            Money(self.net_excluding_vat - other.net_excluding_vat),
            self.trades - other.trades,
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
    # CAST: PostgreSQL takes no bare constant for a text.
    Dimension.TOTAL: literal_column("CAST('' AS TEXT)"),
    Dimension.VENUE: col(VolumeEntry.venue),
    Dimension.RELATED: case((col(VolumeEntry.related), literal_column("CAST('related' AS TEXT)"))),
    Dimension.CUBE: _CUBE,
    Dimension.BUYER: col(VolumeEntry.buyer_id),
    Dimension.SELLER: col(VolumeEntry.seller_id),
    Dimension.PRODUCT: col(VolumeEntry.product_id),
}
"""Where an entry says what a rollup is kept by; null where it is none of that dimension's."""


Volumes = dict[tuple[Dimension, str], Volume]
"""By dimension and value; the total has the one value "". What never moved is left out."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which volume: of a measure, by the values of a dimension, up to a business date, and perhaps from one on or of one value only."""

    as_of: date
    since: date | None = None
    dimension: Dimension = Dimension.TOTAL
    value: str | None = None
    """Of buyer, seller or product only."""
    measure: Measure = Measure.CONTRACTED


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is summed: up to the ends of several days, by dimensions that are all kept by day, or all are not."""

    days: tuple[date, ...]
    """In order."""
    dimensions: tuple[Dimension, ...]
    value: str | None
    measure: Measure
    recorded_on: date
    """The day of the moment."""
    known_at: int | None
    """The position up to which it is known; null: all that is known by now."""

    @property
    def past(self) -> bool:
        """Whether more is known by now."""
        return self.known_at is not None

    @property
    def before(self) -> list[date]:
        """Give for each day the first of the months that are not summed as a whole: its own, or, at a month's end, the next."""
        return [next_month(day) if day in {last_day(day), self.recorded_on} else month_of(day) for day in self.days]

    @property
    def recording(self) -> date:
        """The month in which the moment lies."""
        return month_of(self.recorded_on)


def volumes(
    session: Session,
    moment: Moment,
    days: Iterable[date],
    dimensions: Sequence[Dimension] = (Dimension.TOTAL,),
    *,
    value: str | None = None,
    measure: Measure = Measure.CONTRACTED,
) -> dict[date, Volumes]:
    """Give `cumulative(measure, as_of, known_at)` for the ends of several days at once, by the values of these dimensions, or one value only.

    The dimensions are all kept by day, or all are not.
    """
    # Nothing counts on a day that had not come when it was recorded: what was known then of later days is what was known of that one.
    reached = {day: min(day, moment.recorded_on) for day in days}
    known_at = None if moment.last else moment.position
    asked = _Asked(
        tuple(sorted(set(reached.values()))), tuple(dimensions), value, measure, moment.recorded_on, known_at
    )
    flows: dict[int, Volumes] = defaultdict(dict)
    parts: dict[int, Volumes] = defaultdict(dict)
    for whole, place, dimension, found, *figure in session.execute(_sums(asked)):
        gross, taken_back, net, trades = map(int, figure)
        into = flows if whole else parts
        into[place][Dimension(dimension), found] = Volume(Money(gross), Money(taken_back), Money(net), trades)
    sums: dict[date, Volumes] = {}
    flow: Volumes = {}
    part: Volumes = {}
    month = None
    for place, (day, start) in enumerate(zip(asked.days, asked.before, strict=True)):
        flow = _added(flow, flows[place])
        # The days of a month are for the days within it; in a later one's sum that month is whole.
        part = _added(part if start == month else {}, parts[place])
        month = start
        sums[day] = _added(flow, part)
    return {day: sums[on] for day, on in reached.items()}


def _added(volumes: Volumes, others: Volumes) -> Volumes:
    return volumes | {key: volumes.get(key, NOTHING) + volume for key, volume in others.items()}


def cumulative(session: Session, moment: Moment, question: Question) -> dict[str, Volume]:
    """Give `cumulative(measure, as_of, known_at)` by the values of a dimension; with `since`, only the flow from that day on."""
    eve = None if question.since is None else min(question.since - timedelta(days=1), question.as_of)
    days = [question.as_of] if eve is None else [eve, question.as_of]
    found = volumes(session, moment, days, [question.dimension], value=question.value, measure=question.measure)
    earlier = {} if eve is None else found[eve]
    flows = {key[1]: volume - earlier.get(key, NOTHING) for key, volume in found[question.as_of].items()}
    return {value: flow for value, flow in flows.items() if flow.gross or flow.reversed}


def total(session: Session, moment: Moment, as_of: date, since: date | None = None) -> Volume:
    """Give the total of the contracted volume; with `since`, only the flow from that day on."""
    return cumulative(session, moment, Question(as_of, since)).get("", NOTHING)


def first_month(session: Session, moment: Moment) -> date | None:
    """Give the first day of a month before which nothing counts, the earliest in which something may; None where there is none."""
    query: Any = (
        select(col(MonthlyRollup.effective_in))
        .where(
            MonthlyRollup.measure == Measure.CONTRACTED,
            MonthlyRollup.dimension == Dimension.TOTAL,
            MonthlyRollup.value == "",
            col(MonthlyRollup.recorded_in) <= month_of(moment.recorded_on),
        )
        .order_by(col(MonthlyRollup.effective_in))
        .limit(1)
    )
    found: date | None = session.exec(query).one_or_none()
    return found


@lru_cache(maxsize=256)
def _sums(asked: _Asked) -> Select[Any]:
    """Sum what is asked. It is the same all day for what is known by now, and to make it takes longer than to run it."""
    rows = union_all(*_sources(asked)).subquery()
    keys = (rows.c.whole, rows.c.place, rows.c.dimension, rows.c.value)
    figures = (func.sum(rows.c[name]) for name in _FIGURES)
    return sa_select(*keys, *figures).group_by(*keys)


def _sources(asked: _Asked) -> Iterator[Select[Any]]:
    """Select what is summed: rows (whole, place, dimension, value, figures).

    `place` is that of the first of the days to which the row belongs. A `whole` row belongs to all later ones, too; another to those of
    the same month only.
    """
    yield from _months(asked)
    for month, day in _parts(asked):
        if asked.dimensions[0] in DAILY:
            yield from _days_of_month(asked, month, day)
        else:
            yield from _entries_of_month(asked, month, day)
    if asked.past and asked.dimensions[0] in DAILY:
        yield from _days_of_recording(asked)
        yield from _day_of_moment(asked)
    elif asked.past:
        for dimension in asked.dimensions:
            yield _entries_of_recording(asked, dimension)


def _parts(asked: _Asked) -> list[tuple[date, date]]:
    """Give the months of which a part is asked for, each with the last day asked for."""
    return list(
        {start: (start, day) for start, day in zip(asked.before, asked.days, strict=True) if day >= start}.values()
    )


def _months(asked: _Asked) -> Iterator[Select[Any]]:
    before = asked.before
    conditions = [
        *_of(MonthlyRollup, asked),
        col(MonthlyRollup.effective_in) < before[-1],
        *([col(MonthlyRollup.recorded_in) < asked.recording] if asked.past else []),
    ]
    place = _place([col(MonthlyRollup.effective_in) < start for start in before])
    yield sa_select(_WHOLE, place, *_kept(MonthlyRollup)).where(*conditions)


def _days_of_month(asked: _Asked, month: date, day: date) -> Iterator[Select[Any]]:
    conditions = [
        *_of(Rollup, asked),
        col(Rollup.effective_on).between(month, day),
        *([col(Rollup.recorded_on) < asked.recording] if asked.past else []),
    ]
    yield sa_select(_PART, _day_place(asked, Rollup), *_kept(Rollup)).where(*conditions)


def _days_of_recording(asked: _Asked) -> Iterator[Select[Any]]:
    conditions = [
        *_of(Rollup, asked),
        col(Rollup.effective_on) <= asked.days[-1],
        col(Rollup.recorded_on) >= asked.recording,
        col(Rollup.recorded_on) < asked.recorded_on,
    ]
    yield sa_select(_WHOLE, _day_place(asked, Rollup), *_kept(Rollup)).where(*conditions)


def _entries_of_month(asked: _Asked, month: date, day: date) -> Iterator[Select[Any]]:
    for dimension in asked.dimensions:
        conditions = [
            col(VolumeEntry.effective_on).between(month, day),
            # Nothing of a day was recorded before it.
            col(VolumeEntry.position) >= first_position_on(month),
            *([col(VolumeEntry.recorded_on) < asked.recording] if asked.past else []),
        ]
        yield _entries(asked, dimension, _PART).where(*conditions)


def _day_of_moment(asked: _Asked) -> Iterator[Select[Any]]:
    """Select what the entries of the moment's own day come to: they are read once, for all dimensions."""
    columns = [cast(ENTRY_COLUMN[dimension], Text).label(dimension) for dimension in asked.dimensions]
    read = sa_select(_day_place(asked, VolumeEntry), *columns, *_moved()).where(
        col(VolumeEntry.measure) == asked.measure, *_recorded(asked, asked.recorded_on)
    )
    entries = read.subquery()
    keys = [entries.c.place, *(entries.c[dimension] for dimension in asked.dimensions)]
    sums = [cast(func.sum(entries.c[name]), BigInteger).label(name) for name in _FIGURES]
    day = sa_select(*keys, *sums).group_by(*keys).cte()
    for dimension in asked.dimensions:
        value = day.c[dimension]
        figures = [day.c[name] for name in _FIGURES]
        yield sa_select(_WHOLE, day.c.place, _named(dimension), value.label("value"), *figures).where(
            value.is_not(None)
        )


def _entries_of_recording(asked: _Asked, dimension: Dimension) -> Select[Any]:
    """Select the entries recorded from the beginning of the moment's month up to the moment."""
    recorded = _recorded(asked, asked.recording)
    query = _entries(asked, dimension, _WHOLE).where(*recorded)
    if asked.value is None or dimension is Dimension.PRODUCT:
        return query
    # Each movement is an event of its parties, who have their events in order.
    return query.join(PartyEvent, col(PartyEvent.position) == VolumeEntry.position).where(
        col(PartyEvent.member_id) == int(asked.value),
        col(PartyEvent.position).between(first_position_on(asked.recording), asked.known_at),
    )


def _recorded(asked: _Asked, since: date) -> list[ColumnElement[bool]]:
    return [
        col(VolumeEntry.effective_on) <= asked.days[-1],
        col(VolumeEntry.position).between(first_position_on(since), asked.known_at),
    ]


def _entries(asked: _Asked, dimension: Dimension, whole: Any) -> Select[Any]:
    column = ENTRY_COLUMN[dimension]
    conditions = [col(VolumeEntry.measure) == asked.measure]
    if asked.value is not None:
        conditions.append(column == int(asked.value))
    place = _day_place(asked, VolumeEntry)
    return sa_select(whole, place, _named(dimension), cast(column, Text).label("value"), *_moved()).where(*conditions)


_FIGURES: Final = ("gross", "reversed", "net_excluding_vat", "trades")


def _moved() -> list[Any]:
    """Give the figures of an entry, as rollups have them."""
    counted = col(VolumeEntry.movement) == Movement.COUNTED
    gross = col(VolumeEntry.gross)
    return [
        case((counted, gross), else_=0).label("gross"),
        case((counted, 0), else_=-gross).label("reversed"),
        col(VolumeEntry.net_excluding_vat),
        case((counted, 1), else_=-1).label("trades"),
    ]


def _named(dimension: Dimension) -> Any:
    return literal_column(f"CAST('{dimension}' AS TEXT)").label("dimension")


_WHOLE: Final[Any] = literal(1).label("whole")
_PART: Final[Any] = literal(0).label("whole")


def _place(reached: list[Any]) -> Any:
    return case(*((condition, place) for place, condition in enumerate(reached))).label("place")


def _day_place(asked: _Asked, table: Any) -> Any:
    return _place([col(table.effective_on) <= day for day in asked.days])


def _of(table: Any, asked: _Asked) -> list[ColumnElement[bool]]:
    conditions = [col(table.measure) == asked.measure, col(table.dimension).in_(asked.dimensions)]
    return conditions if asked.value is None else [*conditions, col(table.value) == asked.value]


def _kept(table: Any) -> list[Any]:
    columns = (table.value, table.gross, table.reversed, table.net_excluding_vat, table.trades)
    return [cast(table.dimension, Text).label("dimension"), *columns]
