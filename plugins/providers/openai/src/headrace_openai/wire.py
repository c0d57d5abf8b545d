"""What goes out: the field names of a chat completions or embeddings request. What comes in is ``reading``'s."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from headrace.errors import ProviderError
from headrace.media import File
from headrace.types import (
    Block,
    EmbeddingRequest,
    Message,
    ModelRequest,
    Params,
    Text,
    Thought,
    ToolCall,
    ToolConfig,
    ToolResult,
    Unknown,
)
from msgspec import structs

from . import files, tools
from .dialect import Dialect

_log = logging.getLogger(__name__)

JSON_OBJECT = {"type": "json_object"}

_Part: TypeAlias = Callable[[Block], Any]


def chat(
    model: str,
    request: ModelRequest,
    dialect: Dialect,
    *,
    stream: bool,
    overrides: Mapping[str, files.Part] | None = None,
) -> dict[str, Any]:
    """The body of a chat completions request; ``overrides`` says for a MIME type which part its files become.

    Raise ProviderError where the dialect has no words for the request.
    """
    params = _supported(request.params, dialect)
    wanted = _response_format(model, request)
    body = {
        "model": model,
        "messages": _messages(
            model, request, partial(_part, dialect, overrides or {}), is_json_object=wanted == JSON_OBJECT
        ),
        "temperature": params.temperature,
        "top_p": params.top_p,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "seed": params.seed,
        dialect.token_limit: params.max_tokens,
        "stop": list(params.stop_sequences) if params.stop_sequences is not None else None,
        "reasoning_effort": params.reasoning_effort,
        "service_tier": params.service_tier,
        "verbosity": params.verbosity,
        "response_format": wanted,
        "stream": stream,
        "stream_options": {"include_usage": True} if stream and dialect.stream_options else None,
        **tools.fields(model, request.tools, dialect),
    }
    return {name: value for name, value in body.items() if value is not None}


def embeddings(model: str, request: EmbeddingRequest) -> dict[str, Any]:
    """The body of an embeddings request."""
    body = {
        "model": model,
        "input": request.input,
        "dimensions": request.dimensions,
        "encoding_format": "float",
    }
    return {name: value for name, value in body.items() if value is not None}


def _supported(params: Params, dialect: Dialect) -> Params:
    """The parameters without those that the server cannot use, each of which is worth a warning."""
    if not dialect.unsupported:
        return params
    dropped = [name for name in sorted(dialect.unsupported) if getattr(params, name) is not None]
    for name in dropped:
        _log.warning("%s does not support the inference parameter `%s`, so it will be ignored", dialect.name, name)
    return structs.replace(params, **dict.fromkeys(dropped)) if dropped else params


def _response_format(model: str, request: ModelRequest) -> dict[str, Any] | None:
    if request.json_mode == "off":
        return None
    if request.json_mode == "on" or request.output_schema is None or "3.5" in model:
        return JSON_OBJECT
    return {
        "type": "json_schema",
        "json_schema": {"name": "response", "strict": True, "schema": request.output_schema},
    }


# -- messages ---------------------------------------------------------------------------------------------


def _messages(model: str, request: ModelRequest, part: _Part, *, is_json_object: bool) -> list[dict[str, Any]]:
    system = request.system
    # OpenAI answers 400 to json_object unless some message speaks of JSON.
    if is_json_object and not _mentions_json(request):
        system = f"Respond using JSON.\n\n{system}" if system else "Respond using JSON."
    messages: list[dict[str, Any]] = []
    if system is not None:
        role = "user" if model.lower().startswith("o1-mini") else "system"
        messages.append({"role": role, "content": system})
    for message in request.messages:
        messages += _user(message, part) if message.role == "user" else _assistant(message, part, request.tools)
    return messages


def _mentions_json(request: ModelRequest) -> bool:
    said = [request.system or ""]
    for message in request.messages:
        for block in message.content:
            if isinstance(block, Text):
                said.append(block.text)
            elif isinstance(block, ToolResult):
                said.append(block.result)
    return any("json" in text.lower() for text in said)


def _user(message: Message, part: _Part) -> list[dict[str, Any]]:
    """Tool results become messages of their own, before what the user says in the same turn."""
    results, parts = [], []
    for block in message.content:
        match block:
            case ToolResult():
                results.append({"role": "tool", "tool_call_id": block.id, "content": block.result})
            case Thought():
                _log.warning("a thought in a user message was dropped: the dialect has no place for it")
            case ToolCall():
                raise _misplaced("tool_call", "user")
            case _:
                parts.append(part(block))
    return [*results, {"role": "user", "content": _content(parts)}] if parts else results


def _assistant(message: Message, part: _Part, config: ToolConfig | None) -> list[dict[str, Any]]:
    parts, calls, thoughts = [], [], []
    for block in message.content:
        match block:
            case ToolCall():
                calls.append(tools.call(block, config))
            case Thought():
                thoughts.append(block.text)
            case ToolResult():
                raise _misplaced("tool_result", "assistant")
            case _:
                parts.append(part(block))
    if not parts and not calls:
        if thoughts:
            _log.warning("an assistant message of thoughts alone was dropped: the dialect has no place for it")
        return []
    said: dict[str, Any] = {"role": "assistant"}
    if parts:
        said["content"] = _content(parts)
    if calls:
        said["tool_calls"] = calls
    if texts := [text for text in thoughts if text]:
        said["reasoning_content"] = "\n\n".join(texts)
    return [said]


def _part(dialect: Dialect, overrides: Mapping[str, files.Part], block: Block) -> Any:
    if isinstance(block, File):
        return files.part(block, dialect, overrides)
    return block.data if isinstance(block, Unknown) else {"type": "text", "text": block.text}  # type: ignore[union-attr]


def _content(parts: list[Any]) -> Any:
    """A lone text is sent as a plain string: every server takes that, and not every one takes parts."""
    if len(parts) == 1 and isinstance(parts[0], dict) and parts[0].keys() == {"type", "text"}:
        return parts[0]["text"]
    return parts


def _misplaced(block: str, role: str) -> ProviderError:
    return ProviderError(
        f"Invalid message: a `{block}` block cannot stand in a message of role `{role}`",
        status=400,
        at_fault="client",
    )
