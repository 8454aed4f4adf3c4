"""JSON as it is read everywhere: whole numbers, no name twice, not too deep. What is wrong is said without repeating what was sent."""

import codecs
import json
from typing import Any, Final, NoReturn

from exchange.problems import Malformed

DEPTH_LIMIT: Final = 32
DIGIT_LIMIT: Final = 18


class NotJson(Malformed):
    """The body is not JSON as it must be (RFC 8259, in UTF-8)."""

    remedy = (
        "Send one JSON value: no duplicate names, no fractions or exponents, at most 18 digits, at most 32 levels deep."
    )


def decoded(raw: bytes) -> str:
    """Read text. Raises NotJson."""
    if raw.startswith(codecs.BOM_UTF8):
        raise NotJson("It begins with a byte order mark: leave it out.")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise NotJson("It is not UTF-8.") from None


def parsed(raw: bytes | str) -> Any:
    """Parse JSON strictly. Raises NotJson."""
    text = raw if isinstance(raw, str) else decoded(raw)
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise NotJson("It is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise NotJson(f"It is not JSON: the mistake is at line {error.lineno}, column {error.colno}.") from None
    if _deeper(value, DEPTH_LIMIT):
        raise NotJson("It is nested too deeply.")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise NotJson("An object has the same name twice.")
    return made


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > DIGIT_LIMIT:
        raise NotJson(f"A number has more than {DIGIT_LIMIT} digits.")
    return int(digits)


def _refuse_number(_: str) -> NoReturn:
    raise NotJson("A number is not whole, or not a number at all.")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_distinct, parse_int=_whole, parse_float=_refuse_number, parse_constant=_refuse_number
)


def _deeper(value: Any, limit: int) -> bool:
    level = [value] if isinstance(value, (dict, list)) else []
    while level and limit:
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        limit -= 1
    return bool(level)
