"""What the journal itself stores: where it stands, its batches, its events, the first answers it gave."""

from datetime import datetime
from typing import ClassVar, Final

from sqlalchemy import CheckConstraint, Index, UniqueConstraint

from exchange.columns import BIG, BYTES, FEN, INSTANT, TEXT, Sort, Stored, Told, column
from exchange.money import Money

HEAD_ID: Final = 1


class Head(Stored, table=True):
    """The one row that every batch locks first: the last position given out, and the cumulative figures there."""

    __table_args__ = (
        CheckConstraint("id = 1", name="only_one"),
        CheckConstraint("position > 0", name="position_positive"),
    )
    sort: ClassVar = Sort.CURRENT
    told: ClassVar = Told.DERIVED

    id: int = column(BIG, primary_key=True)
    position: int = column(BIG)
    recorded_at: datetime = column(INSTANT)
    contracted_gross: Money = column(FEN)
    contracted_reversed: Money = column(FEN)


class Batch(Stored, table=True):
    """One committed batch: its positions, when it was recorded, and the cumulative figures after it."""

    __table_args__ = (
        UniqueConstraint("last"),
        UniqueConstraint("recorded_at"),
        CheckConstraint("first > 0 AND first <= last", name="positions_in_order"),
    )
    sort: ClassVar = Sort.POSTED
    told: ClassVar = Told.DERIVED

    first: int = column(BIG, primary_key=True)
    last: int = column(BIG)
    recorded_at: datetime = column(INSTANT)
    contracted_gross: Money = column(FEN)
    contracted_reversed: Money = column(FEN)


class Idempotency(Stored, table=True):
    """The first answer to an accepted request, for ever, by holder and key."""

    sort: ClassVar = Sort.POSTED
    told: ClassVar = Told.NEVER

    holder: str = column(TEXT, primary_key=True)
    key: str = column(TEXT, primary_key=True)
    request_sha256: bytes = column(BYTES)
    status: int = column(BIG)
    answer: str = column(TEXT)
    position: int = column(BIG)


class Event(Stored, table=True):
    """What was accepted at a position: the audit log's leaf, stored and hashed byte for byte."""

    __table_args__ = (
        CheckConstraint("position > 0", name="position_positive"),
        Index(None, "subject", "position"),
        Index(None, "person_id", "position"),
    )
    sort: ClassVar = Sort.POSTED
    told: ClassVar = Told.DERIVED

    position: int = column(BIG, primary_key=True)
    kind: str = column(TEXT)
    subject: str | None = column(TEXT)
    """The written id of what was made or changed; null where it has none."""
    person_id: int | None = column(BIG)
    """Who did it; null for the system."""
    leaf: str = column(TEXT)
    leaf_sha256: bytes = column(BYTES)
    """SHA-256 of a zero byte and the leaf (RFC 6962)."""


class PartyCounter(Stored, table=True):
    """How many events a member has been a party to."""

    sort: ClassVar = Sort.CURRENT
    told: ClassVar = Told.DERIVED
    kept: ClassVar = True

    member_id: int = column(BIG, primary_key=True)
    events: int = column(BIG)


class PartyEvent(Stored, table=True):
    """The n-th event of a member, and the nonce that opens the commitment in its leaf."""

    __table_args__ = (Index(None, "member_id", "position", unique=True),)
    sort: ClassVar = Sort.POSTED
    told: ClassVar = Told.NEVER

    member_id: int = column(BIG, primary_key=True)
    number: int = column(BIG, primary_key=True)
    position: int = column(BIG)
    nonce: bytes = column(BYTES)
