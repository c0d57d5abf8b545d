"""Counts, sums and quantiles over all that is there."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Context, Decimal
from typing import Any, Final, TypeAlias
from uuid import UUID

from headrace.periods import period_start
from headrace.queries import (
    CountQuery,
    InferenceCount,
    LatencyQuery,
    LatencySummary,
    MetricCount,
    Period,
    ScoreQuery,
    ScoreSum,
    UsageQuery,
    UsageSum,
)
from headrace.records import CommentFeedback, DemonstrationFeedback, Feedback, InferenceRecord, ModelInferenceRecord

from .filters import Facts
from .rows import Rows, id_of, instant, target_of

Group: TypeAlias = tuple[str, str, datetime | None]

_EXACT: Final = Context(prec=200)


def inference_counts(rows: Rows, query: CountQuery) -> list[InferenceCount]:
    """By function, variant and period."""
    groups: dict[Group, list[datetime]] = defaultdict(list)
    for row in rows.all(InferenceRecord):
        at = instant(row.id)
        wanted = query.function_name in (None, row.function_name) and query.variant_name in (None, row.variant_name)
        if wanted and _within(at, query.period):
            groups[row.function_name, row.variant_name, period_start(at, query.period.window)].append(at)
    return [
        InferenceCount(
            function_name=function_name, variant_name=variant_name, period_start=start, count=len(ats), last_at=max(ats)
        )
        for (function_name, variant_name, start), ats in _in_order(groups)
    ]


def usage(rows: Rows, query: UsageQuery) -> list[UsageSum]:
    """By owner, name and period."""
    groups: dict[Group, list[ModelInferenceRecord]] = defaultdict(list)
    for row in rows.all(ModelInferenceRecord):
        at = instant(row.id)
        wanted = (
            row.error is None
            and query.function_name in (None, row.function_name)
            and (query.variant_names is None or row.variant_name in query.variant_names)
            and query.model_name in (None, row.model_name)
            and query.model_provider_name in (None, row.model_provider_name)
        )
        if wanted and _within(at, query.period):
            owner, name = {
                "variant": (row.function_name, row.variant_name),
                "model": ("", row.model_name),
                "provider": (row.model_provider_name, row.model_name),
            }[query.by]
            groups[owner, name, period_start(at, query.period.window)].append(row)
    return [
        UsageSum(
            owner=owner,
            name=name,
            period_start=start,
            count=len({row.inference_id for row in group}) if query.by == "variant" else len(group),
            count_with_cost=sum(row.cost is not None for row in group),
            input_tokens=_sum(row.input_tokens for row in group),
            output_tokens=_sum(row.output_tokens for row in group),
            cache_read_input_tokens=_sum(row.provider_cache_read_input_tokens for row in group),
            cache_write_input_tokens=_sum(row.provider_cache_write_input_tokens for row in group),
            cost=_exact_sum(row.cost for row in group),
        )
        for (owner, name, start), group in _in_order(groups)
    ]


def latencies(rows: Rows, query: LatencyQuery) -> list[LatencySummary]:
    """By owner and name; a group is there even if none of its rows knows a latency."""
    groups: dict[tuple[str, str], list[tuple[int | None, int | None]]] = defaultdict(list)
    of_inferences = query.by == "variant"
    for row in rows.all(InferenceRecord) if of_inferences else rows.all(ModelInferenceRecord):
        wanted = query.function_name in (None, row.function_name) and (
            query.variant_names is None or row.variant_name in query.variant_names
        )
        if not wanted or not _within(instant(row.id), query.period):
            continue
        if isinstance(row, InferenceRecord):
            groups[row.function_name, row.variant_name].append((row.processing_time_ms, row.ttft_ms))
        elif row.error is None and not row.cached:
            groups["", row.model_name].append((row.response_time_ms, row.ttft_ms))
    return [
        LatencySummary(
            owner=owner,
            name=name,
            count=len(group),
            total=quantiles([total for total, _ in group if total is not None], query.quantiles),
            ttft=quantiles([ttft for _, ttft in group if ttft is not None], query.quantiles),
        )
        for (owner, name), group in _in_order(groups)
    ]


def quantiles(values: Iterable[int], wanted: Sequence[float]) -> tuple[float, ...]:
    """Interpolated linearly between the two nearest (type 7 of Hyndman and Fan); () of no values."""
    known = sorted(values)
    if not known:
        return ()
    found: list[float] = []
    for quantile in wanted:
        whole = math.floor(place := (len(known) - 1) * quantile)
        upper = known[min(whole + 1, len(known) - 1)]
        found.append(known[whole] + (place - whole) * (upper - known[whole]))
    return tuple(found)


def metric_counts(rows: Rows, function_name: str, variant_name: str | None) -> list[MetricCount]:
    """By name of the metric and kind of row."""
    targets: set[UUID] = set()
    for row in rows.all(InferenceRecord):
        if row.function_name == function_name and variant_name in (None, row.variant_name):
            targets |= {row.id, row.episode_id}
    counts: Counter[tuple[str, Any]] = Counter()
    for one in rows:
        if isinstance(one, Feedback) and target_of(one) in targets:
            type_ = str(one.__struct_config__.tag)
            counts[type_ if isinstance(one, CommentFeedback | DemonstrationFeedback) else one.metric_name, type_] += 1
    return [MetricCount(metric_name=name, type=type_, count=counts[name, type_]) for name, type_ in sorted(counts)]


def scores(rows: Rows, query: ScoreQuery) -> list[ScoreSum]:
    """By variant and period."""
    facts = Facts(rows)
    known = facts.booleans if query.metric_type == "boolean" else facts.floats
    # A variant meets a target once, when its first inference of it began.
    first: dict[tuple[str, UUID], datetime] = {}
    for row in sorted(rows.all(InferenceRecord), key=id_of):
        if row.function_name == query.function_name:
            target = row.id if query.level == "inference" else row.episode_id
            first.setdefault((row.variant_name, target), instant(row.id))
    groups: dict[tuple[str, datetime | None], list[float]] = defaultdict(list)
    for (variant_name, target), at in first.items():
        value = known.get((target, query.metric_name))
        wanted = query.variant_names is None or variant_name in query.variant_names
        if value is not None and wanted and _within(at, query.period):
            groups[variant_name, period_start(at, query.period.window)].append(float(value))
    found: list[ScoreSum] = []
    for (variant_name, start), values in _in_order(groups):
        mean = math.fsum(values) / len(values)
        squares = math.fsum((value - mean) * (value - mean) for value in values)
        found.append(
            ScoreSum(variant_name=variant_name, period_start=start, count=len(values), mean=mean, squares=squares)
        )
    return found


def _within(at: datetime, period: Period) -> bool:
    return (period.since is None or period.since <= at) and (period.until is None or at < period.until)


def _in_order(groups: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """By the names, then by the period, of which there is only one where it is None."""
    return sorted(groups.items(), key=lambda group: tuple(part for part in group[0] if part is not None))


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _exact_sum(values: Iterable[Decimal | None]) -> Decimal | None:
    total: Decimal | None = None
    for value in values:
        if value is not None:
            total = value if total is None else _EXACT.add(total, value)
    return total
