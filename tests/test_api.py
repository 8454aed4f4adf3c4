"""The service over HTTP: the whole story of trades, lists, statements, batches, the document, and what it does when all goes wrong."""

import asyncio
import importlib
import json
import logging
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from doors import OPERATIONS, WRITES, Door, amounts, application, fen, listed, mbr, opened, refused, trd, version
from exchanges import Party, a_price, a_sha256
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as NoneFree

from exchange.access.tables import Role
from exchange.api.doors import Write
from exchange.app import ASSETS, GROUPS, create_app, openapi, openapi_json
from exchange.identifiers import Prefix, read_id
from exchange.listings.states import ListingState
from exchange.problems import Problem
from exchange.revisions import SchemaNotCurrent
from exchange.settings import Settings
from exchange.trades.states import TradeState

ROOT = Path(__file__).parent.parent
REASON = {"reason": "as it should be"}


# The whole story


def admitted(door: Door, number: int, **changed: Any) -> tuple[str, str]:
    """Have a company apply and be admitted; give its id and its key."""
    body = application(number) | {"group_parent_uscc": None} | changed
    secret = door.post("/v1/keys", door.operator, {"role": "member", "person": "张三", "uscc": body["uscc"]})["secret"]
    member = door.post("/v1/members", secret, body, status=201)
    assert member["state"] == "submitted"
    for step, state in (("review", "under_review"), ("correction-request", "correction_requested")):
        assert door.post(f"/v1/members/{member['id']}/{step}", door.operator, REASON)["state"] == state
    corrected = {name: value for name, value in body.items() if name != "uscc"}
    door.post(f"/v1/members/{member['id']}/correction", secret, corrected)
    assert door.post(f"/v1/members/{member['id']}/admission", door.operator, REASON)["state"] == "active"
    return member["id"], secret


def for_sale(door: Door, seller: str) -> str:
    """Have a listing made and approved; give its id."""
    product = door.post("/v1/products", seller, {"code": "HN-1", "kind": "dataset"}, status=201)
    made = door.post(f"/v1/products/{product['id']}/versions", seller, version(), status=201)
    body = {"version_id": made["id"], "price_model": "fixed", "price": fen(106_000), "vat_rate_bp": 600}
    listing = door.post("/v1/listings", seller, body, status=201)
    assert listing["state"] == "draft"
    assert door.post(f"/v1/listings/{listing['id']}/submission", seller, REASON)["state"] == "in_review"
    assert door.post(f"/v1/listings/{listing['id']}/approval", door.operator, REASON)["state"] == "listed"
    found: str = listing["id"]
    return found


def as_negotiated(listing: str, buyer_id: str, number: str) -> dict[str, Any]:
    """Write a seller's offer."""
    return {
        "mode": "negotiated",
        "listing_id": listing,
        "quantity": 1,
        "purpose": "Training",
        "contract_number": number,
        "contract_sha256": a_sha256(number),
        "buyer_id": buyer_id,
        "external_ref": "SO-1",
    } | amounts(a_price(53_000))


def test_the_whole_story_of_trades(door: Door) -> None:
    seller_id, seller = admitted(door, 1)
    buyer_id, buyer = admitted(door, 2)
    listing = for_sale(door, seller)
    shown = door.get(f"/v1/listings/{listing}", buyer)
    assert (shown["tradable"], shown["price"], shown["version"]["title"]) == (True, fen(106_000), "企业信用数据")

    # Taken at its price, it counts at once.
    order = {"mode": "listed", "listing_id": listing, "quantity": 2, "purpose": "Training", **amounts(a_price(212_000))}
    assert door.post("/v1/trades", buyer, order, status=201)["state"] == "contracted"

    # Negotiated, it counts when it is contracted.
    negotiated = door.post("/v1/trades", seller, as_negotiated(listing, buyer_id, "HT-1"), status=201)
    path = f"/v1/trades/{negotiated['id']}"
    assert negotiated["state"] == "proposed"
    refused(door.ask("POST", f"{path}/confirmation", seller, {}), 403, "not-your-step")
    assert door.post(f"{path}/confirmation", buyer, {"external_ref": "PO-1"})["state"] == "confirmed"
    assert door.post(f"{path}/contract", seller)["state"] == "contracted"

    # Filed, it counts when the exchange approves.
    door.place.wait(days=1)
    terms = as_negotiated(listing, buyer_id, "HT-2") | {"effective_on": "2026-03-02", "evidence": [a_sha256("scan")]}
    del terms["mode"]
    filed = door.post("/v1/filings", seller, terms, status=201)
    path = f"/v1/trades/{filed['id']}"
    refused(door.ask("POST", f"{path}/review", door.operator, {"decision": "approve", **REASON}), 409, "not-confirmed")
    assert door.post(f"{path}/confirmation", buyer)["state"] == "filed"
    assert door.post(f"{path}/review", door.operator, {"decision": "approve", **REASON})["state"] == "contracted"

    # An auction's result counts as it is recorded.
    won = {name: value for name, value in terms.items() if name not in {"evidence", "external_ref"}}
    door.post("/v1/auctions", door.operator, won | {"contract_number": "HT-3"}, status=201)

    # All agree on what counts.
    told = door.get(f"/v1/trades/{filed['id']}", buyer)
    assert (told["buyer"]["id"], told["seller"]["id"]) == (buyer_id, seller_id)
    assert told["seller"]["legal_name"] == "湖南数据1有限公司"
    assert (told["venue"], told["mode"], told["effective_on"]) == ("off_exchange_filed", "negotiated", "2026-03-02")
    volume = door.get("/v1/summary", door.regulator)["cumulative_volume"]["contracted"]
    assert (volume["net"], volume["off_exchange_filed"]) == (fen(212_000 + 3 * 53_000), fen(53_000))
    statement = door.get(f"/v1/members/{seller_id}/statement", seller, **{"from": "2026-03-01", "to": "2026-03-31"})
    assert statement["closing"] == {"sales": volume["net"], "purchases": fen(0)}
    reconciles(statement)


