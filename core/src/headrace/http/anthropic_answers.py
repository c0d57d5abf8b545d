"""Answers in the shape of Anthropic's Messages API: content blocks, stop reason, usage, errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from ..exchange import InferenceResponse
from ..types import (
    Block,
    CheckedToolCall,
    ContentBlock,
    FinishReason,
    JsonOutput,
    Text,
    Thought,
    ToolCall,
    Unknown,
    Usage,
)
from .anthropic_messages import RAW_ARGUMENTS
from .errors import Edge, Surface, status_of
from .extensions import additions, model_of
from .sequence import is_item

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
}
_STOP: dict[FinishReason | None, str] = {
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_call": "tool_use",
    "content_filter": "refusal",
}


class AnthropicErrors(Surface):
    """``{"type": "error", "error": {"type": ..., "message": ...}}``."""

    def __init__(self) -> None:
        super().__init__("tensorzero_", nested=True)

    def __call__(self, message: str, *, raw_chunk: str | None = None) -> dict[str, Any]:
        """The body of an error of which there is only a message."""
        body = super().__call__(message, raw_chunk=raw_chunk)
        return {"type": "error", **body, "error": {"type": "api_error", "message": message}}

    def of(self, error: Exception, edge: Edge) -> dict[str, Any]:
        """The body of an error; its type follows from the status."""
        body, status = super().of(error, edge), status_of(error)
        body["error"]["type"] = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        return body


anthropic_errors = AnthropicErrors()


def thinking_of(thought: Thought) -> str:
    """A thought's text; its summaries if that is all there is."""
    if thought.text is not None:
        return thought.text
    return "\n\n".join(part.get("text", "") for part in thought.summary or ())


def block_of(block: Block | ContentBlock) -> dict[str, Any] | None:
    """The content block, or None if it would be empty or has no place in an answer."""
    match block:
        case Text():
            return {"type": "text", "text": block.text} if block.text else None
        case CheckedToolCall():
            return _tool_use(block.id, block.raw_name, block.raw_arguments)
        case ToolCall():
            return _tool_use(block.id, block.name, block.arguments)
        case Thought():
            return _thinking(block)
        case Unknown() if is_item(block.data):
            data: dict[str, Any] = block.data
            return data
    return None


def ours(provider_type: str | None, extra_data: Any = None) -> dict[str, Any]:
    """What of a thought has no field at Anthropic, and has to come back with it."""
    shown = {"tensorzero_provider_type": provider_type, "tensorzero_extra_data": extra_data}
    return {name: value for name, value in shown.items() if value is not None}


def _thinking(thought: Thought) -> dict[str, Any] | None:
    text, more = thinking_of(thought), ours(thought.provider_type, thought.extra_data)
    if text:
        return {"type": "thinking", "thinking": text, "signature": thought.signature or "", **more}
    return {"type": "redacted_thinking", "data": thought.signature, **more} if thought.signature else None


def _tool_use(id_: str, name: str, arguments: str) -> dict[str, Any]:
    """A call. Anthropic's input is an object; arguments that are none come whole, under a name of ours."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except (ValueError, RecursionError):
        value = None
    input_ = value if isinstance(value, dict) else {RAW_ARGUMENTS: arguments}
    return {"type": "tool_use", "id": id_, "name": name, "input": input_}


def stop_reason(finish_reason: FinishReason | None, *, calls: bool) -> str:
    """Why it ended. Some upstreams say `stop` after a tool call, and every agent's loop looks here."""
    reason = _STOP.get(finish_reason, "end_turn")
    return "tool_use" if calls and reason == "end_turn" else reason


def usage_of(usage: Usage) -> dict[str, Any]:
    """Anthropic's account of tokens, which counts cached input apart from the rest. Unknown numbers are zero."""
    read, written = usage.provider_cache_read_input_tokens or 0, usage.provider_cache_write_input_tokens or 0
    return {
        "input_tokens": max((usage.input_tokens or 0) - read - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output_tokens or 0,
        "tensorzero_cost": usage.cost,
    }


def message(
    inference_id: UUID,
    function_name: str | None,
    variant_name: str,
    content: Sequence[dict[str, Any]],
    usage: dict[str, Any],
    /,
    **rest: Any,
) -> dict[str, Any]:
    """The message object."""
    return {
        "id": f"msg_{inference_id.hex}",
        "type": "message",
        "role": "assistant",
        "model": model_of(function_name, variant_name),
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,  # which one it was, upstreams' neutral answers do not tell
        "usage": usage,
        **rest,
    }


def answer(response: InferenceResponse, function_name: str | None) -> dict[str, Any]:
    """The message of a whole answer."""
    output = response.output
    blocks = (Text(output.raw or ""),) if isinstance(output, JsonOutput) else output
    content = [shown for block in blocks if (shown := block_of(block)) is not None]
    calls = any(isinstance(block, CheckedToolCall) for block in blocks)
    return message(
        response.inference_id,
        function_name,
        response.variant_name,
        content,
        usage_of(response.usage),
        **additions(response) | {"stop_reason": stop_reason(response.finish_reason, calls=calls)},
    )
