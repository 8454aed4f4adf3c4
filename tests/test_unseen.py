"""What a company may not see: nobody tells it from what there is not, and a neighbour in the batch may bring it into sight."""

from collections.abc import Iterator
from typing import Any

import pytest
from exchanges import Exchange, a_price, company_fields, offer_fields, refused, terms_of, version_fields

from exchange.agents.callers import agent_for
from exchange.identifiers import TradeId
from exchange.journal.asks import Load
from exchange.journal.callers import Caller
from exchange.journal.commands import Answer, Command
from exchange.journal.memory import MemoryStore
from exchange.listings.commands import ApproveListing, DescribeVersion, DraftListing, OwnersStep, SubmitListing
from exchange.listings.states import ListingState
from exchange.members.commands import AdmitMember, ApplyForMembership, StartReview, WithdrawMember
from exchange.members.standing import NotActive
from exchange.problems import Forbidden, NotFound
from exchange.trades.commands import (
    ApproveTermination,
    ConfirmTrade,
    ContractTrade,
    ProposeReversal,
    ProposeTermination,
    ProposeTrade,
    TakeListing,
)
from exchange.trades.states import TradeState

REASON = "as it should be"


@pytest.fixture
def place() -> Iterator[Exchange]:
    with Exchange.in_memory() as made:
        yield made


def kinds(outcomes: list[Any]) -> list[type]:
    return [type(outcome) for outcome in outcomes]


def test_a_company_that_came_back_goes_on_with_what_it_had_before(stored: Exchange) -> None:
    sale = stored.a_trade()
    draft = stored.a_listing(sale.seller, state=ListingState.DRAFT)
    for party in (sale.seller, sale.buyer):
        stored.do(WithdrawMember(party.id, REASON), party.by)
        stored.a_member(by=party.by)

    stored.do(ProposeTermination(sale.id, REASON), sale.buyer.by)
    ended = stored.do(ApproveTermination(sale.id), sale.seller.by)

    assert ended["state"] == TradeState.TERMINATED
    for command in (
        SubmitListing(draft.id, REASON),
        DescribeVersion(draft.product_id, version_fields()),
        DraftListing(draft.version_id, offer_fields()),
    ):
        with refused(NotActive):
            stored.do(command, sale.seller.by)


def test_a_company_that_comes_back_in_the_same_batch_sees_what_it_had_before(stored: Exchange) -> None:
    sale = stored.a_trade()
    operator, buyer, uscc = stored.operator(), sale.buyer.by, sale.buyer.uscc
    again: Any = stored.position + 2

    outcomes = stored.batch(
        [
            (WithdrawMember(sale.buyer.id, REASON), buyer, None),
            (ApplyForMembership(uscc, company_fields()), buyer, None),
            (StartReview(again, REASON), operator, None),
            (AdmitMember(again, REASON), operator, None),
            (ProposeTermination(sale.id, REASON), buyer, None),
        ]
    )

    assert kinds(outcomes) == [Answer] * 5


def test_a_trade_is_there_for_its_parties_alone_from_the_moment_it_is_made(stored: Exchange) -> None:
    offer, buyer, stranger = stored.a_listing(), stored.a_member(), stored.a_member()
    trade = TradeId(stored.position + 1)

    outcomes = stored.batch(
        [
            (ConfirmTrade(trade), offer.owner.by, None),
            (ProposeTrade(offer.id, terms_of()), buyer.by, None),
            (ConfirmTrade(trade), stranger.by, None),
            (ConfirmTrade(trade), offer.owner.by, None),
            (ContractTrade(trade), stranger.by, None),
            (ContractTrade(trade), buyer.by, None),
        ]
    )

    assert kinds(outcomes) == [NotFound, Answer, NotFound, Answer, NotFound, Answer]


def test_a_listing_is_there_for_others_from_the_moment_it_is_approved(stored: Exchange) -> None:
    offer, buyer = stored.a_listing(state=ListingState.IN_REVIEW), stored.a_member()
    take = TakeListing(offer.id, 1, a_price(), "use")
    submit = SubmitListing(offer.id, REASON)

    outcomes = stored.batch(
        [
            (take, buyer.by, None),
            (submit, buyer.by, None),
            (ApproveListing(offer.id, REASON), stored.operator(), None),
            (take, buyer.by, None),
            (submit, buyer.by, None),
        ]
    )

    assert kinds(outcomes) == [NotFound, NotFound, Answer, Answer, OwnersStep]


def test_an_operators_command_by_a_member_is_refused_for_its_role_alone(stored: Exchange) -> None:
    sale, stranger = stored.a_trade(), stored.a_member()
    wishes: list[Command] = [ProposeReversal(sale.id, REASON), ApproveListing(sale.offer.id, REASON)]

    assert kinds(stored.batch([(command, stranger.by, None) for command in wishes])) == [Forbidden] * 2


def test_an_agent_takes_as_much_work_for_anothers_trade_as_for_none(
    place: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    principal, agent = place.a_member(), place.a_member(roles=("service_org",))
    place.a_mandate(principal, agent)
    own, foreign = place.a_trade(TradeState.PROPOSED, offer=place.a_listing(principal)), place.a_trade()
    acting = agent_for(agent.by, principal.uscc)
    loads: list[tuple[str, int]] = []
    do = MemoryStore._do

    def noted(store: MemoryStore, ask: Any) -> Any:
        if isinstance(ask, Load):
            loads.append((ask.schema.name, len(ask.values)))
        return do(store, ask)

    monkeypatch.setattr(MemoryStore, "_do", noted)

    def taken(trade: TradeId, by: Caller) -> list[tuple[str, int]]:
        loads.clear()
        with refused(NotFound):
            place.do(ConfirmTrade(trade), by)
        return loads[:]

    assert taken(foreign.id, acting) == taken(TradeId(999_999), acting)
    assert place.do(ConfirmTrade(own.id), acting)["state"] == TradeState.CONFIRMED
