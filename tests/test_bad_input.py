"""Bad requests against every route that writes: refused in one shape, naming the field, repeating nothing, and leaving nothing behind."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from cluster import Cluster
from conftest import TEMPLATE
from doors import DOCUMENT, OPERATIONS, WRITES, Door, Wish, fen, opened, refused

MARK = "MARK7391"
"""No answer repeats it."""


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


def check_refused(answer: httpx.Response, status: int, type_name: str | None = None) -> dict[str, Any]:
    problem = refused(answer, status, type_name)
    assert MARK not in answer.text
    assert "Traceback" not in answer.text
    return problem


@pytest.mark.parametrize("operation", sorted(WRITES))
def test_a_step_is_taken_once_and_its_key_answers_for_ever(door: Door, operation: str) -> None:
    wish = WRITES[operation](door)
    key = f"once-{operation}"
    long = orjson.dumps(wish.body).ljust(64 * 1024)
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    first = door.ask("POST", wish.path, wish.by, long, key=key, headers=headers)
    assert first.status_code == wish.status, first.text
    assert set(first.json()) >= {"position", "recorded_at"}
    assert "idempotency-replayed" not in first.headers
    recorded = door.place.dump()

    # In another order and with other spaces it is the same request.
    raw = orjson.dumps(dict(reversed(wish.body.items())), option=orjson.OPT_INDENT_2)
    again = door.ask("POST", wish.path, wish.by, raw, key=key)
    other = door.ask("POST", wish.path, wish.by, wish.body | OTHER.get(operation, {}), key=key)
    anew = door.ask("POST", wish.path, wish.by, wish.body)

    assert again.status_code == first.status_code
    assert again.headers["idempotency-replayed"] == "true"
    if operation == "create_key":
        assert again.json() == {name: value for name, value in first.json().items() if name != "secret"}
    else:
        assert again.content == first.content
    if operation in OTHER:
        check_refused(other, 422, "key-reused")
    if operation in MAY_REPEAT:
        assert anew.status_code == wish.status
    else:
        check_refused(anew, 409)
        assert door.place.dump() == recorded


OTHER: dict[str, dict[str, Any]] = {
    name: {"reason": f"{MARK} another"}
    for name in WRITES
    if name not in {"contract_trade", "revoke_key"} and not name.startswith("approve_")
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
    "create_key": {"person": MARK},
    "approve_listing": {"reason": MARK},
}
"""The same request with something else in it, where there is something."""
MAY_REPEAT = {"describe_version", "record_assessment", "draft_listing", "file_trade", "create_key", "change_member"}
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
        answer = door.ask("POST", wish.path, wish.by, wish.body | change)
        assert pointer in [fault["pointer"] for fault in check_refused(answer, 422)["errors"]]

    assert door.place.dump() == before


WRONG_QUERIES = [
    ("/v1/members", "?limit=0", "/limit"),
    ("/v1/members", "?limit=501", "/limit"),
    ("/v1/members", "?limit=1_0", "/limit"),
    ("/v1/members", "?limit=%205", "/limit"),
    ("/v1/members", "?limit=5.0", "/limit"),
    ("/v1/members", "?limit=%EF%BC%95", "/limit"),
    ("/v1/members", "?state=MARK7391", "/state"),
    ("/v1/members", "?uscc=%00", "/uscc"),
    ("/v1/members", "?uscc=", "/uscc"),
    ("/v1/members", "?surprise=1", "/surprise"),
    ("/v1/members", "?cursor=MARK7391", "/cursor"),
    ("/v1/members", "?cursor=%E4%B8%AD", "/cursor"),
    ("/v1/members", "?cursor=", "/cursor"),
    ("/v1/members", "?cursor=" + "A" * 1_001, "/cursor"),
    ("/v1/trades", "?contract_number=a%00", "/contract_number"),
    ("/v1/trades", "?external_ref=%3DMARK7391", "/external_ref"),
    ("/v1/trades", "?from=2026-3-2", "/from"),
    ("/v1/trades", "?to=0000-00-00", "/to"),
    ("/v1/trades", "?side=buyer", "/side"),
    ("/v1/listings", "?sector=MARK7391", "/sector"),
    ("/v1/products", "?kind=dataset", "/kind"),
    ("/v1/summary", "?as_of=20260302", "/as_of"),
    ("/v1/summary", "?known_at=MARK7391", "/known_at"),
    ("/v1/summary", "?known_at=0", "/known_at"),
    ("/v1/summary", "?known_at=2026-02-30T00:00:00Z", "/known_at"),
    ("/v1/summary", "?known_at=2026-03-02T00:00:00%2B08:00", "/known_at"),
    ("/v1/summary", "?dry_run=1", "/dry_run"),
]


@pytest.mark.parametrize(("path", "query", "pointer"), WRONG_QUERIES)
def test_a_query_that_is_not_understood_is_malformed(door: Door, path: str, query: str, pointer: str) -> None:
    problem = check_refused(door.ask("GET", path + query, door.operator), 400)

    assert pointer in [fault["pointer"] for fault in problem["errors"]]


def test_a_parameter_given_twice_is_malformed(door: Door) -> None:
    check_refused(door.ask("GET", f"/v1/members?limit={MARK}&limit=5", door.operator), 400, "query-wrong")


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


# What every write refuses


def schema_of_body(operation: str) -> dict[str, Any]:
    _, _, said = OPERATIONS[operation]
    name = said["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schema: dict[str, Any] = DOCUMENT["components"]["schemas"][name]
    return schema


WRONG_TYPE: list[Any] = [{"a": MARK}, [[MARK]], True]
WRONG_TEXT: list[Any] = [
    1,
    "",
    f" {MARK}",
    f"{MARK}\u0000",
    f"{MARK}\u202e",
    f"={MARK}",
    f"+{MARK}",
    f"@{MARK}",
    f"-{MARK}",
    f"\uff1d{MARK}",
    MARK + "e\u0301",
    MARK * 100,
]
WRONG_AMOUNT: list[Any] = [
    *("", "-1", "+1", "1.0", "1.5", "1e3", " 1", "1 ", "01", "0x1", "1\n", "\uff11\uff12", "9223372036854775808", MARK),
    *(1, None, True, [MARK], {}),
]
WRONG_COUNT: list[Any] = ["1", None, -1, 999_999_999_999_999_999, MARK]


def wrong_values(good: Any) -> list[tuple[Any, str]]:
    """Give values that cannot stand where this good one stands, each with where in it the mistake is."""
    if isinstance(good, bool):
        flags: list[Any] = ["true", 1, MARK, {}, None]
        return [(value, "") for value in flags]
    if isinstance(good, int):
        return [(value, "") for value in [*WRONG_COUNT, *WRONG_TYPE]]
    if isinstance(good, list):
        whole: list[Any] = [MARK, {"a": MARK}, 1, None]
        return [*((value, "") for value in whole), ([1], "/0"), ([{"a": MARK}], "/0"), ([MARK], "*")]
    if isinstance(good, dict):
        whole = [MARK, 1, None, [MARK]]
        amount = [({"amount": value, "currency": "CNY"}, "/amount") for value in WRONG_AMOUNT]
        currency = [({"amount": "1", "currency": value}, "/currency") for value in ("USD", "cny", 1, MARK)]
        more = [({"amount": "1", "currency": "CNY", "scale": 2}, "/scale"), ({"amount": "1"}, "/currency")]
        return [*((value, "") for value in whole), *amount, *currency, *more, ({"currency": "CNY"}, "/amount")]
    return [(value, "") for value in [*WRONG_TEXT, *WRONG_TYPE]]


def bad_fields(wish: Wish, schema: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Give bodies with one thing wrong, each with the pointer to it; a `*` at its end leaves open where in the field."""
    yield wish.body | {"surprise": MARK}, "/surprise"
    for name in schema.get("required", ()):
        yield {other: value for other, value in wish.body.items() if other != name}, f"/{name}"
    for name, good in wish.body.items():
        if good is None:
            for day in (MARK, "2026-3-2", "2026-02-30", "20260302", "2026-03-02T00:00:00Z", 20260302, "9999-12-31"):
                yield wish.body | {name: day}, f"/{name}"
            continue
        for value, place in wrong_values(good):
            if value is not None or name in schema.get("required", ()):
                yield wish.body | {name: value}, f"/{name}{place}"


