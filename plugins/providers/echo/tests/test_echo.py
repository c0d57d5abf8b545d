"""Echo's promises: those of every provider, and what it repeats."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from headrace import Provider, Services
from headrace.conformance.provider import (
    CALL_TOOL,
    EMBED_TWO,
    HELLO,
    SCHEMA,
    WEATHER,
    ProviderConformance,
    asking,
    with_file,
)
from headrace.conformance.script import Script, services
from headrace.errors import ProviderError
from headrace.types import EmbeddingRequest, ModelRequest, Text, ToolConfig, Usage
from headrace_echo import Echo, Settings
from msgspec import structs

pytestmark = pytest.mark.anyio


class TestEcho(ProviderConformance):
    lacks: ClassVar = {"upstream": "it answers by itself"}
    tokens = (3, 3)

    def build(self, services: Services) -> Provider:
        return Echo(Settings(), services)


def echo(**settings: Any) -> Echo:
    return Echo(Settings(**settings), services(Script()))


async def test_says_its_configured_reply() -> None:
    assert (await echo(reply="No.").complete(HELLO)).output == (Text("No."),)


async def test_fails_with_its_configured_message() -> None:
    broken = echo(fail_with="out of order")
    for ask in (broken.complete(HELLO), anext(broken.stream(HELLO)), broken.embed(EMBED_TWO)):
        with pytest.raises(ProviderError, match="out of order") as caught:
            await ask
        assert caught.value.raw_request


@pytest.mark.parametrize(
    ("text", "answer"),
    [("hi", '{"echo":"hi"}'), ('{"a": 1}', '{"a": 1}'), ("", '{"echo":""}')],
    ids=["text", "json-already", "empty"],
)
async def test_answers_json_when_json_is_asked(text: str, answer: str) -> None:
    request = asking(text, json_mode="strict", output_schema=SCHEMA)
    assert (await echo().complete(request)).output == (Text(answer),)


async def test_calls_only_tools_on_offer() -> None:
    request = asking('call another {"a": 1}', tools=CALL_TOOL.tools)
    assert (await echo().complete(request)).output == (Text('call another {"a": 1}'),)


async def test_streams_word_by_word() -> None:
    chunks = [chunk async for chunk in echo().stream(asking("one  two\nthree"))]
    assert [delta.text for chunk in chunks for delta in chunk.content if hasattr(delta, "text")] == [
        "one  ",
        "two\n",
        "three",
    ]
    assert chunks[-1].usage == Usage(input_tokens=3, output_tokens=3)


async def test_has_an_answer_to_nothing() -> None:
    nothing = ModelRequest(messages=())
    assert (await echo().complete(nothing)).output == (Text(""),)
    assert [chunk.finish_reason async for chunk in echo().stream(nothing)] == ["stop"]


async def test_keeps_credentials_out_of_the_raw_request() -> None:
    response = await echo().complete(asking("hi", credentials={"key": "sk-secret"}))
    assert "sk-secret" not in response.raw_request


async def test_vectors_have_length_one_and_depend_on_the_text_alone() -> None:
    both = (await echo().embed(EMBED_TWO)).embeddings
    alone = (await echo().embed(EmbeddingRequest(input="second"))).embeddings
    assert both[1:] == alone
    assert [len(vector) for vector in both] == [16, 16]
    assert [sum(number * number for number in vector) for vector in both] == pytest.approx([1, 1])


async def test_a_list_of_tokens_is_one_input() -> None:
    assert len((await echo().embed(EmbeddingRequest(input=[1, 2, 3]))).embeddings) == 1
    assert len((await echo().embed(EmbeddingRequest(input=[[1, 2], [3]]))).embeddings) == 2


async def test_listens_to_text_and_passes_over_files() -> None:
    assert (await echo().complete(with_file("image/png"))).output == (Text("Hi 👋 there"),)
    chunks = [chunk async for chunk in echo().stream(with_file("application/pdf"))]
    assert chunks[-1].finish_reason == "stop"


async def test_calls_only_tools_that_are_allowed() -> None:
    tools = ToolConfig((WEATHER,), allowed=())
    request = structs.replace(CALL_TOOL, tools=tools)
    assert isinstance((await echo().complete(request)).output[0], Text)
