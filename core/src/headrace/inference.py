"""One inference under way: what was asked, which variants were tried, what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from msgspec import UNSET, Struct, structs

from .contracts import Answer, Attempt, Clock, Task, Variant
from .exchange import InferenceRequest, InferenceResponse, RawResponse, RawUsage
from .functions import Function, json_output
from .ids import new_id
from .media import File
from .records import InferenceRecord, ModelInferenceRecord, Record
from .schemas import Schema
from .tools import check
from .types import CacheOptions, Caller, Input, Message, ModelRequest, Output, Params, ToolConfig, Usage, has_block

INLINE_VARIANT = "tensorzero::dynamic_variant"


class Trial(Struct, frozen=True):
    """One variant's turn: the task it gets, with its own list of attempts."""

    variant_name: str
    variant: Variant
    probability: float
    task: Task


@dataclass(slots=True)
class Inference:
    """A validated request on its way through the function's variants.

    ``input`` is the request's until files in it are resolved; ``held`` is what they hold on to until the record.
    """

    request: InferenceRequest
    function: Function
    inline: Variant | None
    episode_id: UUID
    tools: ToolConfig | None
    output_schema: Schema | None
    cache: CacheOptions
    tags: Mapping[str, str]
    snapshot_hash: str
    clock: Clock
    id: UUID = field(default_factory=new_id)
    trials: list[Trial] = field(default_factory=list)
    held: ExitStack | None = None
    input: Input = field(init=False)
    _stored: dict[str, File] = field(default_factory=dict)
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock.perf()
        self.input = self.request.input

    def turns(self) -> Iterator[Trial]:
        """One variant after another: the inline or pinned one alone, or as the experiment draws them."""
        if self.inline is not None:
            yield self._trial(INLINE_VARIANT, self.inline, 1.0)
            return
        pinned = self.request.variant_name
        if pinned is not None:
            yield self._trial(pinned, self.function.pinned(pinned), 1.0)
            return
        draw = self.function.experiment_of(self.request.namespace).draw(self.function.name, self.episode_id)
        while (drawn := draw.next()) is not None:
            name, probability = drawn
            yield self._trial(name, self.function.variants[name], probability)

    def _trial(self, name: str, variant: Variant, probability: float) -> Trial:
        task = Task(
            inference_id=self.id,
            episode_id=self.episode_id,
            input=self.input,
            params=self.request.params,
            tools=self.tools,
            output_schema=self.output_schema,
            credentials=self.request.credentials,
            attempts=[],
            extra=self.request.extra.of_variant(name),
            cache=self.cache,
            caller=Caller(self.tags, self.request.api_key_public_id),
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
            raw_usage=self.raw_usage(trial.task.attempts) if self.request.include_raw_usage else None,
            raw_response=self.raw_responses() if self.request.include_raw_response else None,
            original_response=_original(trial, answer) if self.request.include_original_response else None,
        )
        record = InferenceRecord(
            id=self.id,
            function_name=self.function.name,
            variant_name=trial.variant_name,
            function_type=self.function.spec.type,
            episode_id=self.episode_id,
            input=self.input,
            output=output,
            variant_probability=trial.probability,
            snapshot_hash=self.snapshot_hash,
            tools=self.tools,
            output_schema=self.output_schema.value if self.output_schema else None,
            auxiliary_content=check(auxiliary, None),
            inference_params=_effective(trial.task.attempts, self.request.params),
            extra_body=trial.task.extra.body,
            processing_time_ms=self.milliseconds(),
            ttft_ms=ttft_ms,
            tags=dict(self.tags),
        )
        return response, record

    def raw_usage(self, attempts: Sequence[Attempt]) -> tuple[RawUsage, ...]:
        """What the upstreams said of their tokens; a cached answer used none."""
        return tuple(
            RawUsage(attempt.id, attempt.provider_type, attempt.api_type, attempt.raw_usage)
            for attempt in attempts
            if attempt.error is None and not attempt.cached and attempt.raw_usage is not UNSET
        )

    def raw_responses(self) -> tuple[RawResponse, ...]:
        """What the upstreams said, in the order they were asked; failed attempts have no id (http-api 13.1)."""
        return raw_responses([attempt for trial in self.trials for attempt in trial.task.attempts])

    def remember(self, stored: Input, records: Sequence[Record]) -> list[Record]:
        """The records with files as they are stored: where they lie, without their bytes. Attempts follow."""
        for before, after in zip(self.input.messages, stored.messages, strict=True):
            for one, other in zip(before.content, after.content, strict=True):
                if isinstance(one, File) and isinstance(other, File):
                    self._stored[one.source_url or one.data or ""] = other
        return [
            structs.replace(record, input=stored) if isinstance(record, InferenceRecord) else record
            for record in records
        ]

    def _as_stored(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        if not has_block(messages, File):
            return messages
        return tuple(
            Message(message.role, tuple(self._file(b) if isinstance(b, File) else b for b in message.content))
            for message in messages
        )

    def _file(self, file: File) -> File:
        return self._stored.get(file.source_url or file.data or "") or structs.replace(file, data=None)

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
            input_messages=self._as_stored(request.messages) if isinstance(request, ModelRequest) else (),
            output=check(attempt.output, self.tools) if chat else (),
            finish_reason=attempt.finish_reason,
            input_tokens=attempt.usage.input_tokens,
            output_tokens=attempt.usage.output_tokens,
            provider_cache_read_input_tokens=attempt.usage.provider_cache_read_input_tokens,
            provider_cache_write_input_tokens=attempt.usage.provider_cache_write_input_tokens,
            cost=attempt.usage.cost,
            response_time_ms=attempt.response_time_ms,
            ttft_ms=attempt.ttft_ms,
            cached=attempt.cached,
            error=attempt.error,
            price_version=attempt.price_version,
        )


def without_bytes(input_: Input) -> Input:
    """The input with its files as they may be recorded when nothing else is known of them."""
    return structs.replace(
        input_,
        messages=tuple(
            structs.replace(
                message,
                content=tuple(
                    structs.replace(block, data=None) if isinstance(block, File) else block for block in message.content
                ),
            )
            for message in input_.messages
        ),
    )


def raw_responses(attempts: Sequence[Attempt]) -> tuple[RawResponse, ...]:
    """The raw responses of some attempts; a cached one and one without an answer have none."""
    return tuple(
        RawResponse(
            attempt.provider_type,
            attempt.api_type,
            attempt.raw_response,
            attempt.id if attempt.error is None else None,
        )
        for attempt in attempts
        if not attempt.cached and attempt.raw_response
    )


def _original(trial: Trial, answer: Answer) -> str | None:
    if answer.original_response is not UNSET:
        return answer.original_response
    answered = [attempt for attempt in trial.task.attempts if attempt.error is None]
    return answered[-1].raw_response if answered else None


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
