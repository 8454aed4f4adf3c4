"""API keys over HTTP: made, listed and revoked, by operators for all and by members for their own people; the secret is shown once."""

import secrets
from datetime import date
from typing import Final

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from exchange.access.callers import SECRET_LENGTH, KeyHolder, secret_hash, written_secret
from exchange.access.commands import CreateKey, RevokeKey
from exchange.access.queries import KeyLine, list_keys
from exchange.access.tables import Role, Scope
from exchange.api.access import BOTH
from exchange.api.bodies import Body
from exchange.api.doors import Read, Route, Write, office, respond, seen_by
from exchange.api.lists import Page, PageShape, after, cut
from exchange.api.shapes import USCC_EXAMPLE, Day, Name, Nothing, Uscc, example
from exchange.clock import instant_text
from exchange.identifiers import KeyId, Prefix, written_id
from exchange.journal.commands import CREATED

ROTATION_REMEDY: Final = "The secret was in the first answer only. Where it is lost, revoke this key and make another with a new Idempotency-Key."


class NewKey(Body):
    """For whom a key is made. The answer holds `secret`, the first time only: the exchange does not keep it."""

    model_config = example(
        role="member",
        person="李四",
        uscc=USCC_EXAMPLE,
        name="billing, read only",
        scopes=["read"],
        expires_on="2030-12-31",
    )

    role: Role
    person: Name = Field(description="Personal: kept erasably", examples=["李四"])
    uscc: Uscc | None = Field(
        None, description="for a member's key, and only for one; a member may leave it out: it is its own"
    )
    name: Name | None = Field(None, description="what its holder calls it", examples=["billing"])
    scopes: tuple[Scope, ...] | None = Field(None, description="what it is restricted to; else all that its role does")
    expires_on: Day | None = Field(None, description="the last day on which it opens anything")


class KeyShape(BaseModel):
    """A key, without its secret."""

    id: str = Field(examples=["key_000000000042"])
    name: str | None
    role: Role
    uscc: str | None
    person: str = Field(examples=["prs_000000000041"])
    scopes: tuple[Scope, ...] | None = Field(description="null: all that its role does")
    expires_on: Day | None
    state: str = Field(description="`active`, `revoked` or `expired`", examples=["active"])
    last_used_at: str | None = Field(
        description="to about a minute; null where it was never used", examples=["2026-12-31T15:59:59.120000Z"]
    )


class KeyList(PageShape):
    """Keys by id."""

    data: list[KeyShape]


def _command(body: NewKey, caller: KeyHolder, digest: str) -> CreateKey:
    own = caller.uscc if body.role is Role.MEMBER and body.uscc is None else body.uscc
    return CreateKey(body.role, body.person, digest, own, body.name, body.scopes, body.expires_on)


class CreateKeyRoute(Write[NewKey]):
    """Makes the secret at the door: the journal gets its hash alone."""

    __slots__ = ()

    async def __call__(self, request: Request) -> Response:
        """Answer a request. A replay does not have the secret any more, and says so."""
        asked = await self.read(request)
        secret = written_secret(secrets.token_bytes(SECRET_LENGTH))
        digest = secret_hash(secret)
        assert digest is not None
        command = _command(asked.body, asked.caller, digest)
        if asked.dry:
            return await self.rehearse(request, asked, command)
        answer = await self.do(request, asked, command)
        return respond(answer, {"secret": None, "remedy": ROTATION_REMEDY} if answer.replayed else {"secret": secret})


def shape_key(line: KeyLine, today: date) -> KeyShape:
    """Shape a key."""
    key, terms = line.key, line.terms
    return KeyShape(
        id=written_id(Prefix.KEY, key.id),
        name=terms.name if terms else None,
        role=key.role,
        uscc=key.uscc,
        person=written_id(Prefix.PERSON, key.person_id),
        scopes=tuple(map(Scope, terms.scopes)) if terms and terms.scopes else None,
        expires_on=terms.expires_on if terms else None,
        state=line.state(today),
        last_used_at=instant_text(line.used_at) if line.used_at else None,
    )


async def _list(request: Request, caller: KeyHolder, asked: Page) -> KeyList:
    place = after(request, caller, asked)
    rows = await seen_by(request, caller, list_keys, place[0] if place else None, asked.limit + 1)
    page, following = cut(request, caller, asked, rows, lambda line: [line.key.id])
    today = office(request).today()
    return KeyList(data=[shape_key(line, today) for line in page], next=following)


ROUTES: Final[list[Route]] = [
    CreateKeyRoute(
        path="/keys",
        operation="create_key",
        summary="Make a key for a person; its `secret` is in the first answer only",
        commands=(CreateKey,),
        make=lambda body, _, caller: _command(body, caller, ""),
        body=NewKey,
        status=CREATED,
        errors=(400, 401, 403, 409, 413, 415, 422, 503),
    ),
    Read(
        path="/keys",
        operation="list_keys",
        summary="List keys: to a member, those of its own company",
        roles=BOTH,
        answer=_list,
        query=Page,
        shape=KeyList,
        errors=(400, 401, 403),
    ),
    Write(
        path="/keys/{id}",
        operation="revoke_key",
        summary="Revoke a key: from this position on it opens nothing",
        commands=(RevokeKey,),
        make=lambda _, number, __: RevokeKey(KeyId(number)),
        body=Nothing,
        prefix=Prefix.KEY,
        method="DELETE",
    ),
]
