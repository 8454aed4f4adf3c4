"""The operators' desk over HTTP: what waits, and search."""

from datetime import datetime
from operator import itemgetter
from typing import Final

from pydantic import BaseModel, Field
from starlette.requests import Request

from exchange.access.callers import KeyHolder
from exchange.access.tables import READERS
from exchange.api.bodies import Body
from exchange.api.doors import Read, Route, office
from exchange.api.lists import Page, PageShape, after, cut
from exchange.api.members import LOOKS_LIKE, MemberShape, reviews, shape_member, written_members
from exchange.api.shapes import Count, Nothing, Searched
from exchange.api.trades import TradeShape, shape_trade
from exchange.clock import instant_text
from exchange.desk.queries import QUEUES, lengths, search, waiting
from exchange.problems import unseen


class QueueShape(BaseModel):
    """A queue: how many wait, for whom, and how long the first has waited."""

    name: str = Field(examples=["filings"])
    title: str
    title_zh: str
    waits_for: str = Field(description="whose step is next, and which", examples=["operator: review"])
    waiting: int
    oldest: str | None
    oldest_age_days: int | None = Field(description="whole days of 24 hours")


class QueuesShape(BaseModel):
    """All queues."""

    data: list[QueueShape]


class WaitingShape(BaseModel):
    """Something that waits."""

    subject: str = Field(examples=["trd_000000009120"])
    label: str = Field(description="what people call it: a company's name, a title, a contract number")
    since: str
    age_days: int
    looks_like: list[str] | None = Field(
        None,
        description=LOOKS_LIKE + " The oldest for each of its present names; null where no member waits.",
        examples=[["mbr_000000000002"]],
    )


class WaitingList(PageShape):
    """A page of a queue: who has waited longest comes first."""

    data: list[WaitingShape]


class SearchQuery(Body):
    """What to look for."""

    q: Searched = Field(
        description="uscc, id, contract number, a party's reference, or any part of a name or its pinyin initials",
        examples=["湘数"],
    )
    limit: Count = Field(20, ge=1, le=100)


class SearchShape(BaseModel):
    """What was found."""

    members: list[MemberShape]
    trades: list[TradeShape]


def _age_days(now: datetime, since: datetime) -> int:
    return max(0, (now - since).days)


async def _queues(request: Request, _: KeyHolder, __: Nothing) -> QueuesShape:
    now = office(request).now()
    found = await office(request).database.read(lengths, now)
    return QueuesShape(
        data=[
            QueueShape(
                name=name,
                title=queue.title,
                title_zh=queue.title_zh,
                waits_for=queue.waits_for,
                waiting=found[name].waiting,
                oldest=None if (oldest := found[name].oldest) is None else instant_text(oldest),
                oldest_age_days=None if oldest is None else _age_days(now, oldest),
            )
            for name, queue in QUEUES.items()
        ]
    )


async def _waiting(request: Request, caller: KeyHolder, asked: Page) -> WaitingList:
    name, now, place = request.path_params["id"], office(request).now(), after(request, caller, asked)
    if name not in QUEUES:
        raise unseen()
    rows = await office(request).database.read(waiting, name, now, place, asked.limit + 1, reviews=reviews(caller))
    page, following = cut(request, caller, asked, rows, itemgetter(1))
    return WaitingList(
        data=[
            WaitingShape(
                subject=one.subject,
                label=one.label,
                since=instant_text(one.since),
                age_days=_age_days(now, one.since),
                looks_like=written_members(one.looks_like),
            )
            for one, _ in page
        ],
        next=following,
    )


async def _search(request: Request, caller: KeyHolder, asked: SearchQuery) -> SearchShape:
    found = await office(request).database.read(search, asked.q, asked.limit)
    return SearchShape(
        members=[shape_member(member, caller) for member in found.members],
        trades=[shape_trade(deal, caller) for deal in found.trades],
    )


ROUTES: Final[list[Route]] = [
    Read(
        path="/queues",
        operation="list_queues",
        summary="What waits for a decision: how many, for whom, how long",
        roles=READERS,
        answer=_queues,
        query=Nothing,
        shape=QueuesShape,
        errors=(400, 401, 403),
    ),
    Read(
        path="/queues/{id}",
        operation="show_queue",
        summary="What waits in a queue, who has waited longest first",
        roles=READERS,
        answer=_waiting,
        query=Page,
        shape=WaitingList,
        errors=(400, 401, 403, 404),
    ),
    Read(
        path="/search",
        operation="search",
        summary="Find members and trades by whatever is known of them",
        roles=READERS,
        answer=_search,
        query=SearchQuery,
        shape=SearchShape,
        errors=(400, 401, 403),
    ),
]
