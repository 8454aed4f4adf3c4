"""Too much at the door: who has too much waiting is refused before anything is read for it, others are taken, and refusals themselves stay few."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from doors import Door, listed, opened, refused

from exchange.access.callers import written_secret
from exchange.api.refusals import GAP_S, LONGEST_S, Refusals
from exchange.settings import Settings


@pytest.fixture
def narrow(sqlite_url: str) -> Iterator[Door]:
    """A door behind which one command may wait."""
    with opened(sqlite_url, Settings(database_url=sqlite_url, queue_limit=1)) as door:
        yield door


def test_who_has_its_share_waiting_is_refused_unread_others_are_taken_and_of_twice_as_many_nobody_is(
    narrow: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = narrow.place.a_listing()
    buyer, other = (narrow.of(narrow.place.a_member()) for _ in range(2))
    place = narrow.app.state.office
    begun, go_on, run = asyncio.Event(), asyncio.Event(), place.journal._store.run
    looked: list[str] = []

    async def slow(jobs: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await run(jobs)

    async def until_there_wait(number: int) -> None:
        while place.journal.waiting < number:  # noqa: ASYNC110 - the journal has no event for it
            await asyncio.sleep(0)

    def order(by: str, number: int) -> "asyncio.Task[httpx.Response]":
        body = listed(offer) | {"contract_number": f"HT-{number}"}
        return asyncio.create_task(narrow.send("POST", "/v1/trades", by, body))

    async def crowd() -> tuple[list[httpx.Response], list[httpx.Response]]:
        accepted = [order(buyer, 1)]
        await begun.wait()
        accepted.append(order(buyer, 2))
        await until_there_wait(1)
        unread = await narrow.send("POST", "/v1/trades", buyer, b"no JSON")
        whole = await narrow.send("POST", "/v1/trades:batch", buyer, b"no JSON")
        accepted.append(order(other, 3))
        await until_there_wait(2)
        with monkeypatch.context() as patched:
            patched.setattr(place.database, "read", looked.append)
            stranger = await narrow.send("POST", "/v1/trades", written_secret(b"s" * 32), b"")
        go_on.set()
        return list(await asyncio.gather(*accepted)), [unread, whole, stranger]

    monkeypatch.setattr(place.journal._store, "run", slow)
    accepted, others = narrow.wait(crowd())

    assert [answer.status_code for answer in accepted] == [201, 201, 201]
    for answer in others:
        refused(answer, 503, "overloaded")
        assert answer.headers["retry-after"] == "1"
    assert looked == []


def test_refusals_go_out_one_after_the_other_and_none_waits_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    moment, waits = 100.0, []

    async def sleep(seconds: float) -> None:
        waits.append(round(seconds, 6))

    monkeypatch.setattr(time, "monotonic", lambda: moment)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    refusals = Refusals()

    async def crowd(number: int) -> None:
        for _ in range(number):
            await refusals.turn()

    asyncio.run(crowd(6_000))
    many = len(waits)
    moment += LONGEST_S + 1
    asyncio.run(crowd(1))

    assert waits[:3] == [GAP_S, 2 * GAP_S, 3 * GAP_S]
    assert waits[-1] == max(waits) == LONGEST_S
    assert len(waits) == many == 6_000 - 1  # the first of each crowd goes at once
