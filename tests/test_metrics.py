"""The figures for Prometheus: what moves them, and that nothing but closed lists is in their labels."""

import asyncio
import re
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest
from doors import OPERATIONS, WRITES, Door, amounts, application, listed, opened
from exchanges import Exchange, a_price
from prometheus_client.parser import text_string_to_metric_families

from exchange.api.metrics import CONTENT_TYPE
from exchange.api.problems import DEFECT_TYPE
from exchange.api.replica import Replica
from exchange.app import create_app
from exchange.cli import granting
from exchange.database import Database
from exchange.journal.commands import Answer, Job
from exchange.journal.journal import Journal, commit
from exchange.journal.stores import StoreLost
from exchange.problems import Problem
from exchange.settings import Settings
from exchange.volume.commands import CloseMonth

MARK = "MARK7391"
Figures = dict[tuple[str, ...], float]


def samples(text: str) -> list[Any]:
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def figures(door: Door) -> Figures:
    """Read all figures, each by its name and its labels' values."""
    answer = door.ask("GET", "/metrics")
    assert (answer.status_code, answer.headers["content-type"]) == (200, CONTENT_TYPE)
    return {(one.name, *map(str, one.labels.values())): one.value for one in samples(answer.text)}


def moved(before: Figures, after: Figures) -> Figures:
    """Tell what went up or down, but for buckets, durations and the process's own, and the reading itself."""
    return {
        what: value - before.get(what, 0)
        for what, value in after.items()
        if value != before.get(what, 0)
        and not what[0].endswith(("_bucket", "_seconds_sum"))
        and not what[0].startswith("process_")
        and "show_metrics" not in what
    }


def test_an_accepted_command_moves_what_it_should(door: Door) -> None:
    wish = WRITES["create_trade"](door)
    before = figures(door)

    first = door.ask(wish.method, wish.path, wish.by, wish.body, key="one")
    after = figures(door)
    door.ask(wish.method, wish.path, wish.by, wish.body, key="one")
    again = figures(door)

    assert after["exchange_journal_head_position",] == first.json()["position"] == door.place.position
    assert moved(before, after) == {
        ("exchange_requests_total", "POST", "create_trade", "201"): 1,
        ("exchange_request_seconds_count", "POST", "create_trade"): 1,
        ("exchange_journal_commands_total", "accepted"): 1,
        ("exchange_journal_batch_commands_count",): 1,
        ("exchange_journal_batch_commands_sum",): 1,
        ("exchange_journal_commit_seconds_count",): 1,
        ("exchange_journal_head_position",): first.json()["position"] - before["exchange_journal_head_position",],
    }
    assert moved(after, again)["exchange_journal_commands_total", "replayed"] == 1
    assert ("exchange_journal_head_position",) not in moved(after, again)


def test_a_refused_command_is_counted_by_its_problem(door: Door) -> None:
    buyer, offer = door.place.a_member(), door.place.a_listing()
    short = listed(offer) | amounts(a_price(1))
    before = figures(door)

    assert door.ask("POST", "/v1/trades", door.of(buyer), short).status_code == 422
    assert door.ask("POST", "/v1/trades", door.of(buyer), {MARK: 1}).status_code in {400, 422}
    after = moved(before, figures(door))

    assert after["exchange_journal_commands_total", "refused"] == 1
    [(problem, count)] = [
        (what[1], value) for what, value in after.items() if what[0] == "exchange_journal_refusals_total"
    ]
    assert count == 1
    assert after["exchange_problems_total", problem] == 1
    assert sum(value for what, value in after.items() if what[0] == "exchange_problems_total") == 2
    assert ("exchange_journal_head_position",) not in after


def test_a_batch_counts_each_of_its_commands(sqlite_door: Door) -> None:
    buyer, offer = sqlite_door.place.a_member(), sqlite_door.place.a_listing()
    key = sqlite_door.of(buyer)
    items = [listed(offer) | {"contract_number": f"HT-{number}"} for number in range(3)]
    before = figures(sqlite_door)

    answer = sqlite_door.ask("POST", "/v1/trades:batch", key, items, atomic="true")

    assert answer.status_code == 201
    after = moved(before, figures(sqlite_door))
    assert after["exchange_journal_commands_total", "accepted"] == 3
    assert after["exchange_journal_batch_commands_sum",] == 3
    assert after["exchange_journal_batch_commands_count",] == 1


