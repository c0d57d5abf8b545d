"""chat_completion: which template renders what, which configurations are refused, and what each JSON mode asks."""

from __future__ import annotations

from collections.abc import Mapping
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
from headrace.contracts import FunctionSpec, Task, Templated
from headrace.errors import BadRequest, ConfigError, TemplateError
from headrace.schemas import Schema
from headrace.types import (
    FunctionType,
    Input,
    InputBlock,
    InputMessage,
    JsonMode,
    Params,
    RawText,
    Role,
    Specific,
    Template,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Unknown,
)
from headrace_chat_completion import ChatCompletion, Settings
from pydantic import ValidationError

pytestmark = pytest.mark.anyio

ANY = Schema({})


def file(text: str, name: str = "") -> dict[str, str]:
    """A template as configuration carries it; its name follows from its text unless given."""
    return {"name": name or f"{text}.minijinja", "text": text}


def settings(type_: FunctionType = "chat", **table: Any) -> Settings:
    said = {"model": "m"} | ({"json_mode": "strict"} if type_ == "json" else {})
    return Settings.model_validate(said | table)


def variant(table: Mapping[str, Any], *schemas: str, model: ScriptedModel | None = None) -> ChatCompletion:
    """The variant ``v`` of a chat function with an accept-all schema under each of these names."""
    function = FunctionSpec("f", "chat", schemas=dict.fromkeys(schemas, ANY))
    return ChatCompletion(settings(**table), variant_services(model or ScriptedModel("x"), function=function))


def asked(*blocks: InputBlock, role: Role = "user", system: Any = None) -> Task:
    return task(input_=Input((InputMessage(role, blocks),) if blocks else (), system))


class TestChatCompletion(VariantConformance):
    def build(self, services: VariantServices) -> Variant:
        return ChatCompletion(settings(services.function.type), services)


# -- rendering (config spec 11.3) -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "schemas", "system", "rendered"),
    [
        ({}, (), "be {{ nice }}", "be {{ nice }}"),
        ({}, (), None, None),
        ({"system_template": file("[{{ system_text }}]")}, (), "S", "[S]"),
        ({"system_template": file("[{{ system_text is none }}]")}, (), None, "[True]"),
        ({"system_template": file("[{{ x }}]")}, ("system",), {"x": 1}, "[1]"),
        ({"system_template": file("[{{ x is defined }}]")}, ("system",), "S", "[False]"),
        ({"system_template": file("{{ system_text is defined }}")}, ("system",), "S", "False"),
        ({"templates": {"system": {"path": file("[{{ x }}]")}}}, (), {"x": 1}, "[1]"),
        ({"templates": {"system": {"path": file("[{{ x }}]")}}}, ("system",), {"x": 1}, "[1]"),
        ({"templates": {"system": {"path": file("[{{ x is defined }}]")}}}, (), "S", "[False]"),
        ({"templates": {"system": {"path": file("fixed")}}}, (), None, "fixed"),
        ({"input_wrappers": {"system": file("<{{ system_text }}>")}}, (), "S", "<S>"),
    ],
    ids=[
        "no-slot", "no-slot-absent", "legacy", "legacy-absent", "legacy-schema-object", "legacy-schema-text",
        "legacy-schema-has-no-system-text", "modern-object", "modern-schema", "modern-text", "modern-absent", "wrapper",
    ],
)  # fmt: skip
async def test_the_system_is_rendered_as_its_slot_says(
    table: dict[str, Any], schemas: tuple[str, ...], system: Any, rendered: str | None
) -> None:
    model = ScriptedModel("x")
    await variant(table, *schemas, model=model).run(asked(system=system))
    # Which MiniJinja is installed decides whether a boolean prints as `true` or `True`.
    assert str(model.requests[0].system).lower() == str(rendered).lower()


def slot(kind: str, role: str, template: dict[str, str]) -> dict[str, Any]:
    """A variant's table with one template for a role."""
    tables: dict[str, dict[str, Any]] = {
        "none": {},
        "legacy": {f"{role}_template": template},
        "wrapper": {"input_wrappers": {role: template}},
        "modern": {"templates": {role: {"path": template}}},
    }
    return tables[kind]


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize(
    ("kind", "schema", "wraps"),
    [
        ("none", False, False),
        ("legacy", False, True),
        ("legacy", True, True),
        ("wrapper", False, True),
        ("modern", False, False),
        ("modern", True, False),
    ],
    ids=["no-slot", "legacy", "legacy-schema", "wrapper", "modern", "modern-schema"],
)
async def test_text_is_wrapped_by_legacy_templates_only(role: Role, kind: str, schema: bool, wraps: bool) -> None:
    model, template = ScriptedModel("x"), file(f"<{{{{ {role}_text|default('') }}}}>")
    built = variant(slot(kind, role, template), *([role] if schema else []), model=model)
    await built.run(asked(Text("a {{ b }}"), role=role))
    [message] = model.requests[0].messages
    assert message.role == role
    assert message.content == (Text("<a {{ b }}>" if wraps else "a {{ b }}"),)


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize(
    ("table", "schemas"),
    [
        ({"templates": {"greet": {"path": file("Hi {{ name }}!")}}}, ()),
        ({"templates": {"greet": {"path": file("Hi {{ name }}!")}}}, ("greet",)),
    ],
    ids=["free", "schema"],
)
async def test_a_template_block_is_rendered_in_either_role(
    table: dict[str, Any], schemas: tuple[str, ...], role: Role
) -> None:
    model = ScriptedModel("x")
    await variant(table, *schemas, model=model).run(asked(Template("greet", {"name": "Ada"}), role=role))
    assert model.requests[0].messages[0].content == (Text("Hi Ada!"),)


