"""What goes out: the field names of a chat completions or embeddings request. What comes in is ``reading``'s."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from headrace.errors import ProviderError
from headrace.types import (
    Block,
    EmbeddingRequest,
    Message,
    ModelRequest,
    Specific,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolConfig,
    ToolResult,
    Unknown,
)

_log = logging.getLogger(__name__)

JSON_OBJECT = {"type": "json_object"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where a server's speech differs from OpenAI's own, as far as most servers differ.

    ``name`` is for operators to read, ``provider_type`` marks the thoughts, ``token_limit`` is the field that
    carries ``max_tokens``, and ``stream_options`` says whether the server takes that field.
    """

    name: str = "OpenAI"
    provider_type: str = "openai"
    token_limit: str = "max_completion_tokens"
    stream_options: bool = True


def chat(model: str, request: ModelRequest, dialect: Dialect, *, stream: bool) -> dict[str, Any]:
    """The body of a chat completions request. Raise ProviderError where the dialect has no words for it."""
    params = request.params
    if params.thinking_budget_tokens is not None:
        _log.warning(
            "%s does not support the inference parameter `thinking_budget_tokens`, so it will be ignored", dialect.name
        )
    wanted = _response_format(model, request)
    body = {
        "model": model,
        "messages": _messages(model, request, is_json_object=wanted == JSON_OBJECT),
        "temperature": params.temperature,
        "top_p": params.top_p,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "seed": params.seed,
        dialect.token_limit: params.max_tokens,
        "stop": params.stop_sequences,
        "reasoning_effort": params.reasoning_effort,
        "service_tier": params.service_tier,
        "verbosity": params.verbosity,
        "response_format": wanted,
        "stream": stream,
        "stream_options": {"include_usage": True} if stream and dialect.stream_options else None,
        **_tool_fields(model, request.tools),
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


def _messages(model: str, request: ModelRequest, *, is_json_object: bool) -> list[dict[str, Any]]:
    system = request.system
    # OpenAI answers 400 to json_object unless some message speaks of JSON.
    if is_json_object and not _mentions_json(request):
        system = f"Respond using JSON.\n\n{system}" if system else "Respond using JSON."
    messages: list[dict[str, Any]] = []
    if system is not None:
        role = "user" if model.lower().startswith("o1-mini") else "system"
        messages.append({"role": role, "content": system})
    for message in request.messages:
        messages += _user(message) if message.role == "user" else _assistant(message)
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


def _user(message: Message) -> list[dict[str, Any]]:
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
                parts.append(_part(block))
    return [*results, {"role": "user", "content": _content(parts)}] if parts else results


def _assistant(message: Message) -> list[dict[str, Any]]:
    parts, calls, thoughts = [], [], []
    for block in message.content:
        match block:
            case ToolCall():
                function = {"name": block.name, "arguments": block.arguments}
                calls.append({"id": block.id, "type": "function", "function": function})
            case Thought():
                thoughts.append(block.text)
            case ToolResult():
                raise _misplaced("tool_result", "assistant")
            case _:
                parts.append(_part(block))
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


def _part(block: Block) -> Any:
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


# -- tools ------------------------------------------------------------------------------------------------


def _tool_fields(model: str, config: ToolConfig | None) -> dict[str, Any]:
    if config is None or not config.tools:
        return {}
    # o1 refuses the field, and does what false asks for anyway.
    unsaid = config.parallel is False and model.lower().startswith("o1")
    return {
        "tools": [_tool(tool) for tool in config.tools],
        "tool_choice": _tool_choice(config),
        "parallel_tool_calls": None if unsaid else config.parallel,
    }


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function, "strict": tool.strict}


def _tool_choice(config: ToolConfig) -> Any:
    """All tools are always sent (they are part of the cached prompt); an explicit list narrows the choice."""
    if isinstance(config.choice, Specific):
        return {"type": "function", "function": {"name": config.choice.specific}}
    if config.choice == "none" or config.allowed is None:
        return config.choice
    names = [{"type": "function", "function": {"name": name}} for name in config.allowed]
    return {"type": "allowed_tools", "allowed_tools": {"mode": config.choice, "tools": names}}
