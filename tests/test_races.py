"""Two real servers on one database, the command line beside them, and many clients at once: exactly one of what may be once, and exact totals."""

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from commandline import member_row, process, write_rows
from conftest import TEMPLATE
from exchanges import Exchange, Offer, Party, a_sha256, number_of, terms_of
from markets import REPLAYED, assert_sound, give_key, server, taking

from exchange.access.tables import Role
from exchange.api.doors import CALLER_CACHE_S
from exchange.clock import now
from exchange.identifiers import TradeId
from exchange.journal.tables import Batch, Head
from exchange.members.states import MemberState
from exchange.members.tables import Member
from exchange.trades.commands import ConfirmTrade, FileTrade
from exchange.trades.states import TradeState
from exchange.trades.tables import Trade
from exchange.volume.rules import last_day, month_before, month_of
from exchange.volume.tables import ClosedMonth, VolumeEntry

REASON = {"reason": "as it should be"}


class Request(NamedTuple):
    """What somebody sends."""

    secret: str
    path: str
    body: dict[str, Any]
    key: str | None = None
    """Null: a new one."""
    method: str = "POST"


class Market:
    """A seller with a listing and buyers, all there for three months; two servers; three operators."""

    def __init__(self, exchange: Exchange, url: str, servers: list[str]) -> None:
        self.exchange = exchange
        self.url = url
        self.servers = servers
        self._keys = count(1)
        self._numbers = count(1)
        self.seller: Party = exchange.a_member()
        self.offer: Offer = exchange.a_listing(self.seller)
        self.buyers = [exchange.a_member() for _ in range(4)]
        self._secrets = {party.uscc: self.secret(party.uscc) for party in (self.seller, *self.buyers)}
        self.li, self.wang, self.sun = (
            give_key(exchange, Role.OPERATOR, person)[1] for person in ("Li", "Wang", "Sun")
        )

    def secret(self, uscc: str) -> str:
        return give_key(self.exchange, Role.MEMBER, "Zhang", uscc)[1]

    def of(self, party: Party) -> str:
        return self._secrets[party.uscc]

    def all_at_once(self, requests: list[Request]) -> list[httpx.Response]:
        """Send all requests together, to one server and the other in turn."""

        async def run() -> list[httpx.Response]:
            async with self.client() as client:
                return await asyncio.gather(*(self.send(client, request) for request in requests))

        return asyncio.run(run())

    @staticmethod
    def client() -> httpx.AsyncClient:
        return httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=64), verify=False)

    async def send(self, client: httpx.AsyncClient, request: Request) -> httpx.Response:
        number = next(self._keys)
        return await client.request(
            request.method,
            f"{self.servers[number % len(self.servers)]}/v1{request.path}",
            json=request.body,
            headers={"Authorization": f"Bearer {request.secret}", "Idempotency-Key": request.key or f"race-{number}"},
        )

    async def look(self, client: httpx.AsyncClient, secret: str) -> httpx.Response:
        """Read something, of each server in turn."""
        server = self.servers[next(self._keys) % len(self.servers)]
        return await client.get(f"{server}/v1/members", headers={"Authorization": f"Bearer {secret}"})

    def contract_number(self) -> str:
        return f"C-{next(self._numbers)}"

    def trades(self, number: int, state: TradeState = TradeState.PROPOSED) -> list[str]:
        """Make trades as far as a state, proposed by the first buyer."""
        made = [
            self.exchange.a_trade(state, self.buyers[0], self.offer, terms_of(self.contract_number()))
            for _ in range(number)
        ]
        return [f"trd_{sale.id:012}" for sale in made]

    def states(self) -> dict[str, str]:
        return {f"trd_{row.id:012}": str(row.state) for row in self.exchange.records(Trade)}

    @property
    def on_sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    def command(self, secret: str, *arguments: str | Path) -> Any:
        """Start the command line on the same database."""
        return process(*arguments, env=os.environ | {"EXCHANGE_DATABASE_URL": self.url, "EXCHANGE_KEY": secret})


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A fresh database for all tests of this file."""
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("races") / "exchange.db"
        path.write_bytes(request.getfixturevalue("sqlite_template").read_bytes())
        yield f"sqlite:///{path}"
        return
    cluster = request.getfixturevalue("postgres")
    cluster.create_database("races", TEMPLATE)
    yield cluster.url("races")
    cluster.drop_database("races")


@pytest.fixture(scope="module")
def both_served(place: str) -> Iterator[Market]:
    with ExitStack() as stack:
        exchange = stack.enter_context(Exchange.at(place, now=now() - timedelta(days=100)))
        servers = [stack.enter_context(server(place)).address for _ in range(2)]
        yield Market(exchange, place, servers)


@pytest.fixture
def market(both_served: Market) -> Iterator[Market]:
    both_served.exchange.now = now()
    yield both_served
    assert_sound(both_served.exchange)


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def test_two_hundred_equal_requests_make_one_trade_and_get_one_answer(market: Market) -> None:
    before = len(market.exchange.records(Trade))

    answers = market.all_at_once([Request(market.of(market.buyers[0]), "/trades", taking(market.offer), "one")] * 200)

    assert statuses(answers) == {201: 200}
    assert len({answer.content for answer in answers}) == 1
    assert sum(REPLAYED not in answer.headers for answer in answers) == 1
    assert len(market.exchange.records(Trade)) == before + 1


def test_equal_files_imported_twice_at_once_beside_two_servers_add_each_row_once(
    market: Market, tmp_path: Path
) -> None:
    rows = [member_row(n) for n in range(3_000, 3_200)]
    files = [write_rows(tmp_path / f"{name}.csv", "members", rows) for name in ("one", "other")]
    before = len(market.exchange.records(Member))

    imports = [market.command(market.li, "import", "members", file) for file in files]
    answers = []
    while any(running.poll() is None for running in imports):
        answers += market.all_at_once(
            [Request(market.of(buyer), "/trades", taking(market.offer)) for buyer in market.buyers]
        )
        time.sleep(0.05)
    told = [running.communicate()[0] for running in imports]

    added = [
        int(found[1])
        for found in (re.search(r"200 rows: (\d+) added, \d+ there already, 0 refused", text) for text in told)
        if found
    ]
    assert len(added) == 2, told
    assert sum(added) == 200
    assert len(market.exchange.records(Member)) == before + 200
    assert set(statuses(answers)) == {201}


def test_a_cancellation_beats_a_confirmation_before_or_after_it(market: Market) -> None:
    trades = market.trades(25)

    answers = market.all_at_once(
        [
            request
            for trade in trades
            for request in (
                Request(market.of(market.seller), f"/trades/{trade}/confirmation", {}),
                Request(market.of(market.buyers[0]), f"/trades/{trade}/cancellation", REASON),
            )
        ]
    )

    states = market.states()
    for n, trade in enumerate(trades):
        confirmed, cancelled = answers[2 * n], answers[2 * n + 1]
        # Cancelling is allowed after the confirmation too, but never the other way round.
        assert cancelled.status_code == 200
        assert confirmed.status_code in {200, 409}
        assert states[trade] == "cancelled"


def test_contract_against_cancellation_has_exactly_one_winner(market: Market) -> None:
    trades = market.trades(25, TradeState.CONFIRMED)

    answers = market.all_at_once(
        [
            request
            for trade in trades
            for request in (
                Request(market.of(market.seller), f"/trades/{trade}/contract", {}),
                Request(market.of(market.buyers[0]), f"/trades/{trade}/cancellation", REASON),
            )
        ]
    )

    states = market.states()
    for n, trade in enumerate(trades):
        contracted, cancelled = answers[2 * n].status_code, answers[2 * n + 1].status_code
        assert {contracted, cancelled} == {200, 409}
        assert states[trade] == ("contracted" if contracted == 200 else "cancelled")


def test_many_buyers_through_two_servers_leave_exact_totals(market: Market) -> None:
    [before] = market.exchange.records(Head)
    batches = len(market.exchange.records(Batch))

    answers = market.all_at_once(
        [Request(market.of(buyer), "/trades", taking(market.offer)) for _ in range(50) for buyer in market.buyers]
    )

    [head] = market.exchange.records(Head)
    assert statuses(answers) == {201: 200}
    assert len({answer.json()["position"] for answer in answers}) == 200
    assert head.position == before.position + 200
    assert head.contracted_gross == before.contracted_gross + 200 * 106_000
    assert len(market.exchange.records(Batch)) < batches + 200


def test_a_trade_is_contracted_once_however_often_both_sides_ask(market: Market) -> None:
    [trade] = market.trades(1, TradeState.CONFIRMED)

    answers = market.all_at_once(
        [
            Request(market.of(party), f"/trades/{trade}/contract", {})
            for _ in range(10)
            for party in (market.buyers[0], market.seller)
        ]
    )

    assert statuses(answers) == {200: 1, 409: 19}


def test_one_company_applies_and_is_admitted_many_times_at_once_and_is_taken_once(market: Market) -> None:
    company = market.exchange.a_company()
    assert company.uscc
    secret = market.secret(company.uscc)
    application = {
        "uscc": company.uscc,
        "legal_name": "湖南数据有限公司",
        "short_name": "数据",
        "legal_representative": "张三",
        "address": "长沙市",
        "region_code": "430104",
        "industry_code": "I6510",
        "roles": ["provider"],
        "contact": "0731",
    }

    applied = market.all_at_once([Request(secret, "/members", application) for _ in range(20)])
    [member] = [answer.json()["id"] for answer in applied if answer.status_code == 201]
    [reviewed] = market.all_at_once([Request(market.li, f"/members/{member}/review", REASON)])
    admitted = market.all_at_once(
        [Request(by, f"/members/{member}/admission", REASON) for _ in range(10) for by in (market.li, market.wang)]
    )

    assert statuses(applied) == {201: 1, 409: 19}
    assert reviewed.status_code == 200
    assert statuses(admitted) == {200: 1, 409: 19}
    live = [row for row in market.exchange.records(Member) if row.uscc == company.uscc]
    assert [row.state for row in live] == [MemberState.ACTIVE]


def test_a_reversal_is_proposed_once_and_approved_once_by_another_person(market: Market) -> None:
    [trade] = market.trades(1, TradeState.CONTRACTED)
    [before] = market.exchange.records(Head)

    proposed = market.all_at_once(
        [Request(by, f"/trades/{trade}/reversal", REASON) for _ in range(10) for by in (market.li, market.wang)]
    )
    winner = next(n for n, answer in enumerate(proposed) if answer.status_code == 202)
    proposer, second = [(market.li, market.wang), (market.wang, market.li)][winner % 2]
    cli = market.command(second, "reversals", "approve", trade, "--reason", "void") if market.on_sqlite else None
    approvers = (proposer, second, market.sun)
    approved: list[httpx.Response] = []
    while not approved or (cli and cli.poll() is None):
        approved += market.all_at_once(
            [Request(by, f"/trades/{trade}/reversal/approval", REASON) for by in approvers * 5]
        )
    if cli:
        cli.communicate()

    assert statuses(proposed) == {202: 1, 409: 19}
    assert set(statuses(approved[::3])) <= {403, 409}
    assert set(statuses(approved)) <= {200, 403, 409}
    # Two other persons, one of them by the command line too: one approval in all.
    assert statuses(approved)[200] + (cli is not None and cli.returncode == 0) == 1
    [head] = market.exchange.records(Head)
    assert head.contracted_reversed == before.contracted_reversed + 106_000
    assert market.states()[trade] == "reversed"


def test_two_operators_decide_on_one_filing_and_one_of_them_has_decided(market: Market) -> None:
    filings = [a_filing(market, market.exchange.today) for _ in range(10)]
    bodies = [REASON | {"decision": decision} for decision in ("approve", "reject", "approve", "reject")]

    answers = market.all_at_once(
        [
            Request(by, f"/trades/{filing}/review", body)
            for filing in filings
            for by, body in zip((market.li, market.wang, market.wang, market.li), bodies, strict=True)
        ]
    )

    states = market.states()
    for n, filing in enumerate(filings):
        decided = answers[4 * n : 4 * n + 4]
        assert statuses(decided) == {200: 1, 409: 3}
        winner = next(bodies[k]["decision"] for k, answer in enumerate(decided) if answer.status_code == 200)
        assert states[filing] == {"approve": "contracted", "reject": "rejected"}[winner]


def a_filing(market: Market, day: date) -> str:
    """File a trade made on a day, and have it confirmed."""
    number = market.contract_number()
    terms, evidence = terms_of(number), (a_sha256(number),)
    filed = market.exchange.do(
        FileTrade(market.offer.id, terms, day, evidence, buyer_id=market.buyers[0].id), market.seller.by
    )
    market.exchange.do(ConfirmTrade(TradeId(number_of(filed["id"]))), market.buyers[0].by)
    return str(filed["id"])


def test_what_counts_for_a_month_before_its_close_is_in_time_and_after_it_late(market: Market) -> None:
    month = month_of(month_before(market.exchange.today))
    day = last_day(month)
    filings = [a_filing(market, day) for _ in range(60)]
    decision = REASON | {"decision": "approve", "received_on": day.isoformat()}
    reviews = [Request(market.li, f"/trades/{filing}/review", decision) for filing in filings]
    closes = [Request(by, "/closed-months", {"month": f"{month:%Y-%m}"}) for by in (market.wang, market.sun)]
    answers: list[httpx.Response] = []

    cli = market.command(market.wang, "close", f"{month:%Y-%m}") if market.on_sqlite else None
    while cli and cli.poll() is None and len(answers) < 40:
        answers += market.all_at_once([reviews[len(answers)]])
        time.sleep(0.05)
    began = len(answers)
    together = market.all_at_once([*reviews[began:50], *closes, *reviews[50:59]])
    if cli:
        cli.communicate()
    closed = [together.pop(50 - began) for _ in closes]
    answers += together + market.all_at_once(reviews[59:])

    assert statuses(answers) == {200: 60}
    assert statuses(closed)[201] + (cli is not None and cli.returncode == 0) == 1
    assert set(statuses(closed)) <= {201, 409}
    [one] = market.exchange.records(ClosedMonth)
    late = {f"trd_{trade.id:012}": trade.late for trade in market.exchange.records(Trade)}
    positions = {filing: answer.json()["position"] for filing, answer in zip(filings, answers, strict=True)}
    assert one.month == month
    assert {filing: late[filing] for filing in filings} == {
        filing: position > one.position for filing, position in positions.items()
    }
    assert late[filings[59]]
    counted = {entry.position: entry.effective_on for entry in market.exchange.records(VolumeEntry)}
    assert {counted[position] for position in positions.values()} == {day}


def test_a_revoked_key_does_nothing_from_its_position_on_while_requests_fly(market: Market) -> None:
    key_id, secret = give_key(market.exchange, Role.MEMBER, "Leaver", market.buyers[1].uscc)
    taken = Request(secret, "/trades", taking(market.offer))
    flown: list[tuple[float, httpx.Response]] = []
    looked: list[tuple[float, httpx.Response]] = []

    async def fly(client: httpx.AsyncClient, over: asyncio.Event) -> None:
        while not over.is_set():
            began = time.monotonic()
            flown.append((began, await market.send(client, taken)))
            looked.append((time.monotonic(), await market.look(client, secret)))
            await asyncio.sleep(0.2)

    async def revoke() -> None:
        if market.on_sqlite:
            cli = market.command(market.li, "keys", "revoke", key_id)
            await asyncio.to_thread(cli.communicate)
            assert cli.returncode == 0
            return
        async with market.client() as client:
            answer = await market.send(client, Request(market.li, f"/keys/{key_id}", {}, method="DELETE"))
        assert answer.status_code == 200, answer.text

    async def race() -> tuple[float, list[httpx.Response]]:
        over = asyncio.Event()
        async with market.client() as client:
            async with asyncio.TaskGroup() as flights:
                for _ in range(64):
                    flights.create_task(fly(client, over))
                try:
                    await asyncio.sleep(0.4)
                    await revoke()
                    revoked = time.monotonic()
                    await asyncio.sleep(1)
                finally:
                    over.set()
            looked.extend([(time.monotonic(), await market.look(client, secret)) for _ in market.servers])
            return revoked, await asyncio.gather(*(market.send(client, taken) for _ in range(64)))

    revoked, last = asyncio.run(race())

    [position] = [
        leaf["position"]
        for leaf in market.exchange.leaves()
        if leaf["kind"] == "key.revoked" and leaf["rows"][0][1]["id"] == number_of(key_id)
    ]
    accepted = [answer.json()["position"] for _, answer in flown if answer.status_code == 201]
    assert set(statuses([answer for _, answer in flown])) == {201, 401}
    assert max(accepted) < position
    assert set(statuses([answer for began, answer in flown if began > revoked])) == {401}
    # A read's door may take it for live for a second more, and no longer, whichever process answers.
    assert set(statuses([answer for _, answer in looked])) == {200, 401}
    assert set(statuses([answer for began, answer in looked if began > revoked + CALLER_CACHE_S])) == {401}
    assert statuses(last) == {401: 64}
