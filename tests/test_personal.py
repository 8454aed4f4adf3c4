"""Personal data: looked at for a reason that the log keeps, erased without a trace of what it was, and never in what is told."""

import pytest
from commandline import CommandLine
from doors import Door, application, mbr, refused
from exchanges import Exchange

from exchange.access.callers import secret_hash, written_secret
from exchange.access.commands import CreateKey, JustErased, RevokeKey
from exchange.access.tables import ApiKey, Person, Role
from exchange.identifiers import KeyId, PersonId, Prefix, written_id
from exchange.journal.tables import Event, Idempotency
from exchange.members.commands import ReasonWrong
from exchange.members.personal import ErasedAlready, EraseMemberData, ErasePerson, KeysLive, ReadPerson
from exchange.members.tables import PersonalDatum
from exchange.regulator import integrity

NAME = "欧阳某某"
FOR = "answering the person's own request"


def prs(number: int | None) -> str:
    return written_id(Prefix.PERSON, number or 0)


def test_a_name_is_looked_at_once_for_each_reason_and_the_log_keeps_the_reason_alone(door: Door) -> None:
    company = door.place.a_company(person=NAME)
    path = f"/v1/persons/{prs(company.person_id)}/readings"

    first = door.ask("POST", path, door.operator, {"reason": FOR}, key="one")
    again = door.ask("POST", path, door.operator, {"reason": FOR}, key="one")

    assert first.json()["data"] == {"organisation": company.uscc, "name": NAME}
    assert first.headers["cache-control"] == again.headers["cache-control"] == "no-store"
    assert "data" not in again.json()
    assert again.headers["idempotency-replayed"] == "true"
    leaf = door.place.leaves()[-1]
    assert (leaf["kind"], leaf["facts"], leaf["rows"]) == ("person.read", {"reason": FOR}, [])
    assert NAME not in "".join(event.leaf for event in door.place.records(Event))
    assert NAME not in "".join(one.answer for one in door.place.records(Idempotency))


def test_what_is_personal_of_a_member_is_looked_at_for_a_reason_which_the_member_sees(door: Door) -> None:
    party = door.place.a_member()
    told = door.post(f"/v1/members/{mbr(party.id)}/readings", door.operator, {"reason": FOR})

    assert told["data"] == {"legal_representative": "张三", "contact": "0731-8888"}
    event = door.get("/v1/events", door.of(party))["data"][-1]
    assert (event["kind"], event["facts"]) == ("member.data_read", {"reason": FOR})


@pytest.mark.parametrize("reason", ["x", "   ", "查看."])
def test_a_look_needs_a_reason_that_says_something(door: Door, reason: str) -> None:
    company, key = door.place.a_company(), door.operator
    before = door.place.dump()

    answer = door.ask("POST", f"/v1/persons/{prs(company.person_id)}/readings", key, {"reason": reason})

    assert [fault["pointer"] for fault in refused(answer, 422, "reason-wrong")["errors"]] == ["/reason"]
    assert door.place.dump() == before


def test_a_dry_run_shows_nothing(door: Door) -> None:
    company = door.place.a_company(person=NAME)
    path = f"/v1/persons/{prs(company.person_id)}/readings?dry_run=true"

    answer = door.ask("POST", path, door.operator, {"reason": FOR})

    assert answer.status_code == 200
    assert NAME not in answer.text


def test_an_erased_name_is_nowhere_and_what_the_person_did_stays(door: Door) -> None:
    place = door.place
    company = place.a_company(person=NAME)
    door.ask("POST", "/v1/members", door.of(company, NAME), application() | {"uscc": company.uscc})
    path = f"/v1/persons/{prs(company.person_id)}/data"

    refused(door.ask("DELETE", path, door.operator, {"reason": FOR}), 409, "keys-live")
    for key in [one.id for one in place.records(ApiKey) if one.person_id == company.person_id]:
        place.do(RevokeKey(key), place.operator())
    commitment = next(one.name_commitment for one in place.records(Person) if one.id == company.person_id)
    assert door.ask("DELETE", path, door.operator, {"reason": FOR}).json()["state"] == "erased"

    [row] = [one for one in place.records(Person) if one.id == company.person_id]
    assert (row.name, row.salt, row.name_commitment) == (None, None, commitment)
    assert NAME not in repr(place.dump())
    assert [finding for finding in place.read(integrity.check) if finding.offending] == []
    refused(door.ask("DELETE", path, door.operator, {"reason": FOR}), 409, "erased-already")
    refused(door.ask("POST", path.replace("data", "readings"), door.operator, {"reason": FOR}), 409, "erased-already")
    events = door.get("/v1/events", door.operator, person=prs(company.person_id))["data"]
    assert {event["person"] for event in events} == {prs(company.person_id)}


