"""What is stored of trades."""

from datetime import date
from enum import StrEnum
from typing import ClassVar

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field

from exchange.columns import BIG, DAY, FEN, FLAG, TEXT, TEXTS, Sort, Stored, named, one_of
from exchange.identifiers import ListingId, MemberId, ProductId, ProposalId, TradeId, VersionId
from exchange.listings.tables import ProductKind, Sector
from exchange.money import TRADE_LIMIT, Money
from exchange.trades.states import TradeState


class TradeMode(StrEnum):
    """How the parties came together."""

    LISTED = "listed"
    NEGOTIATED = "negotiated"
    AUCTION = "auction"


class Venue(StrEnum):
    """Where the trade was made."""

    ON_EXCHANGE = "on_exchange"
    OFF_EXCHANGE_FILED = "off_exchange_filed"


class Side(StrEnum):
    """Who put a trade forward."""

    BUYER = "buyer"
    SELLER = "seller"
    EXCHANGE = "exchange"


class Trade(Stored, table=True):
    """A buyer, a seller and a product version, on terms. Once contracted, a trigger freezes what the contract says."""

    __table_args__ = (
        one_of("state", TradeState),
        one_of("mode", TradeMode),
        one_of("venue", Venue),
        one_of("proposer", Side),
        one_of("sector", Sector),
        one_of("kind", ProductKind),
        CheckConstraint("net > 0 AND vat >= 0 AND net + vat = gross", name="amounts_add_up"),
        CheckConstraint(f"gross <= {TRADE_LIMIT}", name="gross_within_limit"),
        CheckConstraint("buyer_id <> seller_id", name="two_parties"),
        CheckConstraint("quantity > 0", name="quantity_positive"),
        CheckConstraint("acceptance_window_days BETWEEN 0 AND 3650", name="acceptance_window_within_limit"),
        CheckConstraint(
            "effective_on IS NOT NULL OR state IN ('proposed', 'confirmed', 'cancelled')",
            name="effective_once_contracted_or_filed",
        ),
        Index(None, "buyer_id", "id"),
        Index(None, "seller_id", "id"),
        Index(None, "state", "id"),
    )
    sort: ClassVar = Sort.CURRENT

    id: TradeId = Field(primary_key=True, **BIG)
    state: TradeState = Field(**named(TradeState))
    mode: TradeMode = Field(**named(TradeMode))
    venue: Venue = Field(**named(Venue))
    proposer: Side = Field(**named(Side))
    buyer_id: MemberId = Field(**BIG)
    seller_id: MemberId = Field(**BIG)
    listing_id: ListingId = Field(**BIG)
    product_id: ProductId = Field(**BIG)
    version_id: VersionId = Field(**BIG)
    purpose: str = Field(**TEXT)
    quantity: int = Field(**BIG)
    contract_number: str = Field(**TEXT)
    contract_sha256: str = Field(**TEXT)
    net: Money = Field(**FEN)
    vat: Money = Field(**FEN)
    gross: Money = Field(**FEN)
    delivery_terms: str | None = Field(**TEXT)
    acceptance_window_days: int = Field(**BIG)
    buyer_ref: str | None = Field(**TEXT)
    seller_ref: str | None = Field(**TEXT)
    evidence: tuple[str, ...] = Field(**TEXTS)
    """SHA-256 of each document of a filing."""
    proposed_on: date = Field(**DAY)
    effective_on: date | None = Field(**DAY)
    """The business date on which it counts; null before the contract of an on-exchange trade."""
    received_on: date | None = Field(**DAY)
    """When the exchange had a filing in hand, as staff says."""
    ended_on: date | None = Field(**DAY)
    """The business date on which it was cancelled, rejected, terminated or reversed."""
    confirmed: bool = Field(**FLAG)
    """Whether both parties have agreed."""
    sector: Sector = Field(**named(Sector))
    kind: ProductKind = Field(**named(ProductKind))
    region: str = Field(**TEXT)
    """The buyer's, GB/T 2260, on the trade's date."""
    related: bool = Field(**FLAG)
    late: bool = Field(**FLAG)
    termination_id: ProposalId | None = Field(**BIG)
    reversal_id: ProposalId | None = Field(**BIG)
    changed_at: int = Field(**BIG)


class Contract(Stored, table=True):
    """A contract by what identifies it, and the trade that counts under it: at most one at a time."""

    sort: ClassVar = Sort.CURRENT

    seller_id: MemberId = Field(primary_key=True, **BIG)
    buyer_id: MemberId = Field(primary_key=True, **BIG)
    number: str = Field(primary_key=True, **TEXT)
    sha256: str = Field(primary_key=True, **TEXT)
    trade_id: TradeId | None = Field(**BIG)
    """Null after a reversal: the contract can be recorded again."""