def test_what_does_not_count_in_the_end(door: Door) -> None:
    sales = [door.place.a_trade() for _ in range(3)]
    ended = [f"/v1/trades/{trd(sale.id)}" for sale in sales]
    buyer, seller = door.of(sales[0].buyer), door.of(sales[0].seller)

    # Another offer is cancelled, another filing rejected.
    offered, filed = door.place.a_trade(TradeState.PROPOSED), door.place.a_trade(TradeState.FILED)
    path = f"/v1/trades/{trd(offered.id)}/cancellation"
    assert door.post(path, door.of(offered.seller), REASON)["state"] == "cancelled"
    path, rejection = f"/v1/trades/{trd(filed.id)}/review", {"decision": "reject", **REASON}
    dated = door.ask("POST", path, door.operator, rejection | {"received_on": "2026-03-02"})
    assert refused(dated, 422)["errors"][0]["pointer"] == "/received_on"
    assert door.post(path, door.operator, rejection)["state"] == "rejected"

    # Terminated by both parties, and by the exchange; reversed by two persons.
    path = f"{ended[0]}/termination"
    dated = door.ask("POST", path, buyer, REASON | {"effective_on": "2026-03-02"})
    assert refused(dated, 422)["errors"][0]["pointer"] == "/effective_on"
    proposed = door.post(path, buyer, REASON, status=202)
    assert read_id(Prefix.PROPOSAL, proposed["proposal"])
    refused(door.ask("POST", f"{path}/approval", buyer, {}), 403)
    assert door.post(f"{path}/approval", seller, status=200)["state"] == "terminated"
    terminated = door.post(
        f"{ended[1]}/termination", door.operator, REASON | {"effective_on": "2026-03-02"}, status=200
    )
    assert terminated["state"] == "terminated"
    path = f"{ended[2]}/reversal"
    door.post(path, door.operator, REASON, status=202)
    assert door.get(ended[2], door.auditor)["reversal_proposed"] is True
    refused(door.ask("POST", f"{path}/approval", door.operator, REASON), 403, "own-proposal")
    assert (
        refused(door.ask("POST", f"{path}/approval", door.second_operator, {}), 422)["errors"][0]["pointer"]
        == "/reason"
    )
    assert door.post(f"{path}/approval", door.second_operator, REASON, status=200)["state"] == "reversed"

    volume = door.get("/v1/summary", door.regulator)["cumulative_volume"]["contracted"]
    assert (volume["gross"], volume["reversed"], volume["net"]) == (fen(318_000), fen(318_000), fen(0))


def test_the_headline_is_what_the_command_line_prints_and_can_be_asked_again(door: Door) -> None:
    door.place.a_trade()
    pinned = door.get("/v1/summary", door.auditor)
    assert pinned == door.place.summary().shape()
    question = {"as_of": pinned["as_of"], "known_at": str(pinned["position"])}
    first = door.ask("GET", "/v1/summary", door.operator, **question).content

    door.place.wait(hours=1)
    door.place.a_trade()

    assert door.ask("GET", "/v1/summary", door.operator, **question).content == first
    at_instant = door.get("/v1/summary", door.operator, as_of=pinned["as_of"], known_at=pinned["recorded_at"])
    assert at_instant["position"] == pinned["position"]
    assert door.get("/v1/summary", door.operator)["trades"] == {"counted": 2}


# Keys of requests


def test_equal_requests_at_the_same_time_are_done_once(door: Door) -> None:
    wish = WRITES["create_trade"](door)

    async def all_at_once() -> list[httpx.Response]:
        return await asyncio.gather(
            *(door.send(wish.method, wish.path, wish.by, wish.body, key="one") for _ in range(8))
        )

    answers = door.wait(all_at_once())

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert [answer.headers.get("idempotency-replayed") for answer in answers].count("true") == 7
    assert len(door.get("/v1/trades", wish.by)["data"]) == 1


