"""Bad requests against every route: refused in one shape, naming the field, repeating nothing, and leaving nothing behind."""

import asyncio
import json
import re
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from bad_inputs import (
    MARK,
    NO_OBJECT,
    NOT_JSON,
    Bad,
    Sent,
    bad_bodies,
    bad_days,
    bad_fields,
    bad_headers,
    bad_ids,
    bad_methods,
    bad_months,
    bad_queries,
    bad_references,
    having,
    sending,
)
from cluster import Cluster
from conftest import TEMPLATE
from doors import DOCUMENT, OPERATIONS, WRITES, Door, Wish, fen, mbr, opened, refused, terms, trd
from exchanges import TABLES
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func
from sqlmodel import Session, select

from exchange.api import batches
from exchange.api.bodies import BODY_LIMIT
from exchange.api.doors import Read, Write
from exchange.api.lists import Page
from exchange.api.trades import NewTrade
from exchange.app import GROUPS
from exchange.columns import Sort
from exchange.journal.schema import schema_of
from exchange.journal.tables import Head
from exchange.strict_json import NotJson
from exchange.trades.states import TradeState

BODIES = {route.operation: route.body for _, routes in GROUPS for route in routes if isinstance(route, Write)}
BATCH = "create_trades"
"""The batch, of one item that is spoilt."""


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """One service for all: what is refused leaves nothing behind."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        path = tmp_path_factory.mktemp("bad-input") / "exchange.db"
        path.write_bytes(template.read_bytes())
        with opened(f"sqlite:///{path}") as made:
            yield made
        return
    running: Cluster = request.getfixturevalue("postgres")
    running.create_database("bad_input", TEMPLATE)
    with opened(running.url("bad_input")) as made:
        yield made
    running.drop_database("bad_input")


def told(answer: httpx.Response, status: int, type_name: str | None = None) -> dict[str, Any]:
    """Check that an answer is a problem with a remedy that repeats nothing; give it."""
    problem = refused(answer, status, type_name)
    assert problem["remedy"]
    assert all(fault["rule"] for fault in problem["errors"])
    assert MARK not in answer.text
    assert MARK not in str(answer.headers)
    assert "Traceback" not in answer.text
    return problem


# Every way to spoil a request, against every route that writes


def _negotiated(door: Door) -> Wish:
    offer = door.place.a_listing()
    body = terms(offer) | {"mode": "negotiated", "external_ref": "SO-1", "buyer_id": mbr(door.place.a_member().id)}
    return Wish("/v1/trades", body, door.of(offer.owner), 201)


def _rejected(door: Door) -> Wish:
    sale = door.place.a_trade(TradeState.FILED)
    body = {"decision": "reject", "reason": "as it should be"}
    return Wish(f"/v1/trades/{trd(sale.id)}/review", body, door.operator)


WISHES = WRITES | {
    "create_trade, negotiated": _negotiated,
    "review_filing, rejecting": _rejected,
    BATCH: WRITES["create_trade"],
}
"""A good request of every operation, and where an operation has two ways, of each."""


NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class Good:
    """A request that passes as it stands, who sends it, and how it is answered."""

    sent: Sent
    wish: Wish
    above: str = ""
    """Where in the body the fields stand."""


def good(door: Door, operation: str) -> Good:
    """Make a good request of this operation."""
    batch = operation == BATCH
    wish = WISHES[operation](door)
    key = f"bad-{operation.replace(', ', '-')}-{next(NUMBERS)}"
    headers = {"Authorization": f"Bearer {wish.by}", "Content-Type": "application/json", "Idempotency-Key": key}
    sent = Sent(
        path=f"/v1{batches.PATH}" if batch else wish.path,
        content=orjson.dumps([wish.body] if batch else wish.body),
        headers=tuple((name, value.encode()) for name, value in headers.items()),
        query="atomic=true" if batch else "",
        method=wish.method,
    )
    return Good(sent, wish, "/0" if batch else "")


def send(door: Door, sent: Sent) -> httpx.Response:
    url = f"{sent.path}?{sent.query}" if sent.query else sent.path
    headers: Any = [(name.encode(), value) for name, value in sent.headers]
    return door.wait(door.client.request(sent.method, url, content=sent.content, headers=headers))


def spoilt(operation: str, request: Good) -> Iterator[Bad]:
    """Give every way to spoil a request of an operation."""
    model = NewTrade if operation == BATCH else BODIES[operation.partition(",")[0]]
    for bad in bad_fields(model, request.wish.body, request.above):
        yield replace(bad, type="item-refused") if operation == BATCH else bad
    yield from bad_bodies(batches.BODY_LIMIT if operation == BATCH else BODY_LIMIT)
    yield from bad_headers(request.wish.by)
    yield from bad_queries()
    yield from bad_methods(request.sent.method)
    if operation == BATCH:
        return
    yield from bad_days(operation, model)
    if operation != "create_trade":  # a buyer names none
        yield from bad_references(model)
    if operation == "close_month":
        yield from bad_months()
    for name, raw in NO_OBJECT.items():
        yield Bad(f"body {name}", sending(raw), 422, "fields-wrong", "")
    if "_" in request.sent.path:
        yield from bad_ids(request.sent.path)


def test_every_operation_that_writes_is_spoilt() -> None:
    assert {name.partition(",")[0] for name in WISHES} == {*BODIES, BATCH}


def digest(door: Door) -> list[int]:
    """Tell where the journal stands and how many rows each posted table has."""

    def count(session: Session) -> list[int]:
        posted = [schema_of(table).name for table in TABLES if table.sort is Sort.POSTED]
        tables = [table for table in TABLES if schema_of(table).name in posted]
        return [
            session.exec(select(Head.position)).one(),
            *(session.exec(select(func.count()).select_from(table)).one() for table in tables),
        ]

    return door.place.read(count)


def wrong_answers(door: Door, request: Good, bads: Iterable[Bad]) -> Iterator[str]:
    """Send each bad request; tell which ones are not answered as they must be."""
    for bad in bads:
        answer = send(door, bad.spoil(request.sent))
        try:
            problem = told(answer, bad.status, bad.type)
            pointers = [fault["pointer"] for fault in problem["errors"]]
            assert (bad.pointer in pointers) if bad.pointer is not None else not pointers, problem
        except AssertionError as error:
            yield f"{bad.name}: {error}"


def test_no_row_of_any_table_is_changed(door: Door) -> None:
    requests = {operation: good(door, operation) for operation in WISHES}
    before = door.place.dump()

    for operation, request in requests.items():
        bads = list(spoilt(operation, request))
        # What is decided under the lock, and some of all the rest: the others are counted below.
        deep = [
            bad for bad in bads if bad.status in {404, 409} or bad.type in {"date-wrong", "buyer-wrong", "month-wrong"}
        ]
        assert not list(wrong_answers(door, request, [*deep, *bads[::40]]))

    assert door.place.dump() == before


@pytest.mark.parametrize("operation", sorted(WISHES))
def test_what_is_spoilt_in_any_way_is_refused_and_the_good_request_passes_under_the_same_key(
    door: Door, operation: str
) -> None:
    request = good(door, operation)
    before = digest(door)

    wrong = list(wrong_answers(door, request, spoilt(operation, request)))

    assert not wrong, "\n".join(wrong)
    assert digest(door) == before
    answer = send(door, replace(request.sent, content=request.sent.content.ljust(BODY_LIMIT)))
    assert answer.status_code == (201 if operation == BATCH else request.wish.status), answer.text
    assert "idempotency-replayed" not in answer.headers


@pytest.mark.parametrize("operation", sorted(WRITES))
def test_a_step_is_taken_once_and_its_key_answers_for_ever(door: Door, operation: str) -> None:
    wish = WRITES[operation](door)
    key = f"once-{operation}"
    long = orjson.dumps(wish.body).ljust(64 * 1024)
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    first = door.ask(wish.method, wish.path, wish.by, long, key=key, headers=headers)
    assert first.status_code == wish.status, first.text
    assert set(first.json()) >= {"position", "recorded_at"}
    assert "idempotency-replayed" not in first.headers
    recorded = door.place.dump()

    # In another order and with other spaces it is the same request.
    raw = orjson.dumps(dict(reversed(wish.body.items())), option=orjson.OPT_INDENT_2)
    again = door.ask(wish.method, wish.path, wish.by, raw, key=key)
    other = door.ask(wish.method, wish.path, wish.by, wish.body | OTHER.get(operation, {}), key=key)
    anew = door.ask(wish.method, wish.path, wish.by, wish.body)

    assert again.status_code == first.status_code
    assert again.headers["idempotency-replayed"] == "true"
    if operation == "create_key":
        replayed = again.json()
        assert "revoke this key and make another" in replayed.pop("remedy")
        assert replayed == first.json() | {"secret": None}
    elif operation in SHOWN_ONCE:
        assert again.json() == {name: value for name, value in first.json().items() if name != SHOWN_ONCE[operation]}
    else:
        assert again.content == first.content
    if operation in OTHER:
        told(other, 422, "key-reused")
    if operation in MAY_REPEAT:
        assert anew.status_code == wish.status, anew.text
    else:
        told(anew, 422 if operation in {"correct_trade", "correct_member"} else 409)
        assert door.place.dump() == recorded


SHOWN_ONCE = {"create_key": "secret", "read_person": "data", "read_member_data": "data"}
"""What the first answer alone holds."""
OTHER: dict[str, dict[str, Any]] = {
    name: {"reason": f"{MARK} another"}
    for name in WRITES
    if name not in {"contract_trade", "revoke_key", "approve_termination"}
} | {
    "apply_for_membership": {"contact": MARK},
    "correct_application": {"contact": MARK},
    "register_product": {"code": MARK},
    "describe_version": {"title": MARK},
    "record_assessment": {"kind": "quality"},
    "draft_listing": {"price": fen(1)},
    "create_trade": {"purpose": MARK},
    "file_trade": {"purpose": MARK},
    "record_auction": {"purpose": MARK},
    "confirm_trade": {"external_ref": MARK},
    "close_month": {"month": "2026-01"},
    "grant_mandate": {"ends_on": "2026-11-30"},
    "create_key": {"person": MARK},
    "approve_listing": {"reason": MARK},
}
"""The same request with something else in it, where there is something."""
MAY_REPEAT = {
    *("describe_version", "record_assessment", "draft_listing", "file_trade", "create_key", "change_member"),
    *("grant_mandate", "read_person", "read_member_data"),
}
"""What a new key makes once more."""


def test_numbers_that_no_column_holds_are_refused(door: Door) -> None:
    wish = WRITES["create_trade"](door)
    before = door.place.dump()

    most = fen(10**18 - 1)
    for change, pointer in (
        ({"net": fen(0)}, "/net"),
        ({"gross": fen(106_001)}, "/gross"),
        ({"net": most, "vat": most, "gross": most}, "/gross"),
        ({"quantity": 0}, "/quantity"),
        ({"quantity": 2}, "/net"),
        ({"acceptance_window_days": 3_651}, "/acceptance_window_days"),
        ({"contract_sha256": "0" * 64}, "/contract_sha256"),
        ({"buyer_id": "mbr_000000000001"}, "/buyer_id"),
        ({"mode": "negotiated"}, "/contract_sha256"),
        ({"mode": "auction"}, "/mode"),
    ):
        answer = door.ask(wish.method, wish.path, wish.by, wish.body | change)
        assert pointer in [fault["pointer"] for fault in told(answer, 422)["errors"]]

    assert door.place.dump() == before


def test_each_bad_line_of_a_batch_is_refused_by_itself(door: Door) -> None:
    wish = WRITES["create_trade"](door)
    raws = {name: raw for name, raw in NOT_JSON.items() if raw.strip() and len(raw.splitlines()) == 1}
    fields = [bad for bad in bad_fields(NewTrade, wish.body) if bad.pointer]
    sent = Sent("", orjson.dumps(wish.body), ())
    lines = [*raws.values(), *NO_OBJECT.values(), *(bad.spoil(sent).content for bad in fields), sent.content]
    before = digest(door)

    answer = door.ask(
        "POST", f"/v1{batches.PATH}", wish.by, b"\n".join(lines), headers={"Content-Type": batches.NDJSON_TYPE}
    )

    assert answer.status_code == 200, answer.text
    assert MARK not in answer.text
    *refusals, accepted = answer.json()["data"]
    problems = [one["problem"] for one in refusals]
    assert [one["index"] for one in refusals] == list(range(len(lines) - 1))
    assert {one["type"] for one in problems[: len(raws)]} == {"/problems/not-json"}
    assert {one["type"] for one in problems[len(raws) : -len(fields)]} == {"/problems/fields-wrong"}
    for bad, problem in zip(fields, problems[-len(fields) :], strict=True):
        assert (problem["status"], problem["type"]) == (bad.status, f"/problems/{bad.type}"), bad.name
        assert bad.pointer in [fault["pointer"] for fault in problem["errors"]], bad.name
        assert problem["remedy"]
    assert accepted["status"] == 201
    position, *_ = digest(door)
    assert position == before[0] + 1


BAD_BATCHES = {
    "no items": (b"[]", "", "batch-too-long", 422),
    "no lines": (b"\n \n", "", "not-json", 400),
    "an object": (b'{"items": []}', "", "not-json", 400),
    "1,001 items together": (b"[" + b",".join([b"{}"] * 1_001) + b"]", "?atomic=true", "batch-too-long", 422),
    "10,001 items": (b"[" + b",".join([b"{}"] * 10_001) + b"]", "", "batch-too-long", 422),
    "another flag": (b"[{}]", "?atomic=yes", "query-wrong", 400),
    "a flag in capitals": (b"[{}]", "?atomic=TRUE", "query-wrong", 400),
    "an empty flag": (b"[{}]", "?atomic=", "query-wrong", 400),
    "two flags": (b"[{}]", "?atomic=true&atomic=true", "query-wrong", 400),
}


@pytest.mark.parametrize("name", BAD_BATCHES)
def test_a_batch_that_is_none_is_refused(door: Door, name: str) -> None:
    raw, query, kind, status = BAD_BATCHES[name]
    key = door.of(door.place.a_member())
    before = digest(door)

    told(door.ask("POST", f"/v1{batches.PATH}{query}", key, raw), status, kind)

    assert digest(door) == before


LIMITS = {
    "apply_for_membership": {
        "legal_name": 120,
        "short_name": 120,
        "legal_representative": 120,
        "address": 200,
        "contact": 120,
    },
    "describe_version": {"title": 120, "abstract": 600, "scenarios": 600, "coverage": 120, "ip_registration": 64},
    "create_trade": {"purpose": 600, "contract_number": 64, "delivery_terms": 600, "external_ref": 64},
    "admit_member": {"reason": 600},
    "create_key": {"person": 120, "name": 120},
}
"""How many characters a text may have, and three times as many bytes."""
BOUNDS = {"maxLength", "enum", "const", "pattern", "format"}


def texts_of(schema: dict[str, Any], place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each text in a schema of the document, by where it stands, also in lists (`/0`) and one of several forms."""
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]] | {
            name: value for name, value in schema.items() if name != "$ref"
        }
    if schema.get("type") == "string":
        yield place, schema
    for form in schema.get("anyOf", ()):
        yield from texts_of(form, place)
    if "items" in schema:
        yield from texts_of(schema["items"], f"{place}/0")
    for name, inner in schema.get("properties", {}).items():
        yield from texts_of(inner, f"{place}/{name}")


