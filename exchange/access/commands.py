"""What can be done about keys: they are made and revoked."""

from dataclasses import dataclass
from datetime import date
from typing import ClassVar, Final

from exchange.access.callers import KeyHolder, is_over
from exchange.access.scopes import ScopeMissing
from exchange.access.tables import OFFICE_ID, SCOPES_OF, ApiKey, KeyState, KeyTerms, Office, Person, Role, Scope
from exchange.identifiers import USCC_RULE, KeyId, PersonId, Prefix, is_uscc, written_id
from exchange.journal.callers import SYSTEM_ROLE
from exchange.journal.commands import Command, Result
from exchange.journal.events import SALT_LENGTH, value_commitment
from exchange.journal.work import Need, Needs, UnitOfWork
from exchange.problems import Conflict, Fault, Forbidden, Invalid, unseen
from exchange.texts import NAME_LIMIT, text_faults

ORGANISATIONS: Final = {Role.OPERATOR: "exchange", Role.AUDITOR: "exchange", Role.REGULATOR: "regulator"}
BY_NAME: Final = ("organisation", "name")
BY_SECRET: Final = ("secret_sha256",)
BY_PERSON: Final = ("person_id",)
LIVE_LIMIT: Final = 2
"""So many live keys a person has of each role: a new one is in use everywhere before the old one is revoked."""


class KeyWrong(Invalid):
    """This is no key that can be made."""

    remedy = "Give a role, a person's name and, for a member's key only, the company's uscc."


class OperatorsExist(Forbidden):
    """Only the first operator is made without a key."""

    remedy = "Set EXCHANGE_KEY to an operator's key."


class JustErased(Conflict):
    """A person of this name is being erased at this moment."""

    remedy = "Send the same request again: it is another person then."


class RevokedAlready(Conflict):
    """The key is revoked already."""

    remedy = "Nothing is left to do: it opens nothing any more."


class KeysEnough(Conflict):
    """The person has two live keys of this role."""

    remedy = "Revoke one of them: one is used while the other takes its place."


class OwnPeopleOnly(Forbidden):
    """A member makes keys for its own company's people."""

    remedy = "Leave `uscc` out or give your own, with the role `member`; an operator makes any other key."


