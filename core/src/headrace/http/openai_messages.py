"""OpenAI chat messages to a neutral input (http-api 16.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from ..errors import BadRequest
from ..tags import RESERVED, canonical
from ..types import Input, InputBlock, InputMessage, RawText, Template, Text, Thought, ToolCall, ToolResult, Unknown
from . import openai_files as files
from .openai_fields import canonical_keys

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


class _Function(Struct):
    name: str
    arguments: str


class _Call(Struct):
    id: str
    function: _Function
    type: Literal["function"] = "function"


class OpenAIMessage(Struct):
    """One message; unknown keys are ignored, as OpenAI's own server does."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Any = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    tensorzero_extra_content: list[dict[str, Any]] | None = None


def to_input(messages: Sequence[OpenAIMessage]) -> Input:
    """System messages go to the front, consecutive tool messages become one user message. Raise BadRequest."""
    system: list[InputBlock] = []
    turns: list[InputMessage] = []
    calls: dict[str, str] = {}
    results: list[InputBlock] = []
    for index, message in enumerate(messages):
        where, role = f"messages[{index}]", _ROLES[message.role]
        if role != "tool" and results:
            turns.append(InputMessage("user", tuple(results)))
            results = []
        if role == "system":
            system.extend(_blocks(f"{where}.content", "system", message.content))
        elif role == "tool":
            results.append(_result(message, calls))
        elif role == "user":
            turns.append(InputMessage("user", _blocks(f"{where}.content", "user", message.content)))
        else:
            turns.append(InputMessage("assistant", tuple(_assistant(where, message, calls))))
    if results:
        turns.append(InputMessage("user", tuple(results)))
    return Input(tuple(turns), _system(system))


def _system(blocks: Sequence[InputBlock]) -> str | dict[str, Any] | None:
    texts = []
    for block in blocks:
        match block:
            case Template() if len(blocks) == 1:
                return block.arguments
            case Template():
                raise BadRequest("messages: a template system message cannot be combined with other system content")
            case Text():
                texts.append(block.text)
            case RawText():
                texts.append(block.value)
            case _:
                raise BadRequest("messages: a system message can only hold text, or one template")
    return "\n".join(texts) if texts else None


def _assistant(where: str, message: OpenAIMessage, calls: dict[str, str]) -> list[InputBlock]:
    """What it said, then its calls, then what comes between those two by its index."""
    content: list[InputBlock] = []
    # Many clients send "" beside tool calls where OpenAI has null, and several upstreams refuse an empty text.
    if message.content is not None and not (message.content == "" and message.tool_calls):
        content.extend(_blocks(f"{where}.content", "assistant", message.content))
    for call in message.tool_calls or ():
        calls[call.id] = call.function.name
        content.append(ToolCall(call.id, call.function.name, call.function.arguments))
    return _with_extra(f"{where}.tensorzero_extra_content", content, message.tensorzero_extra_content or [])


def _result(message: OpenAIMessage, calls: Mapping[str, str]) -> ToolResult:
    name = calls.get(message.tool_call_id or "")
    if name is None:
        raise BadRequest(f"tool call id not found: {message.tool_call_id}")
    # The content's JSON, quotes and all: what existing users' prompts have always received.
    return ToolResult(message.tool_call_id or "", name, msgspec.json.encode(message.content).decode())


# -- what has no place in OpenAI's messages -----------------------------------------------------------------


class _Thought(Struct, tag="thought"):
    text: str | None = None
    signature: str | None = None
    summary: list[dict[str, str]] | None = None
    provider_type: str | None = None
    old_provider_type: str | None = field(name="_internal_provider_type", default=None)
    extra_data: Any = None
    insert_index: int | None = None


class _Unknown(Struct, tag="unknown"):
    data: Any
    model_name: str | None = None
    provider_name: str | None = None
    insert_index: int | None = None


