"""Run every candidate, show their answers to a model, give back the one it chooses."""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import AsyncGenerator, Sequence

from headrace import Answer, Task, VariantServices
from headrace.errors import BadRequest
from headrace.functions import json_output
from headrace.jsonmode import ask
from headrace.retries import retrying
from headrace.types import Chunk, Message, Params, Text
from headrace_chat_completion import Renderer
from headrace_chat_completion import Settings as EvaluatorSettings
from msgspec import structs

from . import prompt
from .candidates import Candidates, CandidateSettings, chunk_of, listing

log = logging.getLogger(__name__)


class Settings(CandidateSettings, extra="forbid", frozen=True):
    """A ``[functions.F.variants.V]`` table with ``type = "experimental_best_of_n_sampling"``."""

    evaluator: EvaluatorSettings


class BestOfN:
    """The best of several answers. An evaluator that fails costs the choice, not the inference."""

    def __init__(self, settings: Settings, services: VariantServices, rng: random.Random | None = None) -> None:
        self._where = f"functions.{services.function.name}.variants.{services.name}"
        self._candidates = Candidates(settings, services, rng)
        self._function_type = services.function.type
        # Whatever the function is, its evaluator answers in JSON.
        self._function = dataclasses.replace(services.function, type="json")
        self._settings = settings.evaluator
        self._model = retrying(services.model(self._settings.model), self._settings.retries)
        self._renderer = Renderer(self._settings, dataclasses.replace(services, name=f"{services.name}.evaluator"))

    async def run(self, task: Task) -> Answer:
        """Perform once: the candidates side by side, then the evaluator. Raise AllCandidatesFailed."""
        answers = await self._candidates.run(task)
        if len(answers) == 1:
            return answers[0]
        try:
            return await self._best(task, answers)
        except Exception as error:  # whatever it is: there are good answers, and one of them is better than none
            log.error("%s.evaluator failed, so a candidate is taken by chance: %s", self._where, error)
            return self._candidates.any_of(answers)

    async def stream(self, task: Task) -> AsyncGenerator[Chunk, None]:
        """Perform, and give the chosen answer in one piece."""
        yield chunk_of(await self.run(task))

    async def _best(self, task: Task, answers: Sequence[Answer]) -> Answer:
        if task.extra.body:
            raise BadRequest("the `extra_body` of a request is not meant for an evaluator")
        max_index = len(answers) - 1
        shown = Message("user", (Text(listing(answers, self._function_type)),))
        request, _ = ask(
            structs.replace(task, params=Params(), tools=None, output_schema=prompt.SCHEMA),
            self._function,
            self._settings,
            system=prompt.system(self._renderer.system(task.input.system), max_index),
            messages=(*self._renderer.messages(task.input), shown),
        )
        response = await self._model.complete(request, task.attempts)
        chosen = answers[prompt.choice_of(json_output(response.output, None)[0].raw, max_index)]
        return structs.replace(chosen, original_response=response.raw_response)