def test_a_defect_is_counted_as_one(sqlite_door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    wish = WRITES["register_product"](sqlite_door)
    before = figures(sqlite_door)

    def fail(*_: object) -> None:
        raise RuntimeError(MARK)

    with monkeypatch.context() as patch:
        patch.setattr("exchange.listings.commands.add_product", fail)
        assert sqlite_door.ask(wish.method, wish.path, wish.by, wish.body).status_code == 500
    after = moved(before, figures(sqlite_door))

    assert after["exchange_journal_commands_total", "failed"] == 1
    assert after["exchange_problems_total", DEFECT_TYPE] == 1
    assert after["exchange_requests_total", "POST", "register_product", "500"] == 1


def test_a_service_that_starts_knows_where_its_journal_stands(database_url: str) -> None:
    with Exchange.at(database_url) as place:
        operator = place.operator()
        position = place.position
    with opened(database_url) as door:
        found = figures(door)
        door.place.do(CloseMonth(date(2015, 1, 1)), operator, "close")
        assert found["exchange_journal_head_position",] == position
        # What another process wrote is known once it is read.
        assert figures(door)["exchange_journal_head_position",] == position
        door.get("/readyz")
        assert figures(door)["exchange_journal_head_position",] == door.place.position > position


def test_what_waits_and_what_is_in_flight_can_be_seen(sqlite_door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    wish = WRITES["create_trade"](sqlite_door)
    store = sqlite_door.app.state.office.journal._store
    begun, go_on, run = asyncio.Event(), asyncio.Event(), store.run

    async def slow(jobs: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await run(jobs)

    async def look() -> tuple[httpx.Response, list[httpx.Response]]:
        first = asyncio.create_task(sqlite_door.send(wish.method, wish.path, wish.by, wish.body))
        await begun.wait()
        other = wish.body | {"contract_number": "HT-9"}
        second = asyncio.create_task(sqlite_door.send(wish.method, wish.path, wish.by, other))
        while not sqlite_door.app.state.office.journal.waiting:  # noqa: ASYNC110 - the journal has no event for it
            await asyncio.sleep(0)
        seen = await sqlite_door.send("GET", "/metrics")
        go_on.set()
        return seen, list(await asyncio.gather(first, second))

    monkeypatch.setattr(store, "run", slow)
    seen, answers = sqlite_door.wait(look())

    found = {one.name: one.value for one in samples(seen.text)}
    assert found["exchange_journal_queue_commands"] == 1
    assert found["exchange_requests_in_flight"] == 3
    assert [answer.status_code for answer in answers] == [201, 201]
    after = figures(sqlite_door)
    assert after["exchange_journal_queue_commands",] == 0
    assert after["exchange_requests_in_flight",] == 1


def all_problems(kind: type[Problem] = Problem) -> set[str]:
    return {kind.type_name(), *(name for sub in kind.__subclasses__() for name in all_problems(sub))}


def test_labels_come_from_closed_lists_whatever_is_sent(sqlite_door: Door) -> None:
    wish = WRITES["apply_for_membership"](sqlite_door)
    for method in ("GET", "POST", "PROPFIND", MARK):
        for path in (
            f"/{MARK}",
            f"/v1/trades/{MARK}",
            "/v1/members",
            f"/v1/members?q={MARK}",
            f"/docs/assets/{MARK}.js",
        ):
            sqlite_door.ask(method, path, wish.by)
            sqlite_door.ask(method, path, MARK)
    sqlite_door.ask(
        wish.method, wish.path, wish.by, application() | {"legal_name": MARK}, headers={"X-Request-ID": MARK}
    )
    sqlite_door.ask(wish.method, wish.path, wish.by, wish.body)
    for path in ("/", "/docs", "/openapi.json", "/docs/assets/favicon.png"):
        sqlite_door.ask("GET", path)

    text = sqlite_door.ask("GET", "/metrics").text

    allowed = {
        "operation": {*OPERATIONS, "nowhere", "home", "docs", "openapi", "docs_assets"},
        "method": {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"},
        "status": {"200", "201", "307", "400", "401", "403", "404", "405", "409", "415", "422"},
        "problem": all_problems() | {DEFECT_TYPE},
        "outcome": {"accepted", "replayed", "refused", "failed"},
    }
    seen: dict[str, set[str]] = {}
    for one in samples(text):
        if one.name.startswith("exchange_") and one.name != "exchange_build_info":
            for label, value in one.labels.items():
                seen.setdefault(label, set()).add(value)
    assert MARK not in text
    assert set(seen) - {"le"} == set(allowed)
    for label, values in allowed.items():
        assert seen[label] <= values, label
    assert {"nowhere", "docs_assets", "home"} <= seen["operation"]
    assert "other" in seen["method"]


def test_no_sum_of_money_is_in_the_figures(sqlite_door: Door) -> None:
    sqlite_door.place.a_trade()

    names = {one.name for one in samples(sqlite_door.ask("GET", "/metrics").text)}

    assert not [name for name in names if any(word in name for word in ("volume", "gross", "fen", "amount"))]
    assert {"process_resident_memory_bytes", "process_open_fds", "exchange_build_info"} <= names


def test_two_applications_count_each_for_themselves(sqlite_url: str) -> None:
    chosen = Settings(database_url=sqlite_url)
    first, second = create_app(chosen), create_app(chosen)

    first.state.metrics.connection_lost()

    value = "exchange_journal_connections_lost_total"
    assert first.state.metrics.registry.get_sample_value(value) == 1
    assert second.state.metrics.registry.get_sample_value(value) == 0


# How the journal is watched


def a_job(place: Exchange) -> Job:
    return Job((CloseMonth(date(2015, 1, 1)),), place.operator(), "close", b"1" * 32)


def test_a_lost_connection_is_counted_each_time(monkeypatch: pytest.MonkeyPatch, sqlite_url: str) -> None:
    class Away:
        async def run(self, jobs: Any) -> Any:
            raise StoreLost("gone")

        rehearse = run

        async def close(self) -> None:
            """Nothing is held."""

    monkeypatch.setattr("exchange.journal.journal.PAUSE_S", 0)
    watch = create_app(Settings(database_url=sqlite_url)).state.metrics
    place = Exchange.in_memory()

    asyncio.run(commit(Away(), [a_job(place)], watch))

    assert watch.registry.get_sample_value("exchange_journal_connections_lost_total") == 4


def test_who_looks_on_and_fails_does_not_stop_the_journal(caplog: pytest.LogCaptureFixture) -> None:
    place = Exchange.in_memory()
    seen: list[int] = []

    class Clumsy:
        def batch_done(self, jobs: Any, outcomes: Any, seconds: float) -> None:
            seen.append(len(outcomes))
            raise ZeroDivisionError

        def connection_lost(self) -> None:
            """Never called."""

    async def work() -> list[Answer]:
        async with Journal(place.store, 10, Clumsy()) as journal:
            job = a_job(place)
            return [await journal.do(job), await journal.do(job)]

    first, second = asyncio.run(work())

    assert (first.replayed, second.replayed) == (False, True)
    assert seen == [1, 1]
    assert caplog.messages == ["A batch could not be noted"] * 2


def test_every_figure_is_in_the_documentation() -> None:
    nowhere = Database("sqlite:///nowhere.db")
    app = create_app(Settings(database_url="sqlite:///nowhere.db"))
    Replica(nowhere, nowhere, app.state.metrics.registry)
    document = (Path(__file__).parent.parent / "docs" / "operations.md").read_text(encoding="utf-8")
    names = {
        family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        for family in app.state.metrics.registry.collect()
        if family.name.startswith("exchange_")
    }

    told = set(re.findall(r"^\| `(exchange_[a-z_]+)` \|", document, re.MULTILINE))
    assert told - set(granting.named("exchange").values()) == names
