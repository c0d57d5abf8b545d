"""A function: which input it takes, and what it makes of a model's answer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from headrace.contracts import FunctionSpec
from headrace.errors import BadRequest, NotFound
from headrace.experiments import Experiment
from headrace.functions import Function, json_output, parse_output, text_of
from headrace.schemas import Schema
from headrace.types import (
    Block,
    CheckedToolCall,
    Input,
    InputBlock,
    InputMessage,
    JsonOutput,
    RawText,
    Role,
    Template,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Unknown,
)

OBJECT = Schema({"type": "object", "required": ["x"]})
STRING = Schema({"type": "string", "maxLength": 3})


def function(*, slots: Collection[str] = (), **schemas: Schema) -> Function:
    return Function(FunctionSpec("f", "chat", schemas=schemas), {}, Experiment({}), frozenset(slots))


def asked(*blocks: InputBlock, role: Role = "user", system: Any = None) -> Input:
    return Input((InputMessage("user", (Text("ok"),)), InputMessage(role, blocks)), system)


# -- input (http-api 6.3) ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("takes", "input_"),
    [
        (function(), asked(Text("hi"), system="be nice")),
        (function(), asked()),
        (function(), Input()),
        (function(system=OBJECT), asked(system={"x": 1})),
        (function(system=STRING), asked(system="abc")),
        (function(slots=["system"]), asked(system={"any": 1})),
        (function(user=STRING), asked(Text("abc"))),
        (function(assistant=OBJECT), asked(Text("free"))),
        (function(user=OBJECT), Input((InputMessage("assistant", (Text("free"),)),))),
        (function(user=OBJECT), Input((InputMessage("user", (Template("user", {"x": 1}),)),))),
        (function(greet=OBJECT), asked(Template("greet", {"x": 1}))),
        (function(slots=["greet"]), asked(Template("greet", {}))),
        (
            function(user=OBJECT),
            Input((InputMessage("user", (RawText("x"), ToolResult("1", "t", "r"), Thought("t"), Unknown(1))),)),
        ),
    ],
    ids=[
        "free", "no-blocks", "nothing", "system-object", "system-text", "system-slot", "text-that-fits", "other-role",
        "other-role-free", "template-of-role", "named-template", "slot", "unvalidated-blocks",
    ],
)  # fmt: skip
def test_input_that_fits_is_taken(takes: Function, input_: Input) -> None:
    takes.check(input_)


VIOLATION = "JSON Schema validation failed:\n"
NO_SYSTEM = "`input.system` is empty but a system template is present."


@pytest.mark.parametrize(
    ("takes", "input_", "message"),
    [
        (function(system=OBJECT), asked(), NO_SYSTEM),
        (function(system=OBJECT), asked(system={}), f'{VIOLATION}"x" is a required property'),
        (function(system=OBJECT), asked(system="text"), f'{VIOLATION}"text" is not of type "object"'),
        (function(), asked(system={}), "System message content is a template but there is no variant template"),
        (
            function(slots=["user"]),
            asked(system={}),
            "System message content is a template but there is no variant template",
        ),
        (function(user=OBJECT), asked(Text("hi")), f'{VIOLATION}"ok" is not of type "object"'),
        (function(assistant=STRING), asked(Text("long"), role="assistant"), f'{VIOLATION}"long" is longer than 3'),
        (function(greet=OBJECT), asked(Template("greet", {})), f'{VIOLATION}"x" is a required property'),
        (
            function(greet=OBJECT, slots=["user"]),
            asked(Template("part", {})),
            "Message at index 1 has non-string content but there is no template `part` in any variant",
        ),
    ],
    ids=[
        "no-system", "system-misses", "system-text", "no-system-slot", "other-slot", "text", "assistant-text",
        "template", "no-template",
    ],
)  # fmt: skip
def test_input_that_does_not_fit_is_refused(takes: Function, input_: Input, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        takes.check(input_)
    assert str(caught.value).startswith(message)


def test_an_unknown_variant_is_not_found() -> None:
    with pytest.raises(NotFound, match="Unknown variant: x"):
        function().pinned("x")


# -- output (http-api 10) ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "schema", "parsed"),
    [
        ('{"x": [1.5, "ü"]}', OBJECT, {"x": [1.5, "ü"]}),
        ('{"x": 1}', None, {"x": 1}),
        ("{}", OBJECT, None),
        ('{"x": ', OBJECT, None),
        ('```json\n{"x": 1}\n```', OBJECT, None),
        ("", OBJECT, None),
        ("null", OBJECT, None),
        ("[" * 10_000 + "]" * 10_000, Schema({}), None),
        ("3", Schema({}), 3),
    ],
    ids=["fits", "no-schema", "misses", "half", "fenced", "empty", "null", "deep", "number"],
)
def test_an_answer_is_parsed_only_if_it_fits_and_is_kept_in_any_case(
    raw: str, schema: Schema | None, parsed: Any
) -> None:
    assert parse_output(raw, schema) == JsonOutput(raw, parsed)


def test_no_answer_is_null() -> None:
    assert parse_output(None, OBJECT) == JsonOutput(None, None)


CALL = ToolCall("1", "respond", '{"x": 2}')


@pytest.mark.parametrize(
    ("blocks", "raw", "rest"),
    [
        ((), None, ()),
        ((Text("a"),), "a", ()),
        ((Text("a"), Text("b")), "b", ()),
        ((Text("a"), CALL), '{"x": 2}', ()),
        ((CALL, Text("a")), "a", ()),
        ((Thought("t"), CALL, Unknown(1)), '{"x": 2}', (Thought("t"), Unknown(1))),
        ((Thought("t"),), None, (Thought("t"),)),
    ],
    ids=["nothing", "text", "last-text", "call-last", "text-last", "the-rest", "only-thoughts"],
)
def test_the_last_text_or_call_is_the_answer(
    blocks: tuple[Block, ...], raw: str | None, rest: tuple[Block, ...]
) -> None:
    output, others = json_output(blocks, None)
    assert (output.raw, others) == (raw, rest)


@pytest.mark.parametrize(
    ("blocks", "text"),
    [
        ((), None),
        ((Text("a"), CheckedToolCall("1", "n", "{}"), Text("b")), "ab"),
        ((Thought("t"),), None),
        ((Text(""),), ""),
    ],
    ids=["nothing", "texts", "no-text", "empty-text"],
)
def test_the_text_of_a_chat_answer_is_all_its_text(blocks: Any, text: str | None) -> None:
    assert text_of(blocks) == text
