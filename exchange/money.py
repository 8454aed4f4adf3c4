"""Amounts: whole fen (1 CNY = 100 fen) in integers, never floats."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NewType

Money = NewType("Money", int)
"""An amount in fen; its sign is part of it."""

TRADE_LIMIT: Final = Money(10**14)
"""The largest gross amount of one trade, in fen."""

SUM_LIMIT: Final = Money(9 * 10**18)
"""No sum anywhere may grow beyond it: it still fits a signed 64-bit integer."""

BASIS_POINTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Price:
    """A sale's amount split as an invoice splits it: `net + vat == gross`, all in fen."""

    net: Money
    vat: Money
    gross: Money


def divided_half_up(dividend: int, divisor: int) -> int:
    """Divide two non-negative integers, rounding half up."""
    return (2 * dividend + divisor) // (2 * divisor)


def split_gross(gross: Money, vat_rate_bp: int) -> Price:
    """Split a price that includes VAT: net = gross × 10,000 / (10,000 + rate) half up, VAT the rest.

    >>> split_gross(Money(106_000), 600)
    Price(net=100000, vat=6000, gross=106000)
    """
    net = Money(divided_half_up(gross * BASIS_POINTS, BASIS_POINTS + vat_rate_bp))
    return Price(net=net, vat=Money(gross - net), gross=gross)


def growth(now: Money, before: Money | None) -> str | None:
    """Give `now / before − 1` exactly, as a decimal string with four places, half away from zero.

    None where the base is zero, negative or missing: neither 0 nor infinity would be true.

    >>> growth(Money(400), Money(280)), growth(Money(1), Money(0))
    ('0.4286', None)
    """
    if before is None or before <= 0:
        return None
    ten_thousandths = (Fraction(now, before) - 1) * 10_000
    magnitude = divided_half_up(abs(ten_thousandths.numerator), ten_thousandths.denominator)
    sign = "-" if ten_thousandths < 0 and magnitude else ""
    return f"{sign}{magnitude // 10_000}.{magnitude % 10_000:04}"


def yuan_decimal(amount: Money) -> str:
    """Write an amount in yuan, exactly and for machines.

    >>> yuan_decimal(Money(-106_05))
    '-106.05'
    """
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02}"


def yuan_text(amount: Money) -> str:
    """Write an amount for people.

    >>> yuan_text(Money(89_700_000_000))
    'CNY 897,000,000.00'
    """
    sign = "-" if amount < 0 else ""
    return f"CNY {sign}{abs(amount) // 100:,}.{abs(amount) % 100:02}"
