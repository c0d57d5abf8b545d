"""The Messages API through Anthropic's own SDK: plain, streamed, with tools and with thinking."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import anthropic
import anyio
import httpx2
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
  { type = "thought", id = "r", signature = "hidden" },
  { type = "thought", id = "t", text = "hm", provider_type = "other" },
  { type = "thought", id = "t", text = ", yes" },
  { type = "thought", id = "t", signature = "sealed" },
  { type = "thought", id = "s", summary_id = "0", summary_text = "First." },
  { type = "thought", id = "s", summary_id = "1", summary_text = "Second." },
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
  { type = "text", id = "0", text = "Still." },
  { type = "tool_call", id = "a", raw_name = "", raw_arguments = ': 1}' },
  { type = "tool_call", id = "b", raw_name = "", raw_arguments = '}' },
  { type = "unknown", id = "u", data = { type = "server_tool_use", id = "srv", name = "web_search", input = {} } },
  { type = "unknown", id = "u2", data = { type = "citations_delta" } },
]
"""
ENDS = {"length": "max_tokens", "stop_sequence": "stop_sequence", "content_filter": "refusal", "unknown": "end_turn"}
TOML = "".join(
    [
        MODEL.format(name="good", type="scripted", rest='says = ["good ", "day"]'),
        MODEL.format(name="caller", type="scripted", rest="says = []\ncalls = { add = '{\"x\": 1}' }"),
        MODEL.format(name="confused", type="scripted", rest="says = []\ncalls = { add = 'x = 1' }"),
        MODEL.format(name="jason", type="scripted", rest="says = ['{\"answer\": ', '42}']"),
        MODEL.format(name="thinker", type="player", rest=THOUGHTS),
        MODEL.format(name="mixed", type="player", rest=MIXED),
        *(
            MODEL.format(
                name=f"ends-{reason}",
                type="player",
                rest=f'deltas = [{{ type = "text", id = "0", text = "Once" }}]\nfinish_reason = "{reason}"',
            )
            for reason in ENDS
        ),
        FUNCTION.format(name="f", type="chat", model="good", rest=""),
        FUNCTION.format(name="json", type="json", model="jason", rest='json_mode = "off"'),
    ]
)
ADD = {
    "name": "add",
    "description": "adds",
    "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
}
HELLO: dict[str, Any] = {"max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}


class Bench:
    """A client of a gateway, and the gateway's records."""

    def __init__(self, client: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, host: Any) -> None:
        self.client = client
        self.http = http
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
    """``async with bench() as it``: Anthropic's SDK in front of a gateway."""

    @asynccontextmanager
    async def open_() -> AsyncGenerator[Bench, None]:
        async with opened(TOML) as host:
            app = create_app(host.gateway, owns_gateway=False)
            async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as http:
                client = anthropic.AsyncAnthropic(
                    base_url="http://gateway/anthropic", api_key="any", http_client=http, max_retries=0
                )
                yield Bench(client, http, host)

    return open_


async def test_answers_a_plain_question(bench: Any) -> None:
    async with bench() as it:
        message = await it.client.messages.create(model="good", system="be kind", **HELLO)
        row = await it.row(message)
    assert [block.to_dict() for block in message.content] == [{"type": "text", "text": "good day"}]
    assert (message.id, message.role, message.type) == (f"msg_{row.id.hex}", "assistant", "message")
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 2)
    assert message.model == "tensorzero::model_name::good"
    assert (row.input.system, row.input.messages[0].content[0].text) == ("be kind", "hello")
    assert row.inference_params.max_tokens == 10


@pytest.mark.parametrize("model", ["tensorzero::model_name::good", "headrace::function_name::f"])
async def test_takes_models_and_functions(bench: Any, model: str) -> None:
    async with bench() as it:
        assert (await it.client.messages.create(model=model, **HELLO)).content[0].text == "good day"


