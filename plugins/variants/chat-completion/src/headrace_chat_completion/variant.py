"""Render, ask one model once, give its answer back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

from headrace import Answer, Task, VariantServices
from headrace.jsonmode import Asked, as_text, chunk_as_text, prepare
from headrace.sampling import Sampling
from headrace.types import Chunk, ModelRequest, ServiceTier

from .rendering import Renderer, TemplateSettings


class Settings(TemplateSettings, Sampling, extra="forbid", frozen=True):
    """A ``[functions.F.variants.V]`` table with ``type = "chat_completion"``."""

    model: str
    service_tier: ServiceTier | None = None


class ChatCompletion:
    """One model, one prompt."""

    def __init__(self, settings: Settings, services: VariantServices) -> None:
        function = services.function
        settings.check_json_mode(function, services.name)
        self._model = services.model(settings.model)
        self._function_type = function.type
        self._renderer = Renderer(settings, services)
        self._params = settings.params()

    @property
    def templates(self) -> Collection[str]:
        """The names that a ``template`` block may call."""
        return self._renderer.templates

    async def run(self, task: Task) -> Answer:
        """Perform once."""
        request, asked = self._request(task)
        response = await self._model.complete(request, task.attempts)
        output = as_text(response.output) if self._comes_as_text(asked) else response.output
        return Answer(output, response.finish_reason)

    async def stream(self, task: Task) -> AsyncGenerator[Chunk, None]:
        """Perform piece by piece."""
        request, asked = self._request(task)
        comes_as_text = self._comes_as_text(asked)
        async with aclosing(self._model.stream(request, task.attempts)) as chunks:
            async for chunk in chunks:
                yield chunk_as_text(chunk) if comes_as_text else chunk

    def _request(self, task: Task) -> tuple[ModelRequest, Asked]:
        params = task.params.over(self._params)
        asked = prepare(params.json_mode, self._function_type, task.output_schema, task.tools)
        request = ModelRequest(
            messages=self._renderer.messages(task.input),
            system=self._renderer.system(task.input.system),
            params=params,
            tools=asked.tools,
            json_mode=asked.json_mode,
            output_schema=task.output_schema.value if task.output_schema else None,
            function_type=self._function_type,
            credentials=task.credentials,
        )
        return request, asked

    def _comes_as_text(self, asked: Asked) -> bool:
        """A chat function hides that ``respond`` was called; a json function reads the arguments itself."""
        return asked.by_tool and self._function_type == "chat"
