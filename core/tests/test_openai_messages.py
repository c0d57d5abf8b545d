"""Messages of OpenAI's chat completions to a neutral input."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from headrace.errors import BadRequest
from headrace.http.openai_messages import OpenAIMessage, to_input
from headrace.media import File
from headrace.types import Input, InputMessage, RawText, Template, Text, Thought, ToolCall, ToolResult, Unknown
from hypothesis import given, settings
from hypothesis import strategies as some


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


PNG = b64(b"\x89PNG\r\n\x1a\n" + bytes(32))
WAV = b64(b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(32))
MP3 = b64(b"ID3\x04" + bytes(64))
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"at": "x"}'}}


def read(*messages: Any) -> Input:
    return to_input(msgspec.json.decode(json.dumps(messages), type=list[OpenAIMessage]))


def content(blocks: Any, role: str = "user") -> Any:
    (message,) = read({"role": role, "content": blocks}).messages
    assert message.role == role
    return message.content


def refusal(*messages: Any) -> str:
    with pytest.raises(BadRequest) as caught:
        read(*messages)
    return str(caught.value)


@pytest.mark.parametrize(
    ("sent", "meaning"),
    [
        ("hi", Text("hi")),
        ("", Text("")),
        ([{"type": "text", "text": "hi", "cache_control": {"type": "x"}}], Text("hi")),
        ([{"type": "text", "text": None, "tensorzero::arguments": {"a": 1}}], Template("user", {"a": 1})),
        ([{"type": "text", "headrace::arguments": {"a": 1}}], Template("user", {"a": 1})),
        ([{"type": "tensorzero::template", "name": "t", "arguments": {}}], Template("t", {})),
        ([{"type": "headrace::template", "name": "t", "arguments": {"a": 1}}], Template("t", {"a": 1})),
        ([{"type": "tensorzero::raw_text", "value": "{{x}}"}], RawText("{{x}}")),
        ([{"type": "headrace::raw_text", "value": "x"}], RawText("x")),
        ([{"a": 1, "b": []}], Template("user", {"a": 1, "b": []})),
        (
            [{"type": "image_url", "image_url": {"url": "https://x.org/a.png", "detail": "low"}}],
            File(source_url="https://x.org/a.png", detail="low"),
        ),
        (
            [{"type": "image_url", "image_url": {"url": "https://x.org/a", "tensorzero::mime_type": "image/png"}}],
            File(source_url="https://x.org/a", mime_type="image/png"),
        ),
        (
            [{"type": "image_url", "image_url": {"url": "https://x.org/a", "headrace::mime_type": "image/PNG"}}],
            File(source_url="https://x.org/a", mime_type="image/png"),
        ),
        (
            [{"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{PNG}", "detail": "high"}}],
            File(mime_type="image/jpeg", data=PNG, detail="high"),
        ),
        (
            [{"type": "image_url", "image_url": {"url": f"DATA:;BASE64,{PNG}"}}],
            File(mime_type="image/png", data=PNG),
        ),
        (
            [
                {
                    "type": "image_url",
                    "image_url": {"url": f"data:image/jpeg;base64,{PNG}", "tensorzero::mime_type": "image/png"},
                }
            ],
            File(mime_type="image/png", data=PNG),
        ),
        (
            [{"type": "file", "file": {"file_data": "data:text/plain;charset=utf-8;base64,aGk=", "filename": "a.txt"}}],
            File(mime_type="text/plain", data="aGk=", filename="a.txt"),
        ),
        (
            [{"type": "input_audio", "input_audio": {"data": WAV, "format": "mp3"}}],
            File(mime_type="audio/wav", data=WAV),
        ),
        (
            [{"type": "input_audio", "input_audio": {"data": MP3, "format": "mp3"}}],
            File(mime_type="audio/mpeg", data=MP3),
        ),
    ],
    ids=lambda value: str(value)[:70],
)
def test_every_kind_of_content(sent: Any, meaning: Any) -> None:
    assert content(sent) == (meaning,)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (None, ": expected a string or a list"),
        (7, ": expected a string or a list"),
        ({"a": 1}, ": expected a string or a list"),
        (["x"], "[0]: expected an object"),
        ([{"type": "text"}], "[0]: a text block needs exactly one of"),
        ([{"type": "text", "text": "x", "tensorzero::arguments": {}}], "[0]: a text block needs exactly one of"),
        ([{"type": "text", "text": 7}], "[0].text: Expected `str | null`, got `int`"),
        ([{"type": "video"}], "[0]: unknown type 'video'"),
        ([{"type": ["text"]}], "[0]: unknown type"),
        ([{"type": None, "a": 1}], "[0]: unknown type 'None'"),
        ([{"tensorzero::arguments": {}}], "[0]: unknown type 'None'"),
        ([{"headrace::arguments": {}}], "[0]: unknown type 'None'"),
        ([{"type": "tensorzero::template", "name": "t"}], "[0]: Object missing required field `arguments`"),
        ([{"type": "tensorzero::raw_text", "value": 1}], "[0].value: Expected `str`"),
        (
            [{"type": "text", "headrace::arguments": {}, "tensorzero::arguments": {}}],
            "[0].tensorzero::arguments: given",
        ),
        ([{"type": "image_url"}], "[0]: Object missing required field `image_url`"),
        ([{"type": "image_url", "image_url": "https://x.org/a.png"}], "[0].image_url: Expected `object`"),
        ([{"type": "image_url", "image_url": {"url": "cat.png"}}], "[0].image_url.url: not an absolute URL"),
        ([{"type": "image_url", "image_url": {"url": "http://[::1"}}], "[0].image_url.url: not a URL"),
        (
            [{"type": "image_url", "image_url": {"url": "https://x.org/", "detail": "max"}}],
            "[0].image_url.detail: Invalid enum",
        ),
        (
            [{"type": "image_url", "image_url": {"url": "https://x.org/", "headrace::mime_type": "a\r\nb: c"}}],
            "[0].image_url.tensorzero::mime_type: 'a\\r\\nb: c' is not a MIME type",
        ),
        ([{"type": "image_url", "image_url": {"url": "data:image/png,abc"}}], "[0].image_url.url: not a data URL"),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64"}}], "[0].image_url.url: not a data URL"),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,a!"}}], "[0].image_url.url: not base64"),
        (
            [{"type": "image_url", "image_url": {"url": "data:;base64,aGk="}}],
            "[0].image_url.url: the data URL names no",
        ),
        (
            [{"type": "image_url", "image_url": {"url": "data:x y;base64,aGk="}}],
            "[0].image_url.url: 'x y' is not a MIME",
        ),
        ([{"type": "file", "file": {"file_id": "file-1"}}], "[0].file.file_id: headrace keeps no uploaded files"),
        ([{"type": "file", "file": {}}], "[0].file: missing field `file_data`"),
        ([{"type": "file", "file": {"file_data": "aGk="}}], "[0].file.file_data: expected a data URL"),
        ([{"type": "input_audio", "input_audio": {"data": WAV}}], "[0].input_audio: Object missing required field"),
        (
            [{"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}}],
            "[0].input_audio.data: expected the bytes of an audio file, found image/png",
        ),
        (
            [{"type": "input_audio", "input_audio": {"data": "aGVsbG8=", "format": "wav"}}],
            "[0].input_audio.data: expected the bytes of an audio file, found an unknown type",
        ),
        ([{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}], "[0].input_audio.data: not base64"),
        (
            [{"type": "input_audio", "input_audio": {"data": f"data:audio/wav;base64,{WAV}", "format": "wav"}}],
            "[0].input_audio.data: expected bare base64",
        ),
    ],
    ids=lambda value: str(value)[:70],
)
def test_content_that_makes_no_sense_is_refused_with_its_place(sent: Any, message: str) -> None:
    assert refusal({"role": "user", "content": sent}).startswith(f"messages[0].content{message}")


@pytest.mark.parametrize(
    ("contents", "system"),
    [
        (["a"], "a"),
        (["a", "b"], "a\nb"),
        ([[{"type": "text", "text": "a"}, {"type": "tensorzero::raw_text", "value": "b"}], "c"], "a\nb\nc"),
        ([[]], None),
        ([[{"type": "tensorzero::template", "name": "ignored", "arguments": {"x": 1}}]], {"x": 1}),
        ([[{"type": "text", "tensorzero::arguments": {"x": 1}}]], {"x": 1}),
        ([[{"x": 1}]], {"x": 1}),
    ],
    ids=str,
)
def test_system_messages_go_to_the_front_as_one(contents: list[Any], system: Any) -> None:
    messages = [{"role": ("system", "developer")[at % 2], "content": each} for at, each in enumerate(contents)]
    assert read({"role": "user", "content": "hi"}, *messages) == Input((InputMessage("user", (Text("hi"),)),), system)


@pytest.mark.parametrize(
    ("content_", "message"),
    [
        ([{"x": 1}, {"type": "text", "text": "a"}], "a template system message cannot be combined"),
        ([{"type": "text", "text": "a"}, {"x": 1}], "a template system message cannot be combined"),
        ([{"type": "image_url", "image_url": {"url": "https://x.org/a"}}], "a system message can only hold text"),
        (None, "expected a string or a list"),
    ],
    ids=str,
)
def test_a_system_message_is_text_or_one_template(content_: Any, message: str) -> None:
    assert message in refusal({"role": "system", "content": content_})


@pytest.mark.parametrize("text", [None, "", []], ids=str)
def test_an_assistant_may_only_call_tools(text: Any) -> None:
    (message,) = read({"role": "assistant", "content": text, "tool_calls": [CALL], "refusal": None}).messages
    assert message == InputMessage("assistant", (ToolCall("c1", "weather", '{"at": "x"}'),))


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("70F", '"70F"'),
        (None, "null"),
        ([{"type": "text", "text": "a"}], '[{"type":"text","text":"a"}]'),
        ({"a": 1.5}, '{"a":1.5}'),
        (7, "7"),
    ],
    ids=str,
)
def test_a_tool_result_is_the_json_of_its_content(result: Any, text: str) -> None:
    *_, last = read(
        {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c1", "content": result}
    ).messages
    assert last == InputMessage("user", (ToolResult("c1", "weather", text),))


def test_consecutive_tool_messages_are_one_user_message() -> None:
    other = {**CALL, "id": "c2"}
    found = read(
        {"role": "assistant", "tool_calls": [CALL, other]},
        {"role": "tool", "tool_call_id": "c2", "content": "b"},
        {"role": "tool", "tool_call_id": "c1", "content": "a"},
        {"role": "user", "content": "and?"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "c"},
    )
    assert [(message.role, len(message.content)) for message in found.messages] == [
        ("assistant", 2),
        ("user", 2),
        ("user", 1),
        ("assistant", 1),
        ("user", 1),
    ]


@pytest.mark.parametrize("id_", ["c9", None, ""], ids=str)
def test_a_result_needs_its_call(id_: Any) -> None:
    message = {"role": "tool", "tool_call_id": id_, "content": "x"}
    assert refusal({"role": "assistant", "tool_calls": [CALL]}, message).startswith("tool call id not found")
    assert refusal(message, {"role": "assistant", "tool_calls": [CALL]}).startswith("tool call id not found")


def thought(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "thought", "text": text, **more}


@pytest.mark.parametrize(
    ("extra", "order"),
    [
        ([], "xy"),
        ([thought("a")], "axy"),
        ([thought("a", insert_index=None), thought("b")], "abxy"),
        ([thought("a", insert_index=0)], "axy"),
        ([thought("a", insert_index=1)], "xay"),
        ([thought("b", insert_index=3), thought("a", insert_index=1)], "xayb"),
        ([thought("a", insert_index=99), thought("b", insert_index=-7)], "bxya"),
        ([thought("a", insert_index=1), thought("b")], "bxay"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_extra_content_goes_where_its_index_says(extra: Any, order: str) -> None:
    blocks = [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]
    (message,) = read({"role": "assistant", "content": blocks, "tensorzero_extra_content": extra}).messages
    assert "".join(getattr(block, "text", "") for block in message.content) == order


@pytest.mark.parametrize(
    ("item", "meaning"),
    [
        ({"type": "thought"}, Thought(None)),
        (
            thought("a", signature="s", summary=[{"type": "summary_text", "text": "t"}], provider_type="p", id="0"),
            Thought("a", "s", [{"type": "summary_text", "text": "t"}], "p"),
        ),
        (thought("a", _internal_provider_type="p", extra_data=[1]), Thought("a", None, None, "p", [1])),
        (
            {"type": "unknown", "data": {"x": 1}, "model_name": "m", "provider_name": "p"},
            Unknown({"x": 1}, "m", "p"),
        ),
    ],
    ids=str,
)
def test_extra_content_is_a_thought_or_something_unknown(item: Any, meaning: Any) -> None:
    (message,) = read({"role": "assistant", "tensorzero_extra_content": [item]}).messages
    assert message.content == (meaning,)


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"type": "text", "text": "a"},
        {"type": "thought", "text": 1},
        {"type": "unknown"},
        thought("a", insert_index="x"),
        thought("a", insert_index=1.5),
        thought("a", summary="x"),
    ],
    ids=str,
)
def test_other_extra_content_is_refused(item: Any) -> None:
    message = {"role": "assistant", "content": "x", "tensorzero_extra_content": [item]}
    assert refusal(message).startswith("messages[0].tensorzero_extra_content[0]")


WORDS = ["text", "image_url", "file", "input_audio", "tensorzero::template", "headrace::raw_text", "thought", "unknown"]
WORDS += ["data:image/png;base64,aGk=", "data:", "https://x.org/a", "//", "c1", "aGk=", ""]
KEYS = [
    "type",
    "text",
    "tensorzero::arguments",
    "headrace::arguments",
    "name",
    "arguments",
    "value",
    "image_url",
    "url",
]
KEYS += ["detail", "tensorzero::mime_type", "file", "file_data", "file_id", "input_audio", "data", "format", "summary"]
KEYS += ["insert_index", "signature", "a"]
ANYTHING = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.sampled_from(WORDS) | some.text(max_size=9),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
BLOCK = some.dictionaries(some.sampled_from(KEYS), ANYTHING, max_size=5) | some.builds(
    lambda kind, rest: {**rest, "type": kind},
    some.sampled_from(WORDS),
    some.dictionaries(some.sampled_from(KEYS), ANYTHING, max_size=4),
)
MESSAGE = some.fixed_dictionaries(
    {"role": some.sampled_from(["system", "developer", "user", "assistant", "tool"])},
    optional={
        "content": ANYTHING | some.lists(BLOCK | ANYTHING, max_size=3),
        "tool_call_id": some.sampled_from(["c1", "c2", None]),
        "tool_calls": some.just([CALL]) | some.none(),
        "tensorzero_extra_content": some.lists(BLOCK, max_size=3) | some.none(),
    },
)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(messages=some.lists(MESSAGE, max_size=3))
def test_wrong_blocks_are_the_callers_mistake(messages: list[dict[str, Any]]) -> None:
    try:
        found = to_input(msgspec.convert(messages, list[OpenAIMessage]))
    except BadRequest as error:
        assert str(error)
    else:
        assert msgspec.json.encode(found)
