"""Datasets, evaluation and optimization: what is counted, what is compared, what stays sealed."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import anyio
import pytest
from headrace.contracts import DatapointQuery, InferenceQuery, SystemClock
from headrace.datasets import check_name
from headrace.errors import BadRequest, ConfigError, NotFound, SealedSplit
from headrace.evaluation import Evaluation, choose, compare, evaluate, metric_name
from headrace.exchange import InferenceRequest
from headrace.feedback import FeedbackRequest
from headrace.ids import new_id
from headrace.jobs import Completed
from headrace.optimization import Bench, as_toml, optimize
from headrace.records import BooleanFeedback, Datapoint
from headrace.types import Input, InputMessage, JsonOutput, Split, Text

pytestmark = pytest.mark.anyio

TOML = """
[models.m]
routing = ["p"]
[models.m.providers.p]
type = "scripted"
says = ['{"label": "x"}']

[models.bad]
routing = ["p"]
[models.bad.providers.p]
type = "scripted"
fails = "broken"

[embedding_models.e]
routing = ["p"]
[embedding_models.e.providers.p]
type = "echo"

[functions.f]
type = "json"
[functions.f.variants.good]
type = "chat_completion"
model = "m"
json_mode = "off"
weight = 1
[functions.f.variants.bad]
type = "chat_completion"
model = "bad"
json_mode = "off"
weight = 0
[functions.f.evaluators.correct]
type = "exact_match"

