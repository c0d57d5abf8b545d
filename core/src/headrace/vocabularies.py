"""What a span says of a provider's call: in the words of OpenTelemetry's GenAI conventions, or of OpenInference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
from msgspec import json

from .contracts import Attempt
from .media import File
from .tracing import Attribute, Attributes
from .types import Block, Message, ModelRequest, Text, Thought, ToolCall, ToolResult, Unknown, Usage

Said: TypeAlias = Iterator[tuple[str, Attribute]]

_JSON = "application/json"


class Vocabulary(Protocol):
    """The attributes of one format (observability 2.6 and 2.7)."""

    @property
    def chain(self) -> Attributes:
        """What every span between the root and a provider's call has."""

    def asked(self, type_: str, model: str | None, function_name: str) -> Attributes:
        """What is known before the call: the provider's type, its own name for the model, who asks."""

    def answered(self, attempt: Attempt, *, stream: bool) -> Attributes:
        """What is known after it, however it ended."""


class GenAI:
    """``format = "opentelemetry"``. With ``content``, messages and tools are in it."""

    def __init__(self, *, content: bool = False) -> None:
        self.chain: Attributes = {}
        self._content = content

    def asked(self, type_: str, model: str | None, function_name: str) -> Attributes:
        """``gen_ai.system`` has become ``gen_ai.provider.name`` in later conventions; both are said."""
        said: dict[str, Attribute] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.system": type_,
            "gen_ai.provider.name": type_,
            "gen_ai.agent.name": function_name,
        }
        if model is not None:
            said["gen_ai.request.model"] = model
        return said

    def answered(self, attempt: Attempt, *, stream: bool) -> Attributes:
        """Tokens, cost, and content where it is wanted."""
        names = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.total_tokens")
        said = dict(_used(attempt.usage, *names))
        if self._content and isinstance(attempt.request, ModelRequest):
            said.update(_content(attempt, attempt.request))
        return said


class OpenInference:
    """``format = "openinference"``. Whole calls bring the raw texts of both sides, whatever else is configured."""

    def __init__(self) -> None:
        self.chain: Attributes = {"openinference.span.kind": "CHAIN"}

    def asked(self, type_: str, model: str | None, function_name: str) -> Attributes:
        """Nothing here says who asks."""
        said: dict[str, Attribute] = {"openinference.span.kind": "LLM", "llm.system": type_}
        if model is not None:
            said["llm.model_name"] = model
        return said

    def answered(self, attempt: Attempt, *, stream: bool) -> Attributes:
        """Tokens, cost, and the raw texts of a call that was not streamed."""
        names = ("llm.token_count.prompt", "llm.token_count.completion", "llm.token_count.total")
        said = dict(_used(attempt.usage, *names))
        if not stream:
            for side, raw in (("input", attempt.raw_request), ("output", attempt.raw_response)):
                if raw or attempt.error is None:
                    said |= {f"{side}.mime_type": _JSON, f"{side}.value": raw}
        return said


def vocabulary_of(format_: Literal["opentelemetry", "openinference"], *, content: bool) -> Vocabulary:
    """The one that a configuration names."""
    return OpenInference() if format_ == "openinference" else GenAI(content=content)


def _used(usage: Usage, input_name: str, output_name: str, total_name: str) -> Said:
    into, out = usage.input_tokens, usage.output_tokens
    if into is not None:
        yield input_name, into
    if out is not None:
        yield output_name, out
    if into is not None and out is not None:
        yield total_name, into + out
    if usage.cost is not None:
        yield "tensorzero.cost_usd", format(usage.cost, "f")


# -- content ----------------------------------------------------------------------------------------------


def _content(attempt: Attempt, request: ModelRequest) -> Said:
    yield "gen_ai.input.messages", _text([_message(message) for message in request.messages])
    if attempt.error is None:
        answer: dict[str, Any] = {"role": "assistant", "parts": [_part(block) for block in attempt.output]}
        if attempt.finish_reason is not None:
            answer["finish_reason"] = attempt.finish_reason
        yield "gen_ai.output.messages", _text([answer])
    if request.system is not None:
        yield "gen_ai.system_instructions", _text([{"type": "text", "content": request.system}])
    if tools := [*_tools(request)]:
        yield "gen_ai.tool.definitions", _text(tools)


def _message(message: Message) -> dict[str, Any]:
    is_of_tools = bool(message.content) and all(isinstance(block, ToolResult) for block in message.content)
    role = "tool" if message.role == "user" and is_of_tools else message.role
    return {"role": role, "parts": [_part(block) for block in message.content]}


def _part(block: Block) -> Mapping[str, Any]:
    if isinstance(block, Text):
        return {"type": "text", "content": block.text}
    if isinstance(block, ToolCall):
        return {"type": "tool_call", "id": block.id, "name": block.name, "arguments": _parsed(block.arguments)}
    if isinstance(block, ToolResult):
        return {"type": "tool_call_response", "id": block.id, "response": _parsed(block.result)}
    if isinstance(block, Thought):
        return {"type": "reasoning", "content": block.text or ""}
    if isinstance(block, File):
        return _file(block)
    assert isinstance(block, Unknown)
    return {"type": "tensorzero.unknown", "content": block.data}


def _file(file: File) -> Mapping[str, Any]:
    major = (file.mime_type or "").partition("/")[0]
    modality = major if major in ("text", "image", "audio", "video") else "other"
    if file.data is not None:
        return {"type": "blob", "modality": modality, "mime_type": file.mime_type, "content": file.data}
    if file.source_url is not None:
        kind = {} if file.mime_type is None else {"mime_type": file.mime_type}
        return {"type": "uri", "modality": modality, **kind, "uri": file.source_url}
    path = file.storage_path.path if file.storage_path is not None else ""
    return {"type": "file", "modality": modality, "mime_type": file.mime_type, "file_id": path}


def _tools(request: ModelRequest) -> Iterator[Mapping[str, Any]]:
    if request.tools is None:
        return
    for tool in request.tools.offered:
        about = {"description": tool.description} if tool.description else {}
        yield {"type": "function", "name": tool.name, **about, "parameters": tool.parameters}
    for custom in request.tools.custom:
        said = {"description": custom.description, "format": custom.format}
        yield {"type": "custom", "name": custom.name, **{key: value for key, value in said.items() if value}}


def _parsed(text: str) -> Any:
    try:
        return json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _text(value: Any) -> str:
    return json.encode(value).decode()
