"""What a PostgreSQL store does beyond the promises of all stores."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import anyio
import pytest
from anyio import to_thread
from engines.postgres import Server
from headrace.conformance.rows import datapoint, example, inference, model_inference, snapshot, uid
from headrace.conformance.store_schema import MigratableStore, MigrationConformance
from headrace.errors import RecordRefused, StoreError
from headrace.filters import Tagged
from headrace.queries import DatapointQuery, InferenceQuery
from headrace_postgres import Postgres, Settings, headrace_stores
from headrace_postgres.server import Server as ServerOf
from headrace_postgres.text import original, stored
from pydantic import ValidationError

pytestmark = pytest.mark.anyio

UNREACHABLE = "postgresql://someone:s3cr%2Ft@127.0.0.1:1/db"


def postgres(url: str, **settings: Any) -> Postgres:
    return Postgres(Settings(url=url, **settings))


def database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


class TestMigration(MigrationConformance):
    @pytest.fixture(autouse=True)
    def _in_a_fresh_database(self, postgres_server: Server, postgres_database: str) -> None:
        self.server, self.url = postgres_server, postgres_database

    def build(self, tmp_path: Path) -> MigratableStore:
        return postgres(self.url)

    def build_unmigrated(self, tmp_path: Path) -> MigratableStore:
        return postgres(self.url, disable_automatic_migrations=True)

    async def make_newer(self, tmp_path: Path, version: int) -> None:
        statement = f"INSERT INTO headrace.schema_step (version, what) VALUES ({version}, 'later')"
        await to_thread.run_sync(lambda: self.server.run(statement, url=self.url))


# -- settings ---------------------------------------------------------------------------------------------


def test_offers_the_type_postgres() -> None:
    assert [factory.name for factory in headrace_stores()] == ["postgres"]


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"url": ""},
        {"url": UNREACHABLE, "connection_pool_size": 0},
        {"url": UNREACHABLE, "schema_name": ""},
        {"url": UNREACHABLE, "schema_name": "x" * 64},
        {"url": UNREACHABLE, "schema_name": "pg_mine"},
        {"url": UNREACHABLE, "inference_data_retention_days": 0},
    ],
)
def test_refuses_settings_that_make_no_sense_and_shows_no_url(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(table)
    assert "s3cr" not in str(caught.value)


def test_takes_the_keys_that_the_gateway_reads() -> None:
    keys = {"enabled": True, "inference_metadata_retention_days": 90, "inference_data_retention_days": 30}
    assert "s3cr" not in repr(Settings.model_validate({"url": UNREACHABLE, **keys}))


# -- connecting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [UNREACHABLE, "postgresql://a:s3cr/t@host/db", "postgresql://a:s3cr@h:s3cr/db", "mysql://a:s3cr@h/db", "s3cr"],
)
async def test_says_that_it_cannot_connect_without_showing_a_password(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StoreError) as caught:
        await postgres(url).__aenter__()
    shown = str(caught.value) + repr(caught.value.__cause__) + caplog.text
    assert "s3cr" not in shown
    assert str(caught.value).startswith("postgres store ")
    assert "\n" not in shown


async def test_says_that_a_password_is_wrong_without_showing_it(postgres_server: Server) -> None:
    url = postgres_server.url.replace("s3cr%2Ft:", "wr0ng")
    if "wr0ng" not in url:
        pytest.skip("the server at POSTGRES_URL may ask for no password")
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        await postgres(url).__aenter__()
    assert "wr0ng" not in str(caught.value)


async def test_says_that_a_database_is_missing(postgres_server: Server) -> None:
    with pytest.raises(StoreError, match="create it"):
        await postgres(database(postgres_server.url, "nothing")).__aenter__()


async def test_refuses_to_work_while_it_is_not_open(postgres_database: str) -> None:
    store = postgres(postgres_database)
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot write: it is not open"):
            await store.write([inference(1)])
        with pytest.raises(StoreError, match="cannot read: it is not open"):
            await store.ping()
        async with store:
            pass


def test_says_that_it_runs_on_asyncio_only() -> None:
    with pytest.raises(StoreError, match="on asyncio only"):
        anyio.run(postgres(UNREACHABLE).__aenter__, backend="trio")


async def test_refuses_a_database_that_cannot_hold_every_text(postgres_server: Server) -> None:
    make = "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
    await to_thread.run_sync(postgres_server.run, make)
    with pytest.raises(StoreError, match=r"LATIN1.*UTF8"):
        await postgres(database(postgres_server.url, "latin")).__aenter__()
    await to_thread.run_sync(postgres_server.run, "DROP DATABASE latin")


# -- the schema -------------------------------------------------------------------------------------------


async def test_shares_a_database_with_tables_of_the_same_names(postgres_server: Server, postgres_database: str) -> None:
    async with postgres(postgres_database) as one, postgres(postgres_database, schema_name='o"ther') as other:
        await one.write([inference(1)])
        assert await other.inferences(InferenceQuery()) == []
        await other.write([inference(2)])
        assert [record.id for record in await one.inferences(InferenceQuery())] == [uid(1)]


async def test_does_a_step_again_that_was_interrupted(postgres_server: Server, postgres_database: str) -> None:
    def run(*statements: str) -> None:
        postgres_server.run(*statements, url=postgres_database)

    # The last table of the first step is in its way.
    await to_thread.run_sync(run, "CREATE SCHEMA headrace", "CREATE TABLE headrace.api_key (mine int)")
    with pytest.raises(StoreError, match=r"api_key.*already exists"):
        await postgres(postgres_database).__aenter__()
    assert (await postgres(postgres_database).schema()).found == 0
    await to_thread.run_sync(run, "DROP TABLE headrace.api_key")
    async with postgres(postgres_database) as store:
        await store.write([inference(1)])


async def test_says_in_the_log_what_the_way_back_loses(
    postgres_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    await postgres(postgres_database).migrate()
    with caplog.at_level(logging.WARNING):
        assert (await postgres(postgres_database).migrate(0)).found == 0
    assert "loses every record" in caplog.text


async def test_works_for_a_user_who_owns_nothing_but_a_schema(postgres_server: Server, postgres_database: str) -> None:
    def run(*statements: str) -> None:
        postgres_server.run(*statements, url=postgres_database)

    await to_thread.run_sync(
        run, "CREATE ROLE modest LOGIN PASSWORD 'm'", "CREATE SCHEMA headrace AUTHORIZATION modest"
    )
    url = postgres_database.replace("headrace:s3cr%2Ft:@", "modest:m@")
    async with postgres(url) as store:
        assert not store.has_pgvector
        await store.write([example(1, (1.0, 0.0))])
        assert len(await store.examples("f", "v", (1.0, 0.0), 1)) == 1
    await to_thread.run_sync(run, "DROP OWNED BY modest CASCADE", "DROP ROLE modest")


# -- examples ---------------------------------------------------------------------------------------------


async def test_finds_the_same_examples_with_and_without_pgvector(postgres_database: str) -> None:
    written = [example(n, ((n * 7) % 11 - 5.0, (n * 5) % 13 - 6.0, float(n % 3))) for n in range(200)]
    written += [example(900, (0.0, 0.0, 0.0)), example(901, (1.0, 0.0))]
    async with postgres(postgres_database) as one, postgres(postgres_database, pgvector=False) as other:
        if "POSTGRES_URL" in os.environ and not one.has_pgvector:
            pytest.skip("the server at POSTGRES_URL has no pgvector")
        assert (one.has_pgvector, other.has_pgvector) == (True, False)
        await one.write(written)
        for wanted in ((1.0, 2.0, 3.0), (0.0, 0.0, 0.0), (-1.0, 0.0, 0.5), (1.0, 1.0), (1.0,), ()):
            for k in (0, 1, 10, 500):
                found, expected = [await store.examples("f", "v", wanted, k) for store in (one, other)]
                # The last digit may differ, and with it the order of those who nearly tie.
                assert [distance for _, distance in found] == pytest.approx([each for _, each in expected], abs=2e-6)
                assert k < 500 or {each.id for each, _ in found} == {each.id for each, _ in expected}
        await other.write([example(902, (1.0, 2.0, 3.0))])
        assert (await other.examples("f", "v", (1.0, 2.0, 3.0), 1))[0][1] == 0


# -- text -------------------------------------------------------------------------------------------------


def test_stores_text_so_that_it_comes_back_and_sorts_the_same() -> None:
    texts = ["", *(a + b + c for a in "\x00\x01\x02a" for b in "\x00\x01\x02a" for c in ("", "\x00", "\x01", "\x02"))]
    assert [original(stored(text)) for text in texts] == texts
    assert not any("\x00" in stored(text) for text in texts)
    assert sorted(texts) == sorted(texts, key=stored)


async def test_tells_tags_apart_that_differ_in_characters_it_has_to_escape(postgres_database: str) -> None:
    async with postgres(postgres_database) as store:
        await store.write([datapoint(1, tags={"a\x00b": "\x01"})])
        for comparison, value, found in (("!=", "\x00", 1), ("!=", "\x01", 0), ("=", "\x01", 1), ("=", "\x00", 0)):
            query = DatapointQuery(filters=Tagged("a\x00b", comparison, value))  # type: ignore[arg-type]
            assert len(await store.datapoints(query)) == found


async def test_refuses_a_key_that_no_index_can_hold_and_writes_nothing(postgres_database: str) -> None:
    async with postgres(postgres_database) as store:
        with pytest.raises(RecordRefused, match="index"):
            await store.write([inference(1), snapshot(hash=os.urandom(10_000).hex())])
        assert await store.inferences(InferenceQuery()) == []


# -- retention --------------------------------------------------------------------------------------------


async def test_expires_more_rows_than_one_round_takes(postgres_database: str) -> None:
    async with postgres(postgres_database) as store:
        await store.write([inference(n) for n in range(12_000)])
        before = datetime(2027, 1, 1, tzinfo=UTC)
        assert await store.expire("data", before) == 12_000
        assert await store.expire("data", before) == 0
        assert await store.count_inferences(InferenceQuery()) == 12_000
        assert await store.expire("inferences", before) == 12_000
        assert await store.count_inferences(InferenceQuery()) == 0


async def test_writes_what_is_new_beside_what_is_there_already(postgres_database: str) -> None:
    async with postgres(postgres_database) as store:
        await store.write([inference(1, tags={"k": "v"}), model_inference(11, uid(1)), example(21, (0.5, 1.0))])
        again = [inference(n, variant_name="later", tags={"k": "w"}) for n in (1, 2, 2)]
        await store.write([*again, model_inference(11, uid(1)), model_inference(12, uid(2)), example(22, (1.0, 0.5))])
        found = await store.inferences(InferenceQuery())
        assert [(one.id, one.variant_name) for one in found] == [(uid(2), "later"), (uid(1), "v")]
        assert [one.id for one in await store.inferences(InferenceQuery(tags={"k": "w"}))] == [uid(2)]
        assert [len(await store.model_inferences(uid(n))) for n in (1, 2)] == [1, 1]
        assert [one.embedding for one, _ in await store.examples("f", "v", (1.0, 0.5), 2)] == [(1.0, 0.5), (0.5, 1.0)]


@pytest.mark.parametrize(("found", "kept"), [("off", "on"), ("on", "on"), ("local", "local")])
async def test_waits_for_the_disk_though_the_database_does_not(
    postgres_server: Server, postgres_database: str, found: str, kept: str
) -> None:
    name = urlsplit(postgres_database).path[1:]
    await to_thread.run_sync(postgres_server.run, f"ALTER DATABASE {name} SET synchronous_commit = {found}")
    pool = await ServerOf(Settings(url=postgres_database)).open_pool()
    for _ in range(2):  # a session that was used before as well
        async with pool.writing() as connection:
            assert await connection.fetchval("SELECT current_setting('synchronous_commit')") == kept
    await pool.close()
