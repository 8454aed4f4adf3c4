"""The service as its clients meet it: the whole application over a test's own exchange, asked over HTTP."""

import asyncio
import hashlib
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

import httpx
import orjson
import pytest
from exchanges import Exchange, Party

from exchange import clock
from exchange.access.callers import KeyHolder, secret_hash, written_secret
from exchange.access.commands import CreateKey
from exchange.access.tables import Role
from exchange.app import create_app
from exchange.identifiers import Prefix, written_id
from exchange.journal.callers import Caller
from exchange.money import Price
from exchange.settings import Settings

T = TypeVar("T")

UNKNOWN = 999_999_999_999


def fen(amount: int) -> dict[str, str]:
    return {"amount": str(amount), "currency": "CNY"}


def amounts(price: Price) -> dict[str, Any]:
    return {"net": fen(price.net), "vat": fen(price.vat), "gross": fen(price.gross)}


class Door:
    """A client of the service, and behind it the exchange on the same database, whose clock both use."""

    def __init__(self, url: str) -> None:
        self.place = Exchange.at(url)
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(clock, "now", lambda: self.place.now)
        self._tokens: dict[tuple[Role, str, str | None], str] = {}
        self._keys = count(1)
        self._runner = asyncio.Runner()
        self.app = create_app(Settings(database_url=url))
        self._life = self.app.router.lifespan_context(self.app)
        self.wait(self._life.__aenter__())
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://exchange.test")

    def close(self) -> None:
        self.wait(self.client.aclose())
        self.wait(self._life.__aexit__(None, None, None))
        self._runner.close()
        self._patch.undo()
        self.place.close()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    # Keys

    def token(self, role: Role, name: str, uscc: str | None = None) -> str:
        """Give a key's secret for a person, made when first asked for."""
        who = (role, name, uscc)
        if who not in self._tokens:
            secret = written_secret(hashlib.sha256(repr(who).encode()).digest())
            digest = secret_hash(secret)
            assert digest is not None
            by: Caller = self.place.operator()
            self.place.do(CreateKey(role, name, digest, uscc), by)
            self._tokens[who] = secret
        return self._tokens[who]

    @property
    def operator(self) -> str:
        return self.token(Role.OPERATOR, "Li")

    @property
    def second_operator(self) -> str:
        return self.token(Role.OPERATOR, "Wang")

    @property
    def auditor(self) -> str:
        return self.token(Role.AUDITOR, "Chen")

    @property
    def regulator(self) -> str:
        return self.token(Role.REGULATOR, "Zhao")

    def of(self, party: Party | KeyHolder, person: str = "Zhang") -> str:
        """Give a key of a company's."""
        return self.token(Role.MEMBER, person, party.uscc)

    # Requests

    async def send(
        self,
        method: str,
        path: str,
        by: str | None = None,
        body: Any = None,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        **params: Any,
    ) -> httpx.Response:
        """Send a request; a body of bytes goes as it is, anything else as JSON, and a write gets a new key where none is given."""
        sent = {} if by is None else {"Authorization": f"Bearer {by}"}
        if method == "POST":
            sent |= {"Content-Type": "application/json", "Idempotency-Key": key or f"http-{next(self._keys)}"}
        content = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        return await self.client.request(
            method, path, content=content, headers=sent | (headers or {}), params=params or None
        )

    def ask(self, method: str, path: str, by: str | None = None, body: Any = None, **more: Any) -> httpx.Response:
        return self.wait(self.send(method, path, by, body, **more))

    def get(self, path: str, by: str | None = None, **params: Any) -> Any:
        """Read, and give what is answered."""
        answer = self.ask("GET", path, by, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, by: str, body: Any = None, *, status: int | None = None, key: str | None = None) -> Any:
        """Write, and give what is answered; anything but success fails the test."""
        answer = self.ask("POST", path, by, {} if body is None else body, key=key)
        assert answer.status_code in ({200, 201, 202} if status is None else {status}), answer.text
        return answer.json()

    def all_of(self, path: str, by: str, limit: int, **params: Any) -> list[Any]:
        """Read a list to its end, page by page."""
        found: list[Any] = []
        page = self.get(path, by, limit=limit, **params)
        while page["next"]:
            found += page["data"]
            page = self.get(path, by, limit=limit, cursor=page["next"], **params)
        return found + page["data"]


@contextmanager
def opened(url: str) -> Iterator[Door]:
    """Open a door over a migrated database; its clock stands until it is moved."""
    door = Door(url)
    yield door
    door.close()


def refused(answer: httpx.Response, status: int, type_name: str | None = None) -> dict[str, Any]:
    """Check that an answer is a problem in its one shape; give it."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    problem: dict[str, Any] = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "remedy", "errors"}
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert type_name in {None, problem["type"].removeprefix("/problems/")}, problem
    return problem


def mbr(number: int) -> str:
    return written_id(Prefix.MEMBER, number)


def trd(number: int) -> str:
    return written_id(Prefix.TRADE, number)


def lst(number: int) -> str:
    return written_id(Prefix.LISTING, number)
