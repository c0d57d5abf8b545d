"""Which template renders what (config spec 11.3), and which templates a variant cannot have (11.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from headrace.conformance.variant import variant_services
from headrace.contracts import FunctionSpec
from headrace.errors import BadRequest, ConfigError, TemplateError
from headrace.schemas import Schema
from headrace.types import (
    Block,
    Input,
    InputBlock,
    InputMessage,
    Message,
    RawText,
    Role,
    Template,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Unknown,
)
from headrace_chat_completion import Renderer, TemplateSettings

ANY = Schema({})


def file(text: str, name: str = "") -> dict[str, str]:
    """A template as configuration carries it; its name follows from its text unless given."""
    return {"name": name or f"{text}.minijinja", "text": text}


def renderer(table: Mapping[str, Any], *schemas: str) -> Renderer:
    """The templates of variant ``v`` of a function that has an accept-all schema under each of these names."""
    function = FunctionSpec("f", "chat", schemas=dict.fromkeys(schemas, ANY))
    return Renderer(TemplateSettings.model_validate(table), variant_services(function=function))


def rendered(renders: Renderer, *blocks: InputBlock, role: Role = "user") -> tuple[Block, ...]:
    """What becomes of one turn."""
    [message] = renders.messages(Input((InputMessage(role, blocks),)))
    assert message == Message(role, message.content)
    return message.content


# -- rendering (config spec 11.3) -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "schemas", "system", "text"),
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
def test_the_system_is_rendered_as_its_slot_says(
    table: dict[str, Any], schemas: tuple[str, ...], system: Any, text: str | None
) -> None:
    # Which MiniJinja is installed decides whether a boolean prints as `true` or `True`.
    assert str(renderer(table, *schemas).system(system)).lower() == str(text).lower()


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
def test_text_is_wrapped_by_legacy_templates_only(role: Role, kind: str, schema: bool, wraps: bool) -> None:
    template = file(f"<{{{{ {role}_text|default('') }}}}>")
    renders = renderer(slot(kind, role, template), *([role] if schema else []))
    assert rendered(renders, Text("a {{ b }}"), role=role) == (Text("<a {{ b }}>" if wraps else "a {{ b }}"),)


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize(
    ("table", "schemas"),
    [
        ({"templates": {"greet": {"path": file("Hi {{ name }}!")}}}, ()),
        ({"templates": {"greet": {"path": file("Hi {{ name }}!")}}}, ("greet",)),
    ],
    ids=["free", "schema"],
)
def test_a_template_block_is_rendered_in_either_role(
    table: dict[str, Any], schemas: tuple[str, ...], role: Role
) -> None:
    assert rendered(renderer(table, *schemas), Template("greet", {"name": "Ada"}), role=role) == (Text("Hi Ada!"),)


@pytest.mark.parametrize("kind", ["legacy", "modern"])
def test_a_roles_own_template_takes_arguments_with_a_schema(kind: str) -> None:
    renders = renderer(slot(kind, "user", file("Hi {{ name }}!")), "user")
    assert rendered(renders, Template("user", {"name": "Ada"})) == (Text("Hi Ada!"),)


def test_blocks_keep_their_order_and_each_stays_a_block() -> None:
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
    assert rendered(renderer(table), *blocks) == (Text("{{ raw }}"), Text("<text>"), Text("T"), *blocks[3:])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "System message content is a template but there is no variant template"),
        (
            {"system_template": file("{{ system_text }}")},
            "System message content is a template but the variant's template takes only text",
        ),
    ],
    ids=["no-slot", "legacy"],
)
def test_a_system_object_that_no_template_takes_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        renderer(table).system({"x": 1})
    assert str(caught.value) == message


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("none", "Template `user` not found"),
        ("legacy", "Template `user` takes only text, as `user_text`"),
        ("wrapper", "Template `user` takes only text, as `user_text`"),
    ],
    ids=["no-slot", "legacy", "wrapper"],
)
def test_a_template_block_that_no_template_takes_is_refused(kind: str, message: str, role: Role) -> None:
    with pytest.raises(BadRequest) as caught:
        rendered(renderer(slot(kind, "user", file("text"))), Template("user", {}), role=role)
    assert str(caught.value) == message


def test_a_missing_argument_fails_with_the_templates_name() -> None:
    renders = renderer({"templates": {"t": {"path": file("{{ x }}", "prompts/t.minijinja")}}})
    with pytest.raises(TemplateError, match=r"^Error rendering template prompts/t\.minijinja: Could not render "):
        rendered(renders, Template("t", {}))


def test_rendering_leaves_the_input_as_it_was() -> None:
    arguments = {"list": [1], "object": {"a": 1}}
    renders = renderer({"templates": {"t": {"path": file("{% for x in list %}{{ x }}{% endfor %}{{ object }}")}}})
    assert rendered(renders, Template("t", arguments)) == (Text('1{"a": 1}'),)
    assert arguments == {"list": [1], "object": {"a": 1}}


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
    assert sorted(renderer(table, *schemas).templates) == templates


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
        renderer(table, *([role] if schema else []))
    assert str(caught.value) == message.format(role=role)


@pytest.mark.parametrize("kind", ["legacy", "wrapper"])
@pytest.mark.parametrize("role", ROLES)
def test_a_legacy_template_without_schema_has_one_variable(role: str, kind: str) -> None:
    for fine in (f"{{{{ {role}_text }}}}{{% for i in range(2) %}}{{{{ i }}}}{{% endfor %}}", "none at all"):
        renderer(slot(kind, role, file(fine)))
    with pytest.raises(ConfigError) as caught:
        renderer(slot(kind, role, file(f"{{{{ b }}}}{{{{ {role}_text }}}}{{{{ a.c }}}}")))
    assert str(caught.value) == (
        f"`functions.f.variants.v.{role}_template`: template needs variables: [a, b] "
        f"but only `{role}_text` is allowed when template has no schema"
    )


def test_the_text_of_another_role_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"needs variables: \[assistant_text\] but only `user_text` is allowed"):
        renderer({"user_template": file("{{ assistant_text }}")})


def test_every_schema_needs_its_template_and_all_are_named() -> None:
    function = FunctionSpec("a.b", "chat", schemas=dict.fromkeys(("greet", "part", "user"), ANY))
    settings = TemplateSettings.model_validate({"templates": {"part": {"path": file("x")}}})
    with pytest.raises(ConfigError) as caught:
        Renderer(settings, variant_services(function=function))
    assert caught.value.problems == (
        "`functions.a.b.variants.v.templates.greet` is required when `functions.a.b.schemas.greet` is specified",
        "`functions.a.b.variants.v.user_template`: template is required when schema is specified",
    )


def test_two_variants_may_share_a_file_but_not_a_name() -> None:
    services = variant_services()
    same, other = (TemplateSettings.model_validate(slot("modern", "t", file(text, "t"))) for text in "ab")
    Renderer(same, services)
    Renderer(same, services)
    with pytest.raises(ConfigError, match="two different templates are named 't'"):
        Renderer(other, services)


def test_a_template_that_does_not_compile_is_found_at_start_up() -> None:
    with pytest.raises(ConfigError, match=r"^Error compiling template broken: syntax error"):
        renderer({"templates": {"t": {"path": file("{{ x", "broken")}}})
