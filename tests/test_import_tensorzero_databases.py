"""Old databases as they may be: of an early release, failing, out of reach."""

from __future__ import annotations

import json
import threading
from contextlib import aclosing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from engines.clickhouse import clickhouse_database, clickhouse_server
from headrace import Services, plugins
from headrace.assembly.parts import NoTransport
from headrace.credentials import Credentials
from headrace.importing import ClickHouse, Postgres, SourceError, import_tensorzero
from headrace.importing.tables import TABLES
from headrace.placing import Placing
from headrace.records import InferenceRecord
from headrace.splits import Shares
from headrace.types import Input, InputMessage, Text

__all__ = ["clickhouse_database", "clickhouse_server"]

pytestmark = pytest.mark.anyio


def at(number: int) -> str:
    return str(UUID(int=(1_735_689_600_000 + number << 80) | 0x7 << 76 | 0x2 << 62 | number))


def row_of(number: int) -> dict[str, Any]:
    return {
        "id": at(number),
        "function_name": "f",
        "variant_name": "v",
        "episode_id": at(900 + number),
        "input": '{"messages":[{"role":"user","content":[{"type":"text","value":"hi"}]}]}',
        "output": '[{"type":"text","text":"yes"}]',
        "inference_params": '{"chat_completion":{}}',
        "processing_time_ms": 5,
    }


@pytest.mark.clickhouse
async def test_reads_the_tables_of_a_release_of_2024(
    clickhouse_server: Any, clickhouse_database: str, tmp_path: Path
) -> None:
    """With none of the columns and tables that came later, names that need quotes, and texts that are no UTF-8."""
    name = clickhouse_database.rpartition("/")[2]
    clickhouse_server.query(f"CREATE DATABASE {name}")
    columns = "id UUID, function_name LowCardinality(String), variant_name LowCardinality(String), episode_id UUID"
    columns += ", input String, output String, inference_params String, processing_time_ms UInt32"
    clickhouse_server.query(
        f"CREATE TABLE {name}.ChatInference ({columns}) ENGINE MergeTree ORDER BY (function_name, episode_id)"
    )
    for number in range(1, 4):
        clickhouse_server.query(f"INSERT INTO {name}.ChatInference FORMAT JSONEachRow {json.dumps(row_of(number))}")
    clickhouse_server.query(
        f"INSERT INTO {name}.ChatInference SELECT toUUID('{at(4)}') AS id, unhex('ff61'), * EXCEPT (id, function_name) "
        f"FROM {name}.ChatInference WHERE {name}.ChatInference.id = toUUID('{at(1)}')"
    )
    factory = plugins.load().get("store", "sqlite", where="test")
    settings = factory.config.model_validate({"path": str(tmp_path / "new.db")})
    async with factory.build(settings, Services(NoTransport(), Credentials({}).load)) as store:
        async with ClickHouse.open(clickhouse_database) as source:
            found = await import_tensorzero(source, store, Placing(Shares(), "key"))
        assert [(tally.read, tally.written) for tally in found if not tally.is_absent] == [(4, 4)]
        rows = await store.scan(InferenceRecord)
        assert [row.function_name for row in rows] == ["f", "f", "f", "\ufffda"]
        assert rows[0].input == Input((InputMessage("user", (Text("hi"),)),))


# What a ClickHouse says after rows that have gone out already, and with what length it claims to say it.
ENDS = {
    "with an exception": (b'{"id":"sec\nCode: 395. DB::Exception: Value passed to throwIf\n', "throwIf"),
    "without a word": (b'{"id": "', "it says no more"),
    "with the connection": (None, "RemoteProtocolError"),
}


@pytest.mark.parametrize(("end", "told"), ENDS.values(), ids=ENDS)
async def test_an_answer_that_breaks_off_is_no_end_of_the_table(end: bytes | None, told: str) -> None:
    row = b'{"id":"secret"}\n'

    class Breaking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sql = self.rfile.read(int(self.headers["content-length"])).decode()
            text = row + (end or b"")
            if "system.columns" in sql:
                text = b'{"table":"CommentFeedback","name":"id","type":"UUID"}\n'
            elif "system.tables" in sql:
                text = b'{"name":"CommentFeedback","engine":"MergeTree"}\n'
            self.send_response(200)
            self.send_header("content-length", str(len(text) + ("system" not in sql and end is None)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    table = next(each for each in TABLES if each.name == "CommentFeedback")
    with ThreadingHTTPServer(("127.0.0.1", 0), Breaking) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            found = []
            async with ClickHouse.open(f"http://127.0.0.1:{server.server_port}/db") as source:
                async with aclosing(source.rows(table)) as rows:
                    with pytest.raises(SourceError, match=told) as caught:
                        async for each in rows:
                            found.append(each)
            assert found == [{"id": "secret"}]
            assert "secret" not in str(caught.value)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.clickhouse
async def test_a_failure_of_the_server_is_told_without_any_row(
    clickhouse_server: Any, clickhouse_database: str
) -> None:
    name = clickhouse_database.rpartition("/")[2]
    clickhouse_server.query(f"CREATE DATABASE {name}")
    clickhouse_server.query(
        f"CREATE VIEW {name}.CommentFeedback AS SELECT generateUUIDv7() AS id, repeat('x', 1000) AS value, "
        "throwIf(number = 200000) AS tags FROM numbers(300000)"
    )
    table = next(each for each in TABLES if each.name == "CommentFeedback")
    async with ClickHouse.open(clickhouse_database) as source, aclosing(source.rows(table)) as rows:
        with pytest.raises(SourceError, match="throwIf") as caught:
            async for _ in rows:
                pass
    assert "xxxx" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://user:s3cret@127.0.0.1:1/db", "user:s3cret@db", "http://user:s3cret@host:port/db", "ftp://user:s3cret@x"],
)
async def test_no_error_of_clickhouse_shows_the_password(url: str) -> None:
    with pytest.raises(SourceError) as caught:
        async with ClickHouse.open(url):
            pass
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # asyncpg knows no other
@pytest.mark.parametrize(
    "url", ["postgres://user:s3cret@127.0.0.1:1/db", "user:s3cret@db", "postgres://user:s3cret@host:port/db"]
)
async def test_no_error_of_postgres_shows_the_password(url: str) -> None:
    with pytest.raises(SourceError) as caught:
        async with Postgres.open(url, page=10):
            pass
    assert "s3cret" not in str(caught.value)
