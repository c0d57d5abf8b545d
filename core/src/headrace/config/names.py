"""Which names a user may give to things: types for the keys of tables (config spec 3)."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from ..tags import ALIAS, RESERVED, is_reserved

_METRIC_NAME = re.compile(r"[A-Za-z0-9_\-.:/]+")

# With one of these types a model name is a shorthand that needs no table (config spec 7.3), now or one day.
PROVIDER_TYPES = (
    "anthropic aws_bedrock aws_sagemaker azure deepseek fireworks gcp_vertex_anthropic gcp_vertex_gemini "
    "google_ai_studio_gemini groq hyperbolic mistral openai openrouter sglang tgi together vllm xai"
).split()
_RESERVED_PREFIXES = (RESERVED, ALIAS, *(f"{type_}::" for type_ in PROVIDER_TYPES))


def reserved_name(kind: str, name: str) -> str | None:
    """What is wrong with a name that only headrace itself may give, None if it is not one."""
    if not is_reserved(name):
        return None
    prefix = RESERVED if name.startswith(RESERVED) else ALIAS
    return f"{kind} name cannot start with '{prefix}': {name}"


def _name_of(kind: str) -> AfterValidator:
    def check(name: str) -> str:
        if problem := reserved_name(kind, name):
            raise ValueError(problem)
        return name

    return AfterValidator(check)


def _model_name(name: str) -> str:
    if name.startswith(_RESERVED_PREFIXES):
        raise ValueError(f"Failed to load models: Model name '{name}' contains a reserved prefix")
    return name


def _metric_name(name: str) -> str:
    if name in ("comment", "demonstration"):
        raise ValueError(f"Metric name '{name}' is reserved and cannot be used")
    if is_reserved(name) or not _METRIC_NAME.fullmatch(name):
        raise ValueError(f"Metric name '{name}' is not allowed: use ASCII letters, digits and _ - . : /")
    return name


def _without_colons(kind: str) -> AfterValidator:
    def check(name: str) -> str:
        if "::" in name:
            raise ValueError(f"{kind} name cannot contain '::': {name}")
        return name

    return AfterValidator(check)


def _namespace(name: str) -> str:
    if not name:
        raise ValueError("Namespace name cannot be empty")
    if problem := reserved_name("Namespace", name):
        raise ValueError(problem)
    return name


FunctionName = Annotated[str, _name_of("User-defined function")]
VariantName = Annotated[str, _name_of("Variant")]
ToolName = Annotated[str, _name_of("Tool")]
ModelName = Annotated[str, AfterValidator(_model_name)]
MetricName = Annotated[str, AfterValidator(_metric_name)]
EvaluatorName = Annotated[str, _without_colons("Evaluator")]
EvaluationName = Annotated[str, _without_colons("Evaluation")]
NamespaceName = Annotated[str, AfterValidator(_namespace)]
