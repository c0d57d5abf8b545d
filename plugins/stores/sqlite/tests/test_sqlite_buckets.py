"""What the buckets in one file promise beyond the contract."""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
import pytest
from headrace import Services
from headrace.conformance.buckets import BucketsConformance, bucket, left, took
from headrace.conformance.rows import inference
from headrace.contracts import Buckets
from headrace.errors import StoreError
from headrace_sqlite import Settings, Sqlite

pytestmark = pytest.mark.anyio

BUDGET = bucket(500, window="month")

# Takes 1 at a time until there is nothing left, and says how often it could.
TAKER = """
import sys, anyio
from headrace.conformance.buckets import bucket, took
from headrace_sqlite import Settings, Sqlite

async def main():
    count = 0
    async with Sqlite(Settings(path=sys.argv[1])) as store:
        while await took(store, (bucket(500, window="month"), 1)):
            count += 1
    print(count)

anyio.run(main)
"""


def sqlite(tmp_path: Path, **settings: Any) -> Sqlite:
    return Sqlite(Settings(path=tmp_path / "headrace.db", **settings))


class TestSqliteAsBuckets(BucketsConformance):
    def build(self, tmp_path: Path, services: Services) -> Buckets:
        return Sqlite(Settings(path=tmp_path / "headrace.db"), services)


async def test_processes_share_a_budget_and_do_not_overspend_it(tmp_path: Path) -> None:
    async with sqlite(tmp_path):
        pass
    counts: list[int] = []

    async def child() -> None:
        command = [sys.executable, "-c", TAKER, str(tmp_path / "headrace.db")]
        done = await anyio.run_process(command, stderr=PIPE)
        counts.append(int(done.stdout))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(child)
    assert sum(counts) == 500


async def test_a_take_does_not_wait_for_the_records_that_were_there_first(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        written: list[int] = []

        async def write(n: int) -> None:
            await store.write([inference(n * 1000 + i) for i in range(1000)])
            written.append(n)

        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon(write, n)
            await anyio.lowlevel.checkpoint()
            assert await took(store, (BUDGET, 1))
            assert len(written) < 20


async def test_fails_when_the_file_is_locked_for_too_long_and_works_again(tmp_path: Path) -> None:
    async with sqlite(tmp_path, busy_timeout_ms=20) as store:
        with closing(sqlite3.connect(tmp_path / "headrace.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match=r"headrace\.db: cannot use a bucket: database is locked"):
                await store.take([(BUDGET, 1)])
        assert await left(store, BUDGET) == [500]


async def test_a_key_without_a_place_in_the_file_fails_alone(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        with pytest.raises(StoreError, match="cannot use a bucket"):
            await store.take([(bucket(1, key="\ud800"), 1)])
        assert await left(store, BUDGET) == [500]


async def test_a_gateway_without_limits_has_no_thread_for_them(tmp_path: Path) -> None:
    def names() -> set[str]:
        return {thread.name for thread in threading.enumerate()}

    async with sqlite(tmp_path) as store:
        await store.write([inference(1)])
        assert "headrace-sqlite-buckets" not in names()
        await store.take([(BUDGET, 1)])
        assert "headrace-sqlite-buckets" in names()
    assert "headrace-sqlite-buckets" not in names()


async def test_needs_an_open_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot use a bucket: it is not open"):
        await sqlite(tmp_path).take([(BUDGET, 1)])
    with pytest.raises(StoreError, match="cannot use a bucket: it is not open"):
        await sqlite(tmp_path).settle([(BUDGET, 1)])


async def test_many_who_take_at_once_cost_little(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        await store.take([(BUDGET, 0)])
        began = time.process_time()
        async with anyio.create_task_group() as tasks:
            for _ in range(1000):
                tasks.start_soon(took, store, (BUDGET, 1))
        assert time.process_time() - began < 1  # of CPU; about 0.05 when measured
