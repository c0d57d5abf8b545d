"""A model: its providers in order, the first that answers, and a record of every attempt."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Generic, TypeVar
from uuid import UUID

from msgspec import structs

from .attempts import StreamWatch, Watch
from .cache import key_of
from .contracts import Attempt, Batcher, BatchPolled, BatchStarted, Embedder, Provider, UrlTaker
from .errors import AllProvidersFailed, NotForThisProvider, NotFound
from .media import File
from .routes import NO_EXTRA, NO_TIMEOUTS, Around, Route
from .timeouts import Timeouts, bounded, within
from .tools import check, for_provider
from .types import (
    Block,
    CheckedToolCall,
    Chunk,
    EmbeddingRequest,
    EmbeddingResponse,
    Message,
    ModelRequest,
    ModelResponse,
    Thought,
    Unknown,
    UnknownDelta,
    has_block,
)

log = logging.getLogger(__name__)


P = TypeVar("P")
A = TypeVar("A", bound=ModelResponse | EmbeddingResponse)


class _Routed(Generic[P]):
    """A name with providers in order."""

    # The key of the configuration that bounds a whole answer.
    _limit = "non_streaming.total_ms"

    def __init__(self, name: str, routes: Sequence[Route[P]], around: Around, timeouts: Timeouts = NO_TIMEOUTS) -> None:
        self.name = name
        self.routes = tuple(routes)
        self._around = around
        self._timeouts = timeouts

    async def _first(
        self,
        attempts: list[Attempt],
        request: ModelRequest | EmbeddingRequest,
        ask: Callable[[Route[P], Watch], Awaitable[A]],
    ) -> A:
        """What the first provider that answers says to ``ask``; each try goes into ``attempts``."""
        errors: dict[str, Exception] = {}
        for route in self.routes:
            watch = self._watch(route, request, attempts)
            try:
                if route.timeouts.total_s is None:
                    response = await ask(route, watch)
                else:
                    response = await within(
                        partial(ask, route, watch),
                        route.timeouts.total_s,
                        f"Model provider {route.name}",
                        key=self._limit,
                    )
            except NotFound as error:  # routing that leads nowhere (config spec 10): no upstream is at fault
                watch.failed(error)
                raise
            except Exception as error:
                errors[route.name] = watch.failed(error, debug=self._around.debug)
                continue
            except BaseException:
                watch.ended("cancelled before its end")
                raise
            watch.answered(response, route.rates)
            if watch.reserved is not None:
                watch.reserved.settle(watch.attempt.usage)
            return response
        raise AllProvidersFailed(errors)

    def _watch(self, route: Route[P], request: ModelRequest | EmbeddingRequest, attempts: list[Attempt]) -> Watch:
        watch = Watch(self.name, route.name, route.type, route.api_type, request, self._around.clock)
        attempts.append(watch.attempt)
        return watch

    def _key(self, route: Route[P], request: ModelRequest | EmbeddingRequest, *, stream: bool = False) -> str | None:
        """The key in the cache; None where none is to be used."""
        if self._around.cache is None or request.cache.enabled == "off":
            return None
        return key_of(self.name, route.name, request, stream=stream, prefetch=self._around.prefetch)


class RoutedModel(_Routed[Provider]):
    """A model whose providers are tried in order until one answers. ``namespace`` says who alone may use it."""

    def __init__(
        self,
        name: str,
        routes: Sequence[Route[Provider]],
        around: Around,
        timeouts: Timeouts = NO_TIMEOUTS,
        namespace: str | None = None,
    ) -> None:
        super().__init__(name, routes, around, timeouts)
        self.namespace = namespace

    async def complete(self, request: ModelRequest, attempts: list[Attempt]) -> ModelResponse:
        """The first provider that answers; each try is appended to ``attempts``. Raise AllProvidersFailed."""

        async def ask(route: Route[Provider], watch: Watch) -> ModelResponse:
            return await self._complete(route, watch, request)

        if self._timeouts.total_s is None:
            return await self._first(attempts, request, ask)
        first = partial(self._first, attempts, request, ask)
        return await within(first, self._timeouts.total_s, f"Model {self.name}")

    async def _complete(self, route: Route[Provider], watch: Watch, request: ModelRequest) -> ModelResponse:
        asked = self._concerning(route, request)
        key, cache = self._key(route, asked), self._around.cache
        if key and cache and asked.cache.reads and (hit := await cache.response(key, asked.cache)):
            watch.attempt.cached = True
            return hit
        if (limiter := self._around.limiter) is not None:
            watch.reserved = await limiter.reserve(asked)
        response = self._named(await route.provider.complete(await self._for(route, asked)), route)
        if key and cache and asked.cache.writes and _fits(response, asked):
            cache.keep(key, response)
        return response

    def stream(self, request: ModelRequest, attempts: list[Attempt]) -> AsyncGenerator[Chunk, None]:
        """Piece by piece from the first provider that begins to answer.

        Once a Chunk has gone out there is no way back: the caller has already read a part of this answer.
        """
        chunks = self._stream(request, attempts)
        return bounded(chunks, self._timeouts, f"Model {self.name}", self._around.clock) if self._timeouts else chunks

    async def _stream(self, request: ModelRequest, attempts: list[Attempt]) -> AsyncGenerator[Chunk, None]:
        errors: dict[str, Exception] = {}
        for route in self.routes:
            watch = self._watch(route, request, attempts)
            stream = StreamWatch(watch)
            try:
                asked = self._concerning(route, request)
                key = self._key(route, asked, stream=True)
                async with aclosing(await self._begun(route, watch, asked, key)) as chunks:
                    async for chunk in chunks:
                        yield stream.seen(self._named_chunk(chunk, route))
                stream.ended_well()
                self._keep(key, asked, stream)
                return
            except Exception as error:
                failure = watch.failed(error, debug=self._around.debug)
                if stream.begun:
                    raise failure from failure.__cause__
                errors[route.name] = failure
            except BaseException:  # the consumer went away, or the task was cancelled: what came is still a fact
                watch.ended("the stream was closed before its end")
                raise
            finally:
                stream.close(route.rates)
                if watch.reserved is not None:
                    watch.reserved.settle(watch.attempt.usage, failed=watch.attempt.error is not None)
        raise AllProvidersFailed(errors)

    async def _begun(
        self, route: Route[Provider], watch: Watch, asked: ModelRequest, key: str | None
    ) -> AsyncGenerator[Chunk, None]:
        """The chunks of one provider, or of the cache, within the provider's limits if it has any."""
        if not route.timeouts:
            return await self._source(route, watch, asked, key)
        in_time = self._waited_for(route, watch, asked, key)
        return bounded(in_time, route.timeouts, f"Model provider {route.name}", self._around.clock)

    async def _waited_for(
        self, route: Route[Provider], watch: Watch, asked: ModelRequest, key: str | None
    ) -> AsyncGenerator[Chunk, None]:
        """The same chunks, so that what goes before them counts as waiting for the first."""
        async with aclosing(await self._source(route, watch, asked, key)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _source(
        self, route: Route[Provider], watch: Watch, asked: ModelRequest, key: str | None
    ) -> AsyncGenerator[Chunk, None]:
        cache = self._around.cache
        if key and cache and asked.cache.reads and (hit := await cache.chunks(key, asked.cache)):
            watch.attempt.cached = True
            return _replayed(hit)
        if (limiter := self._around.limiter) is not None:
            watch.reserved = await limiter.reserve(asked)
        return route.provider.stream(await self._for(route, asked))

    def _keep(self, key: str | None, asked: ModelRequest, stream: StreamWatch) -> None:
        cache = self._around.cache
        if key and cache and asked.cache.writes and stream.is_worth_keeping:
            cache.keep(key, stream.chunks)

    # -- batches ------------------------------------------------------------------------------------------

    async def start_batch(self, requests: Sequence[tuple[UUID, ModelRequest]]) -> tuple[Route[Provider], BatchStarted]:
        """Hand the requests to the first provider that takes them. Raise AllProvidersFailed.

        Time limits are those of the transport: the configured ones are made for one answer. Nothing extra goes
        along, as the bodies of a batch have no place for it (http-api 19).
        """
        errors: dict[str, Exception] = {}
        for route in self.routes:
            watch = self._watch(route, requests[0][1], [])
            if route.extra or any(request.variant_extra or request.extra for _, request in requests):
                log.warning("model %s, provider %s: a batch goes without extra_body and headers", self.name, route.name)
            try:
                batcher = _batcher(route)
                asked = [(id_, await self._in_batch(route, request)) for id_, request in requests]
                return route, await batcher.start_batch(asked)
            except Exception as error:
                errors[route.name] = watch.failed(error, debug=self._around.debug)
        raise AllProvidersFailed(errors)

    async def _in_batch(self, route: Route[Provider], request: ModelRequest) -> ModelRequest:
        bare = structs.replace(request, extra=NO_EXTRA, variant_extra=NO_EXTRA)
        asked = self._concerning(route, bare)
        return structs.replace(asked, messages=await self._with_files(route, asked.messages))

    async def poll_batch(self, provider_name: str, params: Mapping[str, Any]) -> BatchPolled:
        """How a batch stands that this provider took. Raise NotFound if it is gone, else the provider's own error."""
        route = next((route for route in self.routes if route.name == provider_name), None)
        if route is None:
            raise NotFound(f"Provider not found: {provider_name}")
        watch = self._watch(route, ModelRequest(messages=()), [])
        try:
            polled = await _batcher(route).poll_batch(params)
        except Exception as error:
            failure = watch.failed(error, debug=self._around.debug)
            raise failure from failure.__cause__
        responses = {id_: self._named(response, route) for id_, response in polled.responses.items()}
        return structs.replace(polled, responses=responses)

    # -- what of a request is whose -----------------------------------------------------------------------

    def _concerning(self, route: Route[Provider], request: ModelRequest) -> ModelRequest:
        """The request without what only another provider understands (config spec 7.4)."""
        if has_block(request.messages, (Thought, Unknown)):
            kept = tuple(
                Message(message.role, tuple(block for block in message.content if self._concerns(route, block)))
                for message in request.messages
            )
            request = structs.replace(request, messages=kept)
        tools = for_provider(request.tools, self.name, route.name)
        return request if tools is request.tools else structs.replace(request, tools=tools)

    def _concerns(self, route: Route[Provider], block: Block) -> bool:
        if isinstance(block, Thought):
            return block.provider_type in (None, route.type)
        if isinstance(block, Unknown):
            return block.model_name in (None, self.name) and block.provider_name in (None, route.name)
        return True

    async def _for(self, route: Route[Provider], request: ModelRequest) -> ModelRequest:
        """The request as the provider gets it: files that it can take, all extra parts in their order."""
        if has_block(request.messages, File):
            request = structs.replace(request, messages=await self._with_files(route, request.messages))
        if not (request.extra or request.variant_extra or route.extra):
            return request
        asked = request.extra.of_provider(self.name, route.name)
        return structs.replace(request, extra=request.variant_extra + route.extra + asked, variant_extra=NO_EXTRA)

    async def _with_files(self, route: Route[Provider], messages: Sequence[Message]) -> tuple[Message, ...]:
        ready = []
        for message in messages:
            blocks = [await self._file(route, block) if isinstance(block, File) else block for block in message.content]
            ready.append(Message(message.role, tuple(blocks)))
        return tuple(ready)

    async def _file(self, route: Route[Provider], file: File) -> File:
        takes_it = isinstance(route.provider, UrlTaker) and route.provider.takes_url(file)
        if file.data is not None or takes_it or self._around.with_data is None:
            return file
        return await self._around.with_data(file)

    # -- whose a part without a neutral form is -----------------------------------------------------------

    def _named(self, response: ModelResponse, route: Route[Provider]) -> ModelResponse:
        for block in response.output:
            if isinstance(block, Unknown):
                break
        else:
            return response
        output = tuple(
            structs.replace(block, model_name=self.name, provider_name=route.name)
            if isinstance(block, Unknown)
            else block
            for block in response.output
        )
        return structs.replace(response, output=output)

    def _named_chunk(self, chunk: Chunk, route: Route[Provider]) -> Chunk:
        for delta in chunk.content:
            if isinstance(delta, UnknownDelta):
                break
        else:
            return chunk
        if route.discard_unknown:
            log.warning("model %s, provider %s: an unknown part of the stream is discarded", self.name, route.name)
        content = tuple(
            structs.replace(delta, model_name=self.name, provider_name=route.name)
            if isinstance(delta, UnknownDelta)
            else delta
            for delta in chunk.content
            if not (route.discard_unknown and isinstance(delta, UnknownDelta))
        )
        return structs.replace(chunk, content=content)


def _batcher(route: Route[Provider]) -> Batcher:
    if isinstance(route.provider, Batcher):
        return route.provider
    raise NotForThisProvider(f"Unsupported model provider for batch inference: {route.type}")


class RoutedEmbeddingModel(_Routed[Embedder]):
    """The same for embeddings."""

    _limit = "timeout_ms"

    async def embed(self, request: EmbeddingRequest, attempts: list[Attempt]) -> EmbeddingResponse:
        """The first provider that answers; each try is appended to ``attempts``. Raise AllProvidersFailed."""
        return await within(
            lambda: self._first(attempts, request, lambda route, watch: self._embed(route, watch, request)),
            self._timeouts.total_s,
            f"Model {self.name}",
            key=self._limit,
        )

    async def _embed(self, route: Route[Embedder], watch: Watch, request: EmbeddingRequest) -> EmbeddingResponse:
        key, cache = self._key(route, request), self._around.cache
        if key and cache and request.cache.reads and (hit := await cache.embedding(key, request.cache)):
            watch.attempt.cached = True
            return hit
        if (limiter := self._around.limiter) is not None:
            watch.reserved = await limiter.reserve(request)
        asked = structs.replace(request, extra=route.extra + request.extra) if route.extra else request
        response = await route.provider.embed(asked)
        if key and cache and request.cache.writes and isinstance(request.input, str):
            cache.keep(key, response)
        return response


async def _replayed(chunks: Sequence[Chunk]) -> AsyncGenerator[Chunk, None]:
    for chunk in chunks:
        yield chunk


def _fits(response: ModelResponse, request: ModelRequest) -> bool:
    """Whether every tool call is a valid one: others are not worth keeping."""
    custom = {tool.name for tool in request.tools.custom} if request.tools else set()
    return all(
        block.arguments is not None or block.name in custom
        for block in check(response.output, request.tools)
        if isinstance(block, CheckedToolCall)
    )
