"""The contract's sums as SQL, over one connection. What they read stands in indexes: no payload is touched."""

from __future__ import annotations

import math
import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate, groupby
from typing import Any, Final, NamedTuple

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

from .filters import latest_value
from .functions import instant, instant_of_ms, period_ms, period_sql
from .where import Where

_OWNERS: Final = {
    "variant": ("function_name", "variant_name", "count(DISTINCT inference_id)"),
    "model": ("''", "model_name", "count(*)"),
    "provider": ("model_provider_name", "model_name", "count(*)"),
}
_TOKENS: Final = (
    "input_tokens",
    "output_tokens",
    "provider_cache_read_input_tokens",
    "provider_cache_write_input_tokens",
)


def inference_counts(connection: sqlite3.Connection, query: CountQuery) -> list[InferenceCount]:
    """By function, variant and period."""
    where = Where().equal("function_name", query.function_name).equal("variant_name", query.variant_name)
    sql = f"""SELECT function_name, variant_name, {period_sql(query.period.window)}, count(*), max(id)
        FROM inference{where.within(query.period)} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
    return [
        InferenceCount(
            function_name=function_name,
            variant_name=variant_name,
            period_start=None if start is None else instant_of_ms(start),
            count=count,
            last_at=instant(last),
        )
        for function_name, variant_name, start, count, last in connection.execute(sql, where.parameters)
    ]


def usage(connection: sqlite3.Connection, query: UsageQuery) -> list[UsageSum]:
    """By owner, name and period."""
    owner, name, count = _OWNERS[query.by]
    where = (
        Where()
        .add("error IS NULL")
        .equal("function_name", query.function_name)
        .among("variant_name", query.variant_names)
        .equal("model_name", query.model_name)
        .equal("model_provider_name", query.model_provider_name)
        .within(query.period)
    )
    # In two halves, as SQLite fails where a sum leaves 64 bits.
    sums = ", ".join(f"sum({column} >> 32), sum({column} & 4294967295)" for column in _TOKENS)
    sql = f"""SELECT {owner}, {name}, {period_sql(query.period.window)}, {count}, count(cost), exact_sum(cost), {sums}
        FROM model_inference{where} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
    return [
        UsageSum(
            owner=row[0],
            name=row[1],
            period_start=None if row[2] is None else instant_of_ms(row[2]),
            count=row[3],
            count_with_cost=row[4],
            cost=None if row[5] is None else Decimal(row[5]),
            input_tokens=_whole(row[6:8]),
            output_tokens=_whole(row[8:10]),
            cache_read_input_tokens=_whole(row[10:12]),
            cache_write_input_tokens=_whole(row[12:14]),
        )
        for row in connection.execute(sql, where.parameters)
    ]


def latencies(connection: sqlite3.Connection, query: LatencyQuery) -> list[LatencySummary]:
    """By owner and name."""
    owner, name, _ = _OWNERS[query.by]
    where = Where().equal("function_name", query.function_name).among("variant_name", query.variant_names)
    table, total = "inference", "processing_time_ms"
    if query.by == "model":
        table, total = "model_inference", "response_time_ms"
        where.add("error IS NULL").add("NOT cached")
    where.within(query.period)
    groups = []
    for column in (total, "ttft_ms"):
        # Whole milliseconds repeat, so that there are far fewer different ones than rows.
        sql = f"SELECT {owner}, {name}, {column}, count(*) FROM {table}{where} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        rows = connection.execute(sql, where.parameters).fetchall()
        groups.append({key: _Known.of(list(found)) for key, found in groupby(rows, lambda row: (row[0], row[1]))})
    totals, ttfts = groups
    nothing = _Known(0, [], [])
    return [
        LatencySummary(
            owner=owner,
            name=name,
            count=known.rows,
            total=known.quantiles(query.quantiles),
            ttft=ttfts.get((owner, name), nothing).quantiles(query.quantiles),
        )
        for (owner, name), known in totals.items()
    ]


