"""A gateway whose models another gateway runs (config spec 19)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from headrace.assembly import Assembly
from headrace.config import loads
from headrace.conformance.script import Script
from headrace.contracts import InferenceQuery
from headrace.errors import AllVariantsFailed, BadRequest, ConfigError, NotFound, ProviderError, Unreachable
from headrace.extras import Extra, ExtraBody, ExtraHeader
from headrace.plugins import Registry
from headrace.transport import Reply
from headrace.types import (
    CacheOptions,
    EmbeddingRequest,
    Input,
    InputMessage,
    ProviderTool,
    Text,
    TextDelta,
    Thought,
    ToolScope,
    Unknown,
    Usage,
)
from recipes import all_of, ask, function

pytestmark = pytest.mark.anyio

RELAY = '[gateway.relay]\ngateway_url = "http://there.example"\n'
# Nothing of this table is needed here: neither the plugin nor the key.
ELSEWHERE = """
[models.m]
routing = ["far", "farther"]
[models.m.providers.far]
type = "not_installed_here"
[models.m.providers.farther]
type = "openai"
model_name = "gpt"
api_key_location = "env::NOWHERE"
cost = [{ pointer = "/usage/input_tokens", cost_per_unit = 1 }]
extra_body = [{ pointer = "/configured", value = 1 }]
[embedding_models.e]
routing = ["far"]
[embedding_models.e.providers.far]
type = "not_installed_here"
"""
HERE = '[models.here]\nskip_relay = true\nrouting = ["p"]\n[models.here.providers.p]\ntype = "scripted"\n'
USAGE = {"input_tokens": 3, "output_tokens": 2, "cost": 1.5}


def reply(*content: Any, status: int = 200, **fields: Any) -> Reply:
    blocks = content or ({"type": "text", "text": "from there"},)
    body = {"content": blocks, "usage": USAGE, "finish_reason": "stop", "raw_usage": [{"data": 1}], **fields}
    return Reply(status, {}, json.dumps(body).encode())


def refusal(status: int, text: str = "not today") -> Reply:
    return Reply(status, {}, json.dumps({"error": text}).encode())


class Edge:
    """An open gateway, and the way from it to the other one."""

    def __init__(self, toml: str, registry: Registry, script: Script) -> None:
        observed = '[gateway.observability]\nbackend = "memory"\n'
        self.assembly = Assembly(loads(observed + toml), registry, transport=script, environ={"KEY": "sk-relay"})
        self.gateway = self.assembly.gateway()
        self.script = script

    @property
    def sent(self) -> list[Any]:
        return [json.loads(call.body) for call in self.script.calls]


@pytest.fixture
def relaying(registry: Registry) -> Any:
    @asynccontextmanager
    async def open_(*answers: Any, toml: str = ELSEWHERE + function()) -> AsyncGenerator[Edge, None]:
        edge = Edge(RELAY + toml, registry, Script(*answers))
        async with edge.gateway:
            yield edge

    return open_


async def test_a_models_call_goes_to_the_other_gateway(relaying: Any) -> None:
    async with relaying(reply()) as edge:
        answer = await edge.gateway.infer(ask(include_raw_usage=True, dryrun=True))
    assert answer.output == (Text("from there"),)
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.cost) == (3, 2, None)
    assert [(each.provider_type, each.data) for each in answer.raw_usage] == [("tensorzero::relay", [{"data": 1}])]
    assert edge.script.calls[0].url == "http://there.example/inference"
    assert edge.sent[0]["model_name"] == "m"
    assert "dryrun" not in edge.sent[0]


async def test_the_record_names_the_relay(relaying: Any) -> None:
    async with relaying(reply()) as edge:
        answer = await edge.gateway.infer(ask())
        await anyio.wait_all_tasks_blocked()
        [attempt] = await edge.assembly.store.model_inferences(answer.inference_id)
    assert (attempt.model_name, attempt.model_provider_name) == ("m", "tensorzero::relay")
    assert attempt.cost is None


async def test_a_stream_comes_from_there(relaying: Any) -> None:
    events = [
        {"content": [{"type": "text", "id": "0", "text": "from "}]},
        {"content": [{"type": "text", "id": "0", "text": "there"}]},
        {"content": [], "usage": USAGE, "finish_reason": "length"},
    ]
    body = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events) + b"data: [DONE]\n\n"
    async with relaying(Reply(200, {"content-type": "text/event-stream"}, body)) as edge:
        chunks = await all_of(await edge.gateway.stream(ask()))
    assert [delta.text for chunk in chunks for delta in chunk.content if isinstance(delta, TextDelta)] == [
        "from ",
        "there",
    ]
    assert chunks[-1].usage == Usage(input_tokens=3, output_tokens=2)
    assert chunks[-1].finish_reason == "length"
    assert edge.sent[0]["stream"] is True


async def test_a_model_may_stay_here(relaying: Any) -> None:
    async with relaying(toml=HERE + function("v=here")) as edge:
        assert (await edge.gateway.infer(ask())).output == (Text("hi"),)
    assert edge.script.calls == []


@pytest.mark.parametrize("name", ["anthropic::claude", "scripted::hello", "openai::responses::gpt"])
async def test_a_short_name_is_for_the_other_gateway_to_know(relaying: Any, name: str) -> None:
    async with relaying(reply()) as edge:
        await edge.gateway.infer(ask(model_name=name))
    assert edge.sent[0]["model_name"] == name


@pytest.mark.parametrize("name", ["nobody", "x::", "tensorzero::x", "headrace::x"])
async def test_any_other_name_is_unknown(relaying: Any, name: str) -> None:
    async with relaying() as edge:
        with pytest.raises(BadRequest, match="not found in model table"):
            await edge.gateway.infer(ask(model_name=name))


async def test_callers_who_invent_names_do_not_fill_the_memory(relaying: Any) -> None:
    async with relaying() as edge:
        for index in range(1005):
            edge.assembly.models.model(f"x::{index}")
            edge.assembly.models.embedding_model(f"x::{index}")
        assert len(edge.assembly.models._short) == len(edge.assembly.models._short_embeddings) == 1000


async def test_the_local_cache_is_not_asked(relaying: Any) -> None:
    async with relaying(reply(), reply()) as edge:
        for _ in range(2):
            await edge.gateway.infer(ask(cache=CacheOptions("on")))
    assert len(edge.sent) == 2
    assert "cache_options" not in edge.sent[0]


async def test_extra_parts_go_along_whatever_provider_they_name(relaying: Any) -> None:
    extra = Extra(
        (
            ExtraBody(pointer="/any", value=1),
            ExtraBody(pointer="/there", value=2, model_name="m", provider_name="nobody knows here"),
            ExtraBody(pointer="/other", value=3, model_name="another"),
            ExtraBody(pointer="/variant", value=4, variant_name="v"),
        ),
        (ExtraHeader(name="x-a", value="b", model_name="m", provider_name="p"),),
    )
    toml = ELSEWHERE + function("v=m", "w=m", more='extra_body = [{ pointer = "/own", value = 0 }]\n')
    async with relaying(reply(), toml=toml) as edge:
        await edge.gateway.infer(ask(variant_name="v", extra=extra))
    assert edge.sent[0]["extra_body"] == [
        {"pointer": "/own", "value": 0},
        {"pointer": "/any", "value": 1},
        {"pointer": "/there", "value": 2},
        {"pointer": "/variant", "value": 4},
    ]
    assert edge.sent[0]["extra_headers"] == [{"name": "x-a", "value": "b"}]


async def test_a_filter_by_variant_is_still_checked(relaying: Any) -> None:
    async with relaying() as edge:
        with pytest.raises(NotFound, match="Unknown variant"):
            await edge.gateway.infer(ask(extra=Extra((ExtraBody(pointer="/a", value=1, variant_name="nobody"),))))


async def test_what_belongs_to_a_provider_there_goes_along_and_comes_back(relaying: Any) -> None:
    blocks = (Thought("hm", provider_type="anthropic"), Unknown({"x": 1}, "m", "openai"))
    shown = (
        {"type": "thought", "text": "hm", "provider_type": "anthropic"},
        {"type": "unknown", "data": {"x": 1}, "model_name": "m", "provider_name": "openai"},
    )
    tools = (ProviderTool({"type": "search"}, ToolScope("m", "openai")),)
    async with relaying(reply(*shown)) as edge:
        history = Input((InputMessage("assistant", blocks),))
        answer = await edge.gateway.infer(ask(input=history, provider_tools=tools))
    assert edge.sent[0]["input"]["messages"][0]["content"] == list(shown)
    assert edge.sent[0]["provider_tools"][0]["scope"] == {"model_name": "m", "provider_name": "openai"}
    assert answer.output == blocks


async def test_embeddings_are_relayed_too(relaying: Any) -> None:
    vector = {"data": [{"index": 0, "embedding": [1.0, 2.0]}], "usage": {"prompt_tokens": 1}}
    answers = [Reply(200, {}, json.dumps(vector).encode()) for _ in range(2)]
    async with relaying(*answers) as edge:
        for name in ("e", "openai::text-embedding-3-small"):
            model = edge.assembly.models.embedding_model(name)
            response = await model.embed(EmbeddingRequest(input="x", cache=CacheOptions("on")), [])
            assert response.embeddings == ((1.0, 2.0),)
        with pytest.raises(ConfigError, match="not found"):
            edge.assembly.models.embedding_model("nobody")
    assert edge.script.calls[0].url == "http://there.example/openai/v1/embeddings"
    assert [body["model"] for body in edge.sent] == [
        "tensorzero::embedding_model_name::e",
        "tensorzero::embedding_model_name::openai::text-embedding-3-small",
    ]


async def test_without_a_relay_embedding_models_have_short_names_here(registry: Registry) -> None:
    edge = Edge("", registry, Script())
    async with edge.gateway:
        response = await edge.assembly.models.embedding_model("dummy::x").embed(EmbeddingRequest(input="x"), [])
    assert len(response.embeddings) == 1


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (refusal(400), 400, "Error 400 Bad Request from tensorzero::relay client: not today"),
        (refusal(429), 429, "Error 429 Too Many Requests from tensorzero::relay client: not today"),
        (refusal(500), 500, "Error from tensorzero::relay server: not today"),
        (refusal(302), 502, "from tensorzero::relay client: not today"),
        (Unreachable("refused"), 502, "Error from tensorzero::relay server: refused"),
    ],
    ids=["400", "429", "500", "302", "none"],
)
async def test_a_pinned_variant_fails_as_the_other_gateway_did(
    relaying: Any, answer: Any, status: int, text: str
) -> None:
    async with relaying(answer, answer) as edge:
        for call in (edge.gateway.infer, edge.gateway.stream):
            with pytest.raises(ProviderError) as caught:
                await call(ask(variant_name="v"))
            assert (caught.value.http_status, str(caught.value)[-len(text) :]) == (status, text)


async def test_a_drawn_variant_fails_like_any_other(relaying: Any) -> None:
    async with relaying(refusal(404)) as edge:
        with pytest.raises(AllVariantsFailed, match="v: Error 404 Not Found from tensorzero::relay client") as caught:
            await edge.gateway.infer(ask())
    assert caught.value.http_status == 502


async def test_an_embeddings_call_fails_as_the_other_gateway_did(relaying: Any) -> None:
    async with relaying(refusal(404, "Model not found: e")) as edge:
        with pytest.raises(ProviderError, match="Model not found: e") as caught:
            await edge.assembly.models.embedding_model("e").embed(EmbeddingRequest(input="x"), [])
    assert caught.value.http_status == 404


async def test_a_key_that_the_request_should_bring_is_the_callers_fault(registry: Registry) -> None:
    key = 'api_key_location = "dynamic::k"\n'
    edge = Edge(RELAY + key + ELSEWHERE + function(), registry, Script(reply()))
    async with edge.gateway:
        with pytest.raises(ProviderError, match="Dynamic api key `k` is missing") as caught:
            await edge.gateway.infer(ask(variant_name="v"))
        await edge.gateway.infer(ask(variant_name="v", credentials={"k": "sk-k"}))
        records = await edge.assembly.store.inferences(InferenceQuery())  # type: ignore[union-attr]
    assert caught.value.http_status == 400
    assert edge.script.calls[0].headers["authorization"] == "Bearer sk-k"
    assert edge.sent[0]["credentials"] == {"k": "sk-k"}
    assert "sk-k" not in repr(records)


def test_what_is_wrong_with_the_relay_is_said_once(registry: Registry) -> None:
    toml = RELAY + 'api_key_location = "env::NOWHERE"\n' + ELSEWHERE + function("a=m", "b=m")
    with pytest.raises(ConfigError) as caught:
        Edge(toml, registry, Script())
    [problem] = caught.value.problems
    assert problem == ("gateway.relay: API key missing for provider relay: Environment variable `NOWHERE` is missing")


def test_the_plugin_is_asked_for_by_name() -> None:
    with pytest.raises(ConfigError) as caught:
        Assembly(loads("[gateway]\nobservability.enabled = false\n" + RELAY + ELSEWHERE), Registry()).gateway()
    assert [line for line in caught.value.problems if "relay" in line] == [
        "gateway.relay.gateway_url: relaying needs a plugin: `pip install headrace-relay`"
    ]
