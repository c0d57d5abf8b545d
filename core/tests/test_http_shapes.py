"""What goes out: answers, streamed pieces, and errors as text and as data."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from headrace import errors
from headrace.exchange import InferenceChunk, InferenceResponse, RawResponse, RawUsage
from headrace.http.error_json import error_json
from headrace.http.errors import Edge, Surface, body_of, decode, native_body, openai_body
from headrace.http.native import chunk_body, encode, response_body
from headrace.types import (
    CheckedToolCall,
    JsonOutput,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    ToolCallDelta,
    Unknown,
    UnknownDelta,
    Usage,
)
from msgspec.json import Decoder

A, B = UUID(int=1), UUID(int=2)
IDS = {"inference_id": str(A), "episode_id": str(B), "variant_name": "v"}
RAW_USAGE = RawUsage(A, "openai", "chat_completions", {"x": 1})
RAW = (RawResponse("openai", "chat_completions", "lost"), RawResponse("openai", "responses", "{}", A))
RAW_SHOWN = [
    {"provider_type": "openai", "api_type": "chat_completions", "data": "lost"},
    {"provider_type": "openai", "api_type": "responses", "data": "{}", "model_inference_id": str(A)},
]


def written(body: dict[str, Any]) -> Any:
    return json.loads(encode(body))


def answer(**fields: Any) -> Any:
    common: dict[str, Any] = {"inference_id": A, "episode_id": B, "variant_name": "v", "output": (), "usage": Usage()}
    return written(response_body(InferenceResponse(**common | fields)))


def chunk(**fields: Any) -> Any:
    return written(chunk_body(InferenceChunk(inference_id=A, episode_id=B, variant_name="v", **fields)))


# -- answers ----------------------------------------------------------------------------------------------


def test_an_answer_has_what_is_always_there_and_nothing_else() -> None:
    usage = {"input_tokens": None, "output_tokens": None, "cost": None}
    assert answer() == IDS | {"content": [], "usage": usage}


def test_usage_has_a_number_as_cost_and_cache_tokens_where_known() -> None:
    usage = Usage(1, 2, provider_cache_read_input_tokens=3, cost=Decimal("0.0000015"))
    assert answer(usage=usage)["usage"] == {
        "input_tokens": 1,
        "output_tokens": 2,
        "provider_cache_read_input_tokens": 3,
        "cost": 1.5e-06,
    }


def test_a_json_functions_answer_is_an_output() -> None:
    found = answer(output=JsonOutput("nope"))
    assert found["output"] == {"raw": "nope", "parsed": None}
    assert "content" not in found


def test_blocks_of_an_answer_have_their_shapes() -> None:
    output = (Text("a"), Thought(None), CheckedToolCall("1", "n", "{"), Unknown({"x": 1}, "m", "p"))
    assert answer(output=output)["content"] == [
        {"type": "text", "text": "a"},
        {"type": "thought", "text": None},
        {"type": "tool_call", "id": "1", "raw_name": "n", "raw_arguments": "{", "name": None, "arguments": None},
        {"type": "unknown", "data": {"x": 1}, "model_name": "m", "provider_name": "p"},
    ]


def test_what_was_asked_for_besides_stands_at_the_top() -> None:
    found = answer(raw_usage=(RAW_USAGE,), raw_response=RAW, original_response="said", finish_reason="length")
    assert found["raw_usage"] == [
        {
            "model_inference_id": str(A),
            "provider_type": "openai",
            "api_type": "chat_completions",
            "data": {"x": 1},
        }
    ]
    assert found["raw_response"] == RAW_SHOWN
    assert (found["original_response"], found["finish_reason"]) == ("said", "length")


def test_asked_for_and_empty_is_an_empty_list() -> None:
    found = answer(raw_usage=(), raw_response=())
    assert (found["raw_usage"], found["raw_response"]) == ([], [])


# -- streamed pieces --------------------------------------------------------------------------------------


def test_items_of_a_piece_have_their_shapes_with_nulls_in_thoughts() -> None:
    content = (
        TextDelta("0", "a"),
        ToolCallDelta("1", None, "{"),
        ThoughtDelta("2", signature="s"),
        ThoughtDelta("3", text="t", provider_type="x", extra_data=None),
        UnknownDelta("4", 1),
    )
    nulls = {"signature": None, "summary_id": None, "summary_text": None}
    assert chunk(content=content) == IDS | {
        "content": [
            {"type": "text", "id": "0", "text": "a"},
            {"type": "tool_call", "id": "1", "raw_name": None, "raw_arguments": "{"},
            {"type": "thought", "id": "2", "text": None} | nulls | {"signature": "s"},
            {"type": "thought", "id": "3", "text": "t"} | nulls | {"provider_type": "x", "extra_data": None},
            {"type": "unknown", "id": "4", "data": 1},
        ]
    }


def test_a_piece_of_a_json_function_is_raw() -> None:
    assert chunk(raw="") == IDS | {"raw": ""}


def test_a_piece_has_raw_data_where_asked_for() -> None:
    found = chunk(raw_usage=(RAW_USAGE,), raw_response=RAW, raw_chunk="event", original_chunk="event")
    assert (found["raw_chunk"], found["original_chunk"]) == ("event", "event")
    assert found["raw_response"] == RAW_SHOWN
    assert len(found["raw_usage"]) == 1


@pytest.mark.parametrize(
    ("aggregated", "shown"),
    [((Text("a"),), [{"type": "text", "text": "a"}]), (JsonOutput("1", 1), {"raw": "1", "parsed": 1}), ((), [])],
    ids=["chat", "json", "nothing"],
)
def test_the_last_piece_may_have_the_whole_answer(aggregated: Any, shown: Any) -> None:
    found = chunk(usage=Usage(1, 2), finish_reason="stop", aggregated=aggregated)
    assert found["aggregated_response"] == shown
    assert found["usage"] == {"input_tokens": 1, "output_tokens": 2, "cost": None}


@pytest.mark.parametrize("raw", [None, "event"])
def test_a_piece_that_could_not_be_read_is_an_error(raw: str | None) -> None:
    assert chunk(error="oops", raw_chunk=raw) == {"error": "oops"} | ({"raw_chunk": raw} if raw else {})


# -- errors -----------------------------------------------------------------------------------------------

LOST = errors.ProviderError("no", status=401, at_fault="client", raw_request="asked", raw_response="said")
BROKEN = errors.ProviderError("oops", raw_request="asked", raw_response="said")
RAW_TEXTS = {"raw_request": "asked", "raw_response": "said"}
NO_TEXTS = dict.fromkeys(RAW_TEXTS)
CLIENT = {"message": "no", "provider_type": "provider", "status_code": 401}
SERVER = {"message": "oops", "provider_type": "provider"}


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (errors.BadRequest("x"), {"InvalidRequest": {"message": "x"}}),
        (errors.NotFound("x"), {"NotFound": {"message": "x"}}),
        (LOST, {"InferenceClient": CLIENT | NO_TEXTS}),
        (BROKEN, {"InferenceServer": SERVER | NO_TEXTS}),
        (errors.RateLimitExceeded("x"), {"RateLimitExceeded": {"failed_rate_limits": []}}),
        (
            errors.AllVariantsFailed({"v": errors.AllProvidersFailed({"p": LOST, "q": BROKEN})}),
            {
                "AllVariantsFailed": {
                    "errors": {
                        "v": {
                            "ModelProvidersExhausted": {
                                "provider_errors": {
                                    "p": {"InferenceClient": CLIENT | NO_TEXTS},
                                    "q": {"InferenceServer": SERVER | NO_TEXTS},
                                }
                            }
                        }
                    }
                }
            },
        ),
        (
            errors.AllRetriesFailed([BROKEN]),
            {"AllRetriesFailed": {"errors": [{"InferenceServer": SERVER | NO_TEXTS}]}},
        ),
        (
            errors.AllCandidatesFailed({"c": errors.TimedOut("x")}),
            {"AllCandidatesFailed": {"candidate_errors": {"c": {"TimedOut": {"message": "x"}}}}},
        ),
        (KeyError("secret"), {"InternalError": {"message": "KeyError"}}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_as_data_is_tagged_and_nested(error: Exception, shown: dict[str, Any]) -> None:
    assert error_json(error, debug=False) == shown


def test_raw_texts_are_in_it_only_in_debug() -> None:
    assert error_json(LOST, debug=True) == {"InferenceClient": CLIENT | RAW_TEXTS}


@pytest.mark.parametrize(
    ("surface", "plain", "with_data", "with_raw"),
    [
        (
            native_body,
            {"error": "x"},
            {"error": "x", "error_json": {"NotFound": {"message": "x"}}},
            {"error": "x", "raw_response": RAW_SHOWN},
        ),
        (
            openai_body,
            {"error": {"message": "x"}},
            {
                "error": {
                    "message": "x",
                    "tensorzero_error_json": {"NotFound": {"message": "x"}},
                    "error_json": {"NotFound": {"message": "x"}},
                }
            },
            {"error": {"message": "x"}, "tensorzero_raw_response": RAW_SHOWN},
        ),
    ],
    ids=["native", "openai"],
)
def test_each_surface_writes_errors_its_way(surface: Surface, plain: Any, with_data: Any, with_raw: Any) -> None:
    error = errors.NotFound("x")
    assert surface("x") == json.loads(body_of(surface, error, Edge())) == plain
    assert json.loads(body_of(surface, error, Edge(error_json=True))) == with_data
    error.raw_responses = RAW
    assert json.loads(body_of(surface, error, Edge())) == with_raw


def test_a_surface_may_be_any_function_of_a_message() -> None:
    assert json.loads(body_of(lambda message: {"oh": message}, errors.NotFound("x"), Edge(error_json=True))) == {
        "oh": "x"
    }


# -- bytes that are no request -------------------------------------------------------------------------------

ANY = Decoder(Any)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 128 + b"]" * 128,
        b'{"a":' * 128 + b"1" + b"}" * 128,
        b"[" + b"[]," * 5000 + b"[]]",
        b'"' + b"[" * 5000 + b'"',
        b'["\\"' + b"{" * 5000 + b'\\\\", "[]{"]',
    ],
    ids=["arrays", "objects", "wide", "in-a-string", "behind-escapes"],
)
def test_what_is_not_too_deep_is_read(body: bytes) -> None:
    assert decode(ANY, body) == json.loads(body)


@pytest.mark.parametrize("depth", [129, 500, 950, 100_000])
@pytest.mark.parametrize("inner", [b"", b'"\\"]]]]"'], ids=["empty", "string"])
def test_what_is_too_deep_is_refused(depth: int, inner: bytes) -> None:
    with pytest.raises(errors.BadRequest, match="nested deeper than 128 levels"):
        decode(ANY, b"[" * depth + inner + b"]" * depth)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'"\xff"', b'"\\ud800"', b"NaN", b"[1e999]", b"1" * 5000, b'{"a":1}x', b'"\x00"'],
    ids=str,
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(errors.BadRequest):
        decode(ANY, body)
