"""``POST /inference`` and ``POST /feedback``: the platform's own surface."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request

from ..exchange import InferenceChunk, InferenceResponse
from ..gateway import Gateway
from ..types import JsonOutput, Usage
from . import bodies
from .errors import decode, native_body, read
from .json_answer import JsonAnswer
from .readers import asked_by
from .routing import Route
from .sse import EventStream

encode = msgspec.json.Encoder(decimal_format="number").encode


def _usage(usage: Usage) -> dict[str, Any]:
    shown: dict[str, Any] = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    for name in ("provider_cache_read_input_tokens", "provider_cache_write_input_tokens"):
        if (value := getattr(usage, name)) is not None:
            shown[name] = value
    shown["cost"] = usage.cost
    return shown


def response_body(response: InferenceResponse) -> dict[str, Any]:
    """The answer's JSON object (http-api 13.1)."""
    body: dict[str, Any] = {
        "inference_id": response.inference_id,
        "episode_id": response.episode_id,
        "variant_name": response.variant_name,
        "output" if isinstance(response.output, JsonOutput) else "content": response.output,
        "usage": _usage(response.usage),
    }
    for name in ("finish_reason", "raw_usage", "raw_response", "original_response"):
        if (value := getattr(response, name)) is not None:
            body[name] = value
    return body


_OPTIONAL = ("finish_reason", "raw_usage", "raw_response", "original_chunk", "raw_chunk")


def chunk_body(chunk: InferenceChunk) -> dict[str, Any]:
    """The JSON object of one streamed piece, or of the error that stands in its place (http-api 13.2)."""
    if chunk.error is not None:
        return native_body(chunk.error, raw_chunk=chunk.raw_chunk)
    body: dict[str, Any] = {
        "inference_id": chunk.inference_id,
        "episode_id": chunk.episode_id,
        "variant_name": chunk.variant_name,
    }
    if chunk.raw is None:
        body["content"] = chunk.content
    else:
        body["raw"] = chunk.raw
    if chunk.usage is not None:
        body["usage"] = _usage(chunk.usage)
    for name in _OPTIONAL:
        if (value := getattr(chunk, name)) is not None:
            body[name] = value
    if chunk.aggregated is not None:
        body["aggregated_response"] = chunk.aggregated
    return body


async def _events(chunks: AsyncGenerator[InferenceChunk, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(chunks):
        async for chunk in chunks:
            yield encode(chunk_body(chunk))


class Native:
    """The endpoints, bound to one gateway."""

    def __init__(self, gateway: Gateway, max_body_bytes: int) -> None:
        self._gateway = gateway
        self._max_body_bytes = max_body_bytes

    async def inference(self, request: Request) -> JsonAnswer | EventStream:
        """``POST /inference``."""
        body = decode(bodies.inference, await read(request, self._max_body_bytes))
        wanted = asked_by(request, bodies.to_request(body))
        if body.stream:
            return EventStream(_events(await self._gateway.stream(wanted)), native_body)
        return JsonAnswer(encode(response_body(await self._gateway.infer(wanted))))

    async def feedback(self, request: Request) -> JsonAnswer:
        """``POST /feedback``."""
        body = decode(bodies.feedback, await read(request, self._max_body_bytes))
        id_ = await self._gateway.feedback.give(asked_by(request, bodies.to_feedback(body)))
        return JsonAnswer(encode({"feedback_id": id_}))


def routes(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """The routes of this surface, frequent ones first."""
    endpoints = Native(gateway, max_body_bytes)
    return [
        Route("POST", "/inference", endpoints.inference, native_body),
        Route("POST", "/feedback", endpoints.feedback, native_body),
    ]
