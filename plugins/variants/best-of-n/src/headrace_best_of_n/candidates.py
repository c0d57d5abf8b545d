"""Other variants of the same function, run side by side on one task (config spec 12.2)."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence

import anyio
from headrace import Answer, Task, Variant, VariantServices
from headrace.errors import AllCandidatesFailed, ConfigError, HeadraceError
from headrace.functions import json_output
from headrace.types import (
    Block,
    Chunk,
    Delta,
    FunctionType,
    ModelRequest,
    Params,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    ToolCall,
    ToolCallDelta,
    Unknown,
    UnknownDelta,
)
from msgspec import UNSET, json, structs, to_builtins
from pydantic import BaseModel, Field

log = logging.getLogger(__name__)


class CandidateSettings(BaseModel, extra="forbid", frozen=True, strict=True):
    """The keys that say which variants take part; one that is named twice runs twice."""

    candidates: list[str] = Field(min_length=1)
    timeout_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Candidates:
    """The variants that take part. Raises ConfigError for those that cannot."""

    def __init__(
        self, settings: CandidateSettings, services: VariantServices, rng: random.Random | None = None
    ) -> None:
        self._where = f"functions.{services.function.name}.variants.{services.name}"
        self._function_type = services.function.type
        self._rng = rng or random.Random()
        self._variants = list(zip(settings.candidates, _found(settings, services), strict=True))

    async def run(self, task: Task) -> Sequence[Answer]:
        """The answers worth choosing between, in the order of the candidates; one alone is the answer.

        In a json function an answer that its schema refuses is left out, unless there is nothing better: then it is
        one by chance. Parameters of the request do not concern candidates. Raise AllCandidatesFailed.
        """
        outcomes: list[Answer | Exception | None] = [None] * len(self._variants)
        async with anyio.create_task_group() as group:
            for index in range(len(outcomes)):
                group.start_soon(self._run, index, task, outcomes)
        answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
        if not answers:
            named = zip(self._variants, outcomes, strict=True)
            raise AllCandidatesFailed(
                {
                    f"candidate_{index} ({name})": error
                    for index, ((name, _), error) in enumerate(named)
                    if isinstance(error, Exception)
                }
            )
        fitting = [answer for answer in answers if self._fits(answer, task)]
        if fitting or len(answers) == 1:
            return fitting or answers
        log.error("%s: no candidate's answer satisfies the output schema", self._where)
        return [self.any_of(answers)]

    def any_of(self, answers: Sequence[Answer]) -> Answer:
        """One by chance, where nobody could choose; so no model's response has decided."""
        return structs.replace(self._rng.choice(answers), original_response=None)

    def _fits(self, answer: Answer, task: Task) -> bool:
        return self._function_type == "chat" or json_output(answer.output, task.output_schema)[0].parsed is not None

    async def _run(self, index: int, task: Task, outcomes: list[Answer | Exception | None]) -> None:
        name, variant = self._variants[index]
        # A candidate that has candidates of its own keeps them apart from those of its neighbours.
        discriminator = "_".join(filter(None, (task.discriminator, f"candidate_{index}")))
        own = structs.replace(task, params=Params(), discriminator=discriminator)
        try:
            answer = await variant.run(own)
        except Exception as error:
            bug = None if isinstance(error, HeadraceError) else error
            log.warning("%s: candidate `%s` failed: %s", self._where, name, error, exc_info=bug)
            outcomes[index] = error
            return
        if answer.original_response is UNSET:
            answer = structs.replace(answer, original_response=_last_response(own))
        outcomes[index] = answer


def _found(settings: CandidateSettings, services: VariantServices) -> list[Variant]:
    """The variants in order. Raise ConfigError with everything that is wrong with any of them."""
    found, problems = list[Variant](), list[str]()
    for name in settings.candidates:
        try:
            found.append(services.variant(name, settings.timeout_s))
        except ConfigError as error:
            unknown = f"Unknown candidate variant: {name}"
            invalid = f"Invalid candidate variant as a component of variant {services.name}: "
            problems += [problem if problem == unknown else invalid + problem for problem in error.problems]
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    return found


def _last_response(task: Task) -> str | None:
    """Candidates share the list of attempts; theirs are told apart by the discriminator."""
    for attempt in reversed(task.attempts):
        request = attempt.request
        if isinstance(request, ModelRequest) and request.discriminator == task.discriminator and attempt.error is None:
            return attempt.raw_response
    return None


def listing(answers: Sequence[Answer], function_type: FunctionType) -> str:
    """The answers as a model is shown them, numbered from 0."""
    return "\n\n".join(f"Candidate {index}:\n{_text(answer, function_type)}" for index, answer in enumerate(answers))


def _text(answer: Answer, function_type: FunctionType) -> str:
    if function_type == "json":
        return json_output(answer.output, None)[0].raw or ""
    return json.encode(answer.output).decode()


def chunk_of(answer: Answer) -> Chunk:
    """A whole answer as one piece of a stream."""
    deltas = [delta for index, block in enumerate(answer.output) for delta in _deltas(str(index), block)]
    return Chunk(content=tuple(deltas), finish_reason=answer.finish_reason)


def _deltas(id_: str, block: Block) -> list[Delta]:
    if isinstance(block, Text):
        return [TextDelta(id_, block.text)]
    if isinstance(block, ToolCall):
        return [ToolCallDelta(block.id, block.name, block.arguments)]
    if isinstance(block, Thought):
        whole = ThoughtDelta(
            id_,
            block.text,
            block.signature,
            provider_type=block.provider_type or UNSET,
            extra_data=UNSET if block.extra_data is None else block.extra_data,
        )
        parts = enumerate(block.summary or ())
        return [
            whole,
            *(ThoughtDelta(id_, summary_id=str(at), summary_text=part.get("text", "")) for at, part in parts),
        ]
    if isinstance(block, Unknown):
        return [UnknownDelta(id_, block.data, block.model_name, block.provider_name)]
    return [UnknownDelta(id_, to_builtins(block))]