async def test_streams_in_the_official_order(bench: Any) -> None:
    async with bench() as it:
        body = {"model": "good", "stream": True, **HELLO}
        reply = await it.http.post("http://gateway/anthropic/v1/messages", json=body)
    events = [event.split("\n") for event in reply.text.split("\n\n") if event]
    assert [name.removeprefix("event: ") for name, _ in events] == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert all(json.loads(data.removeprefix("data: "))["type"] == name[len("event: ") :] for name, data in events)
    assert "[DONE]" not in reply.text


async def test_the_sdk_puts_a_stream_together(bench: Any) -> None:
    async with bench() as it:
        async with it.client.messages.stream(model="good", **HELLO) as stream:
            texts = [text async for text in stream.text_stream]
            message = await stream.get_final_message()
    assert texts == ["good ", "day"]
    assert (message.usage.input_tokens, message.usage.output_tokens, message.stop_reason) == (3, 2, "end_turn")


async def test_streams_mixed_calls_one_after_the_other(bench: Any) -> None:
    async with bench() as it:
        stream = await it.client.messages.create(model="mixed", stream=True, tools=[ADD], **HELLO)
        order = [(event.type, event.index) async for event in stream if event.type.startswith("content_block_")]
        async with it.client.messages.stream(model="mixed", tools=[ADD], **HELLO) as again:
            message = await again.get_final_message()
    opened: list[int] = []
    for kind, index in order:
        if kind == "content_block_start":
            assert not opened
            opened.append(index)
        assert opened == [index]
        if kind == "content_block_stop":
            opened.clear()
    calls = [(block.id, block.input) for block in message.content if block.type == "tool_use"]
    assert calls == [("a", {"x": 1}), ("b", {"x": 2})]
    assert "".join(block.text for block in message.content if block.type == "text") == "Calling.Still."
    assert message.content[-1].type == "server_tool_use"
    assert message.stop_reason == "tool_use"


async def test_tools_work_over_several_turns(bench: Any) -> None:
    async with bench() as it:
        messages: list[Any] = [{"role": "user", "content": "add"}]
        asked: dict[str, Any] = {"max_tokens": 10, "tools": [ADD], "tool_choice": {"type": "any"}}
        answer = await it.client.messages.create(model="caller", messages=messages, **asked)
        (call,) = answer.content
        assert (answer.stop_reason, call.name, call.input) == ("tool_use", "add", {"x": 1})
        messages.append({"role": "assistant", "content": answer.content})
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "2"}
        messages.append({"role": "user", "content": [result, {"type": "text", "text": "thanks"}]})
        answer = await it.client.messages.create(model="good", messages=messages, **asked)
        row = await it.row(answer)
    assert answer.content[0].text == "good day"
    assert row.input.messages[1].content[0].arguments == '{"x":1}'
    assert (row.input.messages[2].content[0].name, row.input.messages[2].content[0].result) == ("add", "2")


async def test_arguments_that_are_no_json_come_back_as_they_were(bench: Any) -> None:
    async with bench() as it:
        answer = await it.client.messages.create(model="confused", tools=[ADD], **HELLO)
        assert answer.content[0].input == {"tensorzero_raw_arguments": "x = 1"}
        turn = {"role": "assistant", "content": answer.content}
        again = await it.client.messages.create(model="good", max_tokens=10, messages=[turn])
        assert (await it.row(again)).input.messages[0].content[0].arguments == "x = 1"


