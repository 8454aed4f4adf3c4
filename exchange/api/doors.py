"""How a route is made: who may, what is read, what is done, what the document says of it. A route without roles cannot be written."""

import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, Generic, TypeVar

import orjson
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from exchange.access.callers import KeyHolder, secret_hash
from exchange.access.queries import caller_by_secret
from exchange.access.tables import Role
from exchange.api.bodies import Body, canonical_body, query, raw_body, shaped
from exchange.clock import business_day
from exchange.database import Database
from exchange.identifiers import Prefix, read_id
from exchange.journal.commands import Answer, Command, Job
from exchange.journal.journal import Journal
from exchange.problems import Forbidden, Malformed, Unauthenticated
from exchange.strict_json import parsed

B = TypeVar("B", bound=Body)

CALLER_CACHE_S: Final = 1.0
"""So long a read may take a revoked key for live."""
WRITER_CACHE_S: Final = 60.0
"""So long a write's door may: the journal looks at the key again under its lock, so that a revoked one does nothing."""
CALLER_CACHE_LIMIT: Final = 10_000

_IDEMPOTENCY_KEY: Final = re.compile(r"[!-~]{1,255}", re.ASCII)


class KeyMissing(Malformed):
    """A write needs an idempotency key."""

    remedy = "Send `Idempotency-Key`: 1 to 255 visible ASCII characters, new for each new request."


class RoleLacksRoute(Forbidden):
    """Your role does not do this."""

    remedy = "Use a key of a role that does."


class RoleMissing(Exception):  # noqa: N818 - reads as what it is
    """A route says for whom it is; this one does not."""


class NoQuery(Body):
    """A write takes no query parameters: one that is not understood must not be done without it."""


@dataclass(slots=True)
class Office:
    """All that the routes work with."""

    database: Database
    journal: Journal
    now: Callable[[], datetime]
    cursor_secret: bytes
    callers: dict[str, tuple[float, KeyHolder]] = field(default_factory=dict)
    """Who stands behind which secret's hash, and since when that is known."""

    def today(self) -> date:
        """The business day, by the door's clock."""
        return business_day(self.now())


def office(request: Request) -> Office:
    """Give what the routes work with."""
    found: Office = request.app.state.office
    return found


