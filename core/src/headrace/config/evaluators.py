"""Evaluators and ``[evaluations]`` (config spec 17): tables of every type, for those whose plugin is not installed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from ..files import File
from ..sampling import Sampling
from ..types import JsonMode, ServiceTier
from .base import U32, ByType, NotNegative, Table, refuse
from .models import Timeouts
from .names import EvaluatorName, VariantName
from .problems import describe


class ExactMatchTable(Table):
    """``type = "exact_match"``."""

    type: Literal["exact_match"]
    cutoff: float | None = None


class ToolUseTable(Table):
    """``type = "tool_use"``: which tools the output calls."""

    type: Literal["tool_use"]
    behavior: Literal["none", "any", "none_of", "any_of", "all_of"]
    tools: list[str] | None = None

    @model_validator(mode="after")
    def _of_which(self) -> ToolUseTable:
        if self.behavior.endswith("_of") and not self.tools:
            raise ValueError(f'`behavior = "{self.behavior}"` needs a non-empty `tools`')
        if not self.behavior.endswith("_of") and self.tools is not None:
            raise ValueError(f'`behavior = "{self.behavior}"` takes no `tools`')
        return self


class RegexTable(Table):
    """``type = "regex"``."""

    type: Literal["regex"]
    must_match: str | None = None
    must_not_match: str | None = None

    @field_validator("must_match", "must_not_match")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a valid regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _any(self) -> RegexTable:
        if self.must_match is None and self.must_not_match is None:
            raise ValueError("give `must_match`, `must_not_match` or both")
        return self


class TypescriptTable(Table):
    """``type = "typescript"``."""

    type: Literal["typescript"]
    typescript_file: File
    output_type: Literal["boolean", "float"]
    optimize: Literal["min", "max"]


class _Judge(Sampling, extra="forbid", frozen=True):
    """What a judge that calls one model has; a judge has no templates."""

    active: bool | None = None
    model: str
    system_instructions: File
    json_mode: JsonMode
    service_tier: ServiceTier | None = None
    timeouts: Timeouts = Timeouts()


class JudgeModelTable(_Judge, extra="forbid", frozen=True):
    """A judge's variant of one model; ``experimental_chain_of_thought`` has the same keys."""

    type: Literal["chat_completion", "experimental_chain_of_thought"]


class JudgePartTable(_Judge, extra="forbid", frozen=True):
    """A judge's ``evaluator`` or ``fuser``: no ``type``, and best-of-N fills in ``json_mode``."""

    json_mode: JsonMode | None = None  # type: ignore[assignment]


class _ComposedJudge(Table):
    active: bool | None = None
    candidates: list[str] = Field(min_length=1)
    weight: NotNegative | None = None
    timeout_s: NotNegative | None = None
    timeouts: Timeouts = Timeouts()


class JudgeBestOfTable(_ComposedJudge):
    """A judge's best-of-N variant."""

    type: Literal["experimental_best_of_n_sampling"]
    evaluator: JudgePartTable


class JudgeMixtureTable(_ComposedJudge):
    """A judge's mixture-of-N variant."""

    type: Literal["experimental_mixture_of_n"]
    fuser: JudgePartTable


class JudgeExamplesTable(Sampling, extra="forbid", frozen=True):
    """A judge's variant that learns from examples."""

    type: Literal["experimental_dynamic_in_context_learning"]
    active: bool | None = None
    model: str
    embedding_model: str
    k: U32
    max_distance: NotNegative | None = None
    system_instructions: File | None = None
    weight: NotNegative | None = None
    timeouts: Timeouts = Timeouts()


JudgeVariant: TypeAlias = Annotated[
    JudgeModelTable | JudgeBestOfTable | JudgeMixtureTable | JudgeExamplesTable, ByType()
]


class JudgeInclude(Table):
    """``include``: what else a judge sees."""

    reference_output: bool = False


class LlmJudgeTable(Table):
    """``type = "llm_judge"``."""

    type: Literal["llm_judge"]
    output_type: Literal["boolean", "float"]
    optimize: Literal["min", "max"]
    variants: dict[VariantName, JudgeVariant] = Field(min_length=1)
    input_format: Literal["serialized", "messages"] = "serialized"
    include: JudgeInclude = JudgeInclude()
    description: str | None = None
    cutoff: float | None = None

    @model_validator(mode="after")
    def _one_active(self) -> LlmJudgeTable:
        if len(self.variants) == 1:
            (only,) = self.variants.values()
            refuse(["the only variant has `active = false`: one has to be active"] if only.active is False else [])
            return self
        active = [name for name, variant in self.variants.items() if variant.active]
        if len(active) != 1:
            raise ValueError(f"exactly one variant must have `active = true`, found {', '.join(active) or 'none'}")
        return self


EvaluatorTable: TypeAlias = Annotated[
    ExactMatchTable | ToolUseTable | RegexTable | TypescriptTable | LlmJudgeTable, ByType()
]

_EVALUATOR: TypeAdapter[Any] = TypeAdapter(EvaluatorTable)


def check_evaluator(table: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with an evaluator's table at the key ``where``, whether or not its plugin is installed."""
    try:
        _EVALUATOR.validate_python(dict(table))
    except ValidationError as error:
        return describe(error, where)
    return []


class EvaluationTable(Table):
    """``[evaluations.E]``, deprecated: evaluators under a name of their own. Their tables are their plugins'."""

    type: Literal["inference", "static"]
    function_name: str
    description: str | None = None
    evaluators: dict[EvaluatorName, dict[str, Any]] = Field(default={})
