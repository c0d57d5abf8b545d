"""Dynamic in-context learning: nearest first, near enough, in the examples' form, and never silently without any."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from headrace import Variant, VariantServices
from headrace.conformance.models import ScriptedModel, WordVectors, word_vector
from headrace.conformance.variant import VariantConformance, function_spec, streamed, task, variant_services
from headrace.errors import AllProvidersFailed, BadRequest, ConfigError, HeadraceError, Unreachable
from headrace.extras import Extra, ExtraBody
from headrace.files import File
from headrace.ids import new_id
from headrace.media import File as InputFile
from headrace.records import Example
from headrace.types import (
    EmbeddingRequest,
    FunctionType,
    Input,
    InputBlock,
    InputMessage,
    Message,
    Params,
    RawText,
    Template,
    Text,
    ToolCall,
    Unknown,
)
from headrace_dicl import Dicl, Settings
from headrace_dicl.prompt import INSTRUCTIONS
from msgspec import json
from pydantic import ValidationError

pytestmark = pytest.mark.anyio


def stored(*blocks: InputBlock) -> Input:
    return Input(messages=(InputMessage("user", blocks),))


def example(text: str, output: Any) -> Example:
    input_ = json.encode(stored(Text(text))).decode()
    return Example(
        id=new_id(),
        function_name="f",
        variant_name="v",
        input=input_,
        output=json.encode(output).decode(),
        embedding=word_vector(input_),
    )


def chat_example(text: str, answer: str) -> Example:
    return example(text, [{"type": "text", "text": answer}])


def settings(type_: FunctionType = "chat", **table: Any) -> Settings:
    said = {"embedding_model": "e", "model": "m", "k": 3} | ({"json_mode": "strict"} if type_ == "json" else {})
    return Settings.model_validate(said | table)


LACKS = {"extra-body": "the request's form is the variant's own: it refuses (config spec 12.4)"}


class TestWithExamples(VariantConformance):
    lacks = LACKS

    def build(self, services: VariantServices) -> Variant:
        return Dicl(settings(services.function.type), services)

    def retrying(self, services: VariantServices) -> Variant:
        return Dicl(settings(retries={"num_retries": 2, "max_delay_s": 0}), services)

    def examples(self, type_: FunctionType) -> list[tuple[Example, float]]:
        near = chat_example("good day", "hi") if type_ == "chat" else example("good day", {"raw": "{}", "parsed": {}})
        return [(near, 0.1)]


class TestWithoutExamples(VariantConformance):
    lacks = LACKS

    def build(self, services: VariantServices) -> Variant:
        return Dicl(settings(services.function.type), services)

    def retrying(self, services: VariantServices) -> Variant:
        return Dicl(settings(retries={"num_retries": 2, "max_delay_s": 0}), services)


async def test_the_model_sees_instructions_then_examples_nearest_first_then_the_input() -> None:
    model, embeddings = ScriptedModel("refund"), WordVectors()
    near, far = chat_example("money back", "refund"), chat_example("where is it", "status")
    services = variant_services(model, embedding_model=embeddings, examples=[(near, 0.1), (far, 0.4)])
    given = task(input_=Input(messages=stored(Text("my money")).messages, system="be nice"))
    await Dicl(settings(), services).run(given)
    text = '{"messages":[{"role":"user","content":[{"type":"text","text":"my money"}]}],"system":"be nice"}'
    assert model.requests[0].system == INSTRUCTIONS
    assert model.requests[0].messages == (
        Message("user", (Text(near.input),)),
        Message("assistant", (Text("refund"),)),
        Message("user", (Text(far.input),)),
        Message("assistant", (Text("status"),)),
        Message("user", (Text(text),)),
    )
    assert embeddings.requests == [EmbeddingRequest(input=text)]
    assert [type(attempt.request).__name__ for attempt in given.attempts] == ["EmbeddingRequest", "ModelRequest"]


@pytest.mark.parametrize(
    ("table", "shown"),
    [({"k": 1}, 1), ({"k": 9}, 3), ({"max_distance": 0.3}, 2), ({"k": 2, "max_distance": 0.1}, 1), ({"k": 0}, 0)],
    ids=["k", "large-k", "max-distance", "both", "none"],
)
async def test_examples_are_the_nearest_that_are_near_enough(table: dict[str, Any], shown: int) -> None:
    model = ScriptedModel("x")
    examples = [(chat_example(f"text {number}", "y"), distance) for number, distance in enumerate((0.1, 0.3, 0.31))]
    services = variant_services(model, embedding_model=WordVectors(), examples=examples)
    await Dicl(settings(**table), services).run(task())
    assert len(model.requests[0].messages) == 2 * shown + 1


async def test_a_json_example_answers_with_its_raw_text() -> None:
    model, function = ScriptedModel("{}"), function_spec("json")
    near = example("x", {"raw": '{"answer": "y"}', "parsed": {"answer": "y"}})
    services = variant_services(model, function=function, embedding_model=WordVectors(), examples=[(near, 0.0)])
    await Dicl(settings("json", json_mode="on"), services).run(task(function=function))
    assert model.requests[0].messages[1] == Message("assistant", (Text('{"answer": "y"}'),))
    assert model.requests[0].json_mode == "on"


async def test_a_chat_example_answers_with_texts_and_calls_but_keeps_its_thoughts() -> None:
    model = ScriptedModel("x")
    call = {"type": "tool_call", "id": "1", "raw_name": "add", "raw_arguments": "{}", "name": "add", "arguments": {}}
    blocks = [{"type": "thought", "text": "hm"}, {"type": "text", "text": "wait"}, call]
    services = variant_services(model, embedding_model=WordVectors(), examples=[(example("x", blocks), 0.0)])
    await Dicl(settings(), services).run(task())
    assert model.requests[0].messages[1] == Message("assistant", (Text("wait"), ToolCall("1", "add", "{}")))


async def test_without_examples_it_warns_and_sends_the_request_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    model = ScriptedModel("x")
    given = stored(Text("a"), RawText("b"), Template("user", {"n": 1}), ToolCall("1", "add", "{}"))
    file = File.model_validate({"name": "instructions.txt", "text": "Sort {{ this }}."})
    services = variant_services(model, embedding_model=WordVectors())
    with caplog.at_level(logging.WARNING):
        await Dicl(settings(system_instructions=file), services).run(task(input_=given))
    assert model.requests[0].system == "Sort {{ this }}."
    blocks = (Text("a"), Text("b"), Text('{"n":1}'), ToolCall("1", "add", "{}"))
    assert model.requests[0].messages == (Message("user", blocks),)
    assert "functions.f.variants.v: no example is near this input (k = 3, max_distance = None)" in caplog.text


async def test_a_failed_embedding_fails_the_variant() -> None:
    error = AllProvidersFailed({"p": Unreachable("refused")})
    model = ScriptedModel("x")
    with pytest.raises(AllProvidersFailed) as caught:
        await Dicl(settings(), variant_services(model, embedding_model=WordVectors(error))).run(task())
    assert caught.value is error
    assert model.requests == []


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        (Unknown({"type": "hologram"}), "unknown"),
        (InputFile(mime_type="image/png", data="AA=="), "file"),
        (InputFile(source_url="https://example.com/a.png"), "file"),
    ],
    ids=["unknown", "file", "url"],
)
async def test_blocks_without_text_are_refused_before_any_call(block: InputBlock, kind: str) -> None:
    model, embeddings = ScriptedModel("x"), WordVectors()
    with pytest.raises(BadRequest, match=f"cannot take a block of type `{kind}`"):
        await Dicl(settings(), variant_services(model, embedding_model=embeddings)).run(task(input_=stored(block)))
    assert (model.requests, embeddings.requests) == ([], [])


async def test_what_a_request_writes_into_the_body_is_refused_before_any_call() -> None:
    model, embeddings = ScriptedModel("x"), WordVectors()
    variant = Dicl(settings(), variant_services(model, embedding_model=embeddings))
    given = task(extra=Extra((ExtraBody(pointer="/a", value=1),)))
    with pytest.raises(BadRequest, match="cannot take the `extra_body` of a request"):
        await variant.run(given)
    with pytest.raises(BadRequest, match="cannot take the `extra_body` of a request"):
        await streamed(variant, given)
    assert (model.requests, embeddings.requests) == ([], [])


async def test_what_its_table_writes_into_the_body_is_sent() -> None:
    model = ScriptedModel("x")
    services = variant_services(model, embedding_model=WordVectors())
    await Dicl(settings(extra_body=[{"pointer": "/a", "value": 1}]), services).run(task())
    assert model.requests[0].variant_extra == Extra((ExtraBody(pointer="/a", value=1),))


async def test_an_embedding_is_asked_for_once() -> None:
    embeddings = WordVectors(Unreachable("refused"))
    services = variant_services(ScriptedModel("x"), embedding_model=embeddings)
    with pytest.raises(Unreachable):
        await Dicl(settings(retries={"num_retries": 3, "max_delay_s": 0}), services).run(task())
    assert len(embeddings.requests) == 1


async def test_an_example_that_is_no_output_is_named() -> None:
    near = example("x", "just text")
    services = variant_services(ScriptedModel("x"), embedding_model=WordVectors(), examples=[(near, 0.0)])
    with pytest.raises(HeadraceError, match=f"example {near.id} of functions.f.variants.v does not hold the JSON"):
        await Dicl(settings(), services).run(task())


async def test_a_request_overrides_the_variants_parameters_key_by_key() -> None:
    model = ScriptedModel("x")
    services = variant_services(model, embedding_model=WordVectors())
    await Dicl(settings(temperature=0.5, seed=7), services).run(task(params=Params(temperature=0.1)))
    assert (model.requests[0].params.temperature, model.requests[0].params.seed) == (0.1, 7)


@pytest.mark.parametrize(
    ("type_", "table", "complaint"),
    [
        ("json", {"json_mode": None}, "`json_mode` is required in a json function"),
        ("chat", {"json_mode": "on"}, "JSON mode is not supported for variant v"),
        ("chat", {"model": "mm"}, "no model 'mm'"),
        ("chat", {"embedding_model": "ee"}, "no model 'ee'"),
    ],
    ids=["json-without-mode", "chat-with-mode", "unknown-model", "unknown-embedding-model"],
)
def test_what_does_not_fit_the_function_is_found_at_start_up(
    type_: FunctionType, table: dict[str, Any], complaint: str
) -> None:
    services = variant_services(ScriptedModel("x"), function=function_spec(type_), embedding_model=WordVectors())
    with pytest.raises(ConfigError, match=complaint):
        Dicl(settings(type_, **table), services)


@pytest.mark.parametrize(
    "table",
    [
        {"k": -1},
        {"k": "3"},
        {"k": True},
        {"k": 3.0},
        {"k": 2**32},
        {"max_distance": -0.1},
        {"max_distance": "0.1"},
        {"max_distance": float("nan")},
        {"temperature": True},
        {"service_tier": "auto"},
        {"user_template": "x"},
        {"json_mode": "maybe"},
    ],
    ids=str,
)
def test_a_wrong_table_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**table)