def test_a_member_is_erased_with_all_that_was_ever_given(door: Door) -> None:
    party = door.place.a_member()
    path = f"/v1/members/{mbr(party.id)}"

    assert door.ask("DELETE", f"{path}/data", door.operator, {"reason": FOR}).status_code == 200

    assert {(one.value, one.salt) for one in door.place.records(PersonalDatum)} == {(None, None)}
    assert [finding for finding in door.place.read(integrity.check) if finding.offending] == []
    for method, what in (("DELETE", "data"), ("POST", "readings")):
        refused(door.ask(method, f"{path}/{what}", door.operator, {"reason": FOR}), 409, "erased-already")


def test_a_person_of_the_same_name_is_another_person_after_an_erasure(sqlite_url: str) -> None:
    with Exchange.at(sqlite_url) as place:
        operator = place.operator()
        place.do(CreateKey(Role.AUDITOR, NAME, "e" * 64), operator)
        first = place.position
        place.do(RevokeKey(first), operator)  # type: ignore[arg-type]  # a key's number is its position

        outcomes = place.batch(
            [
                (ErasePerson(PersonId(first), FOR), operator, None),
                (CreateKey(Role.AUDITOR, NAME, "f" * 64), operator, None),
            ]
        )
        assert type(outcomes[1]) is JustErased
        place.do(CreateKey(Role.AUDITOR, NAME, "f" * 64), operator)

        assert sorted((one.id, one.name) for one in place.records(Person) if one.id >= first) == [
            (first, None),
            (place.position, NAME),
        ]


def test_only_who_has_a_name_can_be_erased(sqlite_url: str) -> None:
    with Exchange.at(sqlite_url) as place:
        company = place.a_company()
        assert company.person_id is not None
        with pytest.raises(KeysLive):
            place.do(ErasePerson(company.person_id, FOR), place.operator())
        with pytest.raises(ReasonWrong):
            ReadPerson(company.person_id, "abc")
        party = place.a_member()
        place.do(EraseMemberData(party.id, FOR), place.operator())
        with pytest.raises(ErasedAlready):
            place.do(EraseMemberData(party.id, FOR), place.operator())


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sqlite_url: str) -> CommandLine:
    return CommandLine(monkeypatch, capsys, sqlite_url)


def test_the_command_line_erases_persons_and_members(line: CommandLine, sqlite_url: str) -> None:
    secret = written_secret(b"\x01" * 32)
    with Exchange.at(sqlite_url) as place:
        party, company = place.a_member(), place.a_company(person=NAME)
        place.do(RevokeKey(KeyId(company.key_id or 0)), place.operator())
        place.do(CreateKey(Role.OPERATOR, "Li", secret_hash(secret) or ""), place.operator())
    line.act_as(secret)
    why = ("--reason", FOR)

    assert "is erased" in line.done("erase", prs(company.person_id), *why)
    assert "is erased" in line.done("erase", mbr(party.id), *why)

    assert "erased already" in line.refused(6, "erase", prs(company.person_id), *why)
    assert "no such thing" in line.refused(5, "erase", prs(999_999), *why)
    assert "prs_" in line.refused(3, "erase", "key_000000000042", *why)
    line.done("verify", "--replay")
    with Exchange.at(sqlite_url) as place:
        assert not [personal for personal in (NAME, "张三") if personal in repr(place.dump())]
