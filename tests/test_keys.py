"""Keys: what they are restricted to, how they are rotated, who sees and makes them, and that none is found anywhere in what is stored."""

import asyncio
import subprocess
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from doors import OPERATIONS, WRITES, Door, Wish, mbr, refused
from exchanges import Exchange, a_uscc, number_of
from test_api_access import nowhere
from test_backup import pg_dump

from exchange.access.callers import caller_of, secret_hash
from exchange.access.commands import CreateKey, KeysEnough, RevokeKey
from exchange.access.queries import note_uses
from exchange.access.scopes import SCOPE_OF_FEATURE, ScopeMissing, scope_of
from exchange.access.tables import SCOPES_OF, ApiKey, KeyTerms, Role, Scope
from exchange.api.access import ACCESS
from exchange.database import Database
from exchange.identifiers import KeyId, PersonId
from exchange.journal.commands import Command
from exchange.members.commands import ApplyForMembership
from exchange.problems import Problem, Unauthenticated


def made(door: Door, by: str, **fields: Any) -> dict[str, Any]:
    """Make a key for another person of the company; give what is answered."""
    answer: dict[str, Any] = door.post("/v1/keys", by, {"role": "member", "person": "Sun"} | fields, status=201)
    return answer


def ask(door: Door, by: str, **fields: Any) -> Any:
    return door.ask("POST", "/v1/keys", by, {"role": "member", "person": "Sun"} | fields)


# Scopes


@pytest.mark.parametrize("scope", sorted(Scope))
def test_a_restricted_key_passes_where_its_scope_is_named_and_nowhere_else(sqlite_door: Door, scope: Scope) -> None:
    door = sqlite_door
    company = door.of(door.place.a_company())
    keys = {
        Role.MEMBER: made(door, company, scopes=[scope])["secret"],
        Role.OPERATOR: made(door, door.operator, role="operator", scopes=[scope])["secret"],
    }
    before = door.place.dump()

    for operation, access in ACCESS.items():
        method, path, _ = OPERATIONS[operation]
        for role, key in keys.items():
            if role in access.roles:
                answer = door.ask(method, nowhere(path), key, b"not even looked at")
                if access.scope is scope:
                    assert answer.json().get("type") != "/problems/scope-missing", (operation, role)
                else:
                    assert refused(answer, 403, "scope-missing")["detail"] == f"It needs the scope {access.scope}."
    assert door.place.dump() == before


def test_the_journal_too_refuses_what_a_key_is_not_for(sqlite_door: Door) -> None:
    place = sqlite_door.place
    person = place.operator()
    command = CreateKey(Role.OPERATOR, "Sun", "e" * 64, scopes=(Scope.TRADES,))
    key = place.do(command, person)
    restricted = caller_of(
        KeyId(number_of(key["id"])), Role.OPERATOR, None, PersonId(number_of(key["person"])), ["trades"]
    )

    with pytest.raises(ScopeMissing, match="the scope keys"):
        place.do(CreateKey(Role.AUDITOR, "Sun", "f" * 64), restricted)


def test_each_command_belongs_to_a_scope_which_a_key_of_each_of_its_roles_can_have() -> None:
    commands = set(_below(Command))  # type: ignore[type-abstract]  # only its subclasses are looked at

    assert len(commands) > 40
    for command in commands:
        if command.__module__.startswith("exchange."):
            scope = scope_of(command)
            assert scope is not None, f"{command.__name__}: SCOPE_OF_FEATURE has no row for its feature, nor it a scope"
            for role in command.allowed & set(Role):
                assert scope in SCOPES_OF[Role(role)]


def _below(kind: type[Command]) -> list[type[Command]]:
    return [one for sub in kind.__subclasses__() for one in (sub, *_below(sub))]