def test_keys_belong_to_the_company_and_not_to_the_api_key(door: Door) -> None:
    wish = WRITES["create_trade"](door)
    uscc = door.get("/v1/members", door.operator)["data"][-1]["uscc"]
    rotated = door.token(Role.MEMBER, "Wu", uscc)
    first = door.ask(wish.method, wish.path, wish.by, wish.body, key="one")
    others = WRITES["create_trade"](door)

    assert door.ask(wish.method, wish.path, rotated, wish.body, key="one").content == first.content
    assert door.ask("POST", others.path, others.by, others.body, key="one").status_code == 201


def test_a_refused_request_is_decided_anew(door: Door) -> None:
    wish = WRITES["approve_listing"](door)
    refused(door.ask(wish.method, wish.path, wish.by, wish.body | {"effective_on": "2020-01-01"}, key="one"), 422)

    assert door.ask(wish.method, wish.path, wish.by, wish.body, key="one").status_code == 200
    assert door.ask(wish.method, wish.path, wish.by, wish.body, key="one").headers["idempotency-replayed"] == "true"


def test_a_change_dated_by_the_exchange_takes_effect_on_its_day(door: Door) -> None:
    party = door.place.a_member()
    door.place.wait(days=3)

    door.post(f"/v1/members/{mbr(party.id)}/suspension", door.operator, REASON | {"effective_on": "2026-03-03"})

    assert door.get("/v1/summary", door.operator, as_of="2026-03-02")["members"]["active"] == 1
    assert door.get("/v1/summary", door.operator, as_of="2026-03-03")["members"]["active"] == 0


# Lists


@pytest.mark.parametrize("path", ["/v1/members", "/v1/products", "/v1/listings", "/v1/trades"])
def test_lists_are_whole_and_stand_still_while_things_are_added(door: Door, path: str) -> None:
    for _ in range(3):
        door.place.a_trade()
    whole = door.get(path, door.operator)["data"]
    assert len(whole) >= 3

    assert door.all_of(path, door.operator, 1) == whole
    page = door.get(path, door.operator, limit=2)
    door.place.a_trade()
    rest = door.get(path, door.operator, limit=500, cursor=page["next"])

    added = [row for row in page["data"] + rest["data"] if row["id"] not in {row["id"] for row in whole}]
    assert added
    assert [row["id"] for row in page["data"] + rest["data"]] == [row["id"] for row in whole + added]
    assert rest["next"] is None


def test_a_cursor_is_of_use_to_its_list_filters_and_caller_alone(door: Door) -> None:
    for _ in range(2):
        door.place.a_trade()
    cursor = door.get("/v1/members", door.operator, limit=1, state="active")["next"]
    raw = bytearray(cursor.encode())
    raw[30] = ord("A") if raw[30] != ord("A") else ord("B")

    assert door.get("/v1/members", door.operator, limit=2, state="active", cursor=cursor)["data"]
    for path, key, query in (
        ("/v1/members", door.operator, {"state": "suspended", "cursor": cursor}),
        ("/v1/members", door.operator, {"cursor": cursor}),
        ("/v1/trades", door.operator, {"cursor": cursor}),
        ("/v1/members", door.second_operator, {"state": "active", "cursor": cursor}),
        ("/v1/members", door.operator, {"state": "active", "cursor": raw.decode()}),
        ("/v1/members", door.operator, {"state": "active", "cursor": "A" * len(cursor)}),
    ):
        problem = refused(door.ask("GET", path, key, **query), 400, "cursor-wrong")
        assert problem["errors"][0]["pointer"] == "/cursor"


def test_a_cursor_outlives_the_process_where_all_share_a_secret(sqlite_url: str) -> None:
    settings = Settings(database_url=sqlite_url, cursor_secret="s" * 32)
    with opened(sqlite_url, settings) as door:
        for _ in range(2):
            door.place.a_member()
        cursor = door.get("/v1/members", door.operator, limit=1)["next"]
        key = door.operator
    with opened(sqlite_url, settings) as door:
        assert len(door.get("/v1/members", key, cursor=cursor)["data"]) == 1
    with opened(sqlite_url) as door:
        refused(door.ask("GET", "/v1/members", key, cursor=cursor), 400, "cursor-wrong")


