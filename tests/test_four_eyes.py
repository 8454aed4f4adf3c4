"""Four eyes: proposed by one person, approved by another while it is fresh, and neither of them acts for whom it concerns."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from exchanges import Exchange, Party, Sale

from exchange.access.commands import RevokeKey
from exchange.access.proposals import OwnInterest, OwnProposal, ProposalStale
from exchange.access.tables import Proposal, Role
from exchange.identifiers import PersonId
from exchange.journal.callers import Caller
from exchange.members.commands import (
    ApproveExpulsion,
    ApproveReadmission,
    ChangeMember,
    ProposeExpulsion,
    ProposeReadmission,
)
from exchange.members.personal import ErasePerson
from exchange.members.states import MemberState
from exchange.problems import Forbidden
from exchange.trades.commands import ApproveReversal, CorrectTrade, ProposeReversal

WHY = "as it should be"
Case = Callable[[Exchange], tuple[Any, Any, list[Party]]]


@pytest.fixture
def place(sqlite_url: str) -> Iterator[Exchange]:
    with Exchange.at(sqlite_url) as made:
        yield made


def reversal(place: Exchange) -> tuple[Any, Any, list[Party]]:
    sale: Sale = place.a_trade()
    return ProposeReversal(sale.id, WHY), ApproveReversal(sale.id, WHY), [sale.buyer, sale.seller]


def expulsion(place: Exchange) -> tuple[Any, Any, list[Party]]:
    party = place.a_member()
    return ProposeExpulsion(party.id, WHY), ApproveExpulsion(party.id, WHY), [party]


def readmission(place: Exchange) -> tuple[Any, Any, list[Party]]:
    party = place.a_member(MemberState.EXPELLED)
    return ProposeReadmission(party.id, WHY), ApproveReadmission(party.id, WHY), [party]


CASES = pytest.mark.parametrize("case", [reversal, expulsion, readmission])


@CASES
def test_who_acts_for_a_company_that_it_concerns_neither_proposes_nor_approves(place: Exchange, case: Case) -> None:
    propose, approve, parties = case(place)
    for number, party in enumerate(parties):
        name = f"Gao {number}"
        place.a_key(Role.MEMBER, name, party.uscc)
        both = place.a_key(Role.OPERATOR, name)
        with pytest.raises(OwnInterest):
            place.do(propose, both)
    place.do(propose, place.operator())
    for number in range(len(parties)):
        with pytest.raises(OwnInterest):
            place.do(approve, place.a_key(Role.OPERATOR, f"Gao {number}"))
    place.do(approve, place.second_operator())


@CASES
def test_the_system_itself_proposes_nothing(place: Exchange, case: Case) -> None:
    propose, _, _ = case(place)

    with pytest.raises(Forbidden):
        place.do(propose, Caller.SYSTEM)


@CASES
def test_who_acts_for_another_company_may(place: Exchange, case: Case) -> None:
    propose, approve, _ = case(place)
    place.a_key(Role.MEMBER, "Gao", place.a_member().uscc)

    place.do(propose, place.a_key(Role.OPERATOR, "Gao"))
    place.do(approve, place.second_operator())


def test_whose_name_is_erased_is_nobody_any_more(place: Exchange) -> None:
    propose, _, [party] = expulsion(place)
    key = place.a_key(Role.MEMBER, "Gao", party.uscc)
    operator = place.a_key(Role.OPERATOR, "Gao")
    revoke(place, key)

    first, second = place.batch(
        [(ErasePerson(PersonId(key.person_id or 0), WHY), place.operator(), None), (propose, operator, None)]
    )

    assert [type(one).__name__ for one in (first, second)] == ["Answer", "Answer"]


def revoke(place: Exchange, key: Any) -> None:
    place.do(RevokeKey(key.key_id), place.operator())


@CASES
def test_one_does_not_approve_ones_own_and_both_persons_are_recorded(place: Exchange, case: Case) -> None:
    propose, approve, _ = case(place)
    proposer, approver = place.operator(), place.second_operator()
    place.do(propose, proposer)

    with pytest.raises(OwnProposal):
        place.do(approve, place.a_key(Role.OPERATOR, "Li"))
    place.do(approve, approver)

    newest = max(place.records(Proposal), key=lambda one: one.id)
    assert (newest.proposed_by, newest.approved_by) == (proposer.person_id, approver.person_id)


@CASES
@pytest.mark.parametrize(("days", "fits"), [(7, True), (8, False)])
def test_it_is_approved_within_seven_days_or_not_at_all(place: Exchange, case: Case, days: int, fits: bool) -> None:
    propose, approve, _ = case(place)
    place.do(propose, place.operator())
    place.wait(days=days)

    if fits:
        place.do(approve, place.second_operator())
    else:
        with pytest.raises(ProposalStale):
            place.do(approve, place.second_operator())


def test_a_proposal_goes_stale_when_its_subject_changes(place: Exchange) -> None:
    propose, approve, _ = reversal(place)
    place.do(propose, place.operator())
    place.do(CorrectTrade(propose.trade_id, "purpose", "Training two models", WHY), place.operator())
    with pytest.raises(ProposalStale):
        place.do(approve, place.second_operator())

    propose, approve, [party] = expulsion(place)
    place.do(propose, place.operator())
    place.do(ChangeMember(party.id, WHY, short_name="Changed"), place.operator())
    with pytest.raises(ProposalStale):
        place.do(approve, place.second_operator())