[optimizers.o]
type = "dicl"
function_name = "f"
variant_name = "dicl"
embedding_model = "e"
model = "m"
k = 2
"""


def ask(text: str, **fields: Any) -> InferenceRequest:
    said: dict[str, Any] = {"input": Input((InputMessage("user", (Text(text),)),)), "function_name": "f"}
    return InferenceRequest(**said | fields)


async def fill(host: Any, count: int = 40, label: str = "x") -> list[UUID]:
    """A dataset `d` of demonstrated inferences, every third of them labelled otherwise."""
    for index in range(count):
        response = await host.gateway.infer(ask(f"text {index}"))
        value = {"label": label if index % 3 else "other"}
        await host.gateway.feedback.give(
            FeedbackRequest(metric_name="demonstration", value=value, inference_id=response.inference_id)
        )
    query = InferenceQuery(function_name="f", limit=None)
    made: list[UUID] = (await host.gateway.datasets.from_inferences("d", query, "demonstration")).ids
    return made


async def points(host: Any, *splits: Split) -> list[Datapoint]:
    query = DatapointQuery(dataset_name="d", splits=splits or None, limit=None)
    found: list[Datapoint] = await host.gateway.datasets.find(query)
    return found


async def judge(host: Any, variant: str) -> Evaluation:
    chosen = await choose(host.gateway, dataset_name="d", function_name="f", split="test", at_most=None, seed=0)
    return await evaluate(
        host.gateway,
        host.assembly.functions.evaluators["f"],
        datapoints=chosen,
        variant_name=variant,
        concurrency=4,
        clock=SystemClock(),
    )


# -- datasets ---------------------------------------------------------------------------------------------


async def test_a_datapoint_is_made_of_the_inference_and_its_demonstration(opened: Any) -> None:
    async with opened(TOML) as host:
        [id_] = await fill(host, 1)
        [point] = await points(host)
    assert point.id == id_
    assert point.output == JsonOutput('{"label":"other"}', {"label": "other"})
    assert point.source_inference_id is not None
    assert not point.is_custom


async def test_inferences_without_a_demonstration_are_left_out(opened: Any) -> None:
    async with opened(TOML) as host:
        await host.gateway.infer(ask("bare"))
        made = await host.gateway.datasets.from_inferences("d", InferenceQuery(limit=None), "demonstration")
    assert made.ids == []


async def test_an_unknown_inference_stops_the_whole_request(opened: Any) -> None:
    async with opened(TOML) as host:
        known = (await host.gateway.infer(ask("x"))).inference_id
        query = InferenceQuery(ids=(known, new_id()), limit=None)
        with pytest.raises(BadRequest, match=r"Inference .* not found"):
            await host.gateway.datasets.from_inferences("d", query)
        assert await points(host) == []


async def test_splits_share_as_configured_and_near_copies_fall_together(opened: Any) -> None:
    async with opened(TOML) as host:
        for text in [f"question number {index}" for index in range(120)]:
            for copy in (text, text.upper() + "!!", f"  {text} "):
                await host.gateway.infer(ask(copy))
        await host.gateway.datasets.from_inferences("d", InferenceQuery(limit=None))
        found = await points(host)
    by_key: dict[str, set[Split]] = {}
    for point in found:
        by_key.setdefault(point.content_key, set()).add(point.split)
    assert len(found) == 360
    assert len(by_key) == 120
    assert all(len(splits) == 1 for splits in by_key.values())
    counts = [sum(point.split == split for point in found) / 3 for split in ("train", "validation", "test")]
    assert all(abs(count - wanted) < 18 for count, wanted in zip(counts, (72, 24, 24), strict=True))


async def test_a_text_keeps_its_split_in_every_dataset_it_comes_into(opened: Any) -> None:
    async with opened(TOML) as host:
        await fill(host, 20)
        again = await host.gateway.datasets.from_inferences("other", InferenceQuery(limit=None))
        first = {point.content_key: point.split for point in await points(host)}
        query = DatapointQuery(ids=tuple(again.ids), limit=None)
        assert {p.content_key: p.split for p in await host.gateway.datasets.find(query)} == first


async def test_inferences_of_one_episode_fall_together(opened: Any) -> None:
    async with opened(TOML) as host:
        episode = new_id()
        for index in range(12):
            await host.gateway.infer(ask(f"turn {index}", episode_id=episode))
        await host.gateway.datasets.from_inferences("d", InferenceQuery(limit=None))
        assert len({point.split for point in await points(host)}) == 1


@pytest.mark.parametrize("name", ["builder", "tensorzero::x", "a/b", "", " a", "a?b"], ids=repr)
async def test_reserved_and_unusable_dataset_names_are_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="Invalid dataset name"):
        check_name(name)


# -- evaluation -------------------------------------------------------------------------------------------


async def test_an_evaluation_reads_one_split_and_says_which(opened: Any) -> None:
    async with opened(TOML) as host:
        await fill(host)
        run = await judge(host, "good")
        test = await points(host, "test")
    assert run.split == "test"
    assert [outcome.datapoint.id for outcome in run.outcomes] == sorted(point.id for point in test)
    right = sum(point.output == JsonOutput('{"label":"x"}', {"label": "x"}) for point in test)
    estimate = run.estimate("correct")
    assert estimate.n == len(test)
    assert estimate.mean == pytest.approx(right / len(test))
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < right / len(test) < estimate.high


async def test_failed_inferences_count_against_the_variant_that_failed(opened: Any) -> None:
    async with opened(TOML) as host:
        await fill(host)
        run = await judge(host, "bad")
    assert run.failures == len(run.outcomes) == run.estimate("correct").n
    assert run.estimate("correct").mean == 0
    assert all(outcome.error and "broken" in outcome.error for outcome in run.outcomes)


async def test_variants_are_compared_pair_by_pair(opened: Any) -> None:
    async with opened(TOML) as host:
        await fill(host)
        bad, good = await judge(host, "bad"), await judge(host, "good")
    difference = compare(bad, good, "correct")
    wins = sum(bool(score) for score in good.scores("correct").values())
    assert (difference.n, difference.wins, difference.losses) == (len(good.outcomes), wins, 0)
    assert difference.difference == pytest.approx(wins / len(good.outcomes))


async def test_a_run_its_inferences_and_its_scores_are_recorded(opened: Any) -> None:
    async with opened(TOML) as host:
        await fill(host)
        run = await judge(host, "good")
        await anyio.wait_all_tasks_blocked()
        first = run.outcomes[0]
        assert first.response is not None
        [record] = await host.store.inferences(InferenceQuery(ids=(first.response.inference_id,)))
        [score] = await host.store.feedback(first.response.inference_id)
    assert record.tags["tensorzero::evaluation_run_id"] == str(run.run_id)
    assert record.tags["tensorzero::datapoint_id"] == str(first.datapoint.id)
    assert isinstance(score, BooleanFeedback)
    assert (score.metric_name, score.value) == (metric_name("f", "correct"), first.scores["correct"])


class Breaking:
    """An evaluator with a bug of its own."""

    output_type, optimize = "boolean", "max"

    async def evaluate(self, datapoint: Datapoint, output: Any) -> bool:
        """Raise what no evaluator may raise."""
        raise ZeroDivisionError("oops")


async def test_an_evaluator_that_fails_costs_its_own_scores_and_nothing_else(opened: Any) -> None:
    async with opened(TOML) as host:
        await fill(host)
        host.assembly.functions.evaluators["f"]["breaking"] = Breaking()
        host.assembly.functions.evaluators["f"]["unknown"] = host.assembly.functions.evaluators["f"]["correct"]
        run = await judge(host, "good")
    assert run.estimate("correct").n == len(run.outcomes)
    assert run.estimate("breaking").n == run.estimate("unknown").n == 0
    assert run.evaluator_failures("breaking") == len(run.outcomes)
    assert run.outcomes[0].evaluator_errors["breaking"] == "ZeroDivisionError: oops"
    assert "Unknown metric" in run.outcomes[0].evaluator_errors["unknown"], "a score that cannot be kept does not count"


async def test_a_sample_is_random_but_the_same_for_one_seed(opened: Any) -> None:
    async with opened(TOML) as host:
        await fill(host)

        async def take(seed: int) -> list[UUID]:
            found = await choose(host.gateway, dataset_name="d", function_name="f", split="train", at_most=5, seed=seed)
            return [point.id for point in found]

        assert await take(1) == await take(1)
        assert len({tuple(await take(seed)) for seed in range(5)}) > 1


async def test_an_empty_split_and_an_unknown_variant_are_told(opened: Any) -> None:
    async with opened(TOML) as host:
        with pytest.raises(ConfigError, match="has no datapoints of 'f' in split 'test'"):
            await judge(host, "good")
        await fill(host)
        with pytest.raises(NotFound, match="Unknown variant: nope"):
            await judge(host, "nope")


# -- optimization -----------------------------------------------------------------------------------------


async def test_an_optimizer_learns_from_train_alone(opened: Any) -> None:
    async with opened(TOML) as host:
        await fill(host)
        bench = Bench(host.gateway, host.gateway.functions["f"].spec, "d")
        status = await optimize(host.assembly.optimizer("o"), bench)
        train = await points(host, "train")
        assert isinstance(status, Completed)
        assert await host.store.count_examples("f", "dicl") == len(train)
    assert as_toml(status.output, "f", "dicl").startswith("[functions.f.variants.dicl]")


@pytest.mark.parametrize("split", ["test", "Test", "all"])
async def test_the_test_split_is_sealed_from_optimizers(opened: Any, split: Any) -> None:
    async with opened(TOML) as host:
        with pytest.raises(SealedSplit, match="`test` exists to judge"):
            await Bench(host.gateway, host.gateway.functions["f"].spec, "d").datapoints(split)


async def test_the_optimized_variant_answers_with_examples(opened: Any, registry: Any) -> None:
    async with opened(TOML) as host:
        await fill(host)
        bench = Bench(host.gateway, host.gateway.functions["f"].spec, "d")
        status = await optimize(host.assembly.optimizer("o"), bench)
        assert isinstance(status, Completed)
        async with opened(TOML + as_toml(status.output, "f", "dicl"), store=host.store) as other:
            response = await other.gateway.infer(ask("text 1", variant_name="dicl"))
            await anyio.wait_all_tasks_blocked()
            embedding, answer = await host.store.model_inferences(response.inference_id)
    assert (embedding.model_name, answer.model_name) == ("e", "m")
    assert len(answer.input_messages) == 5, "two examples of two messages, and the question"
