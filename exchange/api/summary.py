"""The headline over HTTP."""

import re
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, Field
from sqlmodel import Session
from starlette.requests import Request

from exchange.access.callers import KeyHolder
from exchange.access.tables import READERS
from exchange.api.bodies import Body, QueryWrong
from exchange.api.doors import Read, Route, office
from exchange.api.replica import read_figures
from exchange.api.shapes import Day, MoneyShape
from exchange.problems import Fault
from exchange.regulator.queries import Summary, summary

_POSITION: Final = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_INSTANT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z", re.ASCII)


class SummaryQuery(Body):
    """For which business date, and as known when."""

    as_of: Day | None = Field(None, description="business date; today where left out")
    known_at: str | None = Field(
        None,
        max_length=40,
        description="position, or RFC 3339 instant in UTC",
        examples=["9120"],
        json_schema_extra={"pattern": f"^({_POSITION.pattern}|{_INSTANT.pattern})$"},
    )


class Members(BaseModel):
    """Two numbers that are not the same."""

    active: int
    ever_admitted: int


class Listings(BaseModel):
    """For sale on that day."""

    listed: int


class Trades(BaseModel):
    """Counted and not fully taken back."""

    counted: int


class ContractedShape(BaseModel):
    """`net` = `gross` − `reversed` is the cumulative volume; the venues add up to it, related parties are part of it."""

    gross: MoneyShape
    reversed: MoneyShape
    net: MoneyShape
    net_excluding_vat: MoneyShape
    on_exchange: MoneyShape
    off_exchange_filed: MoneyShape
    related_parties: MoneyShape


class CumulativeShape(BaseModel):
    """By measure."""

    contracted: ContractedShape


class GrowthShape(BaseModel):
    """Four places; null where the base is zero, negative or missing."""

    yoy: str | None
    mom: str | None


class SummaryShape(BaseModel):
    """The headline, as known at `position`: ask again with `as_of` and `known_at` and get the same bytes."""

    as_of: Day
    position: int
    recorded_at: str
    counting_rules: str
    members: Members
    listings: Listings
    trades: Trades
    cumulative_volume: CumulativeShape
    growth: GrowthShape


def known_at(text: str | None) -> int | datetime | None:
    """Read a position or an instant. Raises QueryWrong."""
    if text is None:
        return None
    if _POSITION.fullmatch(text):
        return int(text)
    if _INSTANT.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise QueryWrong(
        "The moment cannot be read.",
        Fault("/known_at", "must be a position, or an instant as 2026-12-31T15:59:59.120000Z"),
    )


async def _summary(request: Request, _: KeyHolder, asked: SummaryQuery) -> dict[str, Any]:
    place = office(request)
    today = place.today()

    def figures(session: Session, moment: int | datetime | None) -> Summary:
        return summary(session, today, asked.as_of, moment)

    found = await read_figures(place.database, place.replica, figures, known_at(asked.known_at))
    return found.shape()


ROUTES: Final[list[Route]] = [
    Read(
        path="/summary",
        operation="show_summary",
        summary="The headline: members, listings, trades, cumulative volume and growth, by business date and by what was known when",
        roles=READERS,
        answer=_summary,
        query=SummaryQuery,
        shape=SummaryShape,
        figure=True,
        errors=(400, 401, 403, 422),
    ),
]
