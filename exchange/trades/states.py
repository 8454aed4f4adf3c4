"""The life of a trade: which step leads where, and whose step it is. Two tables, and nothing else decides it."""

from enum import StrEnum
from typing import Final


class TradeState(StrEnum):
    """Where a trade stands."""

    PROPOSED = "proposed"
    CONFIRMED = "confirmed"
    FILED = "filed"
    CONTRACTED = "contracted"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    TERMINATED = "terminated"
    REVERSED = "reversed"


class TradeStep(StrEnum):
    """What can happen to a trade that there is."""

    CONFIRM = "confirm"
    CONTRACT = "contract"
    CANCEL = "cancel"
    APPROVE_FILING = "approve_filing"
    REJECT_FILING = "reject_filing"
    PROPOSE_TERMINATION = "propose_termination"
    APPROVE_TERMINATION = "approve_termination"
    TERMINATE = "terminate"
    PROPOSE_REVERSAL = "propose_reversal"
    APPROVE_REVERSAL = "approve_reversal"


NEXT: Final = {
    (TradeState.PROPOSED, TradeStep.CONFIRM): TradeState.CONFIRMED,
    (TradeState.CONFIRMED, TradeStep.CONTRACT): TradeState.CONTRACTED,
    (TradeState.PROPOSED, TradeStep.CANCEL): TradeState.CANCELLED,
    (TradeState.CONFIRMED, TradeStep.CANCEL): TradeState.CANCELLED,
    (TradeState.FILED, TradeStep.CANCEL): TradeState.CANCELLED,
    (TradeState.FILED, TradeStep.CONFIRM): TradeState.FILED,
    (TradeState.FILED, TradeStep.APPROVE_FILING): TradeState.CONTRACTED,
    (TradeState.FILED, TradeStep.REJECT_FILING): TradeState.REJECTED,
    (TradeState.CONTRACTED, TradeStep.PROPOSE_TERMINATION): TradeState.CONTRACTED,
    (TradeState.CONTRACTED, TradeStep.APPROVE_TERMINATION): TradeState.TERMINATED,
    (TradeState.CONTRACTED, TradeStep.TERMINATE): TradeState.TERMINATED,
    (TradeState.CONTRACTED, TradeStep.PROPOSE_REVERSAL): TradeState.CONTRACTED,
    (TradeState.CONTRACTED, TradeStep.APPROVE_REVERSAL): TradeState.REVERSED,
}

OPEN: Final = frozenset({TradeState.PROPOSED, TradeState.CONFIRMED, TradeState.FILED})
"""Nothing counts yet, and something is to be done: a member with such trades cannot withdraw."""


IMPORTABLE: Final = frozenset(set(TradeState) - {TradeState.FILED, TradeState.REJECTED})
"""What an old trade can be recorded as; filings that nobody has decided, or that were rejected, stay where they were filed."""


class Who(StrEnum):
    """Whose step it is."""

    EITHER = "either"
    OTHER = "other"
    """The party that did not propose."""
    OPERATOR = "operator"
    OTHER_OPERATOR = "other_operator"
    """Another person than the one that proposed."""


WHO: Final = {
    TradeStep.CONFIRM: Who.OTHER,
    TradeStep.CONTRACT: Who.EITHER,
    TradeStep.CANCEL: Who.EITHER,
    TradeStep.APPROVE_FILING: Who.OPERATOR,
    TradeStep.REJECT_FILING: Who.OPERATOR,
    TradeStep.PROPOSE_TERMINATION: Who.EITHER,
    TradeStep.APPROVE_TERMINATION: Who.OTHER,
    TradeStep.TERMINATE: Who.OPERATOR,
    TradeStep.PROPOSE_REVERSAL: Who.OPERATOR,
    TradeStep.APPROVE_REVERSAL: Who.OTHER_OPERATOR,
}
