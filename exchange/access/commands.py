"""What can be done about keys: they are made and revoked."""

from dataclasses import dataclass
from typing import ClassVar, Final

from exchange.access.tables import OFFICE_ID, ApiKey, KeyState, Office, Person, Role
from exchange.identifiers import USCC_RULE, KeyId, PersonId, Prefix, is_uscc, written_id
from exchange.journal.callers import SYSTEM_ROLE
from exchange.journal.commands import Command, Result
from exchange.journal.events import SALT_LENGTH, value_commitment
from exchange.journal.work import Need, Needs, UnitOfWork
from exchange.problems import Conflict, Fault, Forbidden, Invalid
from exchange.texts import NAME_LIMIT, text_faults

ORGANISATIONS: Final = {Role.OPERATOR: "exchange", Role.AUDITOR: "exchange", Role.REGULATOR: "regulator"}
BY_NAME: Final = ("organisation", "name")
BY_SECRET: Final = ("secret_sha256",)


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


@dataclass(frozen=True, slots=True)
class CreateKey(Command):
    """Make a key for a person. Who makes it chooses the secret and hands in its hash alone."""

    allowed: ClassVar = frozenset({Role.OPERATOR, SYSTEM_ROLE})

    role: Role
    person_name: str
    secret_sha256: str
    uscc: str | None = None

    def __post_init__(self) -> None:
        """Check the shape. Raises KeyWrong."""
        faults = text_faults([("person", self.person_name, NAME_LIMIT)])
        if (self.role is Role.MEMBER) != (self.uscc is not None):
            faults.append(Fault("/uscc", "must be given for a member's key, and only for one"))
        elif self.uscc is not None and not is_uscc(self.uscc):
            faults.append(Fault("/uscc", USCC_RULE))
        if faults:
            raise KeyWrong("The key cannot be made.", *faults)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the person, and whether there are operators."""
        yield [
            Need(Person, self._person_key, BY_NAME),
            Need(ApiKey, self.secret_sha256, BY_SECRET),
            Need(Office, OFFICE_ID),
        ]

    @property
    def _person_key(self) -> tuple[str, str]:
        return self.uscc or ORGANISATIONS[self.role], self.person_name

    def decide(self, work: UnitOfWork) -> Result:
        """Make it. Raises OperatorsExist, KeyWrong."""
        if work.find(ApiKey, self.secret_sha256, BY_SECRET) is not None:
            raise KeyWrong("Another key has this secret.", Fault("/secret_sha256", "must be of a secret of its own"))
        office = work.find(Office, OFFICE_ID)
        if work.caller.role == SYSTEM_ROLE and (office is not None or self.role is not Role.OPERATOR):
            raise OperatorsExist("There are operators already." if office else "The first key must be an operator's.")
        if self.role is Role.OPERATOR:
            if office is None:
                work.insert(Office, id=OFFICE_ID, operator_keys=1)
            else:
                work.change(office, operator_keys=office.operator_keys + 1)
        person = work.find(Person, self._person_key, BY_NAME) or self._new_person(work)
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
        work.tell("key.created")
        return {
            "id": written_id(Prefix.KEY, key.id),
            "role": self.role,
            "person": written_id(Prefix.PERSON, person.id),
            "state": key.state,
        }

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
    """Revoke a key: from this position on it opens nothing."""

    allowed: ClassVar = frozenset({Role.OPERATOR})

    key_id: KeyId

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the key."""
        yield [Need(ApiKey, self.key_id)]

    def decide(self, work: UnitOfWork) -> Result:
        """Revoke it."""
        key = work.get(ApiKey, self.key_id)
        if key.state is KeyState.REVOKED:
            raise RevokedAlready("It was revoked before.")
        work.change(key, state=KeyState.REVOKED)
        work.tell("key.revoked")
        return {"id": written_id(Prefix.KEY, key.id), "state": key.state}
