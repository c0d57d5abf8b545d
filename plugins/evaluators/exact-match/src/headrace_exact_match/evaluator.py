"""The output equals the reference: block by block in a chat function, as JSON values in a json function."""

from __future__ import annotations

import logging
from typing import Any, Literal

from headrace import Services
from headrace.errors import EvaluatorError
from headrace.records import Datapoint
from headrace.types import CheckedToolCall, ContentBlock, JsonOutput, Output
from msgspec import json
from pydantic import BaseModel, Field

log = logging.getLogger(__name__)


class Settings(BaseModel, extra="forbid", frozen=True):
    """A ``[functions.F.evaluators.E]`` table with ``type = "exact_match"``."""

    cutoff: float | None = Field(default=None, ge=0)


class ExactMatch:
    """Says whether an output is the reference, word for word."""

    output_type: Literal["boolean"] = "boolean"
    optimize: Literal["max"] = "max"

    def __init__(self, settings: Settings, services: Services) -> None:
        if settings.cutoff is not None:
            log.warning("exact_match: `cutoff` is deprecated; give it to `headrace evaluate` instead")

    async def evaluate(self, datapoint: Datapoint, output: Output) -> bool | None:
        """Whether they are equal; None without a reference, or when a json reference never satisfied its schema."""
        reference = datapoint.output
        if reference is None:
            return None
        if isinstance(reference, JsonOutput) and isinstance(output, JsonOutput):
            return None if reference.parsed is None else _canonical(reference.parsed) == _canonical(output.parsed)
        if isinstance(reference, tuple) and isinstance(output, tuple):
            return [_meaning(block) for block in reference] == [_meaning(block) for block in output]
        raise EvaluatorError(
            f"exact_match: datapoint {datapoint.id} has a {_kind(reference)} reference, the output is {_kind(output)}"
        )


def _meaning(block: ContentBlock) -> bytes:
    """A block without what a model makes up anew each time: the id of a tool call and the spaces in its arguments."""
    if isinstance(block, CheckedToolCall):
        fits = block.name is not None and block.arguments is not None
        return _canonical(("tool_call", fits, block.arguments if fits else block.raw_arguments, block.raw_name))
    return _canonical(block)


def _canonical(value: Any) -> bytes:
    """JSON with sorted keys: in Python ``True == 1``, in JSON it is not."""
    return json.encode(value, order="sorted")


def _kind(output: Output) -> str:
    return "json" if isinstance(output, JsonOutput) else "chat"
