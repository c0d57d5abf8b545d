"""JSON modes: what is asked of a provider for each, and how a call of ``respond`` reads as text."""

from __future__ import annotations

from typing import Any

import pytest
from headrace.errors import BadRequest
from headrace.jsonmode import as_text, chunk_as_text, prepare
from headrace.schemas import Schema
from headrace.types import (
    Chunk,
    FunctionType,
    JsonMode,
    Specific,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolConfig,
    Usage,
)

SCHEMA = Schema({"type": "object"})
TOOLS = ToolConfig((Tool("add", "", {}),))


@pytest.mark.parametrize(
    ("mode", "type_", "resolved"),
    [
        (None, "json", "strict"),
        (None, "chat", "off"),
        ("off", "json", "off"),
        ("on", "json", "on"),
        ("strict", "json", "strict"),
        ("on", "chat", "on"),
        ("strict", "chat", "strict"),
    ],
)
def test_a_mode_is_what_was_said_or_what_suits_the_function(
    mode: JsonMode | None, type_: FunctionType, resolved: str
) -> None:
    asked = prepare(mode, type_, SCHEMA, None)
    assert (asked.json_mode, asked.tools, asked.by_tool) == (resolved, None, False)


@pytest.mark.parametrize("mode", [None, "on", "strict"])
def test_tools_pass_by_where_no_tool_stands_for_json(mode: JsonMode | None) -> None:
    assert prepare(mode, "chat", None, TOOLS).tools is TOOLS


@pytest.mark.parametrize("type_", ["json", "chat"])
def test_the_mode_tool_offers_exactly_the_tool_respond(type_: FunctionType) -> None:
    asked = prepare("tool", type_, SCHEMA, None)
    assert (asked.json_mode, asked.by_tool) == ("off", True)
    assert asked.tools == ToolConfig(
        (Tool("respond", "Respond to the user using the output schema provided.", {"type": "object"}),),
        choice=Specific("respond"),
    )


@pytest.mark.parametrize(
    ("schema", "tools", "message"),
    [
        (None, None, '`json_mode = "tool"` needs an `output_schema`'),
        (SCHEMA, TOOLS, '`json_mode = "tool"` cannot be combined with tools'),
    ],
    ids=["no-schema", "tools"],
)
def test_the_mode_tool_needs_a_schema_and_no_tools(schema: Any, tools: Any, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        prepare("tool", "chat", schema, tools)
    assert str(caught.value) == message


def test_calls_become_the_text_they_stand_for() -> None:
    assert as_text([Thought("hm"), ToolCall("1", "respond", '{"x":1}')]) == (Thought("hm"), Text('{"x":1}'))


def test_streamed_calls_become_text_and_nothing_else_changes() -> None:
    chunk = Chunk(
        content=(ThoughtDelta("0", text="hm"), ToolCallDelta("1", "respond", '{"x"')),
        usage=Usage(input_tokens=1),
        finish_reason="tool_call",
        raw="raw",
        raw_request="request",
    )
    assert chunk_as_text(chunk) == Chunk(
        content=(ThoughtDelta("0", text="hm"), TextDelta("1", '{"x"')),
        usage=Usage(input_tokens=1),
        finish_reason="tool_call",
        raw="raw",
        raw_request="request",
    )
    plain = Chunk(content=(TextDelta("1", "x"),))
    assert chunk_as_text(plain) is plain
