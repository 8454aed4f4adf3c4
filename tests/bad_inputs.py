"""Bad requests in one table: each way to spoil a good request, with the answer that it gets. Fields are found in the bodies' models."""

import gzip
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import orjson
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from exchange.api.bodies import BODY_LIMIT, Body
from exchange.api.keys import NewKey
from exchange.api.listings import NewListing
from exchange.api.mandates import NewMandate
from exchange.api.members import Application, MemberChange, TypoBody
from exchange.api.products import AssessmentBody, NewProduct, VersionBody
from exchange.api.trades import AuctionResult, Confirmation, CorrectionBody, Filing, NewTrade

MARK = "MARK7391"
"""Stands in what is sent; no answer repeats it."""
WIDE = "１２３４５６７８９０１２"
"""Twelve full-width digits."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it goes out."""

    path: str
    content: bytes
    headers: tuple[tuple[str, bytes], ...]
    query: str = ""
    method: str = "POST"

    def with_header(self, name: str, *values: bytes) -> "Sent":
        """Say a header so often, or not at all."""
        kept = tuple(pair for pair in self.headers if pair[0] != name)
        return replace(self, headers=kept + tuple((name, value) for value in values))

    @property
    def body(self) -> Any:
        return orjson.loads(self.content)

    def with_body(self, body: Any) -> "Sent":
        return replace(self, content=orjson.dumps(body))


Spoil = Callable[[Sent], Sent]


def sending(raw: bytes) -> Spoil:
    """Send another body."""
    return lambda sent: replace(sent, content=raw)


def saying(name: str, *values: bytes) -> Spoil:
    """Say a header so often, or not at all."""
    return lambda sent: sent.with_header(name, *values)


def at(path: str) -> Spoil:
    """Send it to another address."""
    return lambda sent: replace(sent, path=path)


def asking(query: str) -> Spoil:
    """Ask for this, too."""
    return lambda sent: replace(sent, query="&".join(filter(None, (sent.query, query))))


def by(method: str, *override: bytes) -> Spoil:
    """Use another method."""
    return lambda sent: replace(sent, method=method).with_header("X-HTTP-Method-Override", *override)


@dataclass(frozen=True, slots=True)
class Bad:
    """One way to spoil a good request, and its answer: status, type of problem, and the field at fault (None: no field)."""

    name: str
    spoil: Spoil
    status: int
    type: str
    pointer: str | None = None


# Bodies that cannot be read

