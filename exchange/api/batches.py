"""Many trades in one request."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from exchange.access.callers import KeyHolder
from exchange.api.bodies import JSON_TYPE, Body, NotJson, canonical_body, media_type, parsed, query, raw_body, shaped
from exchange.api.doors import (
    WRITER_CACHE_S,
    authenticated,
    idempotency_key,
    json_response,
    office,
    request_hash,
    respond,
)
from exchange.api.problems import ProblemShape, shape_of
from exchange.api.shapes import Done
from exchange.api.trades import NEW_TRADE, NewTrade, make_trade
from exchange.journal.batch import KeyReused
from exchange.journal.commands import CREATED, Answer, Command, Job
from exchange.problems import Conflict, Fault, Forbidden, Invalid, NotFound, Problem

PATH: Final = "/trades:batch"
NDJSON_TYPE: Final = "application/x-ndjson"
BODY_LIMIT: Final = 16 * 1024 * 1024
ATOMIC_LIMIT: Final = 1_000
ITEM_LIMIT: Final = 10_000
SLICE: Final = 1_000
"""So many items at most are in one transaction; between slices other callers are served."""


class BatchTooLong(Invalid):
    """The batch has more items than allowed, or none."""

    remedy = f"Send 1 to {ATOMIC_LIMIT} items with atomic=true, else 1 to {ITEM_LIMIT}."


class ItemRefused(Invalid):
    """An item was refused, and with it the whole batch: nothing of it is recorded."""

    remedy = "Correct the item named in `errors`, or send the batch with atomic=false."


class BatchQuery(Body):
    """How a batch stands or falls."""

    atomic: Literal["true", "false"] = "false"


class ItemShape(BaseModel):
    """What became of one item, in the order of the request."""

    index: int
    status: int
    body: Done | None = Field(None, description="where it was accepted")
    problem: ProblemShape | None = Field(None, description="where it was refused")


class ItemsShape(BaseModel):
    """What became of each item, where each stands for itself."""

    data: list[ItemShape]


class TogetherShape(BaseModel):
    """What all items answer, where they stand or fall together."""

    data: list[Done]


@dataclass(frozen=True, slots=True)
class Item:
    """One item: its command, or the problem that it has already."""

    index: int
    canonical: bytes
    command: Command | Problem


def read_items(raw: bytes, *, lines: bool) -> list[Any]:
    """Read the items of a JSON array, or one a line, of which each may be a problem. Raises NotJson, BatchTooLong."""
    # Lines are counted before any is read: eight million of them fit.
    items = [line for line in raw.splitlines() if line.strip()] if lines else parsed(raw)
    if not isinstance(items, list):
        raise NotJson("The body is not a JSON array.")
    if not 1 <= len(items) <= ITEM_LIMIT:
        raise BatchTooLong(f"There are {len(items)} items.")
    return [_line(line) for line in items] if lines else items


def _line(line: bytes) -> Any:
    try:
        return parsed(line)
    except NotJson as problem:
        return problem


def _item(index: int, value: Any, caller: KeyHolder) -> Item:
    canonical = b""
    try:
        if isinstance(value, Problem):
            raise value
        canonical = canonical_body(value)
        return Item(index, canonical, make_trade(shaped(NewTrade, canonical), 0, caller))
    except Problem as problem:
        return Item(index, canonical, problem)


async def create_trades(request: Request) -> Response:
    """Answer a batch."""
    caller = await authenticated(request, NEW_TRADE.roles, WRITER_CACHE_S)
    key = idempotency_key(request)
    atomic = query(BatchQuery, request).atomic == "true"
    raw = await raw_body(request, BODY_LIMIT, (JSON_TYPE, NDJSON_TYPE))
    # On a thread: sixteen megabytes take seconds, in which others are served.
    values = await asyncio.to_thread(read_items, raw, lines=media_type(request) == NDJSON_TYPE)
    if atomic:
        return respond(await _together(request, caller, key, values))
    results: list[dict[str, Any]] = []
    for start in range(0, len(values), SLICE):
        items = [_item(index, value, caller) for index, value in enumerate(values[start : start + SLICE], start)]
        results += await asyncio.gather(*(_alone(request, caller, f"{key}/{item.index}", item) for item in items))
    return json_response({"data": results})


async def _together(request: Request, caller: KeyHolder, key: str, values: Sequence[Any]) -> Answer:
    if len(values) > ATOMIC_LIMIT:
        raise BatchTooLong(f"There are {len(values)} items.")
    items = [_item(index, value, caller) for index, value in enumerate(values)]
    commands: list[Command] = []
    for item in items:
        if isinstance(item.command, Problem):
            raise _refused(item.index, item.command)
        commands.append(item.command)
    whole = b"[" + b",".join(item.canonical for item in items) + b"]"
    job = Job(
        tuple(commands),
        caller,
        key,
        request_hash(request, whole),
        CREATED,
        request_id=request.scope["request_id"],
        many=True,
    )
    try:
        return await office(request).journal.do(job)
    except (Invalid, Conflict, NotFound, Forbidden) as problem:
        if isinstance(problem, KeyReused):
            raise
        raise _refused(problem.index, problem) from None


def _refused(index: int, problem: Problem) -> ItemRefused:
    faults = [Fault(f"/{index}{fault.pointer}", fault.rule) for fault in problem.faults]
    detail = f"Item {index}: {problem.title()} {problem.detail}".strip()
    return ItemRefused(detail, *(faults or [Fault(f"/{index}", problem.detail or problem.title())]))


async def _alone(request: Request, caller: KeyHolder, key: str, item: Item) -> dict[str, Any]:
    if isinstance(item.command, Problem):
        return _told(item.index, item.command)
    digest = request_hash(request, item.canonical)
    job = Job((item.command,), caller, key, digest, CREATED, request_id=request.scope["request_id"])
    try:
        answer = await office(request).journal.do(job)
    except Problem as problem:
        return _told(item.index, problem)
    return {"index": item.index, "status": answer.status, "body": orjson.loads(answer.body)}


def _told(index: int, problem: Problem) -> dict[str, Any]:
    shape = shape_of(problem)
    return {"index": index, "status": shape["status"], "problem": shape}
