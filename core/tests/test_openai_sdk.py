"""Chat completions with OpenAI's own SDK, through the app: what it sends is understood, and what it gets it reads."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest
from headrace import Factory, Provider, Services, plugins
from headrace.errors import ProviderError
from headrace.http.app import create_app
from headrace.media import File
from headrace.plugins import Plugin, Registry
from headrace.types import (
    Block,
    Chunk,
    Delta,
    ModelRequest,
    ModelResponse,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from pydantic import BaseModel

# The SDK leaves its own generators of a stream to the garbage collector, which trio says aloud.
pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx2):ResourceWarning")]

TOML = """
[object_storage]
type = "disabled"

[models.m]
routing = ["p"]
[models.m.providers.p]
type = "player"

[functions.f]
type = "chat"
[functions.f.variants.a]
type = "chat_completion"
model = "m"

[functions.j]
type = "json"
[functions.j.variants.a]
type = "chat_completion"
model = "m"
json_mode = "off"
"""

F, J, M = "tensorzero::function_name::f", "tensorzero::function_name::j", "tensorzero::model_name::m"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(32)).decode()
USAGE = Usage(input_tokens=3, output_tokens=2)


class Nothing(BaseModel, extra="forbid"):
    """Nothing to set."""


class Player:
    """Plays what the last text asks for, and keeps what it was asked."""

    def __init__(self, asked: list[ModelRequest]) -> None:
        self._asked = asked

    def takes_url(self, file: File) -> bool:
        """Any file may stay where it is."""
        return True

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Everything at once."""
        self._asked.append(request)
        text = _text(request)
        if text == "fail":
            raise ProviderError("broken", status=500, raw_request="asked", raw_response="no")
        output: tuple[Block, ...] = (Text('{"a": 1}' if request.output_schema else f"you said {text}"),)
        if text == "think":
            output = (Thought("hm", "sig"), *output)
        if text == "tools":
            output = (ToolCall("c1", "add", '{"a": 1}'), ToolCall("c2", "sub", '{"b": 2}'))
        return ModelResponse(
            output=output,
            usage=USAGE,
            finish_reason="tool_call" if text == "tools" else "stop",
            raw_usage={"tokens": 5},
            raw_request="asked",
            raw_response="said",
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk, None]:
        """The same, piece by piece."""
        answer = await self.complete(request)
        first: str | None = "asked"
        for delta in _deltas(answer.output):
            yield Chunk(content=(delta,), raw="event", raw_request=first)
            first = None
        yield Chunk(usage=USAGE, raw_usage=answer.raw_usage, finish_reason=answer.finish_reason)


def _text(request: ModelRequest) -> str:
    texts = [block.text for message in request.messages for block in message.content if isinstance(block, Text)]
    return texts[-1] if texts else ""


def _deltas(output: tuple[Block, ...]) -> list[Delta]:
    """Tool calls at the same time, as upstreams do with parallel calls."""
    calls = [block for block in output if isinstance(block, ToolCall)]
    deltas: list[Delta] = [ThoughtDelta("0", text=block.text) for block in output if isinstance(block, Thought)]
    deltas += [TextDelta("0", word) for block in output if isinstance(block, Text) for word in block.text.split(" ")]
    deltas += [ToolCallDelta(call.id, call.name, "") for call in calls]
    for part in (slice(0, 4), slice(4, None)):
        deltas += [ToolCallDelta(call.id, None, call.arguments[part]) for call in calls]
    return deltas


@pytest.fixture(scope="session")
def asked() -> list[ModelRequest]:
    """What the provider has been asked, in order."""
    return []


@pytest.fixture(scope="session")
def registry(asked: list[ModelRequest]) -> Registry:
    """Every installed plugin and the provider ``player``."""

    def build(settings: Nothing, services: Services) -> Player:
        return Player(asked)

    found = plugins.load()
    offer: Factory[Provider] = Factory("player", Nothing, build)
    found.add(Plugin(name="player", distribution="tests", version="0", state="loaded"), [("provider", offer)])
    return found


@pytest.fixture
def sdk(opened: Any) -> Callable[..., Any]:
    """``async with sdk() as client``."""

    @asynccontextmanager
    async def open_() -> AsyncGenerator[openai.AsyncOpenAI, None]:
        async with opened(TOML) as host:
            transport = httpx2.ASGITransport(create_app(host.gateway, owns_gateway=False))
            async with httpx2.AsyncClient(transport=transport) as http:
                yield openai.AsyncOpenAI(
                    base_url="http://gateway/openai/v1", api_key="none needed", http_client=http, max_retries=0
                )

    return open_