DEEP = 10_000
NOT_JSON: dict[str, bytes] = {
    "nothing": b"",
    "a space": b" ",
    "cut short": b'{"reason": "MARK7391"',
    "two values": b"{}{}",
    "trailing garbage": b"{} MARK7391",
    "a trailing NUL": b"{}\x00",
    "single quotes": b"{'reason': 'MARK7391'}",
    "a trailing comma": b'{"reason": "MARK7391",}',
    "a comment": b"/* MARK7391 */ {}",
    "NaN": b'{"reason": NaN}',
    "Infinity": b'{"reason": Infinity}',
    "-Infinity": b'{"reason": -Infinity}',
    "1e400": b'{"reason": 1e400}',
    "a fraction": b'{"reason": 1.0}',
    "an exponent": b'{"reason": 1E3}',
    "a leading zero": b'{"reason": 01}',
    "hexadecimal": b'{"reason": 0x1F}',
    "full-width digits": '{"reason": １２}'.encode(),
    "19 digits": b'{"reason": 9223372036854775808}',
    "-19 digits": b'{"reason": -1000000000000000000}',
    "4,301 digits": b'{"reason": ' + b"7" * 4_301 + b"}",
    "60,000 digits": b'{"reason": ' + b"7" * 60_000 + b"}",
    "a name twice": b'{"reason": "MARK7391", "reason": "MARK7391"}',
    "a name twice, once escaped": b'{"reason": "MARK7391", "r\\u0065ason": "MARK7391"}',
    "a name twice, further in": b'{"a": {"b": 1, "b": 2}}',
    "a raw NUL": b'{"reason": "\x00"}',
    "a raw line end": b'{"reason": "a\nb"}',
    "a raw tab": b'{"reason": "a\tb"}',
    "an unknown escape": b'{"reason": "\\x41"}',
    "a half escape": b'{"reason": "\\u12"}',
    "a lone surrogate, escaped": b'{"reason": "\\ud800"}',
    "a lone surrogate, the second": b'{"reason": "\\udc00MARK7391"}',
    "surrogates the wrong way round": b'{"reason": "\\udc00\\ud800"}',
    "a lone surrogate, raw": b'{"reason": "\xed\xa0\x80"}',
    "a surrogate for a name": b'{"\\udfff": 1}',
    "no UTF-8": b'{"reason": "\xff"}',
    "an overlong form": b'{"reason": "\xc0\xaf"}',
    "beyond Unicode": b'{"reason": "\xf4\x90\x80\x80"}',
    "GB 18030": '{"reason": "数据"}'.encode("gb18030"),
    "a BOM": b"\xef\xbb\xbf{}",
    "UTF-16 with BOM": '{"reason": "MARK7391"}'.encode("utf-16"),
    "UTF-16 without": '{"reason": "MARK7391"}'.encode("utf-16-le"),
    "UTF-32": '{"reason": "MARK7391"}'.encode("utf-32"),
    "33 levels": b'{"reason": ' + b"[" * 32 + b"]" * 32 + b"}",
    "33 levels of objects": b'{"a": ' * 33 + b"1" + b"}" * 33,
    "10,000 levels": b'{"reason": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "10,000 levels, open": b"[" * DEEP,
    "10,000 levels of objects, open": b'{"a":' * DEEP,
    "gzip": gzip.compress(b"{}"),
    "a form": b"reason=MARK7391",
    "XML": b"<reason>MARK7391</reason>",
}
NO_OBJECT: dict[str, bytes] = {
    "an array": b"[]",
    "null": b"null",
    "a text": b'"MARK7391"',
    "a number": b"1",
    "true": b"true",
    "an object in an array": b"[{}]",
    "32 levels": b"[" * 32 + b"]" * 32,
}
"""JSON, but not of the form that is asked for."""

# Texts that no field takes

