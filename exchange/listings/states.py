"""The life of a listing, as one table."""

from enum import StrEnum
from typing import Final


class ListingState(StrEnum):
    """Where a listing stands. That its term has run out is computed when asked, not stored."""

    DRAFT = "draft"
    IN_REVIEW = "in_review"
    LISTED = "listed"
    SUSPENDED = "suspended"
    REJECTED = "rejected"
    DELISTED = "delisted"


class ListingStep(StrEnum):
    """What can happen to it."""

    SUBMIT = "submit"
    APPROVE = "approve"
    REJECT = "reject"
    SUSPEND = "suspend"
    RESUME = "resume"
    DELIST = "delist"


NEVER_PUBLIC: Final = frozenset({ListingState.DRAFT, ListingState.IN_REVIEW, ListingState.REJECTED})
"""Nobody but its owner and the exchange has seen a listing that is in one of these."""

NEXT: Final = {
    (ListingState.DRAFT, ListingStep.SUBMIT): ListingState.IN_REVIEW,
    (ListingState.IN_REVIEW, ListingStep.APPROVE): ListingState.LISTED,
    (ListingState.IN_REVIEW, ListingStep.REJECT): ListingState.REJECTED,
    (ListingState.LISTED, ListingStep.SUSPEND): ListingState.SUSPENDED,
    (ListingState.SUSPENDED, ListingStep.RESUME): ListingState.LISTED,
    (ListingState.LISTED, ListingStep.DELIST): ListingState.DELISTED,
    (ListingState.SUSPENDED, ListingStep.DELIST): ListingState.DELISTED,
}

OFFERED: Final = frozenset(set(ListingState) - NEVER_PUBLIC)
"""A listing that is in one of these has been for sale."""
