"""A command is a wish as a value; a job is what one request wants, by whom and under which key; an answer is what it gets."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final

from exchange.journal.callers import Caller
from exchange.journal.work import Needs, UnitOfWork

Result = dict[str, object]
"""What a command answers: ids, states, flags; never a secret, an amount of others, or personal data."""

CREATED: Final = 201


class Command(ABC):
    """One verb: what is wanted (its fields), what must be at hand (`needs`), what happens (`decide`)."""

    __slots__ = ()
    allowed: ClassVar[frozenset[str]] = frozenset()
    """The roles that may do it at all: none, unless the command says so."""
    scope: ClassVar[str | None] = None
    """What a restricted key must be for to do it; null: what its feature is for."""

    @abstractmethod
    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for rows by key, in rounds."""

    @abstractmethod
    def decide(self, work: UnitOfWork) -> Result:
        """Do it on the rows in memory, tell one event, and answer; or raise a problem."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one request wants: its commands stand or fall together."""

    commands: tuple[Command, ...]
    caller: Caller
    key: str
    """The idempotency key, unique for its holder."""
    request_sha256: bytes
    """Hash of what is asked: the same key with another hash is refused."""
    status: int = CREATED
    """What the door answers with, kept for replays."""
    holder: str | None = None
    """Whose key it is, where not the caller's own: files are imported for the exchange, whoever sends them."""
    request_id: str | None = None
    many: bool = False
    """Whether the answer is a list, one result per command, or the only command's result."""
    expected: frozenset[int] | None = None
    """The positions of which one must be that of the last change of what the command changes; null: whichever it is."""

    @property
    def idempotency(self) -> tuple[str, str]:
        """The key under which the first answer is kept."""
        return self.holder or self.caller.holder, self.key


@dataclass(frozen=True, slots=True)
class Answer:
    """What an accepted job gets, now and each time it is sent again."""

    status: int
    body: str
    """Canonical JSON."""
    position: int
    """The last position that it took."""
    replayed: bool = False
