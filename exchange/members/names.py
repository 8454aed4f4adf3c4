"""How a company is found by a part of its name, or of the initials of its pinyin; and which names look like another."""

import unicodedata
from functools import cache
from importlib.resources import files
from typing import Final

import orjson

TERM_LENGTH: Final = 24
"""So many characters of a term are kept: who types more finds by the first ones."""
LOOK: Final = "\x01"
"""Stands before what a whole name looks like: nobody can type it, so that no search finds it."""
_UNSEEN_MARK: Final = "\u200e"


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


def skeleton(text: str) -> str:
    """Give the skeleton of a text (UTS 39, 4): two that look the same have the same.

    >>> skeleton("エ商") == skeleton("工商")
    True
    """
    seen = (_prototypes().get(letter, letter) for letter in unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFD", "".join(seen))


def looks(*names: str) -> set[str]:
    r"""Give what these names look like, as it is stored: once with case told apart, as `I` looks like `l`, and once without.

    >>> looks("Hunan AI") & looks("HUNAN AI") and looks("Hunan AI") & looks("Hunan Al")
    {'\x01hunana1'}
    """
    plain = {folded(name) for name in names}
    told_apart = {skeleton("".join(unicodedata.normalize("NFKC", name).split())) for name in names}
    return {LOOK + skeleton(form) for form in plain} | {LOOK + skeleton(form.casefold()) for form in told_apart}


def known_by(*names: str) -> set[str]:
    """Give all that is kept of a company with these names."""
    return terms(*names) | looks(*names)


@cache
def _prototypes() -> dict[str, str]:
    """Read for each character that looks like another what all of them stand for."""
    # The library has no skeletons, but the table: a megabyte of JSON, which only who records names needs.
    table = orjson.loads(files("confusable_homoglyphs").joinpath("confusables.json").read_bytes())
    rings = [
        {text.replace(_UNSEEN_MARK, "") for text in (one, *(other["c"] for other in others))}
        for one, others in table.items()
    ]
    # A prototype is listed with all that look like it, each of those with it alone: the largest ring that names a character is whole.
    found: dict[str, str] = {}
    for ring in sorted(rings, key=len):
        found |= dict.fromkeys(ring, min(ring, key=lambda text: (-len(text), text)))
    return {one: "".join(found.get(letter, letter) for letter in stands) for one, stands in found.items()}
