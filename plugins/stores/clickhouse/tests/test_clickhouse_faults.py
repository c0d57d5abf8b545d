"""What survives a gateway, and a server, that is killed while rows are being written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import anyio
import pytest
from engines.clickhouse import Server, Unavailable, running
from headrace.conformance.rows import comment, inference, uid
from headrace.errors import RecordRefused, StoreError
from headrace.queries import InferenceQuery
from headrace.records import ModelInferenceRecord
from headrace_clickhouse import ClickHouse, Settings
from headrace_clickhouse.client import Client

pytestmark = [pytest.mark.anyio, pytest.mark.clickhouse]

BATCH = 20  # as in ch_child.py


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server of this test's own, to be killed."""
    try:
        with running(tmp_path / "engine") as server:
            yield server
    except Unavailable as error:
        pytest.skip(f"no ClickHouse: {error}")


def child(url: str, first: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name("ch_child.py")), url, str(first), "100000"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said_of(writer: subprocess.Popen[str], at_least: int) -> set[UUID]:
    """What the writer said until it had said this many batches."""
    assert writer.stdout is not None
    first = [int(writer.stdout.readline()) for _ in range(at_least)]
    return {uid(n + each) for n in first for each in range(BATCH)}


def rest_of(writer: subprocess.Popen[str]) -> set[UUID]:
    assert writer.stdout is not None
    first = [int(line) for line in writer.stdout]
    return {uid(n + each) for n in first for each in range(BATCH)}


async def found_in(url: str) -> tuple[set[UUID], set[UUID]]:
    async with ClickHouse(Settings(url=url)) as store:
        inferences = {row.id for row in await store.inferences(InferenceQuery(limit=None))}
        attempts = {row.inference_id for row in await store.scan(ModelInferenceRecord, limit=1_000_000)}
    return inferences, attempts


@pytest.mark.trio_cases(0)
async def test_keeps_what_write_returned_for_when_the_gateway_is_killed(clickhouse_database: str) -> None:
    said: set[UUID] = set()
    for round_ in range(2):
        with child(clickhouse_database, round_ * 1_000_000) as writer:
            said |= said_of(writer, 5)
            writer.kill()
            said |= rest_of(writer)
    inferences, attempts = await found_in(clickhouse_database)
    assert said <= inferences and said <= attempts
    # Of each process at most the batch that it was about to report, whole in each table.
    assert len(inferences - said) in (0, BATCH, 2 * BATCH)
    assert attempts <= inferences


@pytest.mark.trio_cases(0)
async def test_keeps_what_write_returned_for_when_the_server_is_killed(own_server: Server) -> None:
    url = own_server.database("killed")
    said: set[UUID] = set()
    for round_ in range(2):
        with child(url, round_ * 1_000_000) as writer:
            said |= said_of(writer, 5)
            own_server.kill9()
            said |= rest_of(writer)
            assert writer.stderr is not None
            assert "the server does not answer" in writer.stderr.read()
            assert writer.wait(60) == 0
        own_server.start()
    inferences, attempts = await found_in(url)
    assert said <= inferences and said <= attempts
    assert len(inferences - said) in (0, BATCH, 2 * BATCH)
    assert attempts <= inferences


async def test_works_again_when_the_server_is_back(own_server: Server) -> None:
    async with ClickHouse(Settings(url=own_server.database("back"))) as store:
        await store.write([inference(1)])
        own_server.kill9()
        with pytest.raises(StoreError) as trouble:
            await store.write([inference(2)])
        assert not isinstance(trouble.value, RecordRefused)
        with pytest.raises(StoreError):
            await store.ping()
        own_server.start()
        await store.write([inference(2)])
        assert [row.id for row in await store.inferences(InferenceQuery())] == [uid(2), uid(1)]


async def test_tells_no_password(clickhouse_server: Server) -> None:
    url = clickhouse_server.database("x").replace("://", "://guest:hunter2@")
    settings = Settings(url=url)
    assert "hunter2" not in repr(settings)
    with pytest.raises(StoreError) as refused:
        async with ClickHouse(settings):
            pass
    assert "hunter2" not in str(refused.value)
    with pytest.raises(ValueError, match="form http") as invalid:
        Settings(url="ftp://guest:hunter2@host/x")
    assert "hunter2" not in str(invalid.value)


async def test_takes_a_user_and_a_password(clickhouse_server: Server, clickhouse_database: str) -> None:
    if clickhouse_server.root is None:
        pytest.skip("the server at CLICKHOUSE_URL has users of its own")
    async with ClickHouse(Settings(url=clickhouse_database.replace("://", "://guest:s3cret@"))) as store:
        await store.ping()


async def test_keeps_the_first_row_and_the_last_one_when_the_server_has_merged(
    clickhouse_server: Server, clickhouse_database: str
) -> None:
    async with ClickHouse(Settings(url=clickhouse_database, async_insert=True)) as store:
        for name in ("first", "second", "third"):
            await store.write([inference(1, variant_name=name), comment(2, uid(1), name)])
        clickhouse_server.query(f"OPTIMIZE TABLE {clickhouse_database.rpartition('/')[2]}.inference FINAL")
        assert [row.variant_name for row in await store.inferences(InferenceQuery())] == ["first"]
        assert await store.inferences(InferenceQuery(variant_name="third")) == []


async def test_writes_what_several_gateways_bring_at_once(clickhouse_database: str) -> None:
    async def gateway(first: int) -> None:
        async with ClickHouse(Settings(url=clickhouse_database)) as store:
            for n in range(first, first + 5):
                await store.write([inference(n)])

    async with anyio.create_task_group() as tasks:
        for first in range(0, 40, 10):
            tasks.start_soon(gateway, first)
    inferences, _ = await found_in(clickhouse_database)
    assert inferences == {uid(first + n) for first in range(0, 40, 10) for n in range(5)}


async def test_writes_none_of_an_insert_that_is_cancelled_half_way(clickhouse_database: str) -> None:
    """The body goes out in pieces; a server that has the first of them must not take these for all."""
    store = ClickHouse(Settings(url=clickhouse_database))
    await store.migrate()
    async with Client(Settings(url=clickhouse_database)) as client:
        with anyio.CancelScope() as scope:

            def rows() -> Iterator[list[str]]:
                for n in range(10_000):
                    if n == 9_000:
                        scope.cancel()
                    yield [str(uid(n)), "x" * 1000]

            await client.insert("inference (id, function_name)", rows())
        assert scope.cancelled_caught
        await client.insert("inference (id, function_name)", [[str(uid(10_000)), "f"]])
        assert await client.rows("SELECT id FROM inference") == [[str(uid(10_000))]]
