"""What must be true of the volume."""

from collections import defaultdict
from datetime import date
from typing import Final

from sqlmodel import Session, col, select

from exchange.journal.invariants import SHOWN, Invariant, all_equal, none_of
from exchange.journal.queries import present
from exchange.volume.queries import total
from exchange.volume.rules import last_day, month_of
from exchange.volume.tables import Dimension, Rollup

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
    """Compare the flow of each month and year, and the cumulative total at its ends, as the public query gives them."""
    moment = present(session)
    days = session.exec(
        select(col(Rollup.effective_on))
        .where(Rollup.dimension == Dimension.TOTAL)
        .distinct()
        .order_by(col(Rollup.effective_on))
    )
    months: defaultdict[date, set[date]] = defaultdict(set)
    for day in days:
        months[day.replace(month=1, day=1)].add(month_of(day))
    offending, checked = [], 0
    for year, in_year in months.items():
        checked += 1 + len(in_year)
        flows = {month: total(session, moment, last_day(month), since=month).net for month in in_year}
        end = year.replace(month=12, day=31)
        if total(session, moment, end, since=year).net != sum(flows.values()):
            offending.append(f"the months of {year.year} do not sum to the year")
        for month, flow in flows.items():
            before = total(session, moment, date.fromordinal(month.toordinal() - 1)).net
            if total(session, moment, last_day(month)).net - before != flow:
                offending.append(f"the cumulative volume does not grow by the flow of {month:%Y-%m}")
    return checked, offending[:SHOWN]


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
    Invariant("7", "The cumulative volume grows by each month's flow, and months sum to the year.", _flows_add_up),
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
    Invariant(
        "V1",
        "The months are closed up to the last closed one, without gap.",
        none_of(
            "SELECT count(*) FROM closed_month",
            "SELECT closed_through FROM closing WHERE NOT EXISTS (SELECT 1 FROM closed_month)",
            "SELECT max(m.month) AS month, max(c.closed_through) AS closed_through FROM closed_month m LEFT JOIN closing c ON c.id = 1 "
            "HAVING count(*) > 0 AND (max(c.closed_through) IS NULL OR max(c.closed_through) < max(m.month))",
        ),
    ),
]