def test_lists_are_filtered(door: Door) -> None:
    sale = door.place.a_trade(TradeState.PROPOSED)
    taken = door.place.a_taken_listing(buyer=sale.buyer)
    door.place.a_listing(owner=sale.seller, state=ListingState.DRAFT)
    buyer, seller, staff = door.of(sale.buyer), door.of(sale.seller), door.auditor

    def ids(path: str, key: str, **query: str) -> list[str]:
        return [row["id"] for row in door.get(path, key, **query)["data"]]

    both = [trd(sale.id), trd(taken.id)]
    assert ids("/v1/trades", staff) == ids("/v1/trades", buyer) == ids("/v1/trades", buyer, side="buyer") == both
    assert ids("/v1/trades", buyer, side="seller") == []
    assert ids("/v1/trades", seller, side="seller") == ids("/v1/trades", seller) == both[:1]
    assert ids("/v1/trades", staff, state="proposed") == ids("/v1/trades", staff, mode="negotiated") == both[:1]
    assert ids("/v1/trades", staff, venue="off_exchange_filed") == []
    assert ids("/v1/trades", staff, contract_number="C-1") == both[:1]
    assert ids("/v1/trades", staff, **{"from": "2026-03-02", "to": "2026-03-02"}) == both[1:]
    assert ids("/v1/trades", staff, **{"from": "2026-03-03"}) == ids("/v1/trades", staff, to="2026-03-01") == []
    assert ids("/v1/members", staff, uscc=sale.buyer.uscc, state="active") == [mbr(sale.buyer.id)]
    assert ids("/v1/members", staff, state="suspended") == []
    assert len(ids("/v1/listings", staff)) == len(ids("/v1/listings", seller)) == 3
    assert len(ids("/v1/listings", buyer)) == 2
    assert len(ids("/v1/listings", staff, state="draft", sector="finance", kind="dataset")) == 1
    assert ids("/v1/listings", staff, sector="energy") == ids("/v1/listings", staff, kind="model") == []
    assert len(ids("/v1/products", staff)) == 3
    assert len(ids("/v1/products", seller)) == 2
    assert ids("/v1/products", buyer) == []


def test_a_product_is_shown_with_its_versions(door: Door) -> None:
    wish = WRITES["describe_version"](door)
    door.post(wish.path, wish.by, wish.body)
    [row] = door.get("/v1/products", wish.by)["data"]

    product = door.get(f"/v1/products/{row['id']}", wish.by)

    described = product.pop("described")
    assert product == row
    assert [one["number"] for one in described] == [1, 2]
    assert described[1].items() >= wish.body.items()
    assert described[1]["rights_expire_on"] == "2030-12-31"


def test_a_listing_says_whether_it_can_be_traded_today(door: Door) -> None:
    offer = door.place.a_listing(expires_on=door.place.today)
    gone = door.place.a_listing(price=None)
    path = f"/v1/listings/lst_{offer.id:012}"

    assert door.get(path, door.operator)["tradable"] is True
    shown = door.get(f"/v1/listings/lst_{gone.id:012}", door.operator)
    assert (shown["price"], shown["tradable"]) == (None, True)
    door.post(f"/v1/members/{mbr(gone.owner.id)}/suspension", door.operator, REASON)
    assert door.get(f"/v1/listings/lst_{gone.id:012}", door.operator)["tradable"] is False
    door.place.wait(days=1)
    assert door.get(path, door.operator)["tradable"] is False


# Statements


def reconciles(statement: dict[str, Any]) -> None:
    """Check that the lines lead from the opening balances to the closing ones."""
    balances = {side: int(statement["opening"][side]["amount"]) for side in ("sales", "purchases")}
    for line in statement["data"]:
        balances[line["side"]] += int(line["gross"]["amount"])
        assert int(line["balance"]["amount"]) == balances[line["side"]]
    assert {side: fen(amount) for side, amount in balances.items()} == statement["closing"]


def traded(door: Door) -> Party:
    """Make a member that has bought, sold, and taken back, over a week."""
    party = door.place.a_member()
    own = door.place.a_listing(owner=party)
    for _ in range(3):
        door.place.a_taken_listing(buyer=party)
        door.place.a_taken_listing(offer=own, quantity=2)
        door.place.wait(days=1)
    door.place.a_trade(TradeState.TERMINATED, buyer=party)
    door.place.a_trade(TradeState.REVERSED, offer=own)
    return party


def test_a_statement_reconciles_with_itself_the_ledger_and_the_headline(door: Door) -> None:
    party = traded(door)
    path, key = f"/v1/members/{mbr(party.id)}/statement", door.of(party)

    whole = door.get(path, key, **{"from": "0001-01-01", "to": "9999-12-31"})
    reconciles(whole)
    assert whole["opening"] == {"sales": fen(0), "purchases": fen(0)}
    assert whole["closing"] == {"sales": fen(3 * 212_000), "purchases": fen(3 * 106_000)}
    assert [line["movement"] for line in whole["data"]].count("terminated") == 1
    assert whole["next"] is None

    days = [door.get(path, door.regulator, **{"from": day, "to": day}) for day in ("2026-03-02", "2026-03-03")]
    later = door.get(path, door.operator, **{"from": "2026-03-04", "to": "2026-03-31"})
    for before, after in ((days[0], days[1]), (days[1], later)):
        reconciles(after)
        assert before["closing"] == after["opening"]
    assert days[0]["data"] + days[1]["data"] + later["data"] == whole["data"]
    assert later["closing"] == whole["closing"]


