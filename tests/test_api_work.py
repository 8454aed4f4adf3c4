"""What the people who work with the exchange do all day: try before doing, follow what happens, look for things, reconcile, correct."""

import asyncio
import csv
import hashlib
import io
import time
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest
from doors import WRITES, Door, fen, listed, mbr, refused, trd
from exchanges import Exchange, company_fields, terms_of
from sqlmodel import Session

from exchange.access.callers import secret_hash
from exchange.access.commands import RevokeKey
from exchange.access.tables import Correction
from exchange.api.doors import CONDITIONAL
from exchange.app import GROUPS
from exchange.desk.queries import QUEUES
from exchange.identifiers import Prefix, TradeId, read_any_id, written_id
from exchange.journal.queries import Moment, present
from exchange.listings.states import ListingState
from exchange.members.commands import ApproveExpulsion, ChangeMember, ProposeExpulsion, ProposeReadmission
from exchange.members.states import MemberState
from exchange.trades.commands import (
    CancelTrade,
    ConfirmTrade,
    CorrectTrade,
    ProposeReversal,
    ProposeTermination,
    TakeListing,
)
from exchange.trades.states import TradeState
from exchange.trades.tables import Trade

REASON = {"reason": "as it should be"}
ROUTES = {route.operation: route for _, routes in GROUPS for route in routes}
CONDITIONAL_WRITES = sorted(name for name in WRITES if getattr(ROUTES[name], "prefix", None) in CONDITIONAL)


# Trying before doing


@pytest.mark.parametrize("operation", sorted(WRITES))
def test_a_dry_run_says_what_would_become_of_it_and_leaves_no_trace(door: Door, operation: str) -> None:
    wish = WRITES[operation](door)
    before, position = door.place.dump(), door.place.position

    rehearsed = door.ask(wish.method, wish.path, wish.by, wish.body, without_key=True, dry_run="true")
    assert rehearsed.status_code == 200, rehearsed.text
    assert door.place.dump() == before

    told = rehearsed.json()
    assert (told["dry_run"], told["as_of_position"], told["status"]) == (True, position, wish.status)
    done = door.ask(wish.method, wish.path, wish.by, wish.body).json()
    assert told["would_answer"].items() <= done.items()
    new = {name for name, value in done.items() if (read_any_id(value) or 0) > position}
    assert done.keys() - told["would_answer"].keys() == {"position", "recorded_at", *new, *({"secret"} & done.keys())}


def test_a_dry_run_refuses_in_the_same_words(door: Door) -> None:
    buyer, offer = door.of(door.place.a_member()), door.place.a_listing(state=ListingState.SUSPENDED)
    auditor = door.auditor
    before = door.place.dump()

    for body in (listed(offer), listed(offer) | {"quantity": 0}, {}):
        rehearsed = door.ask("POST", "/v1/trades", buyer, body, without_key=True, dry_run="true")
        done = door.ask("POST", "/v1/trades", buyer, body)
        assert (rehearsed.status_code, rehearsed.json()) == (done.status_code, done.json())
    stranger = door.ask("POST", "/v1/trades", auditor, listed(offer), without_key=True, dry_run="true")
    refused(stranger, 403, "role-lacks-route")
    assert door.place.dump() == before


def test_a_dry_run_of_a_batch_is_decided_in_order_as_the_batch_would_be(door: Door) -> None:
    offer, buyer = door.place.a_listing(), door.of(door.place.a_member())
    items = [listed(offer) | {"contract_number": number} for number in ("HT-1", "HT-2", "HT-1")]
    before, position = door.place.dump(), door.place.position

    def ask(query: str, body: Any) -> httpx.Response:
        return door.ask("POST", f"/v1/trades:batch?dry_run=true{query}", buyer, body, without_key=True)

    alone = ask("", [*items, {"mode": "listed"}]).json()
    assert [item["status"] for item in alone["would_answer"]] == [201, 201, 409, 422]
    assert alone["would_answer"][2]["problem"]["type"] == "/problems/contract-recorded"
    assert alone["as_of_position"] == position
    problem = refused(ask("&atomic=true", items), 422, "item-refused")
    assert problem["errors"][0]["pointer"] == "/2"
    together = ask("&atomic=true", items[:2]).json()
    assert (together["status"], len(together["would_answer"])) == (201, 2)
    assert door.place.dump() == before


