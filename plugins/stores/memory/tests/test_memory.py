"""What the store in memory promises beyond the contract."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest
from headrace import Cache, Services, Store
from headrace.conformance.buckets import BucketsConformance
from headrace.conformance.cache import CacheConformance
from headrace.conformance.rows import datapoint, evaluation_run, inference, snapshot
from headrace.conformance.store import StoreConformance
from headrace.contracts import Buckets, DatapointQuery, InferenceQuery
from headrace.errors import StoreError
from headrace.filters import ByMetric, Demonstrated
from headrace_memory import CacheSettings, Memory, MemoryCache, Settings, headrace_caches, headrace_stores
from pydantic import ValidationError

pytestmark = pytest.mark.anyio


class TestMemory(StoreConformance):
    lacks: ClassVar = {"persistence": "records end with the process"}

    def build(self, tmp_path: Path) -> Store:
        return Memory(Settings())


class TestMemoryStoreAsCache(CacheConformance):
    lacks: ClassVar = {"persistence": "entries end with the process"}

    def build(self, tmp_path: Path, services: Services) -> Cache:
        return Memory(Settings(), services)


class TestMemoryCache(CacheConformance):
    lacks: ClassVar = {"persistence": "entries end with the process"}

    def build(self, tmp_path: Path, services: Services) -> Cache:
        return MemoryCache(CacheSettings(), services)


class TestMemoryStoreAsBuckets(BucketsConformance):
    lacks: ClassVar = {"persistence": "buckets end with the process", "sharing": "nobody else can open them"}

    def build(self, tmp_path: Path, services: Services) -> Buckets:
        return Memory(Settings(), services)


def test_offers_the_type_memory() -> None:
    assert [factory.name for factory in headrace_stores()] == ["memory"]
    assert [factory.name for factory in headrace_caches()] == ["memory"]


@pytest.mark.parametrize("table", [{"path": "x"}, {"max_cache_bytes": -1}], ids=["unknown", "negative"])
def test_refuses_settings_that_make_no_sense(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(table)


# -- the cache --------------------------------------------------------------------------------------------


async def kept(cache: Cache, *keys: str) -> list[str]:
    return [key for key in keys if await cache.cached(key) is not None]


async def test_forgets_what_was_not_asked_for_the_longest() -> None:
    cache = MemoryCache(CacheSettings(max_bytes=4000))
    for key in "abc":
        await cache.cache(key, b"x" * 1000)
    await cache.cached("a")
    await cache.cache("d", b"x" * 1000)
    assert await kept(cache, "a", "b", "c", "d") == ["a", "c", "d"]


async def test_gives_the_room_of_a_replaced_entry_back() -> None:
    cache = MemoryCache(CacheSettings(max_bytes=4000))
    for key in "abbbbbbb":
        await cache.cache(key, b"x" * 1000)
    assert await kept(cache, "a", "b") == ["a", "b"]


async def test_does_not_keep_what_has_no_room_nor_what_was_there_before() -> None:
    cache = MemoryCache(CacheSettings(max_bytes=4000))
    await cache.cache("a", b"1")
    await cache.cache("b", b"old")
    await cache.cache("b", b"x" * 4000)
    assert await kept(cache, "a", "b") == ["a"]


async def test_counts_keys_too() -> None:
    cache = MemoryCache(CacheSettings(max_bytes=100_000))
    for n in range(10_000):
        await cache.cache(str(n), b"")
    assert len(await kept(cache, *map(str, range(10_000)))) < 1000


async def test_the_store_bounds_its_cache_and_not_its_records() -> None:
    async with Memory(Settings(max_cache_bytes=1000)) as store:
        await store.cache("a", b"x" * 600)
        await store.cache("b", b"x" * 600)
        await store.write([inference(n) for n in range(100)])
        assert await kept(store, "a", "b") == ["b"]
        assert len(store.records) == 100


async def test_forgets_what_was_kept_before_an_instant() -> None:
    async with Memory(Settings()) as store:
        await store.cache("a", b"1")
        assert await store.expire("cache", datetime(2000, 1, 1, tzinfo=UTC)) == 0
        assert await kept(store, "a") == ["a"]
        assert await store.expire("cache", datetime(9000, 1, 1, tzinfo=UTC)) == 1
        assert await kept(store, "a") == []


# -- records ----------------------------------------------------------------------------------------------


async def test_shows_everything_it_was_given_even_when_closed() -> None:
    async with Memory(Settings()) as store:
        await store.write([snapshot(), evaluation_run(1), snapshot(config="later"), datapoint(1)])
    assert store.records == [snapshot(config="later"), evaluation_run(1), datapoint(1)]


async def test_refuses_questions_of_datapoints_that_have_no_answer() -> None:
    async with Memory(Settings()) as store:
        await store.write([datapoint(1)])
        with pytest.raises(StoreError, match="Demonstrated says nothing of datapoints"):
            await store.datapoints(DatapointQuery(filters=Demonstrated(True)))
        with pytest.raises(StoreError, match="no metrics"):
            await store.datapoints(DatapointQuery(order_by=(ByMetric("good", "inference", "boolean"),)))


async def test_refuses_to_search_for_what_no_record_can_hold() -> None:
    async with Memory(Settings()) as store:
        await store.write([inference(1)])
        with pytest.raises(StoreError, match="cannot search"):
            await store.inferences(InferenceQuery(search="\ud800"))


async def test_keeps_what_was_written_when_the_caller_changes_it_later() -> None:
    tags = {"a": "1"}
    async with Memory(Settings()) as store:
        await store.write([inference(1, tags=tags)])
        tags["a"] = "2"
        assert [found.tags for found in await store.inferences(InferenceQuery())] == [{"a": "1"}]
