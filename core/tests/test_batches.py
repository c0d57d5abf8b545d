"""A batch from its start to its answers: over HTTP, on both stores, with a provider that plays an upstream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import anyio.lowlevel
import httpx
import pytest
from headrace import Factory, Provider, Services, Store
from headrace.contracts import BatchPolled, BatchStarted, InferenceQuery
from headrace.errors import ProviderError
from headrace.http.app import create_app
from headrace.ids import new_id
from headrace.plugins import Plugin, Registry
from headrace.records import BatchInference, BatchRequest, InferenceRecord, ModelInferenceRecord, Record
from headrace.types import Chunk, ModelRequest, ModelResponse, Text, ToolCall, Usage
from headrace_memory import Memory
from headrace_memory import Settings as MemorySettings
from headrace_sqlite import Settings as SqliteSettings
from headrace_sqlite import Sqlite
from pydantic import BaseModel

pytestmark = pytest.mark.anyio

TOML = """
[models.m]
routing = ["p"]
[models.m.providers.p]
type = "batching"
cost = [{ pointer = "/in", cost_per_unit = 1.0 }]
batch_cost = [{ pointer = "/in", cost_per_unit = 0.5 }]

[models.dear]
routing = ["p"]
[models.dear.providers.p]
type = "batching"
cost = [{ pointer = "/in", cost_per_unit = 1.0 }]

[tools.find]
description = "finds"
parameters = { __tensorzero_remapped_path = "find", __data = '{"type": "object"}' }

[functions.ask]
type = "chat"
tools = ["find"]
[functions.ask.variants.v]
type = "chat_completion"
model = "m"
temperature = 0.5
timeouts = { non_streaming = { total_ms = 1 } }

[functions.plain]
type = "chat"
[functions.plain.variants.dear]
type = "chat_completion"
model = "dear"

[functions.sort]
type = "json"
output_schema = { __tensorzero_remapped_path = "sorted", __data = '{"required": ["n"]}' }
[functions.sort.variants.v]
type = "chat_completion"
model = "m"
json_mode = "tool"
"""


class Upstream(BaseModel, extra="forbid", frozen=True):
    """Nothing to set."""


class Batching:
    """A provider of batches. Its test sets ``status`` and ``answers``, and looks at ``taken`` and ``polls``."""

    def __init__(self, settings: Upstream, services: Services) -> None:
        self.taken: list[tuple[UUID, ModelRequest]] = []
        self.polls = 0
        self.status: Any = "pending"
        self.missing: set[UUID] = set()
        self.output: tuple[Any, ...] = (Text("hi"),)
        self.fails: Exception | None = None

    async def complete(self, request: ModelRequest) -> ModelResponse:
        raise ProviderError("only batches")

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk, None]:
        raise ProviderError("only batches")
        yield Chunk()

    async def start_batch(self, requests: Sequence[tuple[UUID, ModelRequest]]) -> BatchStarted:
        await anyio.lowlevel.checkpoint()
        self.taken = list(requests)
        return BatchStarted(
            params={"id": "b1"},
            raw_requests={id_: f"ask {id_}" for id_, _ in requests},
            raw_request="start",
            raw_response="started",
        )

    async def poll_batch(self, params: Mapping[str, Any]) -> BatchPolled:
        assert params == {"id": "b1"}
        self.polls += 1
        await anyio.sleep(0.01)  # so that pollers meet
        if self.fails is not None:
            raise self.fails
        answer = ModelResponse(
            output=self.output, usage=Usage(3, 1), finish_reason="stop", raw_response='{"in": 3}', raw_request=""
        )
        responses = {id_: answer for id_, _ in self.taken if id_ not in self.missing}
        done = self.status == "completed"
        return BatchPolled(status=self.status, responses=responses if done else {}, raw_response=self.status)


@pytest.fixture(scope="module")
def registry(registry: Registry) -> Registry:
    """The installed plugins, and ``batching``."""
    offer: Factory[Provider] = Factory("batching", Upstream, Batching)
    registry.add(Plugin(name="batching", distribution="tests", version="0", state="loaded"), [("provider", offer)])
    return registry


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store, not yet open."""
    return Memory(MemorySettings()) if request.param == "memory" else Sqlite(SqliteSettings(path=tmp_path / "db"))


@pytest.fixture
def client(opened: Any, store: Store) -> Callable[..., Any]:
    """``async with client() as (http, host)``; ``host.upstream(model)`` is its provider ``p``."""

    @asynccontextmanager
    async def open_(toml: str = TOML, **stand_ins: Any) -> AsyncGenerator[Any, None]:
        async with opened(toml, **{"store": store} | stand_ins) as host:
            transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
                yield http, host

    return open_


def upstream(host: Any, model: str = "m") -> Batching:
    provider = host.assembly.models.routed(model).routes[-1].provider
    assert isinstance(provider, Batching)
    return provider


