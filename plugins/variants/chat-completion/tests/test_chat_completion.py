"""chat_completion: what reaches the model, what each JSON mode asks of it, and how its answer reads."""

from __future__ import annotations

from typing import Any

import pytest
from headrace import Variant, VariantServices
from headrace.conformance.models import ScriptedModel
from headrace.conformance.variant import (
    SCHEMA,
    TOOLS,
    VariantConformance,
    function_spec,
    streamed,
    task,
    variant_services,
)
from headrace.contracts import Batchable, Task, Templated
from headrace.errors import BadRequest, ConfigError
from headrace.extras import Extra, ExtraBody, ExtraHeader
from headrace.types import (
    FunctionType,
    Input,
    InputMessage,
    JsonMode,
    Message,
    Params,
    Specific,
    Template,
    Text,
    ToolCall,
)
from headrace_chat_completion import ChatCompletion, Settings
from pydantic import ValidationError

pytestmark = pytest.mark.anyio


def settings(type_: FunctionType = "chat", **table: Any) -> Settings:
    said = {"model": "m"} | ({"json_mode": "strict"} if type_ == "json" else {})
    return Settings.model_validate(said | table)


def chat(model: ScriptedModel, **table: Any) -> ChatCompletion:
    """The variant ``v`` of a chat function."""
    return ChatCompletion(settings(**table), variant_services(model))


class TestChatCompletion(VariantConformance):
    def build(self, services: VariantServices) -> Variant:
        return ChatCompletion(settings(services.function.type), services)

    def retrying(self, services: VariantServices) -> Variant:
        return ChatCompletion(settings(retries={"num_retries": 2, "max_delay_s": 0}), services)


async def test_what_its_templates_make_of_the_input_reaches_the_model() -> None:
    model = ScriptedModel("x")
    variant = chat(
        model,
        system_template={"name": "s", "text": "Today is {{ system_text }}."},
        templates={"greet": {"path": {"name": "g", "text": "Hi {{ name }}!"}}},
    )
    turn = InputMessage("user", (Template("greet", {"name": "Ada"}), Text("How are you?")))
    await variant.run(task(input_=Input((turn,), "Monday")))
    assert isinstance(variant, Templated)
    assert list(variant.templates) == ["greet"]
    assert model.requests[0].system == "Today is Monday."
    assert model.requests[0].messages == (Message("user", (Text("Hi Ada!"), Text("How are you?"))),)


async def test_what_cannot_be_rendered_is_not_asked() -> None:
    model = ScriptedModel("x")
    with pytest.raises(BadRequest):
        await chat(model).run(task(input_=Input((), {"day": "Monday"})))
    assert model.requests == []


@pytest.mark.parametrize(
    "table",
    [
        {"modle": "m"},
        {"templates": {"t": {"file": "x"}}},
        {"input_wrappers": {"tool": {"name": "t", "text": "x"}}},
        {"json_mode": "maybe"},
        {"service_tier": "gold"},
        {"model": None},
        {"model": 1},
        {"temperature": True},
        {"temperature": "0.5"},
        {"top_p": "1"},
        {"max_tokens": "5"},
        {"max_tokens": 5.0},
        {"seed": True},
        {"stop_sequences": "x"},
        {"stop_sequences": [1]},
        {"thinking_budget_tokens": "1"},
        {"extra_body": [{"pointer": "/a"}]},
        {"extra_body": [{"pointer": "/a", "delete": False}]},
        {"extra_headers": [{"name": "a", "value": 1}]},
    ],
    ids=str,
)
def test_a_wrong_table_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**table)


async def test_what_its_table_writes_into_the_request_is_the_variants() -> None:
    model = ScriptedModel("x")
    tables = {"extra_body": [{"pointer": "/a", "value": {"b": 1}}], "extra_headers": [{"name": "x-a", "delete": True}]}
    asked = Extra((ExtraBody(pointer="/c", value=2),))
    await chat(model, **tables).run(task(extra=asked))
    assert model.requests[0].variant_extra == Extra(
        (ExtraBody(pointer="/a", value={"b": 1}),), (ExtraHeader(name="x-a", delete=True),)
    )
    assert model.requests[0].extra == asked


def test_whole_numbers_pass_for_fractions_and_lists_for_lists() -> None:
    read = settings(temperature=1, stop_sequences=["a", "b"])
    assert (read.temperature, read.stop_sequences) == (1.0, ("a", "b"))


# -- parameters and JSON modes (config spec 12.1 and 13) --------------------------------------------------


