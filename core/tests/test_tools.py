"""The tools of one inference: which are offered, by key or by name, and which calls fit."""

from __future__ import annotations

from typing import Any

import pytest
from headrace.contracts import FunctionSpec
from headrace.errors import BadRequest
from headrace.exchange import InferenceRequest
from headrace.tools import check, configure
from headrace.types import (
    Block,
    CheckedToolCall,
    Input,
    Specific,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolConfig,
    ToolResult,
    Unknown,
)


def tool(name: str, **parameters: Any) -> Tool:
    return Tool(name, f"does {name}", parameters)


# The key is what configuration and `allowed_tools` say, the name is what the model sees.
KNOWN = {"a": tool("a"), "b": tool("b_name"), "c": tool("c"), "d": tool("d")}
DYNAMIC = tool("dynamic")


def function(*keys: str, **fields: Any) -> FunctionSpec:
    return FunctionSpec("f", "chat", tools={key: KNOWN[key] for key in keys}, **fields)


def configured(spec: FunctionSpec, **fields: Any) -> ToolConfig | None:
    return configure(InferenceRequest(input=Input(), function_name="f", **fields), spec, KNOWN)


def names(config: ToolConfig | None) -> list[str]:
    return [each.name for each in config.offered] if config else []


@pytest.mark.parametrize(
    ("keys", "fields", "offered"),
    [
        ("", {}, []),
        ("ba", {}, ["b_name", "a"]),
        ("a", {"additional_tools": (DYNAMIC,)}, ["a", "dynamic"]),
        ("ab", {"allowed_tools": ("b",)}, ["b_name"]),
        ("ab", {"allowed_tools": ("b", "a")}, ["a", "b_name"]),
        ("a", {"allowed_tools": ("d", "a", "c")}, ["a", "d", "c"]),
        ("a", {"allowed_tools": ("c",)}, ["c"]),
        ("a", {"allowed_tools": ("a", "a")}, ["a"]),
        ("ab", {"allowed_tools": ()}, []),
        ("a", {"allowed_tools": ("a",), "additional_tools": (DYNAMIC,)}, ["a"]),
        ("a", {"allowed_tools": ("dynamic",), "additional_tools": (DYNAMIC,)}, ["dynamic"]),
        ("a", {"allowed_tools": ("dynamic", "c", "a"), "additional_tools": (DYNAMIC,)}, ["a", "c", "dynamic"]),
    ],
    ids=[
        "none", "configured-order", "additional", "allowed", "allowed-keeps-order", "from-elsewhere", "only-elsewhere",
        "twice", "nothing-allowed", "additional-not-allowed", "additional-allowed", "all",
    ],
)  # fmt: skip
def test_what_is_offered(keys: str, fields: dict[str, Any], offered: list[str]) -> None:
    config = configured(function(*keys), **fields)
    assert names(config) == offered
    if config:
        assert config.allowed == (tuple(offered) if "allowed_tools" in fields else None)


@pytest.mark.parametrize(
    ("keys", "fields", "message"),
    [
        ("a", {"allowed_tools": ("a", "x")}, "Tool not found: x"),
        ("b", {"allowed_tools": ("b_name",)}, "Tool not found: b_name"),
        ("a", {"additional_tools": (tool("a"),)}, "Duplicate tool name: a"),
        ("", {"additional_tools": (DYNAMIC, DYNAMIC)}, "Duplicate tool name: dynamic"),
        ("", {"allowed_tools": ("c",), "additional_tools": (tool("c"),)}, "Duplicate tool name: c"),
        ("b", {"additional_tools": (tool("b_name"),)}, "Duplicate tool name: b_name"),
        ("a", {"tool_choice": Specific("x")}, "Tool not found: x"),
        ("b", {"tool_choice": Specific("b")}, "Tool not found: b"),
        ("ab", {"allowed_tools": ("a",), "tool_choice": Specific("b_name")}, "Tool not found: b_name"),
    ],
    ids=[
        "unknown", "by-name", "additional-clashes", "additional-twice", "known-clashes", "names-clash",
        "specific-unknown", "specific-by-key", "specific-not-allowed",
    ],
)  # fmt: skip
def test_what_cannot_be_offered_is_refused(keys: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        configured(function(*keys), **fields)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("said", "asked", "choice"),
    [
        ("auto", None, "auto"),
        ("required", None, "required"),
        ("required", "none", "none"),
        (Specific("a"), None, Specific("a")),
        (Specific("a"), "auto", "auto"),
        ("auto", Specific("b_name"), Specific("b_name")),
    ],
    ids=["default", "function", "request", "specific", "request-over-specific", "specific-by-name"],
)
def test_the_requests_choice_goes_before_the_functions(said: Any, asked: Any, choice: Any) -> None:
    config = configured(function("a", "b", tool_choice=said), tool_choice=asked)
    assert config is not None
    assert config.choice == choice


@pytest.mark.parametrize(
    ("said", "asked", "parallel"), [(None, None, None), (True, None, True), (True, False, False), (False, True, True)]
)
def test_the_requests_parallel_goes_before_the_functions(
    said: bool | None, asked: bool | None, parallel: bool | None
) -> None:
    config = configured(function("a", parallel_tool_calls=said), parallel_tool_calls=asked)
    assert config is not None
    assert config.parallel is parallel


def test_without_tools_a_choice_is_dropped() -> None:
    assert configured(function(), tool_choice=Specific("x"), parallel_tool_calls=True) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("allowed_tools", ("a",)),
        ("allowed_tools", ()),
        ("additional_tools", (DYNAMIC,)),
        ("tool_choice", "none"),
        ("parallel_tool_calls", False),
    ],
    ids=["allowed", "none-allowed", "additional", "choice", "parallel"],
)
def test_a_json_function_takes_no_tools(field: str, value: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        configured(FunctionSpec("f", "json"), **{field: value})
    assert str(caught.value) == f"Cannot pass `{field}` to a JSON function"


def test_a_json_function_without_tools_is_fine() -> None:
    assert configured(FunctionSpec("f", "json")) is None


# -- calls ------------------------------------------------------------------------------------------------

WEATHER = ToolConfig((tool("weather", type="object", required=["city"]), Tool("broken", "", {"type": "nope"})))


@pytest.mark.parametrize(
    ("name", "arguments", "fits", "value"),
    [
        ("weather", '{"city": "Zürich"}', True, {"city": "Zürich"}),
        ("weather", "{}", True, None),
        ("weather", '{"city": ', True, None),
        ("weather", "", True, None),
        ("weather", "[" * 10_000, True, None),
        ("other", '{"city": "Zürich"}', False, None),
        ("broken", "{}", True, None),
    ],
    ids=["fits", "misses", "half", "empty", "deep", "not-on-offer", "broken-schema"],
)
def test_a_call_is_marked_not_refused(name: str, arguments: str, fits: bool, value: Any) -> None:
    assert check([ToolCall("1", name, arguments)], WEATHER) == (
        CheckedToolCall("1", name, arguments, name if fits else None, value),
    )


def test_without_tools_no_call_fits() -> None:
    assert check([ToolCall("1", "weather", "{}")], None) == (CheckedToolCall("1", "weather", "{}"),)


def test_other_blocks_pass_and_tool_results_are_never_in_an_answer() -> None:
    blocks: list[Block] = [Text("a"), Thought("b"), ToolResult("1", "x", "y"), Unknown({"c": 1})]
    assert check(blocks, WEATHER) == (Text("a"), Thought("b"), Unknown({"c": 1}))
