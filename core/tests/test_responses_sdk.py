"""The Responses API through OpenAI's own SDK: plain, streamed, with tools and with reasoning."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import anyio
import httpx2
import openai
import pytest
from headrace.contracts import InferenceQuery
from headrace.http.app import create_app
from headrace.plugins import Registry
from player import FUNCTION, MODEL, add_player
from pydantic import BaseModel

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def registry(registry: Registry) -> Registry:
    """The player, besides all others."""
    add_player(registry)
    return registry


THOUGHTS = """
deltas = [
  { type = "thought", id = "t", summary_id = "0", summary_text = "First, " },
  { type = "thought", id = "t", summary_id = "0", summary_text = "this." },
  { type = "thought", id = "t", summary_id = "1", summary_text = "Then that." },
  { type = "thought", id = "t", text = "hm", provider_type = "other" },
  { type = "thought", id = "t", signature = "secret" },
  { type = "text", id = "0", text = "" },
  { type = "text", id = "0", text = "Forty" },
  { type = "text", id = "0", text = "-two" },
]
"""
MIXED = """
deltas = [
  { type = "text", id = "0", text = "Calling." },
  { type = "tool_call", id = "a", raw_name = "add", raw_arguments = '{"x"' },
  { type = "tool_call", id = "b", raw_name = "add", raw_arguments = '{"x": 2' },
  { type = "tool_call", id = "a", raw_name = "", raw_arguments = ': 1}' },
  { type = "tool_call", id = "b", raw_name = "", raw_arguments = '}' },
  { type = "tool_call", id = "c", raw_name = "shout", raw_arguments = 'HEY {}' },
  { type = "tool_call", id = "c", raw_name = "", raw_arguments = ' YOU' },
]
finish_reason = "tool_call"
"""
TOML = "".join(
    [
        MODEL.format(name="good", type="scripted", rest='says = ["good ", "day"]'),
        MODEL.format(name="caller", type="scripted", rest="says = []\ncalls = { add = '{\"x\": 1}' }"),
        MODEL.format(name="jason", type="scripted", rest="says = ['{\"answer\": ', '42}']"),
        MODEL.format(name="thinker", type="player", rest=THOUGHTS),
        MODEL.format(name="mixed", type="player", rest=MIXED),
        MODEL.format(
            name="short",
            type="player",
            rest='deltas = [{ type = "text", id = "0", text = "Once upon" }]\nfinish_reason = "length"',
        ),
        FUNCTION.format(name="f", type="chat", model="good", rest=""),
        FUNCTION.format(name="json", type="json", model="jason", rest='json_mode = "off"'),
    ]
)
ADD = {
    "type": "function",
    "name": "add",
    "description": "adds",
    "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
    "strict": True,
}
SHOUT = {"type": "custom", "name": "shout", "description": "shouts"}


class Bench:
    """A client of a gateway, and the gateway's records."""

    def __init__(self, client: openai.AsyncOpenAI, host: Any) -> None:
        self.client = client
        self.host = host

    async def row(self, answer: Any) -> Any:
        """The record of an answer. Records are written behind the answer's back."""
        id_ = UUID(answer.id.partition("_")[2])
        for _ in range(500):
            if rows := await self.host.store.inferences(InferenceQuery(ids=(id_,))):
                return rows[0]
            await anyio.sleep(0.01)
        raise AssertionError(f"no record of {answer.id}")


@pytest.fixture
def bench(opened: Any) -> Callable[..., Any]:
    """``async with bench() as it``: OpenAI's SDK in front of a gateway."""

    @asynccontextmanager
    async def open_() -> AsyncGenerator[Bench, None]:
        async with opened(TOML) as host:
            app = create_app(host.gateway, owns_gateway=False)
            async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as http:
                yield Bench(
                    openai.AsyncOpenAI(
                        base_url="http://gateway/openai/v1", api_key="any", http_client=http, max_retries=0
                    ),
                    host,
                )

    return open_


