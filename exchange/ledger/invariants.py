"""What must be true of the ledger."""

from typing import Final

from exchange.journal.invariants import Invariant, none_of

INVARIANTS: Final = [
    Invariant(
        "1a",
        "Debits equal credits in every book.",
        none_of(
            "SELECT count(DISTINCT book) FROM account",
            "SELECT book, sum(debits_posted) AS debits, sum(credits_posted) AS credits FROM account GROUP BY book "
            "HAVING sum(debits_posted) <> sum(credits_posted)",
        ),
    ),
    Invariant(
        "1b",
        "Every entry has transfers, and each stays within one book.",
        none_of(
            "SELECT count(*) FROM entry",
            "SELECT e.position FROM entry e LEFT JOIN transfer t ON t.position = e.position WHERE t.position IS NULL",
            "SELECT t.position, t.number FROM transfer t LEFT JOIN account d ON d.id = t.debit_account_id "
            "LEFT JOIN account c ON c.id = t.credit_account_id WHERE d.book IS NULL OR c.book IS NULL OR d.book <> c.book",
        ),
    ),
    Invariant(
        "2",
        "An account's counters equal the sum of its transfers; none is negative.",
        none_of(
            "SELECT count(*) FROM account",
            "SELECT a.id AS account, a.debits_posted, a.credits_posted FROM account a "
            "LEFT JOIN (SELECT debit_account_id AS id, sum(amount) AS amount FROM transfer GROUP BY debit_account_id) d ON d.id = a.id "
            "LEFT JOIN (SELECT credit_account_id AS id, sum(amount) AS amount FROM transfer GROUP BY credit_account_id) c "
            "ON c.id = a.id WHERE a.debits_posted <> coalesce(d.amount, 0) OR a.credits_posted <> coalesce(c.amount, 0)",
        ),
    ),
    Invariant(
        "4",
        "Pending counters equal the open holds, of which there are none yet.",
        none_of(
            "SELECT count(*) FROM account",
            "SELECT id AS account FROM account WHERE debits_pending <> 0 OR credits_pending <> 0",
        ),
    ),
]
