"""Members whose names look like another's: accepted, and shown to who reviews them."""

import pytest
from doors import Door, application, mbr
from hypothesis import given
from hypothesis import strategies as st

from exchange.listings.states import ListingState
from exchange.members.names import looks, skeleton


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("工商数据", "エ商数据"),
        ("Hunan Data", "\u041dunan D\u0430ta"),
        ("Hunan AI", "Hunan Al"),
        ("Modern", "MODEM"),
        ("Ｄata", "data"),
        ("湘 数", "湘数"),
    ],
)
def test_names_that_look_the_same_have_a_look_in_common(one: str, other: str) -> None:
    assert looks(one) & looks(other)


@pytest.mark.parametrize(("one", "other"), [("湖南数据", "湖北数据"), ("Hunan", "Human"), ("数据1", "数据2")])
def test_names_that_look_different_have_none(one: str, other: str) -> None:
    assert not looks(one) & looks(other)


@given(st.text())
def test_the_skeleton_of_a_skeleton_is_itself(text: str) -> None:
    assert skeleton(skeleton(text)) == skeleton(text)


def test_a_member_that_looks_like_another_is_accepted_and_the_operator_is_told(door: Door) -> None:
    key = door.operator
    names = [("工商数据有限公司", "工商"), ("エ商数据有限公司", "湘数"), ("湖南别的有限公司", "别的")]
    first, second, third = (
        door.post(
            "/v1/members",
            key,
            application(number) | {"legal_name": legal, "short_name": short, "group_parent_uscc": None},
        )["id"]
        for number, (legal, short) in enumerate(names, 81)
    )

    assert door.get(f"/v1/members/{first}", key)["looks_like"] == [second]
    assert door.get(f"/v1/members/{second}", key)["looks_like"] == [first]
    assert door.get(f"/v1/members/{third}", key)["looks_like"] == []
    for other in (door.auditor, door.regulator):
        assert door.get(f"/v1/members/{first}", other)["looks_like"] is None


def test_a_company_does_not_look_like_itself_and_old_names_count(door: Door) -> None:
    place, key = door.place, door.operator
    old, new = place.a_member(), place.a_member()
    was = door.get(f"/v1/members/{mbr(old.id)}", key)["legal_name"]
    reason = {"reason": "renamed", "region_code": None, "group_parent_uscc": None, "short_name": None}
    door.post(
        f"/v1/members/{mbr(old.id)}/change",
        key,
        reason | {"legal_name": "全新有限公司", "leaves_group": False, "effective_on": None},
    )
    assert mbr(new.id) not in door.get(f"/v1/members/{mbr(old.id)}", key)["looks_like"]

    door.post(
        f"/v1/members/{mbr(new.id)}/change",
        key,
        reason | {"legal_name": was, "leaves_group": False, "effective_on": None},
    )

    assert door.get(f"/v1/members/{mbr(old.id)}", key)["looks_like"] == [mbr(new.id)]
    assert door.get(f"/v1/members/{mbr(old.id)}", door.of(old))["looks_like"] is None


def test_the_review_queue_and_the_list_flag_who_looks_like_another_to_operators_alone(door: Door) -> None:
    names = [("工商数据有限公司", "工商"), ("エ商数据有限公司", "湘数"), ("湖南别的有限公司", "别的")]
    first, second, third = (applied(door, number, *both) for number, both in enumerate(names, 81))
    flags = {first: [second], second: [first], third: []}

    for path, name in (("/v1/queues/applications", "subject"), ("/v1/members", "id")):
        shown = door.get(path, door.operator)["data"]
        assert {one[name]: one["looks_like"] for one in shown} == flags
        paged = door.all_of(path, door.operator, 1)
        assert {one[name]: one["looks_like"] for one in paged} == flags
        for other in (door.auditor, door.regulator):
            assert {one["looks_like"] for one in door.get(path, other)["data"]} == {None}
    own = door.of(door.place.a_member())
    assert {one["looks_like"] for one in door.get("/v1/members", own)["data"]} == {None}


def test_what_waits_and_is_no_member_is_not_flagged(door: Door) -> None:
    door.place.a_listing(state=ListingState.IN_REVIEW)

    assert [one["looks_like"] for one in door.get("/v1/queues/listings", door.operator)["data"]] == [None]
    assert door.get("/v1/queues/applications", door.operator)["data"] == []
    assert door.get("/v1/members?state=expelled", door.operator)["data"] == []


def test_the_flag_names_the_oldest_company_for_each_name_and_never_ones_own_former_membership(door: Door) -> None:
    number = applied(door, 81, "工商数据有限公司", "工商")
    door.post(f"/v1/members/{number}/review", door.operator, {"reason": "as it should be"})
    door.post(f"/v1/members/{number}/rejection", door.operator, {"reason": "as it should be"})
    again = applied(door, 81, "工商数据有限公司", "工商", key="again")
    assert flagged(door) == {again: []}

    same = [applied(door, n, "エ商数据有限公司", f"湘数{n}") for n in (82, 83)]

    assert flagged(door) == {again: [same[0]], same[0]: [number], same[1]: [number]}


def flagged(door: Door) -> dict[str, list[str]]:
    """Give the flags of the queue of applications."""
    shown = door.get("/v1/queues/applications", door.operator)["data"]
    return {one["subject"]: one["looks_like"] for one in shown}


def applied(door: Door, number: int, legal: str, short: str, key: str | None = None) -> str:
    """Let a company of these names apply; give the member's id."""
    names = {"legal_name": legal, "short_name": short, "group_parent_uscc": None}
    made: str = door.post("/v1/members", door.operator, application(number) | names, status=201, key=key)["id"]
    return made
