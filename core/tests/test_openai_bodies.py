"""Chat completion bodies of OpenAI's surface to neutral requests."""

from __future__ import annotations

import json
from typing import Any

import pytest
from headrace.errors import BadRequest
from headrace.exchange import InferenceRequest
from headrace.extras import Extra, ExtraBody, ExtraHeader
from headrace.http.openai_bodies import read_chat
from headrace.types import CacheOptions, CustomTool, Params, ProviderTool, Specific, Tool, ToolScope
from hypothesis import given, settings
from hypothesis import strategies as some

MESSAGES = [{"role": "user", "content": "hi"}]
BODY: dict[str, Any] = {"model": "tensorzero::function_name::f", "messages": MESSAGES}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FUNCTION = {"type": "function", "function": {"name": "add", "parameters": SCHEMA}}
GRAMMAR = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}


def request(**fields: Any) -> InferenceRequest:
    return read_chat(json.dumps({**BODY, **fields}).encode())[1]


def refusal(fields: dict[str, Any]) -> str:
    with pytest.raises(BadRequest) as caught:
        read_chat(json.dumps({**BODY, **fields}).encode())
    return str(caught.value)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("tensorzero::function_name::f", ("f", None)),
        ("tensorzero::model_name::m", (None, "m")),
        ("tensorzero::model_name::openai::gpt-4o-mini", (None, "openai::gpt-4o-mini")),
        ("headrace::function_name::f", ("f", None)),
        ("headrace::model_name::groq::org/m", (None, "groq::org/m")),
    ],
)
def test_the_model_names_a_function_or_a_model(model: str, names: tuple[str | None, str | None]) -> None:
    found = request(model=model)
    assert (found.function_name, found.model_name) == names


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o",
        "",
        "tensorzero::function_name::",
        "tensorzero::model_name::",
        "f::tensorzero::function_name::f",
        "tensorzero::embedding_model_name::e",
    ],
)
def test_a_model_without_prefix_or_name_is_refused(model: str) -> None:
    assert refusal({"model": model}).startswith(
        "Invalid request to OpenAI-compatible endpoint: `model` field must start with"
    )


@pytest.mark.parametrize(
    ("fields", "params"),
    [
        ({}, Params()),
        ({"temperature": 1, "top_p": 0.5}, Params(temperature=1.0, top_p=0.5)),
        ({"presence_penalty": -1, "frequency_penalty": 0.1}, Params(presence_penalty=-1, frequency_penalty=0.1)),
        ({"seed": 4294967295}, Params(seed=4294967295)),
        ({"reasoning_effort": "low", "verbosity": "high"}, Params(reasoning_effort="low", verbosity="high")),
        ({"service_tier": "flex"}, Params(service_tier="flex")),
        ({"max_tokens": 5}, Params(max_tokens=5)),
        ({"max_completion_tokens": 6}, Params(max_tokens=6)),
        ({"max_tokens": 5, "max_completion_tokens": 3}, Params(max_tokens=3)),
        ({"stop": ["a", "b"]}, Params(stop_sequences=("a", "b"))),
        ({"response_format": {"type": "text"}}, Params(json_mode="off")),
        ({"response_format": {"type": "json_object"}}, Params(json_mode="on")),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, Params(json_mode="strict")),
        ({"tensorzero::params": {"chat_completion": {}}, "seed": 1}, Params(seed=1)),
        (
            {"tensorzero::params": {"chat_completion": {"seed": 2, "json_mode": "tool"}}, "seed": 1, "top_p": 1},
            Params(seed=2, json_mode="tool", top_p=1.0),
        ),
        ({"headrace::params": {"chat_completion": {"max_tokens": 9}}, "max_tokens": 1}, Params(max_tokens=9)),
    ],
    ids=lambda value: str(value)[:60],
)
def test_sampling_parameters(fields: dict[str, Any], params: Params) -> None:
    assert request(**fields).params == params


