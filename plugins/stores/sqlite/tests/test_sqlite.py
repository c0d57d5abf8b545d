"""What the store of one file promises beyond the contract."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest
from anyio.lowlevel import checkpoint
from headrace import Cache, Services, Store
from headrace.conformance.cache import CacheConformance
from headrace.conformance.rows import (
    START,
    boolean,
    comment,
    datapoint,
    evaluation_run,
    example,
    inference,
    model_inference,
    snapshot,
    uid,
)
from headrace.conformance.store import StoreConformance
from headrace.contracts import InferenceQuery
from headrace.errors import RecordRefused, StoreError
from headrace.filters import And, BooleanMetric, Or, Tagged
from headrace.queries import EpisodeQuery, Expiring
from headrace.records import Record
from headrace_sqlite import Settings, Sqlite, headrace_stores
from msgspec import structs
from pydantic import ValidationError

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "headrace.db"


def sqlite(path: Path, **settings: Any) -> Sqlite:
    return Sqlite(Settings(path=path, **settings))


def rows(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def contents(path: Path) -> bytes:
    return path.read_bytes()


class TestSqlite(StoreConformance):
    def build(self, tmp_path: Path) -> Store:
        return sqlite(tmp_path / "headrace.db")


class TestSqliteAsCache(CacheConformance):
    def build(self, tmp_path: Path, services: Services) -> Cache:
        return Sqlite(Settings(path=tmp_path / "headrace.db"), services)


# -- settings ---------------------------------------------------------------------------------------------


def test_offers_the_type_sqlite() -> None:
    assert [factory.name for factory in headrace_stores()] == ["sqlite"]


def test_is_durable_and_in_the_working_folder_by_default() -> None:
    settings = Settings()
    assert (settings.path, settings.synchronous) == (Path("headrace.db"), "full")


@pytest.mark.parametrize(
    "table",
    [{"path": ":memory:"}, {"path": ""}, {"synchronous": "off"}, {"busy_timeout_ms": -1}, {"paht": "x"}],
    ids=["memory", "no path", "not durable", "negative", "unknown key"],
)
def test_refuses_settings_that_make_no_sense(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(table)


# -- opening ----------------------------------------------------------------------------------------------


async def test_names_the_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"no folder {tmp_path / 'data'}: create it, or set sqlite.path"):
        await sqlite(tmp_path / "data" / "headrace.db").__aenter__()


@pytest.mark.parametrize(
    "content", [b"not a database, by any means" * 100, b"SQLite format 3\x00" + b"\xff" * 4000], ids=["text", "header"]
)
async def test_refuses_a_file_that_is_no_database(path: Path, content: bytes) -> None:
    put(path, content)
    with pytest.raises(StoreError) as caught:
        await sqlite(path).__aenter__()
    assert str(caught.value).startswith(f"sqlite store {path}: cannot open: ")
    assert "\n" not in str(caught.value)
    assert contents(path) == content


async def test_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot open"):
        await sqlite(tmp_path).__aenter__()


async def test_is_created_once_by_all_who_open_it_at_once(tmp_path: Path) -> None:
    async def use(path: Path, n: int) -> None:
        async with sqlite(path) as store:
            await store.write([inference(n)])

    for round_ in range(10):
        path = tmp_path / f"{round_}.db"
        async with anyio.create_task_group() as tasks:
            for n in range(4):
                tasks.start_soon(use, path, n)
        assert rows(path, "SELECT count(*) FROM inference") == [(4,)]


async def test_refuses_to_work_while_it_is_not_open(path: Path) -> None:
    store = sqlite(path)
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot write: it is not open"):
            await store.write([inference(1)])
        with pytest.raises(StoreError, match="cannot read: it is not open"):
            await store.ping()
        with pytest.raises(StoreError, match="cannot write: it is not open"):
            await store.cache("key", b"1")
        async with store:
            pass


# -- writing ----------------------------------------------------------------------------------------------


async def test_commits_writes_together_that_wait_together(path: Path) -> None:
    async with sqlite(path) as store:
        async with anyio.create_task_group() as tasks:
            for n in range(100):
                tasks.start_soon(store.write, [inference(n)])
        assert store.commits < 20
        assert len(await store.inferences(InferenceQuery(limit=None))) == 100


@pytest.mark.parametrize(
    "bad",
    [inference(1000, function_name="\ud800"), inference(1000, ttft_ms=2**63), comment(1000, uid(1), "\ud800")],
    ids=["text", "number", "column"],
)
async def test_fails_no_write_for_another_that_is_committed_with_it(path: Path, bad: Record) -> None:
    failed: list[RecordRefused] = []

    async def write(n: int) -> None:
        try:
            await store.write([inference(n), bad] if n % 5 == 0 else [inference(n)])
        except RecordRefused as error:
            failed.append(error)

    async with sqlite(path) as store:
        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon(write, n)
        assert len(failed) == 4
        found = await store.inferences(InferenceQuery(limit=None))
        assert {record.id for record in found} == {uid(n) for n in range(20) if n % 5}
    assert str(failed[0]).startswith(f"sqlite store {path}: cannot write: ")


async def test_lets_the_event_loop_run_while_it_writes(path: Path) -> None:
    async with sqlite(path) as store:
        ticks = 0
        done = anyio.Event()

        async def write() -> None:
            await store.write([inference(n, tags={"a": "b"}) for n in range(5000)])
            done.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            while not done.is_set():
                ticks += 1
                await anyio.sleep(0.001)
        assert ticks > 5


async def test_writes_what_is_queued_before_it_closes(path: Path) -> None:
    store = sqlite(path)
    begun = 0

    async def write(n: int) -> None:
        nonlocal begun
        begun += 1
        await store.write([inference(m) for m in range(n * 100, n * 100 + 100)])

    await store.__aenter__()
    async with anyio.create_task_group() as tasks:
        for n in range(10):
            tasks.start_soon(write, n)
        while begun < 10:
            await checkpoint()
        await store.__aexit__()
    assert rows(path, "SELECT count(*) FROM inference") == [(1000,)]


async def test_closes_in_order_when_it_is_cancelled(path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with sqlite(path) as store:
            await store.write([inference(1)])
            scope.cancel()
    assert not path.with_name("headrace.db-wal").exists()


async def test_waits_for_another_who_writes_but_not_for_ever(path: Path) -> None:
    async with sqlite(path, busy_timeout_ms=50) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            started = time.perf_counter()
            with pytest.raises(StoreError, match="database is locked"):
                await store.write([inference(1)])
            assert 0.04 < time.perf_counter() - started < 2
            assert await store.inferences(InferenceQuery()) == []
        await store.write([inference(1)])


# -- the file ---------------------------------------------------------------------------------------------


async def test_finds_examples_that_another_store_wrote(path: Path) -> None:
    async with sqlite(path) as one, sqlite(path) as other:
        await one.write([example(1, (0.0, 1.0))])
        assert len(await one.examples("f", "v", (1.0, 0.0), 5)) == 1
        await other.write([example(2, (1.0, 0.0))])
        assert [found.id for found, _ in await one.examples("f", "v", (1.0, 0.0), 5)] == [uid(2), uid(1)]


async def test_shares_its_cache_with_another_store_at_the_file(path: Path) -> None:
    async with sqlite(path) as one, sqlite(path) as other:
        await one.cache("key", b"1")
        assert await other.cached("key", max_age_s=60) == b"1"


async def test_a_name_without_utf_8_is_a_trouble_of_the_store(path: Path) -> None:
    async with sqlite(path) as store:
        with pytest.raises(RecordRefused):
            await store.cache("\ud800", b"1")
        with pytest.raises(StoreError, match="cannot read"):
            await store.cached("\ud800")
        with pytest.raises(StoreError, match="cannot read"):
            await store.config_snapshot("\ud800")


async def test_keeps_the_latest_snapshot_and_every_run(path: Path) -> None:
    async with sqlite(path) as store:
        await store.write([snapshot(config="first"), evaluation_run(1)])
        await store.write([snapshot(config="second"), snapshot(hash="2"), evaluation_run(2)])
    assert rows(path, "SELECT config FROM config_snapshot ORDER BY rowid") == [("second",), (snapshot().config,)]
    assert rows(path, "SELECT hex(id) FROM evaluation_run ORDER BY id") == [(uid(n).hex.upper(),) for n in (1, 2)]


async def test_expires_more_than_one_piece_while_others_write(path: Path) -> None:
    async with sqlite(path) as store:
        await store.write([inference(n, tags={"a": "1"}) for n in range(2500)])
        await store.cache("key", b"1")
        cut = START + timedelta(milliseconds=2400)
        ended: list[int] = []

        async def expire(what: Expiring) -> None:
            ended.append(await store.expire(what, cut))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(expire, "data")
            tasks.start_soon(store.write, [inference(5000)])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(expire, "inferences")
            tasks.start_soon(store.write, [inference(5001)])
        # What is dated before START + 2400 ms: START itself is 0.901 ms into its millisecond.
        assert ended == [2401, 2401]
        assert await store.count_inferences(InferenceQuery()) == 101
        assert await store.expire("cache", datetime.now(UTC) + timedelta(days=1)) == 1
    assert rows(path, "SELECT count(*) FROM inference_tag") == [(99,)]


async def test_takes_a_filter_with_very_many_branches(path: Path) -> None:
    many = tuple(Tagged("a", "=", str(n)) for n in range(5000))
    async with sqlite(path) as store:
        await store.write([inference(1, tags={"a": "4999"}), inference(2)])
        assert [found.id for found in await store.inferences(InferenceQuery(filters=Or(many)))] == [uid(1)]
        assert await store.inferences(InferenceQuery(filters=And(many))) == []


async def test_finds_the_rows_of_a_metric_that_everybody_has(path: Path) -> None:
    # Beyond some number a filter is met by looking from the newest inference on, not by way of the feedback.
    async with sqlite(path) as store:
        await store.write([inference(n) for n in range(100)])
        await store.write([boolean(n, uid(n % 100), value=n < 60_000) for n in range(1000, 52_000)])
        query = InferenceQuery(filters=BooleanMetric("good", "inference", value=True), limit=5)
        assert [found.id for found in await store.inferences(query)] == [uid(n) for n in (99, 98, 97, 96, 95)]


async def test_an_instant_beyond_all_bounds_is_a_trouble_of_the_store(path: Path) -> None:
    late = UUID(int=2**128 - 1)
    async with sqlite(path) as store:
        await store.write([structs.replace(inference(1), id=late, episode_id=late)])
        with pytest.raises(StoreError, match="cannot read"):
            await store.episodes(EpisodeQuery())


async def test_can_be_read_by_any_sqlite(path: Path) -> None:
    async with sqlite(path) as store:
        await store.write([inference(1, tags={"user": "42"}), datapoint(2)])
    query = "SELECT function_name, json_extract(tags, '$.user'), json_array_length(output) FROM inference"
    assert rows(path, query) == [("f", "42", 0)]
    assert rows(path, "SELECT datetime(updated_at) FROM datapoint") == [("2026-01-02 03:04:07",)]


async def test_writes_a_batch_of_any_size_whole(path: Path) -> None:
    async with sqlite(path) as store:
        start = 0
        for size in (1, 3, 10, 31, 32, 33, 43, 85):
            await store.write([inference(n) for n in range(start, start + size)])
            start += size
        assert await store.count_inferences(InferenceQuery()) == start


async def test_stores_what_is_not_there_as_null_and_ids_as_bytes(path: Path) -> None:
    async with sqlite(path) as store:
        await store.write([inference(1, tags={"k": "v"}), model_inference(2, uid(1)), boolean(3, uid(1))])
    types = "SELECT typeof(id), typeof(episode_id), typeof(tools), typeof(ttft_ms), typeof(input) FROM inference"
    assert rows(path, types) == [("blob", "blob", "null", "null", "text")]
    types = "SELECT typeof(inference_id), typeof(system), typeof(cost), typeof(input_tokens) FROM model_inference"
    assert rows(path, types) == [("blob", "null", "null", "null")]
    assert rows(path, "SELECT cached, typeof(cached) FROM model_inference") == [(0, "integer")]
    assert rows(path, "SELECT inference_id FROM inference_tag") == [(uid(1).bytes,)]
    assert rows(path, "SELECT value, typeof(value) FROM boolean_metric_feedback") == [(1, "integer")]
