"""How listings stand, for the commands of this and of higher floors."""

from collections.abc import Iterable
from datetime import date
from typing import Final

from exchange.identifiers import ListingId
from exchange.journal.work import Need, UnitOfWork
from exchange.listings import rules
from exchange.listings.states import ListingState
from exchange.listings.tables import DataProduct, Listing, ListingHistory, ProductVersion

BY_LISTING: Final = ("listing_id",)


def description_needed(listing: Listing) -> list[Need]:
    """Ask for what a listing offers: the product and the version."""
    return [Need(ProductVersion, listing.version_id), Need(DataProduct, listing.product_id)]


def listing_history_needed(work: UnitOfWork, listing_ids: Iterable[ListingId], day: date) -> list[Need]:
    """Ask for the histories of those listings whose rows do not tell how they stood on that day."""
    listings = (work.find(Listing, listing_id) for listing_id in listing_ids)
    return [
        Need(ListingHistory, listing.id, BY_LISTING) for listing in listings if listing and day < listing.changed_on
    ]


def listing_state(work: UnitOfWork, listing: Listing, day: date) -> ListingState | None:
    """Say in which state a listing was on a day; needs `listing_history_needed`."""
    if day >= listing.changed_on:
        return listing.state
    return rules.state_on(day, work.all(ListingHistory, listing.id, BY_LISTING))


def check_tradable(work: UnitOfWork, listing: Listing, day: date) -> None:
    """Check that a listing can be traded on a day. Raises ListingNotTradable. The owner's standing is the trade's to check."""
    version = work.get(ProductVersion, listing.version_id)
    rules.check_tradable(listing_state(work, listing, day), listing, version, day)