OWN: list[tuple[str, Any, str, Any]] = [
    ("variant_name", "v", "variant_name", "v"),
    ("dryrun", True, "dryrun", True),
    ("namespace", "n", "namespace", "n"),
    ("tags", {"a": "b"}, "tags", {"a": "b"}),
    ("credentials", {"k": "secret"}, "credentials", {"k": "secret"}),
    ("cache_options", {"enabled": "on", "max_age_s": 9, "new": 1}, "cache", CacheOptions("on", 9)),
    ("cache_options", {}, "cache", CacheOptions()),
    ("extra_body", [{"pointer": "/a", "value": None}], "extra", Extra((ExtraBody(pointer="/a", value=None),))),
    (
        "extra_body",
        [{"pointer": "/a", "delete": True, "model_name": "m", "provider_name": "p"}],
        "extra",
        Extra((ExtraBody(pointer="/a", delete=True, model_name="m", provider_name="p"),)),
    ),
    ("extra_headers", [{"name": "x", "value": "y"}], "extra", Extra((), (ExtraHeader(name="x", value="y"),))),
    (
        "provider_tools",
        [{"tool": {"type": "web_search"}}, {"tool": {}, "scope": {"model_name": "m", "model_provider_name": "p"}}],
        "provider_tools",
        (ProviderTool({"type": "web_search"}), ProviderTool({}, ToolScope("m", "p"))),
    ),
    ("include_raw_usage", True, "include_raw_usage", True),
    ("include_raw_response", True, "include_raw_response", True),
    ("include_original_response", True, "include_original_response", True),
    ("internal_dynamic_variant_config", {"type": "x"}, "inline_variant", {"type": "x"}),
]


@pytest.mark.parametrize("prefix", ["tensorzero::", "headrace::"])
@pytest.mark.parametrize(("name", "value", "field", "meaning"), OWN, ids=[f"{row[0]}-{row[1]}"[:50] for row in OWN])
def test_fields_of_our_own_in_either_spelling(prefix: str, name: str, value: Any, field: str, meaning: Any) -> None:
    assert getattr(request(**{prefix + name: value}), field) == meaning


def test_an_episode_is_a_uuid() -> None:
    id_ = "01920000-0000-7000-8000-000000000000"
    assert str(request(**{"tensorzero::episode_id": id_}).episode_id) == id_
    assert refusal({"tensorzero::episode_id": "nope"}).startswith("tensorzero::episode_id: ")


def test_explicit_nulls_are_absence() -> None:
    names = "temperature top_p presence_penalty frequency_penalty seed reasoning_effort service_tier verbosity "
    names += "max_tokens max_completion_tokens stop response_format tools tool_choice parallel_tool_calls stream "
    names += "stream_options n"
    fields = dict.fromkeys(names.split()) | {f"tensorzero::{row[0]}": None for row in OWN}
    fields |= dict.fromkeys(f"tensorzero::{name}" for name in ("episode_id", "params", "deny_unknown_fields"))
    assert request(**fields) == request()


@pytest.mark.parametrize(
    ("tool", "plain", "custom"),
    [
        (FUNCTION, (Tool("add", "", SCHEMA),), ()),
        (
            {"type": "function", "function": {"name": "x", "description": "d", "parameters": {}, "strict": True}},
            (Tool("x", "d", {}, True),),
            (),
        ),
        ({"type": "custom", "custom": {"name": "c"}}, (), (CustomTool("c"),)),
        (
            {"type": "custom", "custom": {"name": "c", "description": "d", "format": {"type": "text"}}},
            (),
            (CustomTool("c", "d", {"type": "text"}),),
        ),
        ({"type": "custom", "custom": {"name": "c", "format": GRAMMAR}}, (), (CustomTool("c", None, GRAMMAR),)),
    ],
    ids=["function", "described", "custom", "custom-text", "custom-grammar"],
)
def test_tools(tool: Any, plain: tuple[Tool, ...], custom: tuple[CustomTool, ...]) -> None:
    found = request(tools=[tool])
    assert (found.additional_tools, found.custom_tools) == (plain, custom)


NAMED = {"type": "function", "function": {"name": "add"}}


@pytest.mark.parametrize(
    ("choice", "meaning", "allowed"),
    [
        ("none", "none", None),
        ("auto", "auto", None),
        ("required", "required", None),
        (NAMED, Specific("add"), None),
        (
            {"type": "allowed_tools", "allowed_tools": {"tools": [NAMED], "mode": "required"}},
            "required",
            ("add",),
        ),
        ({"type": "allowed_tools", "allowed_tools": {"tools": [], "mode": "auto"}}, "auto", ()),
    ],
    ids=["none", "auto", "required", "specific", "allowed", "allowed-nothing"],
)
def test_tool_choices(choice: Any, meaning: Any, allowed: Any) -> None:
    found = request(tools=[FUNCTION], tool_choice=choice, parallel_tool_calls=False)
    assert (found.tool_choice, found.allowed_tools, found.parallel_tool_calls) == (meaning, allowed, False)