def texts_sent(operation: str) -> dict[str, dict[str, Any]]:
    """Give the texts of what an operation takes, by where they stand."""
    said = OPERATIONS[operation.partition(",")[0]][2].get("requestBody")
    return dict(texts_of(said["content"]["application/json"]["schema"])) if said else {}


TEXTS_SENT = {operation: texts_sent(operation) for operation in WISHES}


@pytest.mark.parametrize("operation", WISHES)
def test_the_document_bounds_every_text_that_is_sent(operation: str) -> None:
    unbounded = [place for place, said in TEXTS_SENT[operation].items() if not BOUNDS & set(said)]

    assert unbounded == []
    for place, said in TEXTS_SENT[operation].items():
        assert ("maxLength" in said) == ("x-maxBytes" in said), place
    for name, limit in LIMITS.get(operation, {}).items():
        said = TEXTS_SENT[operation][f"/{name}"]
        assert (said["maxLength"], said["x-maxBytes"]) == (limit, 3 * limit)


@pytest.mark.parametrize("operation", [name for name, texts in TEXTS_SENT.items() if "maxLength" in str(texts)])
def test_a_text_is_taken_up_to_the_characters_and_bytes_that_the_document_says_and_no_further(
    door: Door, operation: str
) -> None:
    request = good(door, operation)
    limits = {
        place: (said["maxLength"], said["x-maxBytes"])
        for place, said in TEXTS_SENT[operation].items()
        if "maxLength" in said
    }
    whole = request.sent
    for place, (characters, size) in limits.items():
        rule = f"must have at most {characters} characters, and {size} bytes in UTF-8"
        # One character too many; and one byte too many, for as many characters as there may be.
        for text in ("x" * (characters + 1), "数" * (characters - 1) + "\U00020000"):
            problem = told(send(door, having(place, text)(request.sent)), 422)
            assert problem["errors"] == [{"pointer": place, "rule": rule}]
        longest = "数" * characters
        assert len(longest.encode()) == size
        whole = having(place, longest)(whole)

    answer = send(door, whole)

    assert answer.status_code == request.wish.status, answer.text


