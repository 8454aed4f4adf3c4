"""What is stored of trades."""

from datetime import date
from enum import StrEnum
from typing import ClassVar

from sqlalchemy import CheckConstraint, Index

from exchange.columns import BIG, DAY, FEN, FLAG, TEXT, TEXTS, Sort, Stored, column, named, one_of, sparse_index
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
        Index(None, "contract_number", "id"),
        Index(None, "effective_on", "id"),
        Index(None, "mode", "id"),
        Index(None, "venue", "id"),
        sparse_index("buyer_ref", "id"),
        sparse_index("seller_ref", "id"),
        sparse_index("termination_id"),
        sparse_index("reversal_id"),
    )
    sort: ClassVar = Sort.CURRENT

    id: TradeId = column(BIG, primary_key=True)
    state: TradeState = column(named(TradeState))
    mode: TradeMode = column(named(TradeMode))
    venue: Venue = column(named(Venue))
    proposer: Side = column(named(Side))
    buyer_id: MemberId = column(BIG)
    seller_id: MemberId = column(BIG)
    listing_id: ListingId = column(BIG)
    product_id: ProductId = column(BIG)
    version_id: VersionId = column(BIG)
    purpose: str = column(TEXT)
    quantity: int = column(BIG)
    contract_number: str = column(TEXT)
    contract_sha256: str = column(TEXT)
    net: Money = column(FEN)
    vat: Money = column(FEN)
    gross: Money = column(FEN)
    delivery_terms: str | None = column(TEXT)
    acceptance_window_days: int = column(BIG)
    buyer_ref: str | None = column(TEXT)
    seller_ref: str | None = column(TEXT)
    evidence: tuple[str, ...] = column(TEXTS)
    """SHA-256 of each document of a filing."""
    proposed_on: date = column(DAY)
    effective_on: date | None = column(DAY)
    """The business date on which it counts; null before the contract of an on-exchange trade."""
    received_on: date | None = column(DAY)
    """When the exchange had a filing in hand, as staff says."""
    ended_on: date | None = column(DAY)
    """The business date on which it was cancelled, rejected, terminated or reversed."""
    confirmed: bool = column(FLAG)
    """Whether both parties have agreed."""
    sector: Sector = column(named(Sector))
    kind: ProductKind = column(named(ProductKind))
    region: str = column(TEXT)
    """The buyer's, GB/T 2260, on the trade's date."""
    related: bool = column(FLAG)
    late: bool = column(FLAG)
    termination_id: ProposalId | None = column(BIG)
    reversal_id: ProposalId | None = column(BIG)
    changed_at: int = column(BIG)


class Contract(Stored, table=True):
    """A contract by what identifies it, and the trade that counts under it: at most one at a time."""

    sort: ClassVar = Sort.CURRENT

    seller_id: MemberId = column(BIG, primary_key=True)
    buyer_id: MemberId = column(BIG, primary_key=True)
    number: str = column(TEXT, primary_key=True)
    sha256: str = column(TEXT, primary_key=True)
    trade_id: TradeId | None = column(BIG)
    """Null after a reversal: the contract can be recorded again."""
