"""Files as parts of a message: which part a MIME type becomes, and which URLs the server may fetch itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from headrace.errors import NotForThisProvider
from headrace.media import File

from .dialect import Dialect

_log = logging.getLogger(__name__)

Part: TypeAlias = Literal["image_url", "file", "input_audio"]

_FORMATS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/vnd.wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/x-mp3": "mp3",
    "audio/mp4": "m4a",
    "audio/m4a": "m4a",
    "audio/x-m4a": "m4a",
    "audio/ogg": "ogg",
    "audio/opus": "opus",
    "audio/flac": "flac",
    "audio/x-flac": "flac",
    "audio/aac": "aac",
    "audio/aacp": "aac",
    "audio/aiff": "aiff",
    "audio/x-aiff": "aiff",
    "audio/webm": "webm",
    "audio/amr": "amr",
    "audio/basic": "au",
}

# OpenAI knows a document by the extension of its name, and refuses one without.
_EXTENSIONS = {
    "application/pdf": "pdf",
    "application/json": "json",
    "application/xml": "xml",
    "application/rtf": "rtf",
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/x-yaml": "yaml",
    "application/yaml": "yaml",
    "application/javascript": "js",
    "text/plain": "txt",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "text/markdown": "md",
    "text/html": "html",
    "text/css": "css",
    "text/javascript": "js",
    "text/xml": "xml",
    "text/yaml": "yaml",
    "text/x-python": "py",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "video/mp4": "mp4",
}


def takes_url(file: File, dialect: Dialect, overrides: Mapping[str, Part]) -> bool:
    """Whether the server can be told of this file by its URL alone: images it can, and only over HTTP."""
    if not dialect.files or not (file.source_url or "").lower().startswith(("https://", "http://")):
        return False
    mime = _essence(file)
    return not mime or (overrides.get(mime) or _usual(mime)) == "image_url"


def part(file: File, dialect: Dialect, overrides: Mapping[str, Part]) -> dict[str, Any]:
    """The file as a part of a message's content. Raise NotForThisProvider."""
    if not dialect.files:
        raise NotForThisProvider(f"{dialect.name} does not take files, and leaving one out would change the question")
    mime = _essence(file)
    if file.data is None:
        if not takes_url(file, dialect, overrides):
            raise NotForThisProvider(f"{dialect.name} takes a file of type `{mime}` only with its bytes")
        return _image(str(file.source_url), file, dialect)
    if not mime:
        raise NotForThisProvider(f"{dialect.name} takes a file only with its MIME type; say `mime_type`")
    kind = overrides.get(mime) or _usual(mime)
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": {"data": file.data, "format": _format(mime, dialect)}}
    uri = f"data:{mime};base64,{file.data}"
    if kind == "image_url":
        return _image(uri, file, dialect)
    return {"type": "file", "file": {"file_data": uri, "filename": file.filename or f"input.{_extension(mime)}"}}


def _image(url: str, file: File, dialect: Dialect) -> dict[str, Any]:
    image = {"url": url}
    if file.detail and dialect.image_detail:
        image["detail"] = file.detail
    elif file.detail:
        _log.warning("%s does not support the `detail` of an image, so it will be ignored", dialect.name)
    return {"type": "image_url", "image_url": image}


def _essence(file: File) -> str:
    """The MIME type without its parameters, in lower case; empty where it is not known."""
    return (file.mime_type or "").partition(";")[0].strip().lower()


def _usual(mime: str) -> Part:
    kinds: dict[str, Part] = {"image": "image_url", "audio": "input_audio"}
    return kinds.get(mime.partition("/")[0], "file")


def _format(mime: str, dialect: Dialect) -> str:
    if mime not in _FORMATS:
        known = ", ".join(sorted(set(_FORMATS.values())))
        raise NotForThisProvider(f"{dialect.name} has no audio format for `{mime}` (known formats: {known})")
    return _FORMATS[mime]


def _extension(mime: str) -> str:
    if mime not in _EXTENSIONS:
        raise NotForThisProvider(f"No file extension is known for `{mime}`; give the file a `filename`")
    return _EXTENSIONS[mime]
