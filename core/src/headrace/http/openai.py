"""OpenAI's surface: ``POST /openai/v1/chat/completions`` and ``POST /openai/v1/embeddings``."""

from __future__ import annotations

import base64
import logging
import struct
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..errors import BadRequest
from ..exchange import InferenceChunk, InferenceResponse
from ..functions import text_of
from ..gateway import Gateway
from ..types import (
    CheckedToolCall,
    Delta,
    EmbeddingRequest,
    FinishReason,
    JsonOutput,
    Text,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from .errors import decode, openai_body, read
from .native import encode
from .openai_bodies import EmbeddingsBody, chat, embeddings, to_request
from .routing import Route
from .sse import EventStream

log = logging.getLogger(__name__)

_FINISH: dict[FinishReason | None, str] = {
    "length": "length",
    "tool_call": "tool_calls",
    "content_filter": "content_filter",
}
_EMBEDDING_PREFIX = "tensorzero::embedding_model_name::"


class OpenAI:
    """The endpoints, bound to one gateway."""

    def __init__(self, gateway: Gateway, max_body_bytes: int) -> None:
        self._gateway = gateway
        self._max_body_bytes = max_body_bytes

    async def chat_completions(self, request: Request) -> Response | EventStream:
        """``POST /openai/v1/chat/completions``."""
        raw = await read(request, self._max_body_bytes)
        body = decode(chat, raw)
        wanted = to_request(body, raw)
        if body.stream:
            chunks = await self._gateway.stream(wanted)
            with_usage = bool(body.stream_options and body.stream_options.include_usage)
            return EventStream(_events(chunks, wanted.function_name, with_usage=with_usage), openai_body)
        response = await self._gateway.infer(wanted)
        return Response(encode(_completion(response, wanted.function_name)), media_type="application/json")

    async def embeddings(self, request: Request) -> Response:
        """``POST /openai/v1/embeddings``."""
        body = decode(embeddings, await read(request, self._max_body_bytes))
        if not body.input:
            raise BadRequest("Input cannot be empty")
        if isinstance(body.input, list) and len({type(item) for item in body.input}) > 1:
            raise BadRequest("input: texts and token ids cannot be mixed")
        name = body.model.removeprefix(_EMBEDDING_PREFIX)
        if name == body.model:
            log.warning("embedding model %r without the prefix %r is deprecated", body.model, _EMBEDDING_PREFIX)
        response, usage = await self._gateway.embed(
            name, EmbeddingRequest(input=body.input, dimensions=body.dimensions, credentials=body.credentials or {})
        )
        return Response(encode(_embedding_list(name, body, response.embeddings, usage)), media_type="application/json")


def _embedding_list(
    name: str, body: EmbeddingsBody, vectors: Sequence[Sequence[float]], usage: Usage
) -> dict[str, Any]:
    as_base64 = body.encoding_format == "base64"
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "embedding": _base64(vector) if as_base64 else vector, "index": index}
            for index, vector in enumerate(vectors)
        ],
        "model": _EMBEDDING_PREFIX + name,
        "usage": {
            "prompt_tokens": usage.input_tokens,
            "total_tokens": usage.input_tokens,
            "tensorzero_cost": usage.cost,
        },
    }


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _model(function_name: str | None, variant_name: str) -> str:
    if function_name is None:
        return f"tensorzero::model_name::{variant_name}"
    return f"tensorzero::function_name::{function_name}::variant_name::{variant_name}"


def _usage(usage: Usage) -> dict[str, Any]:
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


def _completion(response: InferenceResponse, function_name: str | None) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    if isinstance(response.output, JsonOutput):
        message["content"] = response.output.raw
    else:
        message["content"] = text_of(response.output)
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.raw_name, "arguments": call.raw_arguments}}
            for call in response.output
            if isinstance(call, CheckedToolCall)
        ]
        extra = [
            {**msgspec.to_builtins(block), "insert_index": index}
            for index, block in enumerate(response.output)
            if not isinstance(block, (Text, CheckedToolCall))
        ]
        message |= ({"tool_calls": calls} if calls else {}) | ({"tensorzero_extra_content": extra} if extra else {})
    return {
        "id": response.inference_id,
        "episode_id": response.episode_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": _model(function_name, response.variant_name),
        "system_fingerprint": "",
        "service_tier": None,
        "choices": [
            {"index": 0, "finish_reason": _FINISH.get(response.finish_reason, "stop"), "message": message},
        ],
        "usage": _usage(response.usage),
    }


class _Deltas:
    """Neutral deltas as OpenAI's, which number tool calls and say the role once."""

    def __init__(self) -> None:
        self._calls: dict[str, int] = {}
        self._extra: dict[str, int] = {}
        self._begun = False

    def delta(self, chunk: InferenceChunk) -> dict[str, Any]:
        """The ``delta`` of one chunk."""
        shown: dict[str, Any] = {} if self._begun else {"role": "assistant"}
        self._begun = True
        if chunk.raw is not None:
            shown["content"] = chunk.raw
            return shown
        texts = [delta.text for delta in chunk.content if isinstance(delta, TextDelta)]
        if texts:
            shown["content"] = "".join(texts)
        calls = [self._call(delta) for delta in chunk.content if isinstance(delta, ToolCallDelta)]
        if calls:
            shown["tool_calls"] = calls
        extra = [self._block(delta) for delta in chunk.content if not isinstance(delta, (TextDelta, ToolCallDelta))]
        if extra:
            shown["tensorzero_extra_content"] = extra
        return shown

    def _call(self, delta: ToolCallDelta) -> dict[str, Any]:
        first = delta.id not in self._calls
        index = self._calls.setdefault(delta.id, len(self._calls))
        return {
            "id": delta.id if first else None,
            "index": index,
            "type": "function",
            "function": {"name": delta.raw_name or "", "arguments": delta.raw_arguments},
        }

    def _block(self, delta: Delta) -> dict[str, Any]:
        index = self._extra.setdefault(delta.id, len(self._extra))
        shown: dict[str, Any] = msgspec.to_builtins(delta)
        return {**shown, "insert_index": index}


async def _events(
    chunks: AsyncGenerator[InferenceChunk, None], function_name: str | None, *, with_usage: bool
) -> AsyncGenerator[bytes, None]:
    deltas, created = _Deltas(), int(time.time())
    async with aclosing(chunks):
        async for chunk in chunks:
            if chunk.error is not None:
                yield encode(openai_body(chunk.error))
                continue
            is_last = chunk.usage is not None
            finish = _FINISH.get(chunk.finish_reason, "stop") if is_last else None
            yield encode(
                {
                    "id": chunk.inference_id,
                    "episode_id": chunk.episode_id,
                    "object": "chat.completion.chunk",
                    "created": created,
                    "model": _model(function_name, chunk.variant_name),
                    "system_fingerprint": "",
                    "service_tier": None,
                    "choices": [
                        {"index": 0, "finish_reason": finish, "logprobs": None, "delta": deltas.delta(chunk)},
                    ],
                    "usage": _usage(chunk.usage) if chunk.usage is not None and with_usage else None,
                }
            )


def routes(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """The routes of this surface, frequent ones first."""
    endpoints = OpenAI(gateway, max_body_bytes)
    return [
        Route("POST", "/openai/v1/chat/completions", endpoints.chat_completions, openai_body),
        Route("POST", "/openai/v1/embeddings", endpoints.embeddings, openai_body),
    ]