def test_a_statement_is_paged_as_known_when_it_was_begun(door: Door) -> None:
    party = traded(door)
    path, key = f"/v1/members/{mbr(party.id)}/statement", door.of(party)
    period = {"from": "2026-03-01", "to": "2026-03-31"}
    whole = door.get(path, key, **period)

    pages = [door.get(path, key, limit=1, **period)]
    door.place.a_taken_listing(buyer=party)
    while pages[-1]["next"]:
        pages.append(door.get(path, key, limit=2, cursor=pages[-1]["next"], **period))

    for page, following in pairwise(pages):
        assert page["opening"] == following["opening"] == whole["opening"]
        assert page["closing"] == following["closing"] == whole["closing"]
    assert [page["ledger"] is None for page in pages] == [False, *(True for _ in pages[1:])]
    assert [line for page in pages for line in page["data"]] == whole["data"]
    assert pages[-1]["closing"] == whole["closing"]
    assert {page["position"] for page in pages} == {whole["position"]}
    assert len(door.get(path, key, **period)["data"]) == len(whole["data"]) + 1


def test_a_statement_needs_a_period(door: Door) -> None:
    path = f"/v1/members/{mbr(door.place.a_member().id)}/statement"

    problem = refused(door.ask("GET", path, door.operator), 400, "query-wrong")
    assert {fault["pointer"] for fault in problem["errors"]} == {"/from", "/to"}
    answer = door.ask("GET", path, door.operator, **{"from": "2026-03-02", "to": "2026-03-01"})
    assert refused(answer, 422, "period-wrong")["errors"][0]["pointer"] == "/to"


# Batches


def orders(door: Door, number: int) -> tuple[str, list[dict[str, Any]]]:
    """Write so many orders of one buyer."""
    offer, buyer = door.place.a_listing(), door.place.a_member()
    return door.of(buyer), [listed(offer) | {"contract_number": f"HT-{n}"} for n in range(number)]


def test_a_batch_stands_or_falls_together(door: Door) -> None:
    buyer, items = orders(door, 20)
    before = door.place.dump()
    bad = [*items[:7], items[7] | {"quantity": 2}, *items[8:]]

    problem = refused(door.ask("POST", "/v1/trades:batch?atomic=true", buyer, bad, key="b"), 422, "item-refused")
    assert [fault["pointer"] for fault in problem["errors"]] == ["/7/net", "/7/vat", "/7/gross"]
    repeated = door.ask("POST", "/v1/trades:batch?atomic=true", buyer, [*items, items[3]], key="b")
    assert [fault["pointer"] for fault in refused(repeated, 422, "item-refused")["errors"]] == ["/20"]
    malformed = door.ask("POST", "/v1/trades:batch?atomic=true", buyer, [items[0], {"mode": "listed"}], key="b")
    assert "/1/listing_id" in [fault["pointer"] for fault in refused(malformed, 422, "item-refused")["errors"]]
    assert door.place.dump() == before

    done = door.ask("POST", "/v1/trades:batch?atomic=true", buyer, items, key="b")
    assert done.status_code == 201
    assert [item["state"] for item in done.json()["data"]] == ["contracted"] * 20
    again = door.ask("POST", "/v1/trades:batch?atomic=true", buyer, items, key="b")
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == done.content
    refused(door.ask("POST", "/v1/trades:batch?atomic=true", buyer, items[:5], key="b"), 422, "key-reused")


def test_a_batch_of_single_items_is_finished_by_sending_it_again(door: Door) -> None:
    buyer, items = orders(door, 6)
    mixed: list[Any] = [*items[:3], {"mode": "listed"}, items[0], 7, items[3] | {"gross": fen(1)}]

    answer = door.ask("POST", "/v1/trades:batch", buyer, mixed, key="b")
    assert answer.status_code == 200
    told = answer.json()["data"]
    assert [item["index"] for item in told] == list(range(7))
    assert [item["status"] for item in told] == [201, 201, 201, 422, 409, 422, 422]
    assert told[0]["body"]["state"] == "contracted"
    assert "/listing_id" in [fault["pointer"] for fault in told[3]["problem"]["errors"]]
    assert told[4]["problem"]["type"] == "/problems/contract-recorded"

    mended = [*items[:3], items[3], items[4], items[5], items[3] | {"contract_number": "HT-9"}]
    retold = door.ask("POST", "/v1/trades:batch", buyer, mended, key="b").json()["data"]
    assert [item["status"] for item in retold] == [201] * 7
    assert [item["body"] for item in retold[:3]] == [item["body"] for item in told[:3]]
    assert len(door.get("/v1/trades", buyer)["data"]) == 7


