"""Agents: a member authorises a service organisation for named steps, until a day; who did what for whom is in every event."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any, cast

import pytest
from doors import OPERATIONS, WRITES, Door, Wish, listed, lst, mbr, opened, refused, terms, trd
from exchanges import Exchange, Offer, Party, a_uscc, number_of, terms_of
from test_api_access import asked

from exchange.agents.callers import agent_for
from exchange.agents.commands import EndMandate, GrantMandate
from exchange.agents.rules import (
    LONGEST_DAYS,
    AgentInvolved,
    AgentOfBoth,
    AgentWrong,
    MandateEnded,
    MandateRests,
    MandateWrong,
    NoMandate,
    StepNotMandated,
)
from exchange.agents.tables import Mandate, MandateStep
from exchange.identifiers import MandateId, MemberId, Prefix, TradeId, written_id
from exchange.journal.commands import Command
from exchange.listings.commands import RegisterProduct
from exchange.listings.states import ListingState
from exchange.listings.tables import ProductKind
from exchange.members.commands import ReinstateMember, SuspendMember
from exchange.members.states import MemberState
from exchange.members.tables import Company
from exchange.problems import NotFound
from exchange.regulator import integrity
from exchange.trades.commands import (
    CancelTrade,
    ConfirmTrade,
    ContractTrade,
    FileTrade,
    ProposeTermination,
    ProposeTrade,
    TakeListing,
)
from exchange.trades.states import TradeState
from exchange.trades.tables import Trade

LAST = date(2026, 12, 31)
ALL = tuple(MandateStep)
SERVICE = ("service_org",)


@pytest.fixture
def door(sqlite_url: str) -> Iterator[Door]:
    with opened(sqlite_url) as made:
        yield made


@pytest.fixture
def place(sqlite_url: str) -> Iterator[Exchange]:
    with Exchange.at(sqlite_url) as made:
        yield made


def product(code: str = "HN-1") -> RegisterProduct:
    return RegisterProduct(code, ProductKind.DATASET)


def header(principal: Party) -> dict[str, str]:
    return {"Exchange-Acting-For": principal.uscc}


# Giving


def test_a_mandate_is_told_to_both_sides_and_seen_by_both_and_by_staff(door: Door) -> None:
    principal, agent = door.place.a_member(), door.place.a_member(roles=SERVICE)
    body = {"agent_id": mbr(agent.id), "steps": ["trades.take", "products"], "ends_on": "2026-12-31"}

    made = door.post("/v1/mandates", door.of(principal), body, status=201)

    assert made["state"] == "active"
    shown = door.get(f"/v1/mandates/{made['id']}", door.of(principal))
    assert shown == {
        "id": made["id"],
        "principal": mbr(principal.id),
        "principal_uscc": principal.uscc,
        "agent": mbr(agent.id),
        "agent_uscc": agent.uscc,
        "steps": ["products", "trades.take"],
        "granted_on": "2026-03-02",
        "ends_on": "2026-12-31",
        "state": "active",
        "in_force": True,
        "changed_at": made["position"],
    }
    for key in (door.of(agent), door.operator, door.auditor, door.regulator):
        assert door.get(f"/v1/mandates/{made['id']}", key) == shown
        assert door.get("/v1/mandates", key)["data"] == [shown]
    for side in (principal, agent):
        [told] = [event for event in door.get("/v1/events", door.of(side))["data"] if event["subject"] == made["id"]]
        assert (told["kind"], told["acting_member"]) == ("mandate.granted", mbr(principal.id))


def test_nobody_else_sees_a_mandate_or_ends_it(door: Door) -> None:
    principal, agent, stranger = door.place.a_member(), door.place.a_member(roles=SERVICE), door.place.a_member()
    number = door.place.a_mandate(principal, agent)
    path = f"/v1/mandates/{written_id(Prefix.MANDATE, number)}"

    refused(door.ask("GET", path, door.of(stranger)), 404, "not-found")
    refused(door.ask("GET", f"/v1/mandates/{written_id(Prefix.MANDATE, 9)}", door.operator), 404, "not-found")
    assert door.get("/v1/mandates", door.of(stranger))["data"] == []
    refused(door.ask("POST", f"{path}/end", door.of(stranger), {"reason": "as it should be"}), 404, "not-found")


def test_a_list_of_mandates_goes_on_where_a_page_ends(door: Door) -> None:
    principal, agent = door.place.a_member(), door.place.a_member(roles=SERVICE)
    numbers = [door.place.a_mandate(principal, agent) for _ in range(5)]

    for key in (door.of(principal), door.of(agent), door.operator):
        shown = door.all_of("/v1/mandates", key, 2)
        assert [one["id"] for one in shown] == [written_id(Prefix.MANDATE, number) for number in numbers]


def test_only_another_active_service_organisation_can_be_an_agent(place: Exchange) -> None:
    principal, agent = place.a_member(), place.a_member(roles=SERVICE)
    for wrong in (
        principal,
        place.a_member(roles=("provider",)),
        place.a_member(MemberState.SUSPENDED, roles=SERVICE),
        place.a_member(MemberState.SUBMITTED, roles=SERVICE),
    ):
        with pytest.raises(AgentWrong):
            place.a_mandate(principal, wrong)
    with pytest.raises(AgentWrong):
        place.do(GrantMandate(MemberId(999_999), ALL, LAST), principal.by)
    with pytest.raises(NotFound, match="has not applied"):
        place.do(GrantMandate(agent.id, ALL, LAST), place.a_company())


@pytest.mark.parametrize(("days", "fits"), [(-1, False), (0, True), (LONGEST_DAYS, True), (LONGEST_DAYS + 1, False)])
def test_a_mandate_ends_today_at_the_earliest_and_within_three_years(place: Exchange, days: int, fits: bool) -> None:
    principal, agent = place.a_member(), place.a_member(roles=SERVICE)
    ends_on = place.today + timedelta(days=days)

    if fits:
        place.a_mandate(principal, agent, ends_on=ends_on)
    else:
        with pytest.raises(MandateWrong):
            place.a_mandate(principal, agent, ends_on=ends_on)


def test_a_mandate_names_each_step_once() -> None:
    for steps in ((), (MandateStep.PRODUCTS, MandateStep.PRODUCTS)):
        with pytest.raises(MandateWrong):
            GrantMandate(MemberId(1), steps, LAST)


# Acting


def test_an_agent_does_a_named_step_and_the_event_says_who_for_whom_and_by_which_mandate(place: Exchange) -> None:
    principal, agent = place.a_member(), place.a_member(roles=SERVICE)
    number = place.a_mandate(principal, agent, MandateStep.PRODUCTS)

    place.do(product(), agent_for(agent.by, principal.uscc))

    leaf = place.leaves()[-1]
    assert leaf["acting_member"] == agent.id
    assert leaf["facts"] == {"acting_for": principal.id, "mandate": number}
    assert (leaf["actor"], leaf["key_id"]) == (agent.by.person_id, agent.by.key_id)
    [(_, row), *_] = leaf["rows"]
    assert row["owner_id"] == principal.id
    assert all(not finding.offending for finding in place.read(integrity.check))


def test_what_one_mandate_does_not_cover_another_may(place: Exchange) -> None:
    principal, agent = place.a_member(), place.a_member(roles=SERVICE)
    place.a_mandate(principal, agent, MandateStep.LISTINGS)
    second = place.a_mandate(principal, agent, MandateStep.PRODUCTS)

    place.do(product(), agent_for(agent.by, principal.uscc))

    assert place.leaves()[-1]["facts"]["mandate"] == second


def test_without_a_mandate_nothing_is_done_for_another(place: Exchange) -> None:
    principal, agent, other = place.a_member(), place.a_member(roles=SERVICE), place.a_member(roles=SERVICE)
    place.a_mandate(principal, other)

    with pytest.raises(NoMandate):
        place.do(product(), agent_for(agent.by, principal.uscc))
    with pytest.raises(NoMandate):
        place.do(product(), agent_for(principal.by, agent.uscc))
    with pytest.raises(NoMandate):
        place.do(product(), agent_for(agent.by, a_uscc(999)))


def test_a_step_that_is_not_named_is_refused(place: Exchange) -> None:
    principal, agent = place.a_member(), place.a_member(roles=SERVICE)
    place.a_mandate(principal, agent, MandateStep.LISTINGS)

    with pytest.raises(StepNotMandated, match="products"):
        place.do(product(), agent_for(agent.by, principal.uscc))


def test_an_agent_passes_nothing_on_and_ends_nothing_for_its_principal(place: Exchange) -> None:
    principal, agent, third = place.a_member(), place.a_member(roles=SERVICE), place.a_member(roles=SERVICE)
    number = place.a_mandate(principal, agent)

    for command in (GrantMandate(third.id, ALL, LAST), EndMandate(number, "as it should be")):
        with pytest.raises(StepNotMandated, match="Nobody"):
            place.do(command, agent_for(agent.by, principal.uscc))


@pytest.mark.parametrize("ends", ["principal", "agent"])
def test_either_side_ends_a_mandate_at_once(place: Exchange, ends: str) -> None:
    sides = {"principal": place.a_member(), "agent": place.a_member(roles=SERVICE)}
    number = place.a_mandate(sides["principal"], sides["agent"])
    acting = agent_for(sides["agent"].by, sides["principal"].uscc)
    place.do(product(), acting, "first")

    place.do(EndMandate(number, "as it should be"), sides[ends].by)

    leaf = place.leaves()[-1]
    assert (leaf["kind"], leaf["acting_member"]) == ("mandate.ended", sides[ends].id)
    for command, key in ((product("HN-2"), None), (product(), "first")):
        with pytest.raises(NoMandate):
            place.do(command, acting, key)
    with pytest.raises(MandateEnded):
        place.do(EndMandate(number, "as it should be"), sides[ends].by)


def test_giving_using_and_ending_in_one_batch_is_decided_in_order(database_url: str) -> None:
    with Exchange.at(database_url) as place:
        _give_use_and_end(place)


def _give_use_and_end(place: Exchange) -> None:
    principal, agent = place.a_member(), place.a_member(roles=SERVICE)
    acting = agent_for(agent.by, principal.uscc)
    number = MandateId(place.position + 1)

    outcomes = place.batch(
        [
            (product("HN-0"), acting, None),
            (GrantMandate(agent.id, ALL, LAST), principal.by, None),
            (product("HN-1"), acting, None),
            (EndMandate(number, "as it should be"), principal.by, None),
            (product("HN-2"), acting, None),
        ]
    )

    assert [type(outcome).__name__ for outcome in outcomes] == ["NoMandate", "Answer", "Answer", "Answer", "NoMandate"]


def test_a_mandate_holds_to_the_end_of_its_last_day(database_url: str) -> None:
    with Exchange.at(database_url) as place:
        _hold_to_the_end(place)


def _hold_to_the_end(place: Exchange) -> None:
    principal, agent = place.a_member(), place.a_member(roles=SERVICE)
    place.a_mandate(principal, agent, ends_on=place.today + timedelta(days=1))
    acting = agent_for(agent.by, principal.uscc)

    place.wait(days=1)
    place.do(product(), acting)
    place.wait(days=1)

    with pytest.raises(NoMandate):
        place.do(product("HN-2"), acting)


@pytest.mark.parametrize("side", ["principal", "agent"])
def test_a_mandate_rests_while_a_side_is_suspended(place: Exchange, side: str) -> None:
    sides = {"principal": place.a_member(), "agent": place.a_member(roles=SERVICE)}
    place.a_mandate(sides["principal"], sides["agent"])
    acting = agent_for(sides["agent"].by, sides["principal"].uscc)
    place.do(SuspendMember(sides[side].id, "as it should be"), place.operator())

    with pytest.raises(MandateRests):
        place.do(product(), acting)

    place.do(ReinstateMember(sides[side].id, "as it should be"), place.operator())
    place.do(product(), acting)


def test_an_agent_does_not_deal_with_itself_or_its_group_for_another(place: Exchange) -> None:
    group = a_uscc(900)
    agent = place.a_member(roles=("service_org", "provider"), group_parent_uscc=group)
    sister, principal = place.a_member(group_parent_uscc=group), place.a_member()
    place.a_mandate(principal, agent)
    acting = agent_for(agent.by, principal.uscc)

    for seller in (agent, sister):
        sale = place.a_trade(TradeState.PROPOSED, principal, place.a_listing(seller), terms_of(f"HT-{seller.id}"))
        place.do(ConfirmTrade(sale.id), seller.by)
        before = place.dump()
        with pytest.raises(AgentInvolved):
            place.do(ContractTrade(sale.id), acting)
        assert place.dump() == before
    other = place.a_trade(TradeState.CONFIRMED, principal, place.a_listing())
    place.do(ContractTrade(other.id), acting)


def both_sides(place: Exchange) -> tuple[Party, Party, Party]:
    """Give a buyer and a seller, and an agent that may act for the buyer."""
    buyer, seller, agent = place.a_member(), place.a_member(), place.a_member(roles=SERVICE)
    place.a_mandate(buyer, agent)
    return buyer, seller, agent


STEPS_BY_AN_AGENT: dict[str, tuple[TradeState | None, str, Callable[[Offer, Trade], Command]]] = {
    "take": (None, "buyer", lambda offer, _: TakeListing(offer.id, 1, terms_of("HT-9").price, "Training", "HT-9")),
    "propose": (None, "buyer", lambda offer, _: ProposeTrade(offer.id, terms_of("HT-9"))),
    "file": (None, "buyer", lambda offer, _: FileTrade(offer.id, terms_of("HT-9"), date(2026, 3, 2), ("a" * 64,))),
    "confirm": (TradeState.PROPOSED, "seller", lambda _, sale: ConfirmTrade(sale.id)),
    "contract": (TradeState.CONFIRMED, "buyer", lambda _, sale: ContractTrade(sale.id)),
    "cancel": (TradeState.PROPOSED, "buyer", lambda _, sale: CancelTrade(sale.id, "as it should be")),
    "terminate": (TradeState.CONTRACTED, "buyer", lambda _, sale: ProposeTermination(sale.id, "as it should be")),
}
"""How an agent does a step of a trade, with the state it starts from and the side it acts for."""


@pytest.mark.parametrize("step", STEPS_BY_AN_AGENT)
@pytest.mark.parametrize("given", [False, True])
def test_no_step_of_a_trade_is_done_by_an_agent_that_the_other_party_has_authorised_too(
    place: Exchange, step: str, *, given: bool
) -> None:
    state, side, command = STEPS_BY_AN_AGENT[step]
    parties = {"buyer": place.a_member(), "seller": place.a_member()}
    agent = place.a_member(roles=SERVICE)
    offer = place.a_listing(parties["seller"])
    sale = place.a_trade(state, parties["buyer"], offer, terms_of("HT-8")) if state else None
    other = next(party for name, party in parties.items() if name != side)
    place.a_mandate(parties[side], agent)
    if given:
        place.a_mandate(other, agent, MandateStep.PRODUCTS)
    before = place.dump()

    def act() -> None:
        place.do(command(offer, cast("Trade", sale)), agent_for(agent.by, parties[side].uscc))

    if given:
        with pytest.raises(AgentOfBoth):
            act()
        assert place.dump() == before
    else:
        act()


def test_an_agent_that_has_acted_for_one_side_never_acts_for_the_other_whatever_has_ended_since(
    place: Exchange,
) -> None:
    buyer, seller, agent = both_sides(place)
    offer = place.a_listing(seller)
    [first] = place.records(Mandate)
    made = place.do(ProposeTrade(offer.id, terms_of("HT-1")), agent_for(agent.by, buyer.uscc))
    trade_id = TradeId(number_of(made["id"]))
    place.do(EndMandate(first.id, "as it should be"), buyer.by)
    place.a_mandate(seller, agent)

    with pytest.raises(AgentOfBoth):
        place.do(ConfirmTrade(trade_id), agent_for(agent.by, seller.uscc))
    place.do(ConfirmTrade(trade_id), seller.by)

    # What ended before a trade was proposed is over.
    anew = place.a_trade(TradeState.PROPOSED, buyer, offer, terms_of("HT-2"))
    place.do(ConfirmTrade(anew.id), agent_for(agent.by, seller.uscc))


def test_a_mandate_whose_last_day_lies_before_a_trade_was_proposed_is_over(place: Exchange) -> None:
    buyer, seller, agent = place.a_member(), place.a_member(), place.a_member(roles=SERVICE)
    place.a_mandate(buyer, agent, ends_on=place.today)
    place.a_mandate(seller, agent)
    offer = place.a_listing(seller)
    during = place.a_trade(TradeState.PROPOSED, buyer, offer, terms_of("HT-1"))
    place.wait(days=1)
    after = place.a_trade(TradeState.PROPOSED, buyer, offer, terms_of("HT-2"))

    with pytest.raises(AgentOfBoth):
        place.do(ConfirmTrade(during.id), agent_for(agent.by, seller.uscc))
    place.do(ConfirmTrade(after.id), agent_for(agent.by, seller.uscc))


def test_within_one_batch_an_agent_serves_one_side_of_a_trade(database_url: str) -> None:
    with Exchange.at(database_url) as place:
        buyer, seller, agent = both_sides(place)
        offer = place.a_listing(seller)
        trade_id = TradeId(place.position + 2)

        outcomes = place.batch(
            [
                (GrantMandate(agent.id, ALL, LAST), seller.by, None),
                (ProposeTrade(offer.id, terms_of("HT-1")), buyer.by, None),
                (ConfirmTrade(trade_id), agent_for(agent.by, seller.uscc), None),
            ]
        )

    assert [type(outcome).__name__ for outcome in outcomes] == ["Answer", "Answer", "AgentOfBoth"]


# Over HTTP


def test_the_second_side_of_a_trade_is_refused_to_an_agent_over_http(door: Door) -> None:
    buyer, seller, agent = both_sides(door.place)
    offer = door.place.a_listing(seller)
    key, body = door.of(agent), {"mode": "negotiated"} | terms(offer, "HT-1")
    made = door.ask("POST", "/v1/trades", key, body, headers=header(buyer))
    assert made.status_code == 201, made.text
    door.place.a_mandate(seller, agent)
    path = f"/v1/trades/{made.json()['id']}/confirmation"

    problem = refused(door.ask("POST", path, key, {}, headers=header(seller)), 409, "agent-of-both")

    assert problem["remedy"]
    door.post(path, door.of(seller), {})


def test_an_agent_that_names_an_applicant_as_buyer_asks_no_more_of_the_database_than_for_nobody(door: Door) -> None:
    seller, agent, hidden = door.place.a_member(), door.place.a_member(roles=SERVICE), MemberState.UNDER_REVIEW
    door.place.a_mandate(seller, agent)
    body = {"mode": "negotiated"} | terms(door.place.a_listing(seller), "HT-1")
    found = []
    for named in (mbr(door.place.a_member(hidden).id), mbr(999_999)):
        wish = Wish("/v1/trades", body | {"buyer_id": named}, door.of(agent))
        answer, took = asked(door, wish, wish.path, wish.by, headers=header(seller))
        refused(answer, 422, "buyer-wrong")
        found.append(took)

    assert found[0] == found[1] != []


def delegated(door: Door, steps: tuple[MandateStep, ...] = ALL) -> tuple[Party, Party, str]:
    """Give a principal, its agent, and the agent's key."""
    principal, agent = door.place.a_member(), door.place.a_member(roles=SERVICE)
    door.place.a_mandate(principal, agent, *steps)
    return principal, agent, door.of(agent)


