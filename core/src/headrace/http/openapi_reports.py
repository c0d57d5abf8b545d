"""The operations of figures and of workflow evaluations, for the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from . import workflows
from .openapi_operations import STORE, TEXT, U32, UUID_TEXT, Operation

_FUNCTION = {"function_name": TEXT}
_WINDOW = {"type": "string", "enum": ["minute", "hour", "day", "week", "month", "cumulative"]}
_INSTANT = {"type": "string", "format": "date-time"}
_PERIODS: dict[str, dict[str, Any]] = {"time_window": _WINDOW, "max_periods": U32}
_MODEL = {"model_name": TEXT}
_OF_FUNCTION = "/internal/functions/{function_name}"


class FunctionCount(Struct):
    """How often a function was asked, and when last."""

    function_name: str
    last_inference_timestamp: datetime
    inference_count: int


class FunctionCounts(Struct):
    """Every function that was ever asked, the last one first."""

    functions: list[FunctionCount]


class VariantCount(Struct):
    """How often a variant answered, and when last."""

    variant_name: str
    inference_count: int
    last_used_at: datetime


class InferenceCount(Struct):
    """How often a function was asked; by variant with ``group_by=variant``."""

    inference_count: int
    count_by_variant: list[VariantCount] | UnsetType = UNSET


class Passing(Struct):
    """Rows of feedback, and inferences whose latest value is good."""

    feedback_count: int
    inference_count: int


class MetricCount(Struct):
    """How much feedback of one metric; ``demonstration`` has no type."""

    function_name: str
    metric_name: str
    feedback_count: int
    metric_type: str | UnsetType = UNSET


class MetricCounts(Struct):
    """By metric."""

    metrics: list[MetricCount]


class PeriodCount(Struct):
    """Inferences of a variant in a period."""

    period_start: datetime
    variant_name: str
    count: int


class Throughput(Struct):
    """By period and variant."""

    throughput: list[PeriodCount]


class Used(Struct, kw_only=True):
    """Sums over what is known; what nobody knows is absent. ``cost`` is in dollars."""

    period_start: datetime | UnsetType = UNSET
    count: int | UnsetType = UNSET
    count_with_cost: int | UnsetType = UNSET
    input_tokens: int | UnsetType = UNSET
    output_tokens: int | UnsetType = UNSET
    cache_read_input_tokens: int | UnsetType = UNSET
    cache_write_input_tokens: int | UnsetType = UNSET
    cost: float | UnsetType = UNSET


class VariantUsed(Used, kw_only=True):
    """Of a variant, with milliseconds at the quantiles of the answer."""

    variant_name: str
    processing_time_ms_quantiles: list[float] | UnsetType = UNSET
    ttft_ms_quantiles: list[float] | UnsetType = UNSET


class VariantUsage(Struct):
    """By period and variant."""

    quantiles: list[float]
    data: list[VariantUsed]


class Performance(Struct):
    """A variant's scores in a period: mean, sample deviation, and half a 95 % interval."""

    period_start: datetime
    variant_name: str
    count: int
    avg_metric: float
    stdev: float | UnsetType = UNSET
    ci_error: float | UnsetType = UNSET


class Performances(Struct):
    """By period and variant."""

    performances: list[Performance]


class Point(Struct):
    """A variant's scores up to the end of a period, with bounds that hold at all times together."""

    period_end: datetime
    variant_name: str
    mean: float
    variance: float | None
    count: int
    alpha: float
    cs_lower: float | None
    cs_upper: float | None


class Timeseries(Struct):
    """By period and variant."""

    timeseries: list[Point]


class Totals(Struct, kw_only=True):
    """What a variant used in all."""

    function_name: str
    variant_name: str
    inference_count: int
    count_with_cost: int
    total_input_tokens: int | UnsetType = UNSET
    total_output_tokens: int | UnsetType = UNSET
    total_cache_read_input_tokens: int | UnsetType = UNSET
    total_cache_write_input_tokens: int | UnsetType = UNSET
    total_cost: float | UnsetType = UNSET
    processing_time_ms_quantiles: list[float] | UnsetType = UNSET
    ttft_ms_quantiles: list[float] | UnsetType = UNSET


class VariantStatistics(Struct):
    """By variant."""

    quantiles: list[float]
    data: list[Totals]


class ModelCount(Struct):
    """How many models have answered."""

    model_count: int


class ModelUsed(Used, kw_only=True):
    """Of a model."""

    model_name: str


class ModelUsage(Struct):
    """By period and model."""

    data: list[ModelUsed]


class ModelLatency(Struct):
    """Milliseconds of a model at the quantiles of the answer; empty where nothing is known."""

    model_name: str
    response_time_ms_quantiles: list[float]
    ttft_ms_quantiles: list[float]
    count: int


