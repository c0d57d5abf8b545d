"""The dummy's promises: those of every provider, and what each of its names means."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, ClassVar
from uuid import UUID

import pytest
from headrace import Provider, Services
from headrace.conformance.provider import FILE_DATA, HELLO, ProviderConformance, asking, with_file
from headrace.conformance.script import Script, services
from headrace.errors import InvalidExtra, ProviderError
from headrace.extras import Extra, ExtraBody, ExtraHeader
from headrace.media import File, StoragePath
from headrace.types import (
    Chunk,
    Message,
    ModelRequest,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from headrace_dummy import Dummy, Settings

pytestmark = pytest.mark.anyio

G = (
    "Megumin gleefully chanted her spell, unleashing a thunderous explosion that lit up the sky "
    "and left a massive crater in its wake."
)
W = [
    "Wally,", " the", " golden", " retriever,", " wagged", " his", " tail", " excitedly",
    " as", " he", " devoured", " a", " slice", " of", " cheese", " pizza.",
]  # fmt: skip
ARGUMENTS = '{"location":"Brooklyn","units":"celsius"}'
RAW = {
    "id": "id",
    "object": "text.completion",
    "created": 1618870400,
    "model": "text-davinci-002",
    "choices": [{"text": G, "index": 0, "logprobs": None, "finish_reason": None}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20},
}


class TestDummy(ProviderConformance):
    lacks: ClassVar = {
        "upstream": "it answers by itself",
        "stream": "it streams a sentence of its own",
        "tools": "it calls tools of its own",
        "embeddings": "its vectors are all zeros",
    }
    tokens = (10, 1)

    def build(self, services: Services) -> Provider:
        return Dummy(Settings(model_name="echo"), services)


class Naps:
    """Sleeping without waiting; the seconds are kept."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


def dummy(name: str, *, naps: Naps | None = None, **settings: Any) -> Dummy:
    return Dummy(Settings(model_name=name, **settings), services(Script()), sleep=naps or Naps())


async def streamed(provider: Dummy, request: ModelRequest = HELLO) -> list[Chunk]:
    async with aclosing(provider.stream(request)) as chunks:
        return [chunk async for chunk in chunks]


def texts(*said: str) -> list[TextDelta]:
    return [TextDelta("0", text) for text in said]


def thoughts(*said: str) -> list[ThoughtDelta]:
    return [ThoughtDelta("0", text) for text in said]


# -- whole answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "output"),
    [
        *((name, (Text(G),)) for name in ("good", "test", "any-other", "slow", "slow_second_chunk", "flaky_model")),
        ("null", ()),
        ("tool", (ToolCall("0", "get_temperature", ARGUMENTS),)),
        ("bad_tool", (ToolCall("0", "get_temperature", '{"location":"Brooklyn","units":"Celsius"}'),)),
        ("tool_split_name", (Text(G),)),
        ("good_tool", (ToolCall("0", "output_schema_tool", '{"sentiment":"positive","confidence":0.95}'),)),
        ("reasoner", (Thought("hmmm"), Text(G))),
        ("reasoner_with_signature", (Thought("hmmm", "my_signature"), Text(G))),
        ("json", (Text('{"answer":"Hello"}'),)),
        ("json_goodbye", (Text('{"answer":"Goodbye"}'),)),
        ("json_diff_schema", (Text('{"response":"Hello"}'),)),
        ("json_reasoner", (Thought("hmmm"), Text('{"answer":"Hello"}'))),
        ("json_cot", (Text('{"thinking":"hmmm", "response": {"answer":"tokyo!"}}'),)),
        (
            "alternate",
            (Text("Megumin chanted her spell, but instead of an explosion, a gentle rain began to fall."),),
        ),
        ("llm_judge::true", (Text('{"score": true}'),)),
        ("echo", (Text("Hi 👋 there"),)),
        ("empty", (Text(""),)),
        ("err_in_stream", (Text(G),)),
        ("err_in_stream_with_raw_response", (Text(G),)),
        ("fatal_stream_error", (Text(G),)),
        ("fatal_stream_error_with_raw_response", (Text(G),)),
    ],
)
async def test_answers_by_its_name(name: str, output: tuple[Any, ...]) -> None:
    response = await dummy(name).complete(HELLO)
    assert response.output == output
    assert response.usage == Usage(10, len(output))
    assert response.finish_reason == ("tool_call" if "tool" in name else "stop")
    assert (response.raw_usage, response.raw_request) == (None, "raw request")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("json_beatles_1", {"names": ["John", "George"]}),
        ("json_beatles_2", {"names": ["Paul", "Ringo"]}),
        ("best_of_n_0", {"thinking": "hmmm", "answer_choice": 0}),
        ("best_of_n_1", {"thinking": "hmmm", "answer_choice": 1}),
        ("best_of_n_big", {"thinking": "hmmm", "answer_choice": 100}),
        ("flaky_best_of_n_judge", {"thinking": "hmmm", "answer_choice": 0}),
        ("llm_judge::false", {"score": False}),
        ("llm_judge::zero", {"score": 0}),
        ("llm_judge::one", {"score": 1}),
    ],
)
async def test_answers_json_by_its_name(name: str, said: dict[str, Any]) -> None:
    assert await answered(name, HELLO) == said