def every_wrong_field_is_named_by_its_pointer(door: Door, wish: Wish, operation: str) -> None:
    schema = schema_of_body(operation)

    for body, pointer in bad_fields(wish, schema):
        answer = door.ask("POST", wish.path, wish.by, body)
        problem = check_refused(answer, 422)
        pointers = [fault["pointer"] for fault in problem["errors"]]
        if pointer.endswith("*"):
            assert any(found.startswith(pointer[:-1]) for found in pointers), (body, problem)
        else:
            assert pointer in pointers, (body, problem)
        assert all(fault["rule"] for fault in problem["errors"])


WIDE = "\uff11" * 12
"""Twelve full-width digits."""

NOT_JSON: list[bytes] = [
    b"",
    b" ",
    b"{",
    b"{}{}",
    b"{} x",
    b"{'reason': 1}",
    b'{"reason": "MARK7391",}',
    b'{"reason": NaN}',
    b'{"reason": Infinity}',
    b'{"reason": -Infinity}',
    b'{"reason": 1e400}',
    b'{"reason": 1.0}',
    b'{"reason": 1E3}',
    b'{"reason": 9223372036854775808}',
    b'{"reason": -1000000000000000000}',
    b'{"reason": 01}',
    b'{"reason": "MARK7391", "reason": "MARK7391"}',
    b'{"a": {"b": 1, "b": 2}}',
    b'{"reason": "\x00"}',
    b'{"reason": "a\nb"}',
    b'{"reason": "\\ud800"}',
    b'{"\\udfff": 1}',
    b'{"reason": "\xff"}',
    b"\xef\xbb\xbf{}",
    '{"reason": "MARK7391"}'.encode("utf-16"),
    b'{"reason": ' + b"[" * 40 + b"]" * 40 + b"}",
    b'{"reason": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    b"/* MARK7391 */ {}",
]


