"""What an invariant is, and what must be true of the journal: positions, batches, events, counters.

Checks look at the stored rows on a path of their own, never through the code that wrote them.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, groupby, islice
from typing import Any, Final

import orjson
from sqlalchemy import text
from sqlmodel import Session, col, select

from exchange.clock import instant_text
from exchange.identifiers import MemberId
from exchange.journal.events import leaf_hash, party_commitment
from exchange.journal.tables import Batch, Event, Head, PartyEvent

SHOWN: Final = 10
"""So many offending rows are shown at most."""
CHUNK: Final = 1_000


@dataclass(frozen=True, slots=True)
class Finding:
    """What checking an invariant came to."""

    number: str
    """As in the list of invariants, e.g. `5`, with a letter where it is checked in parts."""
    statement: str
    checked: int
    """So many rows or sums were looked at."""
    offending: list[str]
    """The first rows that break it, in words; empty where it holds."""


Check = Callable[[Session], tuple[int, list[str]]]


@dataclass(frozen=True, slots=True)
class Invariant:
    """Something that is always true, and how to look whether it is."""

    number: str
    statement: str
    check: Check

    def find(self, session: Session) -> Finding:
        """Look."""
        checked, offending = self.check(session)
        return Finding(self.number, self.statement, checked, offending)


def none_of(counted: str, *offending: str) -> Check:
    """Check that queries find no row. `counted` counts what they look at; each row found is shown with its columns' names."""

    def check(session: Session) -> tuple[int, list[str]]:
        found = chain.from_iterable(session.connection().execute(text(query)).mappings() for query in offending)
        shown = [", ".join(f"{name} {value}" for name, value in row.items()) for row in islice(found, SHOWN)]
        return session.connection().execute(text(counted)).scalar_one(), shown

    return check


def all_equal(names: Iterable[str], queries: Iterable[str]) -> Check:
    """Check that queries, each for one row of numbers, give the same row; the first is what the others must agree with."""

    def check(session: Session) -> tuple[int, list[str]]:
        rows = [tuple(int(value) for value in session.connection().execute(text(query)).one()) for query in queries]
        offending = [
            f"{name}: {row} instead of {rows[0]}" for name, row in zip(names, rows, strict=True) if row != rows[0]
        ]
        return len(rows), offending[:SHOWN]

    return check


def _batches_cover_positions(session: Session) -> tuple[int, list[str]]:
    offending, expected, before = [], 1, None
    checked = 0
    for batch in session.exec(select(Batch).order_by(col(Batch.first)).execution_options(yield_per=CHUNK)):
        checked += 1
        if batch.first != expected:
            offending.append(f"batch {batch.first} follows position {expected - 1}")
        if before is not None and batch.recorded_at <= before:
            offending.append(f"batch {batch.first} was recorded no later than the one before it")
        expected, before = batch.last + 1, batch.recorded_at
    head = session.exec(select(Head)).one()
    if head.position != expected - 1 or head.recorded_at != before:
        offending.append(f"the head stands at {head.position}, the last batch at {expected - 1}")
    return checked, offending[:SHOWN]


def events_in_order(session: Session) -> Iterator[tuple[Event, dict[str, Any], datetime]]:
    """Walk through all events that lie in a batch: each with its leaf read and the instant of its batch."""
    # Side by side, for to join them by a range looks at every later batch for each event.
    batches = iter(session.exec(select(Batch).order_by(col(Batch.first)).execution_options(yield_per=CHUNK)))
    batch = next(batches, None)
    for event in session.exec(select(Event).order_by(col(Event.position)).execution_options(yield_per=CHUNK)):
        while batch is not None and batch.last < event.position:
            batch = next(batches, None)
        if batch is not None and batch.first <= event.position:
            yield event, orjson.loads(event.leaf), batch.recorded_at


def _events_are_whole(session: Session) -> tuple[int, list[str]]:
    offending, expected = [], 1
    for event, leaf, recorded_at in events_in_order(session):
        if event.position != expected:
            offending.append(f"event {event.position} follows event {expected - 1}")
        if event.leaf_sha256 != leaf_hash(event.leaf.encode()):
            offending.append(f"the leaf of event {event.position} does not have its hash")
        person = leaf["actor"] if isinstance(leaf["actor"], int) else None
        told = (leaf["position"], leaf["kind"], leaf["recorded_at"], person)
        if told != (event.position, event.kind, instant_text(recorded_at), event.person_id):
            offending.append(f"the leaf of event {event.position} tells another position, kind, instant or person")
        expected = event.position + 1
    if session.exec(select(Head)).one().position != expected - 1:
        offending.append(f"the last event is {expected - 1}, which is not the head's position")
    return expected - 1, offending[:SHOWN]


def _commitments_open(session: Session) -> tuple[int, list[str]]:
    query = (
        select(PartyEvent, Event.leaf)
        .join(Event, col(Event.position) == PartyEvent.position)
        .order_by(col(PartyEvent.position), col(PartyEvent.member_id))
        .execution_options(yield_per=CHUNK)
    )
    offending, checked = [], 0
    for position, rows in groupby(session.exec(query), key=lambda row: row[0].position):
        opened, leaf = [], ""
        for party, leaf in rows:  # noqa: B007 - all rows of a position have the same leaf
            opened.append(party_commitment(party.nonce, MemberId(party.member_id), party.number))
            checked += 1
        if sorted(opened) != sorted(orjson.loads(leaf)["parties"]):
            offending.append(f"the parties of event {position} are not those it commits to")
    return checked, offending[:SHOWN]


def opens(commitment: str, salt: bytes, value: str) -> bool:
    """Tell whether a salted commitment is to this value."""
    return hashlib.sha256(salt + value.encode()).hexdigest() == commitment


INVARIANTS: Final = [
    Invariant(
        "9",
        "Every remembered answer belongs to an event.",
        none_of(
            "SELECT count(*) FROM idempotency",
            "SELECT i.holder, i.position FROM idempotency i LEFT JOIN event e ON e.position = i.position WHERE e.position IS NULL",
        ),
    ),
    Invariant(
        "12a",
        "Batches follow each other without gap, each recorded later than the one before.",
        _batches_cover_positions,
    ),
    Invariant("12b", "Every position has its event, whose leaf has its hash and tells its place.", _events_are_whole),
    Invariant(
        "12c",
        "Each party's events are numbered without gaps.",
        none_of(
            "SELECT count(*) FROM party_counter",
            "SELECT c.member_id, c.events, count(p.number) AS numbered, max(p.number) AS highest FROM party_counter c "
            "LEFT JOIN party_event p ON p.member_id = c.member_id GROUP BY c.member_id, c.events "
            "HAVING count(p.number) <> c.events OR coalesce(max(p.number), 0) <> c.events",
            "SELECT p.member_id, p.number FROM party_event p LEFT JOIN party_counter c ON c.member_id = p.member_id "
            "WHERE c.member_id IS NULL",
        ),
    ),
    Invariant("12d", "The commitments in each leaf open to its parties.", _commitments_open),
]