def test_a_batch_can_be_sent_a_line_each(door: Door) -> None:
    buyer, items = orders(door, 3)
    lines = [orjson.dumps(items[0]), b"", b'{"mode": NaN}', orjson.dumps(items[1]), b'{"mode": "\\ud800"}', b"{} {}"]
    headers = {"Content-Type": "Application/X-NDJSON"}

    answer = door.ask("POST", "/v1/trades:batch", buyer, b"\r\n".join(lines), headers=headers)
    assert [item["status"] for item in answer.json()["data"]] == [201, 400, 201, 400, 400]
    answer = door.ask("POST", "/v1/trades:batch?atomic=true", buyer, orjson.dumps(items[2]), headers=headers)
    assert answer.status_code == 201
    answer = door.ask("POST", "/v1/trades:batch?atomic=true", buyer, b"{", headers=headers)
    assert refused(answer, 422, "item-refused")["errors"][0]["pointer"] == "/0"


def test_a_batch_has_one_to_ten_thousand_items_and_its_own_limits(sqlite_door: Door) -> None:
    door = sqlite_door
    buyer, _ = orders(door, 0)
    before = door.place.dump()

    for query, body, status, name in (
        ("", [], 422, "batch-too-long"),
        ("", [1] * 10_001, 422, "batch-too-long"),
        ("?atomic=true", [1] * 1_001, 422, "batch-too-long"),
        ("", {}, 400, "not-json"),
        ("", b"[", 400, "not-json"),
        ("", b"[" + b" " * (16 * 1024 * 1024), 413, "body-too-long"),
        ("?atomic=1", [1], 400, "query-wrong"),
    ):
        refused(door.ask("POST", f"/v1/trades:batch{query}", buyer, body), status, name)
    answer = door.ask("POST", "/v1/trades:batch", buyer, b"1", headers={"Content-Type": "text/csv"})
    refused(answer, 415)

    assert door.place.dump() == before


