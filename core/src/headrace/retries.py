"""The same model again after it failed: ``retries = { num_retries, max_delay_s }`` (config spec 9)."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
from pydantic import BaseModel, ConfigDict, Field

from .contracts import Attempt, Model
from .errors import AllProvidersFailed, AllRetriesFailed, HeadraceError, RateLimitExceeded
from .types import Chunk, ModelRequest, ModelResponse

log = logging.getLogger(__name__)


class Retries(BaseModel):
    """How often, and how long to wait at most; the wait doubles from one second, plus as much again by chance."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)  # the specification lets other keys stand

    num_retries: int = Field(default=0, ge=0)
    max_delay_s: float = Field(default=10.0, ge=0, allow_inf_nan=False)

    def delay_s(self, retry: int) -> float:
        """How long to wait before the retry of this number, from 0: ``d = min(2^i, max_delay_s)``, plus jitter < d."""
        delay = min(2.0 ** min(retry, 62), self.max_delay_s)
        return delay + random.random() * delay


class Retrying:
    """A model that is asked again, through all its providers, as often as the settings allow."""

    def __init__(self, model: Model, retries: Retries) -> None:
        self._model = model
        self._retries = retries

    async def complete(self, request: ModelRequest, attempts: list[Attempt]) -> ModelResponse:
        """The first answer. Raise the model's own error, or AllRetriesFailed if it was asked more than once."""
        errors: list[HeadraceError] = []
        while True:
            try:
                return await self._model.complete(request, attempts)
            except HeadraceError as error:
                errors.append(error)
            await self._wait_or_raise(errors)

    async def stream(self, request: ModelRequest, attempts: list[Attempt]) -> AsyncGenerator[Chunk, None]:
        """Piece by piece; asked again only until the first piece."""
        errors: list[HeadraceError] = []
        while True:
            begun = False
            try:
                async with aclosing(self._model.stream(request, attempts)) as chunks:
                    async for chunk in chunks:
                        begun = begun or bool(chunk.content or chunk.usage or chunk.finish_reason)
                        yield chunk
                return
            except HeadraceError as error:
                if begun:
                    raise
                errors.append(error)
            await self._wait_or_raise(errors)

    async def _wait_or_raise(self, errors: list[HeadraceError]) -> None:
        retry = len(errors) - 1
        if retry >= self._retries.num_retries or not _is_retryable(errors[-1]):
            raise errors[0] if len(errors) == 1 else AllRetriesFailed(errors)
        delay_s = self._retries.delay_s(retry)
        log.warning("a model call failed and is tried again in %.1f s: %s", delay_s, errors[-1])
        await anyio.sleep(delay_s)


def retrying(model: Model, retries: Retries) -> Model:
    """The model itself where nothing is to be retried."""
    return Retrying(model, retries) if retries.num_retries else model


def _is_retryable(error: Exception) -> bool:
    """Anything but our own rate limit; of several providers, one that can be tried again is enough."""
    if isinstance(error, AllProvidersFailed):
        return not error.errors or any(_is_retryable(each) for each in error.errors.values())
    return not isinstance(error, RateLimitExceeded)
