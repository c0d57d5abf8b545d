"""What the Responses API's bodies become, and that no shape of them is more than a 400."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from headrace.errors import BadRequest
from headrace.exchange import InferenceRequest
from headrace.http import responses
from headrace.http.responses_bodies import read_body, to_request
from headrace.media import File
from headrace.types import (
    CustomTool,
    InputBlock,
    Params,
    ProviderTool,
    RawText,
    Specific,
    Template,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Unknown,
)
from starlette.routing import Router

pytestmark = pytest.mark.anyio

PNG = base64.b64encode(b"png").decode()
USER = {"role": "user", "content": "hi"}
CALL = {"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}"}


def asked(**body: Any) -> InferenceRequest:
    """The neutral request of a body."""
    return to_request(read_body(json.dumps({"model": "m", **body}).encode()))


def blocks(**body: Any) -> list[InputBlock]:
    """The blocks of all messages of a body."""
    return [block for message in asked(**body).input.messages for block in message.content]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ({"type": "input_text", "text": "a"}, Text("a")),
        ({"type": "output_text", "text": "a", "annotations": []}, Text("a")),
        ({"type": "refusal", "refusal": "no"}, Text("no")),
        (
            {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
            File(source_url="https://example.com/a.png", detail="low"),
        ),
        (
            {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "original"},
            File(mime_type="image/png", data=PNG, detail="high"),
        ),
        (
            {"type": "input_file", "file_data": f"data:application/pdf;base64,{PNG}", "filename": "a.pdf"},
            File(mime_type="application/pdf", data=PNG, filename="a.pdf"),
        ),
        (
            {"type": "input_file", "file_data": PNG, "filename": "a.pdf"},
            File(mime_type="application/pdf", data=PNG, filename="a.pdf"),
        ),
        (
            {"type": "input_file", "file_url": "https://example.com/a.pdf"},
            File(source_url="https://example.com/a.pdf"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": PNG, "format": "mp3"}},
            File(mime_type="audio/mpeg", data=PNG),
        ),
        ({"type": "tensorzero::template", "name": "t", "arguments": {"a": 1}}, Template("t", {"a": 1})),
        ({"type": "tensorzero::raw_text", "value": "a"}, RawText("a")),
    ],
    ids=lambda value: value.get("type", "") if isinstance(value, dict) else "",
)
def test_every_part_of_a_message_has_a_neutral_form(part: dict[str, Any], block: InputBlock) -> None:
    assert blocks(input=[{"role": "user", "content": [part]}]) == [block]


def test_system_messages_go_to_the_front() -> None:
    items = [USER, {"role": "developer", "content": [{"type": "input_text", "text": "b"}]}]
    assert asked(input=items, instructions="a").input.system == "a\nb"


def test_a_system_template_stands_alone() -> None:
    template = {
        "role": "system",
        "content": [{"type": "tensorzero::template", "name": "system", "arguments": {"a": 1}}],
    }
    assert asked(input=[template, USER]).input.system == {"a": 1}
    with pytest.raises(BadRequest, match="system template"):
        asked(input=[template, USER], instructions="b")


def test_what_the_assistant_said_in_a_row_is_one_message() -> None:
    output = {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "2"}]}
    items = [USER, {"role": "assistant", "content": "well"}, CALL, output, USER]
    messages = asked(input=items).input.messages
    assert [message.role for message in messages] == ["user", "assistant", "user", "user"]
    assert messages[1].content == (Text("well"), ToolCall("c", "add", "{}"))
    assert messages[2].content == (ToolResult("c", "add", "2"),)


def test_custom_calls_and_results_with_images_are_read() -> None:
    call = {"type": "custom_tool_call", "call_id": "c", "name": "shout", "input": "hey"}
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}
    output = {"type": "custom_tool_call_output", "call_id": "c", "output": [image]}
    assert blocks(input=[call, output]) == [
        ToolCall("c", "shout", "hey"),
        ToolResult("c", "shout", ""),
        File(mime_type="image/png", data=PNG),
    ]


def test_items_of_an_upstream_s_own_pass_through() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    assert blocks(input=[search]) == [Unknown(search)]


def test_parameters_have_their_neutral_names() -> None:
    params = asked(
        input="hi",
        temperature=0.1,
        top_p=0.2,
        max_output_tokens=3,
        reasoning={"effort": "high", "summary": "auto"},
        text={"verbosity": "low", "format": {"type": "json_object"}},
        service_tier="flex",
    ).params
    assert params == Params(
        temperature=0.1,
        top_p=0.2,
        max_tokens=3,
        reasoning_effort="high",
        verbosity="low",
        service_tier="flex",
        json_mode="on",
    )


def test_tools_of_all_kinds_have_their_neutral_forms() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: A"}
    request = asked(
        input="hi",
        tools=[
            {"type": "function", "name": "f", "parameters": None},
            {"type": "custom", "name": "c", "format": grammar},
            {"type": "web_search"},
        ],
        tool_choice={
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}],
        },
        parallel_tool_calls=False,
    )
    assert request.additional_tools == (Tool("f", "", {"type": "object", "properties": {}}),)
    form = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}}
    assert request.custom_tools == (CustomTool("c", None, form),)
    assert request.provider_tools == (ProviderTool({"type": "web_search"}),)
    assert (request.tool_choice, request.allowed_tools) == ("required", ("f", "c"))
    assert request.parallel_tool_calls is False
    assert asked(input="hi", tool_choice={"type": "custom", "name": "c"}).tool_choice == Specific("c")


def test_a_schema_is_asked_for_strictly() -> None:
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    request = asked(input="hi", text={"format": form})
    assert (request.params.json_mode, request.output_schema) == ("strict", {"type": "object"})


def test_unknown_fields_are_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    asked(input="hi", nonsense=1, user="me")
    assert "nonsense" in caplog.text
    assert "user" not in caplog.text


@pytest.mark.parametrize(
    ("item", "where"),
    [
        (1, "input"),
        ({}, r"input\[0\].type"),
        ({"type": []}, r"input\[0\].type"),
        ({"type": "message"}, r"input\[0\]"),
        ({"role": "robot", "content": "x"}, r"input\[0\].role"),
        ({"role": "user", "content": 1}, r"input\[0\].content"),
        ({"role": "user", "content": [1]}, r"input\[0\].content\[0\]"),
        ({"role": "user", "content": [{"type": "hologram"}]}, r"input\[0\].content\[0\]"),
        ({"role": "user", "content": [{"type": "input_image"}]}, "file_id"),
        ({"role": "user", "content": [{"type": "input_image", "image_url": "file:///etc/passwd"}]}, "image_url"),
        ({"role": "user", "content": [{"type": "input_image", "image_url": "ftp://h/x"}]}, "image_url"),
        ({"role": "user", "content": [{"type": "input_image", "image_url": "data:,x"}]}, "data URL"),
        ({"role": "user", "content": [{"type": "input_image", "image_url": "http://[::1"}]}, "image_url"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}, "file_id"),
        ({"role": "user", "content": [{"type": "input_file", "file_data": "??"}]}, "file_data"),
        ({"role": "user", "content": [{"type": "input_file", "file_data": PNG}]}, "of which type"),
        ({"role": "system", "content": [{"type": "input_image", "image_url": "http://h/x"}]}, "system content"),
        ({"type": "item_reference", "id": "x"}, "item_reference|keeps no items"),
        ({"type": "function_call", "call_id": "c", "name": "n", "arguments": {}}, "arguments"),
        ({"type": "function_call_output", "call_id": "c", "output": "x"}, "tool call id not found"),
        ({"type": "function_call_output", "call_id": "c", "output": 1}, "output"),
        ({"type": "reasoning", "summary": "x"}, "summary"),
        ({"type": "reasoning", "summary": [{"type": "summary_text"}]}, "summary"),
    ],
)
def test_a_wrong_item_is_said_where_it_is(item: Any, where: str) -> None:
    with pytest.raises(BadRequest, match=where):
        asked(input=[item])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"model": 1, "input": "x"}',
        b'{"model": "", "input": "x"}',
        b'{"model": "m", "input": {}}',
        b'{"model": "m", "input": "x", "tools": [1]}',
        b'{"model": "m", "input": "x", "tools": [{"type": "function"}]}',
        b'{"model": "m", "input": "x", "tools": [{"type": {}}]}',
        b'{"model": "m", "input": "x", "tools": [{"type": "custom", "name": "c", "format": {"type": "x"}}]}',
        b'{"model": "m", "input": "x", "tool_choice": {"type": "allowed_tools", "tools": [{}], "mode": "auto"}}',
        b'{"model": "m", "input": "x", "tool_choice": {"type": []}}',
        b'{"model": "m", "input": "x", "text": {"format": {"type": "yaml"}}}',
        b'{"model": "m", "input": "x", "metadata": {"a": 1}}',
        b'{"model": "m", "input": "x", "tensorzero::episode_id": "x"}',
        b'{"model": "m", "input": "x", "tensorzero::namespace": ""}',
        b'{"model": "m", "input": "x", "tensorzero::tags": {"tensorzero::a": "b"}}',
        b'{"model": "m", "input": "x", "tensorzero::dryrun": true, "headrace::dryrun": true}',
        b'{"model": "m", "input": "x", "tensorzero::extra_body": [{"pointer": "/a"}]}',
        b'{"model": "m", "input": "\xff"}',
        b'{"model": "m", "input": ' + b"[" * 100_000,
        b'{"model": "m", "input": "x", "max_output_tokens": 1e999}',
        b'{"model": "m", "input": "x", "max_output_tokens": 99999999999999999999999}',
    ],
)
async def test_no_body_is_more_than_a_400(opened: Any, body: bytes) -> None:
    toml = '[models.m]\nrouting = ["p"]\n[models.m.providers.p]\ntype = "echo"\n'
    async with opened(toml) as host:
        router = Router([*responses.routes(host.gateway, 1_000_000)])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(router), base_url="http://gateway") as http:
            reply = await http.post("/openai/v1/responses", content=body)
    assert reply.status_code == 400, reply.text
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