def said(*texts: str) -> list[dict[str, Any]]:
    return [{"messages": [{"role": "user", "content": text}]} for text in texts]


async def start(http: httpx.AsyncClient, function: str = "ask", n: int = 2, **more: Any) -> dict[str, Any]:
    inputs = said(*(f"q{index}" for index in range(n)))
    reply = await http.post("/batch_inference", json={"function_name": function, "inputs": inputs} | more)
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    return body


async def poll(http: httpx.AsyncClient, batch: Mapping[str, Any], inference_id: str | None = None) -> dict[str, Any]:
    more = f"/inference/{inference_id}" if inference_id else ""
    reply = await http.get(f"/batch_inference/{batch['batch_id']}{more}")
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    return body


async def everything(host: Any) -> list[Record]:
    """Inferences and attempts in the store."""
    inferences = await host.store.inferences(InferenceQuery(limit=None))
    attempts = [await host.store.model_inferences(inference.id) for inference in inferences]
    return [*inferences, *(each for found in attempts for each in found)]


# -- the whole way ----------------------------------------------------------------------------------------


async def test_a_batch_is_started_polled_and_answered(client: Any) -> None:
    episode = str(new_id())
    async with client() as (http, host):
        batch = await start(
            http,
            episode_ids=[episode, None],
            params={"chat_completion": {"temperature": [None, 0.25], "seed": [7, None], "service_tier": ["x", 1]}},
            tags=[{"headrace::any": "thing"}],
        )
        asked = dict(upstream(host).taken)
        pending = await poll(http, batch)
        upstream(host).status = "completed"
        first = await poll(http, batch)
        again = await poll(http, batch)
        one = await poll(http, batch, batch["inference_ids"][1])
        records = await everything(host)
        polls = upstream(host).polls
    assert list(batch) == ["batch_id", "inference_ids", "episode_ids"]
    assert batch["episode_ids"][0] == episode
    assert [str(id_) for id_ in asked] == batch["inference_ids"]
    assert [(each.params.temperature, each.params.seed) for each in asked.values()] == [(0.5, 7), (0.25, None)]
    assert pending == {"status": "pending"}
    assert first["inferences"][0] == {
        "inference_id": batch["inference_ids"][0],
        "episode_id": episode,
        "variant_name": "v",
        "content": [{"type": "text", "text": "hi"}],
        "usage": {"input_tokens": 3, "output_tokens": 1, "cost": 1.5},
        "finish_reason": "stop",
    }
    assert again == first | {"status": "completed", "batch_id": batch["batch_id"]}
    assert one["inferences"] == first["inferences"][1:]
    assert polls == 2  # once it is completed, the store knows
    inferences = sorted((each for each in records if isinstance(each, InferenceRecord)), key=lambda each: each.id)
    attempts = [each for each in records if isinstance(each, ModelInferenceRecord)]
    assert [len(inferences), len(attempts)] == [2, 2]
    assert [each.tags for each in inferences] == [{"tensorzero::any": "thing"}, {}]
    assert {each.processing_time_ms for each in inferences} == {None}
    assert [each.inference_params.temperature for each in inferences] == [0.5, 0.25]
    assert all(each.raw_request == f"ask {each.inference_id}" for each in attempts)
    assert {each.snapshot_hash for each in inferences} == {host.gateway.snapshot.hash}


async def test_pollers_at_one_time_finish_a_batch_once(client: Any, store: Store) -> None:
    states: list[dict[str, Any]] = []

    async def ask(http: httpx.AsyncClient, batch: Mapping[str, Any]) -> None:
        states.append(await poll(http, batch))

    async with client() as (http, host):
        batch = await start(http, n=3)
        upstream(host).status = "completed"
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(ask, http, batch)
        assert upstream(host).polls == 1
        assert len(await everything(host)) == 6
    assert all(state == states[0] for state in states)


async def test_finishing_a_batch_again_in_another_process_changes_nothing(client: Any, store: Store) -> None:
    async with client() as (http, host):
        batch = await start(http)
        seen = await store.batch_request(UUID(batch["batch_id"]))
        assert seen is not None
        upstream(host).status = "completed"
        first = await poll(http, batch)
        rows = await store.batch_inferences(seen.batch_id)
        upstream(host).output = (Text("other"),)
        await host.gateway.batches._ask(seen, rows)  # as a process would that read the row before
        assert await poll(http, batch) == first
        assert len(await everything(host)) == 4


