"""The relay's promises: those of every provider, and how it reads the other gateway's words."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any, ClassVar

import pytest
from headrace import Provider, Services
from headrace.conformance.provider import FILE_DATA, HELLO, ProviderConformance
from headrace.conformance.script import Script, services
from headrace.errors import BadUpstreamReply, ProviderError
from headrace.transport import Reply
from headrace.types import (
    Chunk,
    EmbeddingRequest,
    Thought,
    ThoughtDelta,
    ToolCall,
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
