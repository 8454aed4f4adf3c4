"""Ids and codes: how they are written, and how they are checked.

An id is the journal position of the event that made the thing, written with a prefix and fixed width: sortable by time, the same on every database.
"""

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final, NewType

from stdnum.cn import uscc as uscc_standard
from stdnum.exceptions import ValidationError

MemberId = NewType("MemberId", int)
PersonId = NewType("PersonId", int)
KeyId = NewType("KeyId", int)
ProductId = NewType("ProductId", int)
VersionId = NewType("VersionId", int)
ListingId = NewType("ListingId", int)
TradeId = NewType("TradeId", int)
ProposalId = NewType("ProposalId", int)
MandateId = NewType("MandateId", int)


class Prefix(StrEnum):
    """What an id names."""

    MEMBER = "mbr"
    PERSON = "prs"
    KEY = "key"
    PRODUCT = "prd"
    VERSION = "ver"
    LISTING = "lst"
    TRADE = "trd"
    ENTRY = "ent"
    PROPOSAL = "prp"
    ASSESSMENT = "asm"
    MANDATE = "mnd"


USCC_RULE: Final = "must be 18 characters with a true check character (GB 32100-2015)"
SHA256_RULE: Final = "must be a SHA-256 in 64 lower-case hexadecimal digits"
"""What fields that hold these are told when they do not."""

DIGITS: Final = 12
_ID: Final = re.compile(rf"[a-z]{{3}}_([0-9]{{{DIGITS}}})", re.ASCII)
USCC_PATTERN: Final = "[0-9A-HJ-NP-RT-UW-Y]{18}"
_USCC: Final = re.compile(USCC_PATTERN, re.ASCII)
SHA256_PATTERN: Final = "[0-9a-f]{64}"
_SHA256: Final = re.compile(SHA256_PATTERN, re.ASCII)


def written_id(prefix: Prefix, number: int) -> str:
    """Write an id.

    >>> written_id(Prefix.TRADE, 9120)
    'trd_000000009120'
    """
    return f"{prefix}_{number:0{DIGITS}}"


def read_id(prefix: Prefix, text: str) -> int | None:
    """Read an id back; None where the text is not one of that kind.

    >>> read_id(Prefix.TRADE, "trd_000000009120"), read_id(Prefix.TRADE, "mbr_000000009120")
    (9120, None)
    """
    found = _ID.fullmatch(text)
    return int(found[1]) if found and text.startswith(prefix) else None


def read_any_id(text: object) -> int | None:
    """Read an id of whatever kind back; None where it is none.

    >>> read_any_id("trd_000000009120"), read_any_id("9120")
    (9120, None)
    """
    found = _ID.fullmatch(text) if isinstance(text, str) else None
    return int(found[1]) if found else None


@lru_cache(4_096)
def is_uscc(text: str) -> bool:
    """Tell whether this is a unified social credit code: 18 characters with a true check character (GB 32100-2015), in capitals."""
    if not _USCC.fullmatch(text):
        return False
    try:
        uscc_standard.validate(text)
    except ValidationError:
        return False
    return True


def is_sha256(text: str) -> bool:
    """Tell whether this is a SHA-256 in 64 lower-case hexadecimal digits."""
    return _SHA256.fullmatch(text) is not None
