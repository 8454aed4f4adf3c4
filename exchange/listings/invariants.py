"""What must be true of products and listings."""

from typing import Final

from exchange.journal.invariants import Invariant, none_of

INVARIANTS: Final = [
    Invariant(
        "L1",
        "A listing is in the state that its history ends with.",
        none_of(
            "SELECT count(*) FROM listing",
            "SELECT l.id AS listing, l.state FROM listing l LEFT JOIN (SELECT listing_id, state, effective_on, row_number() OVER "
            "(PARTITION BY listing_id ORDER BY position DESC, number DESC) AS place FROM listing_history) h "
            "ON h.listing_id = l.id AND h.place = 1 "
            "WHERE h.state IS NULL OR h.state <> l.state OR h.effective_on <> l.changed_on",
        ),
    ),
    Invariant(
        "L2",
        "A product has at most one listing that is listed or suspended: its current one.",
        none_of(
            "SELECT count(*) FROM data_product",
            "SELECT p.id AS product, p.current_listing_id AS current FROM data_product p LEFT JOIN listing l "
            "ON l.product_id = p.id AND l.state IN ('listed', 'suspended') "
            "WHERE coalesce(p.current_listing_id, 0) <> coalesce(l.id, 0)",
        ),
    ),
    Invariant(
        "L3",
        "Versions of a product are numbered without gaps.",
        none_of(
            "SELECT count(*) FROM data_product",
            "SELECT p.id AS product, p.versions FROM data_product p LEFT JOIN (SELECT product_id, count(*) AS versions, "
            "max(number) AS newest FROM product_version GROUP BY product_id) v ON v.product_id = p.id "
            "WHERE p.versions <> coalesce(v.versions, 0) OR p.versions <> coalesce(v.newest, 0)",
        ),
    ),
    Invariant(
        "L4",
        "Important data that is listed has a security assessment by another company.",
        none_of(
            "SELECT count(*) FROM product_version WHERE grade = 'important'",
            "SELECT l.id AS listing FROM listing l JOIN product_version v ON v.id = l.version_id WHERE v.grade = 'important' "
            "AND l.state IN ('listed', 'suspended', 'delisted') AND NOT EXISTS (SELECT 1 FROM assessment a "
            "WHERE a.version_id = v.id AND a.kind = 'security' AND a.assessor_id <> l.owner_id)",
        ),
    ),
]
