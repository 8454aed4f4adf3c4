"""What can be asked of the journal: where it stands, and where it stood."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Date, ScalarSelect, Subquery, bindparam, func
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from exchange.clock import business_day, first_instant
from exchange.journal.tables import Batch, Event, PartyEvent
from exchange.problems import Conflict, Fault, Invalid


class HistoryShorter(Conflict):
    """You have seen more than there is: this exchange was restored from an older backup."""

    remedy = "Tell the exchange the last position and leaf hash that you have; do not read on as if nothing had been."


class HistoryDiffers(Conflict):
    """What you have seen at that position is not what stands there now: this exchange was restored, and went on another way."""

    remedy = "Tell the exchange the position and leaf hash that you have; do not read on as if nothing had been."


class MomentUnknown(Invalid):
    """The journal has not come so far, or had not begun."""

    remedy = "Give a position from 1 to the present one, or an instant no later than the last record."


@dataclass(frozen=True, slots=True)
class Moment:
    """A place in the journal up to which something is known."""

    position: int
    recorded_at: datetime
    last: bool = field(default=False, compare=False)
    """Whether nothing came after it on the snapshot on which it was found; on another it must be found again."""

    @property
    def recorded_on(self) -> date:
        """The business day on which it was recorded."""
        return business_day(self.recorded_at)

    def knows_all_by(self, day: date) -> bool:
        """Tell whether all that is recorded is known, and had come by the end of a day: nothing takes effect before it has come."""
        return self.last and day >= self.recorded_on


def present(session: Session) -> Moment:
    """Give the last committed position."""
    position, recorded_at = session.execute(_LAST_BATCH).one()
    return Moment(position, recorded_at, last=True)


_LAST_BATCH: Final = sa_select(col(Batch.last), col(Batch.recorded_at)).order_by(col(Batch.last).desc()).limit(1)


def first_position_on(day: date) -> ScalarSelect[Any]:
    """Select the first position recorded on a business day, or the first one after it."""
    query: Any = select(Batch.first).where(col(Batch.recorded_at) >= first_instant(day))
    chosen: ScalarSelect[Any] = query.order_by(col(Batch.recorded_at)).limit(1).scalar_subquery()
    return chosen


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
    position = batch.last if isinstance(known_at, datetime) else known_at
    return Moment(position, batch.recorded_at, last=position == now.position)


AS_OF: Final = bindparam("as_of", type_=Date())
KNOWN_AT: Final = bindparam("known_at", type_=BigInteger())
"""What is given to a statement that is made once: a business day, and a position."""


def holding(key: Any, value: Any, *conditions: Any) -> Subquery:
    """Select rows (key, value): what the lines of a history said AS_OF a day, as KNOWN_AT a position.

    A line holds from its day until that of one that was recorded after it: of those from then or before, the one recorded last.
    """
    line = key.class_
    order = (line.position.desc(), line.number.desc())
    place = func.row_number().over(partition_by=key, order_by=order).label("place")
    begun = [line.effective_on <= AS_OF, line.position <= KNOWN_AT]
    lines = sa_select(key.label("key"), value.label("value"), place).where(*conditions, *begun).subquery()
    return sa_select(lines.c.key, lines.c.value).where(lines.c.place == 1).subquery()


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events: all that is given must hold."""

    subject: str | None = None
    """The written id of what was made or changed."""
    person_id: int | None = None
    parties: Sequence[int] | None = None
    """Memberships of which one must be a party; None: whoever is."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in order, and the position after which to go on."""

    events: list[Event]
    position: int
    """How far the journal has come."""
    after: int


def events_after(
    session: Session, after: int, limit: int, which: EventFilter, seen_sha256: bytes | None = None
) -> EventPage:
    """Give what happened after a position. `seen_sha256` is the leaf hash that the reader has of that position.

    Raises HistoryShorter, HistoryDiffers.
    """
    head = present(session).position
    if after > head:
        raise HistoryShorter(f"Position {after} was asked for; the last one is {head}.")
    # Of what a company was not told it cannot have the hash: the same answer as to a wrong one.
    last_seen = None if seen_sha256 is None else session.get(Event, after)
    if seen_sha256 is not None and (last_seen is None or last_seen.leaf_sha256 != seen_sha256):
        raise HistoryDiffers(f"The leaf at position {after} has another hash.")
    found = [event for branch in _branches(which) for event in session.exec(_page(branch, after, limit, which))]
    # A trade between two memberships of one company is an event of both.
    events = sorted({event.position: event for event in found}.values(), key=lambda event: event.position)[:limit]
    return EventPage(events, head, events[-1].position if len(events) == limit else head)


def _branches(which: EventFilter) -> list[Any]:
    """Select events, once for each membership, so that each is a walk along an index."""
    if which.parties is None:
        return [select(Event)]
    joined = select(Event).join(PartyEvent, col(PartyEvent.position) == Event.position)
    return [joined.where(PartyEvent.member_id == number) for number in which.parties]


def _page(branch: Any, after: int, limit: int, which: EventFilter) -> Any:
    walks_parties = which.parties is not None and which.subject is None
    place = col(PartyEvent.position if walks_parties else Event.position)
    equal = {Event.subject: which.subject, Event.person_id: which.person_id}
    asked = [col(column) == value for column, value in equal.items() if value is not None]
    return branch.where(place > after, *asked).order_by(place).limit(limit)
