"""Conditions in SQL, with their parameters apart."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from headrace.columns import aware
from headrace.queries import Period

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BEYOND: Final = b"\xff" * 17  # greater than any id


class Clause(NamedTuple):
    """A piece of SQL and the parameters of its marks, in order."""

    sql: str
    parameters: tuple[Any, ...] = ()


class Where:
    """Conditions that all have to hold. A value of None means: no condition."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self.parameters: list[Any] = []

    def add(self, condition: str, *parameters: Any) -> Where:
        """Add a condition with its parameters."""
        self._conditions.append(condition)
        self.parameters += parameters
        return self

    def equal(self, column: str, value: Any) -> Where:
        """Add that the column has this value."""
        return self if value is None else self.add(f"{column} = ?", value)

    def among(self, column: str, values: Sequence[UUID] | Sequence[str] | None) -> Where:
        """Add that the column has one of these values, of which there may be very many."""
        if values is None:
            return self
        clause = listed(values)
        return self.add(f"{column} IN ({clause.sql})", *clause.parameters)

    def within(self, period: Period) -> Where:
        """Add that the instant of the row's ``id`` is in the period."""
        if period.since is not None:
            self.add("id >= ?", first_id(period.since))
        return self if period.until is None else self.add("id < ?", first_id(period.until))

    def __str__(self) -> str:
        return f" WHERE {' AND '.join(self._conditions)}" if self._conditions else ""


def listed(values: Sequence[UUID] | Sequence[str]) -> Clause:
    """A SELECT of these values."""
    # In hexadecimal, since SQLite's JSON cannot carry bytes and cuts text at a NUL.
    texts = [value.bytes.hex() if isinstance(value, UUID) else value.encode().hex() for value in values]
    value = "from_hex(value)" if values and isinstance(values[0], UUID) else "CAST(from_hex(value) AS TEXT)"
    return Clause(f"SELECT {value} FROM json_each(?)", (msgspec.json.encode(texts).decode(),))


def first_id(at: datetime, *, later_ms: int = 0) -> bytes:
    """The smallest id whose instant, in whole milliseconds, is not before this one, or so much later."""
    ms, rest = divmod(aware(at) - _EPOCH, timedelta(milliseconds=1))
    ms += bool(rest) + later_ms
    if ms >= 1 << 48:
        return _BEYOND
    return max(ms, 0).to_bytes(6, "big") + bytes(10)