@pytest.mark.parametrize("schema", [SCHEMA, True, None, ["no schema"]], ids=str)
def test_a_response_schema_is_passed_on_whatever_it_is(schema: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True, "description": ""}}
    assert request(response_format=form).output_schema == schema


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n": 2}, "`n` must be absent or 1, found 2"),
        ({"n": 0}, "`n` must be absent or 1, found 0"),
        ({"stop": "a"}, "stop: "),
        ({"stop": [1]}, "stop[0]: "),
        ({"seed": -1}, "seed: "),
        ({"seed": 2**32}, "seed: "),
        ({"max_tokens": -1}, "max_tokens: "),
        ({"temperature": "hot"}, "temperature: "),
        ({"service_tier": "gold"}, "service_tier: "),
        ({"response_format": "json_object"}, "response_format: "),
        ({"response_format": {"type": "xml"}}, "response_format.type: "),
        ({"response_format": {"type": "json_schema"}}, "response_format: "),
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools[0].function: "),
        ({"tools": [{"function": {"name": "x", "parameters": {}}}]}, "tools[0]: "),
        ({"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "x"}}}]}, "tools[0].custom.format"),
        ({"tool_choice": "any"}, "tool_choice: "),
        ({"tool_choice": {"type": "function"}}, "tool_choice: "),
        ({"tensorzero::params": {}}, "tensorzero::params: "),
        ({"tensorzero::params": {"chat_completion": {"nope": 1}}}, "tensorzero::params.chat_completion: unknown field"),
        ({"tensorzero::params": {"chat_completion": {"seed": -1}}}, "tensorzero::params.chat_completion.seed: "),
        ({"tensorzero::cache_options": {"enabled": "always"}}, "tensorzero::cache_options.enabled: "),
        ({"tensorzero::extra_body": [{"pointer": "/a"}]}, "tensorzero::extra_body[0]: "),
        ({"tensorzero::extra_headers": [{"name": "a"}]}, "tensorzero::extra_headers[0]: "),
        ({"headrace::tags": {"a": 1}}, "tensorzero::tags"),
        ({"headrace::dryrun": True, "tensorzero::dryrun": True}, "tensorzero::dryrun: given twice"),
        (
            {"zzz": 1, "aaa": 1, "headrace::nope": 1, "tensorzero::deny_unknown_fields": True},
            "`tensorzero::deny_unknown_fields` is set, and these fields are unknown: "
            "['aaa', 'tensorzero::nope', 'zzz']",
        ),
        (
            {"stream": True, "stream_options": {"include_usage": False}, "tensorzero::include_raw_usage": True},
            "`tensorzero::include_raw_usage` needs usage",
        ),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_cannot_be_is_refused_by_its_name(fields: dict[str, Any], message: str) -> None:
    assert refusal(fields).startswith(message)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"model": 1}', b"[" * 100_000])
def test_what_is_no_body_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_chat(body)


def test_unknown_fields_are_ignored_unless_asked_otherwise() -> None:
    assert request(user="me", stop_sequences=["x"], **{"tensorzero::internal": True}) == request()


@pytest.mark.parametrize(
    ("fields", "shows"),
    [
        ({}, False),
        ({"stream_options": {}}, False),
        ({"stream_options": {"include_usage": True}}, True),
        ({"stream_options": {"include_usage": False}}, False),
        ({"tensorzero::include_raw_usage": True}, True),
        ({"tensorzero::include_raw_usage": True, "stream_options": {"include_usage": None}}, True),
    ],
    ids=str,
)
def test_raw_usage_implies_usage(fields: dict[str, Any], shows: bool) -> None:
    body, _ = read_chat(json.dumps({**BODY, **fields, "stream": True}).encode())
    assert body.shows_usage is shows


WORDS = ["function", "custom", "text", "grammar", "json_schema", "allowed_tools", "auto", "a", "", "tensorzero::x"]
KEYS = ["type", "function", "custom", "name", "format", "parameters", "json_schema", "schema", "allowed_tools", "tools"]
KEYS += ["mode", "chat_completion", "pointer", "value", "delete", "tool", "scope", "enabled", "max_age_s"]
FIELDS = ["model", "messages", "temperature", "seed", "stop", "n", "response_format", "tools", "tool_choice"]
FIELDS += [
    "stream",
    "stream_options",
    *(f"tensorzero::{row[0]}" for row in OWN),
    "tensorzero::params",
    "headrace::tags",
]
ANYTHING = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.sampled_from(WORDS) | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(fields=some.dictionaries(some.sampled_from(FIELDS), ANYTHING, min_size=1, max_size=4))
def test_wrong_types_anywhere_are_the_callers_mistake(fields: dict[str, Any]) -> None:
    try:
        read_chat(json.dumps({**BODY, **fields}).encode())
    except BadRequest as error:
        assert str(error)