@dataclass(frozen=True, slots=True)
class CreateKey(Command):
    """Make a key for a person. Who makes it chooses the secret and hands in its hash alone.

    Operators make keys for anybody, members for their own company's people; nobody makes one that may do what their own may not.
    """

    allowed: ClassVar = frozenset({Role.OPERATOR, Role.MEMBER, SYSTEM_ROLE})

    role: Role
    person_name: str
    secret_sha256: str
    uscc: str | None = None
    name: str | None = None
    scopes: tuple[Scope, ...] | None = None
    """What it is restricted to; null: all that its role does."""
    expires_on: date | None = None
    """The last day on which it opens anything."""

    def __post_init__(self) -> None:
        """Check the shape. Raises KeyWrong."""
        faults = text_faults([("person", self.person_name, NAME_LIMIT), ("name", self.name, NAME_LIMIT)])
        if self.scopes is not None and not _are_scopes_of(self.role, self.scopes):
            known = ", ".join(sorted(SCOPES_OF[self.role]))
            faults.append(Fault("/scopes", f"must be one or more of {known}, each once; leave it out for all"))
        if (self.role is Role.MEMBER) != (self.uscc is not None):
            faults.append(Fault("/uscc", "must be given for a member's key, and only for one"))
        elif self.uscc is not None and not is_uscc(self.uscc):
            faults.append(Fault("/uscc", USCC_RULE))
        if faults:
            raise KeyWrong("The key cannot be made.", *faults)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the person with the keys it has, and whether there are operators."""
        yield [
            Need(Person, self._person_key, BY_NAME),
            Need(ApiKey, self.secret_sha256, BY_SECRET),
            Need(Office, OFFICE_ID),
        ]
        person = work.find(Person, self._person_key, BY_NAME)
        if person is not None:
            yield [Need(ApiKey, person.id, BY_PERSON)]
            yield [Need(KeyTerms, key.id) for key in work.all(ApiKey, person.id, BY_PERSON)]

    @property
    def _person_key(self) -> tuple[str, str]:
        return self.uscc or ORGANISATIONS[self.role], self.person_name

    def decide(self, work: UnitOfWork) -> Result:
        """Make it. Raises OwnPeopleOnly, ScopeMissing, OperatorsExist, KeyWrong, KeysEnough."""
        self._refuse_beyond_own(work)
        if work.find(ApiKey, self.secret_sha256, BY_SECRET) is not None:
            raise KeyWrong("Another key has this secret.", Fault("/secret_sha256", "must be of a secret of its own"))
        office = work.find(Office, OFFICE_ID)
        if work.caller.role == SYSTEM_ROLE and (office is not None or self.role is not Role.OPERATOR):
            raise OperatorsExist("There are operators already." if office else "The first key must be an operator's.")
        if is_over(self.expires_on, work.today):
            raise KeyWrong("It would open nothing.", Fault("/expires_on", "must be today or later"))
        known = work.find(Person, self._person_key, BY_NAME)
        if known is not None and self._live_keys(work, known) >= LIVE_LIMIT:
            raise KeysEnough(f"There are {LIVE_LIMIT} of them.")
        if self.role is Role.OPERATOR:
            if office is None:
                work.insert(Office, id=OFFICE_ID, operator_keys=1)
            else:
                work.change(office, operator_keys=office.operator_keys + 1)
        person = known or self._new_person(work)
        if person.name is None:
            raise JustErased("The name is erased in the same batch, and not free before that is recorded.")
        key = work.insert(
            ApiKey,
            id=KeyId(work.position),
            secret_sha256=self.secret_sha256,
            role=self.role,
            uscc=self.uscc,
            person_id=person.id,
            state=KeyState.ACTIVE,
        )
        if (self.name, self.scopes, self.expires_on) != (None, None, None):
            work.insert(KeyTerms, key_id=key.id, name=self.name, scopes=self.scopes, expires_on=self.expires_on)
        work.tell("key.created")
        return {
            "id": written_id(Prefix.KEY, key.id),
            "role": self.role,
            "person": written_id(Prefix.PERSON, person.id),
            "state": key.state,
        }

    def _refuse_beyond_own(self, work: UnitOfWork) -> None:
        """Refuse a key that may do what its maker may not."""
        maker = work.caller
        if maker.role == Role.MEMBER and (self.role, self.uscc) != (Role.MEMBER, maker.uscc):
            raise OwnPeopleOnly("It would be another company's key, or of another role.")
        own = maker.scopes if isinstance(maker, KeyHolder) else None
        if own is not None and not own.issuperset(self.scopes or SCOPES_OF[self.role]):
            raise ScopeMissing(f"A key of these scopes is made by one that has them: {', '.join(sorted(own))}.")

    def _live_keys(self, work: UnitOfWork, person: Person) -> int:
        """Count the keys of this role that open anything."""
        ends = {
            key.id: work.find(KeyTerms, key.id)
            for key in work.all(ApiKey, person.id, BY_PERSON)
            if key.role is self.role and key.state is KeyState.ACTIVE
        }
        return sum(terms is None or not is_over(terms.expires_on, work.today) for terms in ends.values())

    def _new_person(self, work: UnitOfWork) -> Person:
        organisation, name = self._person_key
        salt = work.chance(SALT_LENGTH)
        return work.insert(
            Person,
            id=PersonId(work.position),
            organisation=organisation,
            name_commitment=value_commitment(salt, name),
            name=name,
            salt=salt,
        )


@dataclass(frozen=True, slots=True)
class RevokeKey(Command):
    """Revoke a key: from this position on it opens nothing. A member revokes its own company's, others do not exist for it."""

    allowed: ClassVar = frozenset({Role.OPERATOR, Role.MEMBER})

    key_id: KeyId

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the key."""
        yield [Need(ApiKey, self.key_id)]

    def decide(self, work: UnitOfWork) -> Result:
        """Revoke it. Raises NotFound, RevokedAlready."""
        key = work.get(ApiKey, self.key_id)
        if work.caller.role == Role.MEMBER and key.uscc != work.caller.uscc:
            raise unseen()
        if key.state is KeyState.REVOKED:
            raise RevokedAlready("It was revoked before.")
        work.change(key, state=KeyState.REVOKED)
        work.tell("key.revoked")
        return {"id": written_id(Prefix.KEY, key.id), "state": key.state}


def _are_scopes_of(role: Role, scopes: tuple[Scope, ...]) -> bool:
    return 0 < len(scopes) == len(set(scopes)) and SCOPES_OF[role].issuperset(scopes)
