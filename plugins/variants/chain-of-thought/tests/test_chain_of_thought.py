"""Chain of thought: the schema gets a place for thinking, the answer loses it again."""

from __future__ import annotations

from typing import Any

import pytest
from headrace import VariantServices
from headrace.conformance.models import ScriptedModel
from headrace.conformance.variant import SCHEMA, function_spec, streamed, task, variant_services
from headrace.errors import AllRetriesFailed, BadRequest, ConfigError, ProviderError
from headrace.schemas import Schema
from headrace.types import Block, Params, Text, Thought, ToolCall
from headrace_chain_of_thought import ChainOfThought, Settings
from headrace_chain_of_thought.schema import wrap
from msgspec import structs
from pydantic import ValidationError

# The conformance suite builds chat functions, which this variant refuses; its promises for JSON are tested here.
pytestmark = pytest.mark.anyio

ANSWER = '{"thinking":"Swiss, so","response":{"answer":"Zürich","n":1.50}}'
FUNCTION = function_spec("json")


def services(model: ScriptedModel) -> VariantServices:
    return variant_services(model, function=FUNCTION)


def thinking(model: ScriptedModel, **table: Any) -> ChainOfThought:
    return ChainOfThought(Settings.model_validate({"model": "m", "json_mode": "strict"} | table), services(model))


@pytest.mark.parametrize(
    ("said", "output"),
    [
        (ANSWER, (Thought("Swiss, so"), Text('{"answer":"Zürich","n":1.50}'))),
        ((ToolCall("1", "respond", ANSWER),), (Thought("Swiss, so"), Text('{"answer":"Zürich","n":1.50}'))),
        (
            (Thought("hm", "signed"), Text('{"response":null,"thinking":""}')),
            (Thought("hm", "signed"), Thought(""), Text("null")),
        ),
    ],
    ids=["text", "tool", "with-thought"],
)
async def test_thinking_becomes_a_thought_and_the_response_the_answer(said: Any, output: tuple[Block, ...]) -> None:
    answer = await thinking(ScriptedModel(said)).run(task(function=FUNCTION))
    assert (answer.output, answer.finish_reason) == (output, "stop")


@pytest.mark.parametrize(
    "said",
    ['{"answer":"x"}', '{"response":"x"}', '{"thinking":1,"response":2}', "no JSON", "[" * 100_000],
    ids=["plain", "no-thinking", "no-text", "text", "deep"],
)
async def test_an_answer_of_another_form_is_given_back_as_it_is(said: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = await thinking(ScriptedModel(said)).run(task(function=FUNCTION))
    assert answer.output == (Text(said),)
    assert "has no `thinking` and `response`" in caplog.text


async def test_the_model_is_asked_for_thinking_and_response() -> None:
    model = ScriptedModel(ANSWER)
    given = task(function=FUNCTION, params=Params(seed=3))
    await thinking(model, system_template={"name": "s", "text": "Think."}, temperature=0.5).run(given)
    (request,) = model.requests
    assert request.output_schema == {
        "type": "object",
        "properties": {"thinking": {"type": "string"}, "response": SCHEMA.value},
        "required": ["thinking", "response"],
        "additionalProperties": False,
    }
    assert (request.system, request.params, request.json_mode) == (
        "Think.",
        Params(seed=3, temperature=0.5, json_mode="strict"),
        "strict",
    )
    assert [attempt.request for attempt in given.attempts] == model.requests
    assert given.output_schema is SCHEMA


@pytest.mark.parametrize(
    "schema",
    [
        {"$defs": {"a/b": {"type": "integer"}}, "properties": {"n": {"$ref": "#/$defs/a~1b"}}},
        {"properties": {"n": {"type": "integer"}, "again": {"$ref": "#"}}},
        {"$id": "urn:x", "$defs": {"n": {"type": "integer"}}, "properties": {"n": {"$ref": "#/$defs/n"}}},
        {"$id": "urn:x", "$defs": {"n": {"type": "integer"}}, "properties": {"n": {"$ref": "urn:x#/$defs/n"}}},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"n": {"type": "integer"}},
            "allOf": [{"properties": {"n": {"$ref": "#/definitions/n"}}}],
        },
    ],
    ids=["defs", "recursive", "id", "by-id", "draft-07"],
)
def test_references_within_a_schema_still_lead_to_their_place(schema: dict[str, Any]) -> None:
    wrapped = wrap(Schema(schema))
    assert wrapped.fits({"thinking": "", "response": {"n": 1, "again": {"n": 2}}})
    assert not wrapped.fits({"thinking": "", "response": {"n": "one"}})
    assert not wrapped.fits({"response": {"n": 1}})


def test_data_that_looks_like_a_reference_is_left_alone() -> None:
    schema = {"const": {"$ref": "#/a"}}
    assert wrap(Schema(schema)).fits({"thinking": "", "response": {"$ref": "#/a"}})
    assert wrap(Schema(True)).fits({"thinking": "", "response": 1})


async def test_a_schema_without_room_for_more_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(31):
        deep = {"properties": {"a": deep}}
    given = structs.replace(task(function=FUNCTION), output_schema=Schema(deep))
    with pytest.raises(BadRequest, match="leaves no room for thinking"):
        await thinking(ScriptedModel("x")).run(given)


async def test_a_model_that_fails_is_asked_again() -> None:
    down = ProviderError("down")
    model = ScriptedModel(down, down, ANSWER)
    retries = {"num_retries": 1, "max_delay_s": 0}
    with pytest.raises(AllRetriesFailed):
        await thinking(model, retries=retries).run(task(function=FUNCTION))
    assert (await thinking(model, retries=retries).run(task(function=FUNCTION))).finish_reason == "stop"


async def test_it_does_not_stream() -> None:
    model = ScriptedModel(ANSWER)
    with pytest.raises(BadRequest, match="does not support streaming"):
        await streamed(thinking(model), task(function=FUNCTION))
    assert model.requests == []


def test_it_is_for_json_functions_only() -> None:
    with pytest.raises(ConfigError, match="json functions only"):
        ChainOfThought(Settings(model="m"), variant_services(ScriptedModel("x")))


def test_its_templates_are_known() -> None:
    table = {"templates": {"greet": {"path": {"name": "g", "text": "Hi {{ name }}"}}}}
    assert list(thinking(ScriptedModel("x"), **table).templates) == ["greet"]


@pytest.mark.parametrize("table", [{"modle": "m"}, {"model": None}, {"json_mode": "maybe"}], ids=str)
def test_a_wrong_table_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"model": "m"} | table)