async def test_answers_a_plain_question(bench: Any) -> None:
    async with bench() as it:
        response = await it.client.responses.create(
            model="tensorzero::function_name::f", input="hello", instructions="be kind", metadata={"a": "b"}, store=True
        )
        row = await it.row(response)
    assert response.output_text == "good day"
    assert response.id == f"resp_{row.id.hex}"
    assert (response.status, response.store, response.metadata) == ("completed", False, {"a": "b"})
    assert response.model == "tensorzero::function_name::f::variant_name::a"
    assert response.usage.total_tokens == 5
    assert response.usage.output_tokens_details.reasoning_tokens == 0
    assert (row.input.system, row.input.messages[0].content[0].text) == ("be kind", "hello")


@pytest.mark.parametrize(
    "model", ["good", "tensorzero::model_name::good", "headrace::model_name::good", "headrace::function_name::f"]
)
async def test_takes_every_spelling_of_a_model(bench: Any, model: str) -> None:
    async with bench() as it:
        assert (await it.client.responses.create(model=model, input="hello")).output_text == "good day"


async def test_streams_in_the_official_order(bench: Any) -> None:
    async with bench() as it:
        stream = await it.client.responses.create(model="good", input="hello", stream=True)
        events = [event async for event in stream]
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(10))
    final = events[-1].response
    assert (final.output_text, final.usage.output_tokens, final.status) == ("good day", 2, "completed")


async def test_streams_mixed_calls_one_after_the_other(bench: Any) -> None:
    async with bench() as it:
        async with it.client.responses.stream(model="mixed", input="go", tools=[ADD, SHOUT]) as stream:
            open_items: list[int] = []
            async for event in stream:
                if event.type == "response.output_item.added":
                    open_items.append(event.output_index)
                if event.type == "response.output_item.done":
                    assert open_items.pop() == event.output_index
                    assert not open_items
            final = await stream.get_final_response()
    text, first, second, custom = final.output
    assert text.content[0].text == "Calling."
    assert [(call.call_id, call.arguments) for call in (first, second)] == [("a", '{"x": 1}'), ("b", '{"x": 2}')]
    assert (custom.type, custom.name, custom.input) == ("custom_tool_call", "shout", "HEY {} YOU")


async def test_plain_and_streamed_answers_are_the_same(bench: Any) -> None:
    async with bench() as it:
        for model in ("mixed", "thinker", "short", "good"):
            plain = await it.client.responses.create(model=model, input="go", tools=[ADD, SHOUT])
            stream = await it.client.responses.create(model=model, input="go", tools=[ADD, SHOUT], stream=True)
            (*_, last) = [event async for event in stream]
            output = [item.to_dict() | {"id": ""} for item in plain.output]
            assert [item.to_dict() | {"id": ""} for item in last.response.output] == output
            assert last.response.usage == plain.usage


async def test_tools_work_over_several_turns(bench: Any) -> None:
    async with bench() as it:
        items: list[Any] = [{"role": "user", "content": "add"}]
        response = await it.client.responses.create(model="caller", input=items, tools=[ADD], tool_choice="required")
        (call,) = response.output
        assert (call.type, call.name, call.arguments, call.call_id) == ("function_call", "add", '{"x": 1}', "c1")
        items += response.output
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": "2"})
        response = await it.client.responses.create(model="good", input=items, tools=[ADD])
        row = await it.row(response)
    assert response.output_text == "good day"
    assert [message.role for message in row.input.messages] == ["user", "assistant", "user"]
    assert row.input.messages[2].content[0].name == "add"