@pytest.mark.parametrize("operation", [name for name, texts in TEXTS_SENT.items() if "'pattern'" in str(texts)])
def test_what_passes_has_the_form_that_the_document_says(door: Door, operation: str) -> None:
    body = orjson.loads(good(door, operation).sent.content)
    patterns = {place: said["pattern"] for place, said in TEXTS_SENT[operation].items() if "pattern" in said}

    found = {place: at(body, place) for place in patterns}

    assert any(found.values())
    for place, text in found.items():
        assert text is None or re.search(patterns[place], text), place


def at(body: Any, place: str) -> Any:
    """Give what stands at a place of a body; None where nothing does."""
    for name in place.lstrip("/").split("/"):
        body = (body[0] if body else None) if isinstance(body, list) and name == "0" else (body or {}).get(name)
    return body


def test_lines_that_are_too_many_are_counted_and_not_read() -> None:
    began = time.process_time()

    with pytest.raises(batches.BatchTooLong):
        batches.cut(b"{\n" * 1_000_000, lines=True)

    # Read, they would take half a minute.
    assert time.process_time() - began < 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(JSON, min_size=1, max_size=8), st.sampled_from([None, 1]), st.booleans())
def test_a_batch_is_cut_where_its_items_end(values: list[Any], indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    assert [json.loads(item) for item in batches.cut(text, lines=False)] == values


@pytest.mark.parametrize(
    "body", ["", "{}", "7", "[", "[1", "[1] 2", "[1][2]", "[1,]", "[,1]", "[1,,2]", "[1 2]", '["]', "[{]", "]["]
)
def test_what_is_no_array_is_not_cut(body: str) -> None:
    with pytest.raises(NotJson):
        batches.cut(body.encode(), lines=False)


@pytest.mark.parametrize("body", [" [ ] ", "[]", "[" + "1," * 10_000 + "1]"])
def test_a_batch_has_items_and_not_too_many(body: str) -> None:
    with pytest.raises(batches.BatchTooLong):
        batches.cut(body.encode(), lines=False)


def test_an_item_is_no_longer_than_a_single_request(door: Door) -> None:
    key, long = door.of(door.place.a_member()), "[" + "[]," * 30_000 + "[]]"
    lines = {"Content-Type": "application/x-ndjson"}

    together = door.ask("POST", "/v1/trades:batch", key, f"[1,{long}]".encode())
    [first, second] = door.ask("POST", "/v1/trades:batch", key, f"1\n{long}\n".encode(), headers=lines).json()["data"]

    assert (together.status_code, together.json()["type"]) == (413, "/problems/body-too-long")
    assert (first["status"], second["status"]) == (422, 413)


@pytest.mark.parametrize(("piece", "lines"), [(b"{},", False), (b"{}\n", True), (b"[[],[]],", False)])
def test_what_is_refused_for_its_length_takes_little_room(piece: bytes, lines: bool) -> None:
    raw = (b"" if lines else b"[") + piece * (4_000_000 // len(piece))
    tracemalloc.start()
    try:
        with pytest.raises((batches.BatchTooLong, NotJson)):
            batches.cut(raw, lines=lines)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    # Text takes as much as its bytes, and once more without the space around it.
    assert peak < 12_000_000


def test_others_are_served_while_a_long_batch_is_read(door: Door) -> None:
    key = door.of(door.place.a_member())
    raw = b"[" + b",".join([b"[" + b"1," * 300 + b"1]"] * 10_000) + b"]"

    async def run() -> int:
        served = 0
        await door.send("POST", f"/v1{batches.PATH}", key, b"[]")
        batch = asyncio.create_task(door.send("POST", f"/v1{batches.PATH}?atomic=true", key, raw))
        while not batch.done():
            await asyncio.sleep(0)
            await door.send("GET", "/livez")
            served += 1
        told(await batch, 422, "batch-too-long")
        return served

    assert door.wait(run()) > 5


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/members", "GET, HEAD, POST"),
        ("/v1/keys", "GET, HEAD, POST"),
        ("/v1/trades:batch", "POST"),
        ("/livez", "GET, HEAD"),
        ("/docs/assets/swagger-ui.css", "GET, HEAD"),
    ],
)
def test_allow_names_the_methods_of_all_routes_at_an_address(door: Door, path: str, allowed: str) -> None:
    answer = door.ask("DELETE", path, door.operator)

    told(answer, 405, "method-wrong")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("operation", sorted(WISHES))
