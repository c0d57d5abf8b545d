"""What the Messages API's bodies become, and that no shape of them is more than a 400."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from headrace.errors import BadRequest
from headrace.exchange import InferenceRequest
from headrace.extras import ExtraBody
from headrace.http import anthropic as surface
from headrace.http.anthropic_bodies import read_body, to_request
from headrace.media import File
from headrace.types import (
    InputBlock,
    Params,
    ProviderTool,
    RawText,
    Specific,
    Template,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Unknown,
)
from starlette.routing import Router

pytestmark = pytest.mark.anyio

PNG = base64.b64encode(b"png").decode()
BASE64 = {"type": "base64", "media_type": "image/png", "data": PNG}
CALL = {"type": "tool_use", "id": "c", "name": "add", "input": {"x": 1}}
TEXT = base64.b64encode(b"words").decode()


def asked(**body: Any) -> InferenceRequest:
    """The neutral request of a body."""
    body = {"model": "m", "max_tokens": 5, "messages": [], **body}
    return to_request(read_body(json.dumps(body).encode()))


def blocks(role: str, *content: Any) -> tuple[InputBlock, ...]:
    """The blocks of a message."""
    return asked(messages=[{"role": role, "content": list(content)}]).input.messages[0].content


@pytest.mark.parametrize(
    ("role", "block", "neutral"),
    [
        ("user", {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, [Text("a")]),
        ("user", {"type": "image", "source": BASE64}, [File(mime_type="image/png", data=PNG)]),
        (
            "user",
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a"}},
            [File(source_url="https://example.com/a")],
        ),
        (
            "user",
            {"type": "document", "title": "t", "source": {**BASE64, "media_type": "application/pdf"}},
            [File(mime_type="application/pdf", data=PNG, filename="t")],
        ),
        (
            "user",
            {"type": "document", "source": {"type": "url", "url": "https://example.com/a"}},
            [File(mime_type="application/pdf", source_url="https://example.com/a")],
        ),
        (
            "user",
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
            [File(mime_type="text/plain", data=TEXT)],
        ),
        (
            "user",
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}},
            [Text("a")],
        ),
        ("assistant", CALL, [ToolCall("c", "add", '{"x":1}')]),
        ("assistant", {"type": "thinking", "thinking": "a", "signature": "s"}, [Thought("a", "s")]),
        ("assistant", {"type": "thinking", "thinking": "a", "signature": ""}, [Thought("a")]),
        ("assistant", {"type": "redacted_thinking", "data": "d"}, [Thought(None, "d")]),
        ("user", {"type": "tensorzero::template", "name": "t", "arguments": {}}, [Template("t", {})]),
        ("user", {"type": "tensorzero::raw_text", "value": "a"}, [RawText("a")]),
        ("assistant", {"type": "server_tool_use", "id": "x"}, [Unknown({"type": "server_tool_use", "id": "x"})]),
    ],
)
def test_every_block_has_a_neutral_form(role: str, block: dict[str, Any], neutral: list[InputBlock]) -> None:
    assert blocks(role, block) == tuple(neutral)


@pytest.mark.parametrize(
    ("result", "neutral"),
    [
        ({"content": "2"}, [ToolResult("c", "add", "2")]),
        ({}, [ToolResult("c", "add", "")]),
        ({"content": "no", "is_error": True}, [ToolResult("c", "add", "Error: no")]),
        (
            {"content": [{"type": "text", "text": "a"}, {"type": "image", "source": BASE64}]},
            [ToolResult("c", "add", "a"), File(mime_type="image/png", data=PNG)],
        ),
    ],
)
def test_tool_results_are_text_and_then_files(result: dict[str, Any], neutral: list[InputBlock]) -> None:
    messages = [
        {"role": "assistant", "content": [CALL]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", **result}]},
    ]
    assert asked(messages=messages).input.messages[1].content == tuple(neutral)


def test_system_prompts_are_one() -> None:
    later = {"role": "system", "content": "c"}
    system = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert asked(system=system, messages=[later]).input.system == "a\nb\nc"
    template = {"type": "tensorzero::template", "name": "system", "arguments": {"a": 1}}
    assert asked(system=[template]).input.system == {"a": 1}


def test_parameters_have_their_neutral_names() -> None:
    request = asked(
        temperature=0.1,
        top_p=0.2,
        top_k=3,
        stop_sequences=["x"],
        service_tier="standard_only",
        thinking={"type": "enabled", "budget_tokens": 2000},
        output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
        metadata={"user_id": "u"},
    )
    assert request.params == Params(
        temperature=0.1,
        top_p=0.2,
        max_tokens=5,
        stop_sequences=("x",),
        service_tier="default",
        thinking_budget_tokens=2000,
        json_mode="strict",
    )
    assert request.extra.body == (ExtraBody(pointer="/top_k", value=3),)
    assert (request.output_schema, request.tags) == ({"type": "object"}, {})


@pytest.mark.parametrize(
    ("body", "effort", "verbatim"),
    [
        ({"thinking": {"type": "disabled"}}, None, ()),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, "high", ()),
        ({"thinking": {"type": "adaptive"}}, None, (ExtraBody(pointer="/thinking", value={"type": "adaptive"}),)),
    ],
)
def test_thinking_without_a_budget_is_passed_on(
    body: dict[str, Any], effort: str | None, verbatim: tuple[ExtraBody, ...]
) -> None:
    request = asked(**body)
    assert (request.params.reasoning_effort, request.params.thinking_budget_tokens) == (effort, None)
    assert request.extra.body == verbatim


def test_own_tools_and_anthropic_s_are_told_apart() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    schema = {"type": "object"}
    request = asked(
        tools=[{"name": "a", "input_schema": schema}, {"type": "custom", "name": "b", "input_schema": schema}, search]
    )
    assert request.additional_tools == (Tool("a", "", schema), Tool("b", "", schema))
    assert request.provider_tools == (ProviderTool(search),)


@pytest.mark.parametrize(
    ("wanted", "choice", "parallel"),
    [
        ({"type": "auto"}, "auto", None),
        ({"type": "any", "disable_parallel_tool_use": True}, "required", False),
        ({"type": "tool", "name": "a", "disable_parallel_tool_use": False}, Specific("a"), True),
        ({"type": "none"}, "none", None),
    ],
)
def test_every_tool_choice_has_a_neutral_form(wanted: Any, choice: ToolChoice, parallel: bool | None) -> None:
    request = asked(tool_choice=wanted)
    assert (request.tool_choice, request.parallel_tool_calls) == (choice, parallel)


def test_a_bare_name_is_a_model_s() -> None:
    assert asked(model="anthropic::claude").model_name == "anthropic::claude"
    assert asked(model="headrace::function_name::f").function_name == "f"


@pytest.mark.parametrize(
    ("role", "block", "where"),
    [
        ("user", 1, r"messages\[0\].content"),
        ("user", {}, r"messages\[0\].content\[0\].type"),
        ("user", {"type": []}, r"messages\[0\].content\[0\].type"),
        ("user", {"type": "text"}, r"messages\[0\].content\[0\]"),
        ("user", {"type": "text", "text": 1}, r"messages\[0\].content\[0\].text"),
        ("user", CALL, "assistant"),
        ("assistant", {**CALL, "input": "x"}, "input"),
        ("user", {"type": "tool_result", "tool_use_id": "nope"}, "tool call id not found"),
        ("assistant", {"type": "tool_result", "tool_use_id": "c"}, "of the user"),
        ("user", {"type": "thinking", "thinking": "x"}, "of the assistant"),
        ("user", {"type": "image", "source": {"type": "file", "file_id": "f"}}, "source"),
        ("user", {"type": "image", "source": {**BASE64, "data": "??"}}, "base64"),
        ("user", {"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}}, "source.url"),
        ("user", {"type": "document", "source": {"type": "text", "data": ""}}, "empty"),
        ("system", {"type": "image", "source": BASE64}, "system content"),
    ],
)
def test_a_wrong_block_is_said_where_it_is(role: str, block: Any, where: str) -> None:
    with pytest.raises(BadRequest, match=where):
        blocks(role, block)


def test_documents_of_documents_have_an_end() -> None:
    block: dict[str, Any] = {"type": "text", "text": "a"}
    for _ in range(20):
        block = {"type": "document", "source": {"type": "content", "content": [block]}}
    with pytest.raises(BadRequest, match="nested deeper"):
        blocks("user", block)


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "null",
        '{"messages": []}',
        '{"model": "", "max_tokens": 1, "messages": []}',
        '{"model": "m", "messages": []}',
        '{"model": "m", "max_tokens": 0, "messages": []}',
        '{"model": "m", "max_tokens": 1}',
        '{"model": "m", "max_tokens": 1, "messages": {}}',
        '{"model": "m", "max_tokens": 1, "messages": [{"role": "robot", "content": "x"}]}',
        '{"model": "m", "max_tokens": 1, "messages": [], "system": 1}',
        '{"model": "m", "max_tokens": 1, "messages": [], "system": [1]}',
        '{"model": "m", "max_tokens": 1, "messages": [], "tools": [{}]}',
        '{"model": "m", "max_tokens": 1, "messages": [], "tools": [{"type": {}}]}',
        '{"model": "m", "max_tokens": 1, "messages": [], "tool_choice": "auto"}',
        '{"model": "m", "max_tokens": 1, "messages": [], "tool_choice": {"type": "tool"}}',
        '{"model": "m", "max_tokens": 1, "messages": [], "thinking": {"type": "enabled"}}',
        '{"model": "m", "max_tokens": 1, "messages": [], "thinking": {"type": 1}}',
        '{"model": "m", "max_tokens": 1, "messages": [], "thinking": {"type": "enabled", "budget_tokens": 1e12}}',
        '{"model": "m", "max_tokens": 1, "messages": [], "top_k": -1}',
        '{"model": "m", "max_tokens": 1, "messages": [], "stop_sequences": "x"}',
        '{"model": "m", "max_tokens": 1, "messages": [], "tensorzero::internal": true}',
        '{"model": "m", "max_tokens": 1, "messages": [], "tensorzero::params": {"chat_completion": {"x": 1}}}',
    ],
)
async def test_no_body_is_more_than_a_400(opened: Any, body: str) -> None:
    toml = '[models.m]\nrouting = ["p"]\n[models.m.providers.p]\ntype = "echo"\n'
    async with opened(toml) as host:
        router = Router([*surface.routes(host.gateway, 1_000_000)])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(router), base_url="http://gateway") as http:
            reply = await http.post("/anthropic/v1/messages", content=body)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert reply.json()["type"] == "error"
