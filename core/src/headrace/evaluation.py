"""A run of evaluators over the datapoints of one split: every output scored, every failure counted."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import anyio
from msgspec import Struct

from .contracts import Clock, DatapointQuery, Evaluator
from .errors import ConfigError, HeadraceError
from .exchange import InferenceRequest, InferenceResponse
from .feedback import FeedbackRequest
from .gateway import Gateway
from .holdout import Reader
from .ids import new_id
from .records import Datapoint, EvaluationRun
from .statistics import Estimate, PairedDifference, mean, paired, proportion
from .types import Split

log = logging.getLogger(__name__)

Score = bool | float | None


class Outcome(Struct, frozen=True, kw_only=True):
    """One datapoint under one variant. A failed inference has ``error``, and scores as the worst there is.

    A score of None means that the evaluator could not judge: no reference output, or its own failure, which is
    then in ``evaluator_errors``. ``processing_time_ms`` is the whole inference as a caller would see it.
    """

    datapoint: Datapoint
    response: InferenceResponse | None
    error: str | None
    scores: dict[str, Score]
    evaluator_errors: dict[str, str]
    processing_time_ms: int


class Evaluation(Struct, frozen=True, kw_only=True):
    """A finished run. ``split`` is the part of the dataset that was read."""

    run_id: UUID
    function_name: str
    dataset_name: str
    split: Split
    variant_name: str
    outcomes: list[Outcome]

    @property
    def failures(self) -> int:
        """How many inferences failed."""
        return sum(outcome.error is not None for outcome in self.outcomes)

    def evaluator_failures(self, evaluator_name: str) -> int:
        """How many outputs the evaluator failed to judge: its own fault, not the variant's."""
        return sum(evaluator_name in outcome.evaluator_errors for outcome in self.outcomes)

    def scores(self, evaluator_name: str) -> dict[UUID, Score]:
        """The score of each datapoint, None where there is none."""
        return {outcome.datapoint.id: outcome.scores[evaluator_name] for outcome in self.outcomes}

    def estimate(self, evaluator_name: str) -> Estimate:
        """The mean score with its 95 % interval, over the datapoints that could be judged."""
        known = [score for score in self.scores(evaluator_name).values() if score is not None]
        if all(isinstance(score, bool) for score in known):
            return proportion(sum(bool(score) for score in known), len(known))
        return mean([float(score) for score in known])

    @property
    def cost(self) -> Decimal | None:
        """What all inferences cost together, or None if that is not known of each that answered."""
        costs = [outcome.response.usage.cost for outcome in self.outcomes if outcome.response is not None]
        return None if None in costs else sum((cost for cost in costs if cost is not None), Decimal(0))


def compare(before: Evaluation, after: Evaluation, evaluator_name: str) -> PairedDifference:
    """``after`` minus ``before`` on the datapoints that both were judged on: the same ones, in pairs."""
    old, new = before.scores(evaluator_name), after.scores(evaluator_name)
    both = [id_ for id_ in old if old[id_] is not None and new.get(id_) is not None]
    pairs: list[tuple[Any, Any]] = [(old[id_], new[id_]) for id_ in both]
    if not all(isinstance(score, bool) for pair in pairs for score in pair):
        pairs = [(float(a), float(b)) for a, b in pairs]
    return paired([a for a, _ in pairs], [b for _, b in pairs])


async def choose(
    gateway: Gateway,
    *,
    dataset_name: str,
    function_name: str,
    split: Split,
    at_most: int | None,
    seed: int,
    evaluation_name: str | None = None,
) -> list[Datapoint]:
    """The datapoints to judge on, in the order of their ids; ``at_most`` takes a random sample of them.

    That test data was read for this is written down, under the evaluation's name or else the function's, with as many
    as there are. Raise ConfigError if there are none.
    """
    query = DatapointQuery(dataset_name=dataset_name, function_name=function_name, splits=(split,), limit=None)
    reader = Reader(f"evaluation:{evaluation_name or function_name}", "evaluation")
    found = sorted(await gateway.datasets.find(query, reader), key=lambda datapoint: datapoint.id)
    if not found:
        raise ConfigError(f"dataset {dataset_name!r} has no datapoints of {function_name!r} in split {split!r}")
    if at_most is not None and at_most < len(found):
        found = sorted(random.Random(seed).sample(found, at_most), key=lambda datapoint: datapoint.id)
    return found


