"""Every request finds its route as the framework would find it, and goes straight to it."""

from typing import Any

import pytest
from doors import Door, refused
from starlette.routing import Match, Route

from exchange.api.entrance import Entrance
from exchange.app import create_app
from exchange.settings import Settings


async def nowhere(*_: object) -> None:
    raise AssertionError


APP = create_app(Settings(database_url="sqlite:///none.db"))
ROUTES = [route for route in APP.router.routes if isinstance(route, Route)]
ENTRANCE = Entrance(APP.router.routes, nowhere)


def scope(method: str, path: str) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "root_path": "", "path_params": {}}


def found_by_the_framework(asked: dict[str, Any]) -> tuple[Any, dict[str, str]] | None:
    for route in ROUTES:
        match, found = route.matches(asked)
        if match is Match.FULL:
            return found["endpoint"], found["path_params"]
    return None


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_each_route_is_found_by_each_of_its_methods(route: Route) -> None:
    for method in route.methods or ():
        asked = scope(method, route.path.replace("{id}", "trd_000000000009"))
        assert ENTRANCE._endpoint(asked) == route.endpoint
        assert asked["path_params"] == ({"id": "trd_000000000009"} if "{id}" in route.path else {})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/trades//"),
        ("POST", "/v1/trades//review"),
        ("GET", "/v1/trades/"),
        ("GET", "/v1/trades/a/b"),
        ("GET", "/v1/trades/a b"),
        ("GET", "/v1/trades/{id}"),
        ("GET", "/v1/trades/{id}/"),
        ("GET", "/v1"),
        ("GET", "/problems/a"),
        ("GET", "/problems/a/b"),
        ("DELETE", "/v1/trades"),
        ("POST", "/v1/trades/a"),
        ("POST", "/v1/{id}/a"),
        ("GET", "*"),
        ("GET", ""),
    ],
)
def test_an_odd_address_is_found_where_the_framework_finds_it(method: str, path: str) -> None:
    asked = scope(method, path)
    endpoint = ENTRANCE._endpoint(asked)

    assert (None if endpoint is None else (endpoint, asked["path_params"])) == found_by_the_framework(
        scope(method, path)
    )


def test_what_is_no_route_is_answered_by_the_framework(sqlite_door: Door) -> None:
    assert sqlite_door.ask("GET", "/docs/assets/swagger-ui.css").status_code == 200
    refused(sqlite_door.ask("GET", "/v1/nothing"), 404, "no-route")
    refused(sqlite_door.ask("DELETE", "/v1/trades"), 405, "method-wrong")
