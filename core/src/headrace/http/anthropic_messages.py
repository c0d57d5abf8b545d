"""Anthropic's messages and system prompt to the neutral input."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct, structs

from ..errors import BadRequest
from ..media import File
from ..types import Input, InputBlock, InputMessage, Role, Text, Thought, ToolCall, ToolResult, Unknown
from .blocks import check_base64
from .extensions import RawTextBlock, TemplateBlock, convert, file_of, own_block, system_of

RAW_ARGUMENTS = "tensorzero_raw_arguments"


class _Text(Struct, tag="text"):
    text: str


class _Base64(Struct, tag="base64"):
    media_type: str
    data: str


class _Url(Struct, tag="url"):
    url: str


class _PlainText(Struct, tag="text"):
    data: str


class _Content(Struct, tag="content"):
    content: str | list[dict[str, Any]]


class _Image(Struct, tag="image"):
    source: _Base64 | _Url


class _Document(Struct, tag="document"):
    source: _Base64 | _Url | _PlainText | _Content
    title: str | None = None


class _ToolUse(Struct, tag="tool_use"):
    id: str
    name: str
    input: dict[str, Any]


class _ToolResult(Struct, tag="tool_result"):
    tool_use_id: str
    content: str | list[dict[str, Any]] | None = None
    is_error: bool | None = None


class _Thinking(Struct, tag="thinking"):
    thinking: str
    signature: str | None = None
    tensorzero_provider_type: str | None = None
    tensorzero_extra_data: Any = None


class _Redacted(Struct, tag="redacted_thinking"):
    data: str
    tensorzero_provider_type: str | None = None
    tensorzero_extra_data: Any = None


_Block: TypeAlias = (
    _Text | _Image | _Document | _ToolUse | _ToolResult | _Thinking | _Redacted | TemplateBlock | RawTextBlock
)
_BLOCKS: dict[str, type[_Block]] = {
    "text": _Text,
    "image": _Image,
    "document": _Document,
    "tool_use": _ToolUse,
    "tool_result": _ToolResult,
    "thinking": _Thinking,
    "redacted_thinking": _Redacted,
    "tensorzero::template": TemplateBlock,
    "tensorzero::raw_text": RawTextBlock,
}
_MAX_DEPTH = 4  # documents of documents: nobody means that


class AnthropicMessage(Struct):
    """One message as the caller writes it."""

    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]]


def to_input(messages: Sequence[AnthropicMessage], system: str | list[dict[str, Any]] | None) -> Input:
    """The neutral input; system messages among the others go to the front, after ``system``. Raise BadRequest."""
    reader = _Reader()
    front = reader.content("system", "user", system) if system else []
    turns: list[InputMessage] = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if message.role == "system":
            front.extend(reader.content(f"{where}.content", "user", message.content))
        else:
            blocks = reader.content(f"{where}.content", message.role, message.content)
            turns.append(InputMessage(message.role, tuple(blocks)))
    return Input(tuple(turns), system_of(front))


class _Reader:
    """Reads blocks in order; a tool result has its tool's name from the call before it."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def content(self, where: str, role: Role, content: str | list[dict[str, Any]], depth: int = 0) -> list[InputBlock]:
        if isinstance(content, str):
            return [Text(content)]
        if depth > _MAX_DEPTH:
            raise BadRequest(f"{where}: nested deeper than {_MAX_DEPTH} levels")
        blocks: list[InputBlock] = []
        for index, block in enumerate(content):
            blocks.extend(self._blocks(f"{where}[{index}]", role, block, depth))
        return blocks

    def _blocks(self, where: str, role: Role, block: dict[str, Any], depth: int) -> list[InputBlock]:
        kind = block.get("type")
        if not isinstance(kind, str):
            raise BadRequest(f"{where}.type: expected the type of a block, such as `text`")
        if kind not in _BLOCKS:  # of Anthropic's own tools, such as a web search: whoever made it can read it
            return [Unknown(block)]
        known: _Block = convert(block, _BLOCKS[kind], where)
        match known:
            case _Document():
                return self._document(where, role, known, depth)
            case _ToolResult():
                return self._result(where, role, known, depth)
            case _ToolUse():
                return [self._call(where, role, known)]
        return [_simple(where, role, known)]

    def _call(self, where: str, role: Role, block: _ToolUse) -> ToolCall:
        if role != "assistant":
            raise BadRequest(f"{where}: a tool_use block belongs into a message of the assistant")
        self._names[block.id] = block.name
        raw = block.input.get(RAW_ARGUMENTS)
        if isinstance(raw, str) and len(block.input) == 1:  # as we sent it ourselves
            return ToolCall(block.id, block.name, raw)
        return ToolCall(block.id, block.name, msgspec.json.encode(block.input).decode())

    def _result(self, where: str, role: Role, block: _ToolResult, depth: int) -> list[InputBlock]:
        """The result as one text; the files among its parts follow it."""
        if role != "user":
            raise BadRequest(f"{where}: a tool_result block belongs into a message of the user")
        name = self._names.get(block.tool_use_id)
        if name is None:
            raise BadRequest(f"{where}.tool_use_id: tool call id not found: {block.tool_use_id[:100]}")
        parts = self.content(f"{where}.content", role, block.content, depth + 1) if block.content else []
        texts = [part.text for part in parts if isinstance(part, Text)]
        files = [part for part in parts if isinstance(part, File)]
        if len(texts) + len(files) != len(parts):
            raise BadRequest(f"{where}.content: only text, images and documents can be a tool's result")
        text = "\n".join(texts)
        # No neutral result has a place for this, and a model that is not told would believe the text.
        return [ToolResult(block.tool_use_id, name, f"Error: {text}" if block.is_error else text), *files]

    def _document(self, where: str, role: Role, block: _Document, depth: int) -> list[InputBlock]:
        source = block.source
        if isinstance(source, _Content):
            return self.content(f"{where}.source.content", role, source.content, depth + 1)
        if isinstance(source, _PlainText):
            if not source.data:
                raise BadRequest(f"{where}.source.data: the document is empty")
            data = base64.b64encode(source.data.encode()).decode()
            return [File(mime_type="text/plain", data=data, filename=block.title)]
        file = _file(f"{where}.source", source)
        if isinstance(source, _Url):  # the only documents that Anthropic fetches
            file = structs.replace(file, mime_type=file.mime_type or "application/pdf")
        return [structs.replace(file, filename=block.title)]


def _simple(where: str, role: Role, block: _Block) -> InputBlock:
    match block:
        case _Text():
            return Text(block.text)
        case TemplateBlock() | RawTextBlock():
            return own_block(block)
        case _Image():
            return _file(f"{where}.source", block.source)
        case _Thinking() | _Redacted() if role != "assistant":
            raise BadRequest(f"{where}: thinking belongs into a message of the assistant")
        case _Thinking():
            return Thought(
                text=block.thinking or None,
                signature=block.signature or None,
                provider_type=block.tensorzero_provider_type,
                extra_data=block.tensorzero_extra_data,
            )
        case _Redacted():
            return Thought(
                text=None,
                signature=block.data,
                provider_type=block.tensorzero_provider_type,
                extra_data=block.tensorzero_extra_data,
            )
    raise BadRequest(f"{where}: not expected here")


def _file(where: str, source: _Base64 | _Url) -> File:
    if isinstance(source, _Url):
        return file_of(source.url, f"{where}.url")
    check_base64(source.data, f"{where}.data")
    return File(mime_type=source.media_type, data=source.data)
