"""How answers are read that are odd, broken, or a server's own idea of the dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from headrace.errors import BadUpstreamReply, ProviderError
from headrace.types import Chunk, ModelResponse, Text, TextDelta, Thought, ThoughtDelta, ToolCall, ToolCallDelta, Usage
from headrace_openai import reading
from msgspec import UNSET


def answer(*choices: dict[str, Any], **fields: Any) -> ModelResponse:
    body = json.dumps({"choices": choices, **fields}).encode()
    return reading.whole(body, raw_request="{}", provider_type="openai")


def message(**said: Any) -> ModelResponse:
    return answer({"message": said})


def chunks(*events: dict[str, Any] | str) -> list[Chunk]:
    reader = reading.Chunks(raw_request="{}", provider_type="openai")
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    parts = [f"data: {text}\n\n".encode() for text in texts]
    return [chunk for part in parts for chunk in reader.feed(part)] + list(reader.end())


def delta(**said: Any) -> dict[str, Any]:
    return {"choices": [{"delta": said}]}


def fragment(arguments: str | None = None, **fields: Any) -> dict[str, Any]:
    function = {"name": fields.pop("name", None), "arguments": arguments}
    return delta(tool_calls=[{**fields, "function": function}])


# -- whole answers ----------------------------------------------------------------------------------------


def test_blocks_come_in_the_order_thought_text_calls() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert message(content="a", reasoning="hm", tool_calls=[call]).output == (
        Thought("hm", provider_type="openai"),
        Text("a"),
        ToolCall("c", "f", "{}"),
    )


def test_reasoning_goes_by_either_name() -> None:
    assert message(reasoning_content="hm").output == (Thought("hm", provider_type="openai"),)
    assert message(reasoning="so", reasoning_content="hm").output == (Thought("so", provider_type="openai"),)


@pytest.mark.parametrize(
    "choice",
    [{}, {"message": None}, {"message": {"content": None}}, {"message": {"content": "", "tool_calls": []}}],
    ids=["no-message", "null-message", "null-content", "empty"],
)
def test_nothing_said_is_an_empty_answer(choice: dict[str, Any]) -> None:
    assert answer(choice).output == ()


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_call"),
        ("function_call", "tool_call"),
        ("content_filter", "content_filter"),
        ("insufficient_system_resource", "unknown"),
        ("", None),
        (None, None),
    ],
)
def test_finish_reasons(reason: str | None, finish: str | None) -> None:
    assert answer({"finish_reason": reason}).finish_reason == finish


def test_an_empty_tool_call_id_is_replaced() -> None:
    (call,) = message(tool_calls=[{"id": "", "function": {"name": "f", "arguments": "{}"}}]).output
    assert isinstance(call, ToolCall)
    assert call.id.startswith("call_")


def test_what_is_not_said_of_usage_stays_unsaid() -> None:
    assert answer({}).usage == Usage()
    assert answer({}, usage={"prompt_tokens": 3, "prompt_tokens_details": None}).usage == Usage(input_tokens=3)
    details = {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}
    assert answer({}, usage=details).usage == Usage(3, 4, 2)


def test_raw_usage_is_the_upstreams_own_account() -> None:
    account = {"prompt_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 2}, "x": [None]}
    assert answer({}, usage=account).raw_usage == account
    assert answer({}).raw_usage is UNSET
    assert answer({}, usage=None).raw_usage is UNSET
    found = chunks(delta(content="a"), {"choices": [], "usage": account})
    assert [chunk.raw_usage for chunk in found] == [UNSET, account]
    body = json.dumps({"data": [{"embedding": [0.5]}], "usage": account}).encode()
    assert reading.vectors(body, raw_request="{}", expected=1).raw_usage == account


@pytest.mark.parametrize("usage", [[], "7", {"prompt_tokens": "many"}, {"prompt_tokens_details": 1}])
def test_usage_that_is_none_is_not_the_dialect(usage: Any) -> None:
    with pytest.raises(BadUpstreamReply, match="Error parsing"):
        answer({}, usage=usage)


def test_a_custom_tools_call_has_its_text_as_arguments() -> None:
    call = {"id": "c", "type": "custom", "custom": {"name": "grep", "input": "a b"}}
    assert message(tool_calls=[call]).output == (ToolCall("c", "grep", "a b"),)


def test_a_call_of_neither_kind_is_not_the_dialect() -> None:
    with pytest.raises(BadUpstreamReply, match="neither `function` nor `custom`"):
        message(tool_calls=[{"id": "c", "type": "web_search"}])


@pytest.mark.parametrize("count", [0, 2])
def test_any_number_of_choices_but_one_is_an_error(count: int) -> None:
    with pytest.raises(BadUpstreamReply, match=f"invalid number of choices: {count}. Expected 1."):
        answer(*[{}] * count)


def test_an_error_inside_a_200_is_an_error() -> None:
    with pytest.raises(ProviderError, match="overloaded"):
        answer(error={"message": "overloaded"})


def test_vectors_without_an_index_are_taken_in_order() -> None:
    data = [{"embedding": [0.5]}, {"embedding": [0.25]}]
    found = reading.vectors(json.dumps({"data": data}).encode(), raw_request="{}", expected=2)
    assert found.embeddings == ((0.5,), (0.25,))


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"index": 1, "embedding": [0.5]}],
        [{"index": 0, "embedding": "!!!!"}],
        [{"index": 0, "embedding": "AAA="}],
    ],
    ids=["none", "wrong-index", "not-base64", "half-a-float"],
)
def test_vectors_that_do_not_fit_are_refused(data: list[dict[str, Any]]) -> None:
    with pytest.raises(BadUpstreamReply):
        reading.vectors(json.dumps({"data": data}).encode(), raw_request="{}", expected=1)


# -- streams ----------------------------------------------------------------------------------------------


def test_thought_and_text_have_ids_of_their_own() -> None:
    first, second = chunks(delta(reasoning_content="hm"), delta(content="a"))
    assert first.content == (ThoughtDelta("1", "hm", provider_type="openai"),)
    assert second.content == (TextDelta("0", "a"),)


def test_fragments_belong_to_the_call_of_their_index() -> None:
    start = {"choices": [{"delta": {"tool_calls": [
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
        {"index": 1, "id": "b", "function": {"name": "g"}},
    ]}}]}  # fmt: skip
    found = chunks(start, fragment("{1", index=1), fragment("{0", index=0))
    assert [one for chunk in found for one in chunk.content] == [
        ToolCallDelta("a", "f", ""),
        ToolCallDelta("b", "g", ""),
        ToolCallDelta("b", None, "{1"),
        ToolCallDelta("a", None, "{0"),
    ]


def test_a_repeated_name_and_id_are_told_once() -> None:
    found = chunks(fragment("{", id="a", name="f"), fragment("}", id="a", name="f"))
    assert [chunk.content[0] for chunk in found] == [ToolCallDelta("a", "f", "{"), ToolCallDelta("a", None, "}")]


def test_a_custom_tools_call_comes_in_pieces_too() -> None:
    def custom(**said: Any) -> dict[str, Any]:
        return delta(tool_calls=[{"index": 0, **said}])

    found = chunks(custom(id="a", type="custom", custom={"name": "grep", "input": ""}), custom(custom={"input": "a b"}))
    assert [chunk.content[0] for chunk in found] == [ToolCallDelta("a", "grep", ""), ToolCallDelta("a", None, "a b")]


def test_whole_calls_without_an_index_stay_apart() -> None:
    found = chunks(fragment("{}", id="a", name="f"), fragment("{}", id="b", name="f", index=None))
    assert [chunk.content[0] for chunk in found] == [ToolCallDelta("a", "f", "{}"), ToolCallDelta("b", "f", "{}")]


def test_an_empty_id_gets_one_for_the_whole_call() -> None:
    first, second = (chunk.content[0] for chunk in chunks(fragment("{", id="", name="f"), fragment("}", id="")))
    assert first.id.startswith("call_")
    assert second.id == first.id


def test_a_fragment_of_a_call_that_never_started_is_an_error_and_the_stream_goes_on() -> None:
    found = chunks(fragment("{", index=0, id="a", name="f"), fragment("}", index=1), fragment("}", index=0))
    assert [chunk.error is None for chunk in found] == [True, False, True]
    assert "index 1" in (found[1].error or "")


def test_chunks_without_choices_are_kept_for_what_else_they_say() -> None:
    found = chunks({"choices": [], "prompt_filter_results": []}, {"choices": [], "usage": {"prompt_tokens": 3}})
    assert [chunk.usage for chunk in found] == [None, Usage(input_tokens=3)]
    assert found[0].raw.startswith("{")


@pytest.mark.parametrize(
    "event",
    [{"error": {"message": "overloaded"}}, {**delta(content="a"), "error": {"message": "overloaded"}}],
    ids=["alone", "beside-choices"],
)
def test_an_error_inside_a_stream_is_raised_after_what_came_before(event: dict[str, Any]) -> None:
    reader = reading.Chunks(raw_request="{}", provider_type="openai")
    data = b"".join(f"data: {json.dumps(each)}\n\n".encode() for each in (delta(content="a"), event))
    found = reader.feed(data)
    assert next(found).content == (TextDelta("0", "a"),)
    with pytest.raises(ProviderError, match="overloaded") as caught:
        next(found)
    assert caught.value.raw_response == json.dumps(event)


def test_a_chunk_that_does_not_parse_says_so_and_the_stream_goes_on() -> None:
    found = chunks(delta(content="a"), '{"half', delta(content="b"))
    assert [chunk.content for chunk in found] == [(TextDelta("0", "a"),), (), (TextDelta("0", "b"),)]
    assert (found[1].error or "").startswith("Error parsing chunk")
    assert found[1].raw == '{"half'


def test_a_first_chunk_that_does_not_parse_is_no_answer() -> None:
    with pytest.raises(BadUpstreamReply, match="Error parsing chunk") as caught:
        chunks('{"half')
    assert caught.value.raw_response == '{"half'


def test_done_alone_is_no_answer() -> None:
    with pytest.raises(BadUpstreamReply, match="before its first chunk"):
        chunks("[DONE]")
