"""What can be asked of the journal: where it stands, and where it stood."""

from dataclasses import dataclass
from datetime import date, datetime

from sqlmodel import Session, col, select

from exchange.clock import business_day
from exchange.journal.tables import Batch
from exchange.problems import Fault, Invalid


class MomentUnknown(Invalid):
    """The journal has not come so far, or had not begun."""

    remedy = "Give a position from 1 to the present one, or an instant no later than the last record."


@dataclass(frozen=True, slots=True)
class Moment:
    """A place in the journal up to which something is known."""

    position: int
    recorded_at: datetime

    @property
    def recorded_on(self) -> date:
        """The business day on which it was recorded."""
        return business_day(self.recorded_at)


def present(session: Session) -> Moment:
    """Give the last committed position."""
    batch = session.exec(select(Batch).order_by(col(Batch.last).desc()).limit(1)).one()
    return Moment(batch.last, batch.recorded_at)


def moment_at(session: Session, known_at: int | datetime | None) -> Moment:
    """Find a position, the last one at an instant, or the present (None). Raises MomentUnknown."""
    now = present(session)
    if known_at is None:
        return now
    if isinstance(known_at, datetime):
        query = select(Batch).where(col(Batch.recorded_at) <= known_at).order_by(col(Batch.recorded_at).desc())
        ahead = known_at > now.recorded_at
    else:
        query = select(Batch).where(col(Batch.last) >= known_at).order_by(col(Batch.last))
        ahead = not 1 <= known_at <= now.position
    batch = None if ahead else session.exec(query.limit(1)).one_or_none()
    if batch is None:
        raise MomentUnknown(
            "Nothing is known at that point.", Fault("/known_at", "must not lie beyond the last record")
        )
    return Moment(batch.last if isinstance(known_at, datetime) else known_at, batch.recorded_at)
