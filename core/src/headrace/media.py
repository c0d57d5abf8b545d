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


_EXTENSIONS = {
    "application/json": "json",
    "application/msword": "doc",
    "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/xml": "xml",
    "application/zip": "zip",
    "audio/aac": "aac",
    "audio/aiff": "aiff",
    "audio/flac": "flac",
    "audio/m4a": "m4a",
    "audio/mp3": "mp3",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/wav": "wav",
    "audio/wave": "wav",
    "audio/webm": "webm",
    "audio/x-aiff": "aiff",
    "audio/x-flac": "flac",
    "audio/x-m4a": "m4a",
    "audio/x-wav": "wav",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/heic": "heic",
    "image/jpeg": "jpg",
    "image/jpg": "jpg",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tiff",
    "image/webp": "webp",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
    "text/plain": "txt",
    "text/xml": "xml",
    "video/mp4": "mp4",
    "video/mpeg": "mpeg",
    "video/ogg": "ogv",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
}


def essence(mime_type: str) -> str:
    """``type/subtype`` in lower case, without parameters: ``Text/Plain; charset=utf-8`` is ``text/plain``."""
    return mime_type.partition(";")[0].strip().lower()


def extension_of(mime_type: str) -> str | None:
    """The usual file extension, without a dot, or None. A table of our own: the machine's would change stored keys."""
    return _EXTENSIONS.get(essence(mime_type))


def is_key(path: str) -> bool:
    """Whether an object store may take this as a key: steps between slashes, none of them empty, ``.`` or ``..``."""
    if not path.isprintable() or "\\" in path or len(path.encode()) > 1024:
        return False
    return not any(step in ("", ".", "..") for step in path.split("/"))