def test_an_agent_trades_for_its_principal_over_http_and_both_parties_see_who_it_was(door: Door) -> None:
    principal, agent, key = delegated(door)
    offer = door.place.a_listing()

    answer = door.ask("POST", "/v1/trades", key, listed(offer), headers=header(principal))

    assert answer.status_code == 201, answer.text
    trade = answer.json()["id"]
    assert door.get(f"/v1/trades/{trade}", door.of(principal))["buyer"]
    for party in (principal, offer.owner):
        event = next(one for one in door.get("/v1/events", door.of(party))["data"] if one["subject"] == trade)
        assert (event["acting_member"], event["acting_for"]) == (mbr(agent.id), mbr(principal.id))
        assert event["mandate"].startswith("mnd_")
        assert set(event["facts"]) == {"steps"}
    refused(door.ask("GET", f"/v1/trades/{trade}", key), 404)


def test_the_same_key_for_another_principal_is_another_request(door: Door) -> None:
    principal, agent, key = delegated(door)
    second = door.place.a_member()
    door.place.a_mandate(second, agent)
    body = {"code": "HN-1", "kind": "dataset"}

    def ask(by: Party) -> Any:
        return door.ask("POST", "/v1/products", key, body, key="one", headers=header(by))

    first = ask(principal)
    again = ask(principal)

    assert (first.status_code, again.text, again.headers["idempotency-replayed"]) == (201, first.text, "true")
    refused(ask(second), 422, "key-reused")


