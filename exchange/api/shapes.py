"""The shapes that bodies and answers are made of."""

import re
from collections.abc import Iterable
from datetime import date
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints

from exchange.api.bodies import Body
from exchange.identifiers import DIGITS, SHA256_PATTERN, USCC_PATTERN, Prefix, read_id, written_id
from exchange.money import Money
from exchange.texts import ADDRESS_LIMIT, NAME_LIMIT, PARAGRAPH_LIMIT, REFERENCE_LIMIT, byte_limit, text_fault

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def _day(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        # Read here: once a value has passed through Python, strict mode takes no text for a date any more.
        return date.fromisoformat(value if _DAY.fullmatch(value) else "")
    except ValueError:
        raise ValueError("must be a date, as 2023-12-31") from None


Day = Annotated[date, BeforeValidator(_day), Field(examples=["2023-12-31"])]


_WHOLE: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


def _whole(value: Any) -> Any:
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise ValueError("must be a whole number in digits")
    return value


Count = Annotated[int, BeforeValidator(_whole)]
"""A number in a query string."""


Flag = Literal["true", "false"]
"""A yes or no in a query string."""

PositionText = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,17})$")]
"""A place in the journal in a query string; 0 is before its beginning."""


def limited(limit: int) -> Any:
    """Say in the document how long a text may be, in characters and in bytes of UTF-8 (`x-maxBytes`); the rules of each command see to it."""
    return Field(json_schema_extra={"minLength": 1, "maxLength": limit, "x-maxBytes": byte_limit(limit)})


def patterned(pattern: str) -> Any:
    """Say in the document of what form a code is; the rules of each command see to it."""
    return Field(json_schema_extra={"pattern": f"^{pattern}$"})


def one_of(names: Iterable[str]) -> Any:
    """Say in the document that a text is one of these; the rules of each command see to it."""
    return Field(json_schema_extra={"enum": list(names)})


Name = Annotated[str, limited(NAME_LIMIT)]
Reference = Annotated[str, limited(REFERENCE_LIMIT)]
Paragraph = Annotated[str, limited(PARAGRAPH_LIMIT)]
Address = Annotated[str, limited(ADDRESS_LIMIT)]
Uscc = Annotated[str, patterned(USCC_PATTERN)]
Sha256 = Annotated[str, patterned(SHA256_PATTERN)]


def _searchable(value: str) -> str:
    if fault := text_fault(value, REFERENCE_LIMIT):
        raise ValueError(fault)
    return value


Searched = Annotated[
    str,
    AfterValidator(_searchable),
    limited(REFERENCE_LIMIT),
]
"""A text to look for: one that could be stored."""


class MoneyBody(Body):
    """An amount: a string of whole fen (1 CNY = 100 fen), so that no program rounds it."""

    amount: Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,17})$"), Field(examples=["10600000"])]
    currency: Literal["CNY"]

    @property
    def money(self) -> Money:
        """The amount in fen."""
        return Money(int(self.amount))


class MoneyShape(Body):
    """An amount in an answer: whole fen, perhaps negative."""

    amount: str = Field(examples=["89700000000"])
    currency: Literal["CNY"] = "CNY"


def money_of(amount: Money) -> MoneyShape:
    """Shape an amount."""
    return MoneyShape(amount=str(amount))


def id_type(prefix: Prefix) -> Any:
    """Give the type of a field that holds an id of that kind, read as its number; written as text in the document."""

    def read(value: Any) -> Any:
        number = read_id(prefix, value) if isinstance(value, str) else None
        if number is None:
            raise ValueError(f"must be an id of the form {written_id(prefix, 9120)}")
        return number

    pattern = f"^{prefix}_[0-9]{{{DIGITS}}}$"
    shown = Field(json_schema_extra={"type": "string", "pattern": pattern, "examples": [written_id(prefix, 9120)]})
    return Annotated[int, BeforeValidator(read), shown]


class Done(Body):
    """What every accepted write answers: what it made or changed, its state now, and where the journal recorded it."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(examples=["trd_000000009120"])
    state: str | None = Field(None, examples=["contracted"])
    position: int = Field(examples=[9120])
    recorded_at: str = Field(examples=["2026-12-31T15:59:59.120000Z"])


class Rehearsed(Body):
    """What a dry run answers: nothing was recorded."""

    dry_run: Literal[True]
    as_of_position: int = Field(description="the position as of which it was decided", examples=[9120])
    status: int = Field(description="with which status it would be answered", examples=[201])
    would_answer: dict[str, Any] | list[dict[str, Any]] = Field(
        description="all of the answer but what only doing it gives: ids of new things, position, instant",
        examples=[{"state": "contracted", "related": False, "late": False}],
    )


def example(**fields: Any) -> ConfigDict:
    """Give a body's configuration with an example of it, which the document shows."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


def fen(amount: str) -> dict[str, str]:
    """Write an amount in an example."""
    return {"amount": amount, "currency": "CNY"}


USCC_EXAMPLE: Final = "91430100MA4L00001J"
SHA256_EXAMPLE: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class Reasoned(Body):
    """A decision with its reason."""

    model_config = example(reason="Documents complete.")

    reason: Paragraph = Field(examples=["Documents complete."])


class ReasonedOn(Reasoned):
    """A decision with its reason, perhaps dated in the past by staff."""

    effective_on: Day | None = None


class Nothing(Body):
    """An empty object: the route says it all."""

    model_config = example()
