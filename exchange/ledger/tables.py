"""What the ledger stores."""

from datetime import date
from enum import StrEnum
from typing import ClassVar

from sqlalchemy import CheckConstraint, UniqueConstraint

from exchange.columns import BIG, DAY, FEN, Sort, Stored, Told, column, named, one_of
from exchange.identifiers import TradeId
from exchange.money import Money


class Book(StrEnum):
    """A set of accounts whose debits equal its credits."""

    CONTRACTED = "contracted"


class AccountKind(StrEnum):
    """What an account is for."""

    PURCHASES = "purchases"
    SALES = "sales"


class EntryKind(StrEnum):
    """Why an entry was made."""

    CONTRACT = "contract"
    TERMINATION = "termination"
    REVERSAL = "reversal"
    CONTRACT_AND_TERMINATION = "contract_and_termination"
    """An old trade recorded with both."""


class Account(Stored, table=True):
    """One account of an owner in a book, with four counters that only grow."""

    __table_args__ = (
        UniqueConstraint("owner_id", "book", "kind"),
        one_of("book", Book),
        one_of("kind", AccountKind),
        CheckConstraint(
            "debits_posted >= 0 AND credits_posted >= 0 AND debits_pending >= 0 AND credits_pending >= 0",
            name="counters_not_negative",
        ),
    )
    sort: ClassVar = Sort.CURRENT
    told: ClassVar = Told.DERIVED
    kept: ClassVar = True

    id: int = column(BIG, primary_key=True)
    owner_id: int = column(BIG)
    book: Book = column(named(Book))
    kind: AccountKind = column(named(AccountKind))
    debits_posted: Money = column(FEN)
    credits_posted: Money = column(FEN)
    debits_pending: Money = column(FEN)
    credits_pending: Money = column(FEN)


class Entry(Stored, table=True):
    """What one command posted: an ordered set of transfers."""

    __table_args__ = (one_of("kind", EntryKind),)
    sort: ClassVar = Sort.POSTED

    position: int = column(BIG, primary_key=True)
    kind: EntryKind = column(named(EntryKind))
    trade_id: TradeId = column(BIG)


class Transfer(Stored, table=True):
    """An amount from one account to another of the same book, on a business day."""

    __table_args__ = (
        CheckConstraint("amount > 0", name="amount_positive"),
        CheckConstraint("debit_account_id <> credit_account_id", name="two_accounts"),
    )
    sort: ClassVar = Sort.POSTED

    position: int = column(BIG, primary_key=True, foreign_key="entry.position")
    number: int = column(BIG, primary_key=True)
    debit_account_id: int = column(BIG)
    credit_account_id: int = column(BIG)
    amount: Money = column(FEN)
    effective_on: date = column(DAY)
