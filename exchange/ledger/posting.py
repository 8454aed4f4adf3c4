"""The one posting primitive: an entry of ordered transfers, each from one account to another, so that it balances by construction."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final, NamedTuple

from exchange.identifiers import MemberId, TradeId
from exchange.journal.work import Need, UnitOfWork
from exchange.ledger.tables import Account, AccountKind, Book, Entry, EntryKind, Transfer
from exchange.money import SUM_LIMIT, Money
from exchange.problems import Conflict

SLOTS: Final = {
    (Book.CONTRACTED, AccountKind.PURCHASES): 0,
    (Book.CONTRACTED, AccountKind.SALES): 1,
}
"""The place of an account among its owner's. Places are never given to another: ids are made of them."""
SLOTS_PER_OWNER: Final = 16


class SumTooLarge(Conflict):
    """An account would grow beyond what can be counted exactly."""

    remedy = "Ask the exchange: at 9 × 10^18 fen the books must be continued in a new unit."


class Posting(NamedTuple):
    """A transfer to be: from the debit to the credit account, in fen, on a business day."""

    debit_account_id: int
    credit_account_id: int
    amount: Money
    effective_on: date


def account_id(owner_id: MemberId, book: Book, kind: AccountKind) -> int:
    """Give the id of an owner's account, which follows from whose and which it is."""
    return owner_id * SLOTS_PER_OWNER + SLOTS[book, kind]


def sale_accounts(buyer_id: MemberId, seller_id: MemberId, book: Book) -> tuple[int, int]:
    """Give the accounts of a sale: the buyer's purchases and the seller's sales."""
    return account_id(buyer_id, book, AccountKind.PURCHASES), account_id(seller_id, book, AccountKind.SALES)


def balance(account: Account) -> Money:
    """Give what an account stands at: of purchases what was debited, of sales what was credited, less what was taken back."""
    debited = Money(account.debits_posted - account.credits_posted)
    return debited if account.kind is AccountKind.PURCHASES else Money(-debited)


def accounts_needed(account_ids: Iterable[int]) -> list[Need]:
    """Ask for these accounts."""
    return [Need(Account, number) for number in account_ids]


def open_accounts(work: UnitOfWork, owner_id: MemberId) -> None:
    """Open all accounts of a new owner."""
    for book, kind in SLOTS:
        work.insert(
            Account,
            id=account_id(owner_id, book, kind),
            owner_id=owner_id,
            book=book,
            kind=kind,
            debits_posted=Money(0),
            credits_posted=Money(0),
            debits_pending=Money(0),
            credits_pending=Money(0),
        )


def post(work: UnitOfWork, kind: EntryKind, trade_id: TradeId, postings: Sequence[Posting]) -> None:
    """Post the entry of this command. Raises SumTooLarge; the accounts must be loaded."""
    work.insert(Entry, position=work.position, kind=kind, trade_id=trade_id)
    for number, posting in enumerate(postings, 1):
        debit = work.get(Account, posting.debit_account_id)
        credit = work.get(Account, posting.credit_account_id)
        assert debit.book == credit.book, "a transfer stays within one book"
        work.insert(
            Transfer,
            position=work.position,
            number=number,
            debit_account_id=debit.id,
            credit_account_id=credit.id,
            amount=posting.amount,
            effective_on=posting.effective_on,
        )
        debited, credited = debit.debits_posted + posting.amount, credit.credits_posted + posting.amount
        if max(debited, credited) > SUM_LIMIT:
            raise SumTooLarge("A party's total would exceed 9 × 10^18 fen.")
        work.change(debit, debits_posted=debited)
        work.change(credit, credits_posted=credited)
