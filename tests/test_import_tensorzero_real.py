"""A real TensorZero gateway makes its tables and records into them; all of that comes over, and comes over once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
from click.testing import CliRunner
from engines.clickhouse import Server as ClickHouseServer
from engines.clickhouse import clickhouse_server
from engines.postgres import Server as PostgresServer
from engines.postgres import postgres_server
from headrace import Services, Store, plugins
from headrace.assembly.parts import NoTransport
from headrace.cli.importing import importing
from headrace.credentials import Credentials
from headrace.importing import ClickHouse, Postgres, Tally, import_tensorzero
from headrace.placing import Placing
from headrace.queries import InferenceQuery
from headrace.records import (
    KINDS,
    ApiKey,
    BatchInference,
    BatchRequest,
    Datapoint,
    EvaluationRun,
    Example,
    InferenceRecord,
    Record,
)
from headrace.splits import Shares
from headrace.types import CheckedToolCall, JsonOutput, Params, Text, ToolCall, ToolConfig
from old_tensorzero import ANSWER, AT, BY_HAND, HAND, HELPER, WEATHER, by_hand, lived, migrated

__all__ = ["clickhouse_server", "postgres_server"]

TODAY = f"""
[tools.weather]
description = "The weather"
parameters = {{ __tensorzero_remapped_path = "weather.json", __data = '{json.dumps(WEATHER)}' }}
"""
_NOW = "a tool is as in today's configuration, as that of its time is not in the database"
ROWS = {
    "config_snapshot": 1,
    "inference": 5,
    "model_inference": 5,
    "boolean": 2,
    "float": 1,
    "comment": 1,
    "demonstration": 2,
    "human_feedback": 1,
    "datapoint": 3,
    "workflow_run": 1,
    "workflow_episode": 1,
}


REGISTRY = cache(plugins.load)


def sqlite(path: Path) -> Store:
    factory = REGISTRY().get("store", "sqlite", where="test")
    store: Store = factory.build(
        factory.config.model_validate({"path": str(path)}), Services(NoTransport(), Credentials({}).load)
    )
    return store


def placing() -> Placing:
    return Placing(Shares(), "key")


def counts(tallies: Sequence[Tally], name: str) -> dict[str, int]:
    """A column of the report, summed by kind of record, where it is not 0."""
    sums: dict[str, int] = {}
    for tally in tallies:
        sums[tally.kind] = sums.get(tally.kind, 0) + getattr(tally, name)
    return {kind: number for kind, number in sums.items() if number}


async def everything(store: Store) -> dict[str, list[Record]]:
    return {str(kind.__struct_config__.tag): await store.scan(kind) for kind in KINDS}


async def comes_over(
    store: Store, opening: Callable[[], Any], ids: dict[str, UUID], more: dict[str, int], noted: set[str]
) -> None:
    """Imports twice, dry first, and looks at what the store has then."""
    reports = []
    for dry_run in (True, False, False):
        async with opening() as source:
            reports.append(await import_tensorzero(source, store, placing(), config=TODAY, batch=2, dry_run=dry_run))
    expected = {kind: number for kind, number in sorted({**ROWS, **more}.items()) if number}
    for tallies in reports:
        assert [tally for tally in tallies if tally.skipped] == []
        assert {reason for tally in tallies for reason in tally.noted} == noted
    assert dict(sorted(counts(reports[0], "written").items())) == expected
    assert dict(sorted(counts(reports[1], "written").items())) == expected
    assert counts(reports[2], "written") == {}
    assert dict(sorted(counts(reports[2], "already_there").items())) == expected
    found = await everything(store)
    assert {kind: len(rows) for kind, rows in sorted(found.items()) if rows} == expected
    await looks_right(store, found, ids)
    looks_right_by_hand(found)


async def looks_right(store: Store, found: dict[str, list[Record]], ids: dict[str, UUID]) -> None:
    (chat,) = await store.inferences(InferenceQuery(ids=(ids["chat"],)))
    assert chat.input is not None and isinstance(chat.output, tuple)
    assert chat.input.system == "be brief"
    assert chat.input.messages[0].content[0] == Text("Ça va?\u2028\n")
    assert chat.input.messages[1].content == (ToolCall("1", "weather", '{"city":"X"}'),)
    assert CheckedToolCall("c", "weather", '{"city":"Rome"}', "weather", {"city": "Rome"}) in chat.output
    assert (chat.variant_probability, chat.tags, chat.inference_params) == (None, {"k": "v"}, Params(temperature=0.5))
    # An embedded gateway writes no snapshot to Postgres.
    assert {getattr(row, "hash", None) for row in found["config_snapshot"]} <= {chat.snapshot_hash}
    assert chat.snapshot_hash.isdecimal() and len(chat.snapshot_hash) > 70
    assert isinstance(chat.tools, ToolConfig)
    assert [(tool.name, tool.strict) for tool in chat.tools.tools] == [("weather", False), ("own", True)]
    assert chat.tools.tools[0].parameters == WEATHER
    assert (chat.tools.allowed, chat.extra_body[0].pointer) == (None, "/x")
    (answer,) = await store.inferences(InferenceQuery(ids=(ids["json"],)))
    assert (answer.function_type, answer.output, answer.output_schema) == (
        "json",
        JsonOutput('{"a":"b"}', {"a": "b"}),
        ANSWER,
    )
    (attempt,) = await store.model_inferences(ids["json"])
    assert (attempt.function_name, attempt.input_tokens, attempt.cost) == ("extract", 7, Decimal("0.00000105"))
    explicit = [row.tools for row in found["inference"] if isinstance(row, InferenceRecord) and row.tools is not None]
    assert [each.allowed for each in explicit if each.choice == "required"] == [("weather",)]
    assert [getattr(row, "value", None) for row in found["float"]] == [pytest.approx(0.1, rel=1e-6)]
    judged = await store.human_feedback("liked", chat.episode_id, text_of(chat))
    assert judged is not None and judged.value is False
    assert {getattr(row, "id", None) for row in found["workflow_episode"]} == {ids["episode"]}
    points = {row.id: row for row in found["datapoint"] if isinstance(row, Datapoint)}
    assert all(row.content_key and row.group and row.near_keys for row in points.values())
    assert [points[ids[f"datapoint{number}"]].staled_at is None for number in range(3)] == [True, False, True]
    assert points[ids["datapoint0"]].name == "n"


def text_of(record: InferenceRecord) -> str:
    from headrace.feedback import canonical_output

    return canonical_output(record.output)


def looks_right_by_hand(found: dict[str, list[Record]]) -> None:
    (request,), (inference,) = found["batch_request"], found["batch_inference"]
    (example,), (run,) = found["example"], found["evaluation_run"]
    assert isinstance(request, BatchRequest) and isinstance(inference, BatchInference)
    assert isinstance(example, Example) and isinstance(run, EvaluationRun)
    assert (request.status, request.batch_params, request.errors) == ("completed", {"id": "b"}, ("e",))
    assert (inference.function_type, inference.inference_params.max_tokens) == ("json", 3)
    assert inference.input.messages[0].content == (Text("old"),)
    assert inference.model_inference_id.version == 7
    assert (example.embedding, example.output) == ((1.0, 0.5), "[]")
    assert (run.id, run.snapshot_hash, run.variant_names) == (UUID(f"{AT}6"), "255", ["v"])
    assert run.metrics == ["tensorzero::evaluation_name::e::evaluator_name::x"]
    assert run.created_at == datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)


# -- ClickHouse ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def old_clickhouse(
    clickhouse_server: ClickHouseServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, UUID]]]:
    name = f"old_{uuid4().hex}"
    url = clickhouse_server.database(name)
    ids = lived(tmp_path_factory.mktemp("old"), "clickhouse", clickhouse_url=url)
    for table, row in HAND.items():
        clickhouse_server.query(f"INSERT INTO {name}.{table} FORMAT JSONEachRow {json.dumps(row)}")
    yield url, ids
    clickhouse_server.query(f"DROP DATABASE IF EXISTS {name} SYNC")


@pytest.mark.anyio
@pytest.mark.clickhouse
async def test_a_real_clickhouse_comes_over_once(old_clickhouse: tuple[str, dict[str, UUID]], tmp_path: Path) -> None:
    url, ids = old_clickhouse
    async with sqlite(tmp_path / "new.db") as store:
        await comes_over(store, lambda: ClickHouse.open(url), ids, BY_HAND, set())


@pytest.mark.clickhouse
def test_the_command_reports_each_table(old_clickhouse: tuple[str, dict[str, UUID]], tmp_path: Path) -> None:
    url, _ = old_clickhouse
    config = tmp_path / "headrace.toml"
    config.write_text(f'[gateway.observability]\nbackend = "sqlite"\n[sqlite]\npath = "{tmp_path}/new.db"\n')

    def run(*arguments: str) -> str:
        arguments = ("tensorzero", "--config", str(config), "--clickhouse-url", "env::OLD_URL", *arguments)
        done = CliRunner().invoke(importing, arguments, env={"OLD_URL": url})
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    assert "would write" in run("--dry-run")
    first = [line.split() for line in run().splitlines()]
    assert ["ChatInference", "4", "4", "0", "0"] in first
    again = {each["table"]: each for each in json.loads(run("--json"))}
    assert (again["ChatInference"]["read"], again["ChatInference"]["already_there"]) == (4, 4)
    assert sum(each["written"] for each in again.values()) == 0
    assert again["tensorzero_auth_api_key"]["is_absent"]


# -- Postgres -----------------------------------------------------------------------------------------------


@pytest.fixture
def old_postgres(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[tuple[str, dict[str, UUID]]]:
    if not HELPER.exists():
        pytest.skip(f"{HELPER} is absent: it takes the migrations of Postgres out of the wheel")
    with postgres_server.database() as url:
        asyncio.run(migrated(url))
        ids = lived(tmp_path, "postgres", postgres_url=url)
        asyncio.run(by_hand(url))
        yield url, ids


@pytest.mark.postgres
@pytest.mark.shared
def test_a_real_postgres_comes_over_once(old_postgres: tuple[str, dict[str, UUID]], tmp_path: Path) -> None:
    """On asyncio alone: asyncpg knows no other."""
    url, ids = old_postgres
    more = {**BY_HAND, "api_key": 1, "config_snapshot": 0}

    async def run() -> None:
        async with sqlite(tmp_path / "new.db") as store:
            await comes_over(store, lambda: Postgres.open(url, page=2), ids, more, {_NOW})

            (key,) = await store.scan(ApiKey)
            assert (key.public_id, key.hash, key.id.version) == ("abcdefghijkl", "ff", 7)

    anyio.run(run)