async def authenticated(request: Request, roles: frozenset[Role], cache_s: float = CALLER_CACHE_S) -> KeyHolder:
    """Say who asks, as known no longer than `cache_s` seconds ago. Raises Unauthenticated, RoleLacksRoute."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    digest = secret_hash(text) if scheme.lower() == "bearer" else None
    caller = await _caller(office(request), digest, cache_s) if digest else None
    if caller is None:
        raise Unauthenticated("No live key was sent.")
    if caller.role not in roles:
        raise RoleLacksRoute(f"The role {caller.role} does not do this.")
    return caller


async def _caller(place: Office, digest: str, cache_s: float) -> KeyHolder | None:
    cached = place.callers.get(digest)
    moment = time.monotonic()
    if cached is not None and moment < cached[0] + cache_s:
        return cached[1]
    caller = await place.database.read(caller_by_secret, digest)
    if len(place.callers) >= CALLER_CACHE_LIMIT:
        place.callers.clear()
    if caller is None:
        place.callers.pop(digest, None)
    else:
        place.callers[digest] = (moment, caller)
    return caller


def path_id(request: Request, prefix: Prefix) -> int:
    """Read the id in the path; one of another form is read as 0, which nothing has, so that it is refused just as an unknown one."""
    return read_id(prefix, request.path_params["id"]) or 0


def idempotency_key(request: Request) -> str:
    """Read the key of a write. Raises KeyMissing."""
    keys = request.headers.getlist("idempotency-key")
    if len(keys) != 1 or not _IDEMPOTENCY_KEY.fullmatch(keys[0]):
        raise KeyMissing("There is no key, more than one, or one of another form.")
    return keys[0]


def request_hash(request: Request, canonical: bytes) -> bytes:
    """Hash what is asked: method, path with its query, and the body in its one form."""
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    digest.update(canonical)
    return digest.digest()


def respond(answer: Answer) -> Response:
    """Answer with what was committed, and say whether it was before."""
    headers = {"Idempotency-Replayed": "true"} if answer.replayed else None
    return Response(answer.body, status_code=answer.status, media_type="application/json", headers=headers)


def json_response(value: BaseModel | dict[str, Any], status: int = 200) -> Response:
    """Answer a read."""
    raw = value.model_dump_json().encode() if isinstance(value, BaseModel) else orjson.dumps(value)
    return Response(
        raw, status_code=status, media_type="application/json", headers={"Cache-Control": "private, no-store"}
    )


@dataclass(frozen=True, slots=True)
class Asked(Generic[B]):
    """What a write asks for: by whom, under which key, the body in its one form, and in its shape."""

    caller: KeyHolder
    key: str
    canonical: bytes
    body: B


@dataclass(frozen=True, slots=True)
class Write(Generic[B]):
    """A route that has one command done. Who may is what the command allows."""

    path: str
    operation: str
    summary: str
    commands: tuple[type[Command], ...]
    """One of these is made: the document's roles are all of theirs."""
    make: Callable[[B, int, KeyHolder], Command]
    """Body, id in the path (0 where there is none), caller."""
    body: type[B]
    status: int = 200
    prefix: Prefix | None = None
    status_by_role: dict[str, int] = field(default_factory=dict)
    errors: tuple[int, ...] = (400, 401, 403, 404, 409, 413, 415, 422, 503)

    @property
    def roles(self) -> frozenset[Role]:
        """Who may: all that any of the commands allows."""
        return frozenset(Role(role) for command in self.commands for role in command.allowed if role in set(Role))

    async def __call__(self, request: Request) -> Response:
        """Answer a request."""
        asked = await self.read(request)
        number = path_id(request, self.prefix) if self.prefix else 0
        return respond(await self.do(request, asked, self.make(asked.body, number, asked.caller)))

    async def read(self, request: Request) -> Asked[B]:
        """Read a request. Raises Unauthenticated, RoleLacksRoute, Malformed, FieldsWrong."""
        caller = await authenticated(request, self.roles, WRITER_CACHE_S)
        key = idempotency_key(request)
        query(NoQuery, request)
        canonical = canonical_body(parsed(await raw_body(request)))
        return Asked(caller, key, canonical, shaped(self.body, canonical))

    async def do(self, request: Request, asked: Asked[B], command: Command) -> Answer:
        """Have the command done."""
        job = Job(
            (command,),
            asked.caller,
            asked.key,
            request_hash(request, asked.canonical),
            status=self.status_by_role.get(asked.caller.role, self.status),
            request_id=request.scope["request_id"],
        )
        return await office(request).journal.do(job)


@dataclass(frozen=True, slots=True)
class Read(Generic[B]):
    """A route that answers from one snapshot."""

    path: str
    operation: str
    summary: str
    roles: frozenset[Role]
    answer: Callable[[Request, KeyHolder, B], Awaitable[BaseModel | dict[str, Any]]]
    query: type[B]
    shape: type[BaseModel]
    errors: tuple[int, ...] = (400, 401, 403, 404, 422)

    async def __call__(self, request: Request) -> Response:
        """Answer a request."""
        caller = await authenticated(request, self.roles)
        return json_response(await self.answer(request, caller, query(self.query, request)))


Route = Write[Any] | Read[Any]


def add(app: FastAPI, routes: Sequence[Route]) -> None:
    """Open routes. They are plain ones, without a framework's dependencies between request and command: see docs/decisions.

    Raises RoleMissing.
    """
    for route in routes:
        if not route.roles:
            raise RoleMissing(f"{route.operation} is open to nobody")
        app.router.add_route(
            f"/v1{route.path}",
            _endpoint(route),
            methods=["POST" if isinstance(route, Write) else "GET"],
            name=route.operation,
        )


def _endpoint(route: Route) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await route(request)

    return endpoint
