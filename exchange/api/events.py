"""What happened, in order, over HTTP: to be followed by asking again with `after`, waiting up to half a minute for what comes next."""

import asyncio
import time
from typing import Annotated, Any, Final

import orjson
from pydantic import BaseModel, Field, StringConstraints
from starlette.requests import Request

from exchange.access.callers import KeyHolder
from exchange.access.tables import EVERYBODY
from exchange.api.bodies import Body, QueryWrong
from exchange.api.doors import Office, Read, Route, office
from exchange.api.following import vanished
from exchange.api.shapes import Count, Flag, PositionText
from exchange.identifiers import Prefix, read_any_id, written_id
from exchange.journal.queries import EventFilter, EventPage, events_after
from exchange.journal.tables import Event
from exchange.members.queries import memberships
from exchange.problems import Fault
from exchange.tenancy import read_for

WAIT_LIMIT_S: Final = 30


class EventQuery(Body):
    """Which events. To a member, those to which it is a party."""

    after: PositionText = Field(
        "0", description="a position: what happened after it; 0 from the beginning", examples=["9120"]
    )
    seen: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = Field(
        None,
        description="the leaf hash that you have of `after`: another one there is a conflict, as after the restore of a backup",
    )
    limit: Count = Field(100, ge=1, le=500)
    wait: Count = Field(0, le=WAIT_LIMIT_S, description="so many seconds at most, where nothing has happened yet")
    subject: str | None = Field(None, max_length=16, examples=["trd_000000009120"])
    person: str | None = Field(
        None, max_length=16, description="for staff and regulators", examples=["prs_000000000002"]
    )
    leaves: Flag = Field("false", description="with each event's leaf, byte for byte: for staff and regulators")


class EventShape(BaseModel):
    """One event: an accepted command."""

    position: int
    recorded_at: str
    kind: str = Field(examples=["trade.contracted"])
    subject: str | None = Field(description="the id of what was made or changed", examples=["trd_000000009120"])
    acting_member: str | None = Field(description="the member that did it; null where staff did")
    acting_for: str | None = Field(
        description="the member for which its agent did it; null where nobody acted for another"
    )
    mandate: str | None = Field(description="by which mandate", examples=["mnd_000000009120"])
    person: str | None = Field(description="who did it; to staff and regulators only")
    key: str | None = Field(description="with which key; to staff and regulators only")
    facts: dict[str, Any] = Field(description="reasons, steps and the like")
    leaf_sha256: str = Field(description="SHA-256 of a zero byte and the leaf (RFC 6962)")
    leaf: str | None = Field(description="canonical JSON, where asked for")


class EventList(BaseModel):
    """What happened after a position."""

    data: list[EventShape]
    position: int = Field(description="how far the journal had come")
    after: int = Field(description="ask again with this one")


async def _list(request: Request, caller: KeyHolder, asked: EventQuery) -> EventList:
    if caller.uscc is not None and (asked.person is not None or asked.leaves == "true"):
        raise QueryWrong(
            "Persons and leaves are not shown to members.", Fault("/leaves", "must be left out, as `person`")
        )
    if asked.seen is not None and asked.after == "0":
        raise QueryWrong(
            "Nothing was seen before the beginning.", Fault("/seen", "must come with the position `after`")
        )
    place = office(request)
    until = time.monotonic() + asked.wait
    page = await _page(place, caller, asked)
    gone = asyncio.create_task(vanished(request.receive))
    try:
        while not page.events and await place.watch.wait(
            page.position, until, lambda: gone.done() or bool(request.app.state.stopping)
        ):
            page = await _page(place, caller, asked)
    finally:
        gone.cancel()
    return EventList(
        data=[_shape(event, caller, leaves=asked.leaves == "true") for event in page.events],
        position=page.position,
        after=page.after,
    )


async def _page(place: Office, caller: KeyHolder, asked: EventQuery) -> EventPage:
    parties = None if caller.uscc is None else await read_for(place.database, caller.uscc, memberships, caller.uscc)
    which = EventFilter(asked.subject, None if asked.person is None else read_any_id(asked.person) or 0, parties)
    seen = None if asked.seen is None else bytes.fromhex(asked.seen)
    return await read_for(place.database, caller.uscc, events_after, int(asked.after), asked.limit, which, seen)


def _shape(event: Event, caller: KeyHolder, *, leaves: bool) -> EventShape:
    leaf = orjson.loads(event.leaf)
    staff = caller.uscc is None
    acting, key, facts = leaf["acting_member"], leaf["key_id"], leaf["facts"]
    principal, mandate = facts.pop("acting_for", None), facts.pop("mandate", None)
    return EventShape(
        position=event.position,
        recorded_at=leaf["recorded_at"],
        kind=event.kind,
        subject=event.subject,
        acting_member=None if acting is None else written_id(Prefix.MEMBER, acting),
        acting_for=None if principal is None else written_id(Prefix.MEMBER, principal),
        mandate=None if mandate is None else written_id(Prefix.MANDATE, mandate),
        person=written_id(Prefix.PERSON, event.person_id) if staff and event.person_id is not None else None,
        key=written_id(Prefix.KEY, key) if staff and key is not None else None,
        facts=facts,
        leaf_sha256=event.leaf_sha256.hex(),
        leaf=event.leaf if leaves else None,
    )


ROUTES: Final[list[Route]] = [
    Read(
        path="/events",
        operation="list_events",
        summary="What happened after a position, in order; with `wait`, or what happens next",
        roles=EVERYBODY,
        answer=_list,
        query=EventQuery,
        shape=EventList,
        errors=(400, 401, 403, 409),
    ),
]
