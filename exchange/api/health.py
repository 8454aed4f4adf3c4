"""Whether the service lives, and whether it can serve."""

import logging
from typing import Final, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from exchange.api.doors import json_response, office
from exchange.api.metrics import metrics
from exchange.journal.journal import Stopping
from exchange.journal.queries import present
from exchange.problems import Unavailable

PATIENCE_S: Final = 0.5
"""So long a replica may take: who asks for readiness does not wait for long."""

log = logging.getLogger(__name__)


class NotReady(Unavailable):
    """The database cannot be read."""


class LiveShape(BaseModel):
    """The process answers."""

    status: Literal["live"]


class ReadyShape(BaseModel):
    """The database can be read, and this is how far the journal has come."""

    status: Literal["ready"]
    position: int
    replica_position: int | None = Field(
        None, description="how far the replica of the figures has come; null where it does not answer"
    )


async def live(_: Request) -> Response:
    """Say that the process answers."""
    return json_response({"status": "live"})


async def ready(request: Request) -> Response:
    """Say where the journal stands. Raises NotReady where it cannot be read, Stopping where the service is about to stop."""
    # A process in whose place another serves ends its connections; the service goes on.
    if request.app.state.stopping and not request.app.state.replaced:
        raise Stopping
    try:
        moment = await office(request).database.read(present)
    except Exception:
        log.exception("The database cannot be read")
        raise NotReady("The journal's head cannot be read.") from None
    metrics(request).head_is(moment.position)
    told = {"status": "ready", "position": moment.position}
    replica = office(request).replica
    if replica is not None:
        # A replica that is away is told, and no more: nothing but figures needs it.
        told["replica_position"] = await replica.position_within(PATIENCE_S)
    return json_response(told)