class ModelLatencies(Struct):
    """By model."""

    quantiles: list[float]
    data: list[ModelLatency]


class CacheUsed(Used, kw_only=True):
    """What a provider took from its own cache; the ratio is to all input tokens."""

    model_name: str
    model_provider_name: str
    cache_read_ratio: float | UnsetType = UNSET


class CacheStatistics(Struct):
    """By period, model and provider."""

    data: list[CacheUsed]


class RunAnswer(Struct):
    """The id of a run."""

    run_id: UUID


class EpisodeAnswer(Struct):
    """The id of an episode, under which its inferences come."""

    episode_id: UUID


class Judgement(Struct):
    """What a human said, and the judge's inference that it corrects."""

    value: bool | float
    evaluator_inference_id: UUID | None


class HumanFeedbackAnswer(Struct):
    """The latest judgement, if there is one."""

    feedback: Judgement | UnsetType = UNSET


def _get(path: str, summary: str, answer: Any, *required: str, **parameters: dict[str, Any]) -> Operation:
    return Operation(
        method="GET",
        path=path,
        summary=summary,
        tag="statistics",
        answers=(answer,),
        errors=STORE,
        parameters=parameters,
        required=frozenset(required),
    )


OPERATIONS = (
    _get("/internal/functions/inference_counts", "How often every function was asked", FunctionCounts),
    _get(
        f"{_OF_FUNCTION}/inference_count",
        "How often a function was asked",
        InferenceCount,
        **_FUNCTION,
        variant_name=TEXT,
        group_by={"type": "string", "enum": ["variant"]},
    ),
    _get(
        f"{_OF_FUNCTION}/inference_count/{{metric_name}}",
        "How many inferences of a function are good",
        Passing,
        **_FUNCTION,
        metric_name=TEXT,
        threshold={"type": "number"},
    ),
    _get(f"{_OF_FUNCTION}/metrics", "How much feedback a function has", MetricCounts, **_FUNCTION, variant_name=TEXT),
    _get(
        f"{_OF_FUNCTION}/throughput_by_variant",
        "How often each variant answered, over time",
        Throughput,
        "time_window",
        **_FUNCTION,
        **_PERIODS,
    ),
    _get(
        f"{_OF_FUNCTION}/variant_usage",
        "What each variant used, over time",
        VariantUsage,
        "time_window",
        **_FUNCTION,
        **_PERIODS,
    ),
    _get(
        f"{_OF_FUNCTION}/variant_performances",
        "How good each variant was, over time",
        Performances,
        "metric_name",
        "time_window",
        **_FUNCTION,
        metric_name=TEXT,
        time_window=_WINDOW,
        variant_name=TEXT,
    ),
    _get(
        "/internal/feedback/timeseries",
        "How good each variant has been up to each period, with a confidence sequence",
        Timeseries,
        "function_name",
        "metric_name",
        "time_window",
        **_FUNCTION,
        metric_name=TEXT,
        variant_names=TEXT,
        **_PERIODS,
    ),
    _get(
        "/internal/variant_statistics",
        "What each variant used in all",
        VariantStatistics,
        "function_name",
        **_FUNCTION,
        variant_names=TEXT,
        after=_INSTANT,
        before=_INSTANT,
    ),
    _get("/internal/models/count", "How many models have answered", ModelCount),
    _get("/internal/models/usage", "What each model used, over time", ModelUsage, "time_window", **_MODEL, **_PERIODS),
    _get(
        "/internal/models/latency",
        "How fast each model answered",
        ModelLatencies,
        "time_window",
        time_window=_WINDOW,
    ),
    _get(
        "/internal/models/cache_statistics",
        "What providers took from caches of their own, over time",
        CacheStatistics,
        "time_window",
        **_MODEL,
        model_provider_name=TEXT,
        **_PERIODS,
    ),
    Operation(
        method="POST",
        path="/workflow_evaluation_run",
        summary="Begin a run that pins variants",
        tag="workflow evaluations",
        body=workflows.RunBody,
        answers=(RunAnswer,),
        errors=STORE,
    ),
    Operation(
        method="POST",
        path="/workflow_evaluation_run/{run_id}/episode",
        summary="Begin an episode of a run",
        tag="workflow evaluations",
        body=workflows.EpisodeBody,
        answers=(EpisodeAnswer,),
        errors=STORE,
        parameters={"run_id": UUID_TEXT},
    ),
    Operation(
        method="POST",
        path="/internal/evaluations/datapoints/{datapoint_id}/get_human_feedback",
        summary="What a human said of an output for a datapoint",
        tag="workflow evaluations",
        body=workflows.HumanFeedbackBody,
        answers=(HumanFeedbackAnswer,),
        errors=STORE,
        parameters={"datapoint_id": UUID_TEXT},
    ),
)
