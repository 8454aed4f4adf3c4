"""The headline: members, listings, trades, cumulative volume and growth, by business date and by what was known when."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import select as sa_select
from sqlmodel import Session

from exchange.clock import FIRST_BUSINESS_DAY, instant_text
from exchange.journal.queries import AS_OF, KNOWN_AT, Moment, moment_at
from exchange.listings.queries import LISTED_NOW, LISTED_THEN
from exchange.members.queries import ACTIVE_NOW, ACTIVE_THEN, EVER_ADMITTED_NOW, EVER_ADMITTED_THEN, active_counts
from exchange.money import Money, growth
from exchange.problems import Fault, Invalid
from exchange.volume.queries import NOTHING, Volume, first_month, volumes
from exchange.volume.rules import last_day, month_before, month_of, next_month, year_before, year_of
from exchange.volume.tables import Dimension

COUNTING_RULES: Final = "1"
"""The version of the rules of what counts."""


class AsOfWrong(Invalid):
    """There are no figures for that day."""

    remedy = "Give a day from the beginning of the exchange to today."


@dataclass(frozen=True, slots=True)
class Summary:
    """All that the headline says."""

    as_of: date
    moment: Moment
    members_active: int
    members_ever_admitted: int
    listings_listed: int
    contracted: Volume
    on_exchange: Money
    off_exchange_filed: Money
    related_parties: Money
    yoy: str | None
    mom: str | None

    def shape(self) -> dict[str, object]:
        """Give the headline in its one shape, for the API and the command line alike."""
        volume = self.contracted
        return {
            "as_of": self.as_of.isoformat(),
            "position": self.moment.position,
            "recorded_at": instant_text(self.moment.recorded_at),
            "counting_rules": COUNTING_RULES,
            "members": {"active": self.members_active, "ever_admitted": self.members_ever_admitted},
            "listings": {"listed": self.listings_listed},
            "trades": {"counted": volume.trades},
            "cumulative_volume": {
                "contracted": {
                    "gross": money_shape(volume.gross),
                    "reversed": money_shape(volume.reversed),
                    "net": money_shape(volume.net),
                    "net_excluding_vat": money_shape(volume.net_excluding_vat),
                    "on_exchange": money_shape(self.on_exchange),
                    "off_exchange_filed": money_shape(self.off_exchange_filed),
                    "related_parties": money_shape(self.related_parties),
                }
            },
            "growth": {"yoy": self.yoy, "mom": self.mom},
        }


def money_shape(amount: Money) -> dict[str, str]:
    """Write an amount as the API does: a string of whole fen, so that no client rounds it."""
    return {"amount": str(amount), "currency": "CNY"}


def summary(
    session: Session, today: date, as_of: date | None = None, known_at: int | datetime | None = None
) -> Summary:
    """Answer the headline. `as_of` is a business date, today where None; `known_at` a position or instant, the present where None.

    Raises AsOfWrong, MomentUnknown.
    """
    day = as_of or today
    if not FIRST_BUSINESS_DAY <= day <= today:
        raise AsOfWrong(
            "That day is not one of the exchange's yet.",
            Fault("/as_of", f"must lie between {FIRST_BUSINESS_DAY} and {today}"),
        )
    moment = moment_at(session, known_at)
    year, month = _period(day, year_of, year_before), _period(day, month_of, month_before)
    found = volumes(session, moment, {*year, *month}, (Dimension.TOTAL, Dimension.VENUE, Dimension.RELATED))

    counts = _COUNTS_NOW if moment.knows_all_by(day) else _COUNTS_THEN
    given = {AS_OF.key: day, KNOWN_AT.key: moment.position}
    members_active, members_ever_admitted, listings_listed = session.execute(counts, given).one()

    def net(dimension: Dimension, value: str) -> Money:
        return found[day].get((dimension, value), NOTHING).net

    def grown(period: list[date]) -> str | None:
        now, eve, then, eve_then = (found[one].get(_TOTAL, NOTHING).net for one in period)
        return growth(Money(now - eve), Money(then - eve_then))

    return Summary(
        as_of=day,
        moment=moment,
        members_active=members_active,
        members_ever_admitted=members_ever_admitted,
        listings_listed=listings_listed,
        contracted=found[day].get(_TOTAL, NOTHING),
        on_exchange=net(Dimension.VENUE, "on_exchange"),
        off_exchange_filed=net(Dimension.VENUE, "off_exchange_filed"),
        related_parties=net(Dimension.RELATED, "related"),
        yoy=grown(year),
        mom=grown(month),
    )


_COUNTS_NOW: Final = sa_select(ACTIVE_NOW, EVER_ADMITTED_NOW, LISTED_NOW)
_COUNTS_THEN: Final = sa_select(ACTIVE_THEN, EVER_ADMITTED_THEN, LISTED_THEN)
_TOTAL: Final = (Dimension.TOTAL, "")


def _period(day: date, start: Callable[[date], date], earlier: Callable[[date], date]) -> list[date]:
    """Give a day and the eve of its period, then the same of the period before: the flows between are compared."""
    before = earlier(day)
    return [day, start(day) - timedelta(days=1), before, start(before) - timedelta(days=1)]


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stood at the end of a day."""

    as_of: date
    members_active: int
    contracted: Volume


def standings(session: Session, moment: Moment, as_of: date) -> list[Standing]:
    """Say how things stood at the end of each month, from the year in which the first trade counts, and on the day itself."""
    moment = moment_at(session, moment.position)
    end, days = (first_month(session, moment) or as_of).replace(month=1, day=1), []
    while (end := last_day(end)) < as_of:
        days.append(end)
        end = next_month(end)
    days.append(as_of)
    found = volumes(session, moment, days)
    members = active_counts(session, moment, days)
    return [Standing(day, members[day], found[day].get(_TOTAL, NOTHING)) for day in days]
