"""API keys over HTTP: made by operators; the secret is shown once."""

import secrets
from typing import Final

import orjson
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from exchange.access.callers import SECRET_LENGTH, secret_hash, written_secret
from exchange.access.commands import CreateKey, RevokeKey
from exchange.access.tables import Role
from exchange.api.bodies import Body
from exchange.api.doors import Route, Write, respond
from exchange.api.shapes import USCC_EXAMPLE, Nothing, example
from exchange.identifiers import KeyId, Prefix
from exchange.journal.commands import CREATED


class NewKey(Body):
    """For whom a key is made. The answer holds `secret`, the first time only: the exchange does not keep it."""

    model_config = example(role="member", person="李四", uscc=USCC_EXAMPLE)

    role: Role
    person: str = Field(description="Personal: kept erasably", examples=["李四"])
    uscc: str | None = Field(None, description="for a member's key, and only for one")


class CreateKeyRoute(Write[NewKey]):
    """Makes the secret at the door: the journal gets its hash alone."""

    __slots__ = ()

    async def __call__(self, request: Request) -> Response:
        """Answer a request. A replay does not have the secret any more: revoke that key and make another."""
        asked = await self.read(request)
        secret = written_secret(secrets.token_bytes(SECRET_LENGTH))
        digest = secret_hash(secret)
        assert digest is not None
        body = asked.body
        command = CreateKey(body.role, body.person, digest, body.uscc)
        if asked.dry:
            return await self.rehearse(request, asked, command)
        answer = await self.do(request, asked, command)
        response = respond(answer)
        if not answer.replayed:
            response = Response(
                orjson.dumps(orjson.loads(answer.body) | {"secret": secret}),
                answer.status,
                media_type="application/json",
            )
        response.headers["Cache-Control"] = "no-store"
        return response


ROUTES: Final[list[Route]] = [
    CreateKeyRoute(
        path="/keys",
        operation="create_key",
        summary="Make a key for a person; its `secret` is in the first answer only",
        commands=(CreateKey,),
        make=lambda body, _, __: CreateKey(body.role, body.person, "", body.uscc),
        body=NewKey,
        status=CREATED,
        errors=(400, 401, 403, 413, 415, 422, 503),
    ),
    Write(
        path="/keys/{id}/revocation",
        operation="revoke_key",
        summary="Revoke a key: from this position on it opens nothing",
        commands=(RevokeKey,),
        make=lambda _, number, __: RevokeKey(KeyId(number)),
        body=Nothing,
        prefix=Prefix.KEY,
    ),
]
