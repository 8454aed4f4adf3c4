"""What can be asked of keys."""

from sqlmodel import Session, select

from exchange.access.callers import KeyHolder, caller_of
from exchange.access.tables import OFFICE_ID, ApiKey, KeyState, Office


def caller_by_secret(session: Session, secret_sha256: str) -> KeyHolder | None:
    """Give who stands behind a secret's hash; None where no live key has it."""
    key = session.exec(select(ApiKey).where(ApiKey.secret_sha256 == secret_sha256)).one_or_none()
    if key is None or key.state is not KeyState.ACTIVE:
        return None
    return caller_of(key.id, key.role, key.uscc, key.person_id)


def operators_exist(session: Session) -> bool:
    """Tell whether there has ever been an operator's key."""
    return session.get(Office, OFFICE_ID) is not None