async def evaluate(
    gateway: Gateway,
    evaluators: Mapping[str, Evaluator],
    *,
    datapoints: Sequence[Datapoint],
    variant_name: str,
    concurrency: int = 1,
    clock: Clock,
    advance: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Run one variant over datapoints of one dataset and split. The run, its inferences and scores are recorded.

    ``advance`` is called after each datapoint. Raise NotFound for an unknown variant.
    """
    first = datapoints[0]
    gateway.functions[first.function_name].pinned(variant_name)
    run = _Run(gateway, evaluators, variant_name, clock)
    await run.begin(first)
    outcomes: list[Outcome | None] = [None] * len(datapoints)
    limiter = anyio.CapacityLimiter(concurrency)

    async def judge(index: int, datapoint: Datapoint) -> None:
        async with limiter:
            outcomes[index] = await run.judge(datapoint)
        advance()

    async with anyio.create_task_group() as tasks:
        for index, datapoint in enumerate(datapoints):
            tasks.start_soon(judge, index, datapoint)
    return Evaluation(
        run_id=run.id,
        function_name=first.function_name,
        dataset_name=first.dataset_name,
        split=first.split,
        variant_name=variant_name,
        outcomes=[outcome for outcome in outcomes if outcome is not None],
    )


def metric_name(function_name: str, evaluator_name: str) -> str:
    """The metric under which an evaluator's scores are recorded."""
    return f"tensorzero::function_name::{function_name}::evaluator_name::{evaluator_name}"


class _Run:
    def __init__(self, gateway: Gateway, evaluators: Mapping[str, Evaluator], variant_name: str, clock: Clock) -> None:
        self.id = new_id()
        self._gateway = gateway
        self._evaluators = evaluators
        self._variant_name = variant_name
        self._clock = clock

    async def begin(self, first: Datapoint) -> None:
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        row = EvaluationRun(
            id=self.id,
            evaluation_name=f"{first.function_name}__{first.dataset_name}__{now:%Y%m%d%H%M%S}",
            function_name=first.function_name,
            function_type=first.function_type,
            dataset_name=first.dataset_name,
            split=first.split,
            variant_names=[self._variant_name],
            metrics=[metric_name(first.function_name, name) for name in self._evaluators],
            snapshot_hash=self._gateway.snapshot.hash,
            created_at=now,
        )
        if self._gateway.store is not None:
            await self._gateway.store.write([row])

    async def judge(self, datapoint: Datapoint) -> Outcome:
        began = self._clock.perf()
        try:
            response = await self._gateway.infer(self._request(datapoint))
        except HeadraceError as error:
            took = round((self._clock.perf() - began) * 1000)
            worst = {name: _worst(evaluator) for name, evaluator in self._evaluators.items()}
            return Outcome(
                datapoint=datapoint,
                response=None,
                error=str(error),
                scores=worst,
                evaluator_errors={},
                processing_time_ms=took,
            )
        took = round((self._clock.perf() - began) * 1000)
        scores, errors = await self._score(datapoint, response)
        return Outcome(
            datapoint=datapoint,
            response=response,
            error=None,
            scores=scores,
            evaluator_errors=errors,
            processing_time_ms=took,
        )

    async def _score(
        self, datapoint: Datapoint, response: InferenceResponse
    ) -> tuple[dict[str, Score], dict[str, str]]:
        scores: dict[str, Score] = {}
        errors: dict[str, str] = {}
        for name, evaluator in self._evaluators.items():
            scores[name] = None
            try:
                score = await evaluator.evaluate(datapoint, response.output)
                if score is not None:
                    await self._keep(datapoint, response, name, score)
            except HeadraceError as error:  # a score that cannot be kept is none (spec/evaluations.md 2.3)
                errors[name] = str(error)
            except Exception as error:
                log.error("evaluator %s broke its contract", name, exc_info=error)
                errors[name] = f"{type(error).__name__}: {error}"
            else:
                scores[name] = score
        return scores, errors

    async def _keep(self, datapoint: Datapoint, response: InferenceResponse, name: str, score: Score) -> None:
        await self._gateway.feedback.give(
            FeedbackRequest(
                metric_name=metric_name(datapoint.function_name, name),
                value=score,
                inference_id=response.inference_id,
                tags={**self._tags(datapoint), "tensorzero::evaluator_name": name},
                internal=True,
            )
        )

    def _request(self, datapoint: Datapoint) -> InferenceRequest:
        spec = self._gateway.functions[datapoint.function_name].spec
        tools = datapoint.tools
        configured = {tool.name for tool in spec.tools.values()}
        return InferenceRequest(
            input=datapoint.input,
            function_name=datapoint.function_name,
            variant_name=self._variant_name,
            internal=True,
            tags=self._tags(datapoint),
            additional_tools=tuple(tool for tool in tools.tools if tool.name not in configured) if tools else (),
            tool_choice=tools.choice if tools else None,
            parallel_tool_calls=tools.parallel if tools else None,
            output_schema=datapoint.output_schema if spec.type == "json" else None,
        )

    def _tags(self, datapoint: Datapoint) -> dict[str, str]:
        return {
            "tensorzero::evaluation_run_id": str(self.id),
            "tensorzero::datapoint_id": str(datapoint.id),
            "tensorzero::dataset_name": datapoint.dataset_name,
        }


def _worst(evaluator: Evaluator) -> Score:
    """What a failed inference scores: the wrong answer of a yes-or-no question. A number has no worst, so None."""
    if evaluator.output_type == "boolean":
        return evaluator.optimize == "min"
    return None