def test_a_batch_is_worked_off_in_slices(sqlite_door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exchange.api.batches.SLICE", 4)
    buyer, items = orders(sqlite_door, 10)

    told = sqlite_door.ask("POST", "/v1/trades:batch", buyer, items).json()["data"]

    assert [(item["index"], item["status"]) for item in told] == [(n, 201) for n in range(10)]


# The document


def test_the_committed_document_is_the_one_that_is_made() -> None:
    committed = (ROOT / "openapi" / "exchange.json").read_text(encoding="utf-8")

    assert committed == openapi_json(), "run `make openapi`"


def test_the_document_hangs_together() -> None:
    document, text = openapi(), openapi_json()

    assert document["openapi"] == "3.1.0"
    for kind, name in re.findall(r'"#/components/(\w+)/(\w+)"', text):
        assert name in document["components"][kind]
    assert len(OPERATIONS) == sum(len(verbs) for verbs in document["paths"].values())
    for method, path, said in OPERATIONS.values():
        assert said["summary"]
        assert said["tags"]
        assert [one["name"] for one in said["parameters"] if one["in"] == "path"] == re.findall(r"{(\w+)}", path)
        assert ("requestBody" in said) == (method != "GET")
        if method == "POST":
            assert all("example" in content for content in said["requestBody"]["content"].values())
            assert "Idempotency-Key" in [one["name"] for one in said["parameters"]]
            assert {"400", "401", "403", "413", "415", "422", "500", "503"} <= set(said["responses"])
        assert any(status.startswith("2") for status in said["responses"])


def test_the_document_says_of_parameters_what_the_reader_asks(sqlite_door: Door) -> None:
    _, path, summary = OPERATIONS["show_summary"]
    told = {one["name"]: one["schema"] for one in summary["parameters"]}
    [condition] = [one["schema"] for one in OPERATIONS["start_review"][2]["parameters"] if one["name"] == "If-Match"]
    wish = WRITES["start_review"](sqlite_door)

    for name, good, bad in (
        ("as_of", ["2023-12-31"], ["null"]),
        ("known_at", ["1", "2026-03-02T00:59:59.12Z"], ["0", "09", "2026-12-31", "2026-12-31T15:59:59+08:00"]),
    ):
        assert "null" not in str(told[name])
        for value in good + bad:
            assert sqlite_door.ask("GET", path, sqlite_door.operator, **{name: value}).status_code == (
                200 if value in good else 400
            )
            assert "pattern" not in told[name] or bool(re.search(told[name]["pattern"], value)) == (value in good)
    for value, status in (('"1"', 412), ('W/"1"', 412), ('"1", "2"', 412), ('"x"', 400), ("1", 400), ("", 400)):
        refused(sqlite_door.ask("POST", wish.path, wish.by, wish.body, headers={"If-Match": value}), status)
        assert bool(re.search(condition["pattern"], value)) == (status == 412)
    assert re.search(condition["pattern"], "*")
    for one in OPERATIONS["list_trades"][2]["parameters"]:
        assert "null" not in str(one["schema"])
        if one["name"] == "contract_number":
            assert (one["schema"]["minLength"], one["schema"]["maxLength"]) == (1, 64)


def test_every_route_that_there_is_is_in_the_document() -> None:
    app = create_app(Settings(database_url="sqlite:///nowhere.db"))
    own = {"/", "/docs", "/openapi.json", "/docs/assets"}

    routes = {getattr(route, "path", "") for route in app.router.routes}

    assert routes - own == set(openapi()["paths"])


@pytest.mark.parametrize(
    "route", [one for _, routes in GROUPS for one in routes if isinstance(one, Write)], ids=lambda one: one.operation
)
def test_every_example_makes_a_command(sqlite_door: Door, route: Write[Any]) -> None:
    _, _, said = OPERATIONS[route.operation]
    example = said["requestBody"]["content"]["application/json"]["example"]
    body = route.body.model_validate_json(json.dumps(example), strict=True)

    for role in sorted(route.roles):
        caller = sqlite_door.place.operator() if role is not Role.MEMBER else sqlite_door.place.a_company()
        assert type(route.make(body, 7, caller)) in route.commands


def test_every_answer_is_of_the_shape_that_the_document_gives(sqlite_door: Door) -> None:
    sqlite_door.place.a_trade()
    for operation, (method, path, _) in OPERATIONS.items():
        if method == "GET" and "{id}" not in path:
            asked = {"q": "HT-1"} if operation == "search" else {}
            assert sqlite_door.ask("GET", path, sqlite_door.operator, **asked).status_code == 200, operation


# The house around it


def test_docs_load_nothing_from_elsewhere(sqlite_door: Door) -> None:
    home = sqlite_door.ask("GET", "/")
    page = sqlite_door.ask("GET", "/docs")

    assert (home.status_code, home.headers["location"]) == (307, "/docs")
    assert page.status_code == 200
    assert re.findall(r"(?:https?:)?//[a-z]", page.text) == []
    assert "default-src 'none'" in page.headers["content-security-policy"]
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 3
    for path in loaded:
        assert sqlite_door.ask("GET", path).status_code == 200, path
        assert (ASSETS / Path(path).name).is_file()
    assert sqlite_door.ask("GET", "/openapi.json").text == openapi_json()


def test_requests_keep_their_id_where_it_is_well_formed(sqlite_door: Door) -> None:
    kept = sqlite_door.ask("GET", "/livez", headers={"X-Request-ID": "a.B-9_"})
    for given in ("a b", "a" * 65, "\u00e9", "", "a\n"):
        answer = sqlite_door.wait(
            sqlite_door.client.get("/livez", headers=[(b"X-Request-ID", given.encode("latin-1"))])
        )
        assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])

    assert kept.headers["x-request-id"] == "a.B-9_"


def test_a_write_is_recorded_with_its_request_id(sqlite_door: Door) -> None:
    wish = WRITES["create_trade"](sqlite_door)

    sqlite_door.ask(wish.method, wish.path, wish.by, wish.body, headers={"X-Request-ID": "req-1"})

    assert sqlite_door.place.leaves()[-1]["request_id"] == "req-1"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/members/", 404),
        ("GET", "/docs/assets/nothing.js", 404),
        ("GET", "/docs/assets/../app.py", 404),
        ("DELETE", "/v1/members", 405),
        ("GET", "/v1/filings", 405),
        ("PUT", "/v1/trades/trd_000000000001", 405),
    ],
)
def test_what_is_not_there_is_a_problem_too(sqlite_door: Door, method: str, path: str, status: int) -> None:
    answer = sqlite_door.ask(method, path, sqlite_door.operator)

    refused(answer, status)
    assert ("allow" in answer.headers) == (status == 405)


