"""What a neutral request becomes on the wire."""

from __future__ import annotations

from typing import Any

import pytest
from headrace.conformance.provider import SCHEMA, WEATHER, asking
from headrace.errors import NotForThisProvider, ProviderError
from headrace.types import (
    Block,
    CustomTool,
    Message,
    ModelRequest,
    Params,
    ProviderTool,
    Specific,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolConfig,
    ToolResult,
    ToolScope,
    Unknown,
)
from headrace_openai import Dialect
from headrace_openai.wire import chat


def body(request: ModelRequest, *, model: str = "gpt-4o", stream: bool = False) -> dict[str, Any]:
    return chat(model, request, Dialect(), stream=stream)


def said(role: Any, *blocks: Block) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = body(ModelRequest(messages=(Message(role, blocks),)))["messages"]
    return messages


def test_says_no_more_than_it_was_told() -> None:
    assert body(asking("hi")) == {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": False,
    }


def test_names_every_parameter_as_openai_does() -> None:
    params = Params(
        temperature=0.1,
        top_p=0.2,
        max_tokens=3,
        presence_penalty=0.4,
        frequency_penalty=0.5,
        seed=6,
        stop_sequences=("7",),
        reasoning_effort="low",
        service_tier="flex",
        verbosity="high",
        thinking_budget_tokens=8,
    )
    sent = body(asking("hi", params=params), stream=True)
    assert {name: sent[name] for name in sent if name not in ("model", "messages")} == {
        "temperature": 0.1,
        "top_p": 0.2,
        "max_completion_tokens": 3,
        "presence_penalty": 0.4,
        "frequency_penalty": 0.5,
        "seed": 6,
        "stop": ["7"],
        "reasoning_effort": "low",
        "service_tier": "flex",
        "verbosity": "high",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_warns_of_a_parameter_it_drops(caplog: pytest.LogCaptureFixture) -> None:
    body(asking("hi", params=Params(thinking_budget_tokens=8)))
    assert "OpenAI does not support the inference parameter `thinking_budget_tokens`" in caplog.text


# -- messages ---------------------------------------------------------------------------------------------


def test_the_system_prompt_comes_first() -> None:
    assert body(asking("hi", system="Be brief."))["messages"][0] == {"role": "system", "content": "Be brief."}


def test_o1_mini_is_told_the_system_prompt_as_a_user() -> None:
    assert body(asking("hi", system="Be brief."), model="O1-mini-2024")["messages"][0]["role"] == "user"


def test_one_text_is_a_string_and_several_are_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert said("user", Text("a")) == [{"role": "user", "content": "a"}]
    assert said("user", Text("a"), Text("b")) == [{"role": "user", "content": parts}]


def test_tool_results_come_before_the_text_of_their_turn() -> None:
    assert said("user", Text("so?"), ToolResult("c1", "f", "42"), ToolResult("c2", "f", "43")) == [
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "tool", "tool_call_id": "c2", "content": "43"},
        {"role": "user", "content": "so?"},
    ]


def test_an_assistant_turn_keeps_text_calls_and_thoughts() -> None:
    blocks = (Thought("hm", signature="s"), Thought("so", summary=[{"text": "x"}]), Text("a"), ToolCall("c", "f", "{}"))
    assert said("assistant", *blocks) == [
        {
            "role": "assistant",
            "content": "a",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            "reasoning_content": "hm\n\nso",
        }
    ]


def test_an_assistant_turn_of_calls_alone_has_no_content() -> None:
    assert "content" not in said("assistant", ToolCall("c", "f", "{}"))[0]


def test_an_assistant_turn_of_thoughts_alone_is_dropped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert said("assistant", Thought("hm")) == []
    assert "dropped" in caplog.text


def test_a_thought_of_the_user_is_dropped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert said("user", Thought("hm"), Text("a")) == [{"role": "user", "content": "a"}]
    assert "dropped" in caplog.text


