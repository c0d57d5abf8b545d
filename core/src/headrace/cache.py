"""Answers of model calls, kept for the next equal call: what makes calls equal, and what is kept (http-api 12)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any, TypeVar

import anyio
import anyio.abc
import blake3
import msgspec
from msgspec import structs

from .contracts import Cache
from .errors import HeadraceError
from .types import (
    CacheMode,
    CacheOptions,
    Caller,
    Chunk,
    EmbeddingRequest,
    EmbeddingResponse,
    ModelRequest,
    ModelResponse,
    Usage,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

NOTHING_SPENT = Usage(input_tokens=0, output_tokens=0, cost=Decimal(0))

# Writes wait for nobody; beyond this many at once the cache is too slow to be of use, and entries are dropped.
MAX_WRITES = 1000

_encoder = msgspec.json.Encoder(order="deterministic")
_response = msgspec.json.Decoder(ModelResponse)
_chunks = msgspec.json.Decoder(list[Chunk])
_embedding = msgspec.json.Decoder(EmbeddingResponse)


# A dry run reads the cache, as that changes nothing, and leaves it as it is.
_DRY: Mapping[CacheMode, CacheMode] = {"on": "read_only", "write_only": "off"}


def options_of(asked: CacheOptions, *, dryrun: bool) -> CacheOptions:
    """What is asked of the cache, as far as a dry run may."""
    return structs.replace(asked, enabled=_DRY.get(asked.enabled, asked.enabled)) if dryrun else asked


def key_of(
    model_name: str, provider_name: str, request: ModelRequest | EmbeddingRequest, *, stream: bool, prefetch: bool
) -> str:
    """The same for calls that may share an answer; hexadecimal BLAKE3.

    Names, not settings, stand for model and provider: a changed configuration does not make entries stale
    (http-api 24.25). Neither credentials nor the caller are in it.
    """
    bare = structs.replace(request, credentials={}, cache=CacheOptions(), caller=Caller())
    digest = blake3.blake3(model_name.encode() + b"\0" + provider_name.encode() + b"\0")
    digest.update(_encoder.encode((bare, stream, prefetch)))
    return digest.hexdigest()


class AnswerCache:
    """A cache backend as models use it: typed entries, troubles logged, writes behind the answer's back."""

    def __init__(self, backend: Cache) -> None:
        self._backend = backend
        self._tasks: anyio.abc.TaskGroup | None = None
        self._writing = 0
        self._open = AsyncExitStack()

    async def __aenter__(self) -> AnswerCache:
        self._tasks = await self._open.enter_async_context(anyio.create_task_group())
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Wait for the writes under way."""
        self._tasks = None
        await self._open.aclose()

    async def response(self, key: str, options: CacheOptions) -> ModelResponse | None:
        """A whole answer, which cost nothing this time."""
        found = await self._find(key, options, _response)
        return found and structs.replace(found, usage=NOTHING_SPENT, raw_usage=msgspec.UNSET)

    async def chunks(self, key: str, options: CacheOptions) -> list[Chunk] | None:
        """A streamed answer; usage (of zero) and finish reason come with the last chunk."""
        found = await self._find(key, options, _chunks)
        if not found:
            return None
        reasons = [chunk.finish_reason for chunk in found if chunk.finish_reason]
        replayed = [structs.replace(chunk, usage=None, finish_reason=None, raw_usage=msgspec.UNSET) for chunk in found]
        replayed[-1] = structs.replace(
            replayed[-1], usage=NOTHING_SPENT, finish_reason=reasons[-1] if reasons else None
        )
        return replayed

    async def embedding(self, key: str, options: CacheOptions) -> EmbeddingResponse | None:
        """The vectors of one input."""
        found = await self._find(key, options, _embedding)
        return found and structs.replace(found, usage=NOTHING_SPENT, raw_usage=msgspec.UNSET)

    def keep(self, key: str, answer: ModelResponse | EmbeddingResponse | Sequence[Chunk]) -> None:
        """Write soon."""
        if self._tasks is None or self._writing >= MAX_WRITES:
            log.warning("an answer is not cached: %s", "the cache is too slow" if self._tasks else "not open")
            return
        self._writing += 1
        self._tasks.start_soon(self._write, key, answer)

    async def _write(self, key: str, answer: Any) -> None:
        try:
            await self._backend.cache(key, msgspec.json.encode(answer))
        except Exception as error:
            log.warning("an answer is not cached: %s", error)
        finally:
            self._writing -= 1

    async def _find(self, key: str, options: CacheOptions, decoder: msgspec.json.Decoder[T]) -> T | None:
        """A cache that fails, or holds what an older version wrote, is as good as an empty one."""
        try:
            entry = await self._backend.cached(key, max_age_s=options.max_age_s)
            return None if entry is None else decoder.decode(entry)
        except (HeadraceError, msgspec.DecodeError) as error:
            log.warning("the cache cannot be read, so the model is asked: %s", error)
            return None