def test_a_header_makes_no_write_of_a_read(door: Door, operation: str) -> None:
    request = good(door, operation)
    before = digest(door)

    for override in (b"POST", b"DELETE"):
        asked = replace(request.sent, method="GET").with_header("X-HTTP-Method-Override", override)
        # There is a list at some addresses; the rest take no GET.
        assert send(door, asked).status_code in {200, 405}

    assert digest(door) == before


# Queries of what reads

READS = {route.operation: route for _, routes in GROUPS for route in routes if isinstance(route, Read)}
LISTS = sorted(name for name, route in READS.items() if issubclass(route.query, Page))


NEEDED = {"show_statement": "from=2026-03-01&to=2026-03-02", "search": "q=HT-1"}
"""The query without which a question is not understood."""


def address(door: Door, operation: str) -> str:
    """Write where to read, with a query that passes."""
    party = door.place.a_member()
    path = READS[operation].path.replace("{id}", mbr(party.id))
    return f"/v1{path}?" + NEEDED.get(operation, "")


BAD_LIMITS = (
    *("0", "-1", "501", "1e3", "1_0", "5.0", "0x5", "+5", "%205", "5%20", "5%00", "%EF%BC%95", "NaN", "null", ""),
    *("9" * 19, "9" * 4_301, MARK),
)