@pytest.mark.parametrize("kind", ["legacy", "modern"])
async def test_a_roles_own_template_takes_arguments_with_a_schema(kind: str) -> None:
    model = ScriptedModel("x")
    await variant(slot(kind, "user", file("Hi {{ name }}!")), "user", model=model).run(
        asked(Template("user", {"name": "Ada"}))
    )
    assert model.requests[0].messages[0].content == (Text("Hi Ada!"),)


async def test_blocks_keep_their_order_and_each_stays_a_block() -> None:
    model = ScriptedModel("x")
    blocks: tuple[InputBlock, ...] = (
        RawText("{{ raw }}"),
        Text("text"),
        Template("t", {}),
        ToolCall("1", "add", "{}"),
        ToolResult("1", "add", "3"),
        Thought("hm"),
        Unknown({"x": 1}),
    )
    table = {"user_template": file("<{{ user_text }}>"), "templates": {"t": {"path": file("T")}}}
    await variant(table, model=model).run(asked(*blocks))
    assert model.requests[0].messages[0].content == (Text("{{ raw }}"), Text("<text>"), Text("T"), *blocks[3:])


@pytest.mark.parametrize(
    ("table", "given", "message"),
    [
        ({}, asked(system={"x": 1}), "System message content is a template but there is no variant template"),
        (
            {"system_template": file("{{ system_text }}")},
            asked(system={"x": 1}),
            "System message content is a template but the variant's template takes only text",
        ),
        ({}, asked(Template("t", {})), "Template `t` not found"),
        (
            {"user_template": file("{{ user_text }}")},
            asked(Template("user", {}), role="assistant"),
            "Template `user` takes only text, as `user_text`",
        ),
        (
            {"input_wrappers": {"user": file("{{ user_text }}")}},
            asked(Template("user", {})),
            "Template `user` takes only text, as `user_text`",
        ),
    ],
    ids=["system-no-slot", "system-legacy", "no-slot", "legacy-other-role", "wrapper"],
)
async def test_what_no_template_takes_is_refused(table: dict[str, Any], given: Task, message: str) -> None:
    model = ScriptedModel("x")
    with pytest.raises(BadRequest) as caught:
        await variant(table, model=model).run(given)
    assert str(caught.value) == message
    assert model.requests == []


async def test_a_missing_argument_fails_with_the_templates_name() -> None:
    table = {"templates": {"t": {"path": file("{{ x }}", "prompts/t.minijinja")}}}
    with pytest.raises(TemplateError, match=r"^Error rendering template prompts/t\.minijinja: Could not render "):
        await variant(table).run(asked(Template("t", {})))


async def test_rendering_leaves_the_input_as_it_was() -> None:
    given = asked(Template("t", {"list": [1], "object": {"a": 1}}))
    table = {"templates": {"t": {"path": file("{% for x in list %}{{ x }}{% endfor %}{{ object }}")}}}
    await variant(table).run(given)
    assert given.input.messages[0].content == (Template("t", {"list": [1], "object": {"a": 1}}),)


@pytest.mark.parametrize(
    ("table", "schemas", "templates"),
    [
        ({}, (), []),
        ({"user_template": file("{{ user_text }}")}, (), []),
        ({"input_wrappers": {"user": file("{{ user_text }}")}}, (), []),
        ({"user_template": file("{{ x }}")}, ("user",), ["user"]),
        ({"templates": {"a": {"path": file("a")}, "user": {"path": file("b")}}}, (), ["a", "user"]),
    ],
    ids=["none", "legacy", "wrapper", "legacy-schema", "modern"],
)
def test_it_says_which_templates_take_arguments(
    table: dict[str, Any], schemas: tuple[str, ...], templates: list[str]
) -> None:
    built = variant(table, *schemas)
    assert isinstance(built, Templated)
    assert sorted(built.templates) == templates


# -- configuration (config spec 11.2) ---------------------------------------------------------------------

