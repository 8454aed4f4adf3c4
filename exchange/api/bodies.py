"""One strict reader for every body and every query string. It says what is wrong by JSON pointer, and never repeats what was sent."""

import re
from collections import Counter
from functools import cache
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect, Request

from exchange.problems import Fault, Invalid, Malformed, TooLarge, UnsupportedMedia
from exchange.strict_json import NotJson

BODY_LIMIT: Final = 64 * 1024
JSON_TYPE: Final = "application/json"
UTF_8: Final = frozenset({"charset=utf-8", 'charset="utf-8"'})
_SHOWABLE: Final = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)


class Body(BaseModel):
    """A body or query string: exactly these fields, none else."""

    model_config = ConfigDict(extra="forbid", frozen=True)


B = TypeVar("B", bound=Body)


class BodyTooLong(TooLarge):
    """The body is longer than allowed."""

    remedy = "Send less at a time."


class BodyCutOff(Malformed):
    """The connection ended before the body did."""

    remedy = "Send the request again."


class NotJsonType(UnsupportedMedia):
    """The body must be declared as what it is."""

    remedy = "Send one `Content-Type: application/json`, in UTF-8, uncompressed."


class FieldsWrong(Invalid):
    """Some field is missing, unknown or of the wrong form."""

    remedy = "Correct the fields named in `errors`."


class QueryWrong(Malformed):
    """A query parameter is unknown, repeated or of the wrong form."""

    remedy = "Correct the parameters named in `errors`."


async def raw_body(request: Request, limit: int = BODY_LIMIT, media_types: tuple[str, ...] = (JSON_TYPE,)) -> bytes:
    """Read a body of at most `limit` bytes. Raises NotJsonType, BodyTooLong, BodyCutOff."""
    if media_type(request) not in media_types or "content-encoding" in request.headers:
        raise NotJsonType("The media type is " + " or ".join(media_types) + ", in UTF-8, and nothing is compressed.")
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise BodyTooLong(f"At most {limit} bytes are read.")
            chunks.append(chunk)
    except ClientDisconnect:
        raise BodyCutOff("The body is not whole.") from None
    return b"".join(chunks)


def media_type(request: Request) -> str:
    """Give the declared type of a body, without its parameters; nothing where it is declared twice, or not to be in UTF-8."""
    declared = request.headers.getlist("content-type")
    kind, *parameters = (part.strip() for part in (declared[0] if len(declared) == 1 else "").lower().split(";"))
    return kind if all(part in UTF_8 for part in parameters if part.startswith("charset")) else ""


def wants(request: Request, media_type: str) -> bool:
    """Tell whether this type is asked for by name."""
    accepted = (part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(","))
    return media_type in accepted


def canonical_body(value: Any) -> bytes:
    """Write a parsed body in its one form, of which the request's hash is taken. Raises NotJson."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        raise NotJson("The body has half a character: a lone surrogate.") from None


def shaped(model: type[B], canonical: bytes) -> B:
    """Give a body its shape. Raises FieldsWrong."""
    try:
        return model.model_validate_json(canonical, strict=True)
    except ValidationError as error:
        raise FieldsWrong("The body does not have the form that is asked for.", *faults_of(error)) from None


def faults_of(error: ValidationError) -> list[Fault]:
    """Say which fields are at fault and why."""
    return [
        Fault("".join(f"/{part}" for part in _showable(line["loc"])), _rule(line["type"], line["msg"]))
        for line in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def query(model: type[B], request: Request) -> B:
    """Read a query string. Raises QueryWrong."""
    if not request.scope["query_string"]:
        nothing: B = _asked_nothing(model)
        return nothing
    try:
        pairs = parse_qsl(request.scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise QueryWrong("The query string is not UTF-8, percent-encoded.") from None
    if repeated := [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]:
        faults = (Fault(f"/{name}", "must be given once") for name in _showable(tuple(repeated)))
        raise QueryWrong("A parameter is given twice.", *faults)
    return _asked(model, dict(pairs))


@cache
def _asked_nothing(model: type[B]) -> B:
    return _asked(model, {})


def _asked(model: type[B], pairs: dict[str, str]) -> B:
    try:
        return model.model_validate_strings(pairs)
    except ValidationError as error:
        raise QueryWrong("The query string does not have the form that is asked for.", *faults_of(error)) from None


def _showable(place: tuple[int | str, ...]) -> list[str]:
    """Give the way to a field; a name that only its sender knows is not repeated unless it looks like a field's."""
    return [str(part) for part in place if _SHOWABLE.fullmatch(str(part))]


def _rule(kind: str, message: str) -> str:
    rules = {
        "extra_forbidden": "is not known here; leave it out",
        "missing": "is missing",
        "json_invalid": "cannot be read",
    }
    return rules.get(kind) or message.removeprefix("Value error, ")
