"""Months and days of the volume: pure."""

from calendar import monthrange
from datetime import date, timedelta
from typing import Final

LATE_AFTER_DAYS: Final = 30


def month_of(day: date) -> date:
    """Give the first day of a day's month."""
    return day.replace(day=1)


def year_of(day: date) -> date:
    """Give the first day of a day's year."""
    return day.replace(month=1, day=1)


def end_of_year(day: date) -> date:
    """Give the last day of a day's year."""
    return day.replace(month=12, day=31)


def last_day(month: date) -> date:
    """Give the last day of a day's month."""
    return month.replace(day=monthrange(month.year, month.month)[1])


def next_month(day: date) -> date:
    """Give the first day of the month after a day's."""
    return last_day(day) + timedelta(days=1)


def is_open(day: date, closed_through: date | None) -> bool:
    """Tell whether a day lies in an open month."""
    return closed_through is None or day > closed_through


def taken_back_on(original: date, decided: date, closed_through: date | None) -> date:
    """Give the date of a reversal: the original's while that month is open, else the day it is decided."""
    return original if is_open(original, closed_through) else decided


def is_late(effective_on: date, received_on: date, closed_through: date | None) -> bool:
    """Tell whether a trade came late: received more than 30 days after it, or recorded when its month was closed."""
    return (received_on - effective_on).days > LATE_AFTER_DAYS or not is_open(effective_on, closed_through)


def year_before(day: date) -> date:
    """Give the same day a year earlier; the last day of February stays the last."""
    return same_day(day, day.replace(year=day.year - 1, day=1))


def month_before(day: date) -> date:
    """Give the same day of the month before: a last day gives a last day, and a missing one the last."""
    return same_day(day, month_of(month_of(day) - timedelta(days=1)))


def same_day(day: date, month: date) -> date:
    """Give the day in another month that compares with this one: a last day with a last day."""
    end = last_day(month)
    return end if day == last_day(day) or day.day > end.day else month.replace(day=day.day)
