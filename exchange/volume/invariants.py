"""What must be true of the volume."""

from collections import defaultdict
from datetime import date, timedelta
from itertools import pairwise
from typing import Final

from sqlalchemy import func
from sqlmodel import Session, col, select

from exchange.journal.invariants import SHOWN, Invariant, all_equal, none_of
from exchange.journal.queries import present
from exchange.volume.queries import total
from exchange.volume.rules import end_of_year, last_day, month_of, next_month, year_of
from exchange.volume.tables import BOOKS_ID, ClosedMonth, Closing, Dimension, VolumeEntry

_SUM = "coalesce(sum({}), 0)"
_ROLLED = (Dimension.VENUE, Dimension.CUBE, Dimension.BUYER, Dimension.SELLER, Dimension.PRODUCT)

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


def _rebuilt(dimension: Dimension) -> str:
    where = "WHERE related" if dimension is Dimension.RELATED else ""
    return (
        f"SELECT measure, '{dimension}' AS dimension, {_VALUE[dimension]} AS value, effective_on, recorded_on, "
        "-CASE WHEN gross > 0 THEN gross ELSE 0 END AS gross, -CASE WHEN gross < 0 THEN -gross ELSE 0 END AS reversed, "
        f"-net_excluding_vat AS net_excluding_vat, -CASE WHEN gross > 0 THEN 1 ELSE -1 END AS trades FROM volume_entry {where}"
    )


_DIFFERENCES = (
    "SELECT measure, dimension, value, effective_on, recorded_on, "
    + ", ".join(f"sum({name}) AS {name}" for name in _COLUMNS)
    + f" FROM (SELECT measure, dimension, value, effective_on, recorded_on, {', '.join(_COLUMNS)} FROM rollup UNION ALL "
    + " UNION ALL ".join(_rebuilt(dimension) for dimension in Dimension)
    + ") AS both_sides GROUP BY measure, dimension, value, effective_on, recorded_on HAVING "
    + " OR ".join(f"sum({name}) <> 0" for name in _COLUMNS)
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
    offending, checked = [], 0
    for name, start, end in (("month", month_of, last_day), ("year", year_of, end_of_year)):
        flows: defaultdict[date, int] = defaultdict(int)
        for day, flow in days:
            flows[start(day)] += flow
        for first, flow in sorted(flows.items()):
            checked += 1
            before = total(session, moment, first - timedelta(days=1)).net
            if total(session, moment, end(first)).net - before != flow:
                offending.append(f"the cumulative volume does not grow by the entries of the {name} from {first}")
    return checked, offending[:SHOWN]


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
        "The cumulative volume is the same by head, entries, sales, purchases, days, products, sectors, venues, members and trades.",
        all_equal(
            ["head", "entries", "sales", "purchases", "days", *(f"rollups by {name}" for name in _ROLLED), "trades"],
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
                    f"SELECT {_SUM.format('gross')}, {_SUM.format('reversed')} FROM rollup "
                    f"WHERE measure = 'contracted' AND dimension = '{name}'"
                    for name in (Dimension.TOTAL, *_ROLLED)
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
            ["entries", "rollups"],
            [
                "SELECT coalesce(sum(gross), 0) FROM volume_entry WHERE related",
                "SELECT coalesce(sum(gross - reversed), 0) FROM rollup WHERE dimension = 'related'",
            ],
        ),
    ),
    Invariant(
        "6",
        "Stored rollups equal a rebuild from the entries, row by row.",
        none_of("SELECT count(*) FROM rollup", _DIFFERENCES),
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