def test_an_agent_reads_what_its_steps_need_and_nothing_else(door: Door) -> None:
    principal, _, key = delegated(door, (MandateStep.TRADES_CONFIRM,))
    sale = door.place.a_trade(TradeState.PROPOSED, door.place.a_member(), door.place.a_listing(principal))
    draft = door.place.a_listing(principal, state=ListingState.DRAFT)
    said = header(principal)

    shown = door.ask("GET", f"/v1/trades/{trd(sale.id)}", key, headers=said)
    assert shown.json() == door.get(f"/v1/trades/{trd(sale.id)}", door.of(principal))
    assert [one["id"] for one in door.ask("GET", "/v1/trades", key, headers=said).json()["data"]] == [trd(sale.id)]
    for path in (f"/v1/listings/{lst(draft.id)}", "/v1/listings", "/v1/products"):
        refused(door.ask("GET", path, key, headers=said), 403, "no-mandate")
    statement = f"/v1/members/{mbr(principal.id)}/statement?from=2026-03-01&to=2026-03-02"
    for path in ("/v1/members", statement, "/v1/events", "/v1/mandates"):
        refused(door.ask("GET", path, key, headers=said), 400, "acting-for-wrong")
    assert door.get("/v1/trades", key)["data"] == []


def test_a_cursor_given_for_one_principal_is_of_no_use_for_another(door: Door) -> None:
    principal, agent, key = delegated(door)
    second = door.place.a_member()
    door.place.a_mandate(second, agent)
    for number in range(2):
        door.place.a_trade(TradeState.PROPOSED, principal, terms=terms_of(f"HT-{number}"))
    page = door.ask("GET", "/v1/trades?limit=1", key, headers=header(principal)).json()

    following = f"/v1/trades?limit=1&cursor={page['next']}"

    assert door.ask("GET", following, key, headers=header(principal)).status_code == 200
    refused(door.ask("GET", following, key, headers=header(second)), 400, "cursor-wrong")


