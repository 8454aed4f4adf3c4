"""The ASGI application: rooms opened, routes added, and everything given back at the end."""

import gc
import json
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exchange import __version__, clock, revisions
from exchange.api import batches, document, health, keys, listings, members, months, problems, products, summary, trades
from exchange.api.doors import Office, Route, add
from exchange.database import Database
from exchange.journal.journal import Journal
from exchange.journal.opening import open_store
from exchange.settings import Settings

TITLE: Final = "Data exchange"
GROUPS: Final[list[tuple[str, list[Route]]]] = [
    ("members", members.ROUTES),
    ("products", products.ROUTES),
    ("listings", listings.ROUTES),
    ("trades", trades.ROUTES),
    ("months", months.ROUTES),
    ("summary", summary.ROUTES),
    ("keys", keys.ROUTES),
]
ONLY_FROM_HERE: Final = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src 'self' 'unsafe-inline'; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the docs may load and ask: nothing of another host."""
ASSETS: Final = Path(fastapi_offline.__file__).parent / "static"

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class RequestIds:
    """Gives each request an id, its own where it brings a well-formed one, and says it in the answer."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the application; uvicorn's factory. Starting it raises SchemaNotCurrent where the database is not up to date."""
    chosen = settings or Settings.read()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(chosen.database_url)
        try:
            await revisions.require_current(database)
            store = open_store(database, clock.now, secrets.token_bytes)
            secret = (
                chosen.cursor_secret.get_secret_value().encode() if chosen.cursor_secret else secrets.token_bytes(32)
            )
            async with Journal(store, chosen.queue_limit) as journal:
                app.state.office = Office(database, journal, clock.now, secret)
                # What has been made by now stays: the collector need not look at it again.
                gc.collect()
                gc.freeze()
                yield
        finally:
            await database.close()

    app = FastAPI(
        title=TITLE,
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(RequestIds)
    problems.install(app)
    for _, routes in GROUPS:
        add(app, routes)
    app.router.add_route(f"/v1{batches.PATH}", batches.create_trades, methods=["POST"], name="create_trades")
    app.router.add_route("/livez", health.live, methods=["GET"])
    app.router.add_route("/readyz", health.ready, methods=["GET"])
    app.router.add_route("/", _home, methods=["GET"])
    app.router.add_route("/docs", _docs, methods=["GET"])
    app.router.add_route("/openapi.json", _openapi, methods=["GET"])
    app.mount("/docs/assets", StaticFiles(directory=ASSETS))
    return app


def openapi() -> dict[str, Any]:
    """Give the OpenAPI document."""
    return document.document(TITLE, __version__, GROUPS)


@cache
def openapi_json() -> str:
    """Write the OpenAPI document as it is committed."""
    return json.dumps(openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


async def _home(_: Request) -> Response:
    return RedirectResponse("/docs", status_code=307)


async def _openapi(_: Request) -> Response:
    return Response(openapi_json(), media_type="application/json")


async def _docs(_: Request) -> Response:
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=TITLE,
        swagger_js_url="/docs/assets/swagger-ui-bundle.js",
        swagger_css_url="/docs/assets/swagger-ui.css",
        swagger_favicon_url="/docs/assets/favicon.png",
        swagger_ui_parameters={"validatorUrl": None},
    )
    page.headers["Content-Security-Policy"] = ONLY_FROM_HERE
    return page