async def test_a_request_overrides_the_variants_parameters_key_by_key() -> None:
    model = ScriptedModel("x")
    variant = chat(model, temperature=0.5, seed=7, stop_sequences=["a", "b"], reasoning_effort="low")
    await variant.run(task(params=Params(temperature=0.0, stop_sequences=())))
    assert model.requests[0].params == Params(temperature=0.0, seed=7, stop_sequences=(), reasoning_effort="low")


@pytest.mark.parametrize(
    ("type_", "mode", "message"),
    [
        ("json", None, "`json_mode` is required in a json function"),
        ("chat", "on", "JSON mode is not supported for variant v"),
        ("chat", "off", "JSON mode is not supported for variant v"),
    ],
)
def test_json_mode_belongs_to_json_functions(type_: FunctionType, mode: JsonMode | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ChatCompletion(
            settings(type_, json_mode=mode), variant_services(ScriptedModel("x"), function=function_spec(type_))
        )


@pytest.mark.parametrize(
    ("said", "requested", "resolved"),
    [
        ("off", None, "off"),
        ("on", None, "on"),
        ("strict", None, "strict"),
        ("strict", "off", "off"),
        ("off", "on", "on"),
    ],
)
async def test_a_json_function_asks_for_its_mode_and_its_schema(
    said: JsonMode, requested: JsonMode | None, resolved: str
) -> None:
    model, function = ScriptedModel("{}"), function_spec("json")
    built = ChatCompletion(settings("json", json_mode=said), variant_services(model, function=function))
    await built.run(task(function=function, params=Params(json_mode=requested)))
    [request] = model.requests
    assert (request.json_mode, request.output_schema, request.tools) == (resolved, SCHEMA.value, None)
    assert request.function_type == "json"


CALL = (ToolCall("1", "respond", '{"answer":"x"}'),)


@pytest.mark.parametrize(("said", "requested"), [("tool", None), ("strict", "tool")], ids=["by-variant", "by-request"])
async def test_json_by_tool_forces_the_tool_respond(said: JsonMode, requested: JsonMode | None) -> None:
    model, function = ScriptedModel(CALL), function_spec("json")
    built = ChatCompletion(settings("json", json_mode=said), variant_services(model, function=function))
    await built.run(task(function=function, params=Params(json_mode=requested)))
    [request] = model.requests
    assert request.json_mode == "off"
    assert request.tools is not None
    assert request.tools.choice == Specific("respond")
    assert [(tool.name, tool.description, tool.parameters) for tool in request.tools.tools] == [
        ("respond", "Respond to the user using the output schema provided.", SCHEMA.value)
    ]


def by_tool() -> Task:
    """A chat request that brings a schema and wants its JSON by tool."""
    return task(function=function_spec("json"), params=Params(json_mode="tool"))


async def test_a_chat_function_hides_the_tool_respond() -> None:
    assert (await chat(ScriptedModel(CALL)).run(by_tool())).output == (Text('{"answer":"x"}'),)
    assert (await streamed(chat(ScriptedModel(CALL)), by_tool())).blocks() == (Text('{"answer":"x"}'),)


async def test_a_chat_function_shows_the_calls_of_its_own_tools() -> None:
    call = (ToolCall("1", "get_weather", "{}"),)
    assert (await chat(ScriptedModel(call)).run(task(tools=TOOLS))).output == call


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (task(params=Params(json_mode="tool")), "needs an `output_schema`"),
        (
            task(function=function_spec("json"), params=Params(json_mode="tool"), tools=TOOLS),
            "cannot be combined with tools",
        ),
    ],
    ids=["no-schema", "tools"],
)
async def test_json_by_tool_needs_a_schema_and_no_tools(given: Task, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        await chat(ScriptedModel("x")).run(given)


async def test_a_chat_function_may_be_asked_for_json() -> None:
    model = ScriptedModel("{}")
    await chat(model).run(task(function=function_spec("json"), params=Params(json_mode="strict")))
    [request] = model.requests
    assert (request.json_mode, request.output_schema, request.function_type) == ("strict", SCHEMA.value, "chat")


async def test_tells_what_it_would_ask_without_asking() -> None:
    model = ScriptedModel("x")
    variant = chat(model, temperature=0.5, system_template={"name": "s", "text": "{{ system_text }}!"})
    asked = task(input_=Input((), "Go"), params=Params(seed=7))
    assert isinstance(variant, Batchable)
    request, name = variant.request_of(asked)
    assert (model.requests, name, request.system) == ([], "m", "Go!")
    await variant.run(asked)
    assert model.requests == [request]
