"""What buckets in a real PostgreSQL promise. Their time is the server's, so the tests make rows older."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import anyio
import asyncpg
import pytest
from engines.postgres import Server
from headrace.conformance.buckets import BucketsConformance, bucket, left, took
from headrace.conformance.script import SetClock
from headrace.contracts import Bucket, Buckets, Services
from headrace.errors import StoreError
from headrace_postgres import Postgres, Settings

BUDGET = bucket(500, window="month")


async def older(url: str, seconds: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "UPDATE headrace.resource_bucket SET filled_at = filled_at - $1::int * interval '1 second'", seconds
        )
    finally:
        await connection.close()


class TestPostgresAsBuckets(BucketsConformance):
    lacks: ClassVar = {"calendar": "its clock is the server's; see test_a_month_is_that_of_the_servers_calendar"}

    @pytest.fixture(autouse=True)
    def _in_an_empty_database(self, emptied_database: str) -> None:
        self.url = emptied_database

    def build(self, tmp_path: Path, services: Services) -> Buckets:
        return Postgres(Settings(url=self.url), services)

    async def later(self, buckets: Buckets, clock: SetClock, seconds: int) -> None:
        await older(self.url, seconds)


@pytest.mark.anyio
async def test_a_month_is_that_of_the_servers_calendar(postgres_server: Server, emptied_database: str) -> None:
    one = bucket(1000, refill_rate=1, window="month")
    connection = await asyncpg.connect(emptied_database)
    async with Postgres(Settings(url=emptied_database)) as store:
        assert await took(store, (one, 1000))
        for ago, months in (("13 months", 13), ("27 days", 0), ("1 month 1 minute", 1), ("2 years", 24)):
            await connection.execute(
                "UPDATE headrace.resource_bucket SET balance = 0, filled_at = now() - $1::text::interval", ago
            )
            assert await left(store, one) == [months]
    await connection.close()


@pytest.mark.anyio
async def test_several_stores_share_a_budget_and_do_not_overspend_it(emptied_database: str) -> None:
    outcomes: list[bool] = []
    a, b = bucket(300, key="a", window="month"), bucket(300, key="b", window="month")

    async def gateway(first: Bucket, second: Bucket) -> None:
        async with Postgres(Settings(url=emptied_database)) as store, anyio.create_task_group() as tasks:

            async def take() -> None:
                outcomes.append(await took(store, (first, 1), (second, 1)))

            for _ in range(200):
                tasks.start_soon(take)

    async with anyio.create_task_group() as tasks:
        for pair in ((a, b), (b, a), (a, b)):
            tasks.start_soon(gateway, *pair)
    assert (len(outcomes), sum(outcomes)) == (600, 300)


@pytest.mark.anyio
async def test_a_key_that_no_database_can_hold_fails_alone(emptied_database: str) -> None:
    async with Postgres(Settings(url=emptied_database)) as store:
        with pytest.raises(StoreError, match="cannot use a bucket"):
            await store.take([(bucket(1, key="\ud800"), 1)])
        assert await left(store, BUDGET) == [500]


@pytest.mark.anyio
async def test_needs_an_open_store() -> None:
    with pytest.raises(StoreError, match="cannot use a bucket: it is not open"):
        await Postgres(Settings(url="postgresql://nowhere/x")).take([(BUDGET, 1)])
