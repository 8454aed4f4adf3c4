"""Mandates over HTTP: members give them to their agents, both sides see them, either ends them."""

from datetime import date
from typing import Final

from pydantic import BaseModel, Field
from starlette.requests import Request

from exchange.access.callers import KeyHolder
from exchange.access.tables import EVERYBODY
from exchange.agents.commands import EndMandate, GrantMandate
from exchange.agents.queries import find_mandate, list_mandates
from exchange.agents.rules import in_force
from exchange.agents.tables import Mandate, MandateState, MandateStep
from exchange.api.bodies import Body
from exchange.api.doors import Read, Route, Write, office, path_id, seen_by
from exchange.api.lists import Page, PageShape, after, cut
from exchange.api.shapes import Day, Nothing, Reasoned, example, id_type
from exchange.identifiers import MandateId, MemberId, Prefix, written_id
from exchange.journal.commands import CREATED

AgentId = id_type(Prefix.MEMBER)


class NewMandate(Body):
    """Whom a member authorises, for what, and until when."""

    model_config = example(
        agent_id="mbr_000000000412", steps=["trades.propose", "trades.confirm"], ends_on="2027-12-31"
    )

    agent_id: AgentId = Field(description="an active member with the role service_org")  # type: ignore[valid-type]
    steps: tuple[MandateStep, ...]
    ends_on: Day = Field(description="the last business day on which it holds, within three years")


class MandateShape(BaseModel):
    """A mandate, as both its sides see it."""

    id: str = Field(examples=["mnd_000000009120"])
    principal: str = Field(description="the member acted for", examples=["mbr_000000000012"])
    principal_uscc: str
    agent: str = Field(description="the member acting", examples=["mbr_000000000412"])
    agent_uscc: str
    steps: list[MandateStep]
    granted_on: date
    ends_on: date
    state: MandateState
    in_force: bool = Field(
        description="whether it is not ended, and its last day not over; it rests while a side is no active member"
    )
    changed_at: int = Field(description="the position of its last change")


class MandateList(PageShape):
    """Mandates, the oldest first."""

    data: list[MandateShape]


def _shape(mandate: Mandate, today: date) -> MandateShape:
    return MandateShape(
        id=written_id(Prefix.MANDATE, mandate.id),
        principal=written_id(Prefix.MEMBER, mandate.principal_id),
        principal_uscc=mandate.principal_uscc,
        agent=written_id(Prefix.MEMBER, mandate.agent_id),
        agent_uscc=mandate.agent_uscc,
        steps=[MandateStep(step) for step in mandate.steps],
        granted_on=mandate.granted_on,
        ends_on=mandate.ends_on,
        state=mandate.state,
        in_force=in_force(mandate, today),
        changed_at=mandate.changed_at,
    )


async def _list(request: Request, caller: KeyHolder, asked: Page) -> MandateList:
    place, today = after(request, caller, asked), office(request).today()
    rows = await seen_by(request, caller, list_mandates, caller.uscc, place[0] if place else None, asked.limit + 1)
    page, following = cut(request, caller, asked, rows, lambda mandate: [mandate.id])
    return MandateList(data=[_shape(mandate, today) for mandate in page], next=following)


async def _show(request: Request, caller: KeyHolder, _: Nothing) -> MandateShape:
    number = MandateId(path_id(request, Prefix.MANDATE))
    found = await seen_by(request, caller, find_mandate, number)
    return _shape(found, office(request).today())


ROUTES: Final[list[Route]] = [
    Write(
        path="/mandates",
        operation="grant_mandate",
        summary="Authorise a service organisation to take named steps for you, until a day",
        commands=(GrantMandate,),
        make=lambda body, _, __: GrantMandate(MemberId(body.agent_id), body.steps, body.ends_on),
        body=NewMandate,
        status=CREATED,
    ),
    Read(
        path="/mandates",
        operation="list_mandates",
        summary="List mandates: to a member those it gave and those it holds",
        roles=EVERYBODY,
        answer=_list,
        query=Page,
        shape=MandateList,
        errors=(400, 401, 403),
    ),
    Read(
        path="/mandates/{id}",
        operation="show_mandate",
        summary="Show a mandate to both its sides",
        roles=EVERYBODY,
        answer=_show,
        query=Nothing,
        shape=MandateShape,
    ),
    Write(
        path="/mandates/{id}/end",
        operation="end_mandate",
        summary="End a mandate at once: as who gave it, or as who holds it",
        commands=(EndMandate,),
        make=lambda body, number, _: EndMandate(MandateId(number), body.reason),
        body=Reasoned,
        prefix=Prefix.MANDATE,
    ),
]
