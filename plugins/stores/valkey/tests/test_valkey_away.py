"""A server that is killed, frozen or not there yet: the cache is empty meanwhile, and no limit is passed unseen."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from engines.valkey import Server, running, why_not
from headrace.conformance.buckets import bucket
from headrace.conformance.cache import KEY
from headrace.conformance.script import Script, services
from headrace.errors import ConfigError, StoreError
from headrace_valkey import BucketsSettings, CacheSettings, ValkeyBuckets, ValkeyCache
from headrace_valkey.server import MAX_CONNECTIONS, TIMEOUT_S

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that no other test needs."""
    if reason := why_not():
        pytest.skip(reason)
    with running(tmp_path) as server:
        yield server


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def cache_of(server: Server, stack: AsyncExitStack) -> ValkeyCache:
    return await stack.enter_async_context(ValkeyCache(CacheSettings(url=server.url), services(Script())))


async def buckets_of(server: Server, stack: AsyncExitStack) -> ValkeyBuckets:
    return await stack.enter_async_context(ValkeyBuckets(BucketsSettings(url=server.url), services(Script())))


async def back(ping: Callable[[], Awaitable[None]]) -> None:
    """Wait until the server answers again."""
    with anyio.fail_after(30):
        while True:
            try:
                return await ping()
            except StoreError:
                await anyio.sleep(0.01)


async def test_without_its_server_a_cache_is_empty_and_says_so_once(
    server: Server, stack: AsyncExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    cache = await cache_of(server, stack)
    await cache.cache(KEY, b"1")
    server.kill9()
    for _ in range(100):
        await cache.cache(KEY, b"2")
        assert await cache.cached(KEY) is None
    with pytest.raises(StoreError, match="does not answer"):
        await cache.ping()
    server.start()
    await back(cache.ping)
    await cache.cache(KEY, b"3")
    assert await cache.cached(KEY) == b"3"
    assert len(caplog.messages) == 2
    assert "does not answer" in caplog.messages[0] and "answers again" in caplog.messages[1]
    assert "s3cr" not in caplog.text


async def test_without_its_server_nothing_can_be_taken(server: Server, stack: AsyncExitStack) -> None:
    buckets = await buckets_of(server, stack)
    assert await buckets.take([(bucket(10), 1)]) == [10]
    server.kill9()
    for _ in range(3):
        with pytest.raises(StoreError, match="does not answer"):
            await buckets.take([(bucket(10), 1)])
        with pytest.raises(StoreError, match="does not answer"):
            await buckets.settle([(bucket(10), 1)])
    server.start()
    await back(buckets.ping)
    assert await buckets.take([(bucket(10), 1)]) == [10]  # it kept nothing: scripts and buckets are new


async def test_a_server_that_is_away_costs_no_time(server: Server, stack: AsyncExitStack) -> None:
    cache = await cache_of(server, stack)
    server.freeze()
    assert await cache.cached(KEY) is None  # this one finds out
    before = time.process_time()
    with anyio.fail_after(TIMEOUT_S):  # of one thousand together
        for _ in range(1000):
            assert await cache.cached(KEY) is None
    assert time.process_time() - before < 1  # seconds, for 1000: under a millisecond of CPU each
    server.start()
    await back(cache.ping)


async def test_those_who_wait_for_a_connection_wait_once(server: Server, stack: AsyncExitStack) -> None:
    cache = await cache_of(server, stack)
    server.freeze()
    with anyio.fail_after(3 * TIMEOUT_S):  # not a time limit for each of ten rounds
        async with anyio.create_task_group() as tasks:
            for _ in range(10 * MAX_CONNECTIONS):
                tasks.start_soon(cache.cached, KEY)
    server.start()


async def test_opens_before_its_server_does(server: Server, stack: AsyncExitStack) -> None:
    server.kill9()
    buckets = await buckets_of(server, stack)
    with pytest.raises(StoreError, match="does not answer"):
        await buckets.take([(bucket(10), 1)])
    server.start()
    await back(buckets.ping)
    assert await buckets.take([(bucket(10), 1)]) == [10]


async def test_a_server_that_was_started_again_in_the_meantime_is_no_trouble(
    server: Server, stack: AsyncExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    buckets = await buckets_of(server, stack)
    assert await buckets.take([(bucket(10), 1)]) == [10]
    server.kill9()
    server.start()
    await anyio.wait_all_tasks_blocked()
    await anyio.lowlevel.checkpoint()  # the loop takes note that the connection has ended
    assert await buckets.take([(bucket(10), 1)]) == [10]
    assert caplog.messages == []


async def test_a_wrong_password_is_told_without_the_right_one(
    server: Server, stack: AsyncExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ValkeyCache(CacheSettings(url=server.url.replace("s3cr", "wr0ng")), services(Script()))
    await stack.enter_async_context(cache)
    assert await cache.cached(KEY) is None
    assert "WRONGPASS" in caplog.text or "invalid username-password" in caplog.text
    assert "wr0ng" not in caplog.text


async def test_a_database_that_is_not_there_is_an_error_at_the_start(server: Server) -> None:
    with pytest.raises(StoreError, match="out of range"):
        async with AsyncExitStack() as stack:
            await buckets_of(Server(server.database(99)), stack)


def test_says_that_it_needs_asyncio() -> None:
    async def open_() -> None:
        async with ValkeyCache(CacheSettings(url="valkey://127.0.0.1:1"), services(Script())):
            pass

    with pytest.raises(ConfigError, match="asyncio only"):
        anyio.run(open_, backend="trio")
