"""What a batch may ask, who takes it, and how everything else is refused; the dummy provider takes any."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from headrace.batches import Batches
from headrace.contracts import InferenceQuery, SystemClock
from headrace.costs import NO_RATES
from headrace.errors import BadRequest, RecordRefused
from headrace.exchange import InferenceRequest
from headrace.http.app import create_app
from headrace.ids import new_id
from headrace.records import BatchRequest, Record
from headrace.telemetry import Telemetry
from headrace.types import Input
from headrace_memory import Memory, Settings

pytestmark = pytest.mark.anyio

TOML = """
[models.plain]
routing = ["p"]
[models.plain.providers.p]
type = "scripted"

[models.falls]
routing = ["plain", "takes"]
[models.falls.providers.plain]
type = "scripted"
[models.falls.providers.takes]
type = "dummy"
model_name = "good"
extra_body = [{ pointer = "/a", value = 1 }]

[functions.ask]
type = "chat"
[functions.ask.variants.v]
type = "chat_completion"
model = "dummy::good"

[functions.strict]
type = "chat"
user_schema = { __tensorzero_remapped_path = "user", __data = '{"required": ["n"]}' }
[functions.strict.variants.v]
type = "chat_completion"
model = "dummy::good"
user_template = { __tensorzero_remapped_path = "t", __data = "{{ n }}" }

[functions.many]
type = "chat"
[functions.many.variants.odd]
type = "buggy"
[functions.many.variants.none]
type = "chat_completion"
model = "plain"
[functions.many.variants.falls]
type = "chat_completion"
model = "falls"
[functions.many.experimentation]
type = "static"
candidate_variants = ["odd"]
fallback_variants = ["none", "falls"]

[functions.no]
type = "chat"
[functions.no.variants.odd]
type = "buggy"
[functions.no.variants.none]
type = "chat_completion"
model = "plain"
[functions.no.experimentation]
type = "static"
candidate_variants = ["odd"]
fallback_variants = ["none"]

[functions.even]
type = "chat"
[functions.even.variants.a]
type = "chat_completion"
model = "dummy::a"
[functions.even.variants.b]
type = "chat_completion"
model = "dummy::b"

