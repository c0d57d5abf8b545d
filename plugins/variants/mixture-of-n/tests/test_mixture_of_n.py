"""Mixture of n: candidates side by side, one answer made of theirs, and never none as long as a candidate has one."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from anyio.lowlevel import checkpoint
from headrace import Answer, Task, Variant, VariantServices
from headrace.conformance.models import Breaking, ScriptedModel
from headrace.conformance.variant import (
    SCHEMA,
    TOOLS,
    VariantConformance,
    function_spec,
    streamed,
    task,
    variant_services,
)
from headrace.errors import AllCandidatesFailed, ConfigError, ProviderError
from headrace.extras import Extra, ExtraBody
from headrace.types import Chunk, FunctionType, Input, InputMessage, Params, Text, ToolCall
from headrace_mixture_of_n import MixtureOfN, Settings
from pydantic import ValidationError

pytestmark = pytest.mark.anyio

DOWN = ProviderError("down")
GOOD, OTHER = '{"answer":"x"}', '{"answer":"y"}'


class Says:
    """A candidate with one answer, or none."""

    def __init__(self, answer: str | Exception) -> None:
        self._answer = answer

    async def run(self, task: Task) -> Answer:
        await checkpoint()
        if isinstance(self._answer, Exception):
            raise self._answer
        return Answer((Text(self._answer),), "length", f"raw {self._answer}")

    async def stream(self, task: Task) -> AsyncGenerator[Chunk, None]:
        raise AssertionError("candidates do not stream")
        yield Chunk()


def mixture(
    model: ScriptedModel,
    *candidates: Variant,
    type_: FunctionType = "chat",
    rng: random.Random | None = None,
    **fuser: Any,
) -> MixtureOfN:
    """A mixture of these candidates, which are called ``c0``, ``c1``, ..."""
    named = {f"c{index}": candidate for index, candidate in enumerate(candidates)}
    table = {"candidates": list(named), "fuser": {"model": "m"} | fuser}
    services = variant_services(model, function=function_spec(type_), variants=named)
    return MixtureOfN(Settings.model_validate(table), services, rng)


def settings(type_: FunctionType, *candidates: str) -> Settings:
    fuser = {"model": "m"} | ({"json_mode": "strict"} if type_ == "json" else {})
    return Settings.model_validate({"candidates": list(candidates), "fuser": fuser})


LACKS = {
    "params": "candidates and fuser have parameters of their own (config spec 12.3)",
    "failure": "the error names every candidate, or a candidate stands in for the fuser",
    "retries": "candidates have their own; those of the fuser are tested below",
}


class TestOneCandidate(VariantConformance):
    lacks = LACKS

    def build(self, services: VariantServices) -> Variant:
        return MixtureOfN(settings(services.function.type, "c"), services)


class TestTwoCandidates(VariantConformance):
    lacks = LACKS

    def build(self, services: VariantServices) -> Variant:
        return MixtureOfN(settings(services.function.type, "c", "c"), services)


async def test_the_fuser_gives_the_answer_and_its_raw_response() -> None:
    answer = await mixture(ScriptedModel("both"), Says("a"), Says("b")).run(task())
    assert answer == Answer((Text("both"),), "stop", "")


async def test_the_fuser_sees_the_conversation_every_answer_and_the_functions_tools() -> None:
    model = ScriptedModel("x")
    given = task(
        input_=Input((InputMessage("user", (Text("why?"),)),), "Be kind."),
        params=Params(temperature=1.0),
        tools=TOOLS,
    )
    template: dict[str, Any] = {"system_template": {"name": "s", "text": "Always: {{ system_text }}"}, "seed": 7}
    await mixture(model, Says("because"), Says("so"), **template).run(given)
    (request,) = model.requests
    assert "Always: Be kind." in str(request.system)
    shown = 'Candidate 0:\n[{"type":"text","text":"because"}]\n\nCandidate 1:\n[{"type":"text","text":"so"}]'
    assert [block for turn in request.messages for block in turn.content] == [Text("why?"), Text(shown)]
    assert (request.params, request.tools, request.function_type) == (Params(seed=7), TOOLS, "chat")


async def test_in_a_json_function_the_fuser_has_its_schema_and_sees_only_what_fits() -> None:
    model = ScriptedModel('{"answer":"z"}')
    variant = mixture(model, Says(GOOD), Says("nonsense"), Says(OTHER), type_="json", json_mode="on")
    answer = await variant.run(task(function=function_spec("json")))
    assert answer.output == (Text('{"answer":"z"}'),)
    assert (model.requests[0].output_schema, model.requests[0].json_mode) == (SCHEMA.value, "on")
    assert model.requests[0].messages[-1].content == (Text(f"Candidate 0:\n{GOOD}\n\nCandidate 1:\n{OTHER}"),)


async def test_one_success_is_the_answer_without_a_fuser() -> None:
    model = ScriptedModel("x")
    answer = await mixture(model, Says(DOWN), Says("b")).run(task())
    assert (answer, model.requests) == (Answer((Text("b"),), "length", "raw b"), [])
    pieces = [each async for each in mixture(model, Says("b")).stream(task())]
    assert len(pieces) == 1
    assert model.requests == []


async def test_without_any_success_every_failure_is_named() -> None:
    with pytest.raises(AllCandidatesFailed, match=r"candidate_0 \(c0\): .*candidate_1 \(c1\): "):
        await mixture(ScriptedModel("x"), Says(DOWN), Says(DOWN)).run(task())
    with pytest.raises(AllCandidatesFailed):
        await streamed(mixture(ScriptedModel("x"), Says(DOWN)), task())


@pytest.mark.parametrize("said", [DOWN, KeyError("a bug")], ids=["down", "bug"])
async def test_a_candidate_stands_in_for_a_fuser_that_fails(said: Exception, caplog: pytest.LogCaptureFixture) -> None:
    chosen = set()
    for seed in range(12):
        variant = mixture(ScriptedModel(said), Says("a"), Says("b"), rng=random.Random(seed))
        answer = await variant.run(task())
        assert answer.original_response is None
        chosen.add(answer.output)
        assert (await streamed(variant, task())).blocks() in [(Text("a"),), (Text("b"),)]
    assert chosen == {(Text("a"),), (Text("b"),)}
    assert "functions.f.variants.v.fuser failed" in caplog.text


async def test_a_request_with_parts_of_a_body_is_not_fused(caplog: pytest.LogCaptureFixture) -> None:
    model = ScriptedModel("x")
    given = task(extra=Extra((ExtraBody(pointer="/a", value=1),)))
    answer = await mixture(model, Says("a"), Says("b")).run(given)
    assert (model.requests, answer.original_response) == ([], None)
    assert "`extra_body` of a request is not meant for a fuser" in caplog.text


async def test_the_fuser_is_streamed_and_closed() -> None:
    model = ScriptedModel("a long answer")
    pieces = [each async for each in mixture(model, Says("a"), Says("b")).stream(task())]
    assert len(pieces) > 3
    assert model.open_streams == 0


async def test_a_stream_that_has_begun_cannot_be_replaced() -> None:
    with pytest.raises(ProviderError, match="down"):
        await streamed(mixture(ScriptedModel(Breaking("half", DOWN)), Says("a"), Says("b")), task())


async def test_a_chat_function_hides_the_tool_respond() -> None:
    model = ScriptedModel((ToolCall("1", "respond", GOOD),))
    variant = mixture(model, Says("a"), Says("b"), json_mode="tool")
    given = task(function=function_spec("json"))
    assert (await variant.run(given)).output == (Text(GOOD),)
    assert (await streamed(variant, given)).blocks() == (Text(GOOD),)


async def test_the_fuser_is_asked_again() -> None:
    model = ScriptedModel(DOWN, "both")
    answer = await mixture(model, Says("a"), Says("b"), retries={"num_retries": 1, "max_delay_s": 0}).run(task())
    assert answer.output == (Text("both"),)


def test_a_json_functions_fuser_says_its_json_mode() -> None:
    with pytest.raises(ConfigError, match=r"`json_mode` is required for `v\.fuser`"):
        mixture(ScriptedModel("x"), Says("a"), type_="json")


def test_an_unknown_candidate_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^Unknown candidate variant: x$"):
        MixtureOfN(settings("chat", "x"), variant_services(ScriptedModel("x")))


@pytest.mark.parametrize(
    "table",
    [{"candidates": []}, {"fuser": None}, {"fuser": {}}, {"evaluator": {"model": "m"}}, {"timeout_s": "2"}],
    ids=str,
)
def test_a_wrong_table_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"candidates": ["c"], "fuser": {"model": "m"}} | table)
