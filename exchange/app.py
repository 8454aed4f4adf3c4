"""The ASGI application: rooms opened, routes added, and everything given back at the end."""

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from exchange import __version__, clock, revisions, tenancy
from exchange.api import (
    batches,
    catalogue,
    desk,
    document,
    events,
    health,
    keys,
    listings,
    mandates,
    members,
    metrics,
    months,
    personal,
    problems,
    products,
    summary,
    trades,
)
from exchange.api.access import require_rows
from exchange.api.doors import Office, Route, add
from exchange.api.entrance import Entrance
from exchange.api.following import HeadWatch
from exchange.api.rates import Rates
from exchange.api.reception import Reception, places
from exchange.api.replica import replica_opened
from exchange.api.uses import Uses
from exchange.database import Database
from exchange.journal.journal import Journal, look_less_often
from exchange.journal.opening import open_store
from exchange.journal.queries import present
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
    ("mandates", mandates.ROUTES),
    ("personal data", personal.ROUTES),
    ("events", events.ROUTES),
    ("desk", desk.ROUTES),
]
ONLY_FROM_HERE: Final = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src 'self' 'unsafe-inline'; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the docs may load and ask: nothing of another host."""
ASSETS: Final = Path(fastapi_offline.__file__).parent / "static"


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the application; uvicorn's factory. Starting it raises SchemaNotCurrent where the database is not up to date."""
    chosen = settings or Settings.read()
    figures = metrics.Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(chosen.database_url.get_secret_value())
        try:
            await revisions.require_current(database)
            store = open_store(database, clock.now, secrets.token_bytes)
            secret = (
                chosen.cursor_secret.get_secret_value().encode() if chosen.cursor_secret else secrets.token_bytes(32)
            )
            if role := await database.find_member_role(tenancy.TABLES):
                logging.getLogger(__name__).info("Members read as the role %s.", role)
            figures.head_is((await database.read(present)).position)
            async with (
                replica_opened(chosen, database, figures.registry) as replica,
                Journal(store, chosen.queue_limit, figures) as journal,
            ):
                figures.queue_is(lambda: journal.waiting)
                rates, uses = Rates(chosen.rate_per_key, chosen.rate_per_address), Uses(database, clock.now)
                watch = HeadWatch(database)
                app.state.office = Office(database, journal, clock.now, secret, watch, rates, uses, replica)
                look_less_often()
                writing = asyncio.create_task(uses.keep_writing())
                yield
                writing.cancel()
            await uses.write()
        finally:
            await database.close()

    app = FastAPI(
        title=TITLE,
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        redirect_slashes=False,
    )
    app.state.metrics = figures
    app.state.stopping = False
    app.state.replaced = False
    problems.install(app)
    for _, routes in GROUPS:
        add(app, routes)
    app.router.add_route(f"/v1{batches.PATH}", batches.create_trades, methods=["POST"], name="create_trades")
    app.router.add_route("/livez", health.live, methods=["GET"], name="show_life")
    app.router.add_route("/readyz", health.ready, methods=["GET"], name="show_readiness")
    app.router.add_route("/metrics", metrics.show, methods=["GET"], name="show_metrics")
    app.router.add_route(catalogue.PATH, catalogue.show, methods=["GET"], name="show_problem")
    app.router.add_route("/", _home, methods=["GET"], name="home")
    app.router.add_route("/docs", _docs, methods=["GET"], name="docs")
    app.router.add_route("/openapi.json", _openapi, methods=["GET"], name="openapi")
    app.mount("/docs/assets", StaticFiles(directory=ASSETS), name="docs_assets")
    require_rows(str(getattr(route, "name", "")) for route in app.router.routes)
    # Outermost, so that also what the framework answers by itself gets its id, its line and its count.
    app.middleware_stack = Reception(
        Entrance(app.router.routes, app.build_middleware_stack()),
        places(app.router.routes),
        figures,
        app.state,
        access_log=chosen.access_log,
        hosts=chosen.host_names,
    )
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
    return Response(_openapi_bytes(), media_type="application/json")


@cache
def _openapi_bytes() -> bytes:
    # Once for all who ask, also for those who never read it.
    return openapi_json().encode()


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