@pytest.mark.parametrize("operation", LISTS)
def test_a_list_takes_one_limit_from_1_to_500_and_one_cursor_that_it_gave(door: Door, operation: str) -> None:
    where = address(door, operation)
    queries = [(f"limit={limit}", "/limit") for limit in BAD_LIMITS]
    queries += [("limit=5&limit=5", "/limit"), ("cursor=a&cursor=a", "/cursor"), (f"limit=5&{MARK}%20=1", "")]
    queries += [(f"cursor={cursor}", "/cursor") for cursor in ("", MARK, "%E4%B8%AD", "%00", "A" * 1_001, "A" * 10_000)]

    for query, pointer in queries:
        problem = told(door.ask("GET", f"{where}&{query}", door.operator), 400)
        assert [fault["pointer"] for fault in problem["errors"]] == [pointer], query


def test_a_cursor_is_taken_as_it_was_given_and_not_otherwise(door: Door) -> None:
    for _ in range(2):
        door.place.a_trade()
    page = "/v1/members?limit=1&state=active"
    given = door.ask("GET", page, door.operator).json()["next"]
    other = door.ask("GET", "/v1/trades?limit=1", door.operator).json()["next"]
    assert door.ask("GET", f"{page}&cursor={given}", door.operator).status_code == 200

    spoilt = [given[:-4], given[4:], given + "AAAA", given + "!", "!" + given, given[:8] + "%20" + given[8:]]
    spoilt += [given + "%0A", given + "=", given.swapcase(), other, other[:24] + given[24:]]
    for cursor in spoilt:
        told(door.ask("GET", f"{page}&cursor={cursor}", door.operator), 400, "cursor-wrong")
    for path, by in (
        ("/v1/members?limit=1&state=suspended", door.operator),
        ("/v1/members?limit=1", door.operator),
        ("/v1/trades?limit=1", door.operator),
        (page, door.second_operator),
        (page, door.auditor),
    ):
        told(door.ask("GET", f"{path}&cursor={given}", by), 400, "cursor-wrong")


