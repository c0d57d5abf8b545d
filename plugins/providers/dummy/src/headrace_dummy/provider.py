"""A provider without an upstream: waits, fails and answers as the name of its model says."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal
from uuid import UUID, uuid4

import anyio
from headrace import Services
from headrace.contracts import BatchPolled, BatchStarted
from headrace.credentials import Secret
from headrace.errors import ProviderError, RateLimitExceeded
from headrace.types import (
    Chunk,
    Delta,
    EmbeddingRequest,
    EmbeddingResponse,
    ModelRequest,
    ModelResponse,
    ThoughtDelta,
    ToolCallDelta,
    Usage,
)
from pydantic import BaseModel, field_validator

from . import answers
from .literals import ERROR_RAW_REQUEST, ERROR_RAW_RESPONSE, RAW_REQUEST

_DIMENSIONS = 1536
_FAILS_AT: Mapping[str, tuple[Literal["once", "for good"], int]] = {
    "err_in_stream": ("once", 3),
    "err_in_stream_with_raw_response": ("once", 3),
    "fatal_stream_error": ("for good", 2),
    "fatal_stream_error_with_raw_response": ("for good", 2),
}


class Settings(BaseModel, extra="forbid", frozen=True):
    """A ``[models.*.providers.*]`` or ``[embedding_models.*.providers.*]`` table with ``type = "dummy"``."""

    model_name: str
    api_key_location: str = "none"

    @field_validator("api_key_location")
    @classmethod
    def _is_dynamic_or_none(cls, location: str) -> str:
        kind, _, name = location.partition("::")
        if location != "none" and not (kind == "dynamic" and name):
            raise ValueError(
                f"Invalid api_key_location for Dummy provider: `{location}` (use `dynamic::KEY` or `none`)"
            )
        return location


class Dummy:
    """One model by its name. ``calls`` counts those of ``flaky_*`` names; ``sleep`` takes seconds."""

    def __init__(
        self,
        settings: Settings,
        services: Services,
        *,
        calls: Counter[str] | None = None,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        self._name = settings.model_name
        self._key: Secret = services.secret(settings.api_key_location)
        self._calls = Counter() if calls is None else calls
        self._sleep = sleep

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Run to the end."""
        await self._begin()
        if self._name == "test_key":
            self._check_key(request.credentials)
        output = answers.whole(self._name, request)
        usage = answers.usage_of(self._name, len(output))
        return ModelResponse(
            output=output,
            usage=usage,
            raw_usage=None,
            finish_reason=answers.finish_of(self._name),
            raw_request=RAW_REQUEST,
            raw_response=answers.raw_response(self._name, usage),
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk, None]:
        """Run piece by piece, 10 ms apart; usage comes last."""
        await self._begin()
        raw_request: str | None = RAW_REQUEST
        pieces = answers.pieces(self._name)
        for at, piece in enumerate(pieces):
            if at:
                await self._sleep(2 if at == 1 and self._name == "slow_second_chunk" else 0.01)
            yield self._chunk(at, piece, raw_request)
            raw_request = None
        await self._sleep(0.01)
        usage = answers.usage_of(self._name, len(pieces))
        yield Chunk(
            usage=usage,
            raw_usage=None,
            finish_reason=answers.finish_of(self._name),
            raw=answers.json_of(answers.account(usage)),
        )

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """1536 zeros per input."""
        await self._sleep(0.001)
        self._fail_by_name()
        if "slow" in self._name:
            await self._sleep(30)
        if self._name == "test_key":
            self._check_key(request.credentials)
        asked = request.input
        is_many = isinstance(asked, list) and not all(isinstance(item, int) for item in asked)
        usage = Usage(10, 0)
        return EmbeddingResponse(
            embeddings=((0.0,) * _DIMENSIONS,) * (len(asked) if is_many else 1),
            usage=usage,
            raw_usage=None,
            raw_request=RAW_REQUEST,
            raw_response=answers.json_of(answers.account(usage)),
        )

    async def start_batch(self, requests: Sequence[tuple[UUID, ModelRequest]]) -> BatchStarted:
        """Take any number of requests, to answer none of them."""
        await self._sleep(0.001)
        return BatchStarted(
            params={"file_id": str(uuid4()), "batch_id": str(uuid4())},
            raw_requests={id_: RAW_REQUEST for id_, _ in requests},
            raw_request=RAW_REQUEST,
        )

    async def poll_batch(self, params: Mapping[str, Any]) -> BatchPolled:
        """Raise ProviderError: there is nobody to ask."""
        raise ProviderError("Dummy provider does not support polling of batches", raw_request=RAW_REQUEST)

    async def _begin(self) -> None:
        await self._sleep(0.001)
        if self._name.startswith("flaky_"):
            self._fail_every_second_time()
        self._fail_by_name()
        if self._name == "slow":
            await self._sleep(5)

    def _fail_every_second_time(self) -> None:
        self._calls[self._name] += 1
        number = self._calls[self._name]
        if number % 2 == 0:
            kind = RateLimitExceeded if "rate_limit" in self._name else ProviderError
            raise kind(
                f"Flaky model '{self._name}' failed on call number {number}",
                raw_request=RAW_REQUEST,
                raw_response=self._raw_of_error(),
            )

    def _fail_by_name(self) -> None:
        if self._name == "error_with_raw_response":
            raise ProviderError(
                "Error from Dummy provider with raw response",
                status=500,
                raw_request=ERROR_RAW_REQUEST,
                raw_response=ERROR_RAW_RESPONSE,
            )
        if self._name.startswith("error"):
            raise ProviderError(
                f"Error sending request to Dummy provider for model '{self._name}'.", raw_request=RAW_REQUEST
            )

    def _check_key(self, brought: Mapping[str, str]) -> None:
        if self._key.reveal(brought) != "good_key":
            raise ProviderError(
                "Invalid API key for Dummy provider", status=401, at_fault="client", raw_request=RAW_REQUEST
            )

    def _chunk(self, at: int, piece: Delta, raw_request: str | None) -> Chunk:
        how, when = _FAILS_AT.get(self._name, (None, 0))
        if how == "for good" and at == when:
            raise ProviderError(
                "Dummy fatal error in stream", raw_request=RAW_REQUEST, raw_response=self._raw_of_error()
            )
        if how == "once" and at == when:
            return Chunk(error="Dummy error in stream", raw=self._raw_of_error() or "")
        return Chunk(content=(piece,), raw=_said(piece), raw_request=raw_request)

    def _raw_of_error(self) -> str | None:
        return ERROR_RAW_RESPONSE if "raw_response" in self._name else None


def _said(piece: Delta) -> str:
    if isinstance(piece, ToolCallDelta):
        return piece.raw_arguments
    return piece.text or "" if isinstance(piece, ThoughtDelta) else getattr(piece, "text", "")
