"""The ``input`` of the Responses API to the neutral input."""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from ..errors import BadRequest
from ..media import Detail, File
from ..types import Input, InputBlock, InputMessage, Role, Text, Thought, ToolCall, ToolResult, Unknown
from .blocks import check_base64
from .extensions import RawTextBlock, TemplateBlock, convert, file_of, own_block, system_of


class _InputText(Struct, tag="input_text"):
    text: str


class _OutputText(Struct, tag="output_text"):
    text: str


class _PlainText(Struct, tag="text"):
    text: str


class _Refusal(Struct, tag="refusal"):
    refusal: str


class _InputImage(Struct, tag="input_image"):
    image_url: str | None = None
    detail: Literal["low", "high", "auto", "original"] | None = None


class _InputFile(Struct, tag="input_file"):
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    detail: Detail | None = None


class _Audio(Struct):
    data: str
    format: Literal["mp3", "wav"]


class _InputAudio(Struct, tag="input_audio"):
    input_audio: _Audio


_Part: TypeAlias = (
    _InputText
    | _OutputText
    | _PlainText
    | _Refusal
    | _InputImage
    | _InputFile
    | _InputAudio
    | TemplateBlock
    | RawTextBlock
)


class _Message(Struct):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[_Part]


class _FunctionCall(Struct):
    call_id: str
    name: str
    arguments: str


class _CustomCall(Struct):
    call_id: str
    name: str
    input: str


class _CallOutput(Struct):
    call_id: str
    output: str | list[_Part]
    name: str | None = None


class _ReasoningText(Struct):
    text: str


class _Reasoning(Struct):
    summary: list[_ReasoningText] = []
    content: list[_ReasoningText] | None = None
    encrypted_content: str | None = None
    tensorzero_provider_type: str | None = None
    tensorzero_extra_data: Any = None


_Item: TypeAlias = _Message | _FunctionCall | _CustomCall | _CallOutput | _Reasoning
_ITEMS: dict[str, type[_Item]] = {
    "message": _Message,
    "function_call": _FunctionCall,
    "custom_tool_call": _CustomCall,
    "function_call_output": _CallOutput,
    "custom_tool_call_output": _CallOutput,
    "reasoning": _Reasoning,
}
_AUDIO = {"mp3": "audio/mpeg", "wav": "audio/wav"}


class _Turns:
    """Messages under way. What an assistant said in a row is one message, and so are the results of its calls."""

    def __init__(self) -> None:
        self.system: list[InputBlock] = []
        self.calls: dict[str, str] = {}
        self._turns: list[tuple[str, list[InputBlock]]] = []

    def add(self, kind: Literal["user", "assistant", "results"], blocks: Sequence[InputBlock]) -> None:
        if kind != "user" and self._turns and self._turns[-1][0] == kind:
            self._turns[-1][1].extend(blocks)
        else:
            self._turns.append((kind, list(blocks)))

    def messages(self) -> tuple[InputMessage, ...]:
        return tuple(
            InputMessage("assistant" if kind == "assistant" else "user", tuple(blocks)) for kind, blocks in self._turns
        )


def to_input(wanted: str | list[dict[str, Any]] | None, instructions: str | None) -> Input:
    """The neutral input; instructions and all system messages go to the front. Raise BadRequest."""
    turns = _Turns()
    if instructions:
        turns.system.append(Text(instructions))
    if isinstance(wanted, str):
        turns.add("user", [Text(wanted)])
    else:
        for index, item in enumerate(wanted or ()):
            _add(turns, f"input[{index}]", item)
    return Input(turns.messages(), system_of(turns.system))


def _add(turns: _Turns, where: str, item: dict[str, Any]) -> None:
    kind = item.get("type", "message" if "role" in item else None)
    if kind is None or not isinstance(kind, str):
        raise BadRequest(f"{where}.type: expected the type of an item, such as `message`")
    if kind == "item_reference":
        raise BadRequest(f"{where}: this gateway keeps no items, so it cannot look one up; send the item itself")
    if kind not in _ITEMS:  # an upstream's own item, such as a web search: whoever made it can read it
        role: Role = "user" if kind.endswith(("_output", "_response")) else "assistant"
        turns.add("results" if role == "user" else "assistant", [Unknown(item)])
        return
    _add_known(turns, where, convert(item, _ITEMS[kind], where))


