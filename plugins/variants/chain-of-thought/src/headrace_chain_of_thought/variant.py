"""Ask for JSON with a field for thinking before the answer proper, and take the two apart."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Collection

from headrace import Answer, Task, VariantServices
from headrace.errors import BadRequest, ConfigError
from headrace.functions import json_output
from headrace.types import Block, Chunk, Text, Thought
from headrace_chat_completion import ChatCompletion
from headrace_chat_completion import Settings as ChatSettings
from msgspec import structs

from .schema import unwrap, wrap

log = logging.getLogger(__name__)


class Settings(ChatSettings, extra="forbid", frozen=True):
    """A ``[functions.F.variants.V]`` table with ``type = "experimental_chain_of_thought"``."""


class ChainOfThought:
    """A chat completion for json functions that thinks first. Models that reason by themselves do it better."""

    def __init__(self, settings: Settings, services: VariantServices) -> None:
        if services.function.type != "json":
            raise ConfigError("`experimental_chain_of_thought` works in json functions only; use `chat_completion`")
        self._inner = ChatCompletion(settings, services)

    @property
    def templates(self) -> Collection[str]:
        """The names that a ``template`` block may call."""
        return self._inner.templates

    async def run(self, task: Task) -> Answer:
        """Perform once. An answer of another form is given back as it is. Raise BadRequest for a schema too large."""
        if task.output_schema is None:
            raise BadRequest("`experimental_chain_of_thought` needs an `output_schema`")
        try:
            schema = wrap(task.output_schema)
        except ValueError as error:
            raise BadRequest(f"`output_schema` leaves no room for thinking: {error}") from None
        answer = await self._inner.run(structs.replace(task, output_schema=schema))
        output, rest = json_output(answer.output, None)
        wrapped = unwrap(output.raw or "")
        if wrapped is None:
            log.warning("inference %s: the answer has no `thinking` and `response`", task.inference_id)
            return answer
        blocks: tuple[Block, ...] = (*rest, Thought(wrapped.thinking), Text(bytes(wrapped.response).decode()))
        return structs.replace(answer, output=blocks)

    async def stream(self, task: Task) -> AsyncGenerator[Chunk, None]:
        """Refuse: what is thinking and what is the answer shows only at the end."""
        raise BadRequest("`experimental_chain_of_thought` does not support streaming")
        yield Chunk()  # what makes this a generator
