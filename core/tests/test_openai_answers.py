"""Neutral answers, whole and streamed, as OpenAI's."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from headrace.exchange import EmbeddingsAnswer, InferenceChunk, InferenceResponse, RawResponse, RawUsage
from headrace.http.native import encode
from headrace.http.openai_answers import completion
from headrace.http.openai_embeddings import embedding_list, read_embeddings
from headrace.http.openai_messages import OpenAIMessage, to_input
from headrace.http.openai_stream import events
from headrace.types import (
    CacheOptions,
    CheckedToolCall,
    JsonOutput,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    ToolCall,
    ToolCallDelta,
    Unknown,
    UnknownDelta,
    Usage,
)

INFERENCE, EPISODE, CALL_ID = (UUID(int=number) for number in (1, 2, 3))
IDS: dict[str, Any] = {"inference_id": INFERENCE, "episode_id": EPISODE, "variant_name": "v"}
RAW: dict[str, Any] = {
    "raw_usage": (RawUsage(CALL_ID, "openai", "chat_completions", {"tokens": 3}),),
    "raw_response": (RawResponse("openai", "chat_completions", "no"), RawResponse("o", "other", "yes", CALL_ID)),
}
SHOWN_RAW = {
    "tensorzero_raw_usage": [
        {
            "model_inference_id": str(CALL_ID),
            "provider_type": "openai",
            "api_type": "chat_completions",
            "data": {"tokens": 3},
        }
    ],
    "tensorzero_raw_response": [
        {"provider_type": "openai", "api_type": "chat_completions", "data": "no"},
        {"provider_type": "o", "api_type": "other", "data": "yes", "model_inference_id": str(CALL_ID)},
    ],
}


def answer(function_name: str | None = "f", **fields: Any) -> Any:
    fields = {"output": (Text("hi"),), "usage": Usage(), **IDS, **fields}
    return json.loads(encode(completion(InferenceResponse(**fields), function_name)))


async def stream(*chunks: InferenceChunk, function_name: str | None = "f", shows_usage: bool = False) -> list[Any]:
    async def given() -> AsyncGenerator[InferenceChunk, None]:
        for chunk in chunks:
            yield chunk

    return [json.loads(event) async for event in events(given(), function_name, shows_usage=shows_usage)]


def chunk(**fields: Any) -> InferenceChunk:
    return InferenceChunk(**IDS, **fields)


def test_an_answer_has_exactly_the_specified_fields() -> None:
    body = answer(usage=Usage(1, 2), finish_reason="stop")
    assert isinstance(body.pop("created"), int)
    assert body == {
        "id": str(INFERENCE),
        "episode_id": str(EPISODE),
        "object": "chat.completion",
        "model": "tensorzero::function_name::f::variant_name::v",
        "system_fingerprint": "",
        "service_tier": None,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "tensorzero_cost": None},
    }


def test_a_model_called_by_its_name_answers_under_that_name() -> None:
    assert answer(None, variant_name="openai::gpt")["model"] == "tensorzero::model_name::openai::gpt"


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "stop"),
        ("stop_sequence", "stop"),
        ("unknown", "stop"),
        (None, "stop"),
        ("length", "length"),
        ("tool_call", "tool_calls"),
        ("content_filter", "content_filter"),
    ],
)
def test_finish_reasons(reason: Any, word: str) -> None:
    assert answer(finish_reason=reason)["choices"][0]["finish_reason"] == word


@pytest.mark.parametrize(
    ("usage", "shown"),
    [
        (Usage(), {"tensorzero_cost": None}),
        (Usage(0, None), {"prompt_tokens": 0, "tensorzero_cost": None}),
        (Usage(None, 2), {"completion_tokens": 2, "tensorzero_cost": None}),
        (
            Usage(1, 2, 3, 4, Decimal("0.5")),
            {
                "prompt_tokens": 1,
                "completion_tokens": 2,
                "total_tokens": 3,
                "prompt_tokens_details": {"cached_tokens": 3},
                "tensorzero_provider_cache_write_input_tokens": 4,
                "tensorzero_cost": 0.5,
            },
        ),
    ],
    ids=["nothing", "input", "output", "everything"],
)
def test_usage_says_what_is_known(usage: Usage, shown: Any) -> None:
    assert answer(usage=usage)["usage"] == shown


CALL = CheckedToolCall("c1", "add", '{"a":1}', "add", {"a": 1})
SHOWN_CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ((Text("a"), Text("b")), {"content": "ab"}),
        ((), {"content": None}),
        ((CALL,), {"content": None, "tool_calls": [SHOWN_CALL]}),
        ((CheckedToolCall("c1", "add", '{"a":1}'),), {"content": None, "tool_calls": [SHOWN_CALL]}),
        (
            (Thought("t", "s"), Text("a"), Unknown({"x": 1}, "m", "p"), CALL),
            {
                "content": "a",
                "tool_calls": [SHOWN_CALL],
                "tensorzero_extra_content": [
                    {"type": "thought", "insert_index": 0, "text": "t", "signature": "s"},
                    {
                        "type": "unknown",
                        "insert_index": 2,
                        "data": {"x": 1},
                        "model_name": "m",
                        "provider_name": "p",
                    },
                ],
            },
        ),
        (JsonOutput('{"a":1}', {"a": 1}), {"content": '{"a":1}'}),
        (JsonOutput(None), {"content": None}),
    ],
    ids=["texts", "nothing", "call", "call-that-does-not-fit", "extra", "json", "no-json"],
)
def test_messages(output: Any, message: Any) -> None:
    assert answer(output=output)["choices"][0]["message"] == {"role": "assistant", **message}


def test_an_answer_sent_back_is_the_same_answer() -> None:
    output = (Thought("t", "s"), Text("a"), Unknown({"x": 1}), CALL, Thought(None, "end"))
    message = answer(output=output)["choices"][0]["message"]
    (turn,) = to_input([msgspec.convert(message, OpenAIMessage)]).messages
    assert turn.content == (
        Thought("t", "s"),
        Text("a"),
        Unknown({"x": 1}),
        ToolCall("c1", "add", '{"a":1}'),
        output[4],
    )


def test_raw_data_is_shown_when_there_is_some() -> None:
    body = answer(**RAW, original_response="said")
    assert {key: value for key, value in body.items() if key.startswith("tensorzero_")} == {
        **SHOWN_RAW,
        "tensorzero_original_response": "said",
    }
    assert answer(raw_usage=(), raw_response=())["tensorzero_raw_response"] == []


@pytest.mark.anyio
async def test_a_stream_says_role_and_call_ids_once_and_ends_with_one_last_chunk() -> None:
    *pieces, last = await stream(
        chunk(content=(TextDelta("0", "a"),)),
        chunk(content=(TextDelta("0", "b"), ToolCallDelta("c1", "add", ""))),
        chunk(content=(ToolCallDelta("c2", "sub", ""), ToolCallDelta("c1", None, "{"))),
        chunk(content=(ToolCallDelta("c1", None, "}"), ToolCallDelta("c2", None, "{}"))),
        chunk(usage=Usage(1, 2), finish_reason="tool_call"),
        shows_usage=True,
    )
    deltas = [piece["choices"][0]["delta"] for piece in pieces]
    assert [delta.get("role") for delta in deltas] == ["assistant", None, None, None]
    assert [delta.get("content") for delta in deltas] == ["a", "b", None, None]
    assert [[(call["id"], call["index"]) for call in delta.get("tool_calls", [])] for delta in deltas] == [
        [],
        [("c1", 0)],
        [("c2", 1), (None, 0)],
        [(None, 0), (None, 1)],
    ]
    assert deltas[2]["tool_calls"][1]["function"] == {"name": "", "arguments": "{"}
    assert all(piece["usage"] is None and piece["choices"][0]["finish_reason"] is None for piece in pieces)
    assert isinstance(last.pop("created"), int)
    assert last == {
        "id": str(INFERENCE),
        "episode_id": str(EPISODE),
        "object": "chat.completion.chunk",
        "model": "tensorzero::function_name::f::variant_name::v",
        "system_fingerprint": "",
        "service_tier": None,
        "choices": [{"index": 0, "finish_reason": "tool_calls", "logprobs": None, "delta": {}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "tensorzero_cost": None},
    }


@pytest.mark.anyio
async def test_usage_is_null_unless_asked_for() -> None:
    (only,) = await stream(chunk(usage=Usage(1, 2)), function_name=None)
    assert only["usage"] is None
    assert only["choices"][0] == {
        "index": 0,
        "finish_reason": "stop",
        "logprobs": None,
        "delta": {"role": "assistant"},
    }
    assert only["model"] == "tensorzero::model_name::v"


@pytest.mark.anyio
async def test_json_functions_always_have_content() -> None:
    told = await stream(chunk(raw="{"), chunk(raw="}"), chunk(raw="", usage=Usage()))
    assert [each["choices"][0]["delta"]["content"] for each in told] == ["{", "}", ""]


@pytest.mark.anyio
async def test_streamed_extra_content_has_the_place_it_would_have_in_a_whole_answer() -> None:
    told = await stream(
        chunk(content=(TextDelta("0", "a"),)),
        chunk(content=(ThoughtDelta("0", text="t"),)),
        chunk(content=(UnknownDelta("u", {"x": 1}), ThoughtDelta("0", signature="s"))),
    )
    thought = {"type": "thought", "id": "0", "insert_index": 1, "summary_id": None, "summary_text": None}
    assert [each["choices"][0]["delta"].get("tensorzero_extra_content") for each in told] == [
        None,
        [{**thought, "text": "t", "signature": None}],
        [
            {"type": "unknown", "id": "u", "insert_index": 2, "data": {"x": 1}},
            {**thought, "text": None, "signature": "s"},
        ],
    ]


@pytest.mark.anyio
async def test_raw_data_is_streamed_when_there_is_some() -> None:
    first, second, error = await stream(
        chunk(**RAW),
        chunk(content=(TextDelta("0", "a"),), raw_chunk="event", original_chunk="event"),
        chunk(error="Error parsing chunk", raw_chunk="garbled"),
    )
    assert {key: value for key, value in first.items() if key.startswith("tensorzero_")} == SHOWN_RAW
    assert (second["tensorzero_raw_chunk"], second["tensorzero_original_chunk"]) == ("event", "event")
    assert error == {"error": {"message": "Error parsing chunk"}, "tensorzero_raw_chunk": "garbled"}


@pytest.mark.parametrize("raw", [None, RAW["raw_response"]], ids=["not-asked", "asked"])
def test_embeddings_in_both_encodings(raw: Any) -> None:
    vectors = EmbeddingsAnswer(embeddings=((0.5, -1.0), (2.0, 0.0)), usage=Usage(3), raw_response=raw)
    body, _ = read_embeddings(b'{"model": "headrace::embedding_model_name::e", "input": ["a", "b"]}')
    shown = json.loads(encode(embedding_list(body, vectors)))
    asked = {} if raw is None else {"tensorzero::raw_response": SHOWN_RAW["tensorzero_raw_response"]}
    assert shown == {
        "object": "list",
        "data": [
            {"object": "embedding", "embedding": [0.5, -1.0], "index": 0},
            {"object": "embedding", "embedding": [2.0, 0.0], "index": 1},
        ],
        "model": "tensorzero::embedding_model_name::e",
        "usage": {"prompt_tokens": 3, "total_tokens": 3, "tensorzero_cost": None},
        **asked,
    }
    body, _ = read_embeddings(b'{"model": "e", "input": "a", "encoding_format": "base64"}')
    assert embedding_list(body, vectors)["data"][0]["embedding"] == "AAAAPwAAgL8="


@pytest.mark.parametrize("prefix", ["tensorzero::", "headrace::"])
def test_an_embeddings_body_says_all_that_a_request_can(prefix: str) -> None:
    fields = {
        "model": f"{prefix}embedding_model_name::openai::small",
        "input": [[1, 2], [3]],
        "dimensions": 8,
        f"{prefix}credentials": {"key": "secret"},
        f"{prefix}cache_options": {"enabled": "read_only"},
        f"{prefix}dryrun": True,
        f"{prefix}include_raw_response": True,
    }
    body, request = read_embeddings(json.dumps(fields).encode())
    assert (body.model_name, body.dryrun, body.include_raw_response) == ("openai::small", True, True)
    assert (request.input, request.dimensions, request.credentials) == ([[1, 2], [3]], 8, {"key": "secret"})
    assert request.cache == CacheOptions("read_only")
