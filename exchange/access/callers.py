"""Callers behind API keys, and the keys' secrets."""

import hashlib
import zlib
from dataclasses import dataclass
from typing import Final

from exchange.access.tables import ApiKey, KeyState, Role
from exchange.identifiers import KeyId, PersonId
from exchange.journal.callers import Caller
from exchange.journal.commands import Command
from exchange.journal.work import Need, Needs, UnitOfWork
from exchange.problems import Unauthenticated

PREFIX: Final = "exk_"
SECRET_LENGTH: Final = 32
CHECKSUM_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class KeyHolder(Caller):
    """The person behind a key, as the door found it; under the head's lock the key is looked at once more."""

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the key."""
        del work
        yield [Need(ApiKey, self.key_id)]

    def admit(self, work: UnitOfWork, command: Command) -> None:
        """Refuse a key that has been revoked since, and a role that does not do this."""
        key = work.find(ApiKey, self.key_id)
        if key is None or key.state is not KeyState.ACTIVE:
            raise Unauthenticated("The key has been revoked.")
        Caller.admit(self, work, command)


def caller_of(key_id: KeyId, role: Role, uscc: str | None, person_id: PersonId) -> KeyHolder:
    """Give the caller behind a key. Idempotency keys belong to the company, or to the person of staff."""
    holder = f"company:{uscc}" if uscc is not None else f"person:{person_id}"
    return KeyHolder(holder=holder, role=role, uscc=uscc, person_id=person_id, key_id=key_id)


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
