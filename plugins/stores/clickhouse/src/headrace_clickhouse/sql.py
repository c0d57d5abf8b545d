"""Statements and the values that they are sent with. No value ever stands in the text of a statement."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from headrace.errors import StoreError

# The server refuses a parameter of more than 128 KiB; a temporary table that comes with the query may be any length.
_LONGEST_PARAMETER = 30_000

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
_QUOTE = str.maketrans({"'": "\\'"})


class Statement:
    """A statement, its parameters, and the temporary tables that come with it."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.parameters: dict[str, str] = {}
        self.tables: dict[str, tuple[str, list[list[Any]]]] = {}

    def string(self, value: str) -> str:
        """The expression of a text. Raise StoreError for a lone surrogate, which no row can have."""
        if _length(value) > _LONGEST_PARAMETER:
            return f"(SELECT v FROM {self._table('v String', [[value]])})"
        return self._parameter("String", value.translate(_ESCAPES))

    def uuid(self, value: UUID) -> str:
        """The expression of a UUID as a number, which sorts as UUIDs do; ClickHouse's own UUIDs do not."""
        return f"toUInt128({self._parameter('UUID', str(value))})"

    def plain_uuid(self, value: UUID) -> str:
        """The expression of a UUID as it is."""
        return self._parameter("UUID", str(value))

    def wide(self, value: int) -> str:
        """The expression of a whole number of up to 128 bits, not below 0."""
        return self._parameter("UInt128", str(value))

    def integer(self, value: int) -> str:
        """The expression of a whole number of 64 bits."""
        return self._parameter("Int64", str(value))

    def number(self, value: float) -> str:
        """The expression of a float, exactly."""
        # As bits: parsing of texts is not exact in every version. A parameter is read with the server's own settings.
        return f"reinterpretAsFloat64(unhex({self._parameter('String', _little_endian(value))}))"

    def vector(self, values: Sequence[float]) -> str:
        """The expression of an array of floats."""
        return f"(SELECT v FROM {self._table('v Array(Float64)', [[list(values)]])})"

    def uuids(self, values: Iterable[UUID]) -> str:
        """A query that gives these UUIDs as numbers: what stands behind ``IN``."""
        return f"(SELECT toUInt128(v) FROM {self._table('v UUID', [[str(value)] for value in values])})"

    def plain_uuids(self, values: Iterable[UUID]) -> str:
        """A query that gives these UUIDs as they are."""
        return f"(SELECT v FROM {self._table('v UUID', [[str(value)] for value in values])})"

    def strings(self, values: Iterable[str]) -> str:
        """A query that gives these texts: what stands behind ``IN``. Raise StoreError for a lone surrogate."""
        rows = [[value] for value in values if _length(value) >= 0]
        return f"(SELECT v FROM {self._table('v String', rows)})"

    def array(self, values: Sequence[str]) -> str:
        """The expression of an array of texts. Raise StoreError for a lone surrogate."""
        if sum(map(_length, values)) > _LONGEST_PARAMETER:
            return f"(SELECT v FROM {self._table('v Array(String)', [[list(values)]])})"
        quoted = ",".join(f"'{value.translate(_ESCAPES | _QUOTE)}'" for value in values)
        return self._parameter("Array(String)", f"[{quoted}]")

    def _parameter(self, type_: str, value: str) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f"{{{name}:{type_}}}"

    def _table(self, structure: str, rows: list[list[Any]]) -> str:
        name = f"given{len(self.tables)}"
        self.tables[name] = (structure, rows)
        return name


def _length(value: str) -> int:
    try:
        return len(value.encode())
    except UnicodeEncodeError as error:
        raise StoreError(f"clickhouse store: cannot ask for {value[:100]!r}: {error}") from None


def _little_endian(value: float) -> str:
    return struct.pack("<d", value).hex()


def both(conditions: Iterable[str]) -> str:
    """All of the conditions; none at all are all true."""
    return " AND ".join(f"({each})" for each in conditions) or "1"


def page(limit: int | None, offset: int = 0) -> str:
    """The clause for a page; numbers only."""
    if limit is None:
        return f" LIMIT {2**63 - 1 - offset:d} OFFSET {offset:d}" if offset else ""
    return f" LIMIT {limit:d} OFFSET {offset:d}"
