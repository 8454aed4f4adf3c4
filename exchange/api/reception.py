"""What every request passes first and last: it gets its id, is counted, measured and logged, and is told to hang up where the service stops."""

import re
import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog
from starlette.datastructures import MutableHeaders, State
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exchange import logs
from exchange.access.callers import KeyHolder
from exchange.api import problems
from exchange.api.metrics import Metrics
from exchange.identifiers import DIGITS, Prefix, written_id
from exchange.problems import Malformed

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD: Final = "other"

POLICY: Final = b"content-security-policy"
SAFE: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""What every answer says to browsers. That only TLS is to be used is for the proxy to say, which has it."""
NOTHING: Final = (POLICY, b"default-src 'none'; frame-ancestors 'none'")
"""What an answer may load, and who may frame it, where its page does not say otherwise."""
PROBES: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""What is asked by address, from within."""

_PORT: Final = re.compile(r":[0-9]*$", re.ASCII)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_ID: Final = re.compile(rf"(?:{'|'.join(Prefix)})_[0-9]{{{DIGITS}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request went: the operation, as in the document, and the route's path with `{id}` in it."""

    operation: str
    path: str | None


NOWHERE: Final = Place("nowhere", None)


def places(routes: Iterable[BaseRoute]) -> dict[Any, Place]:
    """Name each endpoint's place."""
    found: dict[Any, Place] = {}
    for route in routes:
        path: str = getattr(route, "path", "")
        endpoint = getattr(route, "endpoint", None) or getattr(route, "app", None)
        found[endpoint] = Place(getattr(route, "name", None) or path.strip("/").replace("/", "_"), path)
    return found


class HostUnknown(Malformed):
    """The service does not go by the name that was asked."""

    remedy = "Ask by the exchange's own name; its operators list it in EXCHANGE_HOSTS."


class Reception:
    """Stands before a whole application, also before what answers its defects."""

    def __init__(
        self,
        app: ASGIApp,
        places: Mapping[Any, Place],
        metrics: Metrics,
        state: State,
        *,
        access_log: bool,
        hosts: Iterable[str] = (),
    ) -> None:
        """Take the application, its places, its figures, its state, of which `stopping` is looked at, and its names (none: any will do)."""
        self._app = app
        self._places = places
        self._metrics = metrics
        self._state = state
        self._hosts = frozenset(hosts)
        self._log = logs.fast(__name__) if access_log else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["request_id"] = request_id
        # Not taken back at the end: the server may still log of this request, and each has a task, and so a context, of its own.
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status, answered = 500, False

        async def send_on(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                if all(name != POLICY for name, _ in headers.raw):
                    headers.raw.append(NOTHING)
                headers.raw.extend(SAFE)
                if self._state.stopping:
                    headers["Connection"] = "close"
            else:
                answered = not message.get("more_body", False)
            await send(message)

        began = time.perf_counter()
        self._metrics.in_flight.inc()
        try:
            if self._hosts and not self._is_known(scope):
                await problems.respond(HostUnknown("It is no name of this service."))(scope, receive, send_on)
            else:
                await self._app(scope, receive, send_on)
        except Exception:
            # A defect that was answered has been logged too: passed on, it would have the server log it again, and hang up unannounced.
            if not answered:
                raise
        finally:
            self._metrics.in_flight.dec()
            self._note(scope, status, time.perf_counter() - began)

    def _is_known(self, scope: Scope) -> bool:
        """Tell whether a request asks by a name of the service, whatever the port; one that gives two names does not."""
        if scope["path"] in PROBES:
            return True
        given = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
        return len(given) == 1 and _PORT.sub("", given[0]) in self._hosts

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        place = self._places.get(scope.get("endpoint"), NOWHERE)
        method = scope["method"] if scope["method"] in METHODS else OTHER_METHOD
        problem: str | None = scope.get("problem")
        self._metrics.request_done(place.operation, method, status, seconds, problem)
        if self._log is not None:
            said = {"operation": place.operation, "method": method, "path": place.path, "status": status}
            # Where nobody reads the log any more, requests are served all the same.
            with suppress(OSError):
                self._log.info("request", **said, **_who_and_what(scope), duration_ms=round(seconds * 1_000, 3))


def _who_and_what(scope: Scope) -> dict[str, object]:
    """Say who asked, of what, and what was wrong; of what was sent, only an id that has the form of one."""
    said: dict[str, object] = {}
    if (given := scope.get("path_params", {}).get("id")) is not None and _ID.fullmatch(given):
        said["id"] = given
    if (problem := scope.get("problem")) is not None:
        said["problem"] = problem
    caller: KeyHolder | None = scope.get("caller")
    if caller is not None and caller.key_id is not None:
        said["key_id"] = written_id(Prefix.KEY, caller.key_id)
        said["role"] = caller.role
    return said
