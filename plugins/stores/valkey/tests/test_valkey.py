"""The cache and the buckets keep their promises on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from engines.valkey import Server
from headrace import Services
from headrace.conformance.buckets import BucketsConformance, bucket
from headrace.conformance.cache import KEY, CacheConformance
from headrace.conformance.script import Script, SetClock, services
from headrace.contracts import Buckets, Cache
from headrace.errors import StoreError
from headrace.storage import Window
from headrace_valkey import BucketsSettings, CacheSettings, ValkeyBuckets, ValkeyCache
from headrace_valkey.buckets import DAY_US, PREFIX
from headrace_valkey.settings import shown
from pydantic import ValidationError

DAY_S = 86_400


class TestValkeyAsCache(CacheConformance):
    @pytest.fixture(autouse=True)
    def _in(self, valkey_database: str) -> None:
        self.url = valkey_database

    def build(self, tmp_path: Path, services: Services) -> Cache:
        return ValkeyCache(CacheSettings(url=self.url), services)


class TestValkeyAsBuckets(BucketsConformance):
    lacks: ClassVar = {"calendar": "a script has no calendar: a month is 30 days, as TensorZero's is on Valkey"}

    @pytest.fixture(autouse=True)
    def _in(self, valkey_server: Server, valkey_database: str) -> None:
        self.server, self.url = valkey_server, valkey_database

    def build(self, tmp_path: Path, services: Services) -> Buckets:
        return ValkeyBuckets(BucketsSettings(url=self.url), services)

    async def later(self, buckets: Buckets, clock: SetClock, seconds: int) -> None:
        for key in self.server.run("KEYS", "*", url=self.url):
            self.server.run("HINCRBY", key, "last_refilled", -seconds * 1_000_000, url=self.url)


@asynccontextmanager
async def cache(url: str, **settings: int) -> AsyncIterator[ValkeyCache]:
    async with ValkeyCache(CacheSettings(url=url, **settings), services(Script())) as cache:
        yield cache


@asynccontextmanager
async def buckets(url: str) -> AsyncIterator[ValkeyBuckets]:
    async with ValkeyBuckets(BucketsSettings(url=url), services(Script())) as buckets:
        yield buckets


pytestmark = pytest.mark.anyio


async def test_an_entry_is_forgotten_after_its_time(valkey_server: Server, valkey_database: str) -> None:
    async with cache(valkey_database, ttl_s=77) as kept:
        await kept.cache(KEY, b"1")
    assert 70 < valkey_server.run("TTL", f"tensorzero_cache:{KEY}", url=valkey_database) <= 77


@pytest.mark.parametrize("value", [b"", b"\n", b"{}", b"nan\nx"], ids=repr)
async def test_what_somebody_else_keeps_is_no_answer(valkey_server: Server, valkey_database: str, value: bytes) -> None:
    valkey_server.run("SET", f"tensorzero_cache:{KEY}", value, url=valkey_database)
    async with cache(valkey_database) as kept:
        assert await kept.cached(KEY, max_age_s=60) is None


async def test_a_refusal_is_no_trouble_of_the_request_and_told_once(
    valkey_server: Server, valkey_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    valkey_server.run("LPUSH", f"tensorzero_cache:{KEY}", "a list", url=valkey_database)
    async with cache(valkey_database) as kept:
        for _ in range(3):
            assert await kept.cached(KEY) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "WRONGTYPE" in caplog.text


@pytest.mark.parametrize(
    ("capacity", "rate", "window", "days"),
    [(10, 10, "second", 2), (100, 10, "day", 20), (100, 30, "day", 8), (3, 3, "month", 60), (2**63 - 1, 1, "month", 0)],
    ids=["at-least-two-days", "twice-the-time-to-fill", "whole-windows", "month", "longer-than-a-key-lives"],
)
async def test_a_bucket_is_forgotten_when_it_would_have_been_full_for_long(
    valkey_server: Server, valkey_database: str, capacity: int, rate: int, window: Window, days: int
) -> None:
    async with buckets(valkey_database) as kept:
        await kept.take([(bucket(capacity, refill_rate=rate, window=window), 1)])
    ttl_s = valkey_server.run("TTL", f"{PREFIX}a", url=valkey_database)
    assert ttl_s == -1 if not days else days * DAY_S - 60 < ttl_s <= days * DAY_S


async def test_a_debt_is_not_forgotten_before_it_is_paid(valkey_server: Server, valkey_database: str) -> None:
    async with buckets(valkey_database) as kept:
        await kept.settle([(bucket(10, window="day"), -100)])
    assert valkey_server.run("TTL", f"{PREFIX}a", url=valkey_database) > 19 * DAY_S


async def test_a_budget_that_is_never_refilled_is_never_forgotten(valkey_server: Server, valkey_database: str) -> None:
    async with buckets(valkey_database) as kept:
        await kept.take([(bucket(10), 1)])
        await kept.take([(bucket(10, refill_rate=0), 1)])
    assert valkey_server.run("TTL", f"{PREFIX}a", url=valkey_database) == -1


async def test_what_was_not_taken_leaves_no_bucket(valkey_server: Server, valkey_database: str) -> None:
    async with buckets(valkey_database) as kept:
        assert await kept.take([(bucket(10), 11)]) == [10]
    assert valkey_server.run("DBSIZE", url=valkey_database) == 0


async def test_a_month_is_30_days(valkey_server: Server, valkey_database: str) -> None:
    async with buckets(valkey_database) as kept:
        one = bucket(10, window="month")
        await kept.take([(one, 10)])
        valkey_server.run("HINCRBY", f"{PREFIX}a", "last_refilled", -30 * DAY_US + 60_000_000, url=valkey_database)
        assert await kept.take([(one, 0)]) == [0]
        valkey_server.run("HINCRBY", f"{PREFIX}a", "last_refilled", -60_000_000, url=valkey_database)
        assert await kept.take([(one, 0)]) == [10]


async def test_refills_of_large_numbers_are_exact(valkey_server: Server, valkey_database: str) -> None:
    one = bucket(2**63 - 1, refill_rate=2**53 + 1, window="month")
    async with buckets(valkey_database) as kept:
        await kept.take([(one, one.capacity)])
        for windows, has in ((1, 1), (7, 8), (1000, 1008)):
            valkey_server.run("HINCRBY", f"{PREFIX}a", "last_refilled", -windows * 30 * DAY_US, url=valkey_database)
            assert await kept.take([(one, 0)]) == [has * one.refill_rate]


async def test_refills_of_many_windows_are_exact(valkey_server: Server, valkey_database: str) -> None:
    one = bucket(2**63 - 1, refill_rate=987_654_321, window="minute")
    async with buckets(valkey_database) as kept:
        await kept.take([(one, one.capacity)])
        windows = 12_345_678  # 23 years
        valkey_server.run("HINCRBY", f"{PREFIX}a", "last_refilled", -windows * 60_000_000, url=valkey_database)
        assert await kept.take([(one, 0)]) == [windows * one.refill_rate]


async def test_what_is_in_the_place_of_a_bucket_lets_nothing_pass(valkey_server: Server, valkey_database: str) -> None:
    valkey_server.run("SET", f"{PREFIX}a", "hello", url=valkey_database)
    async with buckets(valkey_database) as kept:
        with pytest.raises(StoreError, match="WRONGTYPE"):
            await kept.take([(bucket(10), 1)])


async def test_a_script_that_was_flushed_comes_again(valkey_server: Server, valkey_database: str) -> None:
    async with buckets(valkey_database) as kept:
        for had in (10, 9, 8):
            valkey_server.run("SCRIPT", "FLUSH")
            assert await kept.take([(bucket(10, window="month"), 1)]) == [had]


@pytest.mark.parametrize(
    "url",
    [
        "http://:s3cret@host",
        "valkey://",
        "valkey://:s3cret@host:x",
        "valkey://:s3cret@host/db",
        "unix:///s3cret.sock",
        "valkey://:s3cret@host?socket_timeout=1",
        "valkeys://:s3cret@[::1",
    ],
)
def test_a_url_that_names_no_server_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValidationError) as error:
        BucketsSettings(url=url)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("scheme", ["valkey", "valkeys", "redis", "rediss"])
def test_every_scheme_is_known(scheme: str) -> None:
    settings = CacheSettings(url=f"{scheme}://name:s3cret@[::1]:7000/3")
    assert shown(settings.url) == f"{scheme}://[::1]:7000/3"
    assert "s3cret" not in repr(settings)
    assert isinstance(ValkeyCache(settings, services(Script())), Cache)