def test_a_revoked_key_is_refused_a_dry_run_of_a_whole_batch_as_it_is_the_batch(door: Door) -> None:
    offer, buyer = door.place.a_listing(), door.of(door.place.a_member())
    door.ask("POST", "/v1/trades", buyer, {})
    caller = door.app.state.office.callers[secret_hash(buyer)][1]
    door.place.do(RevokeKey(caller.key_id), door.place.operator())

    for query in ("?atomic=true&dry_run=true", "?atomic=true"):
        answer = door.ask("POST", f"/v1/trades:batch{query}", buyer, [listed(offer)])
        refused(answer, 401, "unauthenticated")


def test_a_defect_in_a_dry_run_is_said_to_be_one(sqlite_door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    buyer, offer = sqlite_door.of(sqlite_door.place.a_member()), sqlite_door.place.a_listing()
    monkeypatch.setattr(TakeListing, "decide", lambda *_: 1 / 0)

    for path, body in (
        ("/v1/trades?dry_run=true", listed(offer)),
        ("/v1/trades:batch?atomic=true&dry_run=true", [listed(offer)]),
    ):
        answer = sqlite_door.ask("POST", path, buyer, body, without_key=True)
        refused(answer, 500, "defect")
    items = sqlite_door.ask("POST", "/v1/trades:batch", buyer, [listed(offer)]).json()["data"]
    assert (items[0]["status"], items[0]["problem"]["type"]) == (500, "/problems/defect")
    rehearsed = sqlite_door.ask("POST", "/v1/trades:batch?dry_run=true", buyer, [listed(offer)], without_key=True)
    assert rehearsed.json()["would_answer"][0]["status"] == 500


@pytest.mark.parametrize("operation", CONDITIONAL_WRITES)
def test_what_has_changed_since_it_was_looked_at_is_not_changed(door: Door, operation: str) -> None:
    wish = WRITES[operation](door)
    before = door.place.dump()

    for stale in ('"1"', 'W/"1"', '"1", "2"'):
        problem = refused(door.ask(wish.method, wish.path, wish.by, wish.body, headers={"If-Match": stale}), 412)
        assert problem["type"] == "/problems/precondition-failed"
    assert door.place.dump() == before

    shown = "/".join(wish.path.split("/")[:4])
    tag = door.ask("GET", shown, wish.by).headers["ETag"]
    done = door.ask(wish.method, wish.path, wish.by, wish.body, key="once", headers={"If-Match": f'"1", {tag}'})
    assert done.status_code == wish.status, done.text
    assert door.ask("GET", shown, door.operator).headers["ETag"] != tag or operation.endswith("readmission")
    again = door.ask(wish.method, wish.path, wish.by, wish.body, key="once", headers={"If-Match": tag})
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (wish.status, "true")


def test_an_entity_tag_is_read_strictly_and_only_where_something_is_changed(door: Door) -> None:
    sale, offer = door.place.a_trade(TradeState.PROPOSED), door.place.a_listing()
    path, buyer = f"/v1/trades/{trd(sale.id)}/cancellation", door.of(sale.buyer)

    for wrong in ("9120", '"x"', '"1" "2"', "**", '""', '"1",,'):
        refused(door.ask("POST", path, buyer, REASON, headers={"If-Match": wrong}), 400, "tag-wrong")
    for path_of_new, body in (("/v1/trades", listed(offer)), ("/v1/trades:batch", [listed(offer)])):
        refused(door.ask("POST", path_of_new, buyer, body, headers={"If-Match": '"1"'}), 400, "tag-wrong")
    stranger = door.of(door.place.a_member())
    refused(door.ask("POST", path, stranger, REASON, headers={"If-Match": '"1"'}), 404)
    refused(door.ask("POST", path, buyer, REASON, headers={"If-Match": '"1"'}, without_key=True, dry_run="true"), 412)
    assert door.ask("POST", path, buyer, REASON, headers={"If-Match": "*"}).status_code == 200


def test_to_other_members_a_member_carries_no_tag(door: Door) -> None:
    shown, stranger = door.place.a_member(), door.place.a_member()

    assert "ETag" not in door.ask("GET", f"/v1/members/{mbr(shown.id)}", door.of(stranger)).headers
    assert "ETag" in door.ask("GET", f"/v1/members/{mbr(shown.id)}", door.of(shown)).headers


def test_figures_are_sent_once_to_who_has_them(door: Door) -> None:
    door.place.a_trade()
    first = door.ask("GET", "/v1/summary", door.regulator)
    tag = first.headers["ETag"]
    assert tag == f'"{hashlib.sha256(first.content).hexdigest()}"'

    for known in (tag, f'"1", W/{tag}'):
        again = door.ask("GET", "/v1/summary", door.regulator, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    door.place.a_trade()
    later = door.ask("GET", "/v1/summary", door.regulator, headers={"If-None-Match": tag})
    assert (later.status_code, later.headers["ETag"] == tag) == (200, False)
    pinned = {"as_of": first.json()["as_of"], "known_at": first.json()["position"]}
    assert door.ask("GET", "/v1/summary", door.regulator, **pinned).headers["ETag"] == tag


# Batches


def test_a_batch_is_answered_a_line_at_a_time_where_that_is_asked_for(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.api.batches.SLICE", 2)
    offer, buyer = door.place.a_listing(), door.of(door.place.a_member())
    lines = [orjson.dumps(listed(offer) | {"contract_number": f"HT-{n}"}) for n in range(5)]
    headers = {"Content-Type": "application/x-ndjson", "Accept": "application/x-ndjson"}

    answer = door.ask("POST", "/v1/trades:batch", buyer, b"\n".join(lines), key="b", headers=headers)

    assert answer.headers["content-type"] == "application/x-ndjson"
    told = [orjson.loads(line) for line in answer.content.splitlines()]
    assert [(item["index"], item["status"]) for item in told] == [(n, 201) for n in range(5)]
    plain = door.ask("POST", "/v1/trades:batch", buyer, b"\n".join(lines), key="b", headers=headers | {"Accept": "*/*"})
    assert plain.json()["data"] == told


# Following what happens


def follow(door: Door, by: str, **asked: Any) -> dict[str, Any]:
    told: dict[str, Any] = door.get("/v1/events", by, **asked)
    return told


def test_events_are_read_in_order_page_by_page_and_each_leaf_has_its_hash(door: Door) -> None:
    door.place.a_trade()

    read: list[dict[str, Any]] = []
    after = 0
    while page := follow(door, door.regulator, after=after, limit=7, leaves="true")["data"]:
        read += page
        after = page[-1]["position"]

    assert [event["position"] for event in read] == list(range(1, door.place.position + 1))
    assert {event["kind"] for event in read} >= {"genesis", "member.admitted", "listing.listed", "trade.contracted"}
    for event in read:
        assert hashlib.sha256(b"\x00" + event["leaf"].encode()).hexdigest() == event["leaf_sha256"]
        leaf = orjson.loads(event["leaf"])
        assert (leaf["position"], leaf["kind"], leaf["recorded_at"]) == (
            event["position"],
            event["kind"],
            event["recorded_at"],
        )


def test_who_did_what_to_a_trade_is_found_by_the_trade_and_by_the_person(door: Door) -> None:
    sale = door.place.a_trade(TradeState.REVERSED)
    second = door.place.second_operator()

    events = follow(door, door.auditor, subject=trd(sale.id))["data"]
    assert [event["kind"] for event in events] == [
        *("trade.proposed", "trade.confirmed", "trade.contracted", "trade.reversal_proposed", "trade.reversed")
    ]
    assert events[-1]["facts"]["reason"] == "as it should be"
    person = written_id(Prefix.PERSON, second.person_id or 0)
    assert (events[-1]["person"], events[-1]["key"]) == (person, written_id(Prefix.KEY, second.key_id or 0))
    assert events[0]["acting_member"] == mbr(sale.buyer.id)
    by_person = follow(door, door.auditor, person=person)["data"]
    assert [event["subject"] for event in by_person] == [trd(sale.id)]
    assert follow(door, door.auditor, person="prs_x")["data"] == []
    assert follow(door, door.auditor, subject="trd_000000000001")["data"] == []


def test_a_member_sees_what_it_is_a_party_to_and_no_persons(door: Door) -> None:
    sale, other = door.place.a_trade(), door.place.a_trade()
    key = door.of(sale.buyer)

    events = follow(door, key)["data"]

    assert {event["subject"] for event in events} == {mbr(sale.buyer.id), trd(sale.id)}
    assert {(event["person"], event["key"], event["leaf"]) for event in events} == {(None, None, None)}
    assert follow(door, key, subject=trd(other.id))["data"] == []
    assert [event["kind"] for event in follow(door, key, subject=trd(sale.id))["data"]] == [
        *("trade.proposed", "trade.confirmed", "trade.contracted")
    ]
    assert follow(door, door.of(door.place.a_company()))["data"] == []
    for asked in ({"person": "prs_000000000002"}, {"leaves": "true"}):
        refused(door.ask("GET", "/v1/events", key, **asked), 400, "query-wrong")


def test_a_company_with_two_memberships_sees_the_events_of_both(door: Door) -> None:
    party = door.place.a_member(MemberState.WITHDRAWN)
    again = door.place.a_member(by=party.by)

    subjects = [event["subject"] for event in follow(door, door.of(party), limit=100)["data"]]

    assert sorted(set(subjects)) == [mbr(party.id), mbr(again.id)]
    assert subjects == sorted(subjects)


def test_the_follower_of_a_restored_exchange_is_told(door: Door) -> None:
    door.place.a_trade()
    head = follow(door, door.regulator, limit=500)
    after, last = head["after"], head["data"][-1]["leaf_sha256"]

    assert follow(door, door.regulator, after=after, seen=last)["data"] == []
    refused(door.ask("GET", "/v1/events", door.regulator, after=after + 1), 409, "history-shorter")
    refused(door.ask("GET", "/v1/events", door.regulator, after=after, seen="0" * 64), 409, "history-differs")
    refused(door.ask("GET", "/v1/events", door.regulator, seen="0" * 64), 400, "query-wrong")


def test_who_waits_is_answered_as_soon_as_something_happens(door: Door) -> None:
    sale = door.place.a_trade(TradeState.PROPOSED)
    key, after = door.of(sale.buyer), door.place.position
    path = f"/v1/trades/{trd(sale.id)}/cancellation"

    async def both() -> tuple[httpx.Response, float]:
        waiting = asyncio.create_task(door.send("GET", "/v1/events", key, after=after, wait=30))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        began = time.monotonic()
        assert (await door.send("POST", path, key, REASON)).status_code == 200
        return await waiting, time.monotonic() - began

    answer, waited_s = door.wait(both())

    assert [event["kind"] for event in answer.json()["data"]] == ["trade.cancelled"]
    assert waited_s < 10


def test_who_waits_for_nothing_is_told_so_in_time_and_at_once_when_the_service_stops(sqlite_door: Door) -> None:
    door, operator = sqlite_door, sqlite_door.operator
    after = door.place.position

    assert follow(door, operator, after=after, wait=1) == {"data": [], "position": after, "after": after}

    async def stopped() -> httpx.Response:
        waiting = asyncio.create_task(door.send("GET", "/v1/events", operator, after=after, wait=30))
        await asyncio.sleep(0.1)
        door.app.state.stopping = True
        return await asyncio.wait_for(waiting, 10)

    assert door.wait(stopped()).json()["data"] == []


def test_however_many_wait_the_database_is_asked_a_few_times_a_second(
    sqlite_door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def count(session: Session) -> Moment:
        nonlocal asked
        asked += 1
        return present(session)

    monkeypatch.setattr("exchange.api.following.present", count)
    operator, after = sqlite_door.operator, sqlite_door.place.position

    async def wait() -> list[httpx.Response]:
        some = (sqlite_door.send("GET", "/v1/events", operator, after=after, wait=1) for _ in range(40))
        return await asyncio.gather(*some)

    assert {answer.json()["after"] for answer in sqlite_door.wait(wait())} == {after}
    assert 1 < asked < 20


def test_what_happens_to_others_does_not_wake_a_member(door: Door) -> None:
    member = door.of(door.place.a_member())
    after = door.place.position

    door.place.a_trade()
    answer = follow(door, member, after=after, wait=1)

    assert (answer["data"], answer["after"]) == ([], door.place.position)


# What waits


def test_every_queue_says_how_many_wait_and_how_long(door: Door) -> None:
    place = door.place
    for state in (MemberState.SUBMITTED, MemberState.UNDER_REVIEW, MemberState.CORRECTION_REQUESTED):
        place.a_member(state)
    place.a_listing(state=ListingState.IN_REVIEW)
    place.a_trade(TradeState.FILED)
    place.do(ConfirmTrade((sale := place.a_trade(TradeState.FILED)).id), sale.buyer.by)
    place.do(ProposeReversal(place.a_trade().id, "as it should be"), place.operator())
    place.do(ProposeTermination((sale := place.a_trade()).id, "as it should be"), sale.buyer.by)
    place.do(ProposeExpulsion(place.a_member().id, "as it should be"), place.operator())
    place.do(ProposeReadmission(place.a_member(MemberState.EXPELLED).id, "as it should be"), place.operator())
    place.wait(days=3, hours=1)

    queues = {queue["name"]: queue for queue in door.get("/v1/queues", door.operator)["data"]}

    assert queues.keys() == QUEUES.keys()
    assert {queue["waiting"] for queue in queues.values()} == {1}
    assert {queue["oldest_age_days"] for queue in queues.values()} == {3}
    for name, queue in queues.items():
        [one] = door.get(f"/v1/queues/{name}", door.auditor)["data"]
        assert (one["since"], one["age_days"]) == (queue["oldest"], 3)
        assert door.get(f"/v1/{_place(one['subject'])}", door.operator)["id"] == one["subject"]
        assert one["label"]

    place.wait(days=5)
    lapsed = {queue["name"] for queue in door.get("/v1/queues", door.operator)["data"] if not queue["waiting"]}
    assert lapsed == {"reversals", "terminations", "expulsions", "readmissions"}


def _place(subject: str) -> str:
    return {"mbr": "members", "lst": "listings", "trd": "trades"}[subject[:3]] + f"/{subject}"


def test_what_is_decided_or_has_changed_waits_no_longer(door: Door) -> None:
    place = door.place
    member = place.a_member()
    place.do(ProposeExpulsion(member.id, "as it should be"), place.operator())
    place.do(ApproveExpulsion(member.id, "as it should be"), place.second_operator())
    sale = place.a_trade()
    place.do(ProposeReversal(sale.id, "as it should be"), place.operator())
    place.do(CorrectTrade(sale.id, "purpose", "Training two models", "A slip"), place.operator())

    assert {queue["waiting"] for queue in door.get("/v1/queues", door.operator)["data"]} == {0}
    assert {queue["oldest"] for queue in door.get("/v1/queues", door.operator)["data"]} == {None}


def test_a_queue_is_paged_the_longest_waiting_first(door: Door) -> None:
    waiting = [door.place.a_trade(TradeState.FILED) for _ in range(5)]

    first = door.get("/v1/queues/unconfirmed-filings", door.operator, limit=2)
    second = door.get("/v1/queues/unconfirmed-filings", door.operator, limit=3, cursor=first["next"])

    assert [one["subject"] for one in (*first["data"], *second["data"])] == [trd(sale.id) for sale in waiting]
    assert second["next"] is None
    refused(door.ask("GET", "/v1/queues/nothing", door.operator), 404)


# Finding


def test_a_member_is_found_by_any_part_of_its_name_or_its_initials(door: Door) -> None:
    by = door.place.a_company()
    found = door.place.a_member(by=by)
    name = "湖南湘数科技有限公司"
    renamed = ChangeMember(found.id, "as it should be", legal_name=name, short_name="湘数科技ＨＮ")
    door.place.do(renamed, door.place.operator())
    door.place.a_member(MemberState.SUBMITTED)

    for part in ("湘数", "数科技有", "xskj", "HNX", "湖南湘数科技有限公司"):
        assert [one["id"] for one in door.get("/v1/members", door.operator, name=part)["data"]] == [mbr(found.id)], part
        assert [one["id"] for one in door.get("/v1/search", door.operator, q=part)["members"]] == [mbr(found.id)], part
    assert door.get("/v1/members", door.operator, name="湘科")["data"] == []
    assert door.get("/v1/members", door.of(found), name="湘数")["data"][0]["id"] == mbr(found.id)
    old_name = company_fields(f"湖南数据{found.uscc[-6:]}").short_name
    assert door.get("/v1/members", door.operator, name=old_name)["data"][0]["legal_name"] == name


def test_a_suspended_member_is_not_found_by_others(door: Door) -> None:
    hidden, stranger = door.place.a_member(MemberState.SUSPENDED), door.place.a_member()

    assert hidden.uscc not in {one["uscc"] for one in door.get("/v1/members", door.of(stranger), name="湖南")["data"]}
    assert hidden.uscc in {one["uscc"] for one in door.get("/v1/members", door.operator, name="湖南")["data"]}


def test_search_finds_by_whatever_is_known(door: Door) -> None:
    sale = door.place.a_trade(TradeState.PROPOSED, terms=terms_of("HT-2026-0001"))
    door.place.do(ConfirmTrade(sale.id, "SO-77"), sale.seller.by)
    other = door.place.a_trade(buyer=sale.buyer)

    def found(asked: str) -> tuple[list[str], list[str]]:
        told = door.get("/v1/search", door.auditor, q=asked)
        return [one["id"] for one in told["members"]], [one["id"] for one in told["trades"]]

    assert found("HT-2026-0001") == ([], [trd(sale.id)])
    assert found("SO-77") == ([], [trd(sale.id)])
    assert found(trd(sale.id)) == ([], [trd(sale.id)])
    assert found(mbr(sale.seller.id)) == ([mbr(sale.seller.id)], [])
    assert found(sale.buyer.uscc) == ([mbr(sale.buyer.id)], [trd(sale.id), trd(other.id)])
    assert found("mbr_999999999999") == found("trd_999999999999") == found("nobody knows") == ([], [])


def test_an_accountant_finds_a_trade_by_number_reference_or_counterparty(door: Door) -> None:
    party, offer = door.place.a_member(), door.place.a_listing()
    sales = [door.place.a_taken_listing(buyer=party, offer=offer) for _ in range(3)]
    elsewhere = door.place.a_taken_listing(buyer=party)
    own = door.place.a_taken_listing(offer=door.place.a_listing(owner=party), buyer=offer.owner)
    key = door.of(party)

    def found(**asked: Any) -> list[str]:
        return [one["id"] for one in door.get("/v1/trades", key, **asked)["data"]]

    assert found(counterparty=offer.owner.uscc) == [trd(sale.id) for sale in (*sales, own)]
    assert found(counterparty=offer.owner.uscc, side="buyer") == [trd(sale.id) for sale in sales]
    assert found(counterparty=elsewhere.seller.uscc) == [trd(elsewhere.id)]
    assert found(counterparty=party.uscc) == []
    number = door.get(f"/v1/trades/{trd(sales[1].id)}", key)["contract_number"]
    assert found(contract_number=number) == [trd(sales[1].id)]
    staff = door.get("/v1/trades", door.operator, counterparty=offer.owner.uscc)["data"]
    assert [one["id"] for one in staff] == [trd(sale.id) for sale in (*sales, own)]
    first = door.get("/v1/trades", key, limit=2)
    second = door.get("/v1/trades", key, limit=10, cursor=first["next"])
    assert [one["id"] for one in (*first["data"], *second["data"])] == [trd(s.id) for s in (*sales, elsewhere, own)]
    assert door.get("/v1/trades", door.of(door.place.a_company()))["data"] == []


# Reconciling


def sheet(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.headers["content-type"].startswith("text/csv")
    text = answer.content.decode("utf-8")
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def test_a_period_comes_as_a_sheet_that_reconciles_with_the_account_to_the_fen(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.api.sheets.PAGE", 2)
    party = door.place.a_member()
    own = door.place.a_listing(owner=party)
    sales = [door.place.a_taken_listing(buyer=party, quantity=n + 1) for n in range(3)]
    door.place.wait(days=1)
    door.place.a_taken_listing(offer=own)
    door.place.a_trade(TradeState.REVERSED, offer=own)
    path, key = f"/v1/members/{mbr(party.id)}/statement", door.of(party)
    period = {"from": (door.place.today - timedelta(days=30)).isoformat(), "to": door.place.today.isoformat()}

    rows = sheet(door.ask("GET", path, key, headers={"Accept": "text/csv"}, **period))
    shown = door.get(path, key, **period)

    lines = [row for row in rows if row["movement"] not in {"opening", "closing"}]
    assert [row["movement"] for row in rows[:2]] == ["opening"] * 2
    assert [row["movement"] for row in rows[-2:]] == ["closing"] * 2
    assert len(lines) == len(shown["data"]) == 6
    sums = {side: sum(int(row["gross_fen"]) for row in lines if row["side"] == side) for side in ("sales", "purchases")}
    assert sums == {row["side"]: int(row["balance_fen"]) for row in rows[-2:]}
    for row, line in zip(lines, shown["data"], strict=True):
        net, vat, gross = (int(row[f"{name}_fen"]) for name in ("net", "vat", "gross"))
        assert net + vat == gross
        assert [fen(net), fen(vat), fen(gross)] == [line["net_excluding_vat"], line["vat"], line["gross"]]
        assert row["gross_yuan"].replace(".", "").lstrip("-0") == str(abs(gross))
        assert (row["trade"], row["counterparty_uscc"]) == (line["trade"], line["counterparty_uscc"])
    assert lines[0]["counterparty_uscc"] == sales[0].seller.uscc
    assert shown["closing"] == shown["ledger"] == {side: fen(amount) for side, amount in sums.items()}
    refused(door.ask("GET", path, door.of(sales[0].seller), headers={"Accept": "text/csv"}, **period), 404)


def test_a_sheet_is_headed_in_the_language_that_is_asked_for(sqlite_door: Door) -> None:
    member = sqlite_door.place.a_member()
    headers = {"Accept": "text/csv;q=0.9, */*;q=0.1", "Accept-Language": "zh-CN"}
    path, period = f"/v1/members/{mbr(member.id)}/statement", {"from": "2026-01-01", "to": "2026-12-31"}

    chinese = sqlite_door.ask("GET", path, sqlite_door.operator, headers=headers, **period)

    assert chinese.content.decode().splitlines()[0].startswith("\ufeff业务日期,账本位置,交易编号,合同编号")
    assert chinese.headers["content-disposition"].startswith(f'attachment; filename="{mbr(member.id)}_2026-01-01')
    assert len(chinese.content.decode().splitlines()) == 5


def test_the_account_of_who_was_never_admitted_stands_at_nothing(sqlite_door: Door) -> None:
    member = sqlite_door.place.a_member(MemberState.SUBMITTED)

    shown = sqlite_door.get(
        f"/v1/members/{mbr(member.id)}/statement", sqlite_door.operator, **{"from": "2026-01-01", "to": "2026-12-31"}
    )

    assert shown["ledger"] == {"sales": fen(0), "purchases": fen(0)}


# Correcting


def test_a_typo_in_a_member_is_mended_and_what_stood_there_is_kept(door: Door) -> None:
    member = door.place.a_member()
    path = f"/v1/members/{mbr(member.id)}"
    before = door.get(path, door.operator)

    for field, value in (("address", "长沙市岳麓区10号"), ("industry_code", "I6520"), ("short_name", "湘江数据")):
        door.post(f"{path}/typo", door.operator, {"field": field, "value": value, **REASON}, status=200)

    shown = door.get(path, door.of(member))
    assert (shown["address"], shown["industry_code"], shown["short_name"]) == ("长沙市岳麓区10号", "I6520", "湘江数据")
    kept = {row.field: (row.before, row.subject) for row in door.place.records(Correction)}
    assert kept == {name: (before[name], mbr(member.id)) for name in ("address", "industry_code", "short_name")}
    assert door.get("/v1/members", door.operator, name="xjsj")["data"][0]["id"] == mbr(member.id)
    for wrong in (
        {"field": "legal_name", "value": "x"},
        {"field": "uscc", "value": "x"},
        {"field": "address", "value": ""},
    ):
        refused(door.ask("POST", f"{path}/typo", door.operator, wrong | REASON), 422, "member-fields-wrong")


def test_a_typo_is_mended_and_what_stood_there_is_kept(door: Door) -> None:
    sale = door.place.a_trade(terms=terms_of("HT-2O26-1"))
    path, key = f"/v1/trades/{trd(sale.id)}", door.of(sale.buyer)
    before = door.get("/v1/summary", door.regulator)["cumulative_volume"]

    body = {"field": "contract_number", "value": "HT-2026-1", "reason": "A letter for a digit, as the contract shows."}
    door.post(f"{path}/correction", door.operator, body, status=200)

    assert door.get(path, key)["contract_number"] == "HT-2026-1"
    [row] = door.place.records(Correction)
    assert (row.before, row.after, row.field, row.subject) == (
        "HT-2O26-1",
        "HT-2026-1",
        "contract_number",
        trd(sale.id),
    )
    assert follow(door, key, subject=trd(sale.id))["data"][-1]["facts"]["reason"] == body["reason"]
    assert door.get("/v1/summary", door.regulator)["cumulative_volume"] == before
    refused(door.ask("POST", f"{path}/correction", door.operator, body), 422, "nothing-changes")
    refused(door.ask("POST", f"{path}/correction", key, body), 403)


def test_a_contract_number_that_counts_for_another_is_not_taken(door: Door) -> None:
    first = door.place.a_trade(terms=terms_of("HT-1"))
    same_text = terms_of("HT-2", contract_sha256=terms_of("HT-1").contract_sha256)
    second = door.place.a_trade(buyer=first.buyer, offer=first.offer, terms=same_text)
    body = {"field": "contract_number", "value": "HT-1", **REASON}

    refused(door.ask("POST", f"/v1/trades/{trd(second.id)}/correction", door.operator, body), 409, "contract-recorded")

    freed = {"field": "contract_number", "value": "HT-3", **REASON}
    door.post(f"/v1/trades/{trd(first.id)}/correction", door.operator, freed, status=200)
    door.post(f"/v1/trades/{trd(second.id)}/correction", door.operator, body, status=200)
    numbers = {row.id: row.contract_number for row in door.place.records(Trade)}
    assert (numbers[first.id], numbers[second.id]) == ("HT-3", "HT-1")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"field": "gross", "value": "1"}, "/field"),
        ({"field": "state", "value": "reversed"}, "/field"),
        ({"field": "purpose"}, "/value"),
        ({"field": "contract_number", "value": None}, "/value"),
        ({"field": "contract_number", "value": "trd_000000000009"}, "/value"),
        ({"field": "delivery_terms", "value": "=1+1"}, "/value"),
        ({"field": "buyer_ref", "value": "x" * 65}, "/value"),
    ],
)
def test_what_is_no_typo_is_not_corrected(sqlite_door: Door, body: dict[str, Any], pointer: str) -> None:
    sale = sqlite_door.place.a_trade()

    answer = sqlite_door.ask("POST", f"/v1/trades/{trd(sale.id)}/correction", sqlite_door.operator, body | REASON)

    assert refused(answer, 422, "trade-fields-wrong")["errors"][0]["pointer"] == pointer


def test_the_database_itself_lets_only_corrections_change_what_a_contract_says(database_url: str) -> None:
    with Exchange.at(database_url) as exchange:
        sale = exchange.a_trade()
        honest = CorrectTrade(sale.id, "delivery_terms", "By line", "A slip")
        exchange.do(honest, exchange.operator())
        before = exchange.dump()

        class Silent(CorrectTrade):
            """Changes the words and leaves no correction behind."""

            __slots__ = ()

            def decide(self, work: Any) -> Any:
                real, work.insert = work.insert, lambda *_, **__: None
                try:
                    return super().decide(work)
                finally:
                    work.insert = real

        with pytest.raises(Exception, match="contracted trade says what it says"):
            exchange.do(Silent(TradeId(sale.id), "purpose", "Something else", "Quietly"), exchange.operator())
        assert exchange.dump() == before


def test_open_trades_are_corrected_too(door: Door) -> None:
    sale = door.place.a_trade(TradeState.PROPOSED)
    path = f"/v1/trades/{trd(sale.id)}/correction"

    door.post(path, door.operator, {"field": "buyer_ref", "value": "PO-1", **REASON}, status=200)
    door.post(path, door.operator, {"field": "contract_number", "value": "HT-9", **REASON}, status=200)
    door.place.do(CancelTrade(sale.id, "as it should be"), sale.buyer.by)

    shown = door.get(f"/v1/trades/{trd(sale.id)}", door.of(sale.buyer))
    assert (shown["buyer_ref"], shown["contract_number"], shown["state"]) == ("PO-1", "HT-9", "cancelled")