async def test_a_batch_outlives_the_gateway_that_started_it(client: Any, tmp_path: Path) -> None:
    file = tmp_path / "kept"
    other = TOML.replace("cost_per_unit = 0.5", "cost_per_unit = 7.0")
    async with client(store=Sqlite(SqliteSettings(path=file))) as (http, host):
        batch, taken = await start(http), upstream(host).taken
        began = host.gateway.snapshot.hash
    async with client(store=Sqlite(SqliteSettings(path=file)), toml=other) as (http, host):
        upstream(host).taken, upstream(host).status = taken, "completed"
        done = await poll(http, batch)
        [record, *_] = await host.store.inferences(InferenceQuery())
        assert began == record.snapshot_hash != host.gateway.snapshot.hash
    # The price is that of the configuration which started it.
    assert [each["usage"]["cost"] for each in done["inferences"]] == [1.5, 1.5]


async def test_an_answer_that_is_missing_is_absent(client: Any) -> None:
    async with client() as (http, host):
        batch = await start(http, n=3)
        lost = batch["inference_ids"][1]
        upstream(host).status, upstream(host).missing = "completed", {UUID(lost)}
        assert (await poll(http, batch, lost))["inferences"] == []
        done = await poll(http, batch)
        assert await host.store.inferences(InferenceQuery(ids=(UUID(lost),))) == []
    assert [each["inference_id"] for each in done["inferences"]] == [
        batch["inference_ids"][0],
        batch["inference_ids"][2],
    ]


async def test_a_batch_that_failed_stays_so(client: Any) -> None:
    async with client() as (http, host):
        batch = await start(http)
        upstream(host).status = "failed"
        assert [await poll(http, batch), await poll(http, batch)] == [{"status": "failed"}] * 2
        assert upstream(host).polls == 1
        assert await everything(host) == []


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ProviderError("away"), "Error from batching server: away"),
        (KeyError("oops"), "Error from batching server: KeyError: 'oops'"),
    ],
    ids=["away", "bug"],
)
async def test_a_poll_that_fails_is_told_and_decides_nothing(client: Any, error: Exception, text: str) -> None:
    async with client() as (http, host):
        batch = await start(http)
        upstream(host).fails = error
        reply = await http.get(f"/batch_inference/{batch['batch_id']}")
        upstream(host).fails = None
        upstream(host).status = "completed"
        assert (reply.status_code, reply.json()) == (500, {"error": text})
        assert len((await poll(http, batch))["inferences"]) == 2


async def test_what_was_looked_at_is_written_down(client: Any, store: Store) -> None:
    async with client() as (http, _):
        batch = await start(http)
        await poll(http, batch)
        row = await store.batch_request(UUID(batch["batch_id"]))
        [inference, _] = await store.batch_inferences(UUID(batch["batch_id"]))
    assert isinstance(row, BatchRequest)
    assert isinstance(inference, BatchInference)
    assert (row.status, row.raw_response, row.batch_params) == ("pending", "pending", {"id": "b1"})
    assert (inference.system, inference.input_messages[0].content) == (None, (Text("q0"),))
    assert inference.variant_probability == 1.0


# -- answers ----------------------------------------------------------------------------------------------


async def test_tool_calls_are_checked_against_the_tools_of_their_inference(client: Any) -> None:
    extra = {"name": "extra", "description": "d", "parameters": {"type": "object"}}
    async with client() as (http, host):
        batch = await start(http, additional_tools=[[extra], None], tool_choice=["required", None])
        upstream(host).output = (ToolCall("1", "extra", "{}"),)
        upstream(host).status = "completed"
        done = await poll(http, batch)
        choices = [request.tools.choice for _, request in upstream(host).taken if request.tools]
    assert [each["content"][0]["name"] for each in done["inferences"]] == ["extra", None]
    assert choices == ["required", "auto"]


@pytest.mark.parametrize(
    ("schemas", "parsed"),
    [(None, {"n": 1}), ([{"required": ["m"]}], None), ([{"type": 3}], None), ([None], {"n": 1})],
    ids=["of the function", "not satisfied", "no schema", "null"],
)
async def test_json_answers_are_held_against_their_schema(client: Any, schemas: Any, parsed: Any) -> None:
    async with client() as (http, host):
        batch = await start(http, "sort", 1, **({} if schemas is None else {"output_schemas": schemas}))
        upstream(host).output = (ToolCall("1", "respond", '{"n": 1}'),)
        upstream(host).status = "completed"
        [done] = (await poll(http, batch))["inferences"]
    assert done["output"] == {"raw": '{"n": 1}', "parsed": parsed}


async def test_costs_are_the_ordinary_ones_where_there_are_none_of_batches(client: Any) -> None:
    async with client() as (http, host):
        batch = await start(http, "plain", 1, variant_name="dear")
        upstream(host, "dear").status = "completed"
        [done] = (await poll(http, batch))["inferences"]
        [record] = await host.store.inferences(InferenceQuery())
    assert done["usage"]["cost"] == 3.0
    assert record.tags == {"tensorzero::variant_pinned": "dear"}
