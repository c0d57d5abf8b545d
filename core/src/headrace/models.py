"""A model: its providers in order, the first that answers, and a record of every attempt."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

from msgspec import structs

from .contracts import Attempt, Clock, Embedder, Provider
from .costs import Price, cost_of, streamed_cost_of
from .errors import AllProvidersFailed, BadUpstreamReply, ProviderError
from .ids import new_id
from .pieces import Pieces
from .types import (
    Block,
    Chunk,
    EmbeddingRequest,
    EmbeddingResponse,
    Message,
    ModelRequest,
    ModelResponse,
    Thought,
    Unknown,
    Usage,
)

log = logging.getLogger(__name__)


P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)
A = TypeVar("A", bound=ModelResponse | EmbeddingResponse)


@dataclass(frozen=True, slots=True)
class Route(Generic[P_co]):
    """One provider of a model: its name there, its type, the object, and what its answers cost."""

    name: str
    type: str
    provider: P_co
    prices: Sequence[Price] = ()


class _Routed(Generic[P]):
    """A name with providers in order."""

    def __init__(self, name: str, routes: Sequence[Route[P]], clock: Clock) -> None:
        self.name = name
        self.routes = tuple(routes)
        self._clock = clock

    async def _first(
        self, attempts: list[Attempt], request: ModelRequest | EmbeddingRequest, ask: Callable[[Route[P]], Awaitable[A]]
    ) -> A:
        """What the first provider that answers says to ``ask``; each try goes into ``attempts``."""
        errors: dict[str, Exception] = {}
        for route in self.routes:
            watch = _Watch(self.name, route, request, self._clock)
            attempts.append(watch.attempt)
            try:
                response = await ask(route)
            except Exception as error:
                errors[route.name] = watch.failed(error)
                continue
            except BaseException:
                watch.ended("cancelled before its end")
                raise
            watch.answered(response, cost_of(route.prices, response.raw_response))
            return response
        raise AllProvidersFailed(errors)


class RoutedModel(_Routed[Provider]):
    """A model whose providers are tried in order until one answers."""

    async def complete(self, request: ModelRequest, attempts: list[Attempt]) -> ModelResponse:
        """The first provider that answers; each try is appended to ``attempts``. Raise AllProvidersFailed."""
        return await self._first(attempts, request, lambda route: route.provider.complete(self._for(route, request)))

    async def stream(self, request: ModelRequest, attempts: list[Attempt]) -> AsyncGenerator[Chunk, None]:
        """Piece by piece from the first provider that begins to answer.

        Once a Chunk has gone out there is no way back: the caller has already read a part of this answer.
        """
        errors: dict[str, Exception] = {}
        for route in self.routes:
            watch = _Watch(self.name, route, request, self._clock)
            attempts.append(watch.attempt)
            begun, pieces, raws = False, Pieces(), list[str]()
            try:
                async with aclosing(route.provider.stream(self._for(route, request))) as chunks:
                    async for chunk in chunks:
                        watch.attempt.raw_request = chunk.raw_request or watch.attempt.raw_request
                        pieces.add(chunk)
                        raws.append(chunk.raw)
                        if chunk.error is not None and not begun:
                            raise BadUpstreamReply(chunk.error, raw_response=chunk.raw)
                        if not begun and (chunk.content or chunk.usage or chunk.finish_reason):
                            begun = True
                            watch.attempt.ttft_ms = watch.elapsed_ms()
                        yield chunk
                if not begun:
                    raise ProviderError("the stream ended before the first piece")
                return
            except Exception as error:
                failure = watch.failed(error)
                if begun:
                    raise failure from failure.__cause__
                errors[route.name] = failure
            except BaseException:  # the consumer went away, or the task was cancelled: what came is still a fact
                watch.ended("the stream was closed before its end")
                raise
            finally:
                if begun:
                    watch.streamed(pieces, raws, streamed_cost_of(route.prices, raws))
        raise AllProvidersFailed(errors)

    def _for(self, route: Route[Provider], request: ModelRequest) -> ModelRequest:
        """The request without the blocks that only another provider understands (config spec 7.4)."""
        if not any(isinstance(block, (Thought, Unknown)) for message in request.messages for block in message.content):
            return request
        kept = tuple(
            Message(message.role, tuple(block for block in message.content if self._concerns(route, block)))
            for message in request.messages
        )
        return structs.replace(request, messages=kept)

    def _concerns(self, route: Route[Provider], block: Block) -> bool:
        if isinstance(block, Thought):
            return block.provider_type in (None, route.type)
        if isinstance(block, Unknown):
            return block.model_name in (None, self.name) and block.provider_name in (None, route.name)
        return True


class RoutedEmbeddingModel(_Routed[Embedder]):
    """The same for embeddings."""

    async def embed(self, request: EmbeddingRequest, attempts: list[Attempt]) -> EmbeddingResponse:
        """The first provider that answers; each try is appended to ``attempts``. Raise AllProvidersFailed."""
        return await self._first(attempts, request, lambda route: route.provider.embed(request))


class _Watch:
    """Writes down how one try at one provider goes."""

    def __init__(
        self, model_name: str, route: Route[Any], request: ModelRequest | EmbeddingRequest, clock: Clock
    ) -> None:
        self.attempt = Attempt(new_id(), model_name, route.name, route.type, request)
        self._clock = clock
        self._began = clock.perf()

    def elapsed_ms(self) -> int:
        return round((self._clock.perf() - self._began) * 1000)

    def answered(self, response: ModelResponse | EmbeddingResponse, cost: Decimal | None) -> None:
        self.attempt.response_time_ms = self.elapsed_ms()
        self.attempt.raw_request, self.attempt.raw_response = response.raw_request, response.raw_response
        self.attempt.usage = structs.replace(response.usage, cost=cost)
        if isinstance(response, ModelResponse):
            self.attempt.output, self.attempt.finish_reason = response.output, response.finish_reason

    def failed(self, error: Exception) -> ProviderError:
        """Note the failure. A plugin's own bug counts as its upstream's failure, so that the next one is tried."""
        attempt = self.attempt
        if not isinstance(error, ProviderError):
            log.error(
                "provider %s of type %s broke its contract",
                attempt.provider_name,
                attempt.provider_type,
                exc_info=error,
            )
            bug, error = error, ProviderError(f"{type(error).__name__}: {error}")
            error.__cause__ = bug
        error.provider_type = attempt.provider_type
        attempt.response_time_ms = self.elapsed_ms()
        attempt.error = str(error)
        attempt.raw_request = error.raw_request or attempt.raw_request
        attempt.raw_response = error.raw_response or attempt.raw_response
        return error

    def ended(self, why: str) -> None:
        """Note that nobody waits for the rest."""
        self.attempt.response_time_ms = self.elapsed_ms()
        self.attempt.error = why

    def streamed(self, pieces: Pieces, raws: Sequence[str], cost: Decimal | None) -> None:
        """Note what came, however the stream ended; what an error brought came last."""
        attempt = self.attempt
        attempt.response_time_ms = self.elapsed_ms()
        attempt.raw_response = "\n".join(raw for raw in (*raws, attempt.raw_response) if raw)
        attempt.output, attempt.finish_reason = pieces.blocks(), pieces.finish_reason
        attempt.usage = structs.replace(pieces.usage or Usage(), cost=cost)
