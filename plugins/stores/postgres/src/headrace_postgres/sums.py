"""Counts, sums and quantiles, made by the database."""

from __future__ import annotations

from datetime import UTC, datetime

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
    Window,
)

from .conditions import Sql
from .filtering import table_of
from .server import Connection
from .text import original


async def inference_counts(connection: Connection, query: CountQuery) -> list[InferenceCount]:
    """By function, variant and period."""
    sql = (
        Sql()
        .name("function_name", query.function_name)
        .name("variant_name", query.variant_name)
        .period("id", query.period)
    )
    text = (
        f'SELECT function_name, variant_name, {_start(query.period.window)}, count(*), max("timestamp")'
        f" FROM inference{sql} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )
    return [
        InferenceCount(
            function_name=original(function_name),
            variant_name=original(variant_name),
            period_start=_utc(start),
            count=many,
            last_at=last,
        )
        for function_name, variant_name, start, many, last in await connection.fetch(text, *sql.parameters)
    ]


async def usage(connection: Connection, query: UsageQuery) -> list[UsageSum]:
    """By owner, name and period."""
    sql = (
        Sql()
        .where("error IS NULL")
        .equal("function_name", query.function_name)
        .texts("variant_name", query.variant_names)
        .equal("model_name", query.model_name)
        .equal("model_provider_name", query.model_provider_name)
        .period("id", query.period)
    )
    owner, name, many = {
        "variant": ("function_name", "variant_name", "count(DISTINCT inference_id)"),
        "model": ("''::text", "model_name", "count(*)"),
        "provider": ("model_provider_name", "model_name", "count(*)"),
    }[query.by]
    text = (
        f'SELECT {owner} COLLATE "C", {name}, {_start(query.period.window)}, {many}, count(cost),'
        " sum(input_tokens), sum(output_tokens),"
        " sum(provider_cache_read_input_tokens), sum(provider_cache_write_input_tokens), sum(cost)"
        f" FROM model_inference{sql} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )
    found: list[UsageSum] = []
    for owner_, name_, start, count, with_cost, *tokens, cost in await connection.fetch(text, *sql.parameters):
        # Sums of bigint are numeric.
        read, written, cache_read, cache_written = [None if each is None else int(each) for each in tokens]
        found.append(
            UsageSum(
                owner=original(owner_),
                name=original(name_),
                period_start=_utc(start),
                count=count,
                count_with_cost=with_cost,
                input_tokens=read,
                output_tokens=written,
                cache_read_input_tokens=cache_read,
                cache_write_input_tokens=cache_written,
                cost=cost,
            )
        )
    return found


async def latencies(connection: Connection, query: LatencyQuery) -> list[LatencySummary]:
    """By owner and name."""
    sql = Sql()
    wanted = sql.value(list(query.quantiles), "float8[]")
    sql.period("id", query.period)
    table, owner, name, total = "inference", "function_name", "variant_name", "processing_time_ms"
    if query.by == "model":
        table, owner, name, total = "model_inference", "''::text", "model_name", "response_time_ms"
        sql.where("error IS NULL").where("NOT cached")
        sql.equal("function_name", query.function_name).texts("variant_name", query.variant_names)
    else:
        sql.name("function_name", query.function_name).names("variant_name", query.variant_names)

    def quantiles(column: str) -> str:
        return f"percentile_cont({wanted}) WITHIN GROUP (ORDER BY {column}::float8)"

    text = (
        f'SELECT {owner} COLLATE "C", {name}, count(*), {quantiles(total)}, {quantiles("ttft_ms")}'
        f" FROM {table}{sql} GROUP BY 1, 2 ORDER BY 1, 2"
    )
    return [
        LatencySummary(
            owner=original(owner_),
            name=original(name_),
            count=many,
            total=tuple(totals or ()),
            ttft=tuple(ttfts or ()),
        )
        for owner_, name_, many, totals, ttfts in await connection.fetch(text, *sql.parameters)
    ]


async def metric_counts(connection: Connection, function_name: str, variant_name: str | None) -> list[MetricCount]:
    """By name of the metric and kind of row."""
    sql = Sql().name("function_name", function_name).name("variant_name", variant_name)
    text = f"""
        WITH target AS (
            SELECT id FROM inference{sql} UNION SELECT episode_id FROM inference{sql}
        )
        SELECT f.metric_name COLLATE "C", 'boolean' COLLATE "C", count(*)
            FROM boolean_metric_feedback f JOIN target t ON f.target_id = t.id GROUP BY 1
        UNION ALL
        SELECT f.metric_name, 'float', count(*)
            FROM float_metric_feedback f JOIN target t ON f.target_id = t.id GROUP BY 1
        UNION ALL
        SELECT 'comment', 'comment', count(*)
            FROM comment_feedback f JOIN target t ON f.target_id = t.id HAVING count(*) > 0
        UNION ALL
        SELECT 'demonstration', 'demonstration', count(*)
            FROM demonstration_feedback f JOIN target t ON f.inference_id = t.id HAVING count(*) > 0
        ORDER BY 1, 2
    """
    return [
        MetricCount(metric_name=original(name), type=type_, count=many)
        for name, type_, many in await connection.fetch(text, *sql.parameters)
    ]


async def scores(connection: Connection, query: ScoreQuery) -> list[ScoreSum]:
    """By variant and period."""
    sql = Sql()
    metric = sql.named("metric_key", "metric_name", [query.metric_name])
    sql.name("function_name", query.function_name).names("variant_name", query.variant_names)
    met = f'SELECT variant_name, id AS target_id, id, "timestamp" FROM inference{sql}'
    if query.level == "episode":
        # A variant meets an episode once, when its first inference in it began.
        met = (
            'SELECT DISTINCT ON (variant_name, episode_id) variant_name, episode_id AS target_id, id, "timestamp"'
            f" FROM inference{sql} ORDER BY variant_name, episode_id, id"
        )
    dated = Sql()
    dated.parameters = sql.parameters
    dated.period("met.id", query.period)
    value = "value::int::float8" if query.metric_type == "boolean" else "value"
    text = f"""
        SELECT met.variant_name, {_start(query.period.window)},
            count(*), avg(said.value), regr_sxx(said.value, said.value)
        FROM ({met}) met JOIN (
            SELECT DISTINCT ON (target_id) target_id, {value} AS value
            FROM {table_of(query.metric_type)} WHERE {metric} ORDER BY target_id, id DESC
        ) said ON said.target_id = met.target_id{dated}
        GROUP BY 1, 2 ORDER BY 1, 2
    """
    return [
        ScoreSum(variant_name=original(name), period_start=_utc(start), count=many, mean=mean, squares=squares)
        for name, start, many, mean, squares in await connection.fetch(text, *sql.parameters)
    ]


def _start(window: Window) -> str:
    """When the period began that the row falls into, as an instant without zone that means UTC."""
    if window == "cumulative":
        return "NULL::timestamp"
    # Weeks begin on Monday there as well (ISO 8601).
    return f"date_trunc('{window}', \"timestamp\" AT TIME ZONE 'UTC')"


def _utc(start: datetime | None) -> datetime | None:
    return None if start is None else start.replace(tzinfo=UTC)
