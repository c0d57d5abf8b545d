"""Counts, sums and quantiles: over all that is there, by the server."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from headrace.queries import (
    CountQuery,
    InferenceCount,
    LatencyQuery,
    LatencySummary,
    MetricCount,
    ScoreQuery,
    ScoreSum,
    UsageQuery,
    UsageSum,
)

from .client import Client
from .filters import latest
from .sql import Statement, both
from .times import bucket, instant_of_ms, period_start, within


async def inference_counts(client: Client, query: CountQuery) -> list[InferenceCount]:
    """By function, variant and period."""
    asked = Statement()
    where = within(asked, query.period)
    _equal(asked, where, function_name=query.function_name, variant_name=query.variant_name)
    asked.text = (
        f"SELECT function_name, variant_name, {bucket(query.period.window)} AS period, count(),"
        " toInt64(bitShiftRight(max(toUInt128(id)), 80))"
        f" FROM inference FINAL WHERE {both(where)} GROUP BY function_name, variant_name, period"
        " ORDER BY function_name, variant_name, period"
    )
    return [
        InferenceCount(
            function_name=function_name,
            variant_name=variant_name,
            period_start=period_start(query.period.window, period),
            count=count,
            last_at=instant_of_ms(last_ms),
        )
        for function_name, variant_name, period, count, last_ms in await client.rows(asked)
    ]


async def usage(client: Client, query: UsageQuery) -> list[UsageSum]:
    """By owner, name and period."""
    asked = Statement()
    where = ["error IS NULL", *within(asked, query.period)]
    _equal(
        asked,
        where,
        function_name=query.function_name,
        model_name=query.model_name,
        model_provider_name=query.model_provider_name,
    )
    if query.variant_names is not None:
        where.append(f"variant_name IN {asked.strings(query.variant_names)}")
    owner, name = {
        "variant": ("function_name", "variant_name"),
        "model": ("''", "model_name"),
        "provider": ("model_provider_name", "model_name"),
    }[query.by]
    counted = "uniqExact(inference_id)" if query.by == "variant" else "count()"
    # Wider than a row's own numbers, so that no sum runs over; as text, since JSON numbers of that size are not safe.
    sums = ", ".join(
        f"toString(sumOrNull(toInt128({column})))"
        for column in (
            "input_tokens",
            "output_tokens",
            "provider_cache_read_input_tokens",
            "provider_cache_write_input_tokens",
        )
    )
    asked.text = (
        f"SELECT {owner} AS owner, {name} AS name, {bucket(query.period.window)} AS period, {counted}, count(cost),"
        f" {sums}, toString(sumOrNull(toDecimal256(cost, 30)))"
        f" FROM model_inference FINAL WHERE {both(where)} GROUP BY owner, name, period ORDER BY owner, name, period"
    )
    return [
        UsageSum(
            owner=owner,
            name=name,
            period_start=period_start(query.period.window, period),
            count=count,
            count_with_cost=count_with_cost,
            input_tokens=_whole(input_tokens),
            output_tokens=_whole(output_tokens),
            cache_read_input_tokens=_whole(read),
            cache_write_input_tokens=_whole(written),
            cost=None if cost is None else Decimal(cost),
        )
        for owner, name, period, count, count_with_cost, input_tokens, output_tokens, read, written, cost in (
            await client.rows(asked)
        )
    ]


async def latencies(client: Client, query: LatencyQuery) -> list[LatencySummary]:
    """By owner and name."""
    asked = Statement()
    where = within(asked, query.period)
    _equal(asked, where, function_name=query.function_name)
    if query.variant_names is not None:
        where.append(f"variant_name IN {asked.strings(query.variant_names)}")
    if query.by == "variant":
        table, owner, name, total = "inference", "function_name", "variant_name", "processing_time_ms"
    else:
        table, owner, name, total = "model_inference", "''", "model_name", "response_time_ms"
        where += ["error IS NULL", "NOT cached"]
    asked.text = (
        f"SELECT {owner} AS owner, {name} AS name, count(), count({total}), {_quantiles(query, total)},"
        f" count(ttft_ms), {_quantiles(query, 'ttft_ms')}"
        f" FROM {table} FINAL WHERE {both(where)} GROUP BY owner, name ORDER BY owner, name"
    )
    return [
        LatencySummary(
            owner=owner,
            name=name,
            count=count,
            total=tuple(map(float, totals)) if known_totals else (),
            ttft=tuple(map(float, ttfts)) if known_ttfts else (),
        )
        for owner, name, count, known_totals, totals, known_ttfts, ttfts in await client.rows(asked)
    ]


async def metric_counts(client: Client, function_name: str, variant_name: str | None) -> list[MetricCount]:
    """By name of the metric and kind of row."""
    asked = Statement()
    where: list[str] = []
    _equal(asked, where, function_name=function_name, variant_name=variant_name)
    targets = f"(SELECT arrayJoin([id, episode_id]) FROM inference FINAL WHERE {both(where)})"
    parts = [
        f"SELECT toString({name}) AS name, '{type_}' AS type, count() AS rows FROM {table} FINAL"
        f" WHERE {target} IN {targets} GROUP BY name"
        for name, type_, table, target in (
            ("metric_name", "boolean", "boolean_metric_feedback", "target_id"),
            ("metric_name", "float", "float_metric_feedback", "target_id"),
            ("'comment'", "comment", "comment_feedback", "target_id"),
            ("'demonstration'", "demonstration", "demonstration_feedback", "inference_id"),
        )
    ]
    asked.text = f"SELECT name, type, rows FROM ({' UNION ALL '.join(parts)}) ORDER BY name, type"
    return [MetricCount(metric_name=name, type=type_, count=count) for name, type_, count in await client.rows(asked)]


async def scores(client: Client, query: ScoreQuery) -> list[ScoreSum]:
    """By variant and period."""
    asked = Statement()
    where: list[str] = []
    _equal(asked, where, function_name=query.function_name)
    if query.variant_names is not None:
        where.append(f"variant_name IN {asked.strings(query.variant_names)}")
    target = "id" if query.level == "inference" else "episode_id"
    values = latest(f"{query.metric_type}_metric_feedback", f"metric_name = {asked.string(query.metric_name)}")
    # A variant meets a target once, when its first inference of it began; then the period is asked about.
    met = (
        f"SELECT variant_name, toUInt128({target}) AS target, min(toUInt128(id)) AS first FROM inference FINAL"
        f" WHERE {both(where)} GROUP BY variant_name, target"
    )
    dated = " AND ".join(each.replace("toUInt128(id)", "first") for each in within(asked, query.period)) or "1"
    # In two passes: the server's own variances lose all digits where the mean is great and the deviations are small.
    given = (
        f"SELECT variant_name, {bucket(query.period.window, 'first')} AS period, toFloat64(value) AS value"
        f" FROM ({met}) AS met INNER JOIN ({values}) AS given ON met.target = given.target WHERE {dated}"
    )
    asked.text = (
        "SELECT variant_name, period, count(), any(mean), sum((value - mean) * (value - mean)) FROM ("
        "SELECT variant_name, period, value, avg(value) OVER (PARTITION BY variant_name, period) AS mean"
        f" FROM ({given})) GROUP BY variant_name, period ORDER BY variant_name, period"
    )
    return [
        ScoreSum(
            variant_name=variant_name,
            period_start=period_start(query.period.window, period),
            count=count,
            mean=float(mean),
            squares=float(squares),
        )
        for variant_name, period, count, mean, squares in await client.rows(asked)
    ]


def _equal(statement: Statement, where: list[str], **values: str | None) -> None:
    where += [f"{column} = {statement.string(value)}" for column, value in values.items() if value is not None]


def _quantiles(query: LatencyQuery, column: str) -> str:
    """An array of those asked for. They are numbers between 0 and 1, so they may stand in the text."""
    if not query.quantiles:
        return "[]"
    levels = ", ".join(format(float(quantile), ".17g") for quantile in query.quantiles)
    return f"quantilesExactInclusive({levels})(ifNull({column}, 0)) FILTER (WHERE {column} IS NOT NULL)"


def _whole(text: Any) -> int | None:
    return None if text is None else int(text)
