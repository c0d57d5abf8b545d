"""Embed the input, look its nearest examples up, show them to one model, give its answer back."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from headrace import Answer, Task, VariantServices
from headrace.errors import BadRequest
from headrace.files import File
from headrace.jsonmode import as_text, ask, chunk_as_text
from headrace.records import Example
from headrace.retries import retrying
from headrace.sampling import Sampling
from headrace.types import Chunk, EmbeddingRequest, ModelRequest
from pydantic import Field

from . import prompt

log = logging.getLogger(__name__)


class Settings(Sampling, extra="forbid", frozen=True, strict=True):
    """A ``[functions.F.variants.V]`` table with ``type = "experimental_dynamic_in_context_learning"``."""

    embedding_model: str
    model: str
    k: int = Field(ge=0, lt=2**32)
    max_distance: float | None = Field(default=None, ge=0)
    system_instructions: File | None = None


class Dicl:
    """Dynamic in-context learning: the k nearest of the variant's own examples become earlier turns."""

    def __init__(self, settings: Settings, services: VariantServices) -> None:
        function = services.function
        settings.check_json_mode(function, services.name)
        self._function, self._variant_name = function, services.name
        self._model = retrying(services.model(settings.model), settings.retries)
        self._embedding_model = services.embedding_model(settings.embedding_model)
        self._nearest = services.nearest
        self._k, self._max_distance = settings.k, settings.max_distance
        self._system = settings.system_instructions.text if settings.system_instructions else prompt.INSTRUCTIONS
        self._settings = settings

    async def run(self, task: Task) -> Answer:
        """Perform once: one embedding call, then one model call."""
        request, comes_as_text = await self._request(task)
        response = await self._model.complete(request, task.attempts)
        return Answer(as_text(response.output) if comes_as_text else response.output, response.finish_reason)

    async def stream(self, task: Task) -> AsyncGenerator[Chunk, None]:
        """Perform piece by piece; the embedding call comes before the first piece."""
        request, comes_as_text = await self._request(task)
        async with aclosing(self._model.stream(request, task.attempts)) as chunks:
            async for chunk in chunks:
                yield chunk_as_text(chunk) if comes_as_text else chunk

    async def _request(self, task: Task) -> tuple[ModelRequest, bool]:
        if task.extra.body:
            raise BadRequest("in-context learning cannot take the `extra_body` of a request")
        text = prompt.text_of(task.input)
        examples = await self._examples(text, task)
        if examples:
            messages = prompt.with_examples(examples, text, self._function.type)
        else:
            messages = prompt.without_examples(task.input)
            log.warning(
                "functions.%s.variants.%s: no example is near this input (k = %s, max_distance = %s), "
                "so the model learns from none",
                self._function.name,
                self._variant_name,
                self._k,
                self._max_distance,
            )
        return ask(task, self._function, self._settings, system=self._system, messages=messages)

    async def _examples(self, text: str, task: Task) -> list[Example]:
        """The k nearest, nearest first, and of those the ones that are near enough."""
        response = await self._embedding_model.embed(
            EmbeddingRequest(input=text, credentials=task.credentials, cache=task.cache, caller=task.caller),
            task.attempts,
        )
        [vector] = response.embeddings
        found = await self._nearest(self._function.name, self._variant_name, vector, self._k)
        return [example for example, distance in found if self._max_distance is None or distance <= self._max_distance]