async def test_reasoning_comes_back_unchanged(bench: Any) -> None:
    async with bench() as it:
        first = await it.client.responses.create(
            model="thinker", input="think", include=["reasoning.encrypted_content"]
        )
        reasoning = first.output[0]
        assert [part.text for part in reasoning.summary] == ["First, this.", "Then that."]
        assert (reasoning.encrypted_content, reasoning.content[0].text) == ("secret", "hm")
        items = [*first.output, {"role": "user", "content": "and?"}]
        response = await it.client.responses.create(model="good", input=items)
        row = await it.row(response)
    thought = row.input.messages[0].content[0]
    assert (thought.text, thought.signature, thought.provider_type) == ("hm", "secret", "other")
    assert [part["text"] for part in thought.summary] == ["First, this.", "Then that."]


async def test_streams_reasoning_with_its_own_events(bench: Any) -> None:
    async with bench() as it:
        stream = await it.client.responses.create(model="thinker", input="think", stream=True)
        events = [event async for event in stream]
    types = [event.type for event in events]
    for name in ("summary_part.added", "summary_text.delta", "summary_text.done", "summary_part.done"):
        assert f"response.reasoning_{name}" in types
    assert types.count("response.reasoning_summary_part.added") == 2
    done = next(event for event in events if event.type == "response.output_item.done")
    assert done.item.encrypted_content == "secret"


async def test_parses_structured_output(bench: Any) -> None:
    class Out(BaseModel):
        answer: int

    async with bench() as it:
        response = await it.client.responses.parse(model="jason", input="?", text_format=Out)
        row = await it.row(response)
    assert response.output_parsed == Out(answer=42)
    assert row.inference_params.json_mode == "strict"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_json_function_answers_its_raw_text(bench: Any, stream: bool) -> None:
    async with bench() as it:
        model = "tensorzero::function_name::json"
        if stream:
            events = await it.client.responses.create(model=model, input="?", stream=True)
            (*_, last) = [event async for event in events]
            response = last.response
        else:
            response = await it.client.responses.create(model=model, input="?")
    assert response.output_text == '{"answer": 42}'


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_cut_short_is_incomplete(bench: Any, stream: bool) -> None:
    async with bench() as it:
        if stream:
            events = await it.client.responses.create(model="short", input="?", stream=True, max_output_tokens=2)
            (*_, last) = [event async for event in events]
            assert last.type == "response.incomplete"
            response = last.response
        else:
            response = await it.client.responses.create(model="short", input="?", max_output_tokens=2)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.output[0].status == "incomplete"


async def test_extensions_mean_what_they_mean_elsewhere(bench: Any) -> None:
    async with bench() as it:
        response = await it.client.responses.create(
            model="tensorzero::function_name::f",
            input="hello",
            temperature=0.5,
            extra_body={
                "tensorzero::variant_name": "a",
                "headrace::tags": {"who": "me"},
                "tensorzero::params": {"chat_completion": {"temperature": 0.1}},
            },
        )
        row = await it.row(response)
        assert str(row.id) == response.model_extra["inference_id"]
        assert str(row.episode_id) == response.model_extra["episode_id"]
        assert (row.tags["who"], row.tags["tensorzero::variant_pinned"]) == ("me", "a")
        assert row.inference_params.temperature == 0.1
        dry = await it.client.responses.create(model="good", input="hello", extra_body={"tensorzero::dryrun": True})
        await it.row(await it.client.responses.create(model="good", input="hello"))
        rows = await it.host.store.inferences(InferenceQuery())
        assert dry.id not in {f"resp_{each.id.hex}" for each in rows}


@pytest.mark.parametrize("stream", [False, True])
async def test_raw_data_is_there_when_asked_for(bench: Any, stream: bool) -> None:
    async with bench() as it:
        extra = {"tensorzero::include_raw_response": True, "tensorzero::include_raw_usage": True}
        answer = await it.client.responses.create(model="good", input="hello", stream=stream, extra_body=extra)
        if stream:
            events = [event async for event in answer]
            assert any("tensorzero_raw_chunk" in event.model_extra for event in events)
            response = events[-1].response
        else:
            response = answer
            assert response.model_extra["tensorzero_raw_response"][0]["data"] == "said"
    assert response.model_extra["tensorzero_raw_usage"][0]["data"] == {"said": 2}