@pytest.mark.parametrize("side", ["principal", "agent"])
def test_nothing_is_read_for_a_suspended_principal_or_by_a_suspended_agent(door: Door, side: str) -> None:
    principal, agent, key = delegated(door)
    suspended = principal if side == "principal" else agent
    door.place.do(SuspendMember(suspended.id, "as it should be"), door.place.operator())

    refused(door.ask("GET", "/v1/trades", key, headers=header(principal)), 403, "no-mandate")


def test_a_revoked_mandate_opens_no_read(door: Door) -> None:
    principal, _, key = delegated(door)
    [mandate] = door.place.records(Mandate)
    path = f"/v1/mandates/{written_id(Prefix.MANDATE, mandate.id)}"
    door.post(f"{path}/end", door.of(principal), {"reason": "as it should be"})

    refused(door.ask("GET", "/v1/trades", key, headers=header(principal)), 403, "no-mandate")
    shown = door.get(path, key)
    assert (shown["state"], shown["in_force"]) == ("ended", False)


@pytest.mark.parametrize("wrong", ["", "mbr_000000000001", "91430100MA4L00001X", " ", "9143010000000000"])
def test_a_header_that_holds_no_code_is_refused(door: Door, wrong: str) -> None:
    _, _, key = delegated(door)

    for method, path in (("GET", "/v1/trades"), ("POST", "/v1/products")):
        answer = door.ask(
            method, path, key, {"code": "HN-1", "kind": "dataset"}, headers={"Exchange-Acting-For": wrong}
        )
        assert [fault["pointer"] for fault in refused(answer, 400, "acting-for-wrong")["errors"]] == [
            "/exchange-acting-for"
        ]


