"""OpenAI chat messages to a neutral input (http-api 16.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from ..errors import BadRequest
from ..types import Input, InputBlock, InputMessage, RawText, Template, Text, Thought, ToolCall, ToolResult, Unknown

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
    content: str | list[dict[str, Any]] | dict[str, Any] | None = None
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
        role = _ROLES[message.role]
        if role != "tool" and results:
            turns.append(InputMessage("user", tuple(results)))
            results = []
        if role == "system":
            system.extend(_blocks(index, "system", message.content))
        elif role == "tool":
            results.append(_result(message, calls))
        elif role == "user":
            turns.append(InputMessage("user", _blocks(index, "user", message.content)))
        else:
            turns.append(_assistant(index, message, calls))
    if results:
        turns.append(InputMessage("user", tuple(results)))
    return Input(tuple(turns), _system(system))


def _system(blocks: Sequence[InputBlock]) -> str | dict[str, Any] | None:
    templates = [block for block in blocks if isinstance(block, Template)]
    if templates:
        if len(blocks) > 1:
            raise BadRequest("A template system message cannot be combined with other system content")
        return templates[0].arguments
    texts = [block.text if isinstance(block, Text) else getattr(block, "value", "") for block in blocks]
    return "\n".join(texts) if texts else None


def _assistant(index: int, message: OpenAIMessage, calls: dict[str, str]) -> InputMessage:
    content: list[InputBlock] = list(_blocks(index, "assistant", message.content)) if message.content else []
    for call in message.tool_calls or ():
        calls[call.id] = call.function.name
        content.append(ToolCall(call.id, call.function.name, call.function.arguments))
    return InputMessage("assistant", tuple(_with_extra(content, message.tensorzero_extra_content or [])))


def _with_extra(content: list[InputBlock], extra: Sequence[dict[str, Any]]) -> list[InputBlock]:
    """Thoughts and unknown blocks back in the places they had in the answer; those without one come first."""
    placed = sorted((item for item in extra if item.get("insert_index") is not None), key=lambda i: i["insert_index"])
    for item in placed:
        content.insert(max(0, min(int(item["insert_index"]), len(content))), _extra(item))
    return [_extra(item) for item in extra if item.get("insert_index") is None] + content


def _extra(item: dict[str, Any]) -> InputBlock:
    fields = {key: value for key, value in item.items() if key != "insert_index"}
    try:
        return msgspec.convert(fields, Thought | Unknown)
    except msgspec.ValidationError as error:
        raise BadRequest(f"tensorzero_extra_content: {error}") from None


def _result(message: OpenAIMessage, calls: dict[str, str]) -> ToolResult:
    name = calls.get(message.tool_call_id or "")
    if name is None:
        raise BadRequest(f"tool call id not found: {message.tool_call_id}")
    # The content's JSON, quotes and all: what existing users' prompts have always received.
    return ToolResult(message.tool_call_id or "", name, msgspec.json.encode(message.content).decode())


def _blocks(
    index: int, role: str, content: str | list[dict[str, Any]] | dict[str, Any] | None
) -> tuple[InputBlock, ...]:
    if isinstance(content, str):
        return (Text(content),)
    if isinstance(content, list):
        return tuple(_block(f"messages[{index}].content[{at}]", role, block) for at, block in enumerate(content))
    raise BadRequest(f"messages[{index}].content: expected a string or a list of blocks")


def _block(where: str, role: str, block: dict[str, Any]) -> InputBlock:
    kind = block.get("type")
    if kind == "text":
        text, arguments = block.get("text"), block.get("tensorzero::arguments")
        if isinstance(text, str) and arguments is None:
            return Text(text)
        if text is None and isinstance(arguments, dict):
            return Template(role, arguments)
        raise BadRequest(f"{where}: a text block needs exactly one of `text` and `tensorzero::arguments`")
    if kind == "tensorzero::template":
        name, arguments = block.get("name"), block.get("arguments")
        if isinstance(name, str) and isinstance(arguments, dict):
            return Template(name, arguments)
        raise BadRequest(f"{where}: a tensorzero::template block needs `name` and `arguments`")
    if kind == "tensorzero::raw_text" and isinstance(block.get("value"), str):
        return RawText(block["value"])
    if kind is None and not any(key.startswith("tensorzero::") for key in block):
        return Template(role, block)  # deprecated form of a template named after the role
    raise BadRequest(f"{where}: content blocks of type {kind!r} are not supported")
