"""How a company is found by a part of its name, or of the initials of its pinyin."""

import unicodedata
from typing import Final

TERM_LENGTH: Final = 24
"""So many characters of a term are kept: who types more finds by the first ones."""


def folded(text: str) -> str:
    """Give the form in which names are compared: no case, no width, no spaces.

    >>> folded("Ｈunan 数据")
    'hunan数据'
    """
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def initials(name: str) -> str:
    """Give the first letters of a name's pinyin; what is not Chinese stays.

    >>> initials("湘数科技")
    'xskj'
    """
    # Its dictionary takes 60 MB: only who records names needs it.
    from pypinyin import Style, lazy_pinyin

    return folded("".join(lazy_pinyin(name, style=Style.FIRST_LETTER)))


def terms(*names: str) -> set[str]:
    """Give all by whose beginning a company with these names is found.

    >>> sorted(terms("湘数"))
    ['s', 'xs', '数', '湘数']
    """
    written = {form for name in names for form in (folded(name), initials(name))}
    return {form[start : start + TERM_LENGTH] for form in written for start in range(len(form))}