def test_staff_acts_for_nobody(door: Door) -> None:
    principal, _, _ = delegated(door)

    refused(door.ask("GET", "/v1/trades", door.operator, headers=header(principal)), 400, "acting-for-wrong")
    body = {"reason": "as it should be"}
    path = f"/v1/members/{mbr(principal.id)}/suspension"
    refused(door.ask("POST", path, door.operator, body, headers=header(principal)), 400, "acting-for-wrong")


def test_a_batch_of_trades_is_made_for_the_principal(door: Door) -> None:
    principal, _, key = delegated(door)
    body = [listed(door.place.a_listing()) | {"contract_number": f"HT-{number}"} for number in range(2)]

    answer = door.ask("POST", "/v1/trades:batch?atomic=true", key, body, headers=header(principal))

    assert answer.status_code == 201, answer.text
    assert {trade.buyer_id for trade in door.place.records(Trade)} == {principal.id}


STEPS_OF = {
    "register_product": {MandateStep.PRODUCTS},
    "describe_version": {MandateStep.PRODUCTS},
    "draft_listing": {MandateStep.LISTINGS},
    "submit_listing": {MandateStep.LISTINGS},
    "delist_listing": {MandateStep.LISTINGS},
    "create_trade": {MandateStep.TRADES_TAKE},
    "file_trade": {MandateStep.TRADES_FILE},
    "confirm_trade": {MandateStep.TRADES_CONFIRM},
    "contract_trade": {MandateStep.TRADES_CONTRACT},
    "cancel_trade": {MandateStep.TRADES_CANCEL},
    "terminate_trade": {MandateStep.TRADES_TERMINATE},
    "approve_termination": {MandateStep.TRADES_TERMINATE},
}
"""Which step each operation needs, as its good request is."""
DELEGABLE = {*STEPS_OF, "create_trades"}
READ_FOR_OTHERS = {"list_products", "show_product", "list_listings", "show_listing", "list_trades", "show_trade"}


