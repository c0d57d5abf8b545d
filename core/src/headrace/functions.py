"""A function: its schemas, its variants, and what it accepts as input."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import json

from .contracts import FunctionSpec, Variant
from .errors import BadRequest, NotFound
from .exchange import InferenceRequest
from .experiments import Experiment
from .schemas import Schema, compiled
from .types import (
    Block,
    ContentBlock,
    Input,
    InputBlock,
    JsonOutput,
    Template,
    Text,
    ToolCall,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Function:
    """A named task. ``slots`` are the template names that at least one variant can render.

    ``experiment`` draws the variant unless the request's namespace has an experiment of its own. ``namespaces`` are
    those that a variant, or a model it uses, is reserved for.
    """

    spec: FunctionSpec
    variants: Mapping[str, Variant]
    experiment: Experiment
    slots: frozenset[str] = frozenset()
    namespaced: Mapping[str, Experiment] = field(default_factory=dict)
    namespaces: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self.spec.name

    def pinned(self, variant_name: str) -> Variant:
        """The variant of that name. Raise NotFound."""
        try:
            return self.variants[variant_name]
        except KeyError:
            raise NotFound(f"Unknown variant: {variant_name}") from None

    def check_namespace(self, chosen: str, namespace: str | None) -> None:
        """Raise BadRequest for a variant chosen by hand that is reserved for another namespace than the request's."""
        for wanted in self.namespaces.get(chosen, ()):
            if wanted != namespace:
                raise BadRequest(reserved_for(chosen, wanted))

    def experiment_of(self, namespace: str | None) -> Experiment:
        """The experiment of a namespace, or else the function's own."""
        return self.namespaced.get(namespace or "", self.experiment)

    def check(self, input_: Input, more_slots: Collection[str] = ()) -> None:
        """Raise BadRequest unless the input satisfies the function's schemas (http-api 6.3).

        ``more_slots`` are those of a variant that is not one of the function's.
        """
        slots = self.slots.union(more_slots) if more_slots else self.slots
        self._check_system(input_.system, slots)
        for index, message in enumerate(input_.messages):
            for block in message.content:
                self._check_block(index, message.role, block, slots)

    def _check_system(self, system: str | dict[str, Any] | None, slots: frozenset[str]) -> None:
        schema = self.spec.schemas.get("system")
        if schema is not None:
            if system is None:
                raise BadRequest("`input.system` is empty but a system template is present.")
            schema.check(system)
        elif isinstance(system, dict) and "system" not in slots:
            raise BadRequest("System message content is a template but there is no variant template")

    def _check_block(self, index: int, role: str, block: InputBlock, slots: frozenset[str]) -> None:
        if isinstance(block, Text):
            schema = self.spec.schemas.get(role)
            if schema is not None:
                schema.check(block.text)
        elif isinstance(block, Template):
            schema = self.spec.schemas.get(block.name)
            if schema is not None:
                schema.check(block.arguments)
            elif block.name not in slots:
                raise BadRequest(
                    f"Message at index {index} has non-string content "
                    f"but there is no template `{block.name}` in any variant"
                )


def reserved_for(variant: str, namespace: str) -> str:
    """What to say to a request of another namespace, or of none."""
    return (
        f"`{variant}` uses a model or variant which has namespace `{namespace}`. "
        "Namespaced models can only be used with a matching namespace."
    )


class _NoSchema(Schema):
    """What a request sent as a schema and is none: the model may still be told of it, but nothing satisfies it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def fits(self, instance: Any) -> bool:
        """Nothing does."""
        return False

    def check(self, instance: Any) -> None:
        """Nothing does."""
        raise BadRequest("the schema is not a JSON Schema")


def requested_schema(request: InferenceRequest, function: Function) -> Schema | None:
    """The request's output schema, or else the function's. One that is none is found out later (http-api 10)."""
    if request.output_schema is None:
        return function.spec.output_schema
    try:
        return compiled(request.output_schema)
    except ValueError as error:
        log.warning("`output_schema` of a request is not a JSON Schema: %s", error)
        return _NoSchema(request.output_schema)


def json_output(blocks: tuple[Block, ...], schema: Schema | None) -> tuple[JsonOutput, tuple[Block, ...]]:
    """A json function's answer and what else the model said. The last text or tool call is the answer."""
    raw: str | None = None
    rest: list[Block] = []
    for block in blocks:
        if isinstance(block, Text):
            raw = block.text
        elif isinstance(block, ToolCall):
            raw = block.arguments
        else:
            rest.append(block)
    return parse_output(raw, schema), tuple(rest)


def parse_output(raw: str | None, schema: Schema | None) -> JsonOutput:
    """``parsed`` is set only if the text is JSON and satisfies the schema; anything else is no error."""
    if raw is None:
        return JsonOutput(None)
    try:
        value = json.decode(raw)
    except (ValueError, RecursionError):  # not JSON, or nested beyond reason
        return JsonOutput(raw)
    return JsonOutput(raw, value if schema is None or schema.fits(value) else None)


def text_of(blocks: tuple[ContentBlock, ...]) -> str | None:
    """All text of a chat answer, without separators; None if there is none."""
    texts = [block.text for block in blocks if isinstance(block, Text)]
    return "".join(texts) if texts else None
