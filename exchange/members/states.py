"""The life of a membership, as one table."""

from enum import StrEnum
from typing import Final


class MemberState(StrEnum):
    """Where a membership stands."""

    SUBMITTED = "submitted"
    UNDER_REVIEW = "under_review"
    CORRECTION_REQUESTED = "correction_requested"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    EXPELLED = "expelled"


class MemberStep(StrEnum):
    """What can happen to it."""

    START_REVIEW = "start_review"
    REQUEST_CORRECTION = "request_correction"
    CORRECT = "correct"
    ADMIT = "admit"
    REJECT = "reject"
    SUSPEND = "suspend"
    REINSTATE = "reinstate"
    WITHDRAW = "withdraw"
    EXPEL = "expel"


NEXT: Final = {
    (MemberState.SUBMITTED, MemberStep.START_REVIEW): MemberState.UNDER_REVIEW,
    (MemberState.UNDER_REVIEW, MemberStep.REQUEST_CORRECTION): MemberState.CORRECTION_REQUESTED,
    (MemberState.CORRECTION_REQUESTED, MemberStep.CORRECT): MemberState.UNDER_REVIEW,
    (MemberState.UNDER_REVIEW, MemberStep.ADMIT): MemberState.ACTIVE,
    (MemberState.UNDER_REVIEW, MemberStep.REJECT): MemberState.REJECTED,
    (MemberState.ACTIVE, MemberStep.SUSPEND): MemberState.SUSPENDED,
    (MemberState.SUSPENDED, MemberStep.REINSTATE): MemberState.ACTIVE,
    (MemberState.ACTIVE, MemberStep.WITHDRAW): MemberState.WITHDRAWN,
    (MemberState.SUSPENDED, MemberStep.WITHDRAW): MemberState.WITHDRAWN,
    (MemberState.ACTIVE, MemberStep.EXPEL): MemberState.EXPELLED,
    (MemberState.SUSPENDED, MemberStep.EXPEL): MemberState.EXPELLED,
}

ENDED: Final = frozenset({MemberState.REJECTED, MemberState.WITHDRAWN, MemberState.EXPELLED})
"""No longer live: the company may apply anew, an expelled one only after it has been readmitted."""

ADMITTED: Final = frozenset({MemberState.ACTIVE, MemberState.SUSPENDED, MemberState.WITHDRAWN, MemberState.EXPELLED})
"""Who is in one of these has been active."""
