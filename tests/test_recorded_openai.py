"""Real exchanges with OpenAI and servers of its dialect, replayed through the provider."""

from __future__ import annotations

import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from headrace.conformance.provider import HELLO
from headrace.conformance.script import Script, services
from headrace.errors import ProviderError, RateLimited
from headrace.media import File
from headrace.transport import Reply
from headrace.types import (
    Block,
    Chunk,
    EmbeddingRequest,
    Message,
    ModelRequest,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolConfig,
    ToolResult,
    Usage,
)
from headrace_openai import OpenAI, Settings

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures" / "providers"

# The Responses and Batch endpoints are not this provider's (yet); a refusal reads the same at any endpoint.
PREFIXES = ("openai/chat_", "openai/embeddings_", "openai/error_", "openai_compatible/")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.shared,
    pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"no recordings at {FIXTURES}"),
]


def recorded() -> dict[str, dict[str, Any]]:
    paths = [path for folder in ("openai", "openai_compatible") for path in sorted((FIXTURES / folder).glob("*.json"))]
    cases = {f"{path.parent.name}/{path.stem}": json.loads(path.read_text(encoding="utf-8")) for path in paths}
    return {name: case for name, case in cases.items() if name.startswith(PREFIXES)}


CASES = recorded()
ERRORS = {name: case for name, case in CASES.items() if "error" in case["expected"]}
EMBEDDINGS = {name: case for name, case in CASES.items() if "embeddings_" in name}
STREAMS = {
    name: case
    for name, case in CASES.items()
    if name not in ERRORS and case["response"]["headers"]["content-type"].startswith("text/event-stream")
}
WHOLE = {name: case for name, case in CASES.items() if name not in {*ERRORS, *EMBEDDINGS, *STREAMS}}


# What was asked, where the recording client asked it as a gateway could: a refused body was wrong on purpose.
CHATS = {
    name: case for name, case in CASES.items() if name.startswith("openai/chat_") and name != "openai/chat_error_400"
}


