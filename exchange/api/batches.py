"""Many trades in one request."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import Any, Final

import orjson
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from exchange.access.callers import KeyHolder
from exchange.api import bodies
from exchange.api.access import ACCESS
from exchange.api.bodies import JSON_TYPE, BodyTooLong, canonical_body, media_type, query, raw_body, shaped, wants
from exchange.api.doors import (
    TagWrong,
    WriteQuery,
    expected,
    idempotency_key,
    json_response,
    office,
    rehearsed,
    request_hash,
    respond,
    would_answer,
    writer,
)
from exchange.api.following import vanished
from exchange.api.problems import DEFECT, ProblemShape, shape_of
from exchange.api.shapes import Done, Flag
from exchange.api.trades import NewTrade, make_trade
from exchange.journal.batch import KeyReused, Outcome
from exchange.journal.commands import CREATED, Answer, Command, Job
from exchange.journal.journal import in_turns
from exchange.problems import Conflict, Fault, Forbidden, Invalid, NotFound, Problem
from exchange.strict_json import NotJson, decoded, parsed

PATH: Final = "/trades:batch"
NDJSON_TYPE: Final = "application/x-ndjson"
BODY_LIMIT: Final = 16 * 1024 * 1024
ELEMENT_LIMIT: Final = bodies.BODY_LIMIT
"""As much as a single trade's body may have."""
WHITESPACE: Final = " \t\r\n"
OPENING: Final = frozenset("[{")
CLOSING: Final = frozenset("]}")
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)
"""What tells where items end: strings, in which nothing else does, and what stands between values."""
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


class BatchQuery(WriteQuery):
    """How a batch stands or falls."""

    atomic: Flag = "false"


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


def cut(raw: bytes, *, lines: bool) -> list[str | bytes]:
    """Cut a body into its items, a JSON array's or one a line: still unread, for what is read takes twenty times the room.

    Each item of an array is JSON; a line need not be. Raises NotJson, BatchTooLong, BodyTooLong.
    """
    items: Iterator[str | bytes] = _lines(raw) if lines else _elements(raw)
    found = [*islice(items, ITEM_LIMIT + 1)]
    if not 1 <= len(found) <= ITEM_LIMIT:
        raise BatchTooLong("There are too many items." if found else "There are no items.")
    if not lines:
        for item in found:
            parsed(item)
    return found


def _lines(raw: bytes) -> Iterator[bytes]:
    return (line for line in BytesIO(raw) if line.strip())


def _elements(raw: bytes) -> Iterator[str]:
    text = decoded(raw).strip(WHITESPACE)
    if not text.startswith("["):
        raise NotJson("The body is not a JSON array.")
    depth, start = 0, 1
    for token in _TOKEN.finditer(text):
        mark = token[0]
        ends = depth == 1 and mark in CLOSING
        depth += (mark in OPENING) - (mark in CLOSING)
        if token.start() - start > ELEMENT_LIMIT:
            raise BodyTooLong(f"At most {ELEMENT_LIMIT} characters are read of an item.")
        if ends and token.end() == len(text):
            if start > 1 or text[start : token.start()].strip(WHITESPACE):
                yield text[start : token.start()]
            return
        if depth == 1 and mark == ",":
            yield text[start : token.start()]
            start = token.end()
    raise NotJson("The array has no end, or something follows it.")


def _item(index: int, raw: str | bytes, caller: KeyHolder) -> Item:
    canonical = b""
    try:
        if len(raw) > ELEMENT_LIMIT:
            raise BodyTooLong(f"At most {ELEMENT_LIMIT} bytes are read of an item.")
        canonical = canonical_body(parsed(raw))
        return Item(index, canonical, make_trade(shaped(NewTrade, canonical), 0, caller))
    except Problem as problem:
        return Item(index, canonical, problem)


async def create_trades(request: Request) -> Response:
    """Answer a batch."""
    caller = await writer(request, ACCESS["create_trades"])
    asked = query(BatchQuery, request)
    dry = asked.dry_run == "true"
    key = "" if dry else idempotency_key(request)
    if expected(request) is not None:
        raise TagWrong("Nothing that carries an entity tag is changed here.")
    raw = await raw_body(request, BODY_LIMIT, (JSON_TYPE, NDJSON_TYPE))
    # On a thread: sixteen megabytes take seconds, in which others are served.
    values = await asyncio.to_thread(cut, raw, lines=media_type(request) == NDJSON_TYPE)
    if asked.atomic == "true":
        return await _answer_together(request, await _together(request, caller, key, values), dry=dry)
    if dry:
        return await _rehearsed_alone(request, caller, values)
    told = _done_alone(request, caller, key, values)
    if wants(request, NDJSON_TYPE):
        lines = (b"".join(orjson.dumps(result) + b"\n" for result in results) async for results in told)
        return StreamingResponse(lines, media_type=NDJSON_TYPE, headers={"Cache-Control": "private, no-store"})
    return json_response({"data": [result async for results in told for result in results]})


