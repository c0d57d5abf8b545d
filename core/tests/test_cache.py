"""Promises of the answer cache: which calls are equal, what a hit says, and that its troubles are nobody's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from headrace.cache import NOTHING_SPENT, AnswerCache, key_of, options_of
from headrace.errors import StoreError
from headrace.extras import Extra, ExtraBody
from headrace.types import (
    CacheOptions,
    Chunk,
    Message,
    ModelRequest,
    ModelResponse,
    Params,
    Text,
    TextDelta,
    Usage,
)
from msgspec import structs

pytestmark = pytest.mark.anyio

ON = CacheOptions("on")
ASKED = ModelRequest(messages=(Message("user", (Text("hi"),)),), params=Params(seed=1))


class Dictionary:
    """A cache backend in a dict, which can break."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.broken = False

    async def cached(self, key: str, *, max_age_s: float | None = None) -> bytes | None:
        if self.broken:
            raise StoreError("away")
        return self.entries.get(key)

    async def cache(self, key: str, entry: bytes) -> None:
        if self.broken:
            raise StoreError("away")
        self.entries[key] = entry


@asynccontextmanager
async def kept(backend: Dictionary, key: str, answer: Any) -> AsyncIterator[AnswerCache]:
    """A cache that holds the answer."""
    async with AnswerCache(backend) as writing:
        writing.keep(key, answer)
    async with AnswerCache(backend) as cache:
        yield cache


@pytest.mark.parametrize(
    "changes",
    [{"credentials": {"k": "v"}}, {"cache": CacheOptions("on", 5)}],
    ids=["credentials", "cache-options"],
)
def test_http_edge_25_credentials_and_options_make_no_other_call(changes: dict[str, Any]) -> None:
    keys = {key_of("m", "p", each, stream=False, prefetch=False) for each in (ASKED, structs.replace(ASKED, **changes))}
    assert len(keys) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"system": "s"},
        {"params": Params(seed=2)},
        {"json_mode": "on"},
        {"output_schema": {}},
        {"discriminator": "candidate_0"},
        {"extra": Extra((ExtraBody(pointer="/a", value=1),))},
        {"variant_extra": Extra((ExtraBody(pointer="/a", value=1),))},
        {"function_type": "json"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_whatever_reaches_the_model_makes_another_call(changes: dict[str, Any]) -> None:
    keys = {key_of("m", "p", each, stream=False, prefetch=False) for each in (ASKED, structs.replace(ASKED, **changes))}
    assert len(keys) == 2


def test_names_streaming_and_prefetching_make_another_call() -> None:
    keys = {
        key_of(model, provider, ASKED, stream=stream, prefetch=prefetch)
        for model, provider in (("m", "p"), ("m", "q"), ("n", "p"), ("mp", ""))
        for stream in (False, True)
        for prefetch in (False, True)
    }
    assert len(keys) == 16


def test_the_order_of_a_schemas_keys_makes_no_other_call() -> None:
    one = structs.replace(ASKED, output_schema={"type": "object", "title": "t"})
    other = structs.replace(ASKED, output_schema={"title": "t", "type": "object"})
    assert key_of("m", "p", one, stream=False, prefetch=False) == key_of("m", "p", other, stream=False, prefetch=False)


async def test_a_hit_has_cost_nothing() -> None:
    answer = ModelResponse(output=(Text("yes"),), usage=Usage(input_tokens=3), raw_usage={"in": 3}, raw_response="r")
    async with kept(Dictionary(), "k", answer) as cache:
        hit = await cache.response("k", ON)
    assert hit == structs.replace(answer, usage=NOTHING_SPENT, raw_usage=msgspec.UNSET)
    assert (NOTHING_SPENT.input_tokens, NOTHING_SPENT.output_tokens, NOTHING_SPENT.cost) == (0, 0, Decimal(0))


async def test_a_stream_comes_again_piece_by_piece_and_ends_with_its_reason_and_zeros() -> None:
    chunks = [
        Chunk(content=(TextDelta("0", "a"),), raw="1", raw_request="asked"),
        Chunk(content=(TextDelta("0", "b"),), usage=Usage(input_tokens=3), finish_reason="stop", raw="2"),
        Chunk(raw="3"),
    ]
    async with kept(Dictionary(), "k", chunks) as cache:
        found = await cache.chunks("k", ON)
    assert found is not None
    assert [chunk.content for chunk in found] == [chunk.content for chunk in chunks]
    assert [chunk.usage for chunk in found] == [None, None, NOTHING_SPENT]
    assert [chunk.finish_reason for chunk in found] == [None, None, "stop"]


async def test_a_broken_backend_is_an_empty_one() -> None:
    backend = Dictionary()
    backend.broken = True
    async with kept(backend, "k", ModelResponse(output=())) as cache:
        assert await cache.response("k", ON) is None


async def test_an_entry_of_another_shape_is_none() -> None:
    backend = Dictionary()
    backend.entries["k"] = b'{"strange": true}'
    async with AnswerCache(backend) as cache:
        assert await cache.response("k", ON) is None


@pytest.mark.parametrize(
    ("asked", "dry"), [("off", "off"), ("on", "read_only"), ("read_only", "read_only"), ("write_only", "off")]
)
def test_http_edge_26_a_dry_run_may_read_and_never_writes(asked: Any, dry: str) -> None:
    assert options_of(CacheOptions(asked), dryrun=True).enabled == dry
    assert options_of(CacheOptions(asked), dryrun=False).enabled == asked


def test_http_edge_01_the_cache_is_off_unless_asked_for() -> None:
    assert CacheOptions().enabled == "off"
