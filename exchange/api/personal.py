"""Personal data over HTTP: an operator looks at it for a reason that is logged, and erases it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from exchange.api.doors import Route, Write, office, path_id, respond
from exchange.api.shapes import Reasoned
from exchange.identifiers import MemberId, PersonId, Prefix
from exchange.members.personal import EraseMemberData, ErasePerson, ReadMemberData, ReadPerson
from exchange.members.queries import person_data, personal_data_of


@dataclass(frozen=True, slots=True)
class Reading(Write[Reasoned]):
    """A write of why something is looked at, answered with it. What the journal keeps of the answer does not hold it."""

    look: Callable[[Session, Any], dict[str, Any]] = person_data

    async def __call__(self, request: Request) -> Response:
        """Answer a request. The same request again is not answered with the data: each look has its own reason."""
        asked = await self.read(request)
        assert self.prefix is not None
        number = path_id(request, self.prefix)
        command = self.make(asked.body, number, asked.caller)
        if asked.dry:
            return await self.rehearse(request, asked, command)
        answer = await self.do(request, asked, command)
        if answer.replayed:
            response = respond(answer)
        else:
            data = await office(request).database.read(self.look, number)
            told = orjson.loads(answer.body) | {"data": data}
            response = Response(orjson.dumps(told), answer.status, media_type="application/json")
        response.headers["Cache-Control"] = "no-store"
        return response


ROUTES: Final[list[Route]] = [
    Reading(
        path="/persons/{id}/readings",
        operation="read_person",
        summary="Look at a person's name, for a reason that is logged: it is in `data` of the first answer only",
        commands=(ReadPerson,),
        make=lambda body, number, _: ReadPerson(PersonId(number), body.reason),
        body=Reasoned,
        prefix=Prefix.PERSON,
        look=person_data,
    ),
    Write(
        path="/persons/{id}/data",
        method="DELETE",
        operation="erase_person",
        summary="Erase a person's name: what the person did stays under the number",
        commands=(ErasePerson,),
        make=lambda body, number, _: ErasePerson(PersonId(number), body.reason),
        body=Reasoned,
        prefix=Prefix.PERSON,
    ),
    Reading(
        path="/members/{id}/readings",
        operation="read_member_data",
        summary="Look at a member's legal representative and contact, for a reason that is logged: they are in `data` of the first answer only",
        commands=(ReadMemberData,),
        make=lambda body, number, _: ReadMemberData(MemberId(number), body.reason),
        body=Reasoned,
        prefix=Prefix.MEMBER,
        look=personal_data_of,
    ),
    Write(
        path="/members/{id}/data",
        method="DELETE",
        operation="erase_member_data",
        summary="Erase a member's legal representative and contact, the former ones too",
        commands=(EraseMemberData,),
        make=lambda body, number, _: EraseMemberData(MemberId(number), body.reason),
        body=Reasoned,
        prefix=Prefix.MEMBER,
    ),
]
