"""What can be done about personal data: it is looked at for a reason, and erased. Events hold commitments to it, which stay."""

from dataclasses import dataclass
from typing import ClassVar, Final

from exchange.access.commands import BY_PERSON
from exchange.access.tables import ApiKey, KeyState, Person
from exchange.identifiers import MemberId, PersonId, Prefix, written_id
from exchange.journal.commands import Command, Result
from exchange.journal.work import Need, Needs, UnitOfWork
from exchange.members.commands import OPERATOR_ONLY, ReasonWrong, check_reason
from exchange.members.standing import BY_MEMBER, party_needed
from exchange.members.tables import Member, PersonalDatum
from exchange.problems import Conflict, Fault

REASON_AT_LEAST: Final = 4
"""So many characters, in Chinese a short phrase: less says nothing."""


class KeysLive(Conflict):
    """The person has a live key."""

    remedy = "Revoke the person's keys first: nobody acts without a name."


class ErasedAlready(Conflict):
    """It has been erased already."""

    remedy = "Nothing is left to erase."


def _check_reason(reason: str) -> None:
    check_reason(reason)
    if len(reason.strip()) < REASON_AT_LEAST:
        rule = f"must have at least {REASON_AT_LEAST} characters"
        raise ReasonWrong("A reason is needed that says something.", Fault("/reason", rule))


@dataclass(frozen=True, slots=True)
class _OfPerson(Command):
    """Something about a person's data, with a reason."""

    allowed: ClassVar = OPERATOR_ONLY

    person_id: PersonId
    reason: str

    def __post_init__(self) -> None:
        """Check the reason. Raises ReasonWrong."""
        _check_reason(self.reason)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the person and the person's keys."""
        yield [Need(Person, self.person_id), Need(ApiKey, self.person_id, BY_PERSON)]

    def _person(self, work: UnitOfWork) -> Person:
        person = work.get(Person, self.person_id)
        if person.name is None:
            raise ErasedAlready("The person's name was erased before.")
        return person


class ReadPerson(_OfPerson):
    """Say for what a person's name is looked at. The log keeps that, never the name."""

    __slots__ = ()

    def decide(self, work: UnitOfWork) -> Result:
        """Tell it. Raises NotFound, ErasedAlready."""
        person = self._person(work)
        work.tell("person.read", reason=self.reason)
        return {"id": written_id(Prefix.PERSON, person.id)}


class ErasePerson(_OfPerson):
    """Erase a person's name, with the salt without which the commitment says nothing. What the person did stays under the number."""

    __slots__ = ()

    def decide(self, work: UnitOfWork) -> Result:
        """Erase it. Raises NotFound, ErasedAlready, KeysLive."""
        person = self._person(work)
        if any(key.state is KeyState.ACTIVE for key in work.all(ApiKey, self.person_id, BY_PERSON)):
            raise KeysLive("A key of the person's is live.")
        work.change(person, name=None, salt=None)
        work.tell("person.erased", reason=self.reason)
        return {"id": written_id(Prefix.PERSON, person.id), "state": "erased"}


@dataclass(frozen=True, slots=True)
class _OfMember(Command):
    """Something about the personal data of a membership, with a reason."""

    allowed: ClassVar = OPERATOR_ONLY

    member_id: MemberId
    reason: str

    def __post_init__(self) -> None:
        """Check the reason. Raises ReasonWrong."""
        _check_reason(self.reason)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the member and its personal data."""
        yield [*party_needed(self.member_id), Need(PersonalDatum, self.member_id, BY_MEMBER)]

    def _data(self, work: UnitOfWork) -> list[PersonalDatum]:
        member = work.get(Member, self.member_id)
        work.met(member.changed_at)
        data = [datum for datum in work.all(PersonalDatum, member.id, BY_MEMBER) if datum.value is not None]
        if not data:
            raise ErasedAlready("The member's personal data was erased before.")
        return data


class ReadMemberData(_OfMember):
    """Say for what a member's legal representative and contact are looked at. The log keeps that, never what they are."""

    __slots__ = ()

    def decide(self, work: UnitOfWork) -> Result:
        """Tell it. Raises NotFound, ErasedAlready."""
        self._data(work)
        work.tell("member.data_read", self.member_id, reason=self.reason)
        return {"id": written_id(Prefix.MEMBER, self.member_id)}


class EraseMemberData(_OfMember):
    """Erase a member's legal representative and contact, the former ones too. Code, name and address of the company stay."""

    __slots__ = ()

    def decide(self, work: UnitOfWork) -> Result:
        """Erase them. Raises NotFound, ErasedAlready."""
        for datum in self._data(work):
            work.change(datum, value=None, salt=None)
        work.tell("member.data_erased", self.member_id, reason=self.reason)
        return {"id": written_id(Prefix.MEMBER, self.member_id)}