TEXTS: dict[str, str] = {
    "empty": "",
    "blank": "   ",
    "blank, ideographic": "\u3000",
    "blank, Hangul filler": "\u3164",
    "blank, Braille": "\u2800",
    "a space before": f" {MARK}",
    "a space behind": f"{MARK} ",
    "a no-break space behind": f"{MARK}\u00a0",
    "a line end behind": f"{MARK}\n",
    "a NUL": f"{MARK}\u0000",
    "a tab": f"{MARK}\tx",
    "CR LF": f"{MARK}\r\nx",
    "a C1 control": f"{MARK}\u0085x",
    "a DEL": f"{MARK}\u007f",
    "a bidi override": f"{MARK}\u202excod",
    "a bidi isolate": f"{MARK}\u2066x\u2069",
    "a right-to-left mark": f"{MARK}\u200fx",
    "zero width": f"{MARK}\u200bx",
    "a zero-width joiner": f"{MARK}\u200dx",
    "a BOM inside": f"{MARK}\ufeffx",
    "a soft hyphen": f"{MARK}\u00adx",
    "a tag": f"{MARK}\U000e0041",
    "a grapheme joiner": f"{MARK}\u034fx",
    "a variation selector": f"{MARK}数\ufe0f",
    "a line separator": f"{MARK}\u2028x",
    "a private character": f"{MARK}\ue000",
    "unassigned": f"{MARK}\u0378",
    "no character": f"{MARK}\uffff",
    "NFD": f"{MARK}e\u0301",
    "another form of NFC": f"{MARK}\u212b",
    "a compatibility ideograph": f"{MARK}\uf900",
    "a formula": f"={MARK}",
    "a formula with plus": f"+{MARK}",
    "a formula with minus": f"-{MARK}",
    "a formula with at": f"@{MARK}",
    "a full-width formula": f"＝{MARK}",
    "long": MARK * 100,
    "long in bytes": "𠀀" * 601,
}
NO_TEXT: dict[str, Any] = {"a number": 1, "true": True, "an object": {"a": MARK}, "an array": [MARK]}
NO_DAY: dict[str, Any] = {
    "a word": MARK,
    "empty": "",
    "one digit": "2026-3-2",
    "no hyphens": "20260302",
    "29 February": "2023-02-29",
    "30 February": "2026-02-30",
    "month 13": "2026-13-01",
    "year 0": "0000-01-01",
    "five digits": "12026-03-02",
    "a sign": "-2026-03-02",
    "a week": "2026-W10-1",
    "an instant": "2026-03-02T00:00:00Z",
    "a foreign time zone": "2026-03-02T00:00:00+08:00",
    "a leap second": "2026-12-31T23:59:60Z",
    "full-width": "２０２６-０３-０２",
    "a space": " 2026-03-02",
    "a line end": "2026-03-02\n",
    "a number": 20260302,
    "true": True,
    "an array": ["2026-03-02"],
}
NO_WHOLE: dict[str, Any] = {
    "a text": "1",
    "full-width digits": "１２",
    "true": True,
    "an object": {"a": MARK},
    "an array": [1],
    "null": None,
}
NO_FLAG: dict[str, Any] = {"a text": "true", "a number": 1, "null": None, "an object": {"a": MARK}}
NO_NAME: dict[str, Any] = {
    "unknown": MARK,
    "empty": "",
    "a number": 1,
    "true": True,
    "an array": [MARK],
    "an object": {"a": MARK},
}
NO_AMOUNT: dict[str, Any] = {
    "empty": "",
    "negative": "-1",
    "signed": "+1",
    "a fraction": "1.0",
    "an exponent": "1e3",
    "a space before": " 1",
    "a space behind": "1 ",
    "a line end": "1\n",
    "a leading zero": "01",
    "hexadecimal": "0x1",
    "an underscore": "1_000",
    "a comma": "1,000",
    "full-width digits": "１２",
    "Arabic digits": "١٢",
    "19 digits": "9223372036854775808",
    "4,301 digits": "7" * 4_301,
    "NaN": "NaN",
    "a word": MARK,
    "a number": 1,
    "null": None,
    "true": True,
    "an array": ["1"],
}


def no_ids(prefix: str) -> dict[str, Any]:
    """Give what is no id of that kind."""
    other = "trd" if prefix != "trd" else "mbr"
    return {
        "a number": 12,
        "digits": "000000000012",
        "a word": MARK,
        "empty": "",
        "of another kind": f"{other}_000000000012",
        "in capitals": f"{prefix.upper()}_000000000012",
        "11 digits": f"{prefix}_00000000012",
        "13 digits": f"{prefix}_0000000000012",
        "negative": f"{prefix}_-00000000012",
        "full-width digits": f"{prefix}_{WIDE}",
        "huge": f"{prefix}_{'9' * 400}",
        "a line end": f"{prefix}_000000000012\n",
        "a NUL": f"{prefix}_000000000012\u0000",
        "true": True,
        "an array": [f"{prefix}_000000000012"],
    }


# What is at fault where a rule is broken, and not the form

