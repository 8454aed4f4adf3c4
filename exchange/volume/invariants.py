"""What must be true of the volume."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from itertools import pairwise
from typing import Final

from sqlalchemy import func
from sqlmodel import Session, col, select

from exchange.journal.invariants import SHOWN, Invariant, all_equal, none_of
from exchange.journal.queries import present
from exchange.volume.queries import NOTHING, volumes
from exchange.volume.rules import end_of_year, last_day, month_of, next_month, year_of
from exchange.volume.tables import BOOKS_ID, DAILY, ClosedMonth, Closing, Dimension, VolumeEntry

_SUM = "coalesce(sum({}), 0)"
_ROLLED: Final = [
    *(("rollup", dimension) for dimension in (Dimension.TOTAL, Dimension.VENUE, Dimension.CUBE)),
    *(("monthly_rollup", dimension) for dimension in Dimension if dimension is not Dimension.RELATED),
]

_CUBE = (
    "sector || '|' || kind || '|' || substr(region, 1, 2) || '|' || venue || '|' || mode || '|' || "
    "CASE WHEN related THEN 'related' ELSE 'unrelated' END"
)
_VALUE: Final = {
    Dimension.TOTAL: "''",
    Dimension.VENUE: "venue",
    Dimension.CUBE: _CUBE,
    Dimension.BUYER: "CAST(buyer_id AS TEXT)",
    Dimension.SELLER: "CAST(seller_id AS TEXT)",
    Dimension.PRODUCT: "CAST(product_id AS TEXT)",
    Dimension.RELATED: "'related'",
}
_COLUMNS: Final = ("gross", "reversed", "net_excluding_vat", "trades")


def _rebuilt(dimension: Dimension, *, by_month: bool = False) -> str:
    """Select what each entry brings to the rollups of a dimension, taken away; days and months as text."""
    where = "WHERE related" if dimension is Dimension.RELATED else ""
    day = "substr(CAST({} AS TEXT), 1, 8) || '01'" if by_month else "CAST({} AS TEXT)"
    effective, recorded = day.format("effective_on"), day.format("recorded_on")
    return (
        f"SELECT measure, '{dimension}' AS dimension, {_VALUE[dimension]} AS value, {effective} AS effective, {recorded} AS recorded, "
        "-CASE WHEN gross > 0 THEN gross ELSE 0 END AS gross, -CASE WHEN gross < 0 THEN -gross ELSE 0 END AS reversed, "
        f"-net_excluding_vat AS net_excluding_vat, -CASE WHEN gross > 0 THEN 1 ELSE -1 END AS trades FROM volume_entry {where}"
    )


def _stored(table: str, effective: str, recorded: str) -> str:
    return (
        f"SELECT measure, dimension, value, CAST({effective} AS TEXT) AS effective, CAST({recorded} AS TEXT) AS recorded, "
        f"{', '.join(_COLUMNS)} FROM {table}"
    )


def _differences(stored: str, rebuilt: Iterable[str]) -> str:
    return (
        "SELECT measure, dimension, value, effective, recorded, "
        + ", ".join(f"sum({name}) AS {name}" for name in _COLUMNS)
        + f" FROM ({' UNION ALL '.join([stored, *rebuilt])}) AS both_sides "
        + "GROUP BY measure, dimension, value, effective, recorded HAVING "
        + " OR ".join(f"sum({name}) <> 0" for name in _COLUMNS)
    )


_DAYS_DIFFER: Final = _differences(
    _stored("rollup", "effective_on", "recorded_on"), (_rebuilt(one) for one in Dimension if one in DAILY)
)
_MONTHS_DIFFER: Final = _differences(
    _stored("monthly_rollup", "effective_in", "recorded_in"), (_rebuilt(one, by_month=True) for one in Dimension)
)


def _flows_add_up(session: Session) -> tuple[int, list[str]]:
    """Compare the cumulative volume that is answered at the ends of months and years with the entries' flow between them."""
    moment = present(session)
    days: list[tuple[date, int]] = [
        (day, int(flow))
        for day, flow in session.exec(
            select(col(VolumeEntry.effective_on), func.sum(col(VolumeEntry.gross))).group_by(
                col(VolumeEntry.effective_on)
            )
        )
    ]
    periods: defaultdict[tuple[str, date, date], int] = defaultdict(int)
    for day, flow in days:
        periods["month", month_of(day), last_day(day)] += flow
        periods["year", year_of(day), end_of_year(day)] += flow
    ends = {one for _, first, last in periods for one in (first - timedelta(days=1), last)}
    found = volumes(session, moment, ends) if ends else {}
    stood = {day: found[day].get((Dimension.TOTAL, ""), NOTHING).net for day in ends}
    offending = [
        f"the cumulative volume does not grow by the entries of the {name} from {first}"
        for (name, first, last), flow in sorted(periods.items())
        if stood[last] - stood[first - timedelta(days=1)] != flow
    ]
    return len(periods), offending[:SHOWN]