def test_the_document_names_the_header_wherever_it_has_its_place_and_nowhere_else() -> None:
    named = {
        operation
        for operation, (_, _, said) in OPERATIONS.items()
        if any(parameter.get("name") == "Exchange-Acting-For" for parameter in said["parameters"])
    }

    assert named == DELEGABLE | READ_FOR_OTHERS


@pytest.mark.parametrize("operation", sorted(name for name in WRITES if name not in DELEGABLE))
def test_what_is_not_delegable_is_refused_whatever_the_mandate(door: Door, operation: str) -> None:
    wish = WRITES[operation](door)
    principal, _, key = delegated(door)
    before = door.place.dump()

    answer = door.ask(wish.method, wish.path, key, wish.body, headers=header(principal))

    assert answer.json()["type"] in {"/problems/step-not-mandated", "/problems/role-lacks-route"}
    assert answer.status_code == 403
    assert door.place.dump() == before


@pytest.mark.parametrize("operation", sorted(name for name in WRITES if name in DELEGABLE))
def test_what_is_delegable_needs_its_own_step_and_no_other(door: Door, operation: str) -> None:
    wish = WRITES[operation](door)
    own = next(uscc for (_, _, uscc), key in door._tokens.items() if key == wish.by)
    assert own is not None
    by = door.place.a_company(own, "Sun")
    [company] = [company for company in door.place.records(Company) if company.uscc == own]
    principal, agent = Party(company.member_id, by, own), door.place.a_member(roles=SERVICE)
    steps = STEPS_OF[operation]
    door.place.a_mandate(principal, agent, *(step for step in MandateStep if step not in steps))

    refused(
        door.ask(wish.method, wish.path, door.of(agent), wish.body, headers=header(principal)), 403, "step-not-mandated"
    )
    door.place.a_mandate(principal, agent, *steps)
    answer = door.ask(wish.method, wish.path, door.of(agent), wish.body, headers=header(principal))
    assert answer.status_code == wish.status, answer.text
