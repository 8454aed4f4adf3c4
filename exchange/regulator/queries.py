"""The headline: members, listings, trades, cumulative volume and growth, by business date and by what was known when."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlmodel import Session

from exchange.clock import FIRST_BUSINESS_DAY, instant_text
from exchange.journal.queries import Moment, moment_at
from exchange.listings.queries import listed_count
from exchange.members.queries import active_count, ever_admitted_count
from exchange.money import Money, growth
from exchange.problems import Fault, Invalid
from exchange.volume.queries import NOTHING, Question, Volume, cumulative, first_counted, total
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
    venues = {
        value: volume.net
        for value, volume in cumulative(session, moment, Question(day, dimension=Dimension.VENUE)).items()
    }
    related = cumulative(session, moment, Question(day, dimension=Dimension.RELATED)).get("related", NOTHING)
    return Summary(
        as_of=day,
        moment=moment,
        members_active=active_count(session, moment, day),
        members_ever_admitted=ever_admitted_count(session, moment, day),
        listings_listed=listed_count(session, moment, day),
        contracted=total(session, moment, day),
        on_exchange=venues.get("on_exchange", Money(0)),
        off_exchange_filed=venues.get("off_exchange_filed", Money(0)),
        related_parties=related.net,
        yoy=_growth(session, moment, day, year_of, year_before),
        mom=_growth(session, moment, day, month_of, month_before),
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stood at the end of a day."""

    as_of: date
    members_active: int
    contracted: Volume


def standings(session: Session, moment: Moment, as_of: date) -> list[Standing]:
    """Say how things stood at the end of each month, from the year in which the first trade counts, and on the day itself."""
    end, days = month_of(first_counted(session, moment) or as_of).replace(month=1), []
    while (end := last_day(end)) < as_of:
        days.append(end)
        end = next_month(end)
    return [Standing(day, active_count(session, moment, day), total(session, moment, day)) for day in (*days, as_of)]


def _growth(
    session: Session, moment: Moment, day: date, start: Callable[[date], date], earlier: Callable[[date], date]
) -> str | None:
    """Compare the flow from the start of a day's period with the flow of the same days of the period before."""
    before = earlier(day)
    flow = total(session, moment, day, since=start(day))
    base = total(session, moment, before, since=start(before))
    return growth(flow.net, base.net)