def test_health_is_told_apart(door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    assert door.get("/livez") == {"status": "live"}
    assert door.get("/readyz") == {"status": "ready", "position": door.place.position}

    async def away(*_: object) -> None:
        raise OSError("MARK7391")

    monkeypatch.setattr(door.app.state.office.database, "read", away)
    with caplog.at_level(logging.CRITICAL):
        answer = door.ask("GET", "/readyz")

    assert refused(answer, 503, "not-ready")
    assert answer.headers["retry-after"] == "1"
    assert "MARK7391" not in answer.text
    assert door.get("/livez") == {"status": "live"}


def a_postgres_error(state: str) -> Exception:
    error = Exception("MARK7391")
    error.sqlstate = state  # type: ignore[attr-defined]  # as the driver's own have it
    return error


@pytest.mark.parametrize(
    ("failure", "status", "name"),
    [
        (OperationalError("SELECT 'MARK7391'", None, Exception("MARK7391")), 503, "database-away"),
        (DBAPIError("SELECT 'MARK7391'", None, a_postgres_error("57P03")), 503, "database-away"),
        (DBAPIError("SELECT 'MARK7391'", None, a_postgres_error("42P01")), 500, "defect"),
        (NoneFree("MARK7391"), 503, "database-away"),
        (ConnectionRefusedError("MARK7391"), 503, "database-away"),
        (TimeoutError("MARK7391"), 503, "database-away"),
        (RuntimeError("MARK7391"), 500, "defect"),
    ],
)
def test_what_fails_is_logged_and_told_without_detail(
    sqlite_door: Door,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
    status: int,
    name: str,
) -> None:
    async def fail(*_: object) -> None:
        raise failure

    operator = sqlite_door.operator
    monkeypatch.setattr(sqlite_door.app.state.office.database, "read", fail)
    answer = sqlite_door.ask("GET", "/v1/members", operator)

    refused(answer, status, name)
    assert "MARK7391" not in answer.text
    assert "MARK7391" in caplog.text


def test_a_defect_in_a_command_is_told_without_detail(
    sqlite_door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wish = WRITES["register_product"](sqlite_door)
    before = sqlite_door.place.dump()

    def fail(*_: object) -> None:
        raise RuntimeError("MARK7391")

    with monkeypatch.context() as patch:
        patch.setattr("exchange.listings.commands.add_product", fail)
        answer = sqlite_door.ask(wish.method, wish.path, wish.by, wish.body, key="one")

    refused(answer, 500, "defect")
    assert "MARK7391" not in answer.text
    assert sqlite_door.place.dump() == before
    assert sqlite_door.ask(wish.method, wish.path, wish.by, wish.body, key="one").status_code == 201


def test_what_waits_is_answered_when_the_service_stops(sqlite_door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    wish = WRITES["create_trade"](sqlite_door)
    store = sqlite_door.app.state.office.journal._store
    begun, run = asyncio.Event(), store.run

    async def watched(jobs: Any) -> Any:
        begun.set()
        return await run(jobs)

    async def stop() -> httpx.Response:
        waiting = asyncio.create_task(sqlite_door.send(wish.method, wish.path, wish.by, wish.body))
        await begun.wait()
        await sqlite_door.stop()
        return await waiting

    monkeypatch.setattr(store, "run", watched)
    assert sqlite_door.wait(stop()).status_code == 201


def test_a_service_that_stops_takes_nothing_new(sqlite_door: Door) -> None:
    wish = WRITES["create_trade"](sqlite_door)
    sqlite_door.app.state.office.journal._stopping = True

    answer = sqlite_door.ask(wish.method, wish.path, wish.by, wish.body)

    refused(answer, 503, "stopping")
    assert answer.headers["retry-after"] == "1"


def test_too_many_that_wait_are_told_to_come_again(sqlite_url: str) -> None:
    with opened(sqlite_url, Settings(database_url=sqlite_url, queue_limit=1)) as door:
        buyer, items = orders(door, 5)
        whole = door.ask("POST", "/v1/trades:batch", buyer, items, key="b").json()["data"]
        more = [item | {"contract_number": f"more {item['contract_number']}"} for item in items]

        async def at_once() -> list[httpx.Response]:
            return await asyncio.gather(*(door.send("POST", "/v1/trades", buyer, item) for item in more))

        answers = door.wait(at_once())
        again = door.ask("POST", "/v1/trades", buyer, more[1])

        assert [item["status"] for item in whole] == [201] * 5
        assert [answer.status_code for answer in answers] == [201, 503, 503, 503, 503]
        assert refused(answers[1], 503, "overloaded")
        assert again.status_code == 201


def test_a_database_that_is_not_up_to_date_is_not_served(tmp_path: Path) -> None:
    app = create_app(Settings(database_url=f"sqlite:///{tmp_path}/empty.db"))

    async def start() -> None:
        async with app.router.lifespan_context(app):
            pass

    with pytest.raises(SchemaNotCurrent):
        asyncio.run(start())


def test_what_is_no_request_passes_by(sqlite_door: Door) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/v1/trades", "headers": [], "query_string": b"", "subprotocols": []}
    sqlite_door.wait(sqlite_door.app(scope, receive, send))

    assert sent[0]["type"] == "websocket.close"


def test_every_problem_has_a_title_and_a_name_of_its_own() -> None:
    importlib.import_module("exchange.cli.connections")  # where some of them are

    def all_of(kind: type[Problem]) -> list[type[Problem]]:
        return [kind, *(one for sub in kind.__subclasses__() for one in all_of(sub))]

    kinds = [kind for kind in all_of(Problem) if kind.__module__.startswith("exchange.")]

    assert all(kind.title().endswith(".") for kind in kinds)
    assert [kind for kind in kinds if not kind.remedy and not kind.__subclasses__()] == []
