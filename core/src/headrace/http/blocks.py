"""``input`` as callers write it: messages and every kind of block, to the neutral form (http-api 6)."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from ..errors import BadRequest
from ..media import Detail, File, StoragePath
from ..tags import RESERVED, canonical
from ..types import (
    Input,
    InputBlock,
    InputMessage,
    RawText,
    Role,
    Template,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Unknown,
)

_BASE64 = re.compile(r"[A-Za-z0-9+/]++={0,2}")
_MODEL_PROVIDER = re.compile(rf"{RESERVED}model_name::(?P<model>.+)::provider_name::(?P<provider>.+)", re.DOTALL)


class _Text(Struct, tag="text", forbid_unknown_fields=True):
    text: str | None = None
    arguments: dict[str, Any] | None = None


class _Template(Struct, tag="template", forbid_unknown_fields=True):
    name: str
    arguments: dict[str, Any]


class _RawText(Struct, tag="raw_text", forbid_unknown_fields=True):
    value: str


class _ToolCall(Struct, tag="tool_call"):
    id: str
    name: Any = None
    arguments: Any = None
    raw_name: str | None = None
    raw_arguments: str | None = None


class _ToolResult(Struct, tag="tool_result", forbid_unknown_fields=True):
    id: str
    name: str
    result: str


class _Summary(Struct, tag="summary_text"):
    text: str


class _Thought(Struct, tag="thought"):
    text: str | None = None
    signature: str | None = None
    summary: list[_Summary] | None = None
    provider_type: str | None = None
    _internal_provider_type: str | None = None
    extra_data: Any = None


class _StoragePath(Struct, forbid_unknown_fields=True):
    kind: dict[str, Any]
    path: str


class _File(Struct, tag="file", forbid_unknown_fields=True):
    file_type: Literal["url", "base64", "object_storage_pointer", "object_storage"] | None = None
    url: str | None = None
    data: str | None = None
    source_url: str | None = None
    storage_path: _StoragePath | None = None
    mime_type: str | None = None
    detail: Detail | None = None
    filename: str | None = None


class _Image(_File, tag="image"):
    pass


class _Unknown(Struct, tag="unknown"):
    data: Any
    model_name: str | None = None
    provider_name: str | None = None
    model_provider_name: str | None = None


_Block: TypeAlias = _Text | _Template | _RawText | _ToolCall | _ToolResult | _Thought | _File | _Image | _Unknown


class _Message(Struct, forbid_unknown_fields=True):
    role: Role
    content: str | list[_Block] | dict[str, Any]


class InputBody(Struct, forbid_unknown_fields=True):
    """``input`` as callers write it."""

    messages: list[_Message] | None = None
    system: str | dict[str, Any] | None = None


def to_input(body: InputBody, *, where: str = "input") -> Input:
    """The neutral input; ``where`` is its place in the body. Raise BadRequest for a block that makes no sense."""
    messages = tuple(
        InputMessage(message.role, _content(f"{where}.messages[{index}].content", message))
        for index, message in enumerate(body.messages or ())
    )
    return Input(messages, body.system)


def _content(where: str, message: _Message) -> tuple[InputBlock, ...]:
    if isinstance(message.content, str):
        return (Text(message.content),)
    if isinstance(message.content, dict):  # deprecated form of a template named after the role
        return (Template(message.role, message.content),)
    return tuple(_block(f"{where}[{position}]", message.role, block) for position, block in enumerate(message.content))


def _block(where: str, role: Role, block: _Block) -> InputBlock:
    match block:
        case _Text():
            return _text(where, role, block)
        case _Template():
            return Template(block.name, block.arguments)
        case _RawText():
            return RawText(block.value)
        case _ToolCall():
            return _tool_call(where, block)
        case _ToolResult():
            return ToolResult(block.id, block.name, block.result)
        case _Thought():
            return _thought(where, block)
        case _File():
            return _file(where, block)
        case _Unknown():
            return _unknown(where, block)


def _text(where: str, role: Role, block: _Text) -> InputBlock:
    if block.text is not None and block.arguments is None:
        return Text(block.text)
    if block.arguments is not None and block.text is None:
        return Template(role, block.arguments)
    raise BadRequest(f"{where}: a text block needs exactly one of `text` and `arguments`")


def _tool_call(where: str, block: _ToolCall) -> ToolCall:
    """A call as sent by hand, or as it came in an answer (``raw_*``); parsed values win where both are there."""
    if isinstance(block.name, str) and isinstance(block.arguments, str):
        return ToolCall(block.id, block.name, block.arguments)
    if isinstance(block.name, str) and isinstance(block.arguments, dict):
        return ToolCall(block.id, block.name, msgspec.json.encode(block.arguments).decode())
    if block.raw_name is None or block.raw_arguments is None:
        raise BadRequest(
            f"{where}: a tool_call needs `name` (a string) and `arguments` (a string or an object), "
            "or `raw_name` and `raw_arguments`"
        )
    return ToolCall(block.id, block.raw_name, block.raw_arguments)


def _thought(where: str, block: _Thought) -> Thought:
    if block.provider_type is not None and block._internal_provider_type is not None:
        raise BadRequest(f"{where}: `_internal_provider_type` is the old name of `provider_type`: keep the latter")
    summary = None
    if block.summary is not None:
        summary = [{"type": "summary_text", "text": part.text} for part in block.summary]
    provider_type = block.provider_type if block.provider_type is not None else block._internal_provider_type
    return Thought(block.text, block.signature, summary, provider_type, block.extra_data)


def _unknown(where: str, block: _Unknown) -> Unknown:
    if block.model_provider_name is None:
        return Unknown(block.data, block.model_name, block.provider_name)
    if block.model_name is not None or block.provider_name is not None:
        raise BadRequest(f"{where}: `model_provider_name` cannot stand beside `model_name` or `provider_name`")
    found = _MODEL_PROVIDER.fullmatch(canonical(block.model_provider_name))
    if found is None:
        raise BadRequest(
            f"{where}.model_provider_name: not of the form `{RESERVED}model_name::MODEL::provider_name::PROVIDER`"
        )
    return Unknown(block.data, found["model"], found["provider"])


def shown(input_: Input) -> Any:
    """An input as callers are shown it: like the stored form, but that files say of which ``file_type`` they are."""
    if not any(isinstance(block, File) for message in input_.messages for block in message.content):
        return input_
    body: dict[str, Any] = {"messages": [_shown_message(message) for message in input_.messages]}
    return body if input_.system is None else body | {"system": input_.system}


def _shown_message(message: InputMessage) -> dict[str, Any]:
    content = [_shown_file(block) if isinstance(block, File) else block for block in message.content]
    return {"role": message.role, "content": content}


def _shown_file(file: File) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.to_builtins(file)
    if file.storage_path is not None:
        return body | {"file_type": "object_storage" if file.data is not None else "object_storage_pointer"}
    if file.data is not None:
        return body | {"file_type": "base64"}
    body["url"] = body.pop("source_url", None)
    return body | {"file_type": "url"}


# -- files ------------------------------------------------------------------------------------------------

# What says what a file is, by its ``file_type``: needed, then allowed besides.
_FORMS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "url": (frozenset({"url"}), frozenset({"mime_type"})),
    "base64": (frozenset({"data"}), frozenset({"mime_type"})),
    "object_storage_pointer": (frozenset({"mime_type", "storage_path"}), frozenset({"source_url"})),
    "object_storage": (frozenset({"mime_type", "storage_path", "data"}), frozenset({"source_url"})),
}
_FIELDS = ("url", "data", "source_url", "storage_path", "mime_type")


def _file(where: str, block: _File) -> File:
    given = {name for name in _FIELDS if getattr(block, name) is not None}
    form = block.file_type or _form(given)
    needed, allowed = _FORMS[form]
    if missing := sorted(needed - given):
        raise BadRequest(f"{where}: missing field `{missing[0]}` of a file of type `{form}`")
    if foreign := sorted(given - needed - allowed):
        raise BadRequest(f"{where}: unknown field `{foreign[0]}` of a file of type `{form}`")
    if block.data is not None:
        check_base64(block.data, f"{where}.data")
    source_url = block.url if block.url is not None else block.source_url
    if source_url is not None:
        check_url(source_url, f"{where}.{'url' if block.url is not None else 'source_url'}")
    path = block.storage_path
    return File(
        mime_type=block.mime_type,
        data=block.data,
        source_url=source_url,
        storage_path=StoragePath(path.kind, path.path) if path is not None else None,
        detail=block.detail,
        filename=block.filename,
    )


def _form(given: set[str]) -> str:
    """The forms from before there was ``file_type``."""
    if "storage_path" in given:
        return "object_storage" if "data" in given else "object_storage_pointer"
    return "base64" if "data" in given else "url"


def check_base64(data: str, where: str) -> None:
    """Raise BadRequest unless this is base64 of at least one byte. Only looks: decoding is for who needs the bytes."""
    if len(data) % 4 == 0 and _BASE64.fullmatch(data):
        return
    if data.startswith("data:"):
        raise BadRequest(f"{where}: expected bare base64, got a data URL: leave out everything up to the comma")
    raise BadRequest(f"{where}: not base64 (standard alphabet, padded with `=`)")


def check_url(url: str, where: str) -> None:
    """Raise BadRequest unless this is an absolute URL; whether it may be fetched is for who fetches it."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise BadRequest(f"{where}: not a URL: {error}") from None
    if parts.scheme == "data":
        raise BadRequest(f'{where}: a data URL is not fetched; send its bytes with `"file_type": "base64"`')
    if not parts.scheme or not parts.netloc:
        raise BadRequest(f"{where}: not an absolute URL, such as https://example.com/cat.png")
