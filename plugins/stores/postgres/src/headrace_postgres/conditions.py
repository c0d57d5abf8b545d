"""A SQL statement in the making: conditions that all have to hold, and every value a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from headrace.queries import Period

from .text import stored

INDEXED: Final = 200
"""How many characters of a name an index holds: a longer one would not fit into it, and yet has to be stored."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Sql:
    """Parameters and conditions of one statement."""

    def __init__(self) -> None:
        self.parameters: list[Any] = []
        self._conditions: list[str] = []

    def value(self, value: Any, type_: str) -> str:
        """A mark that stands for the value. Raise ValueError for a lone surrogate."""
        return self._mark(stored(value) if isinstance(value, str) else value, type_)

    def where(self, condition: str) -> Sql:
        """Add a condition."""
        self._conditions.append(condition)
        return self

    def equal(self, column: str, value: str | UUID | None) -> Sql:
        """Add that the column has this value; None means: no condition."""
        if value is None:
            return self
        return self.where(f"{column} = {self.value(value, 'uuid' if isinstance(value, UUID) else 'text')}")

    def name(self, column: str, name: str | None) -> Sql:
        """Add that the column has this text, where an index holds the first ``INDEXED`` characters of the column."""
        return self if name is None else self.names(column, [name])

    def names(self, column: str, names: Sequence[str] | None) -> Sql:
        """Add that the column, which is indexed so, has one of these texts."""
        return self if names is None else self.where(self.named(f"left({column}, {INDEXED})", column, names))

    def named(self, begin: str, column: str, names: Sequence[str]) -> str:
        """That the column has one of these texts; ``begin`` is what an index has of it."""
        texts = [stored(name) for name in names]
        condition = self._among(begin, [text[:INDEXED] for text in texts])
        if all(len(text) < INDEXED for text in texts):
            # A shorter beginning is the whole text; said twice, it would make the planner expect far too few rows.
            return condition
        return f"{condition} AND {self._among(column, texts)}"

    def ids(self, column: str, ids: Sequence[UUID] | None) -> Sql:
        """Add that the column has one of these ids."""
        return self if ids is None else self.where(f"{column} = ANY({self.value(list(ids), 'uuid[]')})")

    def texts(self, column: str, texts: Sequence[str] | None) -> Sql:
        """Add that the column has one of these texts."""
        return self if texts is None else self.where(self._among(column, [stored(text) for text in texts]))

    def period(self, column: str, period: Period) -> Sql:
        """Add that the instant of an id falls into a period."""
        if period.since is not None:
            self.where(f"{column} >= {self.value(first_id(period.since), 'uuid')}")
        if period.until is not None:
            self.where(f"{column} < {self.value(first_id(period.until), 'uuid')}")
        return self

    def page(self, limit: int | None, offset: int = 0) -> str:
        """The clauses of a page."""
        # PostgreSQL takes a NULL for: no limit.
        return f" LIMIT {self.value(limit, 'bigint')} OFFSET {self.value(offset, 'bigint')}"

    def _among(self, column: str, texts: list[str]) -> str:
        if len(texts) == 1:
            return f"{column} = {self._mark(texts[0], 'text')}"
        return f"{column} = ANY({self._mark(texts, 'text[]')})"

    def _mark(self, value: Any, type_: str) -> str:
        self.parameters.append(value)
        return f"${len(self.parameters)}::{type_}"

    def __str__(self) -> str:
        return f" WHERE {' AND '.join(self._conditions)}" if self._conditions else ""


def first_id(at: datetime) -> UUID:
    """The smallest id of those whose instant is ``at`` or later; instants of ids are whole milliseconds."""
    return _id(-((_EPOCH - at) // _MILLISECOND))


def first_id_after(at: datetime) -> UUID:
    """The smallest id of those whose instant is later than ``at``."""
    return _id((at - _EPOCH) // _MILLISECOND + 1)


def instant(id_: UUID) -> datetime:
    """When a UUIDv7 was made, in whole milliseconds."""
    return _EPOCH + timedelta(milliseconds=id_.int >> 80)


def _id(ms: int) -> UUID:
    return UUID(int=max(ms, 0) << 80)
