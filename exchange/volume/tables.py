"""What is stored of the volume."""

from datetime import date
from enum import StrEnum
from typing import ClassVar, Final

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field

from exchange.columns import BIG, DAY, FEN, FLAG, TEXT, Sort, Stored, Told, named, one_of
from exchange.identifiers import MemberId, ProductId, TradeId
from exchange.money import Money


class Measure(StrEnum):
    """Which volume: the three are never conflated."""

    CONTRACTED = "contracted"


class Movement(StrEnum):
    """What a volume entry does to the volume."""

    COUNTED = "counted"
    TERMINATED = "terminated"
    REVERSED = "reversed"


class Dimension(StrEnum):
    """By what a rollup is kept."""

    TOTAL = "total"
    VENUE = "venue"
    RELATED = "related"
    CUBE = "cube"
    """sector|kind|province|venue|mode|related: any of them is a sum over this."""
    BUYER = "buyer"
    SELLER = "seller"
    PRODUCT = "product"


class VolumeEntry(Stored, table=True):
    """A trade counted, or what was counted taken back; dimensions are frozen as they were on the trade's day."""

    __table_args__ = (
        one_of("measure", Measure),
        one_of("movement", Movement),
        CheckConstraint("(movement = 'counted') = (gross > 0) AND gross <> 0", name="sign_by_movement"),
        Index(None, "recorded_on", "position"),
        Index(None, "buyer_id", "effective_on", "position"),
        Index(None, "seller_id", "effective_on", "position"),
        Index(None, "trade_id"),
    )
    sort: ClassVar = Sort.POSTED

    position: int = Field(primary_key=True, **BIG)
    number: int = Field(primary_key=True, **BIG)
    measure: Measure = Field(**named(Measure))
    movement: Movement = Field(**named(Movement))
    trade_id: TradeId = Field(**BIG)
    buyer_id: MemberId = Field(**BIG)
    seller_id: MemberId = Field(**BIG)
    product_id: ProductId = Field(**BIG)
    effective_on: date = Field(**DAY)
    recorded_on: date = Field(**DAY)
    gross: Money = Field(**FEN)
    """Positive where counted, negative where taken back; VAT included."""
    net_excluding_vat: Money = Field(**FEN)
    sector: str = Field(**TEXT)
    kind: str = Field(**TEXT)
    region: str = Field(**TEXT)
    venue: str = Field(**TEXT)
    mode: str = Field(**TEXT)
    related: bool = Field(**FLAG)


class Rollup(Stored, table=True):
    """The volume of one business day as recorded on one day, along one dimension; only ever added to."""

    __table_args__ = (one_of("measure", Measure), one_of("dimension", Dimension))
    sort: ClassVar = Sort.CURRENT
    told: ClassVar = Told.DERIVED

    measure: Measure = Field(primary_key=True, **named(Measure))
    dimension: Dimension = Field(primary_key=True, **named(Dimension))
    value: str = Field(primary_key=True, **TEXT)
    effective_on: date = Field(primary_key=True, **DAY)
    recorded_on: date = Field(primary_key=True, **DAY)
    gross: Money = Field(**FEN)
    """All that was counted."""
    reversed: Money = Field(**FEN)
    """All that was taken back, as a positive amount."""
    net_excluding_vat: Money = Field(**FEN)
    trades: int = Field(**BIG)
    """Trades counted, less those fully taken back."""


BOOKS_ID: Final = 1


class ClosedMonth(Stored, table=True):
    """A closed month: no figure in it changes any more but by late filings, which are told apart."""

    sort: ClassVar = Sort.POSTED

    month: date = Field(primary_key=True, **DAY)
    """Its first day."""
    position: int = Field(**BIG)
    closed_on: date = Field(**DAY)


class Closing(Stored, table=True):
    """How far the months are closed: one row, absent until the first close."""

    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)
    sort: ClassVar = Sort.CURRENT

    id: int = Field(primary_key=True, **BIG)
    closed_through: date = Field(**DAY)
    """The last day of the last closed month."""
