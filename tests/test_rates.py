"""Who asks too often is told when to come again; who guesses keys waits; who has the right one never does."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from doors import Door, opened, refused

from exchange.access.callers import written_secret
from exchange.api import rates
from exchange.api.rates import DELAYED_LIMIT, FREE_FAILURES, LONGEST_DELAY_S, Rates, Window, network
from exchange.problems import TooOften
from exchange.settings import Settings

MINUTE_S = 61.0


@pytest.fixture
def door(sqlite_url: str) -> Iterator[Door]:
    """A door at which a key may ask three times a minute, and an address eight times."""
    with opened(sqlite_url, Settings(database_url=sqlite_url, rate_per_key=3, rate_per_address=8)) as made:
        yield made


@pytest.fixture
def open_door(sqlite_url: str) -> Iterator[Door]:
    with opened(sqlite_url, Settings(database_url=sqlite_url, rate_per_key=0, rate_per_address=0)) as made:
        yield made


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note how long answers wait, and let none do."""
    noted: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        noted.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", note)
    return noted


def a_minute_later(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: moment() + MINUTE_S)


def test_a_key_that_asks_too_often_is_told_when_to_come_again_and_others_are_served(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (door.of(door.place.a_member()) for _ in range(2))

    answers = [door.ask("GET", "/v1/members", one) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    refused(answers[-1], 429, "rate-exceeded")
    wait = int(answers[-1].headers["retry-after"])
    assert 1 <= wait <= 60
    assert answers[-1].headers["ratelimit-policy"] == '"key";q=3;w=60'
    assert answers[-1].headers["ratelimit"] == f'"key";r=0;t={wait}'
    assert door.ask("GET", "/v1/members", other).status_code == 200
    a_minute_later(monkeypatch)
    assert door.ask("GET", "/v1/members", one).status_code == 200


def test_a_write_that_is_too_often_leaves_no_trace(door: Door) -> None:
    key = door.of(door.place.a_member())
    for _ in range(3):
        door.ask("GET", "/v1/members", key)
    before = door.place.dump()

    refused(door.ask("POST", "/v1/products", key, {"code": "P-1", "kind": "api"}), 429, "rate-exceeded")

    assert door.place.dump() == before


def test_an_address_that_asks_too_often_is_refused_before_its_key_is_looked_at(door: Door) -> None:
    keys = [door.of(door.place.a_member()) for _ in range(3)]
    for key in (*keys, *keys, *keys[:2]):
        assert door.ask("GET", "/v1/members", key).status_code == 200
    asked = len(door.app.state.office.callers)

    answer = door.ask("GET", "/v1/members", door.operator)

    refused(answer, 429, "rate-exceeded")
    assert answer.headers["ratelimit-policy"] == '"address";q=8;w=60'
    assert len(door.app.state.office.callers) == asked
    assert door.ask("GET", "/livez", None).status_code == 200


def test_wrong_keys_are_answered_ever_later_and_a_right_one_from_there_at_once(
    open_door: Door, waits: list[float]
) -> None:
    wrong = written_secret(b"w" * 32)

    for _ in range(FREE_FAILURES):
        refused(open_door.ask("GET", "/v1/members", wrong), 401, "unauthenticated")
    assert waits == []
    for _ in range(8):
        refused(open_door.ask("GET", "/v1/members", wrong), 401, "unauthenticated")

    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, LONGEST_DELAY_S, LONGEST_DELAY_S]
    assert open_door.ask("GET", "/v1/members", open_door.operator).status_code == 200
    assert len(waits) == 8


def test_without_a_limit_nobody_is_refused(open_door: Door) -> None:
    assert {open_door.ask("GET", "/v1/members", open_door.operator).status_code for _ in range(30)} == {200}


def test_only_so_many_wrong_keys_wait_and_who_waits_for_nothing_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "FIRST_DELAY_S", 60.0)

    async def crowd() -> None:
        counted = Rates(0, 0)
        for _ in range(FREE_FAILURES):
            await counted.failed("one")
        waiting = [asyncio.create_task(counted.failed("one")) for _ in range(DELAYED_LIMIT)]
        await asyncio.sleep(0)
        with pytest.raises(TooOften):
            await counted.failed("one")
        await counted.failed("another")
        waiting[0].cancel()
        await asyncio.gather(waiting[0], return_exceptions=True)
        waiting[0] = asyncio.create_task(counted.failed("one"))
        await asyncio.sleep(0)
        assert not waiting[0].done()
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(crowd())


def test_no_more_are_counted_than_memory_is_meant_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "COUNTED_LIMIT", 3)
    window = Window("address", 1)

    for who in "abcd":
        window.require(who)

    assert [window.so_far(who) for who in "abcd"] == [0, 1, 1, 1]
    with pytest.raises(TooOften):
        window.require("b")


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
    ],
)
def test_an_address_of_ipv6_counts_with_its_network(host: str, counted: str) -> None:
    assert network(host) == counted
    assert rates.address_of({"client": (host, 1)}) == counted


def test_who_comes_without_an_address_is_counted_with_all_who_do() -> None:
    assert rates.address_of({"client": None}) == ""
