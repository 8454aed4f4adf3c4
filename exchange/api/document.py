"""The OpenAPI document, made from the same tables as the routes, so that it cannot say anything else."""

import json
from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from exchange.agents.steps import STEP_OF
from exchange.api import batches, catalogue, health
from exchange.api.doors import CONDITIONAL, Route, Write, WriteQuery
from exchange.api.links import links_of
from exchange.api.problems import MEDIA_TYPE, ProblemShape
from exchange.api.shapes import USCC_EXAMPLE, Done, Rehearsed
from exchange.api.sheets import CSV_TYPE
from exchange.api.trades import NEW_TRADE, NewTrade
from exchange.identifiers import USCC_PATTERN

REFERENCE: Final = "#/components/schemas/{model}"

ERRORS: Final = {
    400: "The request cannot be read.",
    401: "The API key is missing, unknown or revoked.",
    403: "Somebody else may do this.",
    404: "There is no such thing, or it is not yours to see.",
    409: "The state of things does not allow this.",
    412: "It has changed since you looked.",
    413: "The body is longer than allowed.",
    415: "The body is not of the type that is needed.",
    422: "A value breaks a rule, or the key was used for another request.",
    429: "Too many requests came from this key or this address in this minute.",
    500: "The service failed at this request: a defect.",
    503: "Not now: send the same request with the same key again.",
}
ALWAYS: Final = (429, 500, 503)
"""What can befall any request."""

ENTITY_TAG: Final = '(W/)?"[0-9]{1,18}"'
IF_MATCH: Final = rf"^(\*|{ENTITY_TAG}( ?, ?{ENTITY_TAG})*)$"
"""What `doors.expected` reads."""
TAG: Final = {
    "ETag": {
        "description": "The position of its last change, in quotes: send it as `If-Match` to change it only as you saw it.",
        "schema": {"type": "string"},
    }
}
HASH: Final = {"ETag": {"description": "The SHA-256 of the answer, in quotes.", "schema": {"type": "string"}}}
KNOWN_HEADER: Final = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of an answer that you have: 304 where it is the same still.",
    "schema": {"type": "string"},
}
TAG_HEADER: Final = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of what is changed, as you saw it: 412 where it has changed since.",
    "schema": {"type": "string", "pattern": IF_MATCH, "examples": ['"9120"']},
}

RETRY_AFTER: Final = {"Retry-After": {"description": "After how many seconds.", "schema": {"type": "string"}}}
HEADERS: Final = {
    401: {"WWW-Authenticate": {"description": "How to say who asks.", "schema": {"type": "string"}}},
    429: RETRY_AFTER
    | {
        "RateLimit-Policy": {
            "description": "What is counted, `q` how many are allowed in `w` seconds (draft-ietf-httpapi-ratelimit-headers).",
            "schema": {"type": "string", "examples": ['"key";q=60000;w=60']},
        },
        "RateLimit": {
            "description": "`r` of them are left for `t` seconds.",
            "schema": {"type": "string", "examples": ['"key";r=0;t=12']},
        },
    },
    503: RETRY_AFTER,
}

KEY_HEADER: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Needed but for a dry run; new for each new request. The same request with the same key gets the first answer again.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$", "examples": ["order-2026-0001"]},
}
ACTING_FOR_HEADER: Final = {
    "name": "Exchange-Acting-For",
    "in": "header",
    "required": False,
    "description": "The code (uscc) of the member for which you act as its agent; it has given you a mandate that covers this.",
    "schema": {"type": "string", "pattern": f"^{USCC_PATTERN}$", "examples": [USCC_EXAMPLE]},
}
REPLAYED: Final = {
    "Idempotency-Replayed": {
        "description": "`true` where this is the first answer again.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}


def document(title: str, version: str, groups: Sequence[tuple[str, Sequence[Route]]]) -> dict[str, Any]:
    """Write the document of these groups of routes, of the batch, and of the service's health."""
    models: set[type[BaseModel]] = {ProblemShape, Done, Rehearsed, NewTrade, batches.ItemsShape, batches.TogetherShape}
    models |= {health.LiveShape, health.ReadyShape, catalogue.ProblemTypeShape}
    for _, routes in groups:
        for route in routes:
            models.add(route.body if isinstance(route, Write) else route.shape)
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=REFERENCE)
    paths: dict[str, Any] = {}
    for tag, routes in groups:
        for route in routes:
            paths.setdefault(f"/v1{route.path}", {})[route.method.lower()] = _operation(route, tag)
    paths[f"/v1{batches.PATH}"] = {"post": _batch()}
    paths["/livez"] = {"get": _health("show_life", "Say that the process answers", health.LiveShape)}
    paths["/readyz"] = {"get": _health("show_readiness", "Say that the database can be read", health.ReadyShape, 503)}
    paths["/metrics"] = {"get": _metrics()}
    paths[catalogue.PATH] = {"get": _problem()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": "The ledger of a data exchange. Amounts are strings of whole fen; business dates are days in Asia/Shanghai.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": [*({"name": tag} for tag, _ in groups), {"name": "health"}, {"name": "problems"}],
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "responses": {f"Error{status}": _error(status) for status in ERRORS},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key, `exk_…`"}},
        },
    }


