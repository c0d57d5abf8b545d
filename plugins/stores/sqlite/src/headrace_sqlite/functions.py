"""What SQLite lacks and queries here call: functions and an aggregate that a reading connection is given."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from functools import lru_cache
from typing import Final

from headrace.queries import Window

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 86_400_000
_LENGTHS_MS: Final = {"minute": _MINUTE_MS, "hour": 60 * _MINUTE_MS, "day": _DAY_MS, "week": 7 * _DAY_MS}
_MONDAY_MS: Final = -3 * _DAY_MS  # the epoch was a Thursday
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# Sums of dollars lose nothing, whatever their order.
_EXACT: Final = Context(prec=200)


def add_functions(connection: sqlite3.Connection) -> None:
    """Let this connection's SQL call ``from_hex``, ``occurrences``, ``period_ms`` and ``exact_sum``."""
    # Ids travel in one JSON parameter, since the number of parameters is limited.
    connection.create_function("from_hex", 1, bytes.fromhex, deterministic=True)
    connection.create_function("occurrences", 2, _occurrences, deterministic=True)
    connection.create_function("period_ms", 2, period_ms, deterministic=True)
    connection.create_aggregate("exact_sum", 1, _ExactSum)  # type: ignore[arg-type]


def instant(id_: bytes) -> datetime:
    """When the UUIDv7 of these bytes was made. Raise OverflowError beyond the year 9999."""
    return instant_of_ms(int.from_bytes(id_[:6], "big"))


def instant_of_ms(ms: int) -> datetime:
    """The instant this long after the epoch."""
    return _EPOCH + timedelta(milliseconds=ms)


def period_sql(window: Window) -> str:
    """The expression for the start of a row's period, in milliseconds since the epoch; NULL if it is cumulative."""
    return "NULL" if window == "cumulative" else f"period_ms(id, '{window}')"


def period_ms(id_: bytes, window: Window) -> int:
    """When the period began into which the instant of an id falls, in milliseconds since the epoch."""
    ms = int.from_bytes(id_[:6], "big")
    if window == "month":
        return _month_ms(ms // _DAY_MS)
    start = _MONDAY_MS if window == "week" else 0
    return ms - (ms - start) % _LENGTHS_MS[window]


@lru_cache(maxsize=4096)
def _month_ms(day: int) -> int:
    at = _EPOCH + timedelta(days=day)
    return (day - at.day + 1) * _DAY_MS


def _occurrences(text: str | None, lowered: str) -> int:
    """How often a text that is in lower case occurs, without overlap. SQLite's own lower() knows ASCII only."""
    return 0 if text is None else text.lower().count(lowered)


class _ExactSum:
    """The sum of decimal texts; NULL of none."""

    def __init__(self) -> None:
        self._sum: Decimal | None = None

    def step(self, value: str | None) -> None:
        if value is not None:
            self._sum = Decimal(value) if self._sum is None else _EXACT.add(self._sum, Decimal(value))

    def finalize(self) -> str | None:
        return None if self._sum is None else str(self._sum)
