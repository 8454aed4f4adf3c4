"""What can be done with months: they are closed, one after the other."""

from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from exchange.clock import FIRST_BUSINESS_DAY
from exchange.journal.commands import Command, Result
from exchange.journal.work import Needs, UnitOfWork
from exchange.problems import Conflict, Fault, Invalid
from exchange.volume import rules
from exchange.volume.recording import CLOSING_NEEDED, closed_through
from exchange.volume.tables import BOOKS_ID, ClosedMonth, Closing


class MonthWrong(Invalid):
    """Only a whole month that is over can be closed."""

    remedy = "Name a month that is over, from the exchange's beginning on."


class MonthOutOfTurn(Conflict):
    """Months are closed one after the other, each once."""

    remedy = "Close the month that follows the last closed one."


@dataclass(frozen=True, slots=True)
class CloseMonth(Command):
    """Close a month: what is filed for it from now on is late."""

    allowed: ClassVar = frozenset({"operator"})

    month: date
    """Its first day."""

    def __post_init__(self) -> None:
        """Take first days only, and none before there was an exchange. Raises MonthWrong."""
        if self.month.day != 1:
            raise MonthWrong("A month is named by its first day.", Fault("/month", "must be the first day of a month"))
        # The first month closed is free, and each later one must follow: one closed too early could never be mended.
        if rules.last_day(self.month) < FIRST_BUSINESS_DAY:
            rule = f"must not lie before {FIRST_BUSINESS_DAY:%Y-%m}"
            raise MonthWrong("There was no exchange yet.", Fault("/month", rule))

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask how far the months are closed."""
        yield [CLOSING_NEEDED]

    def decide(self, work: UnitOfWork) -> Result:
        """Close it."""
        end = rules.last_day(self.month)
        if end >= work.today:
            raise MonthWrong(f"The month {self.month:%Y-%m} is not over.", Fault("/month", "must be over"))
        through = closed_through(work)
        if through is not None and self.month != rules.next_month(through):
            raise MonthOutOfTurn(
                f"The months are closed through {through}; {rules.next_month(through):%Y-%m} is the next."
            )
        work.insert(ClosedMonth, month=self.month, position=work.position, closed_on=work.today)
        closing = work.find(Closing, BOOKS_ID)
        if closing is None:
            work.insert(Closing, id=BOOKS_ID, closed_through=end)
        else:
            work.change(closing, closed_through=end)
        work.tell("month.closed", month=f"{self.month:%Y-%m}")
        return {"month": f"{self.month:%Y-%m}", "closed_through": end.isoformat()}
