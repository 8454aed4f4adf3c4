"""How a route is made: who may, what is read, what is done, what the document says of it. A route without a row in the table cannot be opened."""

import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from typing import Any, ClassVar, Concatenate, Final, Generic, ParamSpec, TypeVar

import orjson
from fastapi import FastAPI
from pydantic import BaseModel, Field
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from exchange.access.callers import KeyHolder, secret_hash
from exchange.access.queries import caller_by_secret
from exchange.access.scopes import require, scope_of
from exchange.access.tables import Role
from exchange.agents.tables import MandateStep
from exchange.api.access import ACCESS, Access, RowMissing
from exchange.api.bodies import Body, canonical_body, query, raw_body, shaped
from exchange.api.following import HeadWatch
from exchange.api.rates import Rates, address_of
from exchange.api.refusals import Refusals
from exchange.api.replica import Replica
from exchange.api.representing import ACTING_FOR, as_reader, as_writer
from exchange.api.shapes import Flag
from exchange.api.uses import Uses
from exchange.clock import business_day
from exchange.database import Database
from exchange.identifiers import Prefix, read_any_id, read_id
from exchange.journal.commands import Answer, Command, Job
from exchange.journal.journal import Journal
from exchange.journal.queue import Overloaded
from exchange.problems import Forbidden, Malformed, TooOften, Unauthenticated
from exchange.strict_json import parsed
from exchange.tenancy import read_for

B = TypeVar("B", bound=Body)
P = ParamSpec("P")
T = TypeVar("T")

CALLER_CACHE_S: Final = 1.0
"""So long a read may take a revoked key for live."""
WRITER_CACHE_S: Final = 60.0
"""So long a write's door may: the journal looks at the key again under its lock, so that a revoked one does nothing."""
CALLER_CACHE_LIMIT: Final = 10_000

_IDEMPOTENCY_KEY: Final = re.compile(r"[!-~]{1,255}", re.ASCII)
_TAG: Final = re.compile(r'(?P<weak>W/)?"(?P<position>[0-9]{1,18})"', re.ASCII)
CONDITIONAL: Final = frozenset({Prefix.MEMBER, Prefix.PRODUCT, Prefix.LISTING, Prefix.TRADE})
"""What carries an `ETag`, and can be changed on condition."""


class KeyMissing(Malformed):
    """A write needs an idempotency key."""

    remedy = "Send `Idempotency-Key`: 1 to 255 visible ASCII characters, new for each new request."


class RoleLacksRoute(Forbidden):
    """Your role does not do this."""

    remedy = "Use a key of a role that does."


class WriteQuery(Body):
    """What every write takes beside its body. A parameter that is not understood is refused: it must not be done without it."""

    dry_run: Flag = Field(
        "false", description="`true`: only say what would become of it, as things are now; no Idempotency-Key is needed"
    )


class TagWrong(Malformed):
    """`If-Match` cannot be read, or has no place here."""

    remedy = 'Send the `ETag` of the thing that you change, as `"9120"`; leave it out where nothing is changed.'


@dataclass(slots=True)
class Office:
    """All that the routes work with."""

    database: Database
    journal: Journal
    now: Callable[[], datetime]
    cursor_secret: bytes
    watch: HeadWatch
    rates: Rates
    uses: Uses
    replica: Replica | None = None
    """From which figures are read, where there is one."""
    callers: dict[str, tuple[float, KeyHolder]] = field(default_factory=dict)
    """Who stands behind which secret's hash, and since when that is known."""
    refusals: Refusals = field(default_factory=Refusals)
    """Of those who want to write while too many wait."""

    def today(self) -> date:
        """The business day, by the door's clock."""
        return business_day(self.now())


def office(request: Request) -> Office:
    """Give what the routes work with."""
    found: Office = request.app.state.office
    return found


