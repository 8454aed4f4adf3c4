"""What can be asked of products and listings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, func, or_
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from exchange.identifiers import ListingId, ProductId, VersionId
from exchange.journal.queries import AS_OF, holding
from exchange.listings.states import OFFERED, ListingState
from exchange.listings.tables import (
    Assessment,
    AssessmentKind,
    DataProduct,
    Listing,
    ListingHistory,
    ProductKind,
    ProductVersion,
    Sector,
)
from exchange.members.queries import first_ids, memberships
from exchange.members.tables import Member
from exchange.problems import unseen

_offered: Final = (
    sa_select(func.count())
    .select_from(Listing)
    .where(or_(col(Listing.expires_on).is_(None), col(Listing.expires_on) >= AS_OF))
)
LISTED_NOW: Final = _offered.where(col(Listing.state) == ListingState.LISTED).scalar_subquery()
"""How many listings are for sale by their state, and AS_OF a day by their term."""
_states: Final = holding(col(ListingHistory.listing_id), col(ListingHistory.state))
LISTED_THEN: Final = (
    _offered.join(_states, _states.c.key == col(Listing.id))
    .where(_states.c.value == ListingState.LISTED)
    .scalar_subquery()
)
"""How many were by both, AS_OF a day, as KNOWN_AT a position."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A listing with all that it offers."""

    listing: Listing
    version: ProductVersion
    product: DataProduct
    owner: Member


def _offers() -> Any:  # a select of four tables
    return (
        select(Listing, ProductVersion, DataProduct, Member)
        .join(ProductVersion, col(ProductVersion.id) == Listing.version_id)
        .join(DataProduct, col(DataProduct.id) == Listing.product_id)
        .join(Member, col(Member.id) == Listing.owner_id)
    )


def find_offer(session: Session, listing_id: ListingId) -> Offer:
    """Give a listing. Raises NotFound."""
    row = session.exec(_offers().where(Listing.id == listing_id)).one_or_none()
    if row is None:
        raise unseen()
    return Offer(*row)


@dataclass(frozen=True, slots=True)
class OfferFilter:
    """Which listings: all that is given must hold."""

    state: ListingState | None = None
    sector: Sector | None = None
    kind: ProductKind | None = None


def list_offers(session: Session, after: int | None, limit: int, which: OfferFilter) -> list[Offer]:
    """List listings, the oldest first."""
    query = _offers().order_by(col(Listing.id)).limit(limit)
    equal = {Listing.state: which.state, ProductVersion.sector: which.sector, DataProduct.kind: which.kind}
    query = query.where(*(col(column) == value for column, value in equal.items() if value is not None))
    if after is not None:
        query = query.where(col(Listing.id) > after)
    return [Offer(*row) for row in session.exec(query)]


@dataclass(frozen=True, slots=True)
class ProductFile:
    """A product with all its versions."""

    product: DataProduct
    owner: Member
    versions: Sequence[ProductVersion]


def find_product(session: Session, product_id: ProductId, company: str | None) -> ProductFile:
    """Give a product to its owner and to staff (`company` None). Raises NotFound."""
    query = (
        select(DataProduct, Member)
        .join(Member, col(Member.id) == DataProduct.owner_id)
        .where(DataProduct.id == product_id)
    )
    if company is not None:
        query = query.where(Member.uscc == company)
    row = session.exec(query).one_or_none()
    if row is None:
        raise unseen()
    versions = (
        select(ProductVersion).where(ProductVersion.product_id == product_id).order_by(col(ProductVersion.number))
    )
    return ProductFile(*row, session.exec(versions).all())


def list_products(
    session: Session, company: str | None, after: int | None, limit: int
) -> list[tuple[DataProduct, Member]]:
    """List products with their owners, the oldest first; to a company its own."""
    later: list[ColumnElement[bool]] = [] if after is None else [col(DataProduct.id) > after]
    query = (
        select(DataProduct, Member)
        .join(Member, col(Member.id) == DataProduct.owner_id)
        .where(*later)
        .order_by(col(DataProduct.id))
        .limit(limit)
    )
    if company is not None:
        walks = [
            select(col(DataProduct.id)).where(DataProduct.owner_id == number, *later)
            for number in memberships(session, company)
        ]
        query = query.where(col(DataProduct.id).in_(first_ids(session, walks, limit)))
    return [(product, owner) for product, owner in session.exec(query)]


def count_by_state(session: Session) -> dict[ListingState, int]:
    """Count the listings in each state."""
    query: Any = select(Listing.state, func.count()).group_by(col(Listing.state))
    return dict(session.exec(query).all())


def count_bare_products(session: Session) -> int:
    """Count the products without any version."""
    return session.exec(select(func.count()).select_from(DataProduct).where(DataProduct.versions == 0)).one()


def _was_offered() -> ColumnElement[bool]:
    offered = select(Listing.id).where(Listing.version_id == ProductVersion.id, col(Listing.state).in_(OFFERED))
    return offered.exists()


def count_never_offered(session: Session) -> int:
    """Count the versions that were never for sale."""
    return session.exec(select(func.count()).select_from(ProductVersion).where(~_was_offered())).one()


def list_never_offered(
    session: Session, after: int, limit: int
) -> Sequence[tuple[ProductVersion, DataProduct, Member]]:
    """List the versions that were never for sale, the oldest first."""
    query = (
        select(ProductVersion, DataProduct, Member)
        .join(DataProduct, col(DataProduct.id) == ProductVersion.product_id)
        .join(Member, col(Member.id) == DataProduct.owner_id)
        .where(~_was_offered(), col(ProductVersion.id) > after)
    )
    return session.exec(query.order_by(col(ProductVersion.id)).limit(limit)).all()


def list_offered(session: Session, after: int, limit: int) -> list[Offer]:
    """List the listings that were ever for sale, the oldest first."""
    query = _offers().where(col(Listing.state).in_(OFFERED), col(Listing.id) > after)
    return [Offer(*row) for row in session.exec(query.order_by(col(Listing.id)).limit(limit))]


def offered_of(session: Session, version_ids: Iterable[VersionId]) -> Sequence[tuple[ListingId, VersionId]]:
    """List the listings of these versions that were ever for sale, each with its version, the oldest first."""
    query: Any = select(Listing.id, Listing.version_id).where(
        col(Listing.version_id).in_(set(version_ids)), col(Listing.state).in_(OFFERED)
    )
    return [(listing_id, version_id) for listing_id, version_id in session.exec(query.order_by(col(Listing.id)))]


def listing_histories_of(session: Session, listing_ids: Iterable[ListingId]) -> Sequence[ListingHistory]:
    """List the histories of these listings, line by line."""
    query = select(ListingHistory).where(col(ListingHistory.listing_id).in_(set(listing_ids)))
    return session.exec(query.order_by(col(ListingHistory.position), col(ListingHistory.number))).all()


def security_assessments_of(session: Session, version_ids: Iterable[VersionId]) -> dict[VersionId, tuple[str, str]]:
    """Give the first security assessment of each of these versions that has one: the assessor's code, and the report's hash."""
    query: Any = (
        select(Assessment.version_id, Member.uscc, Assessment.report_sha256)
        .join(Member, col(Member.id) == Assessment.assessor_id)
        .where(col(Assessment.version_id).in_(set(version_ids)), Assessment.kind == AssessmentKind.SECURITY)
        .order_by(col(Assessment.id).desc())
    )
    return {version_id: (uscc, sha256) for version_id, uscc, sha256 in session.exec(query)}
