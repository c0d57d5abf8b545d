"""One inference under way: what was asked, which variants were tried, what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from .contracts import Answer, Attempt, Clock, Task, Variant
from .exchange import InferenceRequest, InferenceResponse
from .functions import Function, json_output
from .ids import new_id
from .records import InferenceRecord, ModelInferenceRecord, Record
from .schemas import Schema
from .tools import check
from .types import ModelRequest, Output, Params, ToolConfig, Usage


@dataclass(frozen=True, slots=True)
class Trial:
    """One variant's turn: the task it gets, with its own list of attempts."""

    variant_name: str
    variant: Variant
    probability: float
    task: Task


@dataclass(slots=True)
class Inference:
    """A validated request on its way through the function's variants."""

    request: InferenceRequest
    function: Function
    episode_id: UUID
    tools: ToolConfig | None
    output_schema: Schema | None
    tags: Mapping[str, str]
    snapshot_hash: str
    clock: Clock
    id: UUID = field(default_factory=new_id)
    trials: list[Trial] = field(default_factory=list)
    began: float = 0.0

    def __post_init__(self) -> None:
        self.began = self.clock.perf()

    def turns(self) -> Iterator[Trial]:
        """One variant after another: the pinned one alone, or as the experiment draws them."""
        pinned = self.request.variant_name
        if pinned is not None:
            yield self._trial(pinned, self.function.pinned(pinned), 1.0)
            return
        draw = self.function.experiment.draw(self.function.name, self.episode_id)
        while (drawn := draw.next()) is not None:
            name, probability = drawn
            yield self._trial(name, self.function.variants[name], probability)

    def _trial(self, name: str, variant: Variant, probability: float) -> Trial:
        task = Task(
            inference_id=self.id,
            episode_id=self.episode_id,
            input=self.request.input,
            params=self.request.params,
            tools=self.tools,
            output_schema=self.output_schema,
            credentials=self.request.credentials,
            attempts=[],
        )
        self.trials.append(Trial(name, variant, probability, task))
        return self.trials[-1]

    def milliseconds(self) -> int:
        """Since the request arrived."""
        return round((self.clock.perf() - self.began) * 1000)

    def finish(
        self, trial: Trial, answer: Answer, ttft_ms: int | None = None
    ) -> tuple[InferenceResponse, InferenceRecord]:
        """The response, and the row that says how it came about."""
        auxiliary = answer.output
        output: Output
        if self.function.spec.type == "json":
            output, auxiliary = json_output(answer.output, self.output_schema)
        else:
            output, auxiliary = check(answer.output, self.tools), ()
        usage = total([attempt for attempt in trial.task.attempts if attempt.error is None])
        response = InferenceResponse(
            inference_id=self.id,
            episode_id=self.episode_id,
            variant_name=trial.variant_name,
            output=output,
            usage=usage,
            finish_reason=answer.finish_reason,
        )
        record = InferenceRecord(
            id=self.id,
            function_name=self.function.name,
            variant_name=trial.variant_name,
            function_type=self.function.spec.type,
            episode_id=self.episode_id,
            input=self.request.input,
            output=output,
            variant_probability=trial.probability,
            snapshot_hash=self.snapshot_hash,
            tools=self.tools,
            output_schema=self.output_schema.value if self.output_schema else None,
            auxiliary_content=check(auxiliary, None),
            inference_params=_effective(trial.task.attempts, self.request.params),
            processing_time_ms=self.milliseconds(),
            ttft_ms=ttft_ms,
            tags=dict(self.tags),
        )
        return response, record

    def attempts(self) -> list[Record]:
        """A row for every attempt of every variant so far, in the order they were made."""
        return [self._attempt(trial.variant_name, attempt) for trial in self.trials for attempt in trial.task.attempts]

    def _attempt(self, variant_name: str, attempt: Attempt) -> ModelInferenceRecord:
        request = attempt.request
        chat = isinstance(request, ModelRequest)
        return ModelInferenceRecord(
            id=attempt.id,
            inference_id=self.id,
            function_name=self.function.name,
            variant_name=variant_name,
            model_name=attempt.model_name,
            model_provider_name=attempt.provider_name,
            snapshot_hash=self.snapshot_hash,
            raw_request=attempt.raw_request,
            raw_response=attempt.raw_response,
            system=request.system if isinstance(request, ModelRequest) else None,
            input_messages=request.messages if isinstance(request, ModelRequest) else (),
            output=check(attempt.output, self.tools) if chat else (),
            finish_reason=attempt.finish_reason,
            input_tokens=attempt.usage.input_tokens,
            output_tokens=attempt.usage.output_tokens,
            provider_cache_read_input_tokens=attempt.usage.provider_cache_read_input_tokens,
            provider_cache_write_input_tokens=attempt.usage.provider_cache_write_input_tokens,
            cost=attempt.usage.cost,
            response_time_ms=attempt.response_time_ms,
            ttft_ms=attempt.ttft_ms,
            error=attempt.error,
        )


def total(attempts: Sequence[Attempt]) -> Usage:
    """Tokens and cost of several calls. One that did not say makes the sum unknown; cache counts skip those."""
    usages = [attempt.usage for attempt in attempts]
    if len(usages) == 1:
        return usages[0]
    costs = [usage.cost for usage in usages]
    return Usage(
        input_tokens=_sum([usage.input_tokens for usage in usages]),
        output_tokens=_sum([usage.output_tokens for usage in usages]),
        provider_cache_read_input_tokens=_sum_known([usage.provider_cache_read_input_tokens for usage in usages]),
        provider_cache_write_input_tokens=_sum_known([usage.provider_cache_write_input_tokens for usage in usages]),
        cost=sum((cost for cost in costs if cost is not None), Decimal(0)) if costs and None not in costs else None,
    )


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if values and len(known) == len(values) else None


def _sum_known(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _effective(attempts: Sequence[Attempt], asked: Params) -> Params:
    """What the deciding model call was really given: the request's parameters over the variant's."""
    chats = [attempt.request for attempt in attempts if isinstance(attempt.request, ModelRequest)]
    return chats[-1].params if chats else asked
