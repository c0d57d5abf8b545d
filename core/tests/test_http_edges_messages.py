"""Sharp edges of the HTTP API, by the numbers of http-api 24: messages and tools, on both surfaces."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from headrace.http.app import create_app
from headrace.types import Text, ToolCall, ToolResult
from recipes import function, model

pytestmark = pytest.mark.anyio

CHAT = {"model": "tensorzero::function_name::f", "messages": [{"role": "user", "content": "hello"}]}
SEARCH = """[tools.search]
description = "Look something up."
name = "web_search"
parameters = { __tensorzero_remapped_path = "search", __data = "{}" }
"""
WITH_TOOL = model() + SEARCH + function().replace('type = "chat"\n', 'type = "chat"\ntools = ["search"]\n', 1)
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


@pytest.fixture
def serving(opened: Any) -> Callable[..., Any]:
    """``async with serving(toml) as (http, host)``."""

    @asynccontextmanager
    async def open_(toml: str) -> AsyncGenerator[tuple[httpx.AsyncClient, Any], None]:
        async with opened(toml) as host:
            transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
                yield http, host

    return open_


def said(*blocks: Any, role: str = "user", **fields: Any) -> dict[str, Any]:
    """The body of an inference of function f with one message."""
    return {"function_name": "f", "input": {"messages": [{"role": role, "content": list(blocks)}]}, **fields}


# -- messages -----------------------------------------------------------------------------------------------

GREETED = """[functions.f]
type = "chat"
user_schema = { __tensorzero_remapped_path = "user.json", __data = '{"type": "object", "required": ["name"]}' }
[functions.f.variants.v]
type = "chat_completion"
model = "m"
user_template = { __tensorzero_remapped_path = "user", __data = "{% if name is defined %}Hi {{ name }}{% endif %}" }
"""


@pytest.mark.parametrize(
    ("block", "status", "heard"),
    [
        ({"type": "text", "text": "Ada"}, 400, None),
        ({"type": "text", "text": '{"name": "Ada"}'}, 400, None),
        ({"type": "template", "name": "user", "arguments": {"name": "Ada"}}, 200, "Hi Ada"),
        ({"type": "raw_text", "value": "Ada"}, 200, "Ada"),
    ],
    ids=["text", "text-of-an-object", "template", "raw-text"],
)
async def test_http_edge_11_text_is_held_against_the_schema_as_a_string(
    serving: Any, block: Any, status: int, heard: str | None
) -> None:
    async with serving(model() + GREETED) as (http, host):
        reply = await http.post("/inference", json=said(block))
        asked = [request.messages[0].content for request in host.asked()]
    assert reply.status_code == status
    assert asked == ([(Text(heard),)] if heard else [])
    assert heard or reply.json()["error"].startswith("JSON Schema validation failed:\n")


@pytest.mark.parametrize("result", [{"degrees": 70}, 70, ["70F"], None], ids=["object", "number", "array", "null"])
async def test_http_edge_12_a_native_tool_result_is_a_string(serving: Any, result: Any) -> None:
    async with serving(model() + function()) as (http, _):
        block = {"type": "tool_result", "id": "1", "name": "t", "result": result}
        reply = await http.post("/inference", json=said(block))
    assert reply.status_code == 400
    assert reply.json()["error"].startswith("input.messages[0].content[0].result: ")


@pytest.mark.parametrize(
    ("message", "result"),
    [({"content": "70F"}, '"70F"'), ({"content": None}, "null"), ({}, "null")],
    ids=["text", "null", "absent"],
)
async def test_http_edge_12_openais_route_passes_a_tool_result_on_as_json(
    serving: Any, message: dict[str, Any], result: str
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "t", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "how warm?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", **message},
    ]
    async with serving(model() + function()) as (http, host):
        assert (await http.post("/openai/v1/chat/completions", json={**CHAT, "messages": messages})).status_code == 200
        [request] = host.asked()
    assert request.messages[-1].content == (ToolResult("c1", "t", result),)


PARSED, RAW = {"name": "parsed", "arguments": {"x": 1}}, {"raw_name": "raw", "raw_arguments": '{"y":2}'}


@pytest.mark.parametrize(
    ("fields", "call"),
    [
        ({**PARSED, **RAW}, ToolCall("1", "parsed", '{"x":1}')),
        ({**PARSED, **RAW, "name": None}, ToolCall("1", "raw", '{"y":2}')),
        ({**PARSED, **RAW, "arguments": None}, ToolCall("1", "raw", '{"y":2}')),
        (RAW, ToolCall("1", "raw", '{"y":2}')),
    ],
    ids=["both", "no-name", "no-arguments", "raw-only"],
)
async def test_http_edge_16_a_parsed_call_beats_its_raw_words(
    serving: Any, fields: dict[str, Any], call: ToolCall
) -> None:
    async with serving(model() + function()) as (http, host):
        block = {"type": "tool_call", "id": "1", **fields}
        assert (await http.post("/inference", json=said(block, role="assistant"))).status_code == 200
        [request] = host.asked()
    assert request.messages[0].content == (call,)


async def test_http_edge_17_a_text_block_has_nothing_beside_its_text(serving: Any) -> None:
    async with serving(model() + function()) as (http, _):
        block = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
        reply = await http.post("/inference", json=said(block))
    assert (reply.status_code, reply.json()) == (
        400,
        {"error": "input.messages[0].content[0]: unknown field `cache_control`"},
    )


# -- OpenAI's fields ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"stop": "END"}, "stop"),
        ({"response_format": "json_object"}, "response_format"),
        ({"tools": [{"type": "function", "function": {"name": "add"}}]}, "tools[0]"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
    ],
    ids=["stop-text", "format-text", "tool-without-parameters", "seed-negative", "seed-too-large"],
)
async def test_http_edge_13_openais_fields_have_one_form(serving: Any, fields: dict[str, Any], where: str) -> None:
    async with serving(model() + function()) as (http, _):
        reply = await http.post("/openai/v1/chat/completions", json={**CHAT, **fields})
    assert reply.status_code == 400
    assert where in reply.json()["error"]["message"]


async def test_http_edge_13_that_form_is_taken(serving: Any) -> None:
    fields = {"stop": ["END"], "response_format": {"type": "text"}, "tools": [ADD], "seed": 2**32 - 1}
    async with serving(model() + function()) as (http, host):
        assert (await http.post("/openai/v1/chat/completions", json={**CHAT, **fields})).status_code == 200
        [request] = host.asked()
    assert (request.params.stop_sequences, request.params.seed) == (("END",), 2**32 - 1)


@pytest.mark.parametrize(
    ("name", "status"), [("search", 200), ("add", 200), ("web_search", 400), ("nope", 400)], ids=str
)
async def test_http_edge_14_allowed_tools_are_keys_or_dynamic_names(serving: Any, name: str, status: int) -> None:
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": name}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    async with serving(WITH_TOOL) as (http, _):
        reply = await http.post("/openai/v1/chat/completions", json={**CHAT, "tools": [ADD], "tool_choice": choice})
    assert reply.status_code == status
    assert status == 200 or reply.json()["error"]["message"].startswith(f"Tool not found: {name}")


@pytest.mark.parametrize(
    ("allowed", "offered"),
    [(None, ["web_search", "add"]), (["search"], ["web_search"]), (["search", "add"], ["web_search", "add"])],
    ids=["no-list", "not-listed", "listed"],
)
async def test_http_edge_15_a_dynamic_tool_must_be_in_the_list_too(
    serving: Any, allowed: list[str] | None, offered: list[str]
) -> None:
    tool = {"name": "add", "description": "Add.", "parameters": {"type": "object"}}
    async with serving(WITH_TOOL) as (http, host):
        body = said({"type": "text", "text": "x"}, allowed_tools=allowed, additional_tools=[tool])
        assert (await http.post("/inference", json=body)).status_code == 200
        [request] = host.asked()
    assert [each.name for each in request.tools.offered] == offered