WRONG_QUERIES = [
    ("/v1/members", "?state=MARK7391", "/state"),
    ("/v1/members", "?state=", "/state"),
    ("/v1/members", "?state=ACTIVE", "/state"),
    ("/v1/members", "?uscc=%00", "/uscc"),
    ("/v1/members", "?uscc=", "/uscc"),
    ("/v1/members", "?uscc=MARK7391%E2%80%AE", "/uscc"),
    ("/v1/members", "?uscc=e%CC%81", "/uscc"),
    ("/v1/members", "?surprise=1", "/surprise"),
    ("/v1/trades", "?contract_number=a%00", "/contract_number"),
    ("/v1/trades", "?contract_number=" + "A" * 65, "/contract_number"),
    ("/v1/trades", "?external_ref=%3DMARK7391", "/external_ref"),
    ("/v1/trades", "?from=2026-3-2", "/from"),
    ("/v1/trades", "?from_=2026-03-02", "/from_"),
    ("/v1/trades", "?to=0000-00-00", "/to"),
    ("/v1/trades", "?to=2023-02-29", "/to"),
    ("/v1/trades", "?to=2026-03-02T00:00:00%2B08:00", "/to"),
    ("/v1/trades", "?side=buyer", "/side"),
    ("/v1/listings", "?sector=MARK7391", "/sector"),
    ("/v1/products", "?kind=dataset", "/kind"),
    ("/v1/summary", "?as_of=20260302", "/as_of"),
    ("/v1/summary", "?as_of=%EF%BC%92026-03-02", "/as_of"),
    ("/v1/summary", "?as_of=2026-03-02%0A", "/as_of"),
    ("/v1/summary", "?known_at=MARK7391", "/known_at"),
    ("/v1/summary", "?known_at=0", "/known_at"),
    ("/v1/summary", "?known_at=-1", "/known_at"),
    ("/v1/summary", "?known_at=1%0A", "/known_at"),
    ("/v1/summary", "?known_at=1e3", "/known_at"),
    ("/v1/summary", "?known_at=%EF%BC%91", "/known_at"),
    ("/v1/summary", "?known_at=" + "9" * 19, "/known_at"),
    ("/v1/summary", "?known_at=2026-02-30T00:00:00Z", "/known_at"),
    ("/v1/summary", "?known_at=2023-02-29T00:00:00Z", "/known_at"),
    ("/v1/summary", "?known_at=2016-12-31T23:59:60Z", "/known_at"),
    ("/v1/summary", "?known_at=2026-03-02T24:00:00Z", "/known_at"),
    ("/v1/summary", "?known_at=2026-03-02T00:00:00", "/known_at"),
    ("/v1/summary", "?known_at=2026-03-02T00:00:00%2B08:00", "/known_at"),
    ("/v1/summary", "?known_at=2026-03-02t00:00:00z", "/known_at"),
    ("/v1/summary", "?known_at=2026-03-02T00:00:00.0000001Z", "/known_at"),
    ("/v1/summary", "?dry_run=1", "/dry_run"),
]


