"""Lists: a page and the way to the next. A cursor carries its list, filters and caller, is signed, and is of use to nobody else."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel, Field
from starlette.requests import Request

from exchange.access.callers import KeyHolder
from exchange.api.bodies import Body
from exchange.api.doors import office
from exchange.api.shapes import Count
from exchange.problems import Fault, Malformed

T = TypeVar("T")

SIGNATURE_LENGTH: Final = 16


class CursorWrong(Malformed):
    """The cursor is not one that this list gave you."""

    remedy = "Begin the list again without `cursor`; keep the same filters with each one."


class Page(Body):
    """What every list takes."""

    limit: Count = Field(50, ge=1, le=500)
    cursor: str | None = Field(None, max_length=1_000)


class PageShape(BaseModel):
    """What every list answers: rows, and the cursor of the next page or null."""

    next: str | None


def after(request: Request, caller: KeyHolder, page: Page) -> list[Any] | None:
    """Give the place in the list from which to go on; None at its beginning. Raises CursorWrong."""
    if page.cursor is None:
        return None
    try:
        written = page.cursor.encode("ascii")
        raw = base64.urlsafe_b64decode(written)
        signature, payload = raw[:SIGNATURE_LENGTH], raw[SIGNATURE_LENGTH:]
    except ValueError:
        raise _wrong() from None
    # What is no base64 is passed over when it is decoded: a cursor is only what would be written just so.
    if base64.urlsafe_b64encode(raw) != written or not hmac.compare_digest(signature, _signature(request, payload)):
        raise _wrong()
    bound, place = orjson.loads(payload)
    if bound != _bound(request, caller, page):
        raise _wrong()
    found: list[Any] = place
    return found


def cursor(request: Request, caller: KeyHolder, page: Page, place: list[Any]) -> str:
    """Write the cursor that goes on after a place."""
    payload = orjson.dumps([_bound(request, caller, page), place])
    return base64.urlsafe_b64encode(_signature(request, payload) + payload).decode()


def cut(
    request: Request, caller: KeyHolder, page: Page, rows: Sequence[T], place: Callable[[T], list[Any]]
) -> tuple[Sequence[T], str | None]:
    """Cut the row that was asked for beyond the page; give the page and the cursor of the next one, null where there is none."""
    shown = rows[: page.limit]
    return shown, cursor(request, caller, page, place(shown[-1])) if len(rows) > page.limit else None


def _wrong() -> CursorWrong:
    return CursorWrong(
        "The cursor was not given by this list to you.", Fault("/cursor", "must be the `next` of the page before")
    )


def _bound(request: Request, caller: KeyHolder, page: Page) -> str:
    """Tell for which list, filters and caller a cursor is, in a form that is the same each time."""
    filters = page.model_dump(mode="json", exclude={"limit", "cursor"})
    said = orjson.dumps([request.url.path, caller.holder, filters], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(said).hexdigest()[:SIGNATURE_LENGTH]


def _signature(request: Request, payload: bytes) -> bytes:
    return hmac.digest(office(request).cursor_secret, payload, "sha256")[:SIGNATURE_LENGTH]
