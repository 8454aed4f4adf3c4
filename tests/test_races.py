"""Two real servers on one PostgreSQL, and many clients at once: exactly one of what may be once, and exact totals."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from exchanges import Exchange, Offer, Party, a_price, terms_of

from exchange.access.callers import secret_hash, written_secret
from exchange.access.commands import CreateKey
from exchange.access.tables import Role
from exchange.clock import now
from exchange.identifiers import TradeId
from exchange.journal.tables import Batch, Event, Head
from exchange.regulator.integrity import check
from exchange.trades.commands import ConfirmTrade, ProposeTrade
from exchange.trades.tables import Trade

pytestmark = pytest.mark.postgres


@contextmanager
def server(url: str) -> Iterator[str]:
    """Run the real thing as a process of its own; give its address."""
    command = [sys.executable, "-m", "exchange", "serve", "--port", "0"]
    environment = os.environ | {"EXCHANGE_DATABASE_URL": url}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        try:
            yield found[0]
        finally:
            process.terminate()
            process.wait()


class Market:
    """A seller with a listing, buyers with keys, and two servers."""

    def __init__(self, exchange: Exchange, servers: list[str]) -> None:
        self.exchange = exchange
        self.servers = servers
        self.seller: Party = exchange.a_member()
        self.offer: Offer = exchange.a_listing(self.seller)
        self.buyers = [exchange.a_member() for _ in range(4)]
        self.secrets = {party.uscc: self.secret(party, n) for n, party in enumerate([self.seller, *self.buyers])}

    def secret(self, party: Party, number: int) -> str:
        secret = written_secret(bytes([number]) * 32)
        digest = secret_hash(secret)
        assert digest
        self.exchange.do(CreateKey(Role.MEMBER, "Zhang", digest, party.uscc), self.exchange.operator())
        return secret

    def all_at_once(self, requests: list[tuple[Party, str, dict[str, Any], str]]) -> list[httpx.Response]:
        """Send all requests together, to one server and the other in turn."""

        async def run() -> list[httpx.Response]:
            async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=64)) as client:
                return await asyncio.gather(
                    *(
                        client.post(
                            f"{self.servers[n % len(self.servers)]}/v1{path}",
                            json=body,
                            headers={"Authorization": f"Bearer {self.secrets[party.uscc]}", "Idempotency-Key": key},
                        )
                        for n, (party, path, body, key) in enumerate(requests)
                    )
                )

        return asyncio.run(run())


@pytest.fixture
def market(postgres_url: str) -> Iterator[Market]:
    with ExitStack() as stack:
        exchange = stack.enter_context(Exchange.on_postgres(postgres_url, now=now()))
        servers = [stack.enter_context(server(postgres_url)) for _ in range(2)]
        yield Market(exchange, servers)


def money(fen: int) -> dict[str, str]:
    return {"amount": str(fen), "currency": "CNY"}


def taking(market: Market) -> dict[str, Any]:
    price = a_price()
    return {
        "mode": "listed",
        "listing_id": f"lst_{market.offer.id:012}",
        "quantity": 1,
        "purpose": "Training a model",
        "net": money(price.net),
        "vat": money(price.vat),
        "gross": money(price.gross),
    }


def assert_sound(market: Market) -> None:
    """Positions are gapless and every invariant holds."""
    exchange = market.exchange
    assert [event.position for event in exchange.records(Event)] == list(range(1, exchange.position + 1))
    assert [finding for finding in exchange.read(check) if finding.offending] == []


def test_two_hundred_equal_requests_make_one_trade_and_get_one_answer(market: Market) -> None:
    answers = market.all_at_once([(market.buyers[0], "/trades", taking(market), "one-and-only")] * 200)

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert len(market.exchange.records(Trade)) == 1
    assert_sound(market)


def test_a_cancellation_beats_a_confirmation_before_or_after_it(market: Market) -> None:
    buyer, seller = market.buyers[0], market.seller
    trades = [market.exchange.do(ProposeTrade(market.offer.id, terms_of(f"C-{n}")), buyer.by)["id"] for n in range(25)]
    requests = [
        request
        for trade in trades
        for request in (
            (seller, f"/trades/{trade}/confirmation", {}, f"confirm-{trade}"),
            (buyer, f"/trades/{trade}/cancellation", {"reason": "changed our mind"}, f"cancel-{trade}"),
        )
    ]

    answers = market.all_at_once(requests)

    states = {f"trd_{trade.id:012}": trade.state for trade in market.exchange.records(Trade)}
    for n, trade in enumerate(trades):
        confirmed, cancelled = answers[2 * n], answers[2 * n + 1]
        # Cancelling is allowed after the confirmation too, but never the other way round.
        assert cancelled.status_code == 200
        assert confirmed.status_code in {200, 409}
        assert states[trade] == "cancelled"
    assert_sound(market)


def test_contract_against_cancellation_has_exactly_one_winner(market: Market) -> None:
    buyer, seller = market.buyers[0], market.seller
    trades = []
    for n in range(25):
        trades.append(market.exchange.do(ProposeTrade(market.offer.id, terms_of(f"C-{n}")), buyer.by)["id"])
        market.exchange.do(ConfirmTrade(TradeId(int(trades[-1][4:]))), seller.by)

    answers = market.all_at_once(
        [
            request
            for trade in trades
            for request in (
                (seller, f"/trades/{trade}/contract", {}, f"contract-{trade}"),
                (buyer, f"/trades/{trade}/cancellation", {"reason": "changed our mind"}, f"cancel-{trade}"),
            )
        ]
    )

    states = {f"trd_{trade.id:012}": trade.state for trade in market.exchange.records(Trade)}
    for n, trade in enumerate(trades):
        contracted, cancelled = answers[2 * n].status_code, answers[2 * n + 1].status_code
        assert {contracted, cancelled} == {200, 409}
        assert states[trade] == ("contracted" if contracted == 200 else "cancelled")
    assert_sound(market)


def test_many_buyers_through_two_servers_leave_exact_totals(market: Market) -> None:
    requests = [
        (buyer, "/trades", taking(market), f"take-{n}-{buyer.id}") for n in range(50) for buyer in market.buyers
    ]

    answers = market.all_at_once(requests)

    [head] = market.exchange.records(Head)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["position"] for answer in answers}) == 200
    assert head.contracted_gross == 200 * 106_000
    assert len(market.exchange.records(Batch)) < head.position
    assert_sound(market)


def test_two_approvals_of_one_termination_and_two_contracts_of_one_trade_count_once(market: Market) -> None:
    buyer, seller = market.buyers[0], market.seller
    trade = market.exchange.do(ProposeTrade(market.offer.id, terms_of("C")), buyer.by)["id"]
    [confirmed] = market.all_at_once([(seller, f"/trades/{trade}/confirmation", {}, "confirm")])
    contracts = market.all_at_once(
        [(party, f"/trades/{trade}/contract", {}, f"contract-{n}") for n in range(10) for party in (buyer, seller)]
    )

    assert confirmed.status_code == 200
    assert sorted(answer.status_code for answer in contracts) == [200] + [409] * 19
    assert_sound(market)


def test_one_company_applies_twice_at_once_and_is_taken_once(market: Market) -> None:
    company = market.exchange.a_company()
    assert company.uscc
    secret = written_secret(b"z" * 32)
    digest = secret_hash(secret)
    assert digest
    market.exchange.do(CreateKey(Role.MEMBER, "Zhang", digest, company.uscc), market.exchange.operator())
    party = Party(market.seller.id, company, company.uscc)
    market.secrets[company.uscc] = secret
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

    answers = market.all_at_once([(party, "/members", application, f"apply-{n}") for n in range(20)])

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert_sound(market)