RULE: dict[type[Body], str] = {
    Application: "member-fields-wrong",
    MemberChange: "member-fields-wrong",
    NewProduct: "product-fields-wrong",
    VersionBody: "product-fields-wrong",
    AssessmentBody: "product-fields-wrong",
    NewListing: "product-fields-wrong",
    NewTrade: "trade-fields-wrong",
    Filing: "trade-fields-wrong",
    AuctionResult: "trade-fields-wrong",
    Confirmation: "trade-fields-wrong",
    CorrectionBody: "trade-fields-wrong",
    TypoBody: "member-fields-wrong",
    NewKey: "key-wrong",
    NewMandate: "mandate-wrong",
}
FORM = "fields-wrong"
CODED = ("uscc", "_code", "code", "_sha256", "month", "evidence", "rights")
"""How the names of fields end that hold no free text."""


def rule_of(model: type[Body], name: str) -> str:
    """Say which type of problem it is where a text of this field breaks a rule."""
    if name == "reason":
        return "reason-wrong"
    if name == "month":
        return FORM
    return next(kind for base, kind in RULE.items() if issubclass(model, base))


# Fields, as the models have them


@dataclass(frozen=True, slots=True)
class Kind:
    """Of what kind a field is, without the wrappings of its annotation."""

    inner: Any
    nullable: bool
    validated: bool
    """Whether it is read by a function of its own: an id, or a day."""


def kind_of(annotation: Any, metadata: Sequence[Any] = ()) -> Kind:
    """Unwrap an annotation."""
    validated = any(isinstance(one, BeforeValidator) for one in metadata)
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        found = kind_of(inner, more)
        return replace(found, validated=found.validated or validated)
    if get_origin(annotation) in {Union, types.UnionType}:
        [inner] = (one for one in get_args(annotation) if one is not type(None))
        return replace(kind_of(inner, metadata), nullable=True)
    return Kind(annotation, nullable=False, validated=validated)


def fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo, Kind]]:
    """Give the fields of a body by the names that are sent."""
    for name, field in model.model_fields.items():
        yield field.alias or name, field, kind_of(field.annotation, field.metadata)


def put(body: Any, pointer: str, value: Any) -> Any:
    """Put a value at a place; what is not on the way there is made."""
    name, _, rest = pointer.lstrip("/").partition("/")
    if isinstance(body, list):
        changed = list(body)
        changed[int(name)] = put(changed[int(name)], rest, value) if rest else value
        return changed
    return body | {name: put(body[name], rest, value) if rest else value}


def left_out(body: Any, pointer: str) -> Any:
    """Leave out what stands at a place."""
    name, _, rest = pointer.lstrip("/").partition("/")
    if not rest:
        return {other: value for other, value in body.items() if other != name}
    return put(body, name, left_out(body[int(name) if isinstance(body, list) else name], rest))


def having(pointer: str, value: Any) -> Spoil:
    """Have something else at a place of the body."""
    return lambda sent: sent.with_body(put(sent.body, pointer, value))


def lacking(pointer: str) -> Spoil:
    """Leave out what stands at a place of the body."""
    return lambda sent: sent.with_body(left_out(sent.body, pointer))


def _bad(name: str, pointer: str, value: Any, type_name: str, told_at: str | None = None) -> Bad:
    told = pointer if told_at is None else told_at
    return Bad(f"{pointer} {name}", having(pointer, value), 422, type_name, told)


def bad_fields(model: type[Body], good: Mapping[str, Any], above: str = "") -> Iterator[Bad]:
    """Spoil each field in each way that its kind allows; `good` is the body, or the part of it at `above`, that passes."""
    yield _bad("unknown", f"{above}/surprise", MARK, FORM)
    yield _bad("unknown, with a strange name", f"{above}/{MARK} \u202e<b>", 1, FORM, above)
    for name, field, kind in fields(model):
        place = f"{above}/{name}"
        if field.is_required():
            yield Bad(f"{place} missing", lacking(place), 422, FORM, place)
        if not kind.nullable:
            yield _bad("null", place, None, FORM)
        yield from _bad_values(model, name, kind, good.get(name), place)