def _with_extra(where: str, content: list[InputBlock], extra: Sequence[Any]) -> list[InputBlock]:
    """Thoughts and unknown blocks back in the places they had in the answer; those without one come first."""
    first: list[InputBlock] = []
    placed: list[tuple[int, InputBlock]] = []
    for at, item in enumerate(extra):
        index, block = _extra(_converted(f"{where}[{at}]", item, _Thought | _Unknown))
        if index is None:
            first.append(block)
        else:
            placed.append((index, block))
    for index, block in sorted(placed, key=lambda pair: pair[0]):
        content.insert(max(0, min(index, len(content))), block)
    return first + content


def _extra(item: _Thought | _Unknown) -> tuple[int | None, InputBlock]:
    if isinstance(item, _Unknown):
        return item.insert_index, Unknown(item.data, item.model_name, item.provider_name)
    provider_type = item.provider_type or item.old_provider_type
    return item.insert_index, Thought(item.text, item.signature, item.summary, provider_type, item.extra_data)


# -- content ------------------------------------------------------------------------------------------------


class _Text(Struct):
    text: str | None = None
    arguments: dict[str, Any] | None = field(name="tensorzero::arguments", default=None)


class _Template(Struct):
    name: str
    arguments: dict[str, Any]


class _RawText(Struct):
    value: str


def _blocks(where: str, role: str, content: Any) -> tuple[InputBlock, ...]:
    if isinstance(content, str):
        return (Text(content),)
    if isinstance(content, list):
        return tuple(_block(f"{where}[{at}]", role, block) for at, block in enumerate(content))
    raise BadRequest(f"{where}: expected a string or a list of blocks")


def _block(where: str, role: str, sent: Any) -> InputBlock:
    if not isinstance(sent, dict):
        raise BadRequest(f"{where}: expected an object, such as {{'type': 'text', 'text': '...'}}")
    block = canonical_keys(sent, f"{where}.")
    if "type" not in block and not any(key.startswith(RESERVED) for key in block):
        return Template(role, dict(block))  # deprecated form of a template named after the role
    kind = block.get("type")
    read = _KINDS.get(canonical(kind)) if isinstance(kind, str) else None
    if read is None:
        raise BadRequest(f"{where}: unknown type {str(kind)[:100]!r} of a content block (known: {', '.join(_KINDS)})")
    return read(where, role, block)


def _text(where: str, role: str, block: Any) -> InputBlock:
    told = _converted(where, block, _Text)
    if told.text is not None and told.arguments is None:
        return Text(told.text)
    if told.arguments is not None and told.text is None:
        return Template(role, told.arguments)
    raise BadRequest(f"{where}: a text block needs exactly one of `text` and `tensorzero::arguments`")


def _template(where: str, role: str, block: Any) -> InputBlock:
    told = _converted(where, block, _Template)
    return Template(told.name, told.arguments)


def _image(where: str, role: str, block: Any) -> InputBlock:
    inner = block.get("image_url")
    if isinstance(inner, dict):
        block = {**block, "image_url": canonical_keys(inner, f"{where}.image_url.")}
    return files.image(where, _converted(where, block, files.ImageBlock))


_KINDS: dict[str, Callable[[str, str, Any], InputBlock]] = {
    "text": _text,
    "image_url": _image,
    "file": lambda where, role, block: files.file(where, _converted(where, block, files.FileBlock)),
    "input_audio": lambda where, role, block: files.audio(where, _converted(where, block, files.AudioBlock)),
    "tensorzero::template": _template,
    "tensorzero::raw_text": lambda where, role, block: RawText(_converted(where, block, _RawText).value),
}


def _converted(where: str, value: Any, into: Any) -> Any:
    """The value as a checked Struct. Raise BadRequest that says where in the whole body it is wrong."""
    try:
        return msgspec.convert(value, into)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        raise BadRequest(f"{where}{path.removesuffix('`')}: {reason}") from None
