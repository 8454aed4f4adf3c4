"""Who may do what over HTTP: every operation of the document, every role, and what is one's own, another's, or nobody's."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from doors import OPERATIONS, REASON, UNKNOWN, WRITES, Door, Wish, lst, mbr, opened, refused, terms, trd
from exchanges import a_sha256, a_uscc
from test_query_plans import recorded

from exchange.access.callers import secret_hash, written_secret
from exchange.access.commands import RevokeKey
from exchange.access.tables import Role, Scope
from exchange.api.access import ACCESS, RowMissing, Whose
from exchange.api.access import OPEN as open_to_all  # noqa: N811 - here it is cut down to what the document has
from exchange.api.doors import CALLER_CACHE_S, Read, add
from exchange.api.summary import ROUTES as SUMMARY
from exchange.app import create_app
from exchange.database import connect_sqlite
from exchange.identifiers import KeyId, Prefix, written_id
from exchange.listings.states import ListingState
from exchange.members.commands import SuspendMember, WithdrawMember
from exchange.members.states import MemberState

OPEN = frozenset(OPERATIONS) & open_to_all
CLOSED = sorted(set(OPERATIONS) - OPEN)
ID = {
    "members": "mbr",
    "products": "prd",
    "versions": "ver",
    "listings": "lst",
    "trades": "trd",
    "keys": "key",
    "mandates": "mnd",
    "persons": "prs",
}


@pytest.fixture
def door(sqlite_url: str) -> Iterator[Door]:
    with opened(sqlite_url) as made:
        yield made


def nowhere(path: str) -> str:
    """Write a path whose id nothing has."""
    return path.replace("{id}", f"{ID.get(path.split('/')[2])}_{UNKNOWN}")


def everybody(door: Door) -> dict[str, str]:
    """Give a key of each role."""
    return {
        "member": door.of(door.place.a_company()),
        "operator": door.operator,
        "auditor": door.auditor,
        "regulator": door.regulator,
    }


def test_who_may_do_what_is_written_down_for_every_operation() -> None:
    assert set(OPERATIONS) == {*ACCESS, *OPEN}
    for operation, (_, _, said) in OPERATIONS.items():
        if operation not in OPEN:
            roles, scope, *_ = said["description"].split(". ")
            assert set(re.findall(r"operator|member|auditor|regulator", roles)) == ACCESS[operation].roles
            assert scope.rstrip(".") == f"Scope: {ACCESS[operation].scope}"


@pytest.mark.parametrize("operation", CLOSED)
def test_only_the_roles_that_are_named_pass(door: Door, operation: str) -> None:
    method, path, _ = OPERATIONS[operation]

    for role, key in everybody(door).items():
        before = door.place.dump()
        answer = door.ask(method, nowhere(path), key, b"not even looked at")
        if role in ACCESS[operation].roles:
            assert answer.json().get("type") != "/problems/role-lacks-route", (role, answer.text)
        else:
            refused(answer, 403, "role-lacks-route")
        assert door.place.dump() == before


@pytest.mark.parametrize("operation", CLOSED)
def test_nobody_passes_without_a_live_key(door: Door, operation: str) -> None:
    method, path, _ = OPERATIONS[operation]
    operator = door.operator
    unknown = written_secret(b"\x00" * 32)
    mistyped = operator[:-1] + ("0" if operator[-1] != "0" else "1")
    before = door.place.dump()

    problems = []
    for sent in (
        *(None, "", "Bearer", "Bearer ", f"Basic {operator}", operator, f"Bearer {unknown}", f"Bearer {mistyped}"),
        *(f"Bearer {operator} {operator}", "Bearer \u00e9", "Bearer exk_", f"Bearer {operator.upper()}"),
    ):
        headers: Any = {} if sent is None else {"Authorization": sent.encode("latin-1")}
        answer = door.ask(method, nowhere(path), None, {}, headers=headers)
        problems.append(refused(answer, 401, "unauthenticated"))
        assert answer.headers["www-authenticate"] == "Bearer"

    assert all(problem == problems[0] for problem in problems)
    assert door.place.dump() == before


@pytest.mark.parametrize("operation", sorted(OPEN))
def test_health_and_types_of_problems_are_told_to_everybody(door: Door, operation: str) -> None:
    method, path, said = OPERATIONS[operation]

    assert said["security"] == []
    assert door.ask(method, path.replace("{id}", "malformed")).status_code == 200


def test_a_revoked_key_opens_nothing(door: Door) -> None:
    company = door.place.a_company()
    key = door.of(company)
    digest = secret_hash(key)
    assert door.ask("GET", "/v1/members", key).status_code == 200
    office = door.app.state.office
    key_id = office.callers[digest][1].key_id
    door.place.do(RevokeKey(KeyId(key_id)), door.place.operator())

    # For a second the door may take it for live; the journal does not.
    assert door.ask("GET", "/v1/members", key).status_code == 200
    wish = WRITES["apply_for_membership"](door)
    refused(door.ask("POST", "/v1/members", key, wish.body | {"uscc": company.uscc}), 401, "unauthenticated")

    since, caller = office.callers[digest]
    office.callers[digest] = (since - CALLER_CACHE_S, caller)
    refused(door.ask("GET", "/v1/members", key), 401, "unauthenticated")
    assert digest not in office.callers


def test_the_door_remembers_only_so_many_callers(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exchange.api.doors.CALLER_CACHE_LIMIT", 2)
    for key in everybody(door).values():
        assert door.ask("GET", "/v1/members", key).status_code == 200

    assert len(door.app.state.office.callers) == 2


def test_a_route_without_roles_cannot_be_opened() -> None:
    [route] = SUMMARY
    assert isinstance(route, Read)
    nobody: frozenset[Role] = frozenset()

    with pytest.raises(RowMissing, match="show_summary"):
        add(create_app(), [replace(route, roles=nobody)])


@pytest.mark.parametrize("operation", ["show_trade", "create_trade", "create_trades", "show_life"])
def test_the_application_does_not_start_with_a_route_that_has_no_row(
    monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    monkeypatch.delitem(ACCESS, operation, raising=False)
    monkeypatch.setattr("exchange.api.access.OPEN", open_to_all - {operation})

    with pytest.raises(RowMissing, match=operation):
        create_app()


@pytest.mark.parametrize("scope", [Scope.READ, Scope.CATALOGUE])
def test_the_application_does_not_start_where_a_row_says_something_else_than_the_command(
    monkeypatch: pytest.MonkeyPatch, scope: Scope
) -> None:
    monkeypatch.setitem(ACCESS, "create_trade", replace(ACCESS["create_trade"], scope=scope))

    with pytest.raises(RowMissing, match="create_trade"):
        create_app()


# What is one's own, another's, nobody's

OWN = [name for name in sorted(WRITES) if Role.MEMBER in ACCESS[name].roles and "{id}" in OPERATIONS[name][1]]
SEEN_BY_OTHERS = {"delist_listing": (403, "owners-step")}
"""A listing for sale is seen by all members."""
NOT_THEIRS = {"record_assessment": [(409, "assessor-not-independent"), (422, "company-unknown")]}
"""What a stranger and a newcomer are told of any object, also of one that there is not: a version is seen by who may assess it."""


@pytest.mark.parametrize("operation", OWN)
def test_what_is_anothers_is_as_if_it_were_not(door: Door, operation: str) -> None:
    wish = WRITES[operation](door)
    stranger, newcomer = door.of(door.place.a_member()), door.of(door.place.a_company())
    before = door.place.dump()

    for n, key in enumerate((stranger, newcomer)):
        foreign = door.ask(wish.method, wish.path, key, wish.body)
        missing = door.ask(wish.method, wish.of_unknown(), key, wish.body)
        assert refused(missing, *NOT_THEIRS.get(operation, [(404, "not-found")] * 2)[n])["errors"] == []
        if operation in SEEN_BY_OTHERS:
            refused(foreign, *(SEEN_BY_OTHERS[operation] if key == stranger else (foreign.status_code, None)))
        else:
            assert_same(foreign, missing)

    assert door.place.dump() == before
    assert door.ask(wish.method, wish.path, wish.by, wish.body).status_code == wish.status


def assert_same(one: httpx.Response, other: httpx.Response) -> None:
    """Check that two answers cannot be told from each other."""
    assert (one.status_code, one.content) == (other.status_code, other.content)
    assert one.headers.keys() == other.headers.keys()


def test_a_version_of_anothers_cannot_be_offered_and_a_product_not_described(door: Door) -> None:
    stranger = door.of(door.place.a_member())
    wish = WRITES["draft_listing"](door)

    foreign = door.ask(wish.method, wish.path, stranger, wish.body)
    missing = door.ask(wish.method, wish.path, stranger, wish.body | {"version_id": f"ver_{UNKNOWN}"})

    refused(foreign, 404)
    assert_same(foreign, missing)


@pytest.mark.parametrize("state", [state for state in MemberState if state is not MemberState.ACTIVE])
def test_a_seller_cannot_tell_who_has_applied_from_whom_it_may_name_as_a_buyer(door: Door, state: MemberState) -> None:
    hidden, offer = door.place.a_member(state), door.place.a_listing()
    negotiated = terms(offer) | {"mode": "negotiated"}
    filed = terms(offer) | {"effective_on": "2026-03-02", "evidence": [a_sha256("contract")]}

    for path, body in (("/v1/trades", negotiated), ("/v1/filings", filed)):
        named = door.ask("POST", path, door.of(offer.owner), body | {"buyer_id": mbr(hidden.id)})
        missing = door.ask("POST", path, door.of(offer.owner), body | {"buyer_id": mbr(UNKNOWN)})
        problem = refused(missing, 422, "buyer-wrong")
        assert [fault["pointer"] for fault in problem["errors"]] == ["/buyer_id"]
        assert_same(named, missing)


def test_a_buyer_that_was_active_on_the_day_can_still_be_named_in_a_filing(door: Door) -> None:
    buyer, offer = door.place.a_member(), door.place.a_listing()
    body = terms(offer) | {"effective_on": "2026-03-02", "evidence": [a_sha256("contract")], "buyer_id": mbr(buyer.id)}
    door.place.wait(days=1)
    door.place.do(SuspendMember(buyer.id, "as it should be"), door.place.operator())

    later = door.ask("POST", "/v1/filings", door.of(offer.owner), body | {"effective_on": "2026-03-03"})
    own = door.ask(
        "POST",
        "/v1/filings",
        door.of(buyer),
        {name: body[name] for name in body if name != "buyer_id"} | {"effective_on": "2026-03-03"},
    )
    staff = door.ask(
        "POST",
        "/v1/auctions",
        door.operator,
        {name: body[name] for name in body if name != "evidence"} | {"effective_on": "2026-03-03"},
    )

    refused(later, 422, "buyer-wrong")
    refused(own, 409, "not-active")
    refused(staff, 409, "not-active")
    assert door.post("/v1/filings", door.of(offer.owner), body)["state"] == "filed"


def test_who_cannot_assess_cannot_tell_which_versions_there_are(door: Door) -> None:
    wish = WRITES["record_assessment"](door)
    suspended = door.place.a_member(MemberState.SUSPENDED, roles=("service_org",))

    for key in (door.of(door.place.a_member()), door.of(door.place.a_company()), door.of(suspended)):
        foreign, missing = (door.ask("POST", path, key, wish.body) for path in (wish.path, wish.of_unknown()))
        assert foreign.status_code in {409, 422}
        assert_same(foreign, missing)
    refused(door.ask(wish.method, wish.of_unknown(), wish.by, wish.body), 404, "not-found")


Look = Callable[[Door], tuple[str, str]]


def _statement(door: Door) -> tuple[str, str]:
    party = door.place.a_member()
    return f"/v1/members/{mbr(party.id)}/statement?from=2026-03-01&to=2026-03-02", door.of(party)


def _applicant(door: Door) -> tuple[str, str]:
    party = door.place.a_member(MemberState.UNDER_REVIEW)
    return f"/v1/members/{mbr(party.id)}", door.of(party)


def _product(door: Door) -> tuple[str, str]:
    owner = door.place.a_member()
    product_id, _ = door.place.a_version(owner)
    return f"/v1/products/{written_id(Prefix.PRODUCT, product_id)}", door.of(owner)


def _draft(door: Door) -> tuple[str, str]:
    offer = door.place.a_listing(state=ListingState.DRAFT)
    return f"/v1/listings/{lst(offer.id)}", door.of(offer.owner)


def _trade(door: Door) -> tuple[str, str]:
    sale = door.place.a_trade()
    return f"/v1/trades/{trd(sale.id)}", door.of(sale.buyer)


@pytest.mark.parametrize("look", [_statement, _applicant, _product, _draft, _trade])
def test_what_is_private_is_shown_to_its_own_company_staff_and_regulators(door: Door, look: Look) -> None:
    path, own = look(door)
    stranger = door.of(door.place.a_member())

    told = [door.get(path, key) for key in (own, door.operator, door.auditor, door.regulator)]
    for one in told:
        one.pop("looks_like", None)  # for operators alone
    foreign = door.ask("GET", path, stranger)
    unknown = re.sub(r"_[0-9]{12}", f"_{UNKNOWN}", path)
    malformed = re.sub(r"_[0-9]{12}", "_12", path)

    assert told[1:] == [told[1]] * 3
    refused(foreign, 404)
    for other in (unknown, malformed):
        assert_same(foreign, door.ask("GET", other, stranger))
        assert_same(foreign, door.ask("GET", other, door.operator))


def test_of_other_active_members_name_code_and_roles_are_shown(door: Door) -> None:
    party, looker = door.place.a_member(), door.place.a_member()
    suspended = door.place.a_member(MemberState.SUSPENDED)

    shown = door.get(f"/v1/members/{mbr(party.id)}", door.of(looker))
    listed = door.get("/v1/members", door.of(looker))["data"]
    own = door.get("/v1/members", door.of(suspended), state="suspended")["data"]

    assert {name for name, value in shown.items() if value is not None} == {
        "id",
        "uscc",
        "state",
        "legal_name",
        "roles",
    }
    assert [member["id"] for member in listed] == [mbr(party.id), mbr(looker.id)]
    assert listed[0] == shown
    assert listed[1]["address"] == "长沙市岳麓区"
    assert [member["id"] for member in own] == [mbr(suspended.id)]
    refused(door.ask("GET", f"/v1/members/{mbr(suspended.id)}", door.of(looker)), 404)


def test_a_company_that_left_and_came_back_sees_what_it_did_before(door: Door) -> None:
    sale = door.place.a_trade()
    buyer = door.of(sale.buyer)
    door.post(f"/v1/members/{mbr(sale.buyer.id)}/withdrawal", buyer, {"reason": "as it should be"})
    again = door.place.a_member(by=sale.buyer.by)

    assert again.id != sale.buyer.id
    assert [trade["id"] for trade in door.get("/v1/trades", buyer)["data"]] == [trd(sale.id)]
    assert door.get(f"/v1/members/{mbr(sale.buyer.id)}", buyer)["state"] == "withdrawn"


def test_a_company_that_has_not_applied_has_nothing_of_its_own(door: Door) -> None:
    sale = door.place.a_trade()
    newcomer = door.of(door.place.a_company())

    assert door.get("/v1/trades", newcomer) == door.get("/v1/products", newcomer) == {"next": None, "data": []}
    assert len(door.get("/v1/trades", door.of(sale.buyer))["data"]) == 1


def test_what_a_company_did_in_two_memberships_is_listed_in_order_page_by_page(door: Door) -> None:
    sale = door.place.a_trade()
    door.place.a_trade(buyer=sale.buyer, offer=sale.offer)
    for _ in range(2):
        door.place.a_trade(buyer=sale.seller)
    door.place.do(WithdrawMember(sale.seller.id, "as it should be"), sale.seller.by)
    again = door.place.a_member(by=sale.seller.by)
    door.place.a_trade(buyer=sale.buyer, offer=door.place.a_listing(again))
    company = door.of(sale.seller)

    trades = [trade["id"] for trade in door.get("/v1/trades", company)["data"]]
    products = [product["id"] for product in door.get("/v1/products", company)["data"]]

    assert (len(trades), len(products)) == (5, 2)
    for found, path in ((trades, "/v1/trades"), (products, "/v1/products")):
        assert found == sorted(found)
        for limit in (1, 2, 3):
            assert [row["id"] for row in door.all_of(path, company, limit)] == found
    assert len(door.all_of("/v1/trades", company, 1, side="buyer")) == 2
    assert len(door.all_of("/v1/trades", company, 1, side="seller", state="contracted")) == 3


def test_a_party_sees_its_own_reference_only(door: Door) -> None:
    wish = WRITES["create_trade"](door)
    trade = door.post(wish.path, wish.by, wish.body)["id"]
    path = f"/v1/trades/{trade}"
    seller_uscc = door.get(path, door.operator)["seller"]["uscc"]
    seller = door.token(Role.MEMBER, "Zhang", seller_uscc)

    assert door.get(path, wish.by)["buyer_ref"] == "PO-1"
    assert door.get(path, door.regulator)["buyer_ref"] == "PO-1"
    assert door.get(path, seller)["buyer_ref"] is None
    assert len(door.get("/v1/trades", wish.by, external_ref="PO-1")["data"]) == 1
    assert len(door.get("/v1/trades", door.auditor, external_ref="PO-1")["data"]) == 1
    assert door.get("/v1/trades", seller, external_ref="PO-1")["data"] == []


SHOWN = {"create_key", "read_person", "read_member_data"}
"""What shows something once: a secret, or what was looked at for a reason."""


def test_nothing_personal_is_ever_answered(door: Door) -> None:
    personal = {"张三", "0731-8888", "李四", "Zhang", "Wang"}
    wishes: list[Wish] = [make(door) for name, make in WRITES.items() if name not in SHOWN]
    answers = [door.ask(wish.method, wish.path, wish.by, wish.body) for wish in wishes]
    made = door.post("/v1/keys", door.operator, {"role": "member", "person": "李四", "uscc": a_uscc(77)})
    paths = ["/v1/members", "/v1/products", "/v1/listings", "/v1/trades", "/v1/summary"]
    paths += [
        f"/v1/{kind}/{row['id']}"
        for kind in ("members", "trades")
        for row in door.get(f"/v1/{kind}", door.operator)["data"]
    ]
    answers += [door.ask("GET", path, door.operator) for path in paths]

    assert {answer.status_code for answer in answers} <= {200, 201, 202}
    for answer in answers:
        assert not [value for value in personal if value in answer.text]
    assert set(made) == {"id", "role", "person", "state", "position", "recorded_at", "secret"}
    assert door.ask("GET", "/v1/members", made["secret"]).status_code == 200
    assert made["secret"] not in repr(door.place.dump())


def _mandate(door: Door) -> tuple[str, str]:
    wish = WRITES["end_mandate"](door)
    return wish.path.removesuffix("/end"), wish.by


# The whole table: operation × role × own, another's, missing

NAMED = sorted(name for name in CLOSED if "{id}" in OPERATIONS[name][1])
LOOKS: dict[str, Look] = {
    "show_statement": _statement,
    "show_member": _applicant,
    "show_product": _product,
    "show_listing": _draft,
    "show_trade": _trade,
    "show_mandate": _mandate,
    "show_queue": lambda door: ("/v1/queues/filings", door.operator),
}
SHOWN_STRANGER = {"delist_listing": 403, "record_assessment": 409}
"""What a stranger is told of what it may see (`SEEN`), but not change."""


def wish_of(door: Door, operation: str) -> Wish:
    """Give a request of this operation that passes; those that read, too."""
    if operation in WRITES:
        return WRITES[operation](door)
    path, own = LOOKS[operation](door)
    return Wish(path, {}, own, method="GET")


def asked(door: Door, wish: Wish, path: str, by: str, **more: Any) -> tuple[httpx.Response, list[str]]:
    """Ask without a trace; give the answer, and the statements that it took, without their values."""
    with pytest.MonkeyPatch.context() as patch:
        statements: list[str] = []

        def traced(path: Path) -> sqlite3.Connection:
            connection = connect_sqlite(path)
            connection.set_trace_callback(statements.append)
            return connection

        connect = asyncpg.connect

        async def logged(*args: Any, **settings: Any) -> Any:
            connection = await connect(*args, **settings)
            connection.add_query_logger(lambda asked: statements.append(f"{asked.query} {asked.args}"))
            return connection

        patch.setattr("exchange.journal.sqlite.connect_sqlite", traced)
        patch.setattr("exchange.journal.postgres.asyncpg.connect", logged)
        with recorded() as read:
            dry: dict[str, Any] = {"dry_run": "true"} if wish.method != "GET" else {}
            body = wish.body if wish.method != "GET" else None
            answer = door.ask(wish.method, path, by, body, without_key=True, **dry, **more)
    told = [re.sub(r"'[^']*'|[0-9]+", "?", statement) for statement in statements]
    return answer, told + [statement.text for statement in read if "api_key" not in statement.text]


@pytest.mark.parametrize("operation", NAMED)
def test_each_role_gets_for_its_own_for_anothers_and_for_what_there_is_not_what_the_table_says(
    sqlite_door: Door, operation: str
) -> None:
    door, access = sqlite_door, ACCESS[operation]
    wish = wish_of(door, operation)
    missing = re.sub(r"(?<=/)[a-z]{3}_[0-9]{12}|(?<=/queues/)[a-z]+", f"mbr_{UNKNOWN}", wish.path)
    newcomer, stranger = door.of(door.place.a_company()), door.of(door.place.a_member())
    keys = everybody(door) | {Role.MEMBER: stranger}
    before = door.place.dump()

    for role, key in keys.items():
        there, not_there = (asked(door, wish, path, key)[0] for path in (wish.path, missing))
        if role not in access.roles:
            assert refused(there, 403, "role-lacks-route") == refused(not_there, 403, "role-lacks-route")
        elif role == Role.MEMBER and access.whose is Whose.OWN:
            assert not_there.status_code == 404
            assert_same(there, not_there)
        elif role == Role.MEMBER and operation in SHOWN_STRANGER:
            assert there.status_code == SHOWN_STRANGER[operation]
        else:
            assert not_there.status_code == 404
            assert there.status_code == 404 if role == Role.MEMBER else there.status_code not in {401, 404}
    if Role.MEMBER in access.roles and operation not in SHOWN_STRANGER:
        assert asked(door, wish, wish.path, newcomer)[0].status_code == 404
    assert asked(door, wish, wish.path, wish.by)[0].status_code == 200
    assert door.place.dump() == before


def of_nothing(wish: Wish) -> Wish:
    """Give the same request for an object that there is not."""
    return replace(wish, path=re.sub(r"_[0-9]{12}", f"_{UNKNOWN}", wish.path))


def assert_same_work(door: Door, foreign: Wish, missing: Wish, *keys: str) -> None:
    """Check that what is another's takes the same statements as what there is not, and gives the same answer."""
    for key in keys:
        (there, took), (not_there, expected) = (asked(door, wish, wish.path, key) for wish in (foreign, missing))
        assert took
        assert took == expected
        assert_same(there, not_there)


