"""What the one reader of JSON takes, and in which words it refuses the rest."""

import pytest

from exchange.strict_json import DEPTH_LIMIT, DIGIT_LIMIT, NotJson, parsed

DEEPEST = b"[" * DEPTH_LIMIT + b"]" * DEPTH_LIMIT


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (b"\xef\xbb\xbf{}", "It begins with a byte order mark: leave it out."),
        (b"\xff{}", "It is not UTF-8."),
        (b"[" + DEEPEST + b"]", "It is nested too deeply."),
        (b"[" * 8_000_000, "It is nested too deeply."),
        (b'{"a":' * 100_000, "It is nested too deeply."),
        (b"[[[" + b"9" * 19 + b"]]]", "A number has more than 18 digits."),
        (b"[-" + b"9" * 1_000_000 + b"]", "A number has more than 18 digits."),
        (b'{"a":[{"b":1,"b":1}]}', "An object has the same name twice."),
        (b"[-Infinity]", "A number is not whole, or not a number at all."),
        (b"[1.0]", "A number is not whole, or not a number at all."),
    ],
    ids=lambda raw: raw[:24] if isinstance(raw, bytes) else None,
)
def test_what_is_refused_is_refused_in_clear_words(raw: bytes, detail: str) -> None:
    with pytest.raises(NotJson) as refusal:
        parsed(raw)

    assert refusal.value.detail == detail


def test_what_stands_at_the_limit_is_taken() -> None:
    most = 10**DIGIT_LIMIT - 1

    assert parsed(b"[%d,-%d]" % (most, most)) == [most, -most]
    assert parsed(DEEPEST)