async def answered(name: str, request: ModelRequest) -> Any:
    (block,) = (await dummy(name).complete(request)).output
    assert isinstance(block, Text)
    return json.loads(block.text)


async def test_calls_with_arguments_that_are_not_json() -> None:
    response = await dummy("invalid_tool_arguments").complete(HELLO)
    (call,) = response.output
    assert isinstance(call, ToolCall)
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(call.arguments)
    assert (call.name, response.finish_reason) == ("get_temperature", "tool_call")


async def test_a_random_answer_is_new_each_time() -> None:
    found = {UUID((await answered("random_answer", HELLO))["answer"]) for _ in range(3)}
    assert len(found) == 3


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("good", RAW),
        ("reasoner", RAW),
        ("bad_tool", {"location": "Brooklyn", "units": "Celsius"}),
        ("json_goodbye", {"answer": "Goodbye"}),
        *(
            (name, {**said, "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}})
            for name, said in (("tool", json.loads(ARGUMENTS)), ("json", {"answer": "Hello"}))
        ),
    ],
)
async def test_raw_responses(name: str, raw: dict[str, Any]) -> None:
    assert json.loads((await dummy(name).complete(HELLO)).raw_response) == raw


async def test_the_usual_raw_response_is_indented_by_two() -> None:
    assert (await dummy("good").complete(HELLO)).raw_response == json.dumps(RAW, indent=2)


@pytest.mark.parametrize(
    ("name", "whole", "piecewise"),
    [
        ("input_tokens_zero", Usage(0, 1), Usage(0, 16)),
        ("output_tokens_zero", Usage(10, 0), Usage(10, 0)),
        ("input_tokens_output_tokens_zero", Usage(0, 0), Usage(0, 0)),
        ("input_five_output_six", Usage(5, 6), Usage(5, 6)),
    ],
)
async def test_usage_by_its_name(name: str, whole: Usage, piecewise: Usage) -> None:
    response = await dummy(name).complete(HELLO)
    assert (response.output, response.usage) == ((Text(G),), whole)
    assert (await streamed(dummy(name)))[-1].usage == piecewise


# -- streams ----------------------------------------------------------------------------------------------

TOOL_PIECES = ['{"location"', ':"Brooklyn"', ',"units"', ':"celsius', '"}']
JSON_PIECES = ['{"name"', ':"John"', ',"age"', ":30", "}"]


def calls(*names: str | None) -> list[ToolCallDelta]:
    said = [*names, *[None] * (5 - len(names))]
    return [ToolCallDelta("0", name, piece) for name, piece in zip(said, TOOL_PIECES, strict=True)]


WORDS = (
    "good slow slow_second_chunk flaky_model multiple-text-blocks test_key null bad_tool invalid_tool_arguments "
    "reasoner_with_signature json_goodbye json_diff_schema json_cot json_beatles_1 best_of_n_0 best_of_n_big "
    "flaky_best_of_n_judge random_answer alternate echo_extra_info echo_injected_data echo_request_messages "
    "extract_images require_pdf llm_judge::true llm_judge::error echo empty"
)


@pytest.mark.parametrize(
    ("name", "deltas"),
    [
        *((name, texts(*W)) for name in WORDS.split()),
        ("tool", calls("get_temperature")),
        ("good_tool", calls("get_temperature")),
        ("tool_split_name", calls("get_temp", "erature")),
        ("json", texts(*JSON_PIECES)),
        ("reasoner", [*thoughts("hmmm", "hmmm"), *texts(*W)]),
        ("json_reasoner", [*thoughts("hmmm", "hmmm"), *texts(*JSON_PIECES)]),
    ],
)
async def test_streams_by_its_name(name: str, deltas: list[Any]) -> None:
    *said, last = await streamed(dummy(name))
    assert [chunk.content for chunk in said] == [(delta,) for delta in deltas]
    assert [chunk.raw_request for chunk in said] == ["raw request", *[None] * (len(deltas) - 1)]
    assert (last.content, last.usage, last.raw_usage) == ((), Usage(10, len(deltas)), None)
    assert last.finish_reason == ("tool_call" if "tool" in name else "stop")
    counts = {"prompt_tokens": 10, "completion_tokens": len(deltas), "total_tokens": 10 + len(deltas)}
    assert json.loads(last.raw) == {"usage": counts}


