"""What can be asked of products and listings."""

from datetime import date

from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from exchange.journal.queries import Moment
from exchange.listings.states import ListingState
from exchange.listings.tables import Listing, ListingHistory


def listed_count(session: Session, moment: Moment, as_of: date) -> int:
    """Count the listings for sale on a day by state and term, as known at a moment."""
    lines = (
        select(
            ListingHistory.listing_id,
            ListingHistory.state,
            func.row_number()
            .over(
                partition_by=col(ListingHistory.listing_id),
                order_by=(col(ListingHistory.position).desc(), col(ListingHistory.number).desc()),
            )
            .label("place"),
        )
        .where(col(ListingHistory.effective_on) <= as_of, col(ListingHistory.position) <= moment.position)
        .subquery()
    )
    query = (
        select(func.count())
        .select_from(lines)
        .join(Listing, col(Listing.id) == lines.c.listing_id)
        .where(
            lines.c.place == 1,
            lines.c.state == ListingState.LISTED,
            or_(col(Listing.expires_on).is_(None), col(Listing.expires_on) >= as_of),
        )
    )
    return session.exec(query).one()