def _bad_values(model: type[Body], name: str, kind: Kind, good: Any, place: str) -> Iterator[Bad]:
    inner = kind.inner
    if get_origin(inner) is tuple:
        yield from _bad_lists(model, name, kind_of(get_args(inner)[0]), good, place)
    elif inner is str:
        yield from (_bad(what, place, value, FORM) for what, value in NO_TEXT.items())
        if name == "amount":
            yield from (_bad(what, place, value, FORM) for what, value in NO_AMOUNT.items())
        else:
            yield from _bad_texts(model, name, place, good)
    elif inner is date:
        yield from (_bad(what, place, value, FORM) for what, value in NO_DAY.items())
    elif inner is bool:
        yield from (_bad(what, place, value, FORM) for what, value in NO_FLAG.items())
    elif inner is int and kind.validated:
        yield from (_bad(what, place, value, FORM) for what, value in no_ids(name_of_id(name)).items())
    elif inner is int:
        yield from (_bad(what, place, value, FORM) for what, value in NO_WHOLE.items())
        yield from (_bad(what, place, value, rule_of(model, name)) for what, value in NO_NUMBER.items())
    elif isinstance(inner, type) and issubclass(inner, Body):
        yield from (_bad(what, place, value, FORM) for what, value in NO_TEXT.items() if what != "an object")
        yield from bad_fields(inner, good, place)
    else:
        assert get_origin(inner) is Literal or issubclass(inner, StrEnum), inner
        yield from (_bad(what, place, value, FORM) for what, value in NO_NAME.items())
        if good is not None:
            yield _bad("in another case", place, str(good).swapcase(), FORM)


NO_NUMBER: dict[str, int] = {"negative": -1, "18 digits": 10**18 - 1}


def name_of_id(name: str) -> str:
    """Give the prefix of the ids that a field holds."""
    return {"listing_id": "lst", "version_id": "ver", "buyer_id": "mbr", "agent_id": "mbr"}[name]


def _bad_texts(model: type[Body], name: str, place: str, good: Any) -> Iterator[Bad]:
    rule = rule_of(model, name)
    yield from (_bad(what, place, value, rule) for what, value in TEXTS.items())
    if name.endswith(CODED):
        yield _bad("a word", place, MARK.lower() + "!", rule)
        if good is not None:
            wide = str(good).translate({ord("0") + n: ord("０") + n for n in range(10)})
            yield _bad("full-width digits", place, wide, rule)
            yield _bad("a line end", place, f"{good}\n", rule)


def _bad_lists(model: type[Body], name: str, item: Kind, good: Any, place: str) -> Iterator[Bad]:
    whole: dict[str, Any] = {"a text": MARK, "an object": {"a": MARK}, "a number": 1}
    yield from (_bad(what, place, value, FORM) for what, value in whole.items())
    first = f"{place}/0"
    for what, value in {"null": None, "a number": 1, "an object": {"a": MARK}, "an array": [MARK]}.items():
        yield _bad(f"of {what}", place, [value], FORM, first)
    if item.inner is str:
        for what, text in TEXTS.items():
            yield _bad(f"of {what}", place, [text], rule_of(model, name), first)
    else:
        yield _bad("of an unknown name", place, [MARK], FORM, first)
        yield _bad("none", place, [], rule_of(model, name))
        yield _bad("the same twice", place, [good[0], good[0]], rule_of(model, name))


# What is said around the body

