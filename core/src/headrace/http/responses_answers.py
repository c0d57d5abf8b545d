"""Answers in the shape of the Responses API: output items, usage, and the response object around them."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from ..exchange import InferenceRequest, InferenceResponse
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
from .errors import Edge, Surface, status_of
from .extensions import additions, model_of
from .responses_bodies import ResponsesBody
from .sequence import is_item

Status: TypeAlias = Literal["in_progress", "completed", "incomplete"]

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ResponsesErrors(Surface):
    """OpenAI's error body with all four of its fields."""

    def __init__(self) -> None:
        super().__init__("tensorzero_", nested=True)

    def of(self, error: Exception, edge: Edge) -> dict[str, Any]:
        """The body of an error; its type follows from the status."""
        body, status = super().of(error, edge), status_of(error)
        kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        body["error"] |= {"type": kind, "param": None, "code": code_of(status)}
        return body


def code_of(status: int) -> str | None:
    """OpenAI's word for what went wrong; None where it has none."""
    if status == 429:
        return "rate_limit_exceeded"
    return "server_error" if status >= 500 else None


responses_errors = ResponsesErrors()


def item_of(
    block: Block | ContentBlock, inference_id: UUID, index: int, status: Status, custom: Collection[str]
) -> dict[str, Any] | None:
    """The output item of a block, or None if it has no place in an answer. ``custom`` names the custom tools."""
    match block:
        case Text():
            content = [text_part(block.text)] if block.text else []
            return {**message_item(inference_id, index), "status": status, "content": content}
        case CheckedToolCall():
            return call_item(block.id, block.raw_name, block.raw_arguments, inference_id, index, status, custom)
        case ToolCall():
            return call_item(block.id, block.name, block.arguments, inference_id, index, status, custom)
        case Thought():
            return _reasoning(block, inference_id, index, status)
        case Unknown() if is_item(block.data):
            data: dict[str, Any] = block.data
            return data
    return None


def text_part(text: str) -> dict[str, Any]:
    """The only part of a message of ours."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def message_item(inference_id: UUID, index: int) -> dict[str, Any]:
    """A message without content."""
    return {
        "type": "message",
        "id": f"msg_{inference_id.hex}_{index}",
        "status": "in_progress",
        "role": "assistant",
        "content": [],
    }


def call_item(
    id_: str,
    name: str,
    arguments: str,
    inference_id: UUID,
    index: int,
    status: Status,
    custom: Collection[str],
) -> dict[str, Any]:
    """A call of a function tool or of a custom one."""
    item = {"status": status, "call_id": id_, "name": name}
    if name in custom:
        return {"type": "custom_tool_call", "id": f"ctc_{inference_id.hex}_{index}", **item, "input": arguments}
    return {"type": "function_call", "id": f"fc_{inference_id.hex}_{index}", **item, "arguments": arguments}


def reasoning_item(inference_id: UUID, index: int) -> dict[str, Any]:
    """A reasoning item without content."""
    return {"type": "reasoning", "id": f"rs_{inference_id.hex}_{index}", "status": "in_progress", "summary": []}


def _reasoning(thought: Thought, inference_id: UUID, index: int, status: Status) -> dict[str, Any]:
    """Everything that the model's next turn may need, under a name of ours where OpenAI has none."""
    item = {**reasoning_item(inference_id, index), "status": status, "encrypted_content": thought.signature}
    item["summary"] = [{"type": "summary_text", "text": part.get("text", "")} for part in thought.summary or ()]
    if thought.text is not None:
        item["content"] = [{"type": "reasoning_text", "text": thought.text}]
    if thought.provider_type is not None:
        item["tensorzero_provider_type"] = thought.provider_type
    if thought.extra_data is not None:
        item["tensorzero_extra_data"] = thought.extra_data
    return item


def ending(finish_reason: FinishReason | None) -> tuple[Status, dict[str, str] | None]:
    """The status of a response that came to an end, and what is missing if something is."""
    if finish_reason == "length":
        return "incomplete", {"reason": "max_output_tokens"}
    if finish_reason == "content_filter":
        return "incomplete", {"reason": "content_filter"}
    return "completed", None


def usage_of(usage: Usage) -> dict[str, Any] | None:
    """OpenAI's account of tokens, or None if the upstream gave none: its types have no word for a single unknown."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.provider_cache_read_input_tokens or 0,
            "cache_write_tokens": usage.provider_cache_write_input_tokens or 0,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},  # part of output_tokens; upstreams' shares are not kept
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "tensorzero_cost": usage.cost,
    }


class Frame:
    """The response object around the output: what was asked, as OpenAI repeats it."""

    def __init__(self, body: ResponsesBody, request: InferenceRequest) -> None:
        self.custom = frozenset(tool.name for tool in request.custom_tools)
        self._function_name = request.function_name
        self._created_at = int(time.time())
        text = body.text.format if body.text else None
        form = {"type": "text"} if text is None else msgspec.to_builtins(text)
        self._asked: dict[str, Any] = {
            "background": False,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
            "service_tier": body.service_tier or "auto",
            "store": False,
            "temperature": body.temperature,
            "text": {"format": form, "verbosity": body.text.verbosity if body.text else None},
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_p": body.top_p,
            "truncation": "disabled",
        }

    def around(
        self, inference_id: UUID, variant_name: str, status: str, output: Sequence[dict[str, Any]], /, **rest: Any
    ) -> dict[str, Any]:
        """The response object."""
        return {
            "id": f"resp_{inference_id.hex}",
            "object": "response",
            "created_at": self._created_at,
            "status": status,
            "model": model_of(self._function_name, variant_name),
            "output": output,
            "error": None,
            "incomplete_details": None,
            "usage": None,
            **self._asked,
            **rest,
        }

    def answer(self, response: InferenceResponse) -> dict[str, Any]:
        """The response object of a whole answer."""
        status, details = ending(response.finish_reason)
        output = response.output
        blocks = (Text(output.raw or ""),) if isinstance(output, JsonOutput) else output
        items: list[dict[str, Any]] = []
        shown = [block for block in blocks if not (isinstance(block, Text) and not block.text)]
        for at, block in enumerate(shown):
            item_status = status if at == len(shown) - 1 else "completed"
            item = item_of(block, response.inference_id, len(items), item_status, self.custom)
            if item is not None:
                items.append(item)
        return self.around(
            response.inference_id,
            response.variant_name,
            status,
            items,
            incomplete_details=details,
            completed_at=int(time.time()) if status == "completed" else None,
            usage=usage_of(response.usage),
            **additions(response),
        )
