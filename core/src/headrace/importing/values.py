"""Values of old rows, in whichever form either database gives them. All raise ValueError for one of another kind."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

import msgspec

from ..tags import canonical
from .blocks import parsed
from .tables import Row

UNKNOWN_HASH: Final = ""
"""The ``snapshot_hash`` of a row from before configurations were kept."""


def uuid_of(value: Any) -> UUID:
    """A UUID, or its 128-bit number."""
    text = str(value)
    return UUID(int=int(text)) if text.isascii() and text.isdecimal() and len(text) != 32 else UUID(text)


def uuid_or_none(row: Row, name: str) -> UUID | None:
    """A UUID, where there is one."""
    value = row.get(name)
    return None if value is None else uuid_of(value)


def derived_id(milliseconds: int, of: str) -> UUID:
    """A UUIDv7 of that time, always the same one of the same text."""
    rest = int.from_bytes(blake2b(of.encode(), digest_size=10).digest(), "big")
    layout = (0xF << 76 | 0x3 << 62, 0x7 << 76 | 0x2 << 62)
    return UUID(int=(milliseconds << 80) | (rest & ~layout[0]) | layout[1])


def hash_of(value: Any) -> str:
    """A 256-bit number in decimal: from decimal, hexadecimal, or its bytes, the greatest first."""
    if value in (None, "", b""):
        return UNKNOWN_HASH
    if isinstance(value, (bytes, bytearray)):
        return str(int.from_bytes(value, "big"))
    text = str(value)
    return text if text.isascii() and text.isdecimal() else str(int(text, 16))


def instant_of(value: Any) -> datetime:
    """An instant; a text without a zone is in UTC."""
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)


def instant_or_none(row: Row, name: str) -> datetime | None:
    """An instant, where there is one."""
    value = row.get(name)
    return None if value is None else instant_of(value)


def number(row: Row, name: str) -> int | None:
    """An integer, where there is one."""
    value = row.get(name)
    return None if value is None else int(value)


def texts(row: Row, name: str) -> dict[str, str]:
    """An object of texts; empty where there is none."""
    return msgspec.convert(parsed(row.get(name) or "{}"), dict[str, str])


def tags_of(row: Row) -> dict[str, str]:
    """The tags, in the spelling that is stored."""
    return {canonical(key): value for key, value in texts(row, "tags").items()}


def json_or_none(row: Row, name: str) -> Any:
    """A JSON value, where there is one."""
    value = row.get(name)
    return None if value in (None, "") else parsed(value)
