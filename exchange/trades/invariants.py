"""What must be true of trades."""

from typing import Final

from exchange.journal.invariants import Invariant, none_of

_WORD = (
    "CASE c.field WHEN 'purpose' THEN t.purpose WHEN 'contract_number' THEN t.contract_number ELSE t.delivery_terms END"
)
_CORRECTIONS = (
    "SELECT c.*, lag(c.after) OVER before_it AS stood, row_number() OVER before_it AS nth, "
    "row_number() OVER (PARTITION BY c.subject, c.field ORDER BY c.position DESC) AS from_last "
    "FROM correction c WHERE c.subject LIKE 'trd!_%' ESCAPE '!' AND c.field IN ('purpose', 'contract_number', 'delivery_terms') "
    "WINDOW before_it AS (PARTITION BY c.subject, c.field ORDER BY c.position)"
)
_COUNTED = "('contracted', 'terminated', 'reversed')"

INVARIANTS: Final = [
    Invariant(
        "8a",
        "A trade counts exactly once, on its day and for its amount, in its own dimensions.",
        none_of(
            "SELECT count(*) FROM trade",
            "SELECT t.id AS trade, t.state, count(v.position) AS counted FROM trade t LEFT JOIN volume_entry v "
            "ON v.trade_id = t.id AND v.movement = 'counted' GROUP BY t.id, t.state "
            f"HAVING count(v.position) <> CASE WHEN t.state IN {_COUNTED} THEN 1 ELSE 0 END",
            "SELECT t.id AS trade, v.position FROM trade t JOIN volume_entry v ON v.trade_id = t.id WHERE abs(v.gross) <> t.gross "
            "OR abs(v.net_excluding_vat) <> t.net OR v.buyer_id <> t.buyer_id OR v.seller_id <> t.seller_id "
            "OR v.product_id <> t.product_id OR v.sector <> t.sector OR v.kind <> t.kind OR v.region <> t.region "
            "OR v.venue <> t.venue OR v.mode <> t.mode OR v.related <> t.related "
            "OR v.effective_on <> CASE WHEN v.movement = 'counted' THEN t.effective_on ELSE t.ended_on END",
        ),
    ),
    Invariant(
        "8b",
        "What counted is taken back at most once, and only when terminated or reversed.",
        none_of(
            "SELECT count(*) FROM trade",
            "SELECT t.id AS trade, t.state, count(v.position) AS taken_back FROM trade t LEFT JOIN volume_entry v "
            "ON v.trade_id = t.id AND v.movement = t.state GROUP BY t.id, t.state "
            "HAVING count(v.position) <> CASE WHEN t.state IN ('terminated', 'reversed') THEN 1 ELSE 0 END",
            "SELECT v.trade_id AS trade, v.movement FROM volume_entry v LEFT JOIN trade t ON t.id = v.trade_id "
            "WHERE t.id IS NULL OR (v.movement <> 'counted' AND v.movement <> t.state)",
        ),
    ),
    Invariant(
        "8c",
        "Ledger and volume moved together: each entry's transfers are the amounts and days of its volume entries.",
        none_of(
            "SELECT count(*) FROM entry",
            "SELECT position FROM (SELECT position, number, amount, effective_on FROM transfer UNION ALL "
            "SELECT position, number, -abs(gross), effective_on FROM volume_entry) b "
            "GROUP BY position, number, effective_on HAVING sum(amount) <> 0",
        ),
    ),
    Invariant(
        "8d",
        "A contract counts for at most one trade at a time.",
        none_of(
            "SELECT count(*) FROM contract",
            "SELECT t.id AS trade FROM trade t LEFT JOIN contract c ON c.trade_id = t.id AND c.seller_id = t.seller_id "
            "AND c.buyer_id = t.buyer_id AND c.number = t.contract_number AND c.sha256 = t.contract_sha256 "
            "WHERE t.state IN ('contracted', 'terminated') AND c.trade_id IS NULL",
            "SELECT c.trade_id AS trade FROM contract c LEFT JOIN trade t ON t.id = c.trade_id "
            "AND t.state IN ('contracted', 'terminated') WHERE c.trade_id IS NOT NULL AND t.id IS NULL",
        ),
    ),
    Invariant(
        "8e",
        "Corrections follow on each other, and a trade says what the last one of each field says.",
        none_of(
            "SELECT count(*) FROM correction",
            f"SELECT c.subject, c.field FROM ({_CORRECTIONS}) c LEFT JOIN trade t ON t.id = CAST(substr(c.subject, 5) AS BIGINT) "
            f"WHERE t.id IS NULL OR (c.from_last = 1 AND coalesce({_WORD}, '') <> coalesce(c.after, '')) "
            "OR (c.nth > 1 AND coalesce(c.stood, '') <> coalesce(c.before, ''))",
        ),
    ),
]
