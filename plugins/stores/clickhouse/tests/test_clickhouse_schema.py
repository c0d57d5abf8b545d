"""The schema, forward and back, interrupted, by two at once, from the future, and of a cluster."""

from __future__ import annotations

import logging
from pathlib import Path

import anyio
import pytest
from engines.clickhouse import Server
from headrace.conformance.rows import inference, uid
from headrace.conformance.store_schema import MigrationConformance
from headrace.errors import StoreError
from headrace.queries import InferenceQuery
from headrace.storage import Migratable
from headrace_clickhouse import ClickHouse, Settings
from headrace_clickhouse.client import Client
from headrace_clickhouse.schema import STEPS, Dialect, version_table

# Statements, one after the other: on trio, one way up and down and one race show that they arrive there, too.
pytestmark = [pytest.mark.anyio, pytest.mark.clickhouse, pytest.mark.trio_cases(0)]


class TestClickHouseSchema(MigrationConformance):
    @pytest.fixture(autouse=True)
    def _database(self, clickhouse_server: Server, clickhouse_database: str) -> None:
        self.server, self.url = clickhouse_server, clickhouse_database

    def build(self, tmp_path: Path) -> ClickHouse:
        return ClickHouse(Settings(url=self.url))

    def build_unmigrated(self, tmp_path: Path) -> ClickHouse:
        return ClickHouse(Settings(url=self.url, disable_automatic_migrations=True))

    async def make_newer(self, tmp_path: Path, version: int) -> None:
        name = self.url.rpartition("/")[2]
        self.server.query(f"INSERT INTO {name}.schema_migration (version) VALUES ({version:d})")


@pytest.mark.trio_cases(1)
async def test_goes_forward_and_back(clickhouse_database: str, caplog: pytest.LogCaptureFixture) -> None:
    store = ClickHouse(Settings(url=clickhouse_database))
    assert isinstance(store, Migratable)
    assert ((await store.schema()).found, (await store.schema()).known) == (0, len(STEPS))
    assert (await store.migrate()).found == len(STEPS)
    async with store:
        await store.write([inference(1)])
        await store.cache("key", b"entry")
    with caplog.at_level(logging.WARNING):
        assert (await store.migrate(1)).found == 1
    assert "loses every cached answer" in caplog.text
    async with store:  # which brings it forward again
        assert await store.inferences(InferenceQuery()) == [inference(1)]
        assert await store.cached("key") is None
    assert (await store.migrate(0)).found == 0
    async with store:
        assert await store.inferences(InferenceQuery()) == []


async def test_sets_how_tables_are_written_and_unsets_it(clickhouse_server: Server, clickhouse_database: str) -> None:
    store, name = ClickHouse(Settings(url=clickhouse_database)), clickhouse_database.rpartition("/")[2]

    def is_tuned(table: str, setting: str) -> bool:
        return f"{setting} = " in clickhouse_server.query(f"SHOW CREATE TABLE {name}.{table} FORMAT TSVRaw")

    await store.migrate(2)
    async with Client(Settings(url=clickhouse_database)) as client:
        await client.insert("inference (id, function_name)", [[str(uid(1)), "f"]])
    for version, expected in ((3, True), (2, False), (3, True)):
        await store.migrate(version)
        assert is_tuned("model_inference", "min_bytes_for_wide_part") is expected
        assert is_tuned("inference", "min_compress_block_size") is expected
        assert clickhouse_server.query(f"SELECT count() FROM {name}.inference").strip() == "1"


@pytest.mark.parametrize("done", [0, 1, 5], ids=["before", "after one table", "after five tables"])
async def test_does_an_interrupted_step_again(clickhouse_server: Server, clickhouse_database: str, done: int) -> None:
    name = clickhouse_database.rpartition("/")[2]
    clickhouse_server.query(f"CREATE DATABASE {name}")
    for statement in STEPS[0].forward(Dialect())[:done]:
        clickhouse_server.query(statement.replace("IF NOT EXISTS ", f"IF NOT EXISTS {name}."))
    async with ClickHouse(Settings(url=clickhouse_database)) as store:
        await store.write([inference(1)])
        assert await store.inferences(InferenceQuery()) == [inference(1)]


