"""What a text must be to get in: so that no screen, file or spreadsheet it later reaches has to defend itself."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from exchange.problems import Fault

FORMULA_STARTS: Final = frozenset("=+-@\t\r＝＋－＠")
FORMULA_RULE: Final = "must not begin with =, +, -, @, a tab or a line end: a spreadsheet would take it for a formula"
UNSEEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
UNSEEN_LETTERS: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Fillers, joiners, selectors and the empty Braille pattern: not seen either, though their categories are those of letters and marks."""

NAME_LIMIT: Final = 120
REFERENCE_LIMIT: Final = 64
PARAGRAPH_LIMIT: Final = 600
ADDRESS_LIMIT: Final = 200
"""How many characters (code points) a text of each kind may have."""
CHARACTER_BYTES: Final = 3
"""So many bytes of UTF-8 a text may have for each of its characters: Chinese fills its limit; rare characters beyond the BMP weigh four."""


def byte_limit(limit: int) -> int:
    """Give how many bytes of UTF-8 a text of at most so many characters may have.

    >>> byte_limit(120)
    360
    """
    return CHARACTER_BYTES * limit


def is_formula(text: str) -> bool:
    """Tell whether a spreadsheet may take a text for a formula, also one that is disarmed by an apostrophe before it."""
    return text.removeprefix("'")[:1] in FORMULA_STARTS


def text_fault(text: str, limit: int) -> str | None:
    """Give the rule that a text breaks, in words; None where it breaks none. `limit` counts characters; bytes are limited by it, too."""
    if not text or text != text.strip():
        return "must have at least one character, and no space at either end"
    # A surrogate, which the next rules refuse, is weighed as well.
    if len(text) > limit or len(text.encode(errors="surrogatepass")) > byte_limit(limit):
        return f"must have at most {limit} characters, and {byte_limit(limit)} bytes in UTF-8"
    if is_formula(text):
        return FORMULA_RULE
    if UNSEEN_LETTERS.search(text) or _has_unseen(text):
        return "must have no control, invisible or unassigned characters"
    if not unicodedata.is_normalized("NFC", text):
        return "must be in Unicode's normal form NFC"
    return None


def _has_unseen(text: str) -> bool:
    # All that is printable is seen; what is not may still be a space of another width.
    return not text.isprintable() and any(unicodedata.category(letter) in UNSEEN_CATEGORIES for letter in text)


def text_faults(texts: Iterable[tuple[str, str | None, int]]) -> list[Fault]:
    """Check several (field, text, limit); a missing text breaks no rule."""
    checked = ((name, text_fault(text, limit)) for name, text, limit in texts if text is not None)
    return [Fault(f"/{name}", rule) for name, rule in checked if rule is not None]
