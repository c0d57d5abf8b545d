"""A file in a message: where its bytes lie, and what they are."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct

Detail: TypeAlias = Literal["low", "high", "auto"]


class StoragePath(Struct, frozen=True):
    """Where an object store keeps a file: the store's own settings (no secrets), and the key in it."""

    kind: dict[str, Any]
    path: str


class File(Struct, frozen=True, tag="file", omit_defaults=True):
    """A file, from a URL or with its bytes as base64 text in ``data``. Records hold it without ``data``.

    ``mime_type`` is known as soon as the bytes are.
    """

    mime_type: str | None = None
    data: str | None = None
    source_url: str | None = None
    storage_path: StoragePath | None = None
    detail: Detail | None = None
    filename: str | None = None
