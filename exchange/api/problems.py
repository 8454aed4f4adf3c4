"""Problems as RFC 9457 `application/problem+json`: one table from kinds to statuses."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import orjson
from fastapi import FastAPI
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoneFree
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from exchange.database import is_away
from exchange.journal.journal import DatabaseAway
from exchange.problems import (
    Conflict,
    Forbidden,
    Invalid,
    Malformed,
    NotFound,
    PreconditionFailed,
    Problem,
    TooLarge,
    TooOften,
    TooSlow,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)

MEDIA_TYPE: Final = "application/problem+json"
FILES_ALLOW: Final = "GET, HEAD"
"""What the addresses of files take, which are no routes."""


class NoRoute(NotFound):
    """There is nothing at this address."""

    remedy = "Look at /docs for what there is."


class MethodWrong(Malformed):
    """This address does not take this method."""

    remedy = "Look at /docs for what it takes."


STATUS: Final[dict[type[Problem], int]] = {
    Malformed: 400,
    MethodWrong: 405,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    TooSlow: 408,
    Conflict: 409,
    PreconditionFailed: 412,
    TooLarge: 413,
    UnsupportedMedia: 415,
    Invalid: 422,
    TooOften: 429,
    Unavailable: 503,
}

CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}

DEFECT_TYPE: Final = "defect"
"""The type of what is the service's own fault, for which there is no class of problem."""
DEFECT: Final[dict[str, object]] = {
    "type": f"/problems/{DEFECT_TYPE}",
    "title": "The service failed at this request.",
    "status": 500,
    "detail": "Nothing of it was recorded, as far as the service can tell.",
    "remedy": "Send it again with the same key; if it fails again, tell the exchange the X-Request-ID.",
    "errors": [],
}

log = logging.getLogger(__name__)


class FaultShape(BaseModel):
    """One field at fault."""

    pointer: str = Field(description="JSON pointer into the body, or the name of a parameter", examples=["/gross"])
    rule: str = Field(examples=["must be the sum of net and vat"])


class ProblemShape(BaseModel):
    """What is wrong, which rule says so, and what to do."""

    type: str = Field(description="stable name of this type of problem", examples=["/problems/amount-wrong"])
    title: str
    status: int
    detail: str
    remedy: str
    errors: list[FaultShape]


def status_of(problem: type[Problem]) -> int:
    """Give the status of a type of problem by its kind."""
    return next(STATUS[kind] for kind in problem.__mro__ if kind in STATUS)


def shape_of(problem: Problem) -> dict[str, object]:
    """Give a problem's body."""
    return {
        "type": f"/problems/{problem.type_name()}",
        "title": problem.title(),
        "status": status_of(type(problem)),
        "detail": problem.detail or problem.title(),
        "remedy": problem.remedy,
        "errors": [{"pointer": fault.pointer, "rule": fault.rule} for fault in problem.faults],
    }


def respond(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """Answer with a problem."""
    return Response(
        orjson.dumps(shape_of(problem)),
        status_code=status_of(type(problem)),
        media_type=MEDIA_TYPE,
        headers=_headers(problem) | (headers or {}),
    )


def _headers(problem: Problem) -> dict[str, str]:
    if isinstance(problem, Unavailable):
        return {"Retry-After": str(problem.retry_after_s)}
    if isinstance(problem, TooOften):
        return {
            "Retry-After": str(problem.wait_s),
            "RateLimit-Policy": f'"{problem.policy}";q={problem.limit};w={problem.window_s}',
            "RateLimit": f'"{problem.policy}";r=0;t={problem.wait_s}',
        }
    return CHALLENGE if isinstance(problem, Unauthenticated) else {}


async def _problem(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    return _told(request, problem)


def _allowed(request: Request) -> str:
    """List the methods of all routes at an address: Starlette names those of the first alone."""
    found = (
        route.methods or set()
        for route in request.app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is Match.PARTIAL
    )
    return ", ".join(sorted(set[str]().union(*found))) or FILES_ALLOW


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:  # noqa: PLR2004 - Starlette raises it by number
        allowed = {"Allow": _allowed(request)}
        return _told(request, MethodWrong("The method is not one of those in `Allow`."), allowed)
    return _told(request, NoRoute("There is no such route."))


async def _database(request: Request, error: Exception) -> Response:
    assert isinstance(error, DBAPIError)
    if not is_away(error):
        raise error
    return await _away(request, error)


async def _away(request: Request, error: Exception) -> Response:
    log.error("The database did not answer", exc_info=error)
    return _told(request, DatabaseAway("It could not be read."))


def _told(request: Request, problem: Problem, headers: dict[str, str] | None = None) -> Response:
    request.scope["problem"] = problem.type_name()
    return respond(problem, headers)


async def _defect(request: Request, error: Exception) -> Response:
    log.error("A request failed", exc_info=error)
    request.scope["problem"] = DEFECT_TYPE
    return Response(orjson.dumps(DEFECT), status_code=500, media_type=MEDIA_TYPE)


HANDLERS: Final[dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]] = {
    Problem: _problem,
    HTTPException: _http,
    DBAPIError: _database,
    NoneFree: _away,
    OSError: _away,
    Exception: _defect,
}


async def answer(request: Request, error: Exception) -> Response:
    """Answer whatever went wrong, by its kind."""
    try:
        return await HANDLERS[next(kind for kind in type(error).__mro__ if kind in HANDLERS)](request, error)
    except Exception as defect:  # noqa: BLE001 - one that its kind's handler does not answer
        return await _defect(request, defect)


def install(app: FastAPI) -> None:
    """Let the application answer all that goes wrong as problems."""
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
