"""What goes into a batch: which variant performs it, what that asks, and the row that waits for each answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..contracts import Answer, Batchable, Task, Variant
from ..errors import BadRequest
from ..functions import Function
from ..inference import Inference, Trial
from ..records import BatchInference, BatchRequest, ModelInferenceRecord
from ..types import Input, ModelRequest
from ..variants import Timed


def draws(function: Function, first: Inference) -> Iterator[tuple[str, float]]:
    """Variants with the probability of the draws that lead to them: the pinned one alone, or as the episode draws."""
    if first.request.variant_name is not None:
        yield first.request.variant_name, 1.0
        return
    draw = function.experiment.draw(function.name, first.episode_id)
    while (drawn := draw.next()) is not None:
        yield drawn


def trial_of(name: str, variant: Variant, probability: float, inference: Inference) -> Trial:
    """A variant's turn at one inference of the batch."""
    task = Task(
        inference_id=inference.id,
        episode_id=inference.episode_id,
        input=inference.input,
        params=inference.request.params,
        tools=inference.tools,
        output_schema=inference.output_schema,
        credentials=inference.request.credentials,
        attempts=[],
    )
    return Trial(name, variant, probability, task)


def asked_of(name: str, variant: Variant, tasks: Sequence[Task]) -> tuple[list[ModelRequest], str]:
    """What a variant would ask, and which model. Its own time limits are made for one answer and do not matter."""
    inner = variant.inner if isinstance(variant, Timed) else variant
    if not isinstance(inner, Batchable):
        raise BadRequest(f"Unsupported variant for batch inference: `{name}` does not ask one model once")
    asked = [inner.request_of(task) for task in tasks]
    return [request for request, _ in asked], asked[0][1]


def row_of(batch: BatchRequest, inference: Inference, trial: Trial, stored: Input) -> BatchInference:
    """What the records of this inference will say. They are made here as for any other, without an answer.

    ``stored`` is its input as records hold it.
    """
    inference.trials.append(trial)
    _, record = inference.finish(trial, Answer(()))
    inference.remember(stored, [])
    (attempt,) = inference.attempts()
    assert isinstance(attempt, ModelInferenceRecord)
    return BatchInference(
        id=record.id,
        batch_id=batch.batch_id,
        model_inference_id=attempt.id,
        function_name=record.function_name,
        variant_name=record.variant_name,
        function_type=record.function_type,
        episode_id=record.episode_id,
        input=stored,
        variant_probability=trial.probability,
        model_name=batch.model_name,
        model_provider_name=batch.model_provider_name,
        snapshot_hash=record.snapshot_hash,
        system=attempt.system,
        input_messages=attempt.input_messages,
        tools=record.tools,
        output_schema=record.output_schema,
        inference_params=record.inference_params,
        raw_request=attempt.raw_request,
        tags=record.tags,
    )