async def _together(request: Request, caller: KeyHolder, key: str, values: Sequence[str | bytes]) -> Job:
    """Make one job of all items. Raises BatchTooLong, ItemRefused."""
    if len(values) > ATOMIC_LIMIT:
        raise BatchTooLong(f"There are {len(values)} items.")
    items = await _made_ready(values, 0, caller)
    commands: list[Command] = []
    for item in items:
        if isinstance(item.command, Problem):
            raise _refused(item.index, item.command)
        commands.append(item.command)
    whole = b"[" + b",".join(item.canonical for item in items) + b"]"
    request_id = request.scope["request_id"]
    digest = request_hash(request, whole)
    return Job(tuple(commands), caller, key, digest, CREATED, request_id=request_id, many=True)


async def _answer_together(request: Request, job: Job, *, dry: bool) -> Response:
    """Do the job, or only say what would become of it; either is refused in the same words. Raises ItemRefused, KeyReused."""
    try:
        return await rehearsed(request, job) if dry else respond(await office(request).journal.do(job))
    except (Invalid, Conflict, NotFound, Forbidden) as problem:
        if isinstance(problem, KeyReused):
            raise
        raise _refused(problem.index, problem) from None


async def _done_alone(
    request: Request, caller: KeyHolder, key: str, values: Sequence[str | bytes]
) -> AsyncIterator[list[dict[str, Any]]]:
    """Do the items slice by slice, and tell what became of each: while one is committed, the next is made ready.

    Where the client goes away, no more is begun; what is done stays, and is told again where the batch is sent again.
    """
    committing: asyncio.Task[list[dict[str, Any]]] | None = None
    gone = asyncio.create_task(vanished(request.receive))
    start = 0
    try:
        while start < len(values):
            # No slice is larger than what the queue takes: items of a batch that was taken are not turned away for its own length.
            size = max(1, min(SLICE, office(request).journal.room(caller.holder)))
            items = await _made_ready(values[start : start + size], start, caller)
            start += size
            if committing is not None:
                yield await committing
            if gone.done():
                return
            committing = asyncio.create_task(_committed(request, caller, key, items))
        assert committing is not None, "a batch has items"
        yield await committing
    finally:
        gone.cancel()


async def _made_ready(values: Sequence[str | bytes], first: int, caller: KeyHolder) -> list[Item]:
    return [_item(index, value, caller) async for index, value in in_turns(enumerate(values, first))]


async def _committed(request: Request, caller: KeyHolder, key: str, items: Sequence[Item]) -> list[dict[str, Any]]:
    jobs = _jobs(request, caller, f"{key}/", items)
    outcomes = dict(zip(jobs, await office(request).journal.do_all(jobs.values()), strict=True))
    return [_became(item, outcomes, lambda answer: orjson.loads(answer.body)) for item in items]


async def _rehearsed_alone(request: Request, caller: KeyHolder, values: Sequence[str | bytes]) -> Response:
    items = await _made_ready(values, 0, caller)
    # No request's key has a space: what is rehearsed is never taken for something done before.
    jobs = _jobs(request, caller, " ", items)
    rehearsal = await office(request).journal.rehearse(list(jobs.values()))
    outcomes = dict(zip(jobs, rehearsal.outcomes, strict=True))

    def would(answer: Answer) -> Any:
        return would_answer(answer, rehearsal.position)["would_answer"]

    told = [_became(item, outcomes, would) for item in items]
    return json_response({"dry_run": True, "as_of_position": rehearsal.position, "status": 200, "would_answer": told})


def _jobs(request: Request, caller: KeyHolder, key: str, items: Sequence[Item]) -> dict[int, Job]:
    """Make a job of each item that has no problem already, by its index, which its key ends with."""
    request_id = request.scope["request_id"]
    return {
        item.index: Job(
            (item.command,),
            caller,
            f"{key}{item.index}",
            request_hash(request, item.canonical),
            CREATED,
            request_id=request_id,
        )
        for item in items
        if not isinstance(item.command, Problem)
    }


def _became(item: Item, outcomes: Mapping[int, Outcome], body: Callable[[Answer], Any]) -> dict[str, Any]:
    """Tell what became of an item, or what it was refused for before."""
    outcome = item.command if isinstance(item.command, Problem) else outcomes[item.index]
    if isinstance(outcome, Answer):
        return {"index": item.index, "status": outcome.status, "body": body(outcome)}
    shape = shape_of(outcome) if isinstance(outcome, Problem) else DEFECT
    return {"index": item.index, "status": shape["status"], "problem": shape}


def _refused(index: int, problem: Problem) -> ItemRefused:
    faults = [Fault(f"/{index}{fault.pointer}", fault.rule) for fault in problem.faults]
    detail = f"Item {index}: {problem.title()} {problem.detail}".strip()
    return ItemRefused(detail, *(faults or [Fault(f"/{index}", problem.detail or problem.title())]))
