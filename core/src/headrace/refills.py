"""How a token bucket fills up: by whole windows since its first use, in whole microseconds and units."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from .periods import shifted
from .storage import Bucket

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# Of every window but the month, which is the calendar's.
_LENGTH_US: Final = {
    "second": 1_000_000,
    "minute": 60_000_000,
    "hour": 3_600_000_000,
    "day": 86_400_000_000,
    "week": 604_800_000_000,
}

# Balances are kept in 64 bits.
MOST: Final = 2**63 - 1


def now_us(seconds: float) -> int:
    """An instant in seconds since the epoch, in whole microseconds."""
    return round(seconds * 1_000_000)


def refilled(bucket: Bucket, balance: int, filled_us: int, at_us: int) -> tuple[int, int]:
    """The balance at an instant, and the last instant of a refill; both instants in microseconds since the epoch.

    Never more than the capacity, also where that is less than it was; the balance of a clock that went back stands.
    """
    windows, filled_us = _passed(bucket, filled_us, at_us)
    return min(balance + windows * bucket.refill_rate, bucket.capacity), filled_us


def changed(bucket: Bucket, balance: int, change: int) -> int:
    """The balance after a change, as far as capacity and 64 bits allow."""
    return max(min(balance + change, bucket.capacity), -MOST)


def suffices(had: int, wanted: int) -> bool:
    """Whether so much can be taken from a bucket that has this."""
    return had >= wanted or not wanted


def _passed(bucket: Bucket, filled_us: int, at_us: int) -> tuple[int, int]:
    """How many whole windows have passed, and when the last of them ended."""
    if at_us < filled_us:
        return 0, filled_us
    if bucket.window != "month":
        length = _LENGTH_US[bucket.window]
        windows = (at_us - filled_us) // length
        return windows, filled_us + windows * length
    since, at = _EPOCH + filled_us * _MICROSECOND, _EPOCH + at_us * _MICROSECOND
    months = (at.year - since.year) * 12 + at.month - since.month
    months -= _months_later(since, months) > at
    return months, (_months_later(since, months) - _EPOCH) // _MICROSECOND


def _months_later(since: datetime, months: int) -> datetime:
    """The same day and time of a later month, or its last day where it has no such day."""
    first = shifted(since.replace(day=1), "month", months)
    last = shifted(first, "month", 1) - timedelta(days=1)
    return first.replace(day=min(since.day, last.day))
