"""The output's text matches one expression and does not match another."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from headrace import Services
from headrace.functions import text_of
from headrace.records import Datapoint
from headrace.types import JsonOutput, Output
from pydantic import BaseModel, BeforeValidator, model_validator


def _compiled(value: Any) -> Any:
    try:
        return re.compile(value) if isinstance(value, str) else value
    except re.error as error:
        raise ValueError(f"{value!r} is not a regular expression of Python's: {error}") from None


Expression = Annotated[re.Pattern[str], BeforeValidator(_compiled)]


class Settings(BaseModel, extra="forbid", frozen=True):
    """A ``[functions.F.evaluators.E]`` table with ``type = "regex"``; each key may be found anywhere in the text."""

    must_match: Expression | None = None
    must_not_match: Expression | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.must_match is None and self.must_not_match is None:
            raise ValueError("a regex evaluator needs `must_match`, `must_not_match` or both")
        return self


class Regex:
    """Judges by the text alone: a chat answer's text blocks put together, or a json answer as it came."""

    output_type: Literal["boolean"] = "boolean"
    optimize: Literal["max"] = "max"

    def __init__(self, settings: Settings, services: Services) -> None:
        self._must_match = settings.must_match
        self._must_not_match = settings.must_not_match

    async def evaluate(self, datapoint: Datapoint, output: Output) -> bool:
        """Whether the text is as it must be. Without any text that is: whether nothing must match."""
        text = output.raw if isinstance(output, JsonOutput) else text_of(output)
        if text is None:
            return self._must_match is None
        matches = self._must_match is None or self._must_match.search(text) is not None
        return matches and (self._must_not_match is None or self._must_not_match.search(text) is None)
