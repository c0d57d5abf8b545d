"""Best of n: candidates side by side, one evaluator, and an answer as long as one candidate has any."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from headrace import Answer, Task, Variant, VariantServices
from headrace.conformance.models import ScriptedModel
from headrace.conformance.variant import (
    SCHEMA,
    TOOLS,
    Plain,
    VariantConformance,
    function_spec,
    streamed,
    task,
    variant_services,
)
from headrace.contracts import Attempt
from headrace.errors import AllCandidatesFailed, ConfigError, ProviderError
from headrace.extras import Extra, ExtraBody
from headrace.pieces import Pieces
from headrace.types import (
    Block,
    Chunk,
    FunctionType,
    Input,
    InputMessage,
    ModelRequest,
    ModelResponse,
    Params,
    Text,
    Thought,
    ToolCall,
    Unknown,
)
from headrace_best_of_n import BestOfN, Settings, chunk_of
from headrace_best_of_n.prompt import SCHEMA as CHOICE
from msgspec import json
from pydantic import ValidationError

pytestmark = pytest.mark.anyio

DOWN = ProviderError("down")


class Says:
    """A candidate with one answer, or none; ``tasks`` are those it was given."""

    def __init__(self, answer: str | Exception, raw: str = "") -> None:
        self.tasks: list[Task] = []
        self._answer = answer
        self._raw = raw

    async def run(self, task: Task) -> Answer:
        self.tasks.append(task)
        await anyio.lowlevel.checkpoint()
        if isinstance(self._answer, Exception):
            raise self._answer
        return Answer((Text(self._answer),), "length", self._raw or f"raw {self._answer}")

    async def stream(self, task: Task) -> AsyncGenerator[Chunk, None]:
        raise AssertionError("candidates do not stream")
        yield Chunk()


class Spoken(ScriptedModel):
    """A model whose raw response is known."""

    async def complete(self, request: ModelRequest, attempts: list[Attempt]) -> ModelResponse:
        response = await super().complete(request, attempts)
        return ModelResponse(output=response.output, finish_reason="stop", raw_response="raw evaluator")


def chooses(choice: Any) -> str:
    return json.encode({"thinking": "hm", "answer_choice": choice}).decode()


def best_of(
    model: ScriptedModel,
    *candidates: Variant,
    type_: FunctionType = "chat",
    rng: random.Random | None = None,
    evaluator: dict[str, Any] | None = None,
) -> BestOfN:
    """Best of these candidates, which are called ``c0``, ``c1``, ..."""
    named = {f"c{index}": candidate for index, candidate in enumerate(candidates)}
    table = {"candidates": list(named), "evaluator": {"model": "m"} | (evaluator or {})}
    services = variant_services(model, function=function_spec(type_), variants=named)
    return BestOfN(Settings.model_validate(table), services, rng)


LACKS = {
    "params": "candidates and evaluator have parameters of their own (config spec 12.2)",
    "failure": "the error names every candidate",
    "retries": "candidates have their own; those of the evaluator are tested below",
}


class TestOneCandidate(VariantConformance):
    lacks = LACKS

    def build(self, services: VariantServices) -> Variant:
        return BestOfN(Settings.model_validate({"candidates": ["c"], "evaluator": {"model": "m"}}), services)


class TestTwoCandidates(VariantConformance):
    """The evaluator says what the candidates say, so its choice is no choice."""

    lacks = LACKS

    def build(self, services: VariantServices) -> Variant:
        return BestOfN(Settings.model_validate({"candidates": ["c", "c"], "evaluator": {"model": "m"}}), services)


# -- candidates -------------------------------------------------------------------------------------------


async def test_candidates_get_the_task_without_the_requests_parameters() -> None:
    one, other = Says("a"), Says("b")
    given = task(params=Params(temperature=0.5), tools=TOOLS, extra=Extra((ExtraBody(pointer="/a", value=1),)))
    await best_of(ScriptedModel(chooses(0)), one, other).run(given)
    for index, candidate in enumerate((one, other)):
        (seen,) = candidate.tasks
        assert (seen.params, seen.discriminator) == (Params(), f"candidate_{index}")
        assert (seen.tools, seen.extra, seen.input) == (given.tools, given.extra, given.input)
        assert seen.attempts is given.attempts


async def test_candidates_run_side_by_side() -> None:
    class Waits(Says):
        async def run(self, task: Task) -> Answer:
            arrived.append(self)
            if len(arrived) == 3:
                everybody.set()
            with anyio.fail_after(5):
                await everybody.wait()
            return await super().run(task)

    arrived, everybody = list[Says](), anyio.Event()
    answer = await best_of(ScriptedModel(chooses(2)), Waits("a"), Waits("b"), Waits("c")).run(task())
    assert answer.output == (Text("c"),)


async def test_a_candidate_of_a_candidate_is_told_apart_in_the_cache() -> None:
    innermost = Says("a")
    inner = best_of(ScriptedModel("x"), innermost)
    await best_of(ScriptedModel(chooses(0)), inner, inner).run(task())
    assert {each.discriminator for each in innermost.tasks} == {"candidate_0_candidate_0", "candidate_1_candidate_0"}


async def test_a_name_given_twice_runs_twice() -> None:
    model, candidate = ScriptedModel(chooses(1)), Says("a")
    table = {"candidates": ["c", "c"], "evaluator": {"model": "m"}}
    await BestOfN(Settings.model_validate(table), variant_services(model, variants={"c": candidate})).run(task())
    assert len(candidate.tasks) == 2


async def test_one_success_is_the_answer_without_an_evaluator() -> None:
    model = ScriptedModel("x")
    answer = await best_of(model, Says(DOWN), Says("b", "raw b"), Says(KeyError("a bug"))).run(task())
    assert (answer.output, answer.original_response, model.requests) == ((Text("b"),), "raw b", [])


async def test_the_raw_response_of_one_success_is_that_of_its_own_attempt() -> None:
    class Last(ScriptedModel):
        async def complete(self, request: ModelRequest, attempts: list[Attempt]) -> ModelResponse:
            response = await super().complete(request, attempts)
            attempts[-1].raw_response = f"raw of {request.discriminator}"
            return response

    answer = await best_of(ScriptedModel("x"), Says(DOWN), Plain(Last("b"))).run(task())
    assert answer.original_response == "raw of candidate_1"


async def test_without_any_success_every_failure_is_named() -> None:
    with pytest.raises(AllCandidatesFailed) as caught:
        await best_of(ScriptedModel("x"), Says(DOWN), Says(KeyError("oops"))).run(task())
    assert list(caught.value.errors) == ["candidate_0 (c0)", "candidate_1 (c1)"]
    assert str(caught.value).startswith("All candidates failed to infer with errors: candidate_0 (c0): ")
    assert "down" in str(caught.value)


# -- the evaluator ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1, 2])
async def test_the_evaluators_choice_is_the_answer(index: int) -> None:
    answer = await best_of(Spoken(chooses(index)), Says("a"), Says("b"), Says("c")).run(task())
    assert answer == Answer((Text("abc"[index]),), "length", "raw evaluator")


async def test_the_evaluator_sees_the_conversation_and_every_answer() -> None:
    model = ScriptedModel(chooses(0))
    templates = {"user_template": {"name": "u", "text": "Asked: {{ user_text }}"}, "temperature": 0.5}
    given = task(
        input_=Input((InputMessage("user", (Text("why?"),)),), "Be kind."),
        params=Params(temperature=1.0, json_mode="off"),
        tools=TOOLS,
    )
    await best_of(model, Says("because"), Says("so"), evaluator=templates).run(given)
    (request,) = model.requests
    assert request.system is not None
    assert "Be kind." in request.system
    assert "from 0 to 1" in request.system
    shown = 'Candidate 0:\n[{"type":"text","text":"because"}]\n\nCandidate 1:\n[{"type":"text","text":"so"}]'
    assert [block for turn in request.messages for block in turn.content] == [Text("Asked: why?"), Text(shown)]
    assert (request.params, request.json_mode, request.tools) == (Params(temperature=0.5), "strict", None)
    assert (request.output_schema, request.function_type) == (CHOICE.value, "json")


async def test_the_evaluator_may_answer_by_tool() -> None:
    model = ScriptedModel((ToolCall("1", "respond", chooses(1)),))
    answer = await best_of(model, Says("a"), Says("b"), evaluator={"json_mode": "tool"}).run(task())
    assert answer.output == (Text("b"),)


@pytest.mark.parametrize(
    "said",
    [
        DOWN,
        KeyError("a bug"),
        "no JSON",
        "{}",
        chooses(-1),
        chooses(2),
        chooses(True),
        chooses("0"),
        '{"thinking":' + "[" * 100_000,
        (),
    ],
    ids=["down", "bug", "text", "nothing", "negative", "too-large", "bool", "string", "deep", "empty"],
)
async def test_an_evaluator_that_fails_leaves_the_choice_to_chance(said: Any, caplog: pytest.LogCaptureFixture) -> None:
    chosen = set()
    for seed in range(12):
        answer = await best_of(ScriptedModel(said), Says("a"), Says("b"), rng=random.Random(seed)).run(task())
        assert answer.original_response is None
        chosen.add(answer.output)
    assert chosen == {(Text("a"),), (Text("b"),)}
    assert "functions.f.variants.v.evaluator failed" in caplog.text


async def test_what_a_request_writes_into_the_body_is_not_for_the_evaluator(caplog: pytest.LogCaptureFixture) -> None:
    model = ScriptedModel(chooses(0))
    given = task(extra=Extra((ExtraBody(pointer="/a", value=1),)))
    answer = await best_of(model, Says("a"), Says("b")).run(given)
    assert (model.requests, answer.original_response) == ([], None)
    assert "`extra_body` of a request is not meant for an evaluator" in caplog.text


async def test_the_evaluator_is_asked_again() -> None:
    model = ScriptedModel(DOWN, chooses(1))
    retries = {"retries": {"num_retries": 1, "max_delay_s": 0}}
    answer = await best_of(model, Says("a"), Says("b"), evaluator=retries).run(task())
    assert answer.output == (Text("b"),)


# -- json functions ---------------------------------------------------------------------------------------

GOOD, OTHER = '{"answer":"x"}', '{"answer":"y"}'


async def test_answers_that_the_schema_refuses_are_left_out_and_not_counted() -> None:
    model = ScriptedModel(chooses(1))
    variant = best_of(model, Says(GOOD), Says('{"wrong":1}'), Says(OTHER), type_="json")
    answer = await variant.run(task(function=function_spec("json")))
    assert answer.output == (Text(OTHER),)
    assert model.requests[0].messages[-1].content == (Text(f"Candidate 0:\n{GOOD}\n\nCandidate 1:\n{OTHER}"),)
    assert model.requests[0].output_schema != SCHEMA.value


async def test_the_only_answer_that_fits_the_schema_wins_without_a_call() -> None:
    model = ScriptedModel("x")
    variant = best_of(model, Says("nonsense"), Says(GOOD, "raw good"), type_="json")
    answer = await variant.run(task(function=function_spec("json")))
    assert (answer.output, answer.original_response, model.requests) == ((Text(GOOD),), "raw good", [])


async def test_where_no_answer_fits_one_is_given_all_the_same() -> None:
    model = ScriptedModel("x")
    answer = await best_of(model, Says("a"), Says("b"), type_="json").run(task(function=function_spec("json")))
    assert answer.output in [(Text("a"),), (Text("b"),)]
    assert (answer.original_response, model.requests) == (None, [])


# -- streams ----------------------------------------------------------------------------------------------


async def test_the_choice_is_streamed_in_one_piece() -> None:
    pieces = [each async for each in best_of(ScriptedModel(chooses(1)), Says("a"), Says("b")).stream(task())]
    assert len(pieces) == 1
    assert (await streamed(best_of(ScriptedModel("x"), Says("a")), task())).finish_reason == "length"


@pytest.mark.parametrize(
    "block",
    [
        Text("a"),
        ToolCall("1", "add", "{}"),
        Thought("hm", "signed", None, "anthropic", {"a": 1}),
        Thought(None, None, [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]),
        Unknown({"type": "hologram"}, "m", "p"),
    ],
    ids=["text", "call", "thought", "summaries", "unknown"],
)
def test_nothing_of_an_answer_is_lost_in_its_piece(block: Block) -> None:
    pieces = Pieces()
    pieces.add(chunk_of(Answer((block, Text("end")), "stop")))
    assert (pieces.blocks(), pieces.finish_reason) == ((block, Text("end")), "stop")


# -- start-up ---------------------------------------------------------------------------------------------


def test_every_unknown_candidate_is_named() -> None:
    table = {"candidates": ["x", "c", "y", "x"], "evaluator": {"model": "m"}}
    with pytest.raises(ConfigError) as caught:
        BestOfN(Settings.model_validate(table), variant_services(ScriptedModel("x")))
    assert caught.value.problems == ("Unknown candidate variant: x", "Unknown candidate variant: y")


def test_a_candidate_that_cannot_be_is_named_with_its_reason() -> None:
    def refuse(name: str, timeout_s: float | None) -> Variant:
        raise ConfigError("it is made of itself")

    services = dataclasses.replace(variant_services(ScriptedModel("x")), variant=refuse)
    table = {"candidates": ["x"], "evaluator": {"model": "m"}}
    complaint = "Invalid candidate variant as a component of variant v: it is made of itself"
    with pytest.raises(ConfigError, match=complaint):
        BestOfN(Settings.model_validate(table), services)


def test_the_older_time_limit_is_that_of_each_candidate() -> None:
    asked = []

    def find(name: str, timeout_s: float | None) -> Variant:
        asked.append((name, timeout_s))
        return Says("a")

    services = dataclasses.replace(variant_services(ScriptedModel("x")), variant=find)
    table = {"candidates": ["a", "b"], "timeout_s": 2, "evaluator": {"model": "m"}}
    BestOfN(Settings.model_validate(table), services)
    assert asked == [("a", 2.0), ("b", 2.0)]


@pytest.mark.parametrize(
    "table",
    [
        {"candidates": []},
        {"candidates": "c"},
        {"candidates": [1]},
        {"timeout_s": "2"},
        {"timeout_s": True},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"evaluator": {}},
        {"evaluator": {"model": "m", "type": "chat_completion"}},
        {"fuser": {"model": "m"}},
        {"temperature": 0.5},
    ],
    ids=str,
)
def test_a_wrong_table_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"candidates": ["c"], "evaluator": {"model": "m"}} | table)
