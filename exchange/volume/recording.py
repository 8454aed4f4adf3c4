"""Counting a trade, and taking back what was counted: volume entry, rollups and the head's totals move together."""

from dataclasses import dataclass
from datetime import date
from typing import Final

from exchange.identifiers import MemberId, ProductId, TradeId
from exchange.journal.work import Need, UnitOfWork
from exchange.money import SUM_LIMIT, Money
from exchange.problems import Conflict
from exchange.volume.rules import month_of
from exchange.volume.tables import (
    BOOKS_ID,
    DAILY,
    Closing,
    Dimension,
    Measure,
    MonthlyRollup,
    Movement,
    Rollup,
    VolumeEntry,
)


class VolumeTooLarge(Conflict):
    """The volume would grow beyond what can be counted exactly."""

    remedy = "Ask the exchange: at 9 × 10^18 fen the volume must be continued in a new unit."


@dataclass(frozen=True, slots=True)
class Countable:
    """What a trade brings to the volume: amounts in fen and the dimensions as frozen on its day."""

    trade_id: TradeId
    buyer_id: MemberId
    seller_id: MemberId
    product_id: ProductId
    gross: Money
    net: Money
    sector: str
    kind: str
    region: str
    venue: str
    mode: str
    related: bool

    @property
    def places(self) -> list[tuple[Dimension, str]]:
        """Say in which rollups it counts."""
        cube = (
            self.sector,
            self.kind,
            self.region[:2],
            self.venue,
            self.mode,
            "related" if self.related else "unrelated",
        )
        places = [
            (Dimension.TOTAL, ""),
            (Dimension.VENUE, self.venue),
            (Dimension.CUBE, "|".join(cube)),
            (Dimension.BUYER, str(self.buyer_id)),
            (Dimension.SELLER, str(self.seller_id)),
            (Dimension.PRODUCT, str(self.product_id)),
        ]
        return [*places, (Dimension.RELATED, "related")] if self.related else places


CLOSING_NEEDED: Final = Need(Closing, BOOKS_ID)


def closed_through(work: UnitOfWork) -> date | None:
    """Give the last day of the last closed month; needs CLOSING_NEEDED."""
    closing = work.find(Closing, BOOKS_ID)
    return closing.closed_through if closing else None


def record(work: UnitOfWork, movement: Movement, countable: Countable, effective_on: date, number: int) -> None:
    """Move the contracted volume. `number` orders several movements of one command. Raises VolumeTooLarge."""
    counted = movement is Movement.COUNTED
    sign = 1 if counted else -1
    work.insert(
        VolumeEntry,
        position=work.position,
        number=number,
        measure=Measure.CONTRACTED,
        movement=movement,
        trade_id=countable.trade_id,
        buyer_id=countable.buyer_id,
        seller_id=countable.seller_id,
        product_id=countable.product_id,
        effective_on=effective_on,
        recorded_on=work.today,
        gross=Money(sign * countable.gross),
        net_excluding_vat=Money(sign * countable.net),
        sector=countable.sector,
        kind=countable.kind,
        region=countable.region,
        venue=countable.venue,
        mode=countable.mode,
        related=countable.related,
    )
    gross, taken_back = (countable.gross, 0) if counted else (0, countable.gross)
    deltas = gross, taken_back, sign * countable.net, sign
    months = month_of(effective_on), month_of(work.today)
    for dimension, value in countable.places:
        work.add(MonthlyRollup, (Measure.CONTRACTED, dimension, value, *months), *deltas)
        if dimension in DAILY:
            work.add(Rollup, (Measure.CONTRACTED, dimension, value, effective_on, work.today), *deltas)
    head = work.head
    if head.contracted_gross + gross > SUM_LIMIT:
        raise VolumeTooLarge("The cumulative volume would exceed 9 × 10^18 fen.")
    work.change(
        head, contracted_gross=head.contracted_gross + gross, contracted_reversed=head.contracted_reversed + taken_back
    )