def says(text: str) -> Any:
    return [{"role": "user", "content": text}]


def tool(name: str) -> Any:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


# -- chat completions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [F, M, "headrace::function_name::f", "headrace::model_name::m"])
async def test_chats(sdk: Any, model: str) -> None:
    async with sdk() as client:
        answer = await client.chat.completions.create(model=model, messages=says("hi"), user="me")
    assert answer.choices[0].message.content == "you said hi"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (3, 5)
    assert answer.model == (f"{F}::variant_name::a" if "function" in model else M)


async def test_parameters_arrive_at_the_provider(sdk: Any, asked: list[ModelRequest]) -> None:
    extra = {
        "headrace::tags": {"a": "b"},
        "tensorzero::params": {"chat_completion": {"seed": 7}},
        "tensorzero::variant_name": "a",
        "tensorzero::credentials": {"key": "secret"},
    }
    async with sdk() as client:
        await client.chat.completions.create(
            model=F, messages=says("hi"), temperature=0.5, max_tokens=9, stop=["x"], seed=1, extra_body=extra
        )
    params = asked[-1].params
    assert (params.temperature, params.max_tokens, params.stop_sequences, params.seed) == (0.5, 9, ("x",), 7)
    assert asked[-1].credentials == {"key": "secret"}


@pytest.mark.parametrize("asks", [True, False], ids=["usage-asked", "usage-not-asked"])
async def test_streams(sdk: Any, asks: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if asks else {}
    async with sdk() as client:
        stream = await client.chat.completions.create(model=F, messages=says("hi"), stream=True, **options)
        *chunks, last = [chunk async for chunk in stream]
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["you", "said", "hi"]
    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant", None, None]
    assert all(chunk.usage is None and chunk.choices[0].finish_reason is None for chunk in chunks)
    assert last.choices[0].finish_reason == "stop"
    assert (last.usage.total_tokens if last.usage else None) == (5 if asks else None)


async def test_streams_json_functions(sdk: Any) -> None:
    async with sdk() as client, client.chat.completions.stream(model=J, messages=says("hi")) as stream:
        answer = await stream.get_final_completion()
    assert answer.choices[0].message.content == "yousaidhi"


async def test_calls_tools_and_takes_their_results(sdk: Any, asked: list[ModelRequest]) -> None:
    messages = says("tools")
    async with sdk() as client:
        first = await client.chat.completions.create(model=M, messages=messages, tools=[tool("add"), tool("sub")])
        message = first.choices[0].message
        results = [{"role": "tool", "tool_call_id": call.id, "content": "3"} for call in message.tool_calls]
        await client.chat.completions.create(model=M, messages=[*messages, message, *results])
    assert first.choices[0].finish_reason == "tool_calls"
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls] == [
        ("c1", "add", '{"a": 1}'),
        ("c2", "sub", '{"b": 2}'),
    ]
    user, assistant, last = asked[-1].messages
    assert [turn.role for turn in (user, assistant, last)] == ["user", "assistant", "user"]
    assert [getattr(block, "id", None) for block in (*assistant.content, *last.content)] == ["c1", "c2", "c1", "c2"]
    assert [getattr(block, "result", None) for block in last.content] == ['"3"', '"3"']


async def test_streams_parallel_tool_calls(sdk: Any) -> None:
    tools = [tool("add"), tool("sub")]
    async with sdk() as client, client.chat.completions.stream(model=M, messages=says("tools"), tools=tools) as stream:
        answer = await stream.get_final_completion()
    assert [
        (call.id, call.function.name, call.function.arguments) for call in answer.choices[0].message.tool_calls
    ] == [
        ("c1", "add", '{"a": 1}'),
        ("c2", "sub", '{"b": 2}'),
    ]


async def test_only_allowed_tools_are_offered(sdk: Any, asked: list[ModelRequest]) -> None:
    choice = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "sub"}}]},
    }
    async with sdk() as client:
        await client.chat.completions.create(
            model=M, messages=says("hi"), tools=[tool("add"), tool("sub")], tool_choice=choice
        )
        with pytest.raises(openai.BadRequestError, match="Tool not found: sub"):
            await client.chat.completions.create(model=M, messages=says("hi"), tools=[tool("add")], tool_choice=choice)
    tools = asked[-1].tools
    assert tools is not None
    assert [each.name for each in tools.offered] == ["sub"]


class Sum(BaseModel):
    """What the SDK makes a schema of."""

    a: int