def test_unknown_parts_go_out_as_they_came_in() -> None:
    part = {"type": "refusal", "refusal": "no"}
    assert said("assistant", Unknown(part))[0]["content"] == [part]


@pytest.mark.parametrize(
    ("role", "block"),
    [("user", ToolCall("c", "f", "{}")), ("assistant", ToolResult("c", "f", "42"))],
    ids=["call-by-user", "result-by-assistant"],
)
def test_a_block_in_the_wrong_mouth_is_refused(role: str, block: Block) -> None:
    with pytest.raises(ProviderError, match="Invalid message") as caught:
        said(role, block)
    assert (caught.value.status, caught.value.at_fault) == (400, "client")


# -- JSON -------------------------------------------------------------------------------------------------

STRICT = {"type": "json_schema", "json_schema": {"name": "response", "strict": True, "schema": SCHEMA}}


@pytest.mark.parametrize(
    ("mode", "schema", "model", "wanted"),
    [
        ("off", SCHEMA, "gpt-4o", None),
        ("on", SCHEMA, "gpt-4o", {"type": "json_object"}),
        ("strict", SCHEMA, "gpt-4o", STRICT),
        ("strict", None, "gpt-4o", {"type": "json_object"}),
        ("strict", SCHEMA, "gpt-3.5-turbo", {"type": "json_object"}),
    ],
    ids=["off", "on", "strict", "strict-without-schema", "strict-too-old"],
)
def test_json_mode_becomes_a_response_format(mode: str, schema: Any, model: str, wanted: Any) -> None:
    assert body(asking("hi", json_mode=mode, output_schema=schema), model=model).get("response_format") == wanted


@pytest.mark.parametrize(
    ("system", "text", "first"),
    [
        (None, "hi", "Respond using JSON."),
        ("Be brief.", "hi", "Respond using JSON.\n\nBe brief."),
        ("Answer in Json.", "hi", "Answer in Json."),
        (None, "as JSON please", "as JSON please"),
    ],
    ids=["no-system", "silent-system", "system-says-it", "user-says-it"],
)
def test_json_mode_on_makes_sure_that_json_is_mentioned(system: str | None, text: str, first: str) -> None:
    assert body(asking(text, system=system, json_mode="on"))["messages"][0]["content"] == first


def test_strict_mode_leaves_the_prompt_alone() -> None:
    assert len(body(asking("hi", json_mode="strict", output_schema=SCHEMA))["messages"]) == 1


# -- tools ------------------------------------------------------------------------------------------------


def tooled(choice: Any = "auto", *, model: str = "gpt-4o", **config: Any) -> dict[str, Any]:
    return body(asking("hi", tools=ToolConfig((WEATHER,), choice, **config)), model=model)


def test_strict_stands_beside_the_function() -> None:
    function = {"name": WEATHER.name, "description": WEATHER.description, "parameters": WEATHER.parameters}
    assert tooled()["tools"] == [{"type": "function", "function": function, "strict": False}]


@pytest.mark.parametrize(
    ("choice", "allowed", "sent"),
    [
        ("none", None, "none"),
        ("auto", None, "auto"),
        ("required", None, "required"),
        (Specific("f"), None, {"type": "function", "function": {"name": "f"}}),
        ("none", ("f",), "none"),
        (Specific("f"), ("f", "g"), {"type": "function", "function": {"name": "f"}}),
        *(
            (
                mode,
                ("f",),
                {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": mode, "tools": [{"type": "function", "function": {"name": "f"}}]},
                },
            )
            for mode in ("auto", "required")
        ),
    ],
    ids=["none", "auto", "required", "specific", "none-wins", "specific-wins", "allowed-auto", "allowed-required"],
)
def test_tool_choice_on_the_wire(choice: Any, allowed: tuple[str, ...] | None, sent: Any) -> None:
    assert tooled(choice, allowed=allowed)["tool_choice"] == sent