def what_is_not_json_is_malformed(door: Door, wish: Wish, operation: str) -> None:

    for raw in NOT_JSON:
        check_refused(door.ask("POST", wish.path, wish.by, raw), 400, "not-json")
    for raw in (b"[]", b"null", b'"MARK7391"', b"1", b"true", b"[{}]"):
        [fault] = check_refused(door.ask("POST", wish.path, wish.by, raw), 422, "fields-wrong")["errors"]
        assert not fault["pointer"]


def bodies_are_declared_as_json_and_not_long(door: Door, wish: Wish, operation: str) -> None:
    good = orjson.dumps(wish.body)

    for declared in ("", "text/plain", "application/x-www-form-urlencoded", "application/problem+json", MARK):
        answer = door.ask("POST", wish.path, wish.by, good, headers={"Content-Type": declared})
        check_refused(answer, 415, "not-json-type")
    answer = door.ask("POST", wish.path, wish.by, good, headers={"Content-Encoding": "gzip"})
    check_refused(answer, 415, "not-json-type")
    answer = door.ask("POST", wish.path, wish.by, good + b" " * (64 * 1024))
    check_refused(answer, 413, "body-too-long")


def a_write_needs_one_key_of_visible_characters_and_takes_no_query(door: Door, wish: Wish, operation: str) -> None:

    for key in ("", " ", "a b", "k" * 256, "a\tb"):
        answer = door.ask("POST", wish.path, wish.by, wish.body, headers={"Idempotency-Key": key})
        check_refused(answer, 400, "key-missing")
    headers = [("Authorization", f"Bearer {wish.by}"), ("Content-Type", "application/json")]
    keys = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    for given in ([], keys, [("Idempotency-Key", "k\u00e9".encode())]):
        sent: Any = [*headers, *given]
        answer = door.wait(door.client.post(wish.path, content=orjson.dumps(wish.body), headers=sent))
        check_refused(answer, 400, "key-missing")
    for query in ("?dry_run=true", f"?{MARK}=1&{MARK}=2"):
        check_refused(door.ask("POST", wish.path + query, wish.by, wish.body), 400, "query-wrong")


def ids_that_nothing_has_are_not_found_however_they_are_written(door: Door, wish: Wish, operation: str) -> None:
    if "{id}" not in OPERATIONS[operation][1]:
        return
    start, _, rest = wish.path.partition("_")
    prefix, number, end = start[-3:], rest[:12], rest[12:]

    missing = check_refused(door.ask("POST", wish.of_unknown(), wish.by, wish.body), 404, "not-found")
    for written in (
        *(number, f"{prefix}_{number[1:]}", f"{prefix}_{number}0", f"{prefix}_{WIDE}", f"xxx_{number}"),
        *(f"{prefix}_-00000000001", f"{prefix}_%00", f"{prefix.upper()}_{number}", f"{MARK}_1", f"{prefix}_{'0' * 12}"),
    ):
        answer = door.ask("POST", f"{start[:-3]}{written}{end}", wish.by, wish.body)
        assert check_refused(answer, 404) == missing


WAYS = (
    every_wrong_field_is_named_by_its_pointer,
    what_is_not_json_is_malformed,
    bodies_are_declared_as_json_and_not_long,
    a_write_needs_one_key_of_visible_characters_and_takes_no_query,
    ids_that_nothing_has_are_not_found_however_they_are_written,
)


@pytest.mark.parametrize("operation", sorted(WRITES))
def test_what_is_spoilt_in_any_way_is_refused_and_nothing_is_recorded(door: Door, operation: str) -> None:
    wish = WRITES[operation](door)
    before = door.place.dump()

    for way in WAYS:
        way(door, wish, operation)

    assert door.place.dump() == before
