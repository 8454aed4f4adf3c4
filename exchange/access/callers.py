"""Callers behind API keys, and the keys' secrets."""

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

from exchange.access.scopes import require, scope_of
from exchange.access.tables import ApiKey, KeyState, Role, Scope
from exchange.identifiers import KeyId, PersonId
from exchange.journal.callers import Caller
from exchange.journal.commands import Command
from exchange.journal.work import Need, Needs, UnitOfWork
from exchange.problems import Unauthenticated

PREFIX: Final = "exk_"
SECRET_LENGTH: Final = 32
CHECKSUM_DIGITS: Final = 8


def is_over(expires_on: date | None, today: date) -> bool:
    """Tell whether the last day on which a key opens anything is over; one without an end never is."""
    return expires_on is not None and expires_on < today


@dataclass(frozen=True, slots=True)
class KeyHolder(Caller):
    """The person behind a key, as the door found it; under the head's lock the key is looked at once more."""

    scopes: frozenset[Scope] | None = None
    """What the key is restricted to; null: all that its role does. Like the end, it never changes."""
    expires_on: date | None = None
    """The last day on which the key opens anything."""

    def has_ended(self, today: date) -> bool:
        """Tell whether the key's last day is over."""
        return is_over(self.expires_on, today)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the key."""
        del work
        yield [Need(ApiKey, self.key_id)]

    def admit(self, work: UnitOfWork, command: Command) -> None:
        """Refuse a key that has been revoked since or has expired, and a role or a key that is not for this."""
        key = work.find(ApiKey, self.key_id)
        if key is None or key.state is not KeyState.ACTIVE:
            raise Unauthenticated("The key has been revoked.")
        if self.has_ended(work.today):
            raise Unauthenticated("The key has expired.")
        self.admit_to(type(command))

    def admit_to(self, command: type[Command]) -> None:
        """Refuse a role, or a key, that is not for such commands. Raises Forbidden, ScopeMissing."""
        Caller.admit_to(self, command)
        if self.scopes is not None:
            require(self.scopes, scope_of(command))


def caller_of(
    key_id: KeyId,
    role: Role,
    uscc: str | None,
    person_id: PersonId,
    scopes: Iterable[str] | None = None,
    expires_on: date | None = None,
) -> KeyHolder:
    """Give the caller behind a key. Idempotency keys belong to the company, or to the person of staff."""
    return KeyHolder(
        holder=f"company:{uscc}" if uscc is not None else f"person:{person_id}",
        role=role,
        uscc=uscc,
        person_id=person_id,
        key_id=key_id,
        scopes=None if scopes is None else frozenset(map(Scope, scopes)),
        expires_on=expires_on,
    )


def written_secret(secret: bytes) -> str:
    """Write a key for its holder: prefix, 64 digits, and a checksum by which a mistyped key is refused without a look-up."""
    digits = secret.hex()
    return f"{PREFIX}{digits}{zlib.crc32(digits.encode()):0{CHECKSUM_DIGITS}x}"


def secret_hash(text: str) -> str | None:
    """Give the SHA-256 under which a key is known; None where the text cannot be a key."""
    digits, checksum = text.removeprefix(PREFIX)[: 2 * SECRET_LENGTH], text[-CHECKSUM_DIGITS:]
    well_formed = text.isascii() and text == f"{PREFIX}{digits}{checksum}" and len(digits) == 2 * SECRET_LENGTH
    if not well_formed or f"{zlib.crc32(digits.encode()):0{CHECKSUM_DIGITS}x}" != checksum:
        return None
    return hashlib.sha256(text.encode()).hexdigest()
