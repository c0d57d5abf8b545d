"""What of a request the other gateway is told, held against what headrace itself accepts."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from headrace import Services
from headrace.conformance.provider import FILE_DATA, HELLO, asking
from headrace.conformance.script import Script, services
from headrace.errors import ConfigError, NotForThisProvider, ProviderError
from headrace.extras import Extra, ExtraBody, ExtraHeader
from headrace.http.bodies import InferenceBody, to_request
from headrace.http.openai_embeddings import read_embeddings
from headrace.media import File, StoragePath
from headrace.transport import Reply
from headrace.types import (
    CustomTool,
    EmbeddingRequest,
    Message,
    ModelRequest,
    Params,
    ProviderTool,
    Specific,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolConfig,
    ToolResult,
    ToolScope,
    Unknown,
)
from headrace_relay import Relay, Settings

pytestmark = pytest.mark.anyio

HI = b'{"content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 1, "output_tokens": null}}'
VECTORS = b'{"data": [{"index": 0, "embedding": [1.0, 0.0]}, {"index": 1, "embedding": [0.0, 1.0]}]}'


def relay(services_: Services, **settings: Any) -> Relay:
    return Relay(Settings(**{"model_name": "m", "gateway_url": "http://there.example/base/", **settings}), services_)


async def sent(request: ModelRequest) -> Any:
    """What the other gateway gets."""
    script = Script(Reply(200, {}, HI))
    await relay(services(script)).complete(request)
    [call] = script.calls
    assert call.url == "http://there.example/base/inference"
    to_request(msgspec.json.decode(call.body, type=InferenceBody))
    return json.loads(call.body)


def message(*blocks: Any) -> ModelRequest:
    return ModelRequest(messages=(Message("assistant", blocks),))


async def test_a_plain_request_says_no_more_than_needed() -> None:
    assert await sent(HELLO) == {
        "model_name": "m",
        "input": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi 👋 there"}]}]},
        "stream": False,
        "include_raw_usage": True,
        "include_raw_response": True,
    }


async def test_params_and_the_resolved_json_mode_go_along() -> None:
    params = Params(temperature=0.5, stop_sequences=("END",), json_mode="tool")
    schema = {"type": "object"}
    plain = await sent(asking("x", params=params, system="Be brief"))
    strict = await sent(asking("x", params=params, json_mode="strict", output_schema=schema, function_type="json"))
    assert plain["params"] == {"chat_completion": {"temperature": 0.5, "stop_sequences": ["END"]}}
    assert plain["input"]["system"] == "Be brief"
    assert strict["params"]["chat_completion"]["json_mode"] == "strict"
    assert strict["output_schema"] == schema


async def test_only_the_tools_that_may_be_called_go_along() -> None:
    tools = tuple(Tool(name, "what it does", {"type": "object"}) for name in ("a", "b"))
    custom = (CustomTool("c", format={"type": "grammar", "grammar": {"syntax": "regex", "definition": "x+"}}),)
    scoped = (ProviderTool({"type": "search"}, ToolScope("m", "openai")), ProviderTool({"type": "code"}))
    config = ToolConfig(tools, Specific("b"), False, ("b",), custom, scoped)
    body = await sent(asking("x", tools=config))
    assert [tool["name"] for tool in body["additional_tools"]] == ["b", "c"]
    assert "allowed_tools" not in body
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ({"specific": "b"}, False)
    assert body["provider_tools"] == [
        {"tool": {"type": "search"}, "scope": {"model_name": "m", "provider_name": "openai"}},
        {"tool": {"type": "code"}},
    ]


async def test_extra_parts_are_sent_on_as_entries_without_conditions() -> None:
    extra = Extra(
        (
            ExtraBody(pointer="/a", value=None, variant_name="v"),
            ExtraBody(pointer="/b", delete=True, model_name="m", provider_name="p"),
        ),
        (ExtraHeader(name="X-A", value="1", model_name="m"), ExtraHeader(name="X-B", delete=True)),
    )
    body = await sent(asking("x", extra=extra))
    assert body["extra_body"] == [{"pointer": "/a", "value": None}, {"pointer": "/b", "delete": True}]
    assert body["extra_headers"] == [{"name": "X-A", "value": "1"}, {"name": "X-B", "delete": True}]


async def test_every_block_arrives_as_it_is() -> None:
    blocks = (
        Text("hello"),
        ToolCall("c1", "f", '{"half'),
        ToolResult("c1", "f", "42"),
        Thought("hm", "sig", [{"type": "summary_text", "text": "s"}], "anthropic", {"k": 1}),
        Unknown({"x": [1]}, "m", "openai"),
    )
    script = Script(Reply(200, {}, HI))
    await relay(services(script)).complete(message(*blocks))
    read = to_request(msgspec.json.decode(script.calls[0].body, type=InferenceBody))
    assert read.input.messages[0].content == blocks


async def test_a_file_goes_by_its_bytes_or_by_its_url() -> None:
    there = File(source_url="https://example.com/cat.png", detail="low")
    kept = File("image/png", FILE_DATA, storage_path=StoragePath({"type": "disabled"}, "x"), filename="x.png")
    body = await sent(message(there, kept))
    assert body["input"]["messages"][0]["content"] == [
        {"type": "file", "file_type": "url", "url": "https://example.com/cat.png", "detail": "low"},
        {
            "type": "file",
            "file_type": "base64",
            "data": FILE_DATA,
            "mime_type": "image/png",
            "filename": "x.png",
        },
    ]
    provider = relay(services(Script()))
    assert provider.takes_url(there)
    assert not provider.takes_url(kept)


async def test_credentials_go_along_and_stay_out_of_the_record() -> None:
    script = Script(Reply(200, {}, HI), Reply(200, {}, VECTORS), Reply(500, {}, b"{}"))
    provider = relay(services(script))
    brought = {"openai_key": "sk-brought"}
    answered = await provider.complete(asking("x", credentials=brought))
    embedded = await provider.embed(EmbeddingRequest(input=["a", "b"], credentials=brought, dimensions=2))
    with pytest.raises(ProviderError) as caught:
        await provider.complete(asking("x", credentials=brought))
    assert json.loads(script.calls[0].body)["credentials"] == brought
    body, read = read_embeddings(script.calls[1].body)
    assert (body.model_name, read.dimensions, read.credentials) == ("m", 2, brought)
    for shown in (answered.raw_request, embedded.raw_request, caught.value.raw_request):
        assert shown
        assert "sk-brought" not in shown


@pytest.mark.parametrize(
    ("location", "brought", "header"),
    [
        ("none", {}, None),
        ("env::KEY", {}, "Bearer sk-env"),
        ("dynamic::k", {"k": "sk-k"}, "Bearer sk-k"),
        ({"default": "dynamic::k", "fallback": "env::KEY"}, {}, "Bearer sk-env"),
    ],
    ids=["none", "env", "dynamic", "pair"],
)
async def test_the_key_is_a_bearer_token(location: Any, brought: dict[str, str], header: str | None) -> None:
    script = Script(Reply(200, {}, HI))
    provider = relay(services(script, KEY="sk-env"), api_key_location=location)
    await provider.complete(asking("x", credentials=brought))
    assert script.calls[0].headers.get("authorization") == header


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("env::NOWHERE", "API key missing for provider relay: Environment variable `NOWHERE` is missing"),
        ("path::/x", "Invalid api_key_location for relay: `path::/x`"),
        ({"default": "none", "fallback": "sdk"}, "Invalid api_key_location for relay: `sdk`"),
    ],
    ids=["missing", "path", "pair"],
)
def test_a_key_that_cannot_be_had_is_an_error_at_start_up(location: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        relay(services(Script()), api_key_location=location)
    assert problem in str(caught.value)


async def test_embeddings_refuse_what_they_could_not_pass_on() -> None:
    provider = relay(services(Script()))
    with pytest.raises(NotForThisProvider, match="extra_body"):
        await provider.embed(EmbeddingRequest(input="x", extra=Extra((ExtraBody(pointer="/a", value=1),))))