def cases(of: dict[str, dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", of.values(), ids=of.keys())


def replaying(case: dict[str, Any], *, piece: int = 7) -> OpenAI:
    return replaying_and_seen(case, piece=piece)[0]


def replaying_and_seen(case: dict[str, Any], *, piece: int = 7) -> tuple[OpenAI, Script]:
    response = case["response"]
    body = response["body"] if isinstance(response["body"], str) else json.dumps(response["body"], ensure_ascii=False)
    script = Script(Reply(response["status"], response["headers"], body.encode()), piece=piece)
    return OpenAI(Settings(model_name="m", api_key_location="none"), services(script)), script


def neutral(body: dict[str, Any]) -> ModelRequest:
    """The request that a recorded one would have been, had it come to a gateway."""
    system = [message["content"] for message in body["messages"] if message["role"] == "system"]
    turns = tuple(turn(message) for message in body["messages"] if message["role"] != "system")
    functions = [tool["function"] for tool in body.get("tools", ())]
    tools = tuple(Tool(each["name"], each.get("description", ""), each["parameters"]) for each in functions)
    return ModelRequest(
        messages=turns, system=system[0] if system else None, tools=ToolConfig(tools) if tools else None
    )


def turn(message: dict[str, Any]) -> Message:
    if message["role"] == "tool":
        return Message("user", (ToolResult(message["tool_call_id"], "f", message["content"]),))
    content = message.get("content") or []
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    calls = [(call["id"], call["function"]) for call in message.get("tool_calls") or ()]
    blocks = [*map(block, parts), *(ToolCall(id_, each["name"], each["arguments"]) for id_, each in calls)]
    return Message(message["role"], tuple(blocks))


def block(part: dict[str, Any]) -> Block:
    if part["type"] == "text":
        return Text(part["text"])
    if part["type"] == "image_url":
        return File(source_url=part["image_url"]["url"])
    mime, _, data = part["file"]["file_data"].removeprefix("data:").partition(";base64,")
    return File(mime, data, filename=part["file"]["filename"])


def said(message: dict[str, Any]) -> dict[str, Any]:
    """A recorded message without what clients may say in two ways: nulls, and a lone text as a list."""
    kept = {name: value for name, value in message.items() if value is not None}
    content = kept.get("content")
    if isinstance(content, list) and [part["type"] for part in content] == ["text"]:
        kept["content"] = content[0]["text"]
    return kept


def kinds(blocks: tuple[Block, ...]) -> list[str]:
    names = {Text: "text", Thought: "thought"}
    return [f"tool_call:{block.name}" if isinstance(block, ToolCall) else names[type(block)] for block in blocks]


def streamed_kinds(chunks: list[Chunk]) -> list[str]:
    """One kind per (kind, id), in order of first appearance; every tool call's arguments have to be JSON."""
    found: dict[tuple[str, str], str] = {}
    arguments: dict[str, str] = {}
    for delta in (delta for chunk in chunks for delta in chunk.content):
        match delta:
            case TextDelta():
                found.setdefault(("text", delta.id), "text")
            case ThoughtDelta():
                found.setdefault(("thought", delta.id), "thought")
            case ToolCallDelta():
                found.setdefault(("tool_call", delta.id), f"tool_call:{delta.raw_name}")
                arguments[delta.id] = arguments.get(delta.id, "") + delta.raw_arguments
    assert all(isinstance(json.loads(text), dict) for text in arguments.values())
    return list(found.values())


def tokens(*usages: Usage) -> dict[str, int]:
    names = {
        "in": "input_tokens",
        "out": "output_tokens",
        "cache_read": "provider_cache_read_input_tokens",
    }
    said = {short: [getattr(usage, name) for usage in usages] for short, name in names.items()}
    return {
        short: max(value for value in values if value is not None)
        for short, values in said.items()
        if any(value is not None for value in values)
    }


def expected_tokens(case: dict[str, Any]) -> dict[str, int]:
    return {name: case["expected"][name] for name in ("in", "out", "cache_read") if name in case["expected"]}


@cases(WHOLE)
async def test_a_whole_answer_is_read_as_expected(case: dict[str, Any]) -> None:
    response = await replaying(case).complete(HELLO)
    assert kinds(response.output) == case["expected"]["blocks"]
    assert response.finish_reason == case["expected"]["finish"]
    assert tokens(response.usage) == expected_tokens(case)
    assert json.loads(response.raw_response) == case["response"]["body"]
    assert response.raw_usage == case["response"]["body"]["usage"]


@cases(CHATS)
async def test_a_request_goes_out_with_the_messages_and_tools_of_the_recorded_one(case: dict[str, Any]) -> None:
    recorded = case["request"]["body"]
    provider, script = replaying_and_seen(case)
    try:
        await provider.complete(neutral(recorded))
    except ProviderError:
        assert "error" in case["expected"] or case in STREAMS.values()
    sent = json.loads(script.calls[0].body)
    assert sent["messages"] == [said(message) for message in recorded["messages"]]
    assert [tool["function"]["name"] for tool in sent.get("tools", ())] == [
        tool["function"]["name"] for tool in recorded.get("tools", ())
    ]


@cases(STREAMS)
@pytest.mark.parametrize("piece", [0, 7, 1], ids=["whole", "7-bytes", "1-byte"])
async def test_a_stream_is_read_as_expected(case: dict[str, Any], piece: int) -> None:
    async with aclosing(replaying(case, piece=piece).stream(HELLO)) as stream:
        chunks = [chunk async for chunk in stream]
    assert streamed_kinds(chunks) == case["expected"]["blocks"]
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == [case["expected"]["finish"]]
    assert tokens(*(chunk.usage for chunk in chunks if chunk.usage)) == expected_tokens(case)


@cases(ERRORS)
async def test_a_refusal_keeps_its_status_and_its_words(case: dict[str, Any]) -> None:
    for ask in (replaying(case).complete(HELLO), anext(replaying(case).stream(HELLO))):
        with pytest.raises(ProviderError) as caught:
            await ask
        error = caught.value
        assert error.status == case["expected"]["error"]
        assert isinstance(error, RateLimited) == (error.status == 429)
        assert error.raw_response is not None
        assert set(json.loads(error.raw_response)["error"]) == set(case["expected"]["body_keys"])
        assert case["response"]["body"]["error"]["message"] in json.loads(error.raw_response)["error"]["message"]


@cases(EMBEDDINGS)
async def test_vectors_are_read_as_expected(case: dict[str, Any]) -> None:
    response = await replaying(case).embed(EmbeddingRequest(input="hi"))
    (shown,) = case["expected"]["blocks"]
    (vector,) = response.embeddings
    assert f"{len(vector)} dims" in shown
    # OpenAI's vectors have length one, which a wrong byte order would not keep.
    assert sum(number * number for number in vector) == pytest.approx(1, abs=1e-3)
    assert tokens(response.usage) == expected_tokens(case)