@pytest.mark.parametrize(("name", "raw"), [("", ""), ("_with_raw_response", "dummy error raw response")])
async def test_an_error_in_a_stream_stands_for_the_fourth_chunk_and_the_stream_goes_on(name: str, raw: str) -> None:
    *said, _ = await streamed(dummy(f"err_in_stream{name}"))
    assert [index for index, chunk in enumerate(said) if chunk.error] == [3]
    assert said[3].raw == raw
    assert [chunk.content for chunk in said if not chunk.error] == [(each,) for each in texts(*W[:3], *W[4:])]


@pytest.mark.parametrize(("name", "raw"), [("", None), ("_with_raw_response", "dummy error raw response")])
async def test_a_fatal_error_stands_for_the_third_chunk_and_ends_the_stream(name: str, raw: str | None) -> None:
    had: list[Chunk] = []
    stream: AsyncGenerator[Chunk, None] = dummy(f"fatal_stream_error{name}").stream(HELLO)
    with pytest.raises(ProviderError) as caught:
        async with aclosing(stream):
            async for chunk in stream:
                had.append(chunk)
    assert [chunk.content for chunk in had] == [(each,) for each in texts(*W[:2])]
    assert caught.value.raw_response == raw


# -- answers made of the request --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_two_text_blocks_exactly(count: int) -> None:
    request = ModelRequest(messages=(Message("user", (Text("a"),) * count),))
    if count == 2:
        assert (await dummy("multiple-text-blocks").complete(request)).output == (Text(G),)
    else:
        with pytest.raises(ProviderError, match=f"exactly 2 text blocks; it has {count} blocks"):
            await dummy("multiple-text-blocks").complete(request)


async def test_no_message_at_all_is_no_crash() -> None:
    nothing = ModelRequest(messages=())
    assert (await dummy("echo").complete(nothing)).output == (Text(""),)
    with pytest.raises(ProviderError):
        await dummy("multiple-text-blocks").complete(nothing)


EXTRA = Extra(
    (ExtraBody(pointer="/a/b", value=[1]), ExtraBody(pointer="/c", delete=True, variant_name="v")),
    (ExtraHeader(name="X-A", value="b"), ExtraHeader(name="x-b", delete=True)),
)


async def test_echoes_the_extra_parts_of_its_request() -> None:
    assert await answered("echo_extra_info", asking("hi", extra=EXTRA)) == {
        "extra_body": [{"pointer": "/a/b", "value": [1]}, {"pointer": "/c", "delete": True, "variant_name": "v"}],
        "extra_headers": [{"name": "X-A", "value": "b"}, {"name": "x-b", "delete": True}],
    }
    assert await answered("echo_extra_info", HELLO) == {"extra_body": [], "extra_headers": []}


async def test_echoes_what_the_extra_parts_would_write() -> None:
    injected = {"injected_body": {"a": {"b": [1]}}, "injected_headers": {"x-a": "b"}}
    assert await answered("echo_injected_data", asking("hi", extra=EXTRA)) == injected
    with pytest.raises(InvalidExtra):
        await dummy("echo_injected_data").complete(asking("hi", extra=Extra((ExtraBody(pointer="a", value=1),))))


async def test_echoes_its_messages() -> None:
    assert await answered("echo_request_messages", asking("hi", system="Be brief.")) == {
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    }


async def test_extracts_files_with_their_storage_path() -> None:
    stored = File("image/png", FILE_DATA, storage_path=StoragePath({"type": "disabled"}, "x.png"))
    request = ModelRequest(messages=(Message("user", (Text("a"), stored)),))
    assert await answered("extract_images", request) == [
        {
            "type": "file",
            "mime_type": "image/png",
            "data": FILE_DATA,
            "storage_path": {"kind": {"type": "disabled"}, "path": "x.png"},
        }
    ]
    assert await answered("extract_images", HELLO) == []


async def test_wants_a_pdf() -> None:
    (found,) = await answered("require_pdf", with_file("application/pdf"))
    assert found["mime_type"] == "application/pdf"
    for request in (HELLO, with_file("image/png")):
        with pytest.raises(ProviderError, match="application/pdf"):
            await dummy("require_pdf").complete(request)