@pytest.mark.trio_cases(1)
async def test_lets_several_start_at_once(clickhouse_server: Server, clickhouse_database: str) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(ClickHouse(Settings(url=clickhouse_database)).migrate)
    assert (await ClickHouse(Settings(url=clickhouse_database)).schema()).found == len(STEPS)
    name = clickhouse_database.rpartition("/")[2]
    assert clickhouse_server.query(f"SELECT count() FROM {name}.schema_migration").strip() == str(len(STEPS))


async def test_refuses_a_schema_from_the_future(clickhouse_server: Server, clickhouse_database: str) -> None:
    store = ClickHouse(Settings(url=clickhouse_database))
    await store.migrate()
    name = clickhouse_database.rpartition("/")[2]
    clickhouse_server.query(f"INSERT INTO {name}.schema_migration (version) VALUES (99)")
    with pytest.raises(StoreError, match="schema version 99 found"):
        await store.migrate()
    with pytest.raises(StoreError, match="upgrade headrace-clickhouse"):
        async with store:
            pass
    with pytest.raises(StoreError, match="no schema version 7"):
        await store.migrate(7)


async def test_leaves_migrations_to_the_operator(clickhouse_database: str) -> None:
    store = ClickHouse(Settings(url=clickhouse_database, disable_automatic_migrations=True))
    with pytest.raises(StoreError, match="headrace store migrate"):
        async with store:
            pass
    assert (await store.schema()).found == 0
    await store.migrate()
    async with store:
        await store.ping()


def test_asks_a_cluster_for_replicated_tables(clickhouse_server: Server) -> None:
    dialect = Dialect("all-of_them")
    forward = [version_table(dialect), *(each for step in STEPS for each in step.forward(dialect))]
    back = [each for step in STEPS for each in step.back(dialect)]
    assert all(" ON CLUSTER `all-of_them` " in each for each in (*forward, *back))
    assert len(back) == len(forward) - 1
    made = [each for each in forward if each.startswith("CREATE TABLE ")]
    for statement in made:
        assert "MergeTree('/clickhouse/tables/{shard}/headrace/{database}/" in statement
        assert "/{uuid}', '{replica}'" in statement
    dropped = [each for each in back if each.startswith("DROP TABLE ")]
    assert all(each.endswith(" SYNC") for each in dropped)
    assert len(dropped) == len(made) - 1
    for statement in (*forward, *back):  # raises what the server would say of its grammar
        quoted = statement.replace("\\", "\\\\").replace("'", "\\'")
        assert clickhouse_server.query(f"SELECT formatQuery('{quoted}')")


@pytest.mark.parametrize("cluster", ["a b", "x`; DROP", ""])
def test_refuses_a_cluster_that_is_no_name(cluster: str) -> None:
    with pytest.raises(ValueError, match="must be a name"):
        Settings(url="http://localhost:8123/x", cluster=cluster)


async def test_waits_for_whoever_migrates_and_says_so(
    clickhouse_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Longer than a lock lasts that nobody renews."""
    store = ClickHouse(Settings(url=clickhouse_database))
    async with Client(Settings(url=clickhouse_database)) as client:
        await client.run(f"CREATE DATABASE {client.database}", database="")
        async with anyio.create_task_group() as tasks:
            await client.run("CREATE TABLE schema_migration_lock (held Bool) ENGINE = Memory")
            tasks.start_soon(store.migrate)
            for _ in range(8):
                await client.insert("schema_migration_lock (held)", [[True]])
                assert (await store.schema()).found == 0
                await anyio.sleep(1)
            await client.run("DROP TABLE schema_migration_lock SYNC")
    assert (await store.schema()).found == len(STEPS)
    assert "waiting for another migration to end" in caplog.text
    assert "is dead" not in caplog.text


async def test_goes_on_where_whoever_migrated_is_dead(
    clickhouse_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Client(Settings(url=clickhouse_database)) as client:
        await client.run(f"CREATE DATABASE {client.database}", database="")
        await client.run("CREATE TABLE schema_migration_lock (held Bool) ENGINE = Memory")
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(ClickHouse(Settings(url=clickhouse_database)).migrate)
        assert await client.rows("SELECT count() FROM schema_migration") == [[len(STEPS)]]
    assert caplog.text.count("is dead") >= 1
