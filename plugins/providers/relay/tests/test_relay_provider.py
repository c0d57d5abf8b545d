"""The relay's promises: those of every provider, and what of a request the other gateway is told."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any, ClassVar

import msgspec
import pytest
from headrace import Provider, Services
from headrace.conformance.provider import FILE_DATA, HELLO, ProviderConformance, asking
from headrace.conformance.script import Script, services
from headrace.errors import BadUpstreamReply, ConfigError, NotForThisProvider, ProviderError
from headrace.extras import Extra, ExtraBody, ExtraHeader
from headrace.http.bodies import InferenceBody, to_request
from headrace.http.openai_embeddings import read_embeddings
from headrace.media import File, StoragePath
from headrace.transport import Reply
from headrace.types import (
    Chunk,
    CustomTool,
    EmbeddingRequest,
    Message,
    ModelRequest,
    Params,
    ProviderTool,
    Specific,
    Text,
    Thought,
    ThoughtDelta,
    Tool,
    ToolCall,
    ToolConfig,
    ToolResult,
    ToolScope,
    Unknown,
    UnknownDelta,
    Usage,
)
from headrace_relay import Relay, Settings

pytestmark = pytest.mark.anyio

IDS = {"inference_id": "0197-1", "episode_id": "0197-2", "variant_name": "m"}
USAGE = {"input_tokens": 11, "output_tokens": 4, "cost": 0.25}
RAW = [{"model_inference_id": "0197-3", "provider_type": "openai", "api_type": "chat_completions", "data": USAGE}]
CALL = {"type": "tool_call", "id": "call_1", "raw_name": "get_weather", "name": "get_weather"}


def answer(*content: Any, finish: str = "stop") -> bytes:
    body = {**IDS, "content": content, "usage": USAGE, "finish_reason": finish, "raw_usage": RAW}
    return json.dumps(body, ensure_ascii=False).encode()


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps({**IDS, **fields}, ensure_ascii=False).encode() + b"\n\n"


def said(*content: Any) -> bytes:
    return event(content=content)


DONE = b"data: [DONE]\n\n"
HI = answer({"type": "text", "text": "Hi 👋 there"})
TOOL = answer({**CALL, "raw_arguments": '{"city": "Zürich"}', "arguments": {"city": "Zürich"}}, finish="tool_call")
OPENING = event(content=[], raw_usage=RAW)
STREAM = b"".join(
    [
        OPENING,
        said({"type": "text", "id": "0", "text": "Hi 👋"}),
        said({"type": "text", "id": "0", "text": " there"}),
        event(content=[], usage=USAGE, finish_reason="stop"),
        DONE,
    ]
)
TOOL_STREAM = b"".join(
    [
        said({"type": "tool_call", "id": "call_1", "raw_name": "get_weather", "raw_arguments": '{"ci'}),
        said({"type": "tool_call", "id": "call_1", "raw_name": None, "raw_arguments": 'ty": "Zürich"}'}),
        event(content=[], usage=USAGE, finish_reason="tool_call"),
        DONE,
    ]
)
VECTORS = json.dumps(
    {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 1, "embedding": [0.0, 1.0]},
            {"object": "embedding", "index": 0, "embedding": [1.0, 0.0]},
        ],
        "model": "tensorzero::embedding_model_name::m",
        "usage": {"prompt_tokens": 2, "total_tokens": 2, "tensorzero_cost": None},
    }
).encode()


def relay(services_: Services, **settings: Any) -> Relay:
    return Relay(Settings(**{"model_name": "m", "gateway_url": "http://there.example/base/", **settings}), services_)


class TestRelay(ProviderConformance):
    says_hi, calls_tool, streams_hi, streams_tool, embeds_two = HI, TOOL, STREAM, TOOL_STREAM, VECTORS
    takes_files: ClassVar = {
        "image/png": {"type": "file", "file_type": "base64", "mime_type": "image/png", "data": FILE_DATA}
    }
    lacks: ClassVar = {"extra": "entries go to the other gateway as entries, for the request that it will make"}

    def build(self, services: Services) -> Provider:
        return relay(services)

    def build_dynamic(self, services: Services) -> Provider:
        return relay(services, api_key_location="dynamic::test_key")


async def sent(request: ModelRequest) -> Any:
    """What the other gateway gets, held against what headrace itself accepts."""
    script = Script(Reply(200, {}, HI))
    await relay(services(script)).complete(request)
    [call] = script.calls
    assert call.url == "http://there.example/base/inference"
    to_request(msgspec.json.decode(call.body, type=InferenceBody))
    return json.loads(call.body)


def message(*blocks: Any) -> ModelRequest:
    return ModelRequest(messages=(Message("assistant", blocks),))


# -- what goes out ----------------------------------------------------------------------------------------


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


# -- what comes in ----------------------------------------------------------------------------------------


async def test_every_block_of_an_answer_is_taken_as_it_is() -> None:
    thought = {"type": "thought", "text": None, "signature": "sig", "provider_type": "anthropic", "extra_data": [1]}
    unknown = {"type": "unknown", "data": {"x": 1}, "model_name": "m", "provider_name": "openai"}
    script = Script(Reply(200, {}, answer(thought, unknown, {**CALL, "raw_arguments": "{half", "arguments": None})))
    response = await relay(services(script)).complete(HELLO)
    assert response.output == (
        Thought(None, "sig", None, "anthropic", [1]),
        Unknown({"x": 1}, "m", "openai"),
        ToolCall("call_1", "get_weather", "{half"),
    )
    assert response.usage == Usage(input_tokens=11, output_tokens=4)  # what it cost is not paid here
    assert response.raw_usage == RAW


async def test_an_unknown_finish_reason_is_unknown() -> None:
    script = Script(Reply(200, {}, answer(finish="tired")))
    assert (await relay(services(script)).complete(HELLO)).finish_reason == "unknown"


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (404, b'{"error": "Unknown model"}', "Error 404 Not Found from provider client: Unknown model"),
        (502, b'{"error": "All variants failed"}', "Error from provider server: All variants failed"),
        (400, b'{"error": {"message": "no"}}', "Error 400 Bad Request from provider client: no"),
        (400, b'{"error": {"code": 7}}', 'Error 400 Bad Request from provider client: {"code":7}'),
        (503, b"<html>", "Error from provider server: <html>"),
        (302, b"", "Error 302 Found from provider client: "),
    ],
)
async def test_a_refusal_is_told_in_the_other_gateways_words(status: int, body: bytes, shown: str) -> None:
    with pytest.raises(ProviderError) as caught:
        await relay(services(Script(Reply(status, {}, body)))).complete(HELLO)
    assert (str(caught.value), caught.value.status) == (shown, status)


@pytest.mark.parametrize(
    "body",
    [
        b'{"content": [{"type": "text"}]}',
        b'{"content": [{"type": "nonsense"}]}',
        b'{"content": [], "usage": {"input_tokens": -1}}',
        b'{"content": [], "usage": {"input_tokens": 99999999999999999999}}',
        b'{"output": {"raw": "x"}}',
        b'{"content": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
    ids=["no-text", "type", "negative", "huge", "json-function", "deep"],
)
async def test_an_answer_of_another_shape_is_refused(body: bytes) -> None:
    with pytest.raises(BadUpstreamReply):
        await relay(services(Script(Reply(200, {}, body)))).complete(HELLO)


@pytest.mark.parametrize(
    "fields",
    [
        {"data": []},
        {"data": [{"index": 0, "embedding": [1.0]}] * 2},
        {"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": "many"}},
    ],
    ids=["none", "twice", "usage"],
)
async def test_vectors_that_do_not_fit_are_refused(fields: dict[str, Any]) -> None:
    script = Script(Reply(200, {}, json.dumps(fields).encode()))
    with pytest.raises(BadUpstreamReply):
        await relay(services(script)).embed(EmbeddingRequest(input="x"))


# -- streams ----------------------------------------------------------------------------------------------


async def chunks_of(body: bytes) -> tuple[list[Chunk], ProviderError | None]:
    script = Script(Reply(200, {"content-type": "text/event-stream"}, body))
    had: list[Chunk] = []
    try:
        async with aclosing(relay(services(script)).stream(HELLO)) as chunks:
            async for chunk in chunks:
                had.append(chunk)
    except ProviderError as error:
        return had, error
    return had, None


WORD = said({"type": "text", "id": "0", "text": "Hi"})
LAST = event(content=[], usage=USAGE)
ERROR = b'data: {"error": "torn", "raw_chunk": "x"}\n\n'


async def test_an_error_that_the_stream_goes_on_after_is_a_piece_lost() -> None:
    had, error = await chunks_of(WORD + ERROR + WORD + LAST + DONE)
    assert error is None
    assert [chunk.error for chunk in had] == [None, "torn", None, None]


@pytest.mark.parametrize("end", [DONE, b""], ids=["done", "cut"])
async def test_an_error_that_nothing_follows_has_ended_the_stream(end: bytes) -> None:
    had, error = await chunks_of(WORD + ERROR + end)
    assert len(had) == 1
    assert error is not None
    assert error.message == "torn"


async def test_a_stream_without_its_end_was_cut_off() -> None:
    had, error = await chunks_of(WORD + LAST)
    assert len(had) == 2
    assert isinstance(error, BadUpstreamReply)


async def test_nothing_counts_after_the_end() -> None:
    had, error = await chunks_of(WORD + LAST + DONE + WORD)
    assert (len(had), error) == (2, None)


async def test_a_stream_of_nothing_but_its_end_is_no_answer() -> None:
    had, error = await chunks_of(DONE)
    assert had == []
    assert isinstance(error, BadUpstreamReply)


@pytest.mark.parametrize("garbled", [b"data: {half\n\n", b'data: {"content": [{"type": "image"}]}\n\n'])
async def test_an_event_that_cannot_be_read_is_a_piece_lost_unless_it_is_the_first(garbled: bytes) -> None:
    had, error = await chunks_of(WORD + garbled + WORD + DONE)
    assert error is None
    assert had[1].error is not None
    had, error = await chunks_of(garbled + WORD + DONE)
    assert had == []
    assert isinstance(error, BadUpstreamReply)


async def test_thoughts_and_unknown_parts_stream_as_they_are() -> None:
    thought = {"type": "thought", "id": "1", "text": "hm", "signature": None, "provider_type": "anthropic"}
    unknown = {"type": "unknown", "id": "2", "data": {"x": 1}, "model_name": "m", "provider_name": "openai"}
    had, _ = await chunks_of(said(thought, unknown) + LAST + DONE)
    assert had[0].content == (
        ThoughtDelta("1", "hm", provider_type="anthropic"),
        UnknownDelta("2", {"x": 1}, "m", "openai"),
    )