@pytest.mark.parametrize("parallel", [True, False, None])
def test_parallel_tool_calls_are_said_when_set(parallel: bool | None) -> None:
    assert tooled(parallel=parallel).get("parallel_tool_calls") is parallel


def test_o1_is_not_told_to_call_one_by_one() -> None:
    assert "parallel_tool_calls" not in tooled(parallel=False, model="o1-preview")
    assert tooled(parallel=True, model="o1-preview")["parallel_tool_calls"] is True


def test_without_tools_no_field_speaks_of_them() -> None:
    sent = body(asking("hi", tools=ToolConfig((), "required", parallel=True)))
    assert sent.keys() == {"model", "messages", "stream"}


GREP = CustomTool("grep", "Finds", {"type": "grammar", "grammar": {"syntax": "regex", "definition": "[a-z]+"}})
CALLED = Message("assistant", (ToolCall("c1", "grep", "abc"), ToolCall("c2", "get_weather", "{}")))


def test_custom_tools_stand_beside_functions() -> None:
    tools = tooled(custom=(GREP, CustomTool("bare")))["tools"]
    custom = {"name": "grep", "description": "Finds", "format": GREP.format}
    assert [tool["type"] for tool in tools] == ["function", "custom", "custom"]
    assert tools[1:] == [{"type": "custom", "custom": custom}, {"type": "custom", "custom": {"name": "bare"}}]


def test_a_choice_names_a_custom_tool_as_one() -> None:
    named = {"type": "custom", "custom": {"name": "grep"}}
    assert tooled(Specific("grep"), custom=(GREP,))["tool_choice"] == named
    listed = tooled(custom=(GREP,), allowed=("get_weather", "grep"))["tool_choice"]["allowed_tools"]["tools"]
    assert listed == [{"type": "function", "function": {"name": "get_weather"}}, named]


def test_a_custom_tools_call_goes_back_as_the_text_it_was() -> None:
    request = ModelRequest(messages=(CALLED,), tools=ToolConfig((WEATHER,), custom=(GREP,)))
    assert body(request)["messages"][0]["tool_calls"] == [
        {"id": "c1", "type": "custom", "custom": {"name": "grep", "input": "abc"}},
        {"id": "c2", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}},
    ]


def test_a_server_without_allowed_tools_is_told_of_the_allowed_ones_alone() -> None:
    config = ToolConfig((WEATHER, Tool("other", "", {})), "required", allowed=("other",))
    sent = chat("m", asking("hi", tools=config), Dialect(allowed_tools=False), stream=False)
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["other"]
    assert sent["tool_choice"] == "required"


@pytest.mark.parametrize(
    ("config", "dialect", "message"),
    [
        (
            ToolConfig(provider_tools=(ProviderTool({"type": "web_search"}, ToolScope("m", "p")),)),
            Dialect(),
            "Provider openai does not support provider_tools with chat completions",
        ),
        (
            ToolConfig((WEATHER,), custom=(GREP,)),
            Dialect(name="Local", custom_tools=False),
            "OpenAI custom tools are not supported by this provider",
        ),
    ],
    ids=["provider-tools", "custom-tools"],
)
def test_tools_that_it_has_no_words_for_are_refused(config: ToolConfig, dialect: Dialect, message: str) -> None:
    with pytest.raises(NotForThisProvider, match=message) as caught:
        chat("m", asking("hi", tools=config), dialect, stream=False)
    assert caught.value.http_status == 400


def test_a_dialect_names_the_parameters_it_drops(caplog: pytest.LogCaptureFixture) -> None:
    params = Params(verbosity="low", service_tier="flex", reasoning_effort="low", seed=1)
    dialect = Dialect(name="Local", unsupported=frozenset({"verbosity", "service_tier"}))
    sent = chat("m", asking("hi", params=params), dialect, stream=False)
    assert sent.keys() == {"model", "messages", "stream", "reasoning_effort", "seed"}
    for name in ("verbosity", "service_tier"):
        assert f"Local does not support the inference parameter `{name}`, so it will be ignored" in caplog.text
