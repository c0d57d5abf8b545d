"""``input`` as callers write it: every block in every form, and what it becomes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from headrace.errors import BadRequest
from headrace.http import bodies
from headrace.http.blocks import shown
from headrace.http.errors import decode
from headrace.media import File, StoragePath
from headrace.types import (
    Input,
    InputMessage,
    RawText,
    Template,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Unknown,
)

KIND = {"type": "filesystem", "path": "/files"}
POINTER = {"kind": KIND, "path": "observability/files/a.png"}
STORED = StoragePath(KIND, "observability/files/a.png")
URL = "https://example.com/a.png"


def read(written: Any) -> Input:
    body = json.dumps({"function_name": "f", "input": written}).encode()
    return bodies.to_request(decode(bodies.inference, body)).input


def block(content: dict[str, Any]) -> Any:
    [message] = read({"messages": [{"role": "user", "content": [content]}]}).messages
    [found] = message.content
    return found


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"type": "text", "text": "a"}, Text("a")),
        ({"type": "text", "arguments": {"a": 1}}, Template("user", {"a": 1})),
        ({"type": "template", "name": "n", "arguments": {}}, Template("n", {})),
        ({"type": "raw_text", "value": "a"}, RawText("a")),
        ({"type": "tool_call", "id": "1", "name": "n", "arguments": "{}"}, ToolCall("1", "n", "{}")),
        ({"type": "tool_call", "id": "1", "name": "n", "arguments": {"a": [1]}}, ToolCall("1", "n", '{"a":[1]}')),
        (
            {"type": "tool_call", "id": "1", "raw_name": "r", "raw_arguments": "x", "name": "n", "arguments": None},
            ToolCall("1", "r", "x"),
        ),
        (
            {"type": "tool_call", "id": "1", "raw_name": "r", "raw_arguments": "[]", "name": "n", "arguments": []},
            ToolCall("1", "r", "[]"),
        ),
        (
            {"type": "tool_call", "id": "1", "raw_name": "r", "raw_arguments": "x", "name": "n", "arguments": "y"},
            ToolCall("1", "n", "y"),
        ),
        ({"type": "tool_call", "id": "1", "name": "n", "arguments": "", "more": 1}, ToolCall("1", "n", "")),
        ({"type": "tool_result", "id": "1", "name": "n", "result": "r"}, ToolResult("1", "n", "r")),
        ({"type": "thought"}, Thought(None)),
        (
            {"type": "thought", "text": "t", "_internal_provider_type": "x", "extra_data": {"a": 1}},
            Thought("t", None, None, "x", {"a": 1}),
        ),
        (
            {"type": "thought", "text": None, "summary": [{"type": "summary_text", "text": "s"}]},
            Thought(None, summary=[{"type": "summary_text", "text": "s"}]),
        ),
        ({"type": "unknown", "data": None}, Unknown(None)),
        ({"type": "unknown", "data": 1, "model_name": "m", "provider_name": "p"}, Unknown(1, "m", "p")),
        (
            {
                "type": "unknown",
                "data": 1,
                "model_provider_name": "headrace::model_name::openai::gpt::provider_name::openai",
            },
            Unknown(1, "openai::gpt", "openai"),
        ),
    ],
    ids=str,
)
def test_reads_every_block(written: dict[str, Any], meant: Any) -> None:
    assert block(written) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"file_type": "url", "url": URL, "detail": "low"}, File(source_url=URL, detail="low")),
        ({"url": URL, "mime_type": "image/png"}, File("image/png", source_url=URL)),
        ({"file_type": "base64", "data": "YQ==", "filename": "a"}, File(data="YQ==", filename="a")),
        ({"data": "YWJj", "mime_type": "image/png", "url": None}, File("image/png", "YWJj")),
        (
            {"file_type": "object_storage_pointer", "mime_type": "image/png", "storage_path": POINTER},
            File("image/png", storage_path=STORED),
        ),
        (
            {"source_url": URL, "mime_type": "image/png", "storage_path": POINTER},
            File("image/png", source_url=URL, storage_path=STORED),
        ),
        (
            {"file_type": "object_storage", "data": "YQ==", "mime_type": "image/png", "storage_path": POINTER},
            File("image/png", "YQ==", storage_path=STORED),
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("tag", ["file", "image"])
def test_reads_every_form_of_a_file(tag: str, written: dict[str, Any], meant: File) -> None:
    assert block({"type": tag, **written}) == meant


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ({"type": "nope"}, ".type: unknown variant `nope`"),
        ({"type": "text", "text": "a", "cache_control": {}}, ": unknown field `cache_control`"),
        ({"type": "text", "text": "a", "arguments": {}}, ": a text block needs exactly one of"),
        ({"type": "tool_result", "id": "1", "name": "n", "result": {}}, ".result: Expected `str`, got `object`"),
        ({"type": "tool_result", "id": "1", "name": "n", "result": "", "x": 1}, ": unknown field `x`"),
        ({"type": "tool_call", "id": "1", "name": "n"}, ": a tool_call needs `name`"),
        ({"type": "thought", "provider_type": "a", "_internal_provider_type": "b"}, ": `_internal_provider_type` is"),
        ({"type": "thought", "summary": [{"type": "x"}]}, ".summary[0].type: unknown variant `x`"),
        ({"type": "unknown"}, ": Object missing required field `data`"),
        ({"type": "unknown", "data": 1, "model_provider_name": "x"}, ".model_provider_name: not of the form"),
        (
            {"type": "unknown", "data": 1, "model_name": "m", "model_provider_name": "x"},
            ": `model_provider_name` cannot stand beside",
        ),
        ({"type": "file"}, ": missing field `url` of a file of type `url`"),
        ({"type": "file", "file_type": "base64"}, ": missing field `data` of a file of type `base64`"),
        ({"type": "file", "file_type": "file_id"}, ".file_type: unknown variant `file_id`"),
        ({"type": "file", "data": "YQ==", "url": URL}, ": unknown field `url` of a file of type `base64`"),
        ({"type": "file", "url": URL, "detail": "max"}, ".detail: unknown variant `max`"),
        ({"type": "file", "url": "a.png"}, ".url: not an absolute URL"),
        ({"type": "file", "url": "data:image/png;base64,YQ=="}, ".url: a data URL is not fetched"),
        ({"type": "file", "url": "http://[x"}, ".url: not a URL"),
        ({"type": "file", "data": "data:image/png;base64,YQ=="}, ".data: expected bare base64, got a data URL"),
        ({"type": "file", "data": ""}, ".data: not base64"),
        ({"type": "file", "data": "YQ="}, ".data: not base64"),
        ({"type": "file", "data": "YQ=\n"}, ".data: not base64"),
        ({"type": "file", "data": "Y-_="}, ".data: not base64"),
    ],
    ids=str,
)
def test_a_wrong_block_is_refused_by_its_path(written: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequest) as caught:
        block(written)
    assert str(caught.value).startswith(f"input.messages[0].content[0]{reason}")


def test_an_object_as_content_is_a_template_named_after_the_role() -> None:
    found = read({"system": {"a": 1}, "messages": [{"role": "assistant", "content": {"b": 2}}]})
    assert found == Input((InputMessage("assistant", (Template("assistant", {"b": 2}),)),), {"a": 1})


def test_an_input_may_be_empty() -> None:
    assert read({}) == read({"messages": None, "system": None}) == Input()


def test_an_input_is_shown_with_the_file_types_that_would_read_it_again() -> None:
    files = (File(source_url=URL), File("image/png", source_url=URL, storage_path=STORED), File("a/b", "YQ=="))
    written = msgspec.to_builtins(shown(Input((InputMessage("user", files),))))
    assert [each["file_type"] for each in written["messages"][0]["content"]] == [
        "url",
        "object_storage_pointer",
        "base64",
    ]
    assert read(written).messages[0].content == files