@pytest.mark.parametrize("operation", [name for name in NAMED if ACCESS[name].whose is Whose.OWN])
def test_what_is_anothers_takes_the_same_statements_as_what_there_is_not(database_url: str, operation: str) -> None:
    with opened(database_url) as door:
        wish = wish_of(door, operation)
        again = door.place.a_member(MemberState.WITHDRAWN)
        keys = [
            door.of(door.place.a_member()),
            door.of(door.place.a_company()),
            door.of(door.place.a_member(by=again.by)),
        ]

        assert_same_work(door, wish, of_nothing(wish), *keys)


def _hidden_listing(name: str, **more: Any) -> Callable[[Door], tuple[Wish, Wish]]:
    def wishes(door: Door) -> tuple[Wish, Wish]:
        wish, offer = WRITES[name](door), door.place.a_listing(state=ListingState.DRAFT)
        body = {key: value for key, value in wish.body.items() if key != "buyer_id"} | more
        foreign, missing = ({"listing_id": lst(number)} for number in (offer.id, UNKNOWN))
        return replace(wish, body=body | foreign, by=""), replace(wish, body=body | missing)

    return wishes


def _applicant_named(name: str, field: str, **more: Any) -> Callable[[Door], tuple[Wish, Wish]]:
    def wishes(door: Door) -> tuple[Wish, Wish]:
        wish, hidden = WRITES[name](door), door.place.a_member(MemberState.UNDER_REVIEW)
        foreign, missing = ({field: mbr(number)} for number in (hidden.id, UNKNOWN))
        return replace(wish, body=wish.body | more | foreign), replace(wish, body=wish.body | more | missing)

    return wishes


