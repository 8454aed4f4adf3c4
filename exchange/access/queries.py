"""What can be asked of keys, and the one thing about them that is noted beside the journal."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.orm import load_only
from sqlmodel import Session, col, select

from exchange.access.callers import KeyHolder, caller_of, is_over
from exchange.access.tables import OFFICE_ID, ApiKey, KeyState, KeyTerms, KeyUse, Office
from exchange.columns import UtcDateTime
from exchange.identifiers import KeyId


def caller_by_secret(session: Session, secret_sha256: str) -> KeyHolder | None:
    """Give who stands behind a secret's hash; None where no key that is not revoked has it. It may have expired."""
    found = session.exec(
        select(ApiKey, KeyTerms)
        .outerjoin(KeyTerms, col(KeyTerms.key_id) == ApiKey.id)
        .where(ApiKey.secret_sha256 == secret_sha256)
    ).one_or_none()
    if found is None or found[0].state is not KeyState.ACTIVE:
        return None
    key, terms = found
    limits = (None, None) if terms is None else (terms.scopes, terms.expires_on)
    return caller_of(key.id, key.role, key.uscc, key.person_id, *limits)


NOTE_USE: Final = text(
    "INSERT INTO key_use (key_id, used_at) VALUES (:key_id, :used_at) ON CONFLICT (key_id) DO UPDATE "
    "SET used_at = excluded.used_at WHERE excluded.used_at > key_use.used_at"
).bindparams(bindparam("used_at", type_=UtcDateTime()))


def note_uses(keys: Iterable[KeyId], used_at: datetime) -> Callable[[Connection], None]:
    """Give the change that notes when keys were used. In one order, so that two processes never wait for each other in a ring."""
    rows = [{"key_id": key_id, "used_at": used_at} for key_id in sorted(keys)]

    def change(connection: Connection) -> None:
        connection.execute(NOTE_USE, rows)

    return change


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A key as it is listed: never its secret's hash."""

    key: ApiKey
    terms: KeyTerms | None
    used_at: datetime | None

    def state(self, today: date) -> str:
        """Say whether it opens anything: `active`, `revoked`, or `expired`."""
        over = self.terms is not None and is_over(self.terms.expires_on, today)
        return "expired" if over and self.key.state is KeyState.ACTIVE else str(self.key.state)


def list_keys(session: Session, after: int | None, limit: int) -> Sequence[KeyLine]:
    """Give keys by id, from after an id on."""
    asked = (
        select(ApiKey, KeyTerms, KeyUse.used_at)
        .options(load_only(*(getattr(ApiKey, name) for name in ("id", "role", "uscc", "person_id", "state"))))
        .outerjoin(KeyTerms, col(KeyTerms.key_id) == ApiKey.id)
        .outerjoin(KeyUse, col(KeyUse.key_id) == ApiKey.id)
        .where(ApiKey.id > (after or 0))
        .order_by(col(ApiKey.id))
        .limit(limit)
    )
    return [KeyLine(key, terms, used_at) for key, terms, used_at in session.exec(asked)]


def operators_exist(session: Session) -> bool:
    """Tell whether there has ever been an operator's key."""
    return session.get(Office, OFFICE_ID) is not None
