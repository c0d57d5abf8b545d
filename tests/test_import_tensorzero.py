"""What becomes of old rows, one by one: every form that TensorZero has stored, and what has no form here."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from headrace import Services, Store, plugins
from headrace.assembly.parts import NoTransport
from headrace.credentials import Credentials
from headrace.importing import SourceError, Tally, import_tensorzero
from headrace.importing.tables import Row, Table
from headrace.media import File, StoragePath
from headrace.placing import Placing
from headrace.records import (
    BatchInference,
    CommentFeedback,
    Datapoint,
    FloatFeedback,
    HumanFeedback,
    InferenceRecord,
    ModelInferenceRecord,
    Record,
)
from headrace.splits import Shares
from headrace.types import (
    RawText,
    Template,
    Text,
    Thought,
    ToolCall,
    ToolConfig,
    ToolResult,
    Unknown,
)
from msgspec import structs

pytestmark = pytest.mark.anyio

R = TypeVar("R", bound=Record)


def at(number: int) -> str:
    return str(UUID(int=(1_735_689_600_000 + number << 80) | 0x7 << 76 | 0x2 << 62 | number))


class Old:
    """An old database: rows by table, and where it breaks off."""

    def __init__(self, rows: Mapping[str, list[dict[str, Any]]], breaks_after: int | None = None) -> None:
        self._rows = rows
        self._left = breaks_after

    async def has(self, table: Table) -> bool:
        return table.name in self._rows

    async def rows(self, table: Table) -> AsyncGenerator[Row, None]:
        for row in self._rows[table.name]:
            if self._left == 0:
                raise SourceError("old: broke off")
            self._left = None if self._left is None else self._left - 1
            yield row


def text(content: str = "hi") -> str:
    return json.dumps({"messages": [{"role": "user", "content": [{"type": "text", "text": content}]}]})


def chat(number: int, **fields: Any) -> dict[str, Any]:
    given = {
        "id": at(number),
        "function_name": "f",
        "variant_name": "v",
        "episode_id": at(900 + number),
        "input": text(),
        "output": '[{"type":"text","text":"yes"}]',
        "inference_params": '{"chat_completion":{}}',
        "tags": {},
    }
    return given | fields


def model_inference(number: int, **fields: Any) -> dict[str, Any]:
    given = {"id": at(100 + number), "inference_id": at(number), "model_name": "m", "model_provider_name": "p"}
    return given | fields


def point(number: int, **fields: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "id": at(number),
        "dataset_name": "d",
        "function_name": "f",
        "input": text(f"question {number} of a kind that nobody has asked before {number}"),
        "output": None,
        "tags": {},
        "updated_at": "2026-01-01 00:00:00.000000",
    }
    return given | fields


REGISTRY = cache(plugins.load)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    factory = REGISTRY().get("store", "sqlite", where="test")
    settings = factory.config.model_validate({"path": str(tmp_path / "new.db")})
    built: Store = factory.build(settings, Services(NoTransport(), Credentials({}).load))
    return built


async def brought(store: Store, rows: Mapping[str, list[dict[str, Any]]], **options: Any) -> dict[str, Tally]:
    found = await import_tensorzero(Old(rows), store, Placing(Shares(), "key"), **options)
    return {tally.table: tally for tally in found if not tally.is_absent}


async def one(store: Store, kind: type[R]) -> R:
    (row,) = await store.scan(kind)
    return row


def blocks(*each: dict[str, Any], role: str = "user") -> str:
    return json.dumps({"messages": [{"role": role, "content": list(each)}]})


PATH = {"kind": {"type": "filesystem", "path": "files"}, "path": "observability/files/a.png"}
KEPT = StoragePath({"type": "filesystem", "path": "files"}, "observability/files/a.png")
FORMS: dict[str, tuple[Any, Any]] = {
    "text": ({"type": "text", "text": "a"}, Text("a")),
    "text in value": ({"type": "text", "value": "a"}, Text("a")),
    "arguments in value": ({"type": "text", "value": {"x": 1}}, Template("user", {"x": 1})),
    "arguments": ({"type": "text", "arguments": {"x": 1}}, Template("user", {"x": 1})),
    "number in value": ({"type": "text", "value": 7}, Text("7")),
    "template": ({"type": "template", "name": "t", "arguments": {"x": 1}}, Template("t", {"x": 1})),
    "raw text": ({"type": "raw_text", "value": "a"}, RawText("a")),
    "tool call": ({"type": "tool_call", "id": "1", "name": "t", "arguments": "{}"}, ToolCall("1", "t", "{}")),
    "arguments as an object": (
        {"type": "tool_call", "id": "1", "name": "t", "arguments": {"x": 1}},
        ToolCall("1", "t", '{"x":1}'),
    ),
    "tool call of an answer": (
        {"type": "tool_call", "id": "1", "name": None, "arguments": None, "raw_name": "t", "raw_arguments": "{"},
        ToolCall("1", "t", "{"),
    ),
    "tool result": ({"type": "tool_result", "id": "1", "name": "t", "result": "r"}, ToolResult("1", "t", "r")),
    "thought": (
        {"type": "thought", "text": "t", "signature": None, "_internal_provider_type": "anthropic"},
        Thought("t", provider_type="anthropic"),
    ),
    "unknown": (
        {"type": "unknown", "data": 1, "model_provider_name": "tensorzero::model_name::m::provider_name::p"},
        Unknown(1, "m", "p"),
    ),
    "image": (
        {"type": "image", "image": {"url": "http://x/a", "mime_type": "png"}, "storage_path": PATH},
        File("image/png", source_url="http://x/a", storage_path=KEPT),
    ),
    "file": (
        {"type": "file", "file": {"url": None, "mime_type": "image/png"}, "storage_path": PATH},
        File("image/png", storage_path=KEPT),
    ),
    "flat file": (
        {"type": "file", "mime_type": "image/png", "storage_path": PATH, "detail": "low", "filename": "a.png"},
        File("image/png", storage_path=KEPT, detail="low", filename="a.png"),
    ),
}


@pytest.mark.parametrize(("old", "new"), FORMS.values(), ids=FORMS)
async def test_reads_every_form_of_a_block(store: Store, old: Any, new: Any) -> None:
    async with store:
        report = await brought(store, {"ChatInference": [chat(1, input=blocks(old))]})
        assert report["ChatInference"].skipped == {}
        found = await one(store, InferenceRecord)
        assert found.input is not None and found.input.messages[0].content == (new,)


@pytest.mark.parametrize(
    ("content", "expected"), [("a", Text("a")), ({"x": 1}, Template("user", {"x": 1}))], ids=["text", "arguments"]
)
async def test_reads_content_that_is_no_list(store: Store, content: Any, expected: Any) -> None:
    async with store:
        await brought(
            store, {"ChatInference": [chat(1, input=json.dumps({"messages": [{"role": "user", "content": content}]}))]}
        )
        found = await one(store, InferenceRecord)
        assert found.input is not None and found.input.messages[0].content == (expected,)


UNREADABLE = {
    "no JSON": {"input": "{"},
    "no object": {"input": "[]"},
    "role": {"input": json.dumps({"messages": [{"role": "system", "content": "x"}]})},
    "block": {"input": blocks({"type": "video"})},
    "no id": {"input": blocks({"type": "tool_call", "name": "t", "arguments": "{}"})},
    "nested beyond reason": {"input": "[" * 5000},
    "episode": {"episode_id": "x"},
    "answer": {"output": '[{"type":"tool_result","id":"1","name":"t","result":"r"}]'},
    "tags": {"tags": {"a": 1}},
    "hash": {"snapshot_hash": "no number"},
    "surrogate": {"input": blocks({"type": "text", "text": "\ud800"})},
}


@pytest.mark.parametrize("fields", UNREADABLE.values(), ids=UNREADABLE)
async def test_skips_what_has_no_form_and_loses_nothing_else(store: Store, fields: dict[str, Any]) -> None:
    async with store:
        report = await brought(store, {"ChatInference": [chat(1), chat(2, **fields), chat(3)]})
        tally = report["ChatInference"]
        assert (tally.read, tally.written, tally.skipped_count) == (3, 2, 1)
        assert [reason.first_ids for reason in tally.skipped.values()] == [[at(2)]]
        assert [str(row.id) for row in await store.scan(InferenceRecord)] == [at(1), at(3)]


async def test_a_row_of_an_old_release_lacks_columns(store: Store) -> None:
    async with store:
        rows = {"ChatInference": [chat(1)], "ModelInference": [model_inference(1), model_inference(7)]}
        report = await brought(store, rows)
        assert report["ModelInference"].skipped == {}
        found = await one(store, InferenceRecord)
        assert (found.snapshot_hash, found.tools, found.variant_probability) == ("", None, None)
        attempts = {str(row.inference_id): row for row in await store.scan(ModelInferenceRecord)}
        assert (attempts[at(1)].function_name, attempts[at(1)].variant_name) == ("f", "v")
        assert (attempts[at(7)].function_name, attempts[at(7)].cost) == ("", None)


async def test_what_has_expired_stays_listed(store: Store) -> None:
    expired = {"input": None, "output": None, "inference_params": None}
    async with store:
        batch = {"inference_id": at(2), "batch_id": at(3), "input": None}
        report = await brought(store, {"ChatInference": [chat(1, **expired)], "BatchModelInference": [batch]})
        assert list(report["BatchModelInference"].skipped) == ["its input has expired"]
        found = await one(store, InferenceRecord)
        assert (found.input, found.output) == (None, None)
        assert await store.scan(BatchInference) == []


async def test_numbers_stay_exact(store: Store) -> None:
    hash_ = 2**256 - 1
    rows = {
        "ChatInference": [chat(1, snapshot_hash=hash_.to_bytes(32, "big"))],
        "ModelInference": [model_inference(1, cost="123456789.000000001", snapshot_hash=str(hash_))],
        "FloatMetricFeedback": [
            {"id": at(1), "target_id": at(1), "metric_name": "headrace::x", "value": value} for value in (None, 0.1)
        ],
    }
    async with store:
        report = await brought(store, rows)
        assert list(report["FloatMetricFeedback"].skipped) == ["value: not a finite number"]
        assert (await one(store, InferenceRecord)).snapshot_hash == str(hash_)
        attempt = await one(store, ModelInferenceRecord)
        assert (attempt.cost, attempt.snapshot_hash) == (Decimal("123456789.000000001"), str(hash_))
        feedback = await one(store, FloatFeedback)
        assert (feedback.value, feedback.metric_name) == (0.1, "tensorzero::x")


async def test_tools_come_from_the_row_or_the_configuration_of_its_time(store: Store) -> None:
    config = '[tools.w]\nname = "weather"\ndescription = "then"\nparameters = { __data = \'{"type":"object"}\' }\n'
    snapshot = {"hash": "7", "config": config, "tensorzero_version": "1", "created_at": "2026-01-01 00:00:00"}
    merged = {"tools_available": [{"name": "a", "description": None, "parameters": {}}], "tool_choice": "none"}
    named = {"snapshot_hash": "7", "allowed_tools": '{"tools":["w","gone"],"choice":"explicit"}'}
    rows = {
        "ConfigSnapshot": [snapshot],
        "ChatInference": [
            chat(1, tool_params=json.dumps(merged)),
            chat(2, **named, tool_choice='{"specific":"weather"}', parallel_tool_calls=False),
            chat(3, inference_params='{"chat_completion":{"temperature":1,"later":2,"seed":null}}'),
        ],
    }
    async with store:
        report = await brought(store, rows)
        assert [reason.first_ids for reason in report["ChatInference"].noted.values()] == [[at(2)], [at(3)]]
        first, second, third = await store.scan(InferenceRecord)
        assert isinstance(first.tools, ToolConfig) and isinstance(second.tools, ToolConfig)
        assert (first.tools.tools[0].name, first.tools.choice, first.tools.allowed) == ("a", "none", None)
        assert [(tool.name, tool.description) for tool in second.tools.tools] == [("weather", "then")]
        assert (second.tools.allowed, second.tools.parallel) == (("weather", "gone"), False)
        assert (third.tools, third.inference_params.temperature) == (None, 1)


async def test_a_human_s_judgement_is_found_under_our_form_of_the_output(store: Store) -> None:
    output = '[ {"text": "yes", "type": "text"} ]'
    row = {"feedback_id": at(1), "metric_name": "m", "datapoint_id": at(2), "output": output, "value": "0.5"}
    async with store:
        await brought(store, {"StaticEvaluationHumanFeedback": [row]})
        found = await one(store, HumanFeedback)
        assert await store.human_feedback("m", UUID(at(2)), '[{"text":"yes","type":"text"}]') == found
        assert found.value == 0.5


# -- again and again ----------------------------------------------------------------------------------------


async def test_goes_on_where_it_broke_off(store: Store) -> None:
    rows = {"ChatInference": [chat(number) for number in range(1, 8)]}
    async with store:
        with pytest.raises(SourceError):
            await import_tensorzero(Old(rows, breaks_after=5), store, Placing(Shares(), "key"), batch=2)
        assert len(await store.scan(InferenceRecord)) == 4
        tally = (await brought(store, rows))["ChatInference"]
        assert (tally.read, tally.written, tally.already_there) == (7, 3, 4)
        assert (await brought(store, rows))["ChatInference"].written == 0


async def test_a_dry_run_writes_nothing(store: Store) -> None:
    async with store:
        rows = {"ChatInference": [chat(1)], "ChatInferenceDatapoint": [point(1)]}
        report = await brought(store, rows, dry_run=True)
        assert [tally.written for tally in report.values()] == [1, 1]
        assert [*await store.scan(InferenceRecord), *await store.scan(Datapoint)] == []


async def test_near_copies_share_a_split_whatever_the_batch(store: Store) -> None:
    words = " ".join(f"word{number}" for number in range(60))
    rows = [point(number, input=text(f"{words} {number}")) for number in range(1, 13)]
    async with store:
        await brought(store, {"ChatInferenceDatapoint": rows}, batch=3)
        found = await store.scan(Datapoint)
        assert len(found) == 12
        assert len({(row.split, row.group) for row in found}) == 1


async def test_datapoints_follow_the_old_database_until_they_are_changed_here(store: Store) -> None:
    async with store:
        await brought(store, {"ChatInferenceDatapoint": [point(1), point(2)]})
        before = {str(row.id): row for row in await store.scan(Datapoint)}
        later = {"updated_at": "2026-01-02 00:00:00.000000", "staled_at": "2026-01-02 00:00:00.000000", "name": "n"}
        changed = {"ChatInferenceDatapoint": [point(1, **later), point(2, name="ignored: no newer")]}
        tally = (await brought(store, changed))["ChatInferenceDatapoint"]
        assert (tally.written, tally.already_there) == (1, 1)
        assert (await brought(store, changed))["ChatInferenceDatapoint"].written == 0
        after = {str(row.id): row for row in await store.scan(Datapoint)}
        assert (after[at(1)].name, after[at(1)].staled_at) == ("n", after[at(1)].updated_at)
        assert (
            structs.replace(after[at(1)], name=None, staled_at=None, updated_at=before[at(1)].updated_at)
            == before[at(1)]
        )
        assert after[at(2)] == before[at(2)]


@pytest.mark.parametrize("batch", [1, 10])
async def test_an_id_in_two_datasets_is_told_and_not_overwritten(store: Store, batch: int) -> None:
    rows = {"ChatInferenceDatapoint": [point(1), point(1, dataset_name="other")]}
    async with store:
        for written in (1, 0):
            tally = (await brought(store, rows, batch=batch))["ChatInferenceDatapoint"]
            assert (tally.read, tally.written, tally.already_there) == (2, written, 1 - written)
            assert list(tally.skipped) == ["its id is that of a datapoint in another dataset"]
        assert (await one(store, Datapoint)).dataset_name == "d"


async def test_what_the_store_refuses_does_not_keep_its_neighbours_out(store: Store) -> None:
    rows = [
        {"id": at(number), "target_id": at(9), "target_type": "inference", "value": value}
        for number, value in enumerate(["a", "\ud800", "c"], start=1)
    ]
    async with store:
        tally = (await brought(store, {"CommentFeedback": rows}))["CommentFeedback"]
        assert (tally.written, tally.skipped_count) == (2, 1)
        assert [row.value for row in await store.scan(CommentFeedback)] == ["a", "c"]