async def test_structured_output_is_parsed_by_the_sdk(sdk: Any, asked: list[ModelRequest]) -> None:
    async with sdk() as client:
        answer = await client.chat.completions.parse(model=M, messages=says("hi"), response_format=Sum)
    assert answer.choices[0].message.parsed == Sum(a=1)
    assert asked[-1].json_mode == "strict"
    assert asked[-1].output_schema == Sum.model_json_schema() | {"additionalProperties": False}


async def test_thoughts_go_out_and_come_back(sdk: Any, asked: list[ModelRequest]) -> None:
    async with sdk() as client:
        answer = await client.chat.completions.create(model=M, messages=says("think"))
        message = answer.choices[0].message
        await client.chat.completions.create(model=M, messages=[*says("think"), message, *says("and?")])
        stream = await client.chat.completions.create(model=M, messages=says("think"), stream=True)
        first, *_ = [chunk async for chunk in stream]
    assert message.tensorzero_extra_content == [
        {"type": "thought", "insert_index": 0, "text": "hm", "signature": "sig"}
    ]
    assert asked[-2].messages[1].content == (Thought("hm", "sig"), Text("you said think"))
    (thought,) = first.choices[0].delta.tensorzero_extra_content
    assert (thought["type"], thought["insert_index"], thought["text"]) == ("thought", 0, "hm")


async def test_images_arrive_at_the_provider(sdk: Any, asked: list[ModelRequest]) -> None:
    content = [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
    ]
    async with sdk() as client:
        await client.chat.completions.create(model=M, messages=[{"role": "user", "content": content}])
    files = [block for block in asked[-1].messages[0].content if isinstance(block, File)]
    assert [(file.source_url, file.mime_type, file.detail, file.filename) for file in files] == [
        ("https://example.com/cat.png", None, "low", None),
        (None, "image/png", None, None),
        (None, "application/pdf", None, "a.pdf"),
    ]
    assert files[1].data == PNG


async def test_raw_data_comes_when_asked_for(sdk: Any) -> None:
    extra = {f"tensorzero::{name}": True for name in ("include_raw_usage", "include_raw_response")}
    async with sdk() as client:
        answer = await client.chat.completions.create(model=M, messages=says("hi"), extra_body=extra)
        stream = await client.chat.completions.create(model=M, messages=says("hi"), stream=True, extra_body=extra)
        chunks = [chunk async for chunk in stream]
    (usage,), (response,) = answer.tensorzero_raw_usage, answer.tensorzero_raw_response
    assert (usage["data"], usage["provider_type"], usage["api_type"]) == ({"tokens": 5}, "player", "chat_completions")
    assert (response["data"], response["model_inference_id"]) == ("said", usage["model_inference_id"])
    assert [getattr(chunk, "tensorzero_raw_chunk", None) for chunk in chunks].count("event") == 3
    assert chunks[-1].usage.total_tokens == 5
    assert any(getattr(chunk, "tensorzero_raw_usage", None) for chunk in chunks)


# -- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": "gpt-4o"}, openai.BadRequestError, "`model` field must start with"),
        ({"model": "tensorzero::function_name::nope"}, openai.NotFoundError, "Unknown function: nope"),
        ({"n": 2}, openai.BadRequestError, "`n` must be absent or 1"),
        ({"messages": says("fail")}, openai.InternalServerError, "All variants failed with errors: "),
        ({"messages": says("fail"), "stream": True}, openai.InternalServerError, "All variants failed with errors: "),
        ({"messages": [{"role": "user", "content": [{}, 7]}]}, openai.BadRequestError, r"messages\[0\].content\[1\]"),
        ({"extra_body": {"tensorzero::episode_id": "x"}}, openai.BadRequestError, "tensorzero::episode_id"),
        ({"extra_body": {"headrace::tags": {"headrace::x": "y"}}}, openai.BadRequestError, "Invalid tag"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_errors_are_the_sdks_own_classes(sdk: Any, change: Any, error: Any, message: str) -> None:
    async with sdk() as client:
        with pytest.raises(error, match=message) as caught:
            await client.chat.completions.create(**{"model": F, "messages": says("hi"), **change})
    assert set(caught.value.body) == {"message"}


async def test_a_failure_has_the_failed_attempts_when_asked_for(sdk: Any) -> None:
    async with sdk() as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(
                model=F, messages=says("fail"), extra_body={"tensorzero::include_raw_response": True}
            )
    (attempt,) = caught.value.response.json()["tensorzero_raw_response"]
    assert attempt == {"provider_type": "player", "api_type": "chat_completions", "data": "no"}