def test_what_belongs_to_no_scope_is_done_by_no_restricted_key(
    sqlite_door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = sqlite_door.place
    monkeypatch.delitem(SCOPE_OF_FEATURE, "members")
    scope_of.cache_clear()
    company = place.a_company()
    assert company.uscc is not None
    restricted = caller_of(company.key_id or KeyId(0), Role.MEMBER, company.uscc, PersonId(1), list(Scope))

    with pytest.raises(ScopeMissing, match="without scopes"):
        restricted.admit_to(ApplyForMembership)
    scope_of.cache_clear()


@pytest.mark.parametrize("scopes", [[], ["read", "read"], ["keys"]])
def test_scopes_are_those_of_the_role_each_once(sqlite_door: Door, scopes: list[str]) -> None:
    answer = ask(sqlite_door, sqlite_door.operator, role="auditor", scopes=scopes)

    assert [fault["pointer"] for fault in refused(answer, 422, "key-wrong")["errors"]] == ["/scopes"]


# No key makes one that may do what it may not


def test_nobody_makes_a_key_that_may_do_what_its_own_may_not(sqlite_door: Door) -> None:
    door = sqlite_door
    company, other = door.of(door.place.a_company()), door.place.a_company()
    narrow = made(door, company, scopes=["keys", "read"])["secret"]
    before = door.place.dump()

    for scopes in (None, ["trades"], ["keys", "read", "trades"]):
        refused(ask(door, narrow, scopes=scopes), 403, "scope-missing")
    for fields in ({"uscc": other.uscc}, {"uscc": a_uscc(4_711)}, {"role": "operator"}, {"role": "regulator"}):
        refused(ask(door, company, **fields), 403, "own-people-only")
    for staff in (door.auditor, door.regulator):
        refused(ask(door, staff), 403, "role-lacks-route")

    assert {name: rows for name, rows in door.place.dump().items() if name == "KeyTerms"} == {
        "KeyTerms": before["KeyTerms"]
    }
    assert made(door, narrow, scopes=["read"])["state"] == "active"


# Expiry


def test_a_key_opens_until_the_end_of_its_last_day_in_shanghai(door: Door) -> None:
    company = door.place.a_company()
    today: date = door.place.today
    key = made(door, door.of(company), expires_on=today.isoformat())["secret"]
    wish = WRITES["apply_for_membership"](door)
    mine = wish.body | {"uscc": company.uscc}
    assert door.ask("GET", "/v1/members", key).status_code == 200
    assert door.ask("POST", "/v1/members", key, mine, dry_run="true").status_code == 200

    door.place.wait(days=1)

    first = refused(door.ask("GET", "/v1/members", key), 401, "unauthenticated")
    assert refused(door.ask("POST", "/v1/members", key, mine), 401, "unauthenticated") == first
    refused(ask(door, door.of(company), expires_on=today.isoformat()), 422, "key-wrong")
    listed = door.get("/v1/keys", door.of(company))["data"]
    assert [(line["state"], line["expires_on"]) for line in listed][-1] == ("expired", today.isoformat())


def test_the_journal_too_refuses_a_key_whose_last_day_is_over(sqlite_door: Door) -> None:
    place = sqlite_door.place
    key = place.do(CreateKey(Role.OPERATOR, "Sun", "e" * 64, expires_on=place.today), place.operator())
    ids = KeyId(number_of(key["id"])), PersonId(number_of(key["person"]))
    late = caller_of(ids[0], Role.OPERATOR, None, ids[1], None, place.today)
    place.do(CreateKey(Role.AUDITOR, "Sun", "f" * 64), late)
    place.wait(days=1)

    with pytest.raises(Unauthenticated, match="expired"):
        place.do(CreateKey(Role.AUDITOR, "Sun", "d" * 64), late)


# Rotation


def test_a_company_that_is_not_admitted_yet_rotates_its_key_without_a_gap(door: Door) -> None:
    company = door.place.a_company()
    old = door.of(company, "Sun")
    [*_, first] = door.get("/v1/keys", old)["data"]

    new = made(door, old)
    assert door.ask("GET", "/v1/members", old).status_code == door.ask("GET", "/v1/members", new["secret"]).status_code
    refused(ask(door, new["secret"]), 409, "keys-enough")
    assert made(door, new["secret"], person="Qian")["person"] != new["person"] == first["person"]
    gone = door.ask("DELETE", f"/v1/keys/{first['id']}", new["secret"])

    assert gone.status_code == 200
    assert gone.json()["state"] == "revoked"
    made(door, new["secret"])
    wish = WRITES["apply_for_membership"](door)
    assert door.ask("POST", "/v1/members", new["secret"], wish.body | {"uscc": company.uscc}).status_code == 201
    refused(door.ask("DELETE", f"/v1/keys/{first['id']}", new["secret"]), 409, "revoked-already")


def test_keys_that_are_revoked_or_over_or_of_another_role_do_not_count(sqlite_door: Door) -> None:
    place = sqlite_door.place
    operator = place.operator()

    def key(n: int, role: Role = Role.AUDITOR, until: date | None = None) -> KeyId:
        told = place.do(CreateKey(role, "Sun", f"{n:064x}", expires_on=until), operator)
        return KeyId(number_of(told["id"]))

    key(900, until=place.today)
    second = key(901)
    with pytest.raises(KeysEnough):
        key(902)
    key(903, Role.OPERATOR)
    place.do(RevokeKey(second), operator)
    key(904)
    with pytest.raises(KeysEnough):
        key(905)
    place.wait(days=1)
    key(906)
    with pytest.raises(KeysEnough):
        key(907)


def test_two_at_once_make_no_third_key(door: Door) -> None:
    place = door.place
    person = [CreateKey(Role.AUDITOR, "Sun", f"{n:064x}") for n in range(800, 804)]

    outcomes = place.batch([(command, place.operator(), None) for command in person])

    assert [type(one) for one in outcomes if isinstance(one, Problem)] == [KeysEnough] * 2


# Self-service


def test_a_member_lists_its_own_companys_keys_and_operators_all_page_by_page(door: Door) -> None:
    company, other = door.place.a_company(), door.place.a_company()
    mine, theirs = door.of(company), door.of(other)
    new = made(door, mine, name="billing", scopes=["read"], expires_on="2030-12-31")

    own = door.get("/v1/keys", mine)["data"]

    assert own[-1] == {
        "id": new["id"],
        "name": "billing",
        "role": "member",
        "uscc": company.uscc,
        "person": new["person"],
        "scopes": ["read"],
        "expires_on": "2030-12-31",
        "state": "active",
        "last_used_at": None,
    }
    assert {line["uscc"] for line in own} == {company.uscc}
    assert {line["uscc"] for line in door.get("/v1/keys", theirs)["data"]} == {other.uscc}
    everything = door.get("/v1/keys", door.operator)["data"]
    assert [line["id"] for line in everything] == [line["id"] for line in door.all_of("/v1/keys", door.operator, 2)]
    assert len(everything) == len(door.place.records(ApiKey))
    assert [line["id"] for line in door.all_of("/v1/keys", mine, 1)] == [line["id"] for line in own]
    refused(door.ask("GET", "/v1/keys", door.auditor), 403, "role-lacks-route")


def test_an_event_does_not_tell_what_its_holder_calls_a_key(sqlite_door: Door) -> None:
    made(sqlite_door, sqlite_door.of(sqlite_door.place.a_company()), name="of Zhang San's laptop")

    assert [row.name for row in sqlite_door.place.records(KeyTerms)] == ["of Zhang San's laptop"]
    assert "laptop" not in repr(sqlite_door.place.leaves())


@pytest.mark.parametrize("sent", [b"", b"{}"])
def test_a_key_is_revoked_by_a_request_without_a_body_or_with_an_empty_one(sqlite_door: Door, sent: bytes) -> None:
    wish = WRITES["revoke_key"](sqlite_door)
    headers = {"Authorization": f"Bearer {wish.by}", "Idempotency-Key": "gone"}
    headers |= {"Content-Type": "application/json"} if sent else {}

    answer = sqlite_door.wait(sqlite_door.client.request("DELETE", wish.path, content=sent, headers=headers))

    assert answer.status_code == 200
    assert answer.json()["state"] == "revoked"


def test_what_is_sent_with_a_revocation_is_not_passed_over(sqlite_door: Door) -> None:
    wish = WRITES["revoke_key"](sqlite_door)
    headers = {"Authorization": f"Bearer {wish.by}", "Idempotency-Key": "gone"}

    answer = sqlite_door.wait(sqlite_door.client.request("DELETE", wish.path, content=b"{}", headers=headers))

    refused(answer, 415, "not-json-type")


def test_a_replay_says_that_the_secret_is_gone_and_how_to_rotate(door: Door) -> None:
    body = {"role": "member", "person": "Sun", "uscc": a_uscc(77)}
    first = door.ask("POST", "/v1/keys", door.operator, body, key="one")
    again = door.ask("POST", "/v1/keys", door.operator, body, key="one")

    assert again.headers["idempotency-replayed"] == "true"
    told = again.json()
    assert "revoke this key and make another" in told.pop("remedy")
    assert told == first.json() | {"secret": None}
    assert first.headers["cache-control"] == again.headers["cache-control"] == "no-store"


# Last used


def test_it_is_told_when_a_key_was_used_last(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    company = door.place.a_company()
    key = door.of(company, "Sun")
    door.get("/v1/members", key)
    uses = door.app.state.office.uses
    position = door.place.position

    door.wait(uses.write())

    [*_, line] = door.get("/v1/keys", key)["data"]
    assert line["last_used_at"] == door.place.now.isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert door.place.position == position
    monkeypatch.setattr("exchange.api.uses.WRITE_EVERY_S", 0.0)
    door.place.wait(hours=1)
    door.get("/v1/members", key)

    async def until_written() -> Any:
        writing = asyncio.create_task(uses.keep_writing())
        told = line
        while told["last_used_at"] == line["last_used_at"]:
            told = (await door.send("GET", "/v1/keys", key)).json()["data"][-1]
        writing.cancel()
        return told

    assert door.wait(until_written())["last_used_at"] > line["last_used_at"]


def test_the_latest_of_two_processes_stays(database_url: str) -> None:
    with Exchange.at(database_url) as exchange:
        key_id = exchange.operator().key_id
        assert key_id is not None
        moment = exchange.now

        async def note() -> None:
            database = Database(database_url)
            for instant in (moment, moment + timedelta(minutes=2), moment + timedelta(minutes=1)):
                await database.alter(note_uses([key_id], instant))
            await database.close()

        asyncio.run(note())
        with_uses = exchange.read(_used)

    assert with_uses == [(key_id, moment + timedelta(minutes=2))]


def _used(session: Any) -> list[tuple[int, Any]]:
    from sqlmodel import select

    from exchange.access.tables import KeyUse

    return [(row.key_id, row.used_at) for row in session.exec(select(KeyUse))]


def test_what_cannot_be_noted_now_is_noted_the_next_time(
    sqlite_door: Door, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = sqlite_door.of(sqlite_door.place.a_company())
    sqlite_door.get("/v1/members", key)
    uses = sqlite_door.app.state.office.uses
    noted = set(uses.noted)
    good = uses._database
    uses._database = Database(f"sqlite:///{tmp_path}/nothing/there.db")

    sqlite_door.wait(uses.write())

    assert uses.noted == noted
    assert "could not be written: OperationalError" in caplog.text
    uses._database = good
    sqlite_door.wait(uses.write())
    assert uses.noted == set()
    assert sqlite_door.get("/v1/keys", key)["data"][-1]["last_used_at"]


# Nothing of a key is anywhere


def test_no_key_that_was_ever_made_is_found_in_what_is_stored(door: Door) -> None:
    wish: Wish = WRITES["create_trade"](door)
    secrets = [made(door, door.operator, uscc=a_uscc(77), person=f"P{n}")["secret"] for n in range(3)]
    for secret in secrets:
        door.get("/v1/members", secret)
        door.ask("GET", f"/v1/members/{mbr(1)}?{secret}", secret)
    door.post(wish.path, wish.by, wish.body)
    issued = [*secrets, *door._tokens.values()]
    assert len(issued) >= 5
    database = door.place.database
    assert database is not None

    if database.path is not None:
        dump = b"".join(path.read_bytes() for path in database.path.parent.glob(f"{database.path.name}*"))
    else:
        url, password = database.without_password
        dump = subprocess.run([pg_dump(), url], check=True, capture_output=True, env=password).stdout

    for secret in issued:
        assert (secret_hash(secret) or "").encode() in dump, "the hash shows that the dump is of what was written"
        random, checksum = secret[4:-8], secret[-8:]
        assert secret.encode() not in dump
        assert random.encode() not in dump
        assert bytes.fromhex(random) not in dump
        assert (random[8:] + checksum).encode() not in dump
