"""How time is cut into periods: in UTC, weeks from Monday on."""

from __future__ import annotations

from datetime import datetime, timedelta

from .queries import Window

_LENGTH = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}


def period_start(at: datetime, window: Window) -> datetime | None:
    """When the period began that an instant (in UTC) falls into; None for "cumulative", which has no beginning."""
    if window == "cumulative":
        return None
    start = at.replace(second=0, microsecond=0)
    if window == "minute":
        return start
    start = start.replace(minute=0)
    if window == "hour":
        return start
    start = start.replace(hour=0)
    if window == "week":
        return start - timedelta(days=start.weekday())
    return start.replace(day=1) if window == "month" else start


def shifted(start: datetime, window: Window, periods: int) -> datetime:
    """The start of the period so many later, or earlier if negative; no earlier than the year 1."""
    if window == "month":
        months = max(start.year * 12 + start.month - 1 + periods, 12)
        return start.replace(year=months // 12, month=months % 12 + 1)
    try:
        return start + periods * _LENGTH[window]
    except OverflowError:
        return datetime.min.replace(tzinfo=start.tzinfo)
