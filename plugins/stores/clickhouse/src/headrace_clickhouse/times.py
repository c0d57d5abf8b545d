"""Instants and periods, in SQL and out of it: in UTC, weeks from Monday on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from headrace.queries import Period, Window

from .filters import before_ms, beyond
from .sql import Statement

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
_WEEK: Final = 7 * _MS["day"]
_MONDAY: Final = 4 * _MS["day"]  # the fifth of January 1970 was one


def within(statement: Statement, period: Period) -> list[str]:
    """That the instant of the row's id lies in the period."""
    where: list[str] = []
    if period.since is not None:
        where.append(beyond(statement, ">=", before_ms(period.since)))
    if period.until is not None:
        where.append(beyond(statement, "<", before_ms(period.until)))
    return where


def bucket(window: Window, id_: str = "toUInt128(id)") -> str:
    """The number of the period that an id (as a number) falls into."""
    ms = f"toInt64(bitShiftRight({id_}, 80))"
    if window == "cumulative":
        return "0"
    if window == "week":
        return f"{ms} - modulo({ms} + {_WEEK - _MONDAY}, {_WEEK})"
    if window == "month":
        return f"toYYYYMM(fromUnixTimestamp64Milli({ms}, 'UTC'))"
    return f"{ms} - modulo({ms}, {_MS[window]})"


def period_start(window: Window, number: int) -> datetime | None:
    """When the period of this number began; None for the one that has no end."""
    if window == "cumulative":
        return None
    if window == "month":
        return datetime(number // 100, number % 100, 1, tzinfo=UTC)
    return instant_of_ms(number)


def instant_of_ms(ms: int) -> datetime:
    """Of milliseconds since the epoch."""
    return _EPOCH + timedelta(milliseconds=ms)
