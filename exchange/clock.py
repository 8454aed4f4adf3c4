"""Time: instants are UTC with microseconds, business days are calendar days in Asia/Shanghai.

Only the doors ask for the time, and hand it on; everything below is given it.
"""

from datetime import UTC, date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

SHANGHAI: Final = ZoneInfo("Asia/Shanghai")

FIRST_BUSINESS_DAY: Final = date(2014, 12, 31)
"""No business date lies before it: the first data exchange of the country was founded on this day."""


def now() -> datetime:
    """Tell the present instant, in UTC."""
    return datetime.now(UTC)


def business_day(instant: datetime) -> date:
    """Give the business day of an instant.

    >>> business_day(datetime(2023, 12, 31, 16, tzinfo=UTC))
    datetime.date(2024, 1, 1)
    """
    return instant.astimezone(SHANGHAI).date()


def first_instant(day: date) -> datetime:
    """Give the instant at which a business day begins.

    >>> first_instant(date(2024, 1, 1))
    datetime.datetime(2023, 12, 31, 16, 0, tzinfo=datetime.timezone.utc)
    """
    return datetime.combine(day, time(), SHANGHAI).astimezone(UTC)


def instant_text(instant: datetime) -> str:
    """Write an instant as RFC 3339 in UTC with six decimals and `Z`.

    >>> instant_text(datetime(2023, 12, 31, 16, tzinfo=UTC))
    '2023-12-31T16:00:00.000000Z'
    """
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