_JSON = b"application/json"
HEADERS: list[tuple[str, str, list[bytes], int, str]] = [
    *(
        (f"key {name}", "Idempotency-Key", values, 400, "key-missing")
        for name, values in {
            "missing": [],
            "empty": [b""],
            "blank": [b" "],
            "of two words": [b"a MARK7391"],
            "of 256 characters": [b"k" * 256],
            "of 300 characters": [b"k" * 300],
            "of 10,000 characters": [b"MARK7391" * 1_250],
            "with a tab": [b"a\tMARK7391"],
            "with CR LF": [b"a\r\nX-Marked: MARK7391"],
            "with a NUL": [b"a\x00MARK7391"],
            "in Latin-1": [b"k\xe9MARK7391"],
            "in UTF-8": ["数据MARK7391".encode()],
            "twice": [b"one-MARK7391", b"two-MARK7391"],
            "twice the same": [b"one-MARK7391", b"one-MARK7391"],
        }.items()
    ),
    *(
        (f"type {name}", "Content-Type", values, 415, "not-json-type")
        for name, values in {
            "missing": [],
            "empty": [b""],
            "text": [b"text/plain"],
            "a form": [b"application/x-www-form-urlencoded"],
            "multipart": [b"multipart/form-data; boundary=MARK7391"],
            "a problem": [b"application/problem+json"],
            "a list": [b"application/json, text/plain"],
            "unknown": [b"MARK7391"],
            "in UTF-16": [b"application/json; charset=utf-16"],
            "in GBK": [b'application/json; charset="gbk"'],
            "in two": [b"application/json; charset=utf-8; charset=MARK7391"],
            "twice": [_JSON, _JSON],
            "not ASCII": [b"application/json\xff"],
        }.items()
    ),
    *(
        (f"encoding {name.decode()}", "Content-Encoding", [name], 415, "not-json-type")
        for name in (b"gzip", b"br", b"deflate", b"identity, gzip", b"MARK7391")
    ),
]


def bad_headers(secret: str) -> Iterator[Bad]:
    """Say something else around a good body; `secret` is the key of who sends it."""
    for name, header, values, status, kind in HEADERS:
        yield Bad(name, saying(header, *values), status, kind)
    yield Bad(
        "gzip, said so",
        lambda sent: replace(sent, content=gzip.compress(sent.content)).with_header("Content-Encoding", b"gzip"),
        415,
        "not-json-type",
    )
    token = secret.encode()
    for name, given in {
        "missing": [],
        "empty": [b""],
        "a scheme alone": [b"Bearer"],
        "a scheme and a space": [b"Bearer "],
        "of another scheme": [b"Basic " + token],
        "without a scheme": [token],
        "with a tab": [b"Bearer\t" + token],
        "with two spaces": [b"Bearer  " + token],
        "with more behind": [b"Bearer " + token + b" MARK7391"],
        "in capitals": [b"Bearer " + token.upper()],
        "shortened": [b"Bearer " + token[:-1]],
        "with a NUL": [b"Bearer " + token + b"\x00"],
        "not ASCII": [b"Bearer \xe9MARK7391"],
        "full-width": [b"Bearer " + "ｅｘｋ＿MARK7391".encode()],
        "twice": [b"Bearer " + token, b"Bearer " + token],
        "of 10,000 characters": [b"Bearer exk_" + b"7" * 10_000],
    }.items():
        yield Bad(f"authorization {name}", saying("Authorization", *given), 401, "unauthenticated")


def bad_bodies(limit: int = BODY_LIMIT) -> Iterator[Bad]:
    """Send what cannot be read, and too much of it."""
    for name, raw in NOT_JSON.items():
        yield Bad(f"body {name}", sending(raw), 400, "not-json")
    yield Bad(
        "body too long by a byte",
        lambda sent: replace(sent, content=sent.content.ljust(limit + 1)),
        413,
        "body-too-long",
    )


def bad_queries() -> Iterator[Bad]:
    """Ask for what a write does not know."""
    for query, pointer in (
        ("surprise=1", "/surprise"),
        ("limit=5&limit=5", "/limit"),
        ("%00=MARK7391", ""),
        (f"{MARK}%20=", ""),
    ):
        yield Bad(
            f"query {query}",
            asking(query),
            400,
            "query-wrong",
            pointer,
        )


