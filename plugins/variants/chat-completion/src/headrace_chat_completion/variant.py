"""Render, ask one model, give its answer back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

from headrace import Answer, Task, VariantServices
from headrace.jsonmode import as_text, ask, chunk_as_text
from headrace.retries import retrying
from headrace.sampling import Sampling
from headrace.types import Chunk, ModelRequest, ServiceTier

from .rendering import Renderer, TemplateSettings


class Settings(TemplateSettings, Sampling, extra="forbid", frozen=True, strict=True):
    """A ``[functions.F.variants.V]`` table with ``type = "chat_completion"``, or an evaluator's or fuser's."""

    model: str
    service_tier: ServiceTier | None = None


class ChatCompletion:
    """One model, one prompt."""

    def __init__(self, settings: Settings, services: VariantServices) -> None:
        settings.check_json_mode(services.function, services.name)
        self._function = services.function
        self._settings = settings
        self._model = retrying(services.model(settings.model), settings.retries)
        self._renderer = Renderer(settings, services)

    @property
    def templates(self) -> Collection[str]:
        """The names that a ``template`` block may call."""
        return self._renderer.templates

    async def run(self, task: Task) -> Answer:
        """Perform once."""
        request, comes_as_text = self._request(task)
        response = await self._model.complete(request, task.attempts)
        return Answer(as_text(response.output) if comes_as_text else response.output, response.finish_reason)

    async def stream(self, task: Task) -> AsyncGenerator[Chunk, None]:
        """Perform piece by piece."""
        request, comes_as_text = self._request(task)
        async with aclosing(self._model.stream(request, task.attempts)) as chunks:
            async for chunk in chunks:
                yield chunk_as_text(chunk) if comes_as_text else chunk

    def request_of(self, task: Task) -> tuple[ModelRequest, str]:
        """What ``run`` would ask, and the model's name; retries are for those who wait for the answer."""
        request, _ = self._request(task)
        return request, self._settings.model

    def _request(self, task: Task) -> tuple[ModelRequest, bool]:
        return ask(
            task,
            self._function,
            self._settings,
            system=self._renderer.system(task.input.system),
            messages=self._renderer.messages(task.input),
        )
