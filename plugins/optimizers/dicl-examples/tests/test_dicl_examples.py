"""The DICL optimizer: examples from the train split, all or none, and a variant that can be served as it is."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from headrace import Optimizer, Services
from headrace.conformance.evaluator import chat, datapoint
from headrace.conformance.models import word_vector
from headrace.conformance.optimizer import BenchFake, OptimizerConformance, some_datapoints
from headrace.conformance.script import Script, services
from headrace.conformance.variant import TOOLS, function_spec
from headrace.contracts import FunctionSpec
from headrace.errors import BadRequest, ConfigError, Unreachable
from headrace.ids import new_id
from headrace.jobs import Completed, VariantOutput
from headrace.records import Example
from headrace.types import CheckedToolCall, Input, InputBlock, InputMessage, JsonOutput, ToolCall, ToolResult, Unknown
from headrace_dicl_examples import DiclExamples, Settings
from msgspec import json, structs
from pydantic import ValidationError

pytestmark = pytest.mark.anyio

TABLE = {"embedding_model": "e", "variant_name": "v", "function_name": "f", "model": "m"}


def optimizer(**table: Any) -> DiclExamples:
    return DiclExamples(Settings.model_validate(TABLE | table), services(Script()))


def an_example(variant_name: str = "v") -> Example:
    return Example(
        id=new_id(), function_name="f", variant_name=variant_name, input="{}", output="[]", embedding=word_vector("")
    )


class TestDiclExamples(OptimizerConformance):
    def build(self, services: Services) -> Optimizer:
        return DiclExamples(Settings.model_validate(TABLE), services)


class TestDiclExamplesOfAJsonFunction(OptimizerConformance):
    def build(self, services: Services) -> Optimizer:
        return DiclExamples(Settings.model_validate(TABLE), services)

    def bench(self) -> BenchFake:
        return BenchFake(some_datapoints("json"), function=function_spec("json"))


async def test_the_train_split_becomes_examples() -> None:
    datapoints = some_datapoints()
    bench = BenchFake(datapoints[::-1])
    await optimizer().launch(bench)
    train = [each for each in datapoints if each.split == "train"]
    assert [each.input for each in bench.examples] == [json.encode(each.input).decode() for each in train]
    assert [each.output for each in bench.examples] == [json.encode(each.output).decode() for each in train]
    assert [each.embedding for each in bench.examples] == [word_vector(each.input) for each in bench.examples]
    assert {(each.function_name, each.variant_name) for each in bench.examples} == {("f", "v")}
    assert bench.asked == ["train"]
    assert bench.progress == [(10, 10)]


@pytest.mark.parametrize(
    ("type_", "more"), [("chat", {}), ("json", {"json_mode": "strict"})], ids=["chat", "json"]
)  # fmt: skip
async def test_yields_the_variant_as_its_table(type_: Any, more: dict[str, str]) -> None:
    made = optimizer(k=4)
    handle = await made.launch(BenchFake(some_datapoints(type_), function=function_spec(type_)))
    assert handle == {"type": "dicl", "embedding_model": "e", "k": 4, "model": "m", **more}
    table = {"type": "experimental_dynamic_in_context_learning", "embedding_model": "e", "k": 4, "model": "m", **more}
    assert await made.poll(handle) == Completed(VariantOutput(table))


async def test_batches_are_as_large_and_as_many_at_once_as_asked() -> None:
    bench = BenchFake(some_datapoints())
    await optimizer(batch_size=2, max_concurrency=3).launch(bench)
    assert [len(texts) for _, texts in bench.embedded] == [2] * 5
    assert bench.most_at_once == 3
    assert [done for done, _ in bench.progress] == [2, 4, 6, 8, 10]
    assert [each.embedding for each in bench.examples] == [word_vector(each.input) for each in bench.examples]


async def test_a_failed_batch_stores_nothing_and_is_raised_as_it_is() -> None:
    error = Unreachable("refused")
    bench = BenchFake(some_datapoints(), error=error)
    with pytest.raises(Unreachable) as caught:
        await optimizer(batch_size=1, max_concurrency=2).launch(bench)
    assert caught.value is error
    assert bench.examples == []
    assert len(bench.embedded) <= 2


async def test_being_cancelled_stores_nothing() -> None:
    bench = BenchFake(some_datapoints())
    with anyio.move_on_after(0) as scope:
        await optimizer().launch(bench)
    assert scope.cancelled_caught
    assert bench.examples == []


async def test_datapoints_without_an_output_are_left_out() -> None:
    bench = BenchFake([datapoint("a", None, split="train"), datapoint("b", chat("x"), split="train")])
    await optimizer().launch(bench)
    assert len(bench.examples) == 1


async def test_a_variant_with_examples_is_not_mixed_up_unless_asked_for() -> None:
    bench = BenchFake(some_datapoints(), examples=[an_example(), an_example("other")])
    with pytest.raises(BadRequest, match=r"functions\.f\.variants\.v has 1 examples already: choose another"):
        await optimizer().launch(bench)
    assert bench.embedded == []
    await optimizer(append_to_existing_variants=True).launch(bench)
    assert len(bench.examples) == 12


def asking(*blocks: InputBlock) -> Input:
    return Input(messages=(InputMessage("user", blocks),))


GOOD = datapoint("a", chat("x"), split="train")


@pytest.mark.parametrize(
    ("bench", "complaint"),
    [
        (BenchFake([datapoint("a", split="train")]), "has 1 datapoints and none of them has an output"),
        (BenchFake([datapoint("a", JsonOutput("{"), split="train")]), "none of them has an output"),
        (BenchFake([GOOD], function=FunctionSpec("g", "chat")), "`function_name` is 'f', .* the function 'g'"),
        (
            BenchFake([GOOD], function=FunctionSpec("f", "chat", tools={"t": TOOLS.tools[0]})),
            "takes functions without tools",
        ),
        (BenchFake([structs.replace(GOOD, tools=TOOLS)]), "cannot become an example: it has tools"),
        (BenchFake([structs.replace(GOOD, input=asking(ToolCall("1", "t", "{}")))]), "its input has tool calls"),
        (BenchFake([structs.replace(GOOD, input=asking(ToolResult("1", "t", "x")))]), "its input has tool calls"),
        (BenchFake([structs.replace(GOOD, input=asking(Unknown({})))]), "a block of type `unknown`"),
        (BenchFake([structs.replace(GOOD, output=(CheckedToolCall("1", "t", "{}"),))]), "its output has tool calls"),
    ],
    ids=[
        "no-output",
        "broken-json",
        "other-function",
        "function-tools",
        "tools",
        "tool-call",
        "tool-result",
        "unknown",
        "output-tool-call",
    ],
)
async def test_what_cannot_be_learnt_from_is_refused(bench: BenchFake, complaint: str) -> None:
    with pytest.raises(BadRequest, match=complaint):
        await optimizer().launch(bench)
    assert bench.examples == []


def test_dimensions_that_the_variant_would_not_ask_for_are_refused() -> None:
    with pytest.raises(ConfigError, match="leave it out"):
        optimizer(dimensions=256)


@pytest.mark.parametrize("table", [{"k": 0}, {"batch_size": 0}, {"max_concurrency": 0}, {"kk": 1}])
def test_a_wrong_table_is_refused(table: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        optimizer(**table)