async def test_thinking_comes_back_unchanged(bench: Any) -> None:
    async with bench() as it:
        asked: dict[str, Any] = {**HELLO, "thinking": {"type": "enabled", "budget_tokens": 1024}}
        plain = await it.client.messages.create(model="thinker", **asked)
        assert (await it.row(plain)).inference_params.thinking_budget_tokens == 1024
        async with it.client.messages.stream(model="thinker", **asked) as stream:
            streamed = await stream.get_final_message()
        assert [block.to_dict() for block in plain.content] == [
            {"type": "redacted_thinking", "data": "hidden"},
            {"type": "thinking", "thinking": "hm, yes", "signature": "sealed", "tensorzero_provider_type": "other"},
            {"type": "thinking", "thinking": "First.\n\nSecond.", "signature": ""},
            {"type": "text", "text": "Forty-two"},
        ]
        assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in plain.content]
        turn = {"role": "assistant", "content": streamed.content}
        turns = [turn, *HELLO["messages"]]
        message = await it.client.messages.create(model="good", max_tokens=10, messages=turns)
        row = await it.row(message)
    redacted, thought, _, _ = row.input.messages[0].content
    assert (redacted.text, redacted.signature) == (None, "hidden")
    assert (thought.text, thought.signature, thought.provider_type) == ("hm, yes", "sealed", "other")


async def test_cached_input_is_counted_apart(bench: Any) -> None:
    async with bench() as it:
        plain = (await it.client.messages.create(model="thinker", **HELLO)).usage
        async with it.client.messages.stream(model="thinker", **HELLO) as stream:
            streamed = (await stream.get_final_message()).usage
    for usage in (plain, streamed):
        assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (3, 6, 1)


@pytest.mark.parametrize(("reason", "stop"), ENDS.items())
async def test_says_why_it_stopped(bench: Any, reason: str, stop: str) -> None:
    async with bench() as it:
        plain = await it.client.messages.create(model=f"ends-{reason}", **HELLO)
        async with it.client.messages.stream(model=f"ends-{reason}", **HELLO) as stream:
            streamed = await stream.get_final_message()
    assert (plain.stop_reason, streamed.stop_reason) == (stop, stop)


async def test_a_json_function_answers_its_raw_text(bench: Any) -> None:
    async with bench() as it:
        model = "tensorzero::function_name::json"
        plain = await it.client.messages.create(model=model, **HELLO)
        async with it.client.messages.stream(model=model, **HELLO) as stream:
            streamed = await stream.get_final_message()
    assert plain.content[0].text == streamed.content[0].text == '{"answer": 42}'


async def test_parses_structured_output(bench: Any) -> None:
    class Out(BaseModel):
        answer: int

    async with bench() as it:
        message = await it.client.messages.parse(model="jason", output_format=Out, **HELLO)
        row = await it.row(message)
    assert message.parsed_output == Out(answer=42)
    assert row.inference_params.json_mode == "strict"


async def test_extensions_mean_what_they_mean_elsewhere(bench: Any) -> None:
    async with bench() as it:
        extra = {"tensorzero::variant_name": "a", "headrace::tags": {"who": "me"}}
        message = await it.client.messages.create(model="tensorzero::function_name::f", extra_body=extra, **HELLO)
        row = await it.row(message)
        assert str(row.id) == message.model_extra["inference_id"]
        assert str(row.episode_id) == message.model_extra["episode_id"]
        assert (row.tags["who"], row.tags["tensorzero::variant_pinned"]) == ("me", "a")
        dry = await it.client.messages.create(model="good", extra_body={"tensorzero::dryrun": True}, **HELLO)
        await it.row(await it.client.messages.create(model="good", **HELLO))
        rows = await it.host.store.inferences(InferenceQuery())
        assert dry.id not in {f"msg_{each.id.hex}" for each in rows}


@pytest.mark.parametrize("stream", [False, True])
async def test_raw_data_is_there_when_asked_for(bench: Any, stream: bool) -> None:
    async with bench() as it:
        extra = {"tensorzero::include_raw_response": True, "tensorzero::include_raw_usage": True}
        body = {"model": "good", "stream": stream, **extra, **HELLO}
        reply = await it.http.post("http://gateway/anthropic/v1/messages", json=body)
    assert "tensorzero_raw_usage" in reply.text
    assert ("tensorzero_raw_chunk" if stream else "tensorzero_raw_response") in reply.text
