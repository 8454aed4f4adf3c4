"""Who acts. The journal knows what it records of a caller; who may do what is decided by the features above it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from exchange.problems import Forbidden

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exchange.identifiers import KeyId, MemberId, PersonId
    from exchange.journal.commands import Command
    from exchange.journal.events import NewEvent
    from exchange.journal.work import Need, Needs, UnitOfWork

SYSTEM_ROLE = "system"


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who acts: a person behind a key, or the system itself."""

    SYSTEM: ClassVar[Caller]

    holder: str
    """Whose idempotency keys these are: a company's, a person's; never a key's, so that a rotated key changes nothing."""
    role: str
    uscc: str | None = None
    """The company that acts; null for staff."""
    person_id: PersonId | None = None
    key_id: KeyId | None = None

    def needs(self, work: UnitOfWork) -> Needs:
        """Say what must be at hand to admit this caller, in rounds."""
        del work
        yield from ()

    def admit(self, work: UnitOfWork, command: Command) -> None:
        """Refuse what this caller may not do, or no longer: under the head's lock, before anything is replayed or decided."""
        del work
        self.admit_to(type(command))

    def admit_to(self, command: type[Command]) -> None:
        """Refuse who is not for such commands. Raises Forbidden."""
        if self.role not in command.allowed:
            raise Forbidden(f"The role {self.role} does not do this.")

    def dealing_needs(self, work: UnitOfWork, members: Iterable[MemberId]) -> list[Need]:
        """Say what must be at hand to judge whether this caller may act in a deal between these members, which are at hand."""
        del work, members
        return []

    def told(self, work: UnitOfWork, command: Command, event: NewEvent) -> NewEvent:
        """Give the event of what was decided, with what there is to tell of this caller; or refuse it after all."""
        del work, command
        return event


Caller.SYSTEM = Caller(holder=SYSTEM_ROLE, role=SYSTEM_ROLE)
