"""The OpenAPI document, made from the same tables as the routes, so that it cannot say anything else."""

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from exchange.api.doors import Read, Route, Write
from exchange.api.problems import MEDIA_TYPE, ProblemShape
from exchange.api.shapes import Done

REFERENCE: Final = "#/components/schemas/{model}"

ERRORS: Final = {
    400: "The request cannot be read.",
    401: "The API key is missing, unknown or revoked.",
    403: "Somebody else may do this.",
    404: "There is no such thing, or it is not yours to see.",
    409: "The state of things does not allow this.",
    413: "The body is longer than allowed.",
    415: "The body is not of the type that is needed.",
    422: "A value breaks a rule, or the key was used for another request.",
    503: "Not now: send the same request with the same key again.",
}

KEY_HEADER: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "New for each new request. The same request with the same key gets the first answer again.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$", "examples": ["order-2026-0001"]},
}


def document(title: str, version: str, groups: Sequence[tuple[str, Sequence[Route]]]) -> dict[str, Any]:
    """Write the document of these groups of routes."""
    models: set[type[BaseModel]] = {ProblemShape, Done}
    for _, routes in groups:
        for route in routes:
            models.add(route.body if isinstance(route, Write) else route.shape)
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=REFERENCE)
    paths: dict[str, Any] = {}
    for tag, routes in groups:
        for route in routes:
            verb = "post" if isinstance(route, Write) else "get"
            paths.setdefault(f"/v1{route.path}", {})[verb] = _operation(route, tag)
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
        "tags": [{"name": tag} for tag, _ in groups],
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
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
        "description": "For " + ", ".join(sorted(route.roles)) + ".",
        "tags": [tag],
        "parameters": parameters,
    }
    if isinstance(route, Write):
        parameters.append(KEY_HEADER)
        said["requestBody"] = {"required": True, "content": {"application/json": {"schema": _reference(route.body)}}}
    else:
        parameters += _query_parameters(route)
    said["responses"] = _responses(route)
    return said


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _query_parameters(route: Read[Any]) -> list[dict[str, Any]]:
    schema = route.query.model_json_schema()
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": shape}
        for name, shape in schema.get("properties", {}).items()
    ]


def _responses(route: Route) -> dict[str, Any]:
    if isinstance(route, Write):
        good = {
            str(status): {
                "description": "Accepted and recorded.",
                "content": {"application/json": {"schema": _reference(Done)}},
                "headers": {
                    "Idempotency-Replayed": {
                        "description": "`true` where this is the first answer again.",
                        "schema": {"type": "string", "enum": ["true"]},
                    }
                },
            }
            for status in sorted({route.status, *route.status_by_role.values()})
        }
    else:
        good = {
            "200": {"description": "The answer.", "content": {"application/json": {"schema": _reference(route.shape)}}}
        }
    bad = {
        str(status): {"description": ERRORS[status], "content": {MEDIA_TYPE: {"schema": _reference(ProblemShape)}}}
        for status in route.errors
    }
    return good | bad
