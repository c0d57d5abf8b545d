"""What every cache promises: the entry kept last under a key, byte for byte, unless it is older than asked for.

Features for ``lacks``: persistence.
"""
# ruff: noqa: D102 - the name of a test says what it promises

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from ..contracts import Cache, Services
from .script import Script, SetClock, services
from .suite import Suite, needs

KEY = "d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24"
ENTRIES = {
    "text": '{"output":[{"type":"text","text":"Zoë 😀"}]}'.encode(),
    "nothing": b"",
    "every byte": bytes(range(256)),
    "no UTF-8": b"\xff\xfe\x00\xc3\x28",
    "large": bytes(range(256)) * 16_384,
}


class CacheConformance(Suite):
    """Subclass it with ``build``. A cache whose entries end with it says ``lacks = {"persistence": why}``."""

    def build(self, tmp_path: Path, services: Services) -> Cache:
        """The cache under test, not yet open if it is a context manager, on the clock of ``services``.

        Built again with the same folder, it is the same cache again.
        """
        raise NotImplementedError(f"{type(self).__name__}.build: return the cache under test")

    @pytest.fixture
    def clock(self) -> SetClock:
        """The time that the cache goes by."""
        return SetClock()

    @pytest.fixture
    async def cache(self, tmp_path: Path, clock: SetClock) -> AsyncIterator[Cache]:
        """A fresh cache, open."""
        async with self._opened(tmp_path, clock) as cache:
            yield cache

    @asynccontextmanager
    async def _opened(self, tmp_path: Path, clock: SetClock) -> AsyncIterator[Cache]:
        lent = services(Script())
        cache = self.build(tmp_path, Services(lent.transport, lent.secret, clock))
        assert isinstance(cache, Cache)
        if isinstance(cache, AbstractAsyncContextManager):
            async with cache:
                yield cache
        else:
            yield cache

    # -- entries ------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES.keys())
    async def test_gives_an_entry_back_byte_for_byte(self, cache: Cache, entry: bytes) -> None:
        await cache.cache(KEY, entry)
        found = await cache.cached(KEY)
        assert found == entry
        assert isinstance(found, bytes)

    async def test_knows_nothing_of_other_keys(self, cache: Cache) -> None:
        assert await cache.cached(KEY) is None
        await cache.cache(KEY, b"1")
        for other in (KEY[:-1], KEY + "0", KEY.upper(), "%", "*", ""):
            assert await cache.cached(other) is None

    async def test_keeps_entries_apart(self, cache: Cache) -> None:
        for n in range(200):
            await cache.cache(f"{n:064x}", b"%d" % n)
        assert [await cache.cached(f"{n:064x}") for n in range(200)] == [b"%d" % n for n in range(200)]

    async def test_replaces_an_entry(self, cache: Cache) -> None:
        for entry in (b"first", b"", b"last"):
            await cache.cache(KEY, entry)
            assert await cache.cached(KEY) == entry

    # -- age ----------------------------------------------------------------------------------------------

    async def test_gives_no_entry_that_is_as_old_as_the_bound(self, cache: Cache, clock: SetClock) -> None:
        await cache.cache(KEY, b"1")
        clock.advance(59.5)
        assert await cache.cached(KEY, max_age_s=60) == b"1"
        clock.advance(0.5)
        assert await cache.cached(KEY, max_age_s=60) is None
        assert await cache.cached(KEY, max_age_s=61) == b"1"

    async def test_gives_nothing_that_may_have_no_age(self, cache: Cache) -> None:
        await cache.cache(KEY, b"1")
        assert await cache.cached(KEY, max_age_s=0) is None

    async def test_takes_any_age_when_none_is_asked_for(self, cache: Cache, clock: SetClock) -> None:
        await cache.cache(KEY, b"1")
        clock.advance(60 * 60 * 24 - 1)  # a cache that forgets by itself does so after a day at the soonest
        assert await cache.cached(KEY) == b"1"
        assert await cache.cached(KEY, max_age_s=2**32 - 1) == b"1"

    async def test_counts_the_age_from_the_last_time_it_was_kept(self, cache: Cache, clock: SetClock) -> None:
        await cache.cache(KEY, b"1")
        clock.advance(50)
        await cache.cache(KEY, b"2")
        clock.advance(50)
        assert await cache.cached(KEY, max_age_s=60) == b"2"

    async def test_asking_makes_no_entry_younger(self, cache: Cache, clock: SetClock) -> None:
        await cache.cache(KEY, b"1")
        for _ in range(3):
            clock.advance(20)
            await cache.cached(KEY)
        assert await cache.cached(KEY, max_age_s=60) is None

    # -- many at once -------------------------------------------------------------------------------------

    async def test_gives_whole_entries_to_those_who_ask_while_it_is_replaced(self, cache: Cache) -> None:
        entries = [bytes([letter]) * 50_000 for letter in b"abcd"]
        await cache.cache(KEY, entries[0])

        async def replace(entry: bytes) -> None:
            for _ in range(10):
                await cache.cache(KEY, entry)

        async def ask() -> None:
            for _ in range(20):
                assert await cache.cached(KEY) in entries

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for entry in entries:
                    tasks.start_soon(replace, entry)
                    tasks.start_soon(ask)

    async def test_stays_of_use_when_a_writer_is_cancelled(self, cache: Cache) -> None:
        for n in range(20):
            with anyio.move_on_after(n / 10_000):
                await cache.cache(KEY, b"%d" % n * 1000)
        await cache.cache(KEY, b"last")
        assert await cache.cached(KEY) == b"last"

    # -- the process --------------------------------------------------------------------------------------

    @needs("persistence")
    async def test_has_its_entries_when_opened_again(self, tmp_path: Path, clock: SetClock) -> None:
        async with self._opened(tmp_path, clock) as cache:
            await cache.cache(KEY, b"1")
        clock.advance(30)
        async with self._opened(tmp_path, clock) as cache:
            assert await cache.cached(KEY, max_age_s=31) == b"1"
            assert await cache.cached(KEY, max_age_s=30) is None