def _add_known(turns: _Turns, where: str, item: _Item) -> None:
    match item:
        case _Message():
            _add_message(turns, where, item)
        case _FunctionCall() | _CustomCall():
            turns.calls[item.call_id] = item.name
            arguments = item.arguments if isinstance(item, _FunctionCall) else item.input
            turns.add("assistant", [ToolCall(item.call_id, item.name, arguments)])
        case _CallOutput():
            turns.add("results", _results(turns, where, item))
        case _Reasoning():
            turns.add("assistant", [_thought(item)])


def _add_message(turns: _Turns, where: str, message: _Message) -> None:
    content = message.content
    blocks = [Text(content)] if isinstance(content, str) else _blocks(f"{where}.content", content)
    if message.role in ("system", "developer"):
        turns.system.extend(blocks)
    else:
        turns.add("assistant" if message.role == "assistant" else "user", blocks)


def _results(turns: _Turns, where: str, item: _CallOutput) -> list[InputBlock]:
    """The result as one text; the files among its parts follow it."""
    name = turns.calls.get(item.call_id) or item.name
    if name is None:
        raise BadRequest(f"{where}.call_id: tool call id not found: {item.call_id[:100]}")
    if isinstance(item.output, str):
        return [ToolResult(item.call_id, name, item.output)]
    blocks = _blocks(f"{where}.output", item.output)
    texts = [block.text for block in blocks if isinstance(block, Text)]
    files = [block for block in blocks if isinstance(block, File)]
    if len(texts) + len(files) != len(blocks):
        raise BadRequest(f"{where}.output: only text, images and files can be a tool's output")
    return [ToolResult(item.call_id, name, "\n".join(texts)), *files]


def _thought(item: _Reasoning) -> Thought:
    return Thought(
        text="\n".join(part.text for part in item.content) if item.content else None,
        signature=item.encrypted_content or None,
        summary=[{"type": "summary_text", "text": part.text} for part in item.summary] or None,
        provider_type=item.tensorzero_provider_type,
        extra_data=item.tensorzero_extra_data,
    )


def _blocks(where: str, parts: Sequence[_Part]) -> list[InputBlock]:
    return [_block(f"{where}[{index}]", part) for index, part in enumerate(parts)]


def _block(where: str, part: _Part) -> InputBlock:
    match part:
        case _InputText() | _OutputText() | _PlainText():
            return Text(part.text)
        case _Refusal():
            return Text(part.refusal)
        case _InputImage():
            return _image(where, part)
        case _InputFile():
            return _file(where, part)
        case _InputAudio():
            check_base64(part.input_audio.data, f"{where}.input_audio.data")
            return File(mime_type=_AUDIO[part.input_audio.format], data=part.input_audio.data)
        case TemplateBlock() | RawTextBlock():
            return own_block(part)


def _image(where: str, part: _InputImage) -> File:
    if part.image_url is None:
        raise BadRequest(
            f"{where}: needs `image_url` (or a data URL in it); `file_id` is not supported: no file is kept"
        )
    # `original` is the best there is; the neutral form has no more than `high`.
    detail: Detail | None = "high" if part.detail == "original" else part.detail
    return file_of(part.image_url, f"{where}.image_url", detail=detail)


def _file(where: str, part: _InputFile) -> File:
    if part.file_url is not None:
        return file_of(part.file_url, f"{where}.file_url", detail=part.detail, filename=part.filename)
    if part.file_data is None:
        raise BadRequest(f"{where}: needs `file_data` or `file_url`; `file_id` is not supported: no file is kept")
    if part.file_data.startswith("data:"):
        return file_of(part.file_data, f"{where}.file_data", detail=part.detail, filename=part.filename)
    check_base64(part.file_data, f"{where}.file_data")
    mime_type = mimetypes.guess_type(part.filename or "")[0]
    if mime_type is None:
        raise BadRequest(f"{where}.file_data: of which type? send a data URL, or a `filename` with a known extension")
    return File(mime_type=mime_type, data=part.file_data, detail=part.detail, filename=part.filename)