[functions.empty]
type = "chat"
[functions.empty.variants]
"""
SAY = {"messages": [{"role": "user", "content": "hi"}]}
TWO = {"function_name": "ask", "inputs": [SAY, SAY]}
TOOL = {"name": "t", "description": "d", "parameters": {"type": "object"}}


@pytest.fixture
def client(opened: Any) -> Callable[..., Any]:
    """``async with client(toml) as (http, host)``."""

    @asynccontextmanager
    async def open_(more: str = "") -> AsyncGenerator[Any, None]:
        async with opened(TOML + more) as host:
            transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
                yield http, host

    return open_


def said(block: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [block]}]}


def sampling(**lists: Any) -> dict[str, Any]:
    return TWO | {"params": {"chat_completion": lists}}


REFUSED = {
    "no inputs": (TWO | {"inputs": []}, 400, "No inputs provided"),
    "inputs left out": ({"function_name": "ask"}, 400, "Object missing required field `inputs`"),
    "an input of null": (TWO | {"inputs": [SAY, None]}, 400, "inputs[1]: Expected `object`, got `null`"),
    "no function": ({"inputs": [SAY]}, 400, "Object missing required field `function_name`"),
    "a model": (TWO | {"model_name": "plain"}, 400, "unknown field `model_name`"),
    "dryrun": (TWO | {"dryrun": True}, 400, "unknown field `dryrun`"),
    "extra_body": (TWO | {"extra_body": []}, 400, "unknown field `extra_body`"),
    "json_mode": (sampling(json_mode=["off", "off"]), 400, "params.chat_completion: unknown field `json_mode`"),
    "temperatures": (
        {**sampling(temperature=[0.1, 0.2]), "inputs": [SAY] * 3},
        400,
        "temperature vector length (2) does not match number of inferences (3)",
    ),
    "stop sequences of null": (sampling(stop_sequences=[["x"], None]), 400, "params.chat_completion.stop_sequences[1]"),
    "a huge seed": (sampling(seed=[None, 2**32]), 400, "params.chat_completion[1].seed: expected a whole number"),
    "no number": (sampling(top_p=["x", None]), 400, "params.chat_completion.top_p[0]: Expected `float | null`"),
    "episodes": (TWO | {"episode_ids": [None]}, 400, "episode_ids vector length (1) does not match number of"),
    "an episode of version 4": (
        TWO | {"episode_ids": [None, str(UUID(int=0, version=4))]},
        400,
        "Inference at index 1: Failed to parse UUID as v7",
    ),
    "tools": (TWO | {"allowed_tools": [[], [], []]}, 400, "allowed_tools vector length (3) does not match"),
    "an unknown tool": (TWO | {"allowed_tools": [None, ["t"]]}, 400, "Inference at index 1: Tool not found: t"),
    "half a tool": (
        TWO | {"additional_tools": [[TOOL], [{"name": "t"}]]},
        400,
        "additional_tools[1][0]: missing field `description`",
    ),
    "choices": (TWO | {"tool_choice": ["auto"]}, 400, "tool_choice vector length (1)"),
    "parallel": (TWO | {"parallel_tool_calls": []}, 400, "parallel_tool_calls vector length (0)"),
    "provider tools": (TWO | {"provider_tools": [None]}, 400, "provider_tools vector length (1)"),
    "schemas": (TWO | {"output_schemas": [{}]}, 400, "output_schemas vector length (1)"),
    "a schema that is none": (TWO | {"output_schemas": [{}, 3]}, 400, "output_schemas[1]: Expected `object | null`"),
    "tags of numbers": (TWO | {"tags": [{"a": 1}]}, 400, "tags[0][...]: Expected `str`"),
    "an unknown function": (TWO | {"function_name": "nope"}, 404, "Unknown function: nope"),
    "an unknown variant": (TWO | {"variant_name": "nope"}, 404, "Unknown variant: nope"),
    "no variants": (TWO | {"function_name": "empty"}, 500, "Function empty has no variants"),
    "an input that does not fit": (
        {
            "function_name": "strict",
            "inputs": [
                {"messages": [{"role": "user", "content": [{"type": "text", "arguments": each}]}]}
                for each in ({"n": 1}, {"m": 1})
            ],
        },
        400,
        "Input at index 1 failed validation: JSON Schema validation failed:",
    ),
    "a template nobody has": (
        TWO | {"inputs": [SAY, {"system": {"a": 1}}]},
        400,
        "Input at index 1 failed validation: System message content is a template",
    ),
    "a block that makes no sense": (
        TWO | {"inputs": [SAY, {"messages": [{"role": "user", "content": [{"type": "text"}]}]}]},
        400,
        "inputs[1].messages[0].content[0]",
    ),
    "a variant of another kind": (
        TWO | {"function_name": "many", "variant_name": "odd"},
        400,
        "Unsupported variant for batch inference: `odd`",
    ),
    "a provider of another kind": (
        TWO | {"function_name": "many", "variant_name": "none"},
        500,
        "All model providers failed to infer with errors: p: Unsupported model provider for batch inference: scripted",
    ),
    "nobody": (
        TWO | {"function_name": "no"},
        502,
        "All variants failed with errors: odd: Unsupported variant for batch inference",
    ),
}


@pytest.mark.parametrize(("body", "status", "text"), REFUSED.values(), ids=REFUSED.keys())
async def test_refuses_with_a_line_to_act_on(client: Any, body: Any, status: int, text: str) -> None:
    async with client() as (http, host):
        reply = await http.post("/batch_inference", json=body)
        assert reply.status_code == status, reply.text
        assert reply.json()["error"].startswith(text), reply.text
        assert await host.store.inferences(InferenceQuery()) == []


async def test_takes_every_field_and_null_for_each(client: Any) -> None:
    body: dict[str, Any] = TWO | {
        "episode_ids": [None, str(new_id())],
        "params": {
            "chat_completion": {
                "temperature": [None, 1],
                "stop_sequences": [[], ["x"]],
                "max_tokens": [None, 5],
                "reasoning_effort": ["low", None],
                "service_tier": None,
            }
        },
        "variant_name": None,
        "tags": [None, {"tensorzero::x": "y"}, {"one": "too many"}],
        "allowed_tools": [None, ["t"]],
        "additional_tools": [None, [TOOL]],
        "tool_choice": [None, {"specific": "t"}],
        "parallel_tool_calls": [None, True],
        "provider_tools": [None, [{"tool": {"type": "x"}}]],
        "output_schemas": [None, {}],
        "credentials": {"key": "secret"},
    }
    async with client() as (http, host):
        reply = await http.post("/batch_inference", json=body)
        assert reply.status_code == 200, reply.text
        bare, full = await host.store.batch_inferences(UUID(reply.json()["batch_id"]))
    assert (bare.tags, bare.tools, bare.output_schema) == ({}, None, None)
    assert full.tags == {"tensorzero::x": "y"}
    assert (full.tools.allowed, full.tools.parallel, full.inference_params.max_tokens) == (("t",), True, 5)
    assert full.output_schema == {}


async def test_one_variant_performs_all_as_the_first_episode_draws(client: Any) -> None:
    async with client() as (http, host):
        experiment = host.gateway.functions["even"].experiment
        by_variant: dict[str, UUID] = {}
        while len(by_variant) < 2:
            episode = new_id()
            by_variant.setdefault(experiment.draw("even", episode).next()[0], episode)
        for first, second in (("a", "b"), ("b", "a")):
            episodes = [str(by_variant[first]), str(by_variant[second])]
            body = TWO | {"function_name": "even", "episode_ids": episodes}
            batch = (await http.post("/batch_inference", json=body)).json()
            rows = await host.store.batch_inferences(UUID(batch["batch_id"]))
            assert [(row.variant_name, row.variant_probability) for row in rows] == [(first, 0.5)] * 2
            assert batch["episode_ids"] == episodes


async def test_falls_back_to_the_next_variant_and_provider_that_takes_it(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with client() as (http, host):
        reply = await http.post("/batch_inference", json=TWO | {"function_name": "many"})
        row = await host.store.batch_request(UUID(reply.json()["batch_id"]))
    assert (row.variant_name, row.model_name, row.model_provider_name) == ("falls", "falls", "takes")
    assert "a batch goes without extra_body" in caplog.text


async def test_the_dummy_provider_takes_batches_and_cannot_be_polled(client: Any) -> None:
    async with client() as (http, _):
        batch = (await http.post("/batch_inference", json=TWO)).json()
        reply = await http.get(f"/batch_inference/{batch['batch_id']}")
    assert reply.status_code == 500
    assert reply.json()["error"] == "Error from dummy server: Dummy provider does not support polling of batches"


async def test_a_file_that_is_none_is_told_by_its_index(client: Any) -> None:
    file = {"type": "file", "file_type": "base64", "data": "AAAA"}
    async with client('[object_storage]\ntype = "disabled"\n') as (http, host):
        bad = await http.post("/batch_inference", json=TWO | {"inputs": [SAY, said(file)]})
        inputs = [SAY, said(file | {"mime_type": "image/png"})]
        good = await http.post("/batch_inference", json=TWO | {"inputs": inputs})
        _, row = await host.store.batch_inferences(UUID(good.json()["batch_id"]))
    assert bad.status_code == 400
    assert bad.json()["error"].startswith("Input at index 1 failed validation: Cannot tell the MIME type of a file")
    [kept], [asked] = row.input.messages[0].content, row.input_messages[0].content
    assert kept == asked
    assert (kept.data, kept.storage_path.path[:20]) == (None, "observability/files/")


@pytest.mark.parametrize("path", ["{}", "{}/inference/{}"], ids=["batch", "inference"])
async def test_an_unknown_batch_is_not_found(client: Any, path: str) -> None:
    id_ = uuid4()
    async with client() as (http, _):
        reply = await http.get("/batch_inference/" + path.format(id_, id_))
    assert (reply.status_code, reply.json()) == (404, {"error": f"Batch request not found for id: {id_}"})


async def test_an_inference_of_another_batch_is_not_found(client: Any) -> None:
    async with client() as (http, _):
        one, other = [(await http.post("/batch_inference", json=TWO)).json() for _ in range(2)]
        lost = other["inference_ids"][0]
        reply = await http.get(f"/batch_inference/{one['batch_id']}/inference/{lost}")
    assert (reply.status_code, reply.json()) == (404, {"error": f"Batch request not found for id: {lost}"})


@pytest.mark.parametrize("path", ["x", f"{UUID(int=7)}/inference/x", f"x/inference/{UUID(int=7)}"])
async def test_an_id_that_is_none_is_plain_text(client: Any, path: str) -> None:
    async with client() as (http, _):
        reply = await http.get(f"/batch_inference/{path}")
    assert (reply.status_code, reply.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert reply.text.startswith("Invalid URL: Cannot parse `")


async def test_needs_a_store(opened: Any) -> None:
    async with opened("enabled = false\n" + TOML) as host:  # follows the table of the fixture
        transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            replies = [await http.post("/batch_inference", json=TWO), await http.get(f"/batch_inference/{UUID(int=7)}")]
    for reply in replies:
        assert reply.status_code == 400
        assert reply.json()["error"] == "Batch inference needs a store: `gateway.observability.enabled` is false"


class Forgetful(Memory):
    """A store that can write anything but the row that says a batch exists."""

    async def write(self, records: Sequence[Record]) -> None:
        if any(isinstance(record, BatchRequest) for record in records):
            raise RecordRefused("no room")
        await super().write(records)


async def test_a_batch_that_could_not_be_kept_is_no_success(opened: Any) -> None:
    async with opened(TOML, store=Forgetful(Settings())) as host:
        transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            reply = await http.post("/batch_inference", json=TWO)
    assert reply.status_code == 503
    assert "was started at model dummy::good, provider dummy, but the store did not take" in reply.json()["error"]


@pytest.mark.parametrize(
    "writes",
    [
        "async_writes = false",
        "async_writes = false\nbatch_writes = { enabled = true, flush_interval_ms = 20, max_rows = 1 }",
    ],
    ids=["at once", "row by row"],
)
async def test_a_batch_is_there_as_soon_as_it_is_answered(opened: Any, writes: str) -> None:
    async with opened(f"{writes}\n{TOML}") as host:  # follows the table of the fixture
        transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            batch = (await http.post("/batch_inference", json=TWO)).json()
            assert len(await host.store.batch_inferences(UUID(batch["batch_id"]))) == 2
            assert (await host.store.batch_request(UUID(batch["batch_id"]))).status == "pending"


async def test_a_gateway_that_relays_takes_no_batches(opened: Any) -> None:
    async with opened(TOML) as host:
        batches = Batches(
            functions=host.gateway.functions,
            tools={},
            model=host.assembly.models.routed,
            rates=lambda model, provider, started_under: NO_RATES,
            attachments=host.gateway.attachments,
            store=host.store,
            recorder=None,
            telemetry=Telemetry(),
            clock=SystemClock(),
            snapshot_hash="",
            relays=True,
        )
        with pytest.raises(BadRequest, match="not available in relay mode"):
            await batches.start([InferenceRequest(function_name="ask", input=Input())])
