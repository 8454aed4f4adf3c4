"""What is stored of the volume."""

from datetime import date
from enum import StrEnum
from typing import ClassVar, Final

from sqlalchemy import CheckConstraint, Index

from exchange.columns import BIG, DAY, FEN, FLAG, TEXT, Sort, Stored, Told, column, named, one_of
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


DAILY: Final = frozenset({Dimension.TOTAL, Dimension.VENUE, Dimension.RELATED, Dimension.CUBE})
"""Dimensions of few values, kept by day as well. Of the others a day's volume is that of its entries."""


class VolumeEntry(Stored, table=True):
    """A trade counted, or what was counted taken back; dimensions are frozen as they were on the trade's day."""

    __table_args__ = (
        one_of("measure", Measure),
        one_of("movement", Movement),
        CheckConstraint("(movement = 'counted') = (gross > 0) AND gross <> 0", name="sign_by_movement"),
        Index(None, "buyer_id", "effective_on", "position"),
        Index(None, "seller_id", "effective_on", "position"),
    )
    sort: ClassVar = Sort.POSTED

    position: int = column(BIG, primary_key=True)
    number: int = column(BIG, primary_key=True)
    measure: Measure = column(named(Measure))
    movement: Movement = column(named(Movement))
    trade_id: TradeId = column(BIG)
    buyer_id: MemberId = column(BIG)
    seller_id: MemberId = column(BIG)
    product_id: ProductId = column(BIG)
    effective_on: date = column(DAY)
    recorded_on: date = column(DAY)
    gross: Money = column(FEN)
    """Positive where counted, negative where taken back; VAT included."""
    net_excluding_vat: Money = column(FEN)
    sector: str = column(TEXT)
    kind: str = column(TEXT)
    region: str = column(TEXT)
    venue: str = column(TEXT)
    mode: str = column(TEXT)
    related: bool = column(FLAG)


class Rollup(Stored, table=True):
    """The volume of one business day as recorded on one day, along one of the daily dimensions; only ever added to."""

    __table_args__ = (
        one_of("measure", Measure),
        one_of("dimension", Dimension),
        Index(None, "measure", "dimension", "effective_on"),
        Index(None, "measure", "dimension", "recorded_on"),
    )
    sort: ClassVar = Sort.CURRENT
    told: ClassVar = Told.DERIVED

    measure: Measure = column(named(Measure), primary_key=True)
    dimension: Dimension = column(named(Dimension), primary_key=True)
    value: str = column(TEXT, primary_key=True)
    effective_on: date = column(DAY, primary_key=True)
    recorded_on: date = column(DAY, primary_key=True)
    gross: Money = column(FEN)
    """All that was counted."""
    reversed: Money = column(FEN)
    """All that was taken back, as a positive amount."""
    net_excluding_vat: Money = column(FEN)
    trades: int = column(BIG)
    """Trades counted, less those fully taken back."""


class MonthlyRollup(Stored, table=True):
    """The volume of one month as recorded in one month, along any dimension; only ever added to. A month is its first day."""

    __table_args__ = (one_of("measure", Measure), one_of("dimension", Dimension))
    sort: ClassVar = Sort.CURRENT
    told: ClassVar = Told.DERIVED

    measure: Measure = column(named(Measure), primary_key=True)
    dimension: Dimension = column(named(Dimension), primary_key=True)
    value: str = column(TEXT, primary_key=True)
    effective_in: date = column(DAY, primary_key=True)
    recorded_in: date = column(DAY, primary_key=True)
    gross: Money = column(FEN)
    reversed: Money = column(FEN)
    net_excluding_vat: Money = column(FEN)
    trades: int = column(BIG)


BOOKS_ID: Final = 1


class ClosedMonth(Stored, table=True):
    """A closed month: no figure in it changes any more but by late filings, which are told apart."""

    sort: ClassVar = Sort.POSTED

    month: date = column(DAY, primary_key=True)
    """Its first day."""
    position: int = column(BIG)
    closed_on: date = column(DAY)


class Closing(Stored, table=True):
    """How far the months are closed: one row, absent until the first close."""

    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)
    sort: ClassVar = Sort.CURRENT
    kept: ClassVar = True

    id: int = column(BIG, primary_key=True)
    closed_through: date = column(DAY)
    """The last day of the last closed month."""
