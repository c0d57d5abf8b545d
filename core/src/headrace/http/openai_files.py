"""Images, audio and other files in OpenAI's messages to neutral files (http-api 16.3)."""

from __future__ import annotations

import re
from binascii import a2b_base64

from msgspec import Struct, field

from ..errors import BadRequest
from ..fetching import sniff
from ..media import Detail, File
from .blocks import check_base64, check_url

_MIME_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
_SNIFFED = 8192  # characters of base64; what a file is shows at its beginning


class _ImageUrl(Struct):
    url: str
    detail: Detail | None = None
    mime_type: str | None = field(name="tensorzero::mime_type", default=None)


class ImageBlock(Struct):
    """``{"type": "image_url", ...}``."""

    image_url: _ImageUrl


class _FileData(Struct):
    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None


class FileBlock(Struct):
    """``{"type": "file", ...}``."""

    file: _FileData


class _Audio(Struct):
    data: str
    format: str


class AudioBlock(Struct):
    """``{"type": "input_audio", ...}``."""

    input_audio: _Audio


def image(where: str, block: ImageBlock) -> File:
    """From a URL or a data URL; ``tensorzero::mime_type`` wins over what the latter says. Raise BadRequest."""
    told, where = block.image_url, f"{where}.image_url"
    explicit = None
    if told.mime_type is not None:
        explicit = _mime_type(f"{where}.tensorzero::mime_type", told.mime_type)
    if is_data_url(told.url):
        return _inline(f"{where}.url", told.url, mime_type=explicit, detail=told.detail)
    check_url(told.url, f"{where}.url")
    return File(mime_type=explicit, source_url=told.url, detail=told.detail)


def file(where: str, block: FileBlock) -> File:
    """From a data URL. Raise BadRequest."""
    told = block.file
    if told.file_id is not None:
        raise BadRequest(f"{where}.file.file_id: headrace keeps no uploaded files; send the bytes in `file_data`")
    if told.file_data is None:
        raise BadRequest(f"{where}.file: missing field `file_data`")
    if not is_data_url(told.file_data):
        raise BadRequest(f"{where}.file.file_data: expected a data URL, such as `data:application/pdf;base64,...`")
    return _inline(f"{where}.file.file_data", told.file_data, filename=told.filename)


def audio(where: str, block: AudioBlock) -> File:
    """From base64; the bytes say what it is, not ``format``. Raise BadRequest for what is no audio."""
    data, where = block.input_audio.data, f"{where}.input_audio.data"
    check_base64(data, where)
    mime_type = _sniffed(data)
    if mime_type is None or not mime_type.startswith("audio/"):
        raise BadRequest(f"{where}: expected the bytes of an audio file, found {mime_type or 'an unknown type'}")
    return File(mime_type=mime_type, data=data)


def is_data_url(text: str) -> bool:
    """Whether the bytes are in the text itself."""
    return text[:5].lower() == "data:"


def _inline(
    where: str, url: str, *, mime_type: str | None = None, detail: Detail | None = None, filename: str | None = None
) -> File:
    """The bytes of ``data:[type][;parameter=value]*;base64,DATA``."""
    head, comma, data = url[5:].partition(",")
    declared, *parameters = head.split(";")
    if not comma or not parameters or parameters[-1].strip().lower() != "base64":
        raise BadRequest(f"{where}: not a data URL of the form `data:image/png;base64,...`")
    check_base64(data, where)
    if mime_type is None:
        mime_type = _mime_type(where, declared.strip()) if declared.strip() else _sniffed(data)
    if mime_type is None:
        raise BadRequest(f"{where}: the data URL names no MIME type, and its bytes do not show one")
    return File(mime_type=mime_type, data=data, detail=detail, filename=filename)


def _mime_type(where: str, text: str) -> str:
    if not _MIME_TYPE.fullmatch(text):
        raise BadRequest(f"{where}: {text[:100]!r} is not a MIME type, such as `image/png`")
    return text.lower()


def _sniffed(data: str) -> str | None:
    return sniff(a2b_base64(data[:_SNIFFED]))