ROLES = ("system", "user", "assistant")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("kinds", "schema", "message"),
    [
        (("legacy", "modern"), False, "Cannot specify both templates.{role}.path and {role}_template"),
        (("wrapper", "modern"), False, "Cannot specify both templates.{role}.path and {role}_template"),
        (("legacy", "wrapper"), False, "Cannot specify both {role}_template and input_wrappers.{role}"),
        (("wrapper",), True, "Cannot specify input_wrappers.{role} when the function has a schema for {role}"),
        ((), True, "`functions.f.variants.v.{role}_template`: template is required when schema is specified"),
    ],
    ids=["legacy-modern", "wrapper-modern", "legacy-wrapper", "wrapper-schema", "schema-alone"],
)
def test_a_role_cannot_have_both(role: str, kinds: tuple[str, ...], schema: bool, message: str) -> None:
    table: dict[str, Any] = {}
    for kind in kinds:
        table |= slot(kind, role, file("text"))
    with pytest.raises(ConfigError) as caught:
        variant(table, *([role] if schema else []))
    assert str(caught.value) == message.format(role=role)


@pytest.mark.parametrize("kind", ["legacy", "wrapper"])
@pytest.mark.parametrize("role", ROLES)
def test_a_legacy_template_without_schema_has_one_variable(role: str, kind: str) -> None:
    for fine in (f"{{{{ {role}_text }}}}{{% for i in range(2) %}}{{{{ i }}}}{{% endfor %}}", "none at all"):
        variant(slot(kind, role, file(fine)))
    with pytest.raises(ConfigError) as caught:
        variant(slot(kind, role, file(f"{{{{ b }}}}{{{{ {role}_text }}}}{{{{ a.c }}}}")))
    assert str(caught.value) == (
        f"`functions.f.variants.v.{role}_template`: template needs variables: [a, b] "
        f"but only `{role}_text` is allowed when template has no schema"
    )


def test_the_text_of_another_role_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"needs variables: \[assistant_text\] but only `user_text` is allowed"):
        variant({"user_template": file("{{ assistant_text }}")})


def test_every_schema_needs_its_template_and_all_are_named() -> None:
    function = FunctionSpec("a.b", "chat", schemas=dict.fromkeys(("greet", "part", "user"), ANY))
    table = settings(templates={"part": {"path": file("x")}})
    with pytest.raises(ConfigError) as caught:
        ChatCompletion(table, variant_services(ScriptedModel("x"), function=function))
    assert caught.value.problems == (
        "`functions.a.b.variants.v.templates.greet` is required when `functions.a.b.schemas.greet` is specified",
        "`functions.a.b.variants.v.user_template`: template is required when schema is specified",
    )


def test_two_variants_may_share_a_file_but_not_a_name() -> None:
    services = variant_services(ScriptedModel("x"))
    for _ in range(2):
        ChatCompletion(settings(templates={"t": {"path": file("a", "t")}}), services)
    with pytest.raises(ConfigError, match="two different templates are named 't'"):
        ChatCompletion(settings(templates={"t": {"path": file("b", "t")}}), services)


def test_a_template_that_does_not_compile_is_found_at_start_up() -> None:
    with pytest.raises(ConfigError, match=r"^Error compiling template broken: syntax error"):
        variant({"templates": {"t": {"path": file("{{ x", "broken")}}})


@pytest.mark.parametrize(
    "table",
    [
        {"modle": "m"},
        {"templates": {"t": {"file": "x"}}},
        {"input_wrappers": {"tool": file("x")}},
        {"json_mode": "maybe"},
        {"service_tier": "gold"},
        {"model": None},
    ],
    ids=["key", "template-key", "wrapper-role", "json-mode", "service-tier", "no-model"],
)
def test_a_wrong_table_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**table)


# -- parameters and JSON modes (config spec 12.1 and 13) --------------------------------------------------


async def test_a_request_overrides_the_variants_parameters_key_by_key() -> None:
    model = ScriptedModel("x")
    table = {"temperature": 0.5, "seed": 7, "stop_sequences": ["a", "b"], "reasoning_effort": "low"}
    given = task(params=Params(temperature=0.0, stop_sequences=()))
    await variant(table, model=model).run(given)
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
    assert (await variant({}, model=ScriptedModel(CALL)).run(by_tool())).output == (Text('{"answer":"x"}'),)
    assert (await streamed(variant({}, model=ScriptedModel(CALL)), by_tool())).blocks() == (Text('{"answer":"x"}'),)


async def test_a_chat_function_shows_the_calls_of_its_own_tools() -> None:
    call = (ToolCall("1", "get_weather", "{}"),)
    assert (await variant({}, model=ScriptedModel(call)).run(task(tools=TOOLS))).output == call


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
        await variant({}).run(given)


async def test_a_chat_function_may_be_asked_for_json() -> None:
    model = ScriptedModel("{}")
    await variant({}, model=model).run(task(function=function_spec("json"), params=Params(json_mode="strict")))
    [request] = model.requests
    assert (request.json_mode, request.output_schema, request.function_type) == ("strict", SCHEMA.value, "chat")
