"""Rows as they travel between stores: their names, keys and a canonical form that equal rows share."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import structs

from ..columns import ColumnKind, columns
from ..records import KINDS, ConfigSnapshot, Record


def name_of(kind: type[Record]) -> str:
    """What a kind is called in an export: its tag, ``model_inference`` for one."""
    return str(kind.__struct_config__.tag)


NAMES: Final[Mapping[str, type[Record]]] = {name_of(kind): kind for kind in KINDS}


def key_of(row: Record) -> str:
    """By what ``Store.scan`` sorts."""
    return row.hash if isinstance(row, ConfigSnapshot) else str(row.id)


def canonical(row: Record) -> bytes:
    """One line of JSON, the same for rows that are equal, wherever they have been.

    Keys are sorted; instants are in UTC, decimals without needless zeros, vectors of 32-bit floats, as some stores
    keep no more of them.
    """
    uneven = _uneven(type(row))
    if not uneven:
        return _ENCODER.encode(row)
    values = structs.asdict(row)
    for name, even in uneven.items():
        if values[name] is not None:
            values[name] = even(values[name])
    return _ENCODER.encode({"type": row.__struct_config__.tag, **values})


class Digest:
    """The SHA-256 of canonical lines, in the order in which rows are added, and their number."""

    def __init__(self) -> None:
        self.rows = 0
        self._hash = hashlib.sha256()

    def add(self, line: bytes) -> None:
        """Another row, in its canonical form."""
        self.rows += 1
        self._hash.update(line + b"\n")

    @property
    def sha256(self) -> str:
        """In hexadecimal."""
        return self._hash.hexdigest()


def _instant(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _decimal(value: Decimal) -> str:
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if value == 0 else text


def _vector(values: tuple[float, ...]) -> tuple[float, ...]:
    return struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values))


_ENCODER: Final = msgspec.json.Encoder(order="sorted")
_EVEN: Final[Mapping[ColumnKind, Callable[[Any], Any]]] = {
    "instant": _instant,
    "decimal": _decimal,
    "vector": _vector,
}


@cache
def _uneven(kind: type[Record]) -> dict[str, Callable[[Any], Any]]:
    return {column.name: _EVEN[column.kind] for column in columns(kind) if column.kind in _EVEN}
