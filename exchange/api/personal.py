"""Personal data over HTTP: an operator looks at it for a reason that is logged, and erases it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from exchange.api.doors import Route, Write, office, respond
from exchange.api.shapes import Reasoned
from exchange.identifiers import MemberId, PersonId, Prefix
from exchange.journal.commands import Answer
from exchange.members.personal import EraseMemberData, ErasePerson, ReadMemberData, ReadPerson
from exchange.members.queries import person_data, personal_data_of


@dataclass(frozen=True, slots=True)
class Reading(Write[Reasoned]):
    """A write of why something is looked at, answered with it. What the journal keeps of the answer does not hold it."""

    look: Callable[[Session, Any], dict[str, Any]] = person_data

    async def answered(self, request: Request, number: int, answer: Answer) -> Response:
        """Answer with the data. The same request again is not answered with it: each look has its own reason."""
        if answer.replayed:
            return respond(answer, {})
        return respond(answer, {"data": await office(request).database.read(self.look, number)})


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