def metric_counts(connection: sqlite3.Connection, function_name: str, variant_name: str | None) -> list[MetricCount]:
    """By name of the metric and kind of row."""
    where = Where().equal("function_name", function_name).equal("variant_name", variant_name)
    counts = " UNION ALL ".join(
        f"SELECT {name}, '{type_}', count(*) FROM {table} WHERE {target} IN (SELECT id FROM target) GROUP BY 1"
        for name, type_, table, target in (
            ("metric_name", "boolean", "boolean_metric_feedback", "target_id"),
            ("metric_name", "float", "float_metric_feedback", "target_id"),
            ("'comment'", "comment", "comment_feedback", "target_id"),
            ("'demonstration'", "demonstration", "demonstration_feedback", "inference_id"),
        )
    )
    sql = f"""WITH target (id) AS MATERIALIZED (
        SELECT id FROM inference{where} UNION SELECT episode_id FROM inference{where}) {counts} ORDER BY 1, 2"""
    return [
        MetricCount(metric_name=name, type=type_, count=count)
        for name, type_, count in connection.execute(sql, where.parameters * 2)
    ]


def scores(connection: sqlite3.Connection, query: ScoreQuery) -> list[ScoreSum]:
    """By variant and period."""
    where = Where().equal("function_name", query.function_name).among("variant_name", query.variant_names)
    if query.level == "inference":
        met = f"SELECT variant_name, id, id FROM inference{where}"
    else:
        # A variant meets an episode once, when its first inference of it began.
        met = f"SELECT variant_name, episode_id, min(id) FROM inference{where} GROUP BY 1, 2"
    within = Where().within(query.period)
    sql = f"""WITH met (variant_name, target, id) AS ({met})
        SELECT variant_name, id, {latest_value(query.metric_type, "met.target")} FROM met{within}"""
    window = query.period.window
    groups: dict[tuple[str, int | None], list[float]] = defaultdict(list)
    # Sorted and told from the unknown here: SQLite would look for each value twice, and carry all through a sort.
    parameters = [*where.parameters, query.metric_name, *within.parameters]
    for variant_name, id_, value in connection.execute(sql, parameters):
        if value is not None:
            groups[variant_name, None if window == "cumulative" else period_ms(id_, window)].append(float(value))
    found: list[ScoreSum] = []
    for (variant_name, start), values in sorted(groups.items(), key=lambda group: (group[0][0], group[0][1] or 0)):
        mean = math.fsum(values) / len(values)
        squares = math.fsum((value - mean) ** 2 for value in values)
        period_start = None if start is None else instant_of_ms(start)
        found.append(
            ScoreSum(
                variant_name=variant_name, period_start=period_start, count=len(values), mean=mean, squares=squares
            )
        )
    return found


class _Known(NamedTuple):
    """How often each value is there, as counts up to and with it, and how many rows there are with those of none."""

    rows: int
    values: list[int]
    up_to: list[int]

    @classmethod
    def of(cls, found: Sequence[Any]) -> _Known:
        """Of rows that end in a value, smallest first, and its count."""
        known = [(value, count) for *_, value, count in found if value is not None]
        return cls(
            sum(row[-1] for row in found), [value for value, _ in known], list(accumulate(count for _, count in known))
        )

    def quantiles(self, wanted: Sequence[float]) -> tuple[float, ...]:
        """Interpolated linearly between the two nearest (type 7 of Hyndman and Fan); () of no values."""
        return tuple(self._quantile(each) for each in wanted) if self.values else ()

    def _quantile(self, quantile: float) -> float:
        last = self.up_to[-1] - 1
        whole = math.floor(place := last * quantile)
        lower, upper = self._at(whole), self._at(min(whole + 1, last))
        return lower + (place - whole) * (upper - lower)

    def _at(self, place: int) -> int:
        return self.values[bisect_right(self.up_to, place)]


def _whole(halves: Sequence[int | None]) -> int | None:
    high, low = halves
    return None if high is None or low is None else (high << 32) + low
