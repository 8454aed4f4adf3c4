"""The way in: a request goes straight to the route that its method and path name, and whatever goes wrong there is answered.

The framework tries its routes one after the other, inside six middlewares of which none does anything here: a third of what a write costs.
It still has all the rest: documents, files, other methods, unknown addresses. See docs/decisions.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from exchange.api import problems

Endpoint = Callable[[Request], Awaitable[Response]]

PARAMETER: Final = "{id}"
"""The one parameter that paths have, always alone between slashes."""


class Entrance:
    """Leads requests to plain routes, and all others on."""

    def __init__(self, routes: Iterable[BaseRoute], further: ASGIApp) -> None:
        """Take the routes that there are, and what answers all that they do not."""
        self._further = further
        endpoints: dict[tuple[str, str], Endpoint] = {
            (method, route.path): route.endpoint
            for route in routes
            if isinstance(route, Route)
            for method in route.methods or ()
        }
        self._exact = {key: endpoint for key, endpoint in endpoints.items() if PARAMETER not in key[1]}
        self._templates = {key: endpoint for key, endpoint in endpoints.items() if PARAMETER in key[1]}
        self._places = {path.split("/").index(PARAMETER) for _, path in self._templates}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        endpoint = self._endpoint(scope) if scope["type"] == "http" else None
        if endpoint is None:
            await self._further(scope, receive, send)
            return
        scope["endpoint"] = endpoint
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered
            response = await problems.answer(request, error)
        await response(scope, receive, send)

    def _endpoint(self, scope: Scope) -> Endpoint | None:
        """Find the endpoint, and note what stands in the path for its parameter."""
        method, path = scope["method"], scope["path"]
        found = self._exact.get((method, path))
        if found is not None:
            scope["path_params"] = {}
            return found
        parts = path.split("/")
        for place in self._places:
            if place < len(parts) and parts[place]:
                template = "/".join([*parts[:place], PARAMETER, *parts[place + 1 :]])
                found = self._templates.get((method, template))
                if found is not None:
                    scope["path_params"] = {"id": parts[place]}
                    return found
        return None
