"""What ``POST /inference`` accepts and what it becomes, without a gateway."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from headrace.errors import BadRequest
from headrace.exchange import InferenceRequest
from headrace.extras import ExtraBody, ExtraHeader
from headrace.http import bodies
from headrace.http.errors import decode
from headrace.types import (
    CacheOptions,
    CustomTool,
    Params,
    ProviderTool,
    Specific,
    Tool,
    ToolScope,
)
from hypothesis import given, settings
from hypothesis import strategies as st

MESSAGES = {"messages": [{"role": "user", "content": "hello"}]}


def asked(**fields: Any) -> InferenceRequest:
    body = {"function_name": "f", "input": MESSAGES} | fields
    return bodies.to_request(decode(bodies.inference, json.dumps(body).encode()))


def test_what_the_official_client_sends_is_the_same_as_nothing() -> None:
    sent: dict[str, Any] = {
        "function_name": "f",
        "model_name": None,
        "episode_id": None,
        "namespace": None,
        "stream": None,
        "params": {"chat_completion": {}},
        "variant_name": None,
        "dryrun": None,
        "internal": False,
        "tags": {},
        "provider_tools": [],
        "output_schema": None,
        "credentials": {},
        "cache_options": {"max_age_s": None, "enabled": "off"},
        "include_original_response": False,
        "include_raw_response": False,
        "include_raw_usage": False,
        "include_aggregated_response": False,
        "extra_body": [],
        "extra_headers": [],
        "internal_dynamic_variant_config": None,
    }
    assert asked(**sent) == asked() == asked(**dict.fromkeys(set(sent) - {"function_name"}))


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({"function_name": "headrace::default"}, {"function_name": "tensorzero::default"}),
        ({"namespace": "n"}, {"namespace": "n"}),
        ({"params": {"chat_completion": {"seed": 1, "top_p": None}}}, {"params": Params(seed=1)}),
        ({"internal": True, "tags": {"headrace::x": "y"}}, {"internal": True, "tags": {"tensorzero::x": "y"}}),
        ({"cache_options": {"enabled": "on", "max_age_s": 3, "more": 1}}, {"cache": CacheOptions("on", 3)}),
        ({"cache_options": {}}, {"cache": CacheOptions()}),
        ({"allowed_tools": []}, {"allowed_tools": ()}),
        ({"tool_choice": {"specific": "t"}}, {"tool_choice": Specific("t")}),
        ({"output_schema": True}, {"output_schema": True}),
        ({"output_schema": [1]}, {"output_schema": [1]}),
        ({"internal_dynamic_variant_config": {"type": "x"}}, {"inline_variant": {"type": "x"}}),
        (
            {"additional_tools": [{"name": "t", "description": "d", "parameters": {}, "strict": None}]},
            {"additional_tools": (Tool("t", "d", {}, False),)},
        ),
        (
            {
                "additional_tools": [
                    {"type": "client_side_function", "name": "t", "description": "", "parameters": {}, "strict": True},
                    {"type": "openai_custom", "name": "c"},
                    {"type": "openai_custom", "name": "x", "description": "d", "format": {"type": "text"}},
                    {
                        "type": "openai_custom",
                        "name": "g",
                        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "s"}},
                    },
                ]
            },
            {
                "additional_tools": (Tool("t", "", {}, True),),
                "custom_tools": (
                    CustomTool("c"),
                    CustomTool("x", "d", {"type": "text"}),
                    CustomTool("g", None, {"type": "grammar", "grammar": {"syntax": "lark", "definition": "s"}}),
                ),
            },
        ),
        (
            {
                "provider_tools": [
                    {"tool": {"a": 1}},
                    {"tool": {}, "scope": None},
                    {"tool": {}, "scope": {"model_name": "m"}},
                    {"tool": {}, "scope": {"model_name": "m", "provider_name": "p"}},
                    {"tool": {}, "scope": {"model_name": "m", "model_provider_name": "p"}},
                ]
            },
            {
                "provider_tools": (
                    ProviderTool({"a": 1}),
                    ProviderTool({}),
                    ProviderTool({}, ToolScope("m")),
                    ProviderTool({}, ToolScope("m", "p")),
                    ProviderTool({}, ToolScope("m", "p")),
                )
            },
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_reads_every_field(fields: dict[str, Any], meant: dict[str, Any]) -> None:
    found = asked(**fields)
    assert {name: getattr(found, name) for name in meant} == meant


def test_reads_extra_entries_in_order() -> None:
    found = asked(
        extra_body=[
            {"pointer": "/a", "value": None, "variant_name": None},
            {"pointer": "/b", "delete": True, "model_name": "m", "provider_name": "p"},
            {"pointer": "/c", "value": {"d": 1}, "variant_name": "v"},
        ],
        extra_headers=[{"name": "h", "value": "x", "model_name": "m"}, {"name": "h", "value": None, "delete": True}],
    ).extra
    assert found.body == (
        ExtraBody(pointer="/a", value=None),
        ExtraBody(pointer="/b", delete=True, model_name="m", provider_name="p"),
        ExtraBody(pointer="/c", value={"d": 1}, variant_name="v"),
    )
    assert found.headers == (
        ExtraHeader(name="h", value="x", model_name="m"),
        ExtraHeader(name="h", delete=True),
    )


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"extra_body": [{"pointer": "/a", "value": 1, "model_provider_name": "x"}]}, "`model_provider_name` is obso"),
        ({"include_original_response": True}, "`include_original_response` is deprecated"),
    ],
    ids=["filter", "original"],
)
def test_what_is_obsolete_works_and_warns(
    fields: dict[str, Any], warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        asked(**fields)
    assert warning in caplog.text


GRAMMAR = {"type": "grammar", "grammar": {"syntax": "bnf", "definition": ""}}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"params": {}}, "params: Object missing required field `chat_completion`"),
        ({"params": {"chat_completion": {"nope": 1}}}, "params.chat_completion: unknown field `nope`"),
        ({"params": {"chat_completion": {"max_tokens": -1}}}, "params.chat_completion.max_tokens: expected a whole"),
        ({"params": {"chat_completion": {"seed": 10**30}}}, "params.chat_completion.seed: expected a whole"),
        ({"params": {"chat_completion": {"thinking_budget_tokens": 2**31}}}, "params.chat_completion.thinking"),
        ({"params": {"chat_completion": {"json_mode": "x"}}}, "params.chat_completion.json_mode: unknown variant `x`"),
        ({"nope": 1}, "unknown field `nope`"),
        ({"input": {**MESSAGES, "nope": 1}}, "input: unknown field `nope`"),
        ({"input": {"messages": [{"role": "user", "content": "", "nope": 1}]}}, "input.messages[0]: unknown field"),
        ({"input": {"messages": [{"role": "system", "content": ""}]}}, "input.messages[0].role: unknown variant"),
        ({"input": {"messages": [{"role": "user", "content": None}]}}, "input.messages[0].content: Expected"),
        ({"input": None}, "input: Expected `object`, got `null`"),
        ({"namespace": ""}, "namespace: must not be empty"),
        ({"namespace": "headrace::x"}, "namespace: must not be empty, nor start with"),
        ({"cache_options": {"enabled": "yes"}}, "cache_options.enabled: unknown variant `yes`"),
        ({"cache_options": {"max_age_s": -1}}, "cache_options.max_age_s: Expected `int` >= 0"),
        ({"cache_options": {"max_age_s": 2**32}}, "cache_options.max_age_s: Expected `int` <="),
        ({"tags": {"a": 1}}, "tags[...]: Expected `str`, got `int`"),
        ({"tool_choice": "some"}, "tool_choice: unknown variant `some`"),
        ({"tool_choice": {}}, "tool_choice: Object missing required field `specific`"),
        (
            {"additional_tools": [{"name": "t", "parameters": {}}]},
            "additional_tools[0]: missing field `description`",
        ),
        ({"additional_tools": [{"name": "t", "description": ""}]}, "additional_tools[0]: missing field `parameters`"),
        ({"additional_tools": [{"name": "t", "type": "x"}]}, "additional_tools[0].type: unknown variant `x`"),
        ({"additional_tools": [{"name": "t", "x": 1}]}, "additional_tools[0]: unknown field `x`"),
        (
            {"additional_tools": [{"name": "t", "type": "openai_custom", "parameters": {}}]},
            "additional_tools[0]: unknown field `parameters` of an `openai_custom`",
        ),
        (
            {"additional_tools": [{"name": "t", "type": "openai_custom", "format": GRAMMAR}]},
            "additional_tools[0].format.grammar.syntax: unknown variant `bnf`",
        ),
        (
            {"additional_tools": [{"name": "t", "description": "", "parameters": {}, "format": {"type": "text"}}]},
            "additional_tools[0]: unknown field `format` of a function tool",
        ),
        ({"provider_tools": [{"tool": "x"}]}, "provider_tools[0].tool: Expected `object`"),
        (
            {"provider_tools": [{"tool": {}, "scope": {"provider_name": "p"}}]},
            "provider_tools[0].scope: Object missing required field `model_name`",
        ),
        (
            {
                "provider_tools": [
                    {"tool": {}, "scope": {"model_name": "m", "provider_name": "p", "model_provider_name": "p"}}
                ]
            },
            "provider_tools[0].scope: `model_provider_name` is another name",
        ),
        ({"extra_body": [{"pointer": "/a"}]}, "extra_body[0]: needs exactly one of `value` and"),
        ({"extra_body": [{"pointer": "/a", "value": 1, "delete": True}]}, "extra_body[0]: needs exactly one of"),
        ({"extra_body": [{"pointer": "/a", "delete": False}]}, "extra_body[0].delete: can only be `true`"),
        ({"extra_body": [{"pointer": "/a", "value": 1, "x": 1}]}, "extra_body[0]: unknown field `x`"),
        (
            {"extra_body": [{"pointer": "/a", "value": 1, "variant_name": "v", "model_name": "m"}]},
            "extra_body[0]: cannot be restricted by `variant_name` and `model_name`",
        ),
        (
            {"extra_body": [{"pointer": "/a", "value": 1, "provider_name": "p"}]},
            "extra_body[0]: cannot be restricted by `provider_name`",
        ),
        (
            {"extra_body": [{"pointer": "/a", "value": 1, "model_name": "m", "model_provider_name": "x"}]},
            "extra_body[0]: `model_provider_name` cannot be combined",
        ),
        ({"extra_headers": [{"name": "h"}]}, "extra_headers[0]: needs exactly one of"),
        ({"extra_headers": [{"name": "h", "value": 1}]}, "extra_headers[0].value: Expected"),
        (
            {"extra_headers": [{"name": "h", "value": "x", "model_provider_name": "y"}]},
            "extra_headers[0]: unknown field `model_provider_name`",
        ),
        ({"include_aggregated_response": True}, "include_aggregated_response is only supported in streaming mode"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_field_is_refused_by_its_path(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequest) as caught:
        asked(**fields)
    assert str(caught.value).startswith(reason)


def test_an_aggregated_response_may_be_asked_of_a_stream() -> None:
    assert asked(include_aggregated_response=True, stream=True).include_aggregated_response


FIELDS = [name for name in bodies.InferenceBody.__struct_fields__ if name != "input"]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "name", "value", "role", "content", "data", "url"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None, database=None)
@given(
    fields=st.dictionaries(st.sampled_from(FIELDS), ANY_JSON, max_size=3),
    content=ANY_JSON
    | st.lists(
        st.builds(
            lambda tag, rest: {**(rest if isinstance(rest, dict) else {}), "type": tag},
            st.sampled_from(["text", "template", "tool_call", "thought", "file", "image", "unknown"]),
            ANY_JSON,
        ),
        max_size=2,
    ),
)
def test_any_json_is_a_request_or_a_bad_request(fields: dict[str, Any], content: Any) -> None:
    fields["input"] = {"messages": [{"role": "user", "content": content}]}
    try:
        asked(**fields)
    except BadRequest as error:
        assert str(error)