def _operation(route: Route, tag: str) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = []
    if "{id}" in route.path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": {"type": "string"}})
    said: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "description": _for_whom(route),
        "tags": [tag],
        "parameters": parameters,
    }
    if isinstance(route, Write):
        parameters += [
            KEY_HEADER,
            *([ACTING_FOR_HEADER] if STEP_OF.keys() & set(route.commands) else []),
            *_query_parameters(WriteQuery),
            *([TAG_HEADER] if route.prefix in CONDITIONAL else []),
        ]
        content = {"schema": _reference(route.body), "example": _example(route.body)}
        said["requestBody"] = {"required": route.method == "POST", "content": {"application/json": content}}
        statuses = sorted({route.status, *route.status_by_role.values()})
        good = {
            status: _good(Done, "Accepted and recorded.", REPLAYED) | links_of(route.operation, status)
            for status in statuses
        }
        good[200] = _or_rehearsed(good.get(200))
    else:
        parameters += [*([ACTING_FOR_HEADER] if route.mandated else []), *_query_parameters(route.query)]
        good = {200: _good(route.shape, "The answer.", TAG if route.tagged else HASH if route.figure else None)}
        if route.figure:
            parameters.append(KNOWN_HEADER)
            good[304] = {"description": "You have these bytes already.", "headers": HASH}
        if route.sheet is not None:
            good[200]["content"][CSV_TYPE] = {"schema": {"type": "string"}, "example": route.sheet}
    said["responses"] = _responses(good, *route.errors, *ALWAYS)
    return said


def _for_whom(route: Route) -> str:
    return f"For {', '.join(sorted(route.roles))}. Scope: {route.access.scope}."


def _or_rehearsed(good: dict[str, Any] | None) -> dict[str, Any]:
    """Add the answer of a dry run to that of a write."""
    if good is None:
        return _good(Rehearsed, "What would become of it, where `dry_run` is true.")
    shapes = [*(content["schema"] for content in good["content"].values()), _reference(Rehearsed)]
    return good | {"content": {"application/json": {"schema": {"anyOf": shapes}}}}


def _batch() -> dict[str, Any]:
    item = _example(NewTrade)
    array = {"type": "array", "items": _reference(NewTrade), "minItems": 1, "maxItems": batches.ITEM_LIMIT}
    return {
        "operationId": "create_trades",
        "summary": "Make many trades: each for itself, or all together",
        "description": (
            f"{_for_whom(NEW_TRADE)} With atomic=true, 1 to {batches.ATOMIC_LIMIT} items stand or fall together. "
            f"Else 1 to {batches.ITEM_LIMIT} items stand each for itself: item i is recorded under the key `KEY/i`, so that the same "
            "request sent again finishes what is missing."
        ),
        "tags": ["trades"],
        "parameters": [KEY_HEADER, ACTING_FOR_HEADER, *_query_parameters(batches.BatchQuery)],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": array, "example": [item]},
                batches.NDJSON_TYPE: {"schema": {"type": "string"}, "example": json.dumps(item, ensure_ascii=False)},
            },
        },
        "responses": _responses(
            {
                200: _items(),
                201: _good(batches.TogetherShape, "All items are accepted and recorded.", REPLAYED),
            },
            *(400, 401, 403, 413, 415, 422),
            *ALWAYS,
        ),
    }


def _items() -> dict[str, Any]:
    good = _or_rehearsed(
        _good(batches.ItemsShape, "What became of each item, in order, or would where `dry_run` is true.")
    )
    line = {"schema": {"type": "string", "description": "an ItemShape a line, sent as each slice is done"}}
    good["content"][batches.NDJSON_TYPE] = line
    return good


def _health(operation: str, summary: str, shape: type[BaseModel], *errors: int) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "description": "For everybody, without a key.",
        "tags": ["health"],
        "security": [],
        "parameters": [],
        "responses": _responses({200: _good(shape, "The answer.")}, *errors),
    }


def _problem() -> dict[str, Any]:
    said = _health(
        "show_problem", "Explain a type of problem: its `type` is this address", catalogue.ProblemTypeShape, 404
    )
    said["responses"]["200"]["content"][catalogue.HTML_TYPE] = {"schema": {"type": "string"}}
    name = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "examples": ["amount-wrong"]}}
    return said | {"tags": ["problems"], "parameters": [name]}


def _metrics() -> dict[str, Any]:
    text = {"schema": {"type": "string"}, "example": "exchange_journal_head_position 9120.0\n"}
    return {
        "operationId": "show_metrics",
        "summary": "Give the service's figures as Prometheus reads them",
        "description": "For everybody, without a key: keep it behind the proxy. There is no sum of money in it.",
        "tags": ["health"],
        "security": [],
        "parameters": [],
        "responses": {"200": {"description": "The figures.", "content": {"text/plain": text}}},
    }


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _example(model: type[BaseModel]) -> Any:
    """Give a body's example: every body has one."""
    return model.model_json_schema()["examples"][0]


def _query_parameters(query: type[BaseModel]) -> list[dict[str, Any]]:
    schema = query.model_json_schema(ref_template=REFERENCE)
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _never_null(shape)}
        for name, shape in schema.get("properties", {}).items()
    ]


def _never_null(shape: dict[str, Any]) -> dict[str, Any]:
    """Take null out of a parameter's schema: what is null in Python is left out of a query string, which has no such value."""
    branches = [branch for branch in shape.get("anyOf", ()) if branch != {"type": "null"}]
    if len(branches) != 1:
        return shape
    return {**branches[0], **{name: value for name, value in shape.items() if name not in {"anyOf", "default"}}}


def _good(shape: type[BaseModel], description: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    said: dict[str, Any] = {"description": description, "content": {"application/json": {"schema": _reference(shape)}}}
    return said | ({"headers": headers} if headers else {})


def _error(status: int) -> dict[str, Any]:
    said = {"description": ERRORS[status], "content": {MEDIA_TYPE: {"schema": _reference(ProblemShape)}}}
    return said | ({"headers": HEADERS[status]} if status in HEADERS else {})


def _responses(good: dict[int, dict[str, Any]], *errors: int) -> dict[str, Any]:
    bad = {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in errors}
    return {str(status): said for status, said in good.items()} | bad