def _hidden_version(door: Door) -> tuple[Wish, Wish]:
    wish = replace(WRITES["draft_listing"](door), by="")
    return wish, replace(wish, body=wish.body | {"version_id": f"ver_{UNKNOWN}"})


def _unassessed(door: Door) -> tuple[Wish, Wish]:
    wish = replace(WRITES["record_assessment"](door), by="")
    return wish, of_nothing(wish)


def _private(path: str, look: Look) -> Callable[[Door], tuple[Wish, Wish]]:
    def wishes(door: Door) -> tuple[Wish, Wish]:
        wish = Wish(look(door)[0] + path, dict(REASON), "", method="POST" if path else "GET")
        return wish, of_nothing(wish)

    return wishes


@pytest.mark.parametrize(
    "wishes",
    [
        pytest.param(_hidden_version, id="a listing of anothers version"),
        pytest.param(_unassessed, id="an assessment by who cannot assess"),
        pytest.param(_hidden_listing("create_trade"), id="a trade in a draft"),
        pytest.param(_hidden_listing("file_trade"), id="a filing in a draft"),
        pytest.param(_hidden_listing("file_trade", effective_on="2026-03-01"), id="an older filing in a draft"),
        pytest.param(
            _applicant_named("file_trade", "buyer_id", effective_on="2026-03-01"), id="a filing that names an applicant"
        ),
        pytest.param(_applicant_named("grant_mandate", "agent_id"), id="a mandate for an applicant"),
        pytest.param(_private("/delisting", _draft), id="the end of a draft"),
        pytest.param(_private("", _draft), id="a look at a draft"),
        pytest.param(_private("", _applicant), id="a look at an applicant"),
    ],
)
def test_what_is_not_shown_to_all_takes_the_same_statements_as_what_there_is_not(
    database_url: str, wishes: Callable[[Door], tuple[Wish, Wish]]
) -> None:
    with opened(database_url) as door:
        foreign, missing = wishes(door)
        keys = [foreign.by, door.of(door.place.a_member()), door.of(door.place.a_company())]

        assert_same_work(door, foreign, missing, *filter(None, keys))