def _months_are_closed_in_turn(session: Session) -> tuple[int, list[str]]:
    months = session.exec(select(col(ClosedMonth.month)).order_by(col(ClosedMonth.month))).all()
    closing = session.get(Closing, BOOKS_ID)
    offending = [
        f"{after} is closed, and {next_month(before)} is not"
        for before, after in pairwise(months)
        if after != next_month(before)
    ]
    through, due = closing.closed_through if closing else None, last_day(months[-1]) if months else None
    if through != due:
        offending.append(f"the months are closed through {due}, and are said to be through {through}")
    return len(months), offending[:SHOWN]


INVARIANTS: Final = [
    Invariant(
        "5a",
        "The cumulative volume is the same by head, entries, sales, purchases, days, months, products, sectors, venues, members and trades.",
        all_equal(
            [
                *("head", "entries", "sales", "purchases"),
                *(f"{table} by {dimension}" for table, dimension in _ROLLED),
                "trades",
            ],
            [
                "SELECT contracted_gross, contracted_reversed FROM head",
                (
                    "SELECT coalesce(sum(CASE WHEN gross > 0 THEN gross ELSE 0 END), 0), "
                    "coalesce(sum(CASE WHEN gross < 0 THEN -gross ELSE 0 END), 0) FROM volume_entry"
                ),
                (
                    "SELECT coalesce(sum(credits_posted), 0), coalesce(sum(debits_posted), 0) FROM account "
                    "WHERE book = 'contracted' AND kind = 'sales'"
                ),
                (
                    "SELECT coalesce(sum(debits_posted), 0), coalesce(sum(credits_posted), 0) FROM account "
                    "WHERE book = 'contracted' AND kind = 'purchases'"
                ),
                *(
                    f"SELECT {_SUM.format('gross')}, {_SUM.format('reversed')} FROM {table} "
                    f"WHERE measure = 'contracted' AND dimension = '{dimension}'"
                    for table, dimension in _ROLLED
                ),
                (
                    "SELECT coalesce(sum(gross), 0), coalesce(sum(CASE WHEN state = 'contracted' THEN 0 ELSE gross END), 0) FROM trade "
                    "WHERE state IN ('contracted', 'terminated', 'reversed')"
                ),
            ],
        ),
    ),
    Invariant(
        "5b",
        "The part between related parties is the same by entries and rollups.",
        all_equal(
            ["entries", "days", "months"],
            [
                "SELECT coalesce(sum(gross), 0) FROM volume_entry WHERE related",
                "SELECT coalesce(sum(gross - reversed), 0) FROM rollup WHERE dimension = 'related'",
                "SELECT coalesce(sum(gross - reversed), 0) FROM monthly_rollup WHERE dimension = 'related'",
            ],
        ),
    ),
    Invariant(
        "6",
        "Stored rollups equal a rebuild from the entries, row by row.",
        none_of(
            "SELECT (SELECT count(*) FROM rollup) + (SELECT count(*) FROM monthly_rollup)", _DAYS_DIFFER, _MONTHS_DIFFER
        ),
    ),
    Invariant("7", "The cumulative volume grows by the flow of each month and year.", _flows_add_up),
    Invariant(
        "10",
        "The cumulative figures left by each batch are those of the entries up to it.",
        none_of(
            "SELECT count(*) FROM batch",
            "SELECT last AS position, contracted_gross, contracted_reversed FROM (SELECT last, contracted_gross, contracted_reversed, "
            "sum(counted) OVER (ORDER BY last) AS gross, sum(taken_back) OVER (ORDER BY last) AS back FROM ("
            "SELECT b.last, b.contracted_gross, b.contracted_reversed, "
            "coalesce(sum(CASE WHEN v.gross > 0 THEN v.gross ELSE 0 END), 0) AS counted, "
            "coalesce(sum(CASE WHEN v.gross < 0 THEN -v.gross ELSE 0 END), 0) AS taken_back "
            "FROM batch b LEFT JOIN volume_entry v ON v.position BETWEEN b.first AND b.last "
            "GROUP BY b.last, b.contracted_gross, b.contracted_reversed) s) r WHERE contracted_gross <> gross OR contracted_reversed <> back",
        ),
    ),
    Invariant("V1", "The months are closed up to the last closed one, without gap.", _months_are_closed_in_turn),
]