@pytest.mark.parametrize(("path", "query", "pointer"), WRONG_QUERIES)
def test_a_query_that_is_not_understood_is_malformed(door: Door, path: str, query: str, pointer: str) -> None:
    problem = told(door.ask("GET", path + query, door.operator), 400)

    assert pointer in [fault["pointer"] for fault in problem["errors"]]


@pytest.mark.parametrize("operation", sorted(READS))
def test_a_query_is_percent_encoded_utf_8(door: Door, operation: str) -> None:
    where = address(door, operation)

    for query in ("a=%ED%A0%80", "a=%FF", "%C0%AF=1"):
        told(door.ask("GET", f"{where}&{query}", door.operator), 400, "query-wrong")


@pytest.mark.parametrize("operation", sorted(READS))
def test_a_read_takes_no_parameter_that_it_does_not_know(door: Door, operation: str) -> None:
    where = address(door, operation)

    for query, pointer in (
        (f"surprise={MARK}", ["/surprise"]),
        (f"{MARK}%20=1", [""]),
        ("surprise=1&surprise=1", ["/surprise"]),
    ):
        problem = told(door.ask("GET", f"{where}&{query}", door.operator), 400, "query-wrong")
        assert [fault["pointer"] for fault in problem["errors"]] == pointer


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?as_of=0001-01-01", 422),
        ("?as_of=9999-12-31", 422),
        ("?known_at=999999999999999999", 422),
        ("?known_at=1969-01-01T00:00:00Z", 422),
        ("?known_at=9998-01-01T00:00:00.5Z", 422),
        ("?as_of=2014-12-31", 200),
        ("?as_of=2026-02-28&known_at=1", 200),
    ],
)
def test_figures_are_given_for_days_and_moments_that_there_are(door: Door, query: str, status: int) -> None:
    answer = door.ask("GET", f"/v1/summary{query}", door.operator)

    if status == 200:
        assert answer.status_code == 200
    else:
        refused(answer, status)


def test_a_body_that_is_cut_off_is_malformed(door: Door) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    wish = WRITES["create_trade"](door)
    headers = {"Authorization": f"Bearer {wish.by}", "Content-Type": "application/json", "Idempotency-Key": "cut"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": wish.path,
        "raw_path": wish.path.encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    door.wait(door.app(scope, receive, send))

    assert sent[0]["status"] == 400
    assert orjson.loads(sent[1]["body"])["type"] == "/problems/body-cut-off"
