"""A model: its providers in order, the first that answers, and a record of every attempt."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from msgspec import structs

from .contracts import Attempt, Clock, Embedder, Provider
from .costs import Price, cost_of, streamed_cost_of
from .errors import AllProvidersFailed, ProviderError
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


@dataclass(frozen=True, slots=True)
class Route:
    """One provider of a model: its name there, its type, the object, and what its answers cost."""

    name: str
    type: str
    provider: Provider
    prices: Sequence[Price] = ()


class RoutedModel:
    """A model whose providers are tried in order until one answers."""

    def __init__(self, name: str, routes: Sequence[Route], clock: Clock) -> None:
        self.name = name
        self.routes = tuple(routes)
        self._clock = clock

    async def complete(self, request: ModelRequest, attempts: list[Attempt]) -> ModelResponse:
        """The first provider that answers; each try is appended to ``attempts``. Raise AllProvidersFailed."""
        errors: dict[str, Exception] = {}
        for route in self.routes:
            attempt, began = self._begin(route, request, attempts)
            try:
                response = await route.provider.complete(self._for(route, request))
            except Exception as error:
                errors[route.name] = self._failed(attempt, route, error, began)
                continue
            attempt.response_time_ms = self._since(began)
            attempt.raw_request, attempt.raw_response = response.raw_request, response.raw_response
            attempt.output, attempt.finish_reason = response.output, response.finish_reason
            attempt.usage = structs.replace(response.usage, cost=cost_of(route.prices, response.raw_response))
            return response
        raise AllProvidersFailed(errors)

    async def stream(self, request: ModelRequest, attempts: list[Attempt]) -> AsyncGenerator[Chunk, None]:
        """Piece by piece from the first provider that begins to answer.

        Once a Chunk has gone out there is no way back: the caller has already read a part of this answer.
        """
        errors: dict[str, Exception] = {}
        for route in self.routes:
            attempt, began = self._begin(route, request, attempts)
            begun, pieces, raws = False, Pieces(), list[str]()
            try:
                async with aclosing(route.provider.stream(self._for(route, request))) as chunks:
                    async for chunk in chunks:
                        attempt.raw_request = chunk.raw_request or attempt.raw_request
                        pieces.add(chunk)
                        raws.append(chunk.raw)
                        if not begun and (chunk.content or chunk.usage or chunk.finish_reason):
                            begun = True
                            attempt.ttft_ms = self._since(began)
                        yield chunk
                if not begun:
                    raise ProviderError("the stream ended before the first piece")
                return
            except Exception as error:
                failure = self._failed(attempt, route, error, began)
                if begun:
                    raise failure from error
                errors[route.name] = failure
            except BaseException:  # the consumer went away, or the task was cancelled: what came is still a fact
                attempt.error = "the stream was closed before its end"
                raise
            finally:
                if begun:
                    self._streamed(attempt, route, pieces, raws, began)
        raise AllProvidersFailed(errors)

    def _begin(self, route: Route, request: ModelRequest, attempts: list[Attempt]) -> tuple[Attempt, float]:
        attempt = Attempt(new_id(), self.name, route.name, route.type, request)
        attempts.append(attempt)
        return attempt, self._clock.perf()

    def _since(self, began: float) -> int:
        return round((self._clock.perf() - began) * 1000)

    def _failed(self, attempt: Attempt, route: Route, error: Exception, began: float) -> ProviderError:
        """Note the failure. A plugin's own bug counts as its upstream's failure, so that the next one is tried."""
        if not isinstance(error, ProviderError):
            log.error("provider %s of type %s broke its contract", route.name, route.type, exc_info=error)
            error = ProviderError(f"{type(error).__name__}: {error}")
        error.provider_type = route.type
        attempt.response_time_ms = self._since(began)
        attempt.error = str(error)
        attempt.raw_request = error.raw_request or attempt.raw_request
        attempt.raw_response = error.raw_response or attempt.raw_response
        return error

    def _streamed(self, attempt: Attempt, route: Route, pieces: Pieces, raws: list[str], began: float) -> None:
        attempt.response_time_ms = self._since(began)
        attempt.raw_response = "\n".join(raws)
        attempt.output, attempt.finish_reason = pieces.blocks(), pieces.finish_reason
        attempt.usage = structs.replace(pieces.usage or Usage(), cost=streamed_cost_of(route.prices, raws))

    def _for(self, route: Route, request: ModelRequest) -> ModelRequest:
        """The request without the blocks that only another provider understands (config spec 7.4)."""
        if not any(isinstance(block, (Thought, Unknown)) for message in request.messages for block in message.content):
            return request
        kept = tuple(
            Message(message.role, tuple(block for block in message.content if self._concerns(route, block)))
            for message in request.messages
        )
        return structs.replace(request, messages=kept)

    def _concerns(self, route: Route, block: Block) -> bool:
        if isinstance(block, Thought):
            return block.provider_type in (None, route.type)
        if isinstance(block, Unknown):
            return block.model_name in (None, self.name) and block.provider_name in (None, route.name)
        return True


@dataclass(frozen=True, slots=True)
class EmbeddingRoute:
    """One provider of an embedding model."""

    name: str
    type: str
    provider: Embedder
    prices: Sequence[Price] = ()


class RoutedEmbeddingModel:
    """The same for embeddings."""

    def __init__(self, name: str, routes: Sequence[EmbeddingRoute], clock: Clock) -> None:
        self.name = name
        self.routes = tuple(routes)
        self._clock = clock

    async def embed(self, request: EmbeddingRequest, attempts: list[Attempt]) -> EmbeddingResponse:
        """The first provider that answers; each try is appended to ``attempts``. Raise AllProvidersFailed."""
        errors: dict[str, Exception] = {}
        for route in self.routes:
            attempt = Attempt(new_id(), self.name, route.name, route.type, request)
            attempts.append(attempt)
            began = self._clock.perf()
            try:
                response = await route.provider.embed(request)
            except ProviderError as error:
                error.provider_type = route.type
                attempt.error = str(error)
                attempt.raw_request, attempt.raw_response = error.raw_request or "", error.raw_response or ""
                errors[route.name] = error
                continue
            finally:
                attempt.response_time_ms = round((self._clock.perf() - began) * 1000)
            attempt.raw_request, attempt.raw_response = response.raw_request, response.raw_response
            attempt.usage = structs.replace(response.usage, cost=cost_of(route.prices, response.raw_response))
            return response
        raise AllProvidersFailed(errors)