def bad_ids(path: str) -> Iterator[Bad]:
    """Write the id in a path in ways that nothing has; all are answered as an unknown one."""
    start, _, rest = path.partition("_")
    prefix, number, end = start[-3:], rest[:12], rest[12:]
    ids = {
        "unknown": f"{prefix}_999999999999",
        "zero": f"{prefix}_{'0' * 12}",
        "digits": number,
        "11 digits": f"{prefix}_{number[1:]}",
        "13 digits": f"{prefix}_{number}0",
        "huge": f"{prefix}_{'9' * 4_301}",
        "full-width digits": f"{prefix}_{WIDE}",
        "of another kind": f"xxx_{number}",
        "in capitals": f"{prefix.upper()}_{number}",
        "negative": f"{prefix}_-{number[1:]}",
        "a word": f"{MARK}_1",
        "a NUL": f"{prefix}_{number}%00",
        "a line end": f"{prefix}_{number}%0A",
        "a space": f"{prefix}_{number}%20",
        "dots": "%2e%2e",
        "no UTF-8": f"{prefix}_%ff%fe",
        "encoded twice": f"{prefix}%255F{number}",
        "a question mark": f"{prefix}_{number}%3F",
    }
    for name, written in ids.items():
        yield Bad(f"id {name}", at(f"{start[:-3]}{written}{end}"), 404, "not-found")
    yield Bad(
        "id with a slash",
        at(f"{start}_{number[:6]}%2F{number[6:]}{end}"),
        404,
        "no-route",
    )


def bad_methods(right: str) -> Iterator[Bad]:
    """Use methods that the address does not take, and ask for others by a header."""
    for method in {"PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "CONNECT", "POSTS"} - {right}:
        yield Bad(f"method {method}", by(method), 405, "method-wrong")
        yield Bad(
            f"method {method}, overridden",
            by(method, b"POST"),
            405,
            "method-wrong",
        )


# What is of the right form, and cannot be


DAY_RULE = {
    "create_key": "key-wrong",
    "grant_mandate": "mandate-wrong",
    "draft_listing": "product-fields-wrong",
    "terminate_trade": "trade-fields-wrong",
    "review_filing, rejecting": "trade-fields-wrong",
}
"""Where it is another type of problem than `date-wrong`."""


def bad_days(operation: str, model: type[Body], above: str = "") -> Iterator[Bad]:
    """Date it before the exchanges began, and in the far future."""
    for name, _, kind in fields(model):
        if kind.inner is not date:
            continue
        rule = DAY_RULE.get(operation, "date-wrong")
        days = {"before all exchanges": "2014-12-30", "in year 1": "0001-01-01", "in the far future": "9999-12-31"}
        for what, day in days.items():
            # What runs out may run out at any time to come.
            if (name, what) != ("expires_on", "in the far future"):
                yield _bad(what, f"{above}/{name}", day, rule)


def bad_references(model: type[Body]) -> Iterator[Bad]:
    """Name what there is not."""
    for name, _, kind in fields(model):
        if kind.inner is int and kind.validated:
            unknown = having(f"/{name}", f"{name_of_id(name)}_999999999999")
            if name in {"buyer_id", "agent_id"}:
                yield Bad(f"/{name} unknown", unknown, 422, name.replace("_id", "-wrong"), f"/{name}")
            else:
                yield Bad(f"/{name} unknown", unknown, 404, "not-found")


MONTHS: dict[str, str] = {
    "2026-13": FORM,
    "2026-00": FORM,
    "0999-12": FORM,
    "2026-3": FORM,
    "2026-03-01": FORM,
    "1000-01": "month-wrong",
    "2014-11": "month-wrong",
    "2026-03": "month-wrong",
    "9999-12": "month-wrong",
}
"""Months that cannot be closed."""


def bad_months() -> Iterator[Bad]:
    """Close what is no month, or not over, or was before all exchanges."""
    yield from (_bad(month, "/month", month, rule) for month, rule in MONTHS.items())