async def seen_by(
    request: Request,
    caller: KeyHolder,
    query: Callable[Concatenate[Session, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run a query on one snapshot of what the caller may see."""
    return await read_for(office(request).database, caller.uscc, query, *args, **kwargs)


async def authenticated(request: Request, access: Access, cache_s: float = CALLER_CACHE_S) -> KeyHolder:
    """Say who asks, as known no longer than `cache_s` seconds ago. Raises TooOften, Unauthenticated, RoleLacksRoute, ScopeMissing."""
    place = office(request)
    try:
        caller = await _admitted(request, place, cache_s)
    except TooOften:
        await place.refusals.turn()
        raise
    request.scope["caller"] = caller
    place.uses.noted.add(caller.key_id)
    if caller.role not in access.roles:
        raise RoleLacksRoute(f"The role {caller.role} does not do this.")
    require(caller.scopes, access.scope)
    return caller


async def writer(request: Request, access: Access) -> KeyHolder:
    """Say who wants to write; whom the queue would not take is refused before a key is looked up or a body read.

    Raises TooOften, Unauthenticated, RoleLacksRoute, ScopeMissing, Overloaded, Stopping, ActingForWrong.
    """
    place = office(request)
    try:
        place.journal.require_room()
        caller = await authenticated(request, access, WRITER_CACHE_S)
        place.journal.require_room(caller.holder)
    except Overloaded:
        await place.refusals.turn()
        raise
    return as_writer(request, caller)


async def _admitted(request: Request, place: Office, cache_s: float) -> KeyHolder:
    """Find who sent a live key. Raises TooOften, Unauthenticated."""
    address = address_of(request.scope)
    place.rates.addresses.require(address)
    given = request.headers.getlist("authorization")
    scheme, _, text = (given[0] if len(given) == 1 else "").partition(" ")
    digest = secret_hash(text) if scheme.lower() == "bearer" else None
    if digest is None:
        raise Unauthenticated("No live key was sent.")
    caller = await _caller(place, digest, cache_s, address)
    if caller is None:
        await place.rates.failed(address)
    if caller is None or (caller.expires_on is not None and caller.has_ended(place.today())):
        raise Unauthenticated("No live key was sent.")
    place.rates.keys.require(caller.key_id)
    return caller


async def _caller(place: Office, digest: str, cache_s: float, address: str) -> KeyHolder | None:
    cached = place.callers.get(digest)
    moment = time.monotonic()
    if cached is not None and moment < cached[0] + cache_s:
        return cached[1]
    async with place.rates.looking_up(address):
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


def idempotency_key(request: Request, *, dry: bool) -> str:
    """Read the key of a write; empty for a dry run, which needs none, but may not send a wrong one. Raises KeyMissing."""
    keys = request.headers.getlist("idempotency-key")
    if dry and not keys:
        return ""
    if len(keys) != 1 or not _IDEMPOTENCY_KEY.fullmatch(keys[0]):
        raise KeyMissing("There is no key, more than one, or one of another form.")
    return "" if dry else keys[0]


def expected(request: Request) -> frozenset[int] | None:
    """Read `If-Match`: the positions at one of which the caller saw what it changes; None where any will do. Raises TagWrong."""
    given = [tag.strip() for line in request.headers.getlist("if-match") for tag in line.split(",")]
    if not given or given == ["*"]:
        return None
    # A weak tag never matches (RFC 9110, 13.1.1): it is read as that of no position.
    found = [_TAG.fullmatch(tag) for tag in given]
    if not all(found):
        raise TagWrong("It is not a list of entity tags as this service gives them.")
    return frozenset(int(match["position"]) for match in found if match and not match["weak"])


def tag(changed_at: int) -> str:
    """Write the entity tag of what was changed last at a position."""
    return f'"{changed_at}"'


def request_hash(request: Request, canonical: bytes) -> bytes:
    """Hash what is asked: method, path with its query, for whom where not for oneself, and the body in its one form."""
    scope = request.scope
    asked = f"{scope['method']} {scope['path']}?".encode() + scope["query_string"] + b"\n"
    if principal := request.headers.get(ACTING_FOR):
        asked += f"{principal}\n".encode()
    return hashlib.sha256(asked + canonical).digest()


def respond(answer: Answer, beside: dict[str, Any] | None = None) -> Response:
    """Answer with what was committed, say whether it was before, and tell, beside it, what is kept neither here nor on the way."""
    headers = {"Idempotency-Replayed": "true"} if answer.replayed else {}
    body: str | bytes = answer.body
    if beside is not None:
        body = orjson.dumps(orjson.loads(answer.body) | beside)
        headers["Cache-Control"] = "no-store"
    return Response(body, status_code=answer.status, media_type="application/json", headers=headers)


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
    """Empty for a dry run, which needs none."""
    canonical: bytes
    body: B
    expected: frozenset[int] | None = None

    @property
    def dry(self) -> bool:
        """Whether it shall only be said what would become of it."""
        return not self.key


@cache
def roles_of(commands: tuple[type[Command], ...]) -> frozenset[Role]:
    """Say which roles any of these commands allows."""
    return frozenset(Role(role) for command in commands for role in command.allowed if role in set(Role))


EMPTY: Final = b"{}"


def _has_no_body(request: Request) -> bool:
    """Tell whether nothing is sent, nor said of what is sent: only then is a body that is not there as good as an empty object."""
    headers = request.headers
    return headers.get("content-length", "0") == "0" and {"content-type", "transfer-encoding"}.isdisjoint(headers)


async def _canonical(request: Request) -> bytes:
    return canonical_body(parsed(await raw_body(request)))


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
    errors: tuple[int, ...] = (400, 401, 403, 404, 409, 412, 413, 415, 422, 503)
    method: str = "POST"

    @property
    def access(self) -> Access:
        """The route's row in the table."""
        return ACCESS[self.operation]

    @property
    def roles(self) -> frozenset[Role]:
        """Who may: all that any of the commands allows."""
        return roles_of(self.commands)

    async def __call__(self, request: Request) -> Response:
        """Answer a request."""
        asked = await self.read(request)
        number = path_id(request, self.prefix) if self.prefix else 0
        command = self.make(asked.body, number, asked.caller)
        if asked.dry:
            return await self.rehearse(request, asked, command)
        return await self.answered(request, number, await self.do(request, asked, command))

    async def answered(self, request: Request, number: int, answer: Answer) -> Response:
        """Answer with what the command answered; `number` is the id in the path."""
        del request, number
        return respond(answer)

    async def read(self, request: Request) -> Asked[B]:
        """Read a request. Raises Unauthenticated, RoleLacksRoute, Overloaded, Stopping, Malformed, FieldsWrong."""
        caller = await writer(request, self.access)
        dry = query(WriteQuery, request).dry_run == "true"
        key = idempotency_key(request, dry=dry)
        condition = expected(request)
        if condition is not None and self.prefix not in CONDITIONAL:
            raise TagWrong("Nothing that carries an entity tag is changed here.")
        canonical = EMPTY if self.method == "DELETE" and _has_no_body(request) else await _canonical(request)
        return Asked(caller, key, canonical, shaped(self.body, canonical), condition)

    async def do(self, request: Request, asked: Asked[B], command: Command) -> Answer:
        """Have the command done."""
        return await office(request).journal.do(self._job(request, asked, command))

    async def rehearse(self, request: Request, asked: Asked[B], command: Command) -> Response:
        """Say what would become of the command."""
        return await rehearsed(request, self._job(request, asked, command))

    def _job(self, request: Request, asked: Asked[B], command: Command) -> Job:
        return Job(
            (command,),
            asked.caller,
            asked.key,
            request_hash(request, asked.canonical),
            status=self.status_by_role.get(asked.caller.role, self.status),
            request_id=request.scope["request_id"],
            expected=asked.expected,
        )


async def rehearsed(request: Request, job: Job) -> Response:
    """Answer with what would become of a job. Raises what would refuse it."""
    rehearsal = await office(request).journal.rehearse([job])
    [outcome] = rehearsal.outcomes
    if not isinstance(outcome, Answer):
        raise outcome
    return json_response(would_answer(outcome, rehearsal.position))


def would_answer(answer: Answer, position: int) -> dict[str, Any]:
    """Say what a job would be answered, as of a position: all but what only doing it gives (ids of new things, place and time)."""
    told = orjson.loads(answer.body)
    results = told.get("data", [told])
    for result in results:
        for name in ("position", "recorded_at"):
            del result[name]
        for name, value in [*result.items()]:
            if (written := read_any_id(value)) and written > position:
                del result[name]
    answers = results if "data" in told else results[0]
    return {"dry_run": True, "as_of_position": position, "status": answer.status, "would_answer": answers}


@dataclass(frozen=True, slots=True)
class Read(Generic[B]):
    """A route that answers from one snapshot."""

    path: str
    operation: str
    summary: str
    roles: frozenset[Role]
    answer: Callable[[Request, KeyHolder, B], Awaitable[BaseModel | dict[str, Any] | Response]]
    query: type[B]
    shape: type[BaseModel]
    errors: tuple[int, ...] = (400, 401, 403, 404, 422)
    sheet: str | None = None
    """The head of the CSV that it gives where that is asked for."""
    tagged: bool = False
    """Whether the answer is one thing, with the position of its last change, by which it can be changed on condition."""
    figure: bool = False
    """Whether the answer is figures: who has the same bytes already is told so (`If-None-Match`)."""
    mandated: frozenset[MandateStep] = frozenset()
    """Steps of which each lets an agent read this for whom it acts for."""
    method: ClassVar = "GET"

    @property
    def access(self) -> Access:
        """The route's row in the table."""
        return ACCESS[self.operation]

    async def __call__(self, request: Request) -> Response:
        """Answer a request."""
        caller = await authenticated(request, self.access)
        place = office(request)
        caller = await as_reader(request, caller, place.database, place.today, self.mandated)
        answer = await self.answer(request, caller, query(self.query, request))
        response = answer if isinstance(answer, Response) else json_response(answer)
        changed_at = getattr(answer, "changed_at", None) if self.tagged else None
        if changed_at is not None:
            response.headers["ETag"] = tag(changed_at)
        return _unless_known(request, response) if self.figure else response


def _unless_known(request: Request, response: Response) -> Response:
    """Answer 304 to who has these bytes already; to others with their hash."""
    hashed = f'"{hashlib.sha256(response.body).hexdigest()}"'
    headers = {"ETag": hashed, "Cache-Control": "private, no-cache"}
    known = (one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(","))
    if hashed in known:
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response


Route = Write[Any] | Read[Any]


def add(app: FastAPI, routes: Sequence[Route]) -> None:
    """Open routes. They are plain ones, without a framework's dependencies between request and command: see docs/decisions.

    Raises RowMissing.
    """
    for route in routes:
        _require_row(route)
        app.router.add_route(f"/v1{route.path}", _endpoint(route), methods=[route.method], name=route.operation)


def _require_row(route: Route) -> None:
    """Refuse a route that the table does not know, or knows otherwise than its commands do."""
    row = ACCESS.get(route.operation)
    scopes = {scope_of(command) for command in route.commands} if isinstance(route, Write) else {row and row.scope}
    if row is None or row.roles != route.roles or scopes != {row.scope}:
        raise RowMissing(f"{route.operation} has no row of the table, or its row says something else")


def _endpoint(route: Route) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await route(request)

    return endpoint
