"""A whole answer as OpenAI's ``chat.completion``, and the parts of it that a streamed answer shares (http-api 16.4)."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from ..exchange import InferenceResponse
from ..functions import text_of
from ..types import CheckedToolCall, FinishReason, JsonOutput, Output, Text, Usage
from .openai_fields import FUNCTION, MODEL

_FINISH: dict[FinishReason | None, str] = {
    "length": "length",
    "tool_call": "tool_calls",
    "content_filter": "content_filter",
}


def completion(response: InferenceResponse, function_name: str | None) -> dict[str, Any]:
    """The JSON object of the answer; without ``function_name`` a model was called by its own name."""
    choice = {"index": 0, "finish_reason": finish(response.finish_reason), "message": _message(response.output)}
    body = {
        "id": response.inference_id,
        "episode_id": response.episode_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model_of(function_name, response.variant_name),
        "system_fingerprint": "",
        "service_tier": None,
        "choices": [choice],
        "usage": usage_of(response.usage),
    }
    for name in ("raw_usage", "raw_response", "original_response"):
        if (value := getattr(response, name)) is not None:
            body[f"tensorzero_{name}"] = value
    return body


def model_of(function_name: str | None, variant_name: str) -> str:
    """What answered. A model called by its own name runs as a variant of that name."""
    return (
        f"{MODEL}{variant_name}"
        if function_name is None
        else f"{FUNCTION}{function_name}::variant_name::{variant_name}"
    )


def finish(reason: FinishReason | None) -> str:
    """OpenAI's word for it."""
    return _FINISH.get(reason, "stop")


def usage_of(usage: Usage) -> dict[str, Any]:
    """The tokens that are known, and the cost even if it is not."""
    shown: dict[str, Any] = {}
    if usage.input_tokens is not None:
        shown["prompt_tokens"] = usage.input_tokens
    if usage.output_tokens is not None:
        shown["completion_tokens"] = usage.output_tokens
    if usage.input_tokens is not None and usage.output_tokens is not None:
        shown["total_tokens"] = usage.input_tokens + usage.output_tokens
    if usage.provider_cache_read_input_tokens is not None:
        shown["prompt_tokens_details"] = {"cached_tokens": usage.provider_cache_read_input_tokens}
    if usage.provider_cache_write_input_tokens is not None:
        shown["tensorzero_provider_cache_write_input_tokens"] = usage.provider_cache_write_input_tokens
    shown["tensorzero_cost"] = usage.cost
    return shown


def _message(output: Output) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    if isinstance(output, JsonOutput):
        message["content"] = output.raw
        return message
    message["content"] = text_of(output)
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.raw_name, "arguments": call.raw_arguments}}
        for call in output
        if isinstance(call, CheckedToolCall)
    ]
    extra = [
        {**msgspec.to_builtins(block), "insert_index": index}
        for index, block in enumerate(output)
        if not isinstance(block, (Text, CheckedToolCall))
    ]
    if calls:
        message["tool_calls"] = calls
    if extra:
        message["tensorzero_extra_content"] = extra
    return message
