"""Figures about functions, variants and models over time, made of what the store sums up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from .contracts import Clock, Store
from .errors import BadRequest, NotFound
from .feedback import Metric
from .filters import BooleanMetric, Demonstrated, Filter, FloatMetric
from .functions import Function
from .periods import period_start, shifted
from .queries import (
    CountQuery,
    InferenceCount,
    InferenceQuery,
    LatencyQuery,
    LatencySummary,
    MetricCount,
    Period,
    ScoreQuery,
    ScoreSum,
    UsageQuery,
    UsageSum,
    Window,
)

QUANTILES: Final = (0.001, 0.01, 0.05, *(round(tenth / 10, 1) for tenth in range(1, 10)), 0.95, 0.99, 0.999)

ALPHA: Final = 0.05

MAX_PERIODS: Final = 1000

DEMONSTRATION: Final = "demonstration"

# Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2021), arXiv:2103.06476, eq. 24: tightest at about 100 values.
_RHO: Final = math.sqrt(-2 * math.log(ALPHA) + math.log(-2 * math.log(ALPHA) + 1)) / 10


@dataclass(frozen=True)
class Performance:
    """A variant's mean score up to the end of a period, with a confidence sequence: bounds that hold at all times."""

    period_end: datetime
    variant_name: str
    mean: float
    variance: float | None
    count: int
    low: float | None
    high: float | None


@dataclass(frozen=True)
class VariantUsage:
    """What a variant used in one period, and how long it took."""

    usage: UsageSum
    latency: LatencySummary | None


class Reports:
    """The figures of one store. Every method raises BadRequest where no store is configured.

    ``periods`` is how many are reported, the one that is under way included. Names that are not configured raise
    NotFound, but for variants: those of earlier configurations have figures too.
    """

    def __init__(
        self, *, functions: Mapping[str, Function], metrics: Mapping[str, Metric], store: Store | None, clock: Clock
    ) -> None:
        self._functions = functions
        self._metrics = metrics
        self._store_or_none = store
        self._clock = clock

    # -- functions --------------------------------------------------------------------------------------------

    async def counts(self, function_name: str | None = None, variant_name: str | None = None) -> list[InferenceCount]:
        """Inferences by function and variant."""
        self._check(function_name)
        return await self._store.inference_counts(CountQuery(function_name=function_name, variant_name=variant_name))

    async def passing(self, function_name: str, metric_name: str, threshold: float = 0.0) -> tuple[int, int]:
        """How many rows of feedback a metric has, and how many inferences whose latest value is better than that.

        Better than ``threshold`` in the metric's direction; of booleans, the good value. Of demonstrations both are
        the number of inferences that have one.
        """
        self._check(function_name)
        condition = self._good(metric_name, threshold)
        passed = await self._store.count_inferences(InferenceQuery(function_name=function_name, filters=condition))
        if metric_name == DEMONSTRATION:
            return passed, passed
        rows = await self._store.metric_counts(function_name)
        return sum(row.count for row in rows if row.metric_name == metric_name), passed

    async def metrics(self, function_name: str, variant_name: str | None = None) -> list[MetricCount]:
        """How much feedback of each metric, demonstrations among them."""
        self._check(function_name)
        return await self._store.metric_counts(function_name, variant_name)

    async def throughput(self, function_name: str, window: Window, periods: int) -> list[InferenceCount]:
        """Inferences by variant and period."""
        self._check(function_name)
        query = CountQuery(function_name=function_name, period=self._last(window, periods))
        return await self._store.inference_counts(query)

    # -- variants ---------------------------------------------------------------------------------------------

    async def variant_usage(self, function_name: str, window: Window, periods: int) -> list[VariantUsage]:
        """By variant and period."""
        self._check(function_name)
        period = self._last(window, periods)
        found = await self._store.usage(UsageQuery(by="variant", function_name=function_name, period=period))
        starts = {each.period_start for each in found}
        latencies = {
            (each.name, start): each
            for start in starts
            for each in await self._store.latencies(
                LatencyQuery(
                    by="variant", quantiles=QUANTILES, function_name=function_name, period=_alone(start, period)
                )
            )
        }
        return [VariantUsage(each, latencies.get((each.name, each.period_start))) for each in found]

    async def variant_statistics(
        self,
        function_name: str,
        variant_names: tuple[str, ...] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[VariantUsage]:
        """By variant, over all time or from ``since`` until before ``until``."""
        self._check(function_name)
        period = Period(since=since, until=until)
        usage = UsageQuery(by="variant", function_name=function_name, variant_names=variant_names, period=period)
        latency = LatencyQuery(
            by="variant",
            quantiles=QUANTILES,
            function_name=function_name,
            variant_names=variant_names,
            period=period,
        )
        latencies = {each.name: each for each in await self._store.latencies(latency)}
        return [VariantUsage(each, latencies.get(each.name)) for each in await self._store.usage(usage)]

    async def performances(
        self, function_name: str, metric_name: str, window: Window, variant_name: str | None = None
    ) -> list[ScoreSum]:
        """Scores by variant and period."""
        query = self._scores(function_name, metric_name, Period(window=window))
        found = await self._store.scores(query)
        return [each for each in found if variant_name in (None, each.variant_name)]

    async def timeseries(
        self,
        function_name: str,
        metric_name: str,
        window: Window,
        periods: int,
        variant_names: tuple[str, ...] | None = None,
    ) -> list[Performance]:
        """The scores up to the end of each of the last periods, by period and variant. Raise BadRequest."""
        if window == "cumulative":
            raise BadRequest("time_window: `cumulative` has no periods; use minute, hour, day, week or month")
        last = self._last(window, periods)
        found = await self._store.scores(self._scores(function_name, metric_name, Period(window=window)))
        wanted = [each for each in found if variant_names is None or each.variant_name in variant_names]
        assert last.since is not None
        return list(_cumulative(wanted, last.since, window, periods))

    # -- models -----------------------------------------------------------------------------------------------

    async def models(self) -> int:
        """How many models have answered."""
        return len({each.name for each in await self._store.usage(UsageQuery(by="model"))})

    async def model_usage(self, window: Window, periods: int, model_name: str | None = None) -> list[UsageSum]:
        """By model and period."""
        query = UsageQuery(by="model", period=self._last(window, periods), model_name=model_name)
        return await self._store.usage(query)

    async def provider_usage(
        self, window: Window, periods: int, model_name: str | None = None, model_provider_name: str | None = None
    ) -> list[UsageSum]:
        """By model, provider and period."""
        query = UsageQuery(
            by="provider",
            period=self._last(window, periods),
            model_name=model_name,
            model_provider_name=model_provider_name,
        )
        return await self._store.usage(query)

    async def model_latencies(self, window: Window) -> list[LatencySummary]:
        """By model, in the period that is under way and the one before."""
        return await self._store.latencies(
            LatencyQuery(by="model", quantiles=QUANTILES, period=Period(since=self._last(window, 2).since))
        )

    # -- helpers ----------------------------------------------------------------------------------------------

    @property
    def _store(self) -> Store:
        if self._store_or_none is None:
            raise BadRequest("Statistics need a store: `gateway.observability.enabled` is false")
        return self._store_or_none

    def _check(self, function_name: str | None) -> None:
        if function_name is not None and function_name not in self._functions:
            raise NotFound(f"Unknown function: {function_name}")

    def _metric(self, name: str) -> Metric:
        if name not in self._metrics:
            raise NotFound(f"Unknown metric: {name}")
        return self._metrics[name]

    def _good(self, name: str, threshold: float) -> Filter:
        if name == DEMONSTRATION:
            return Demonstrated(True)
        metric = self._metric(name)
        if metric.type == "boolean":
            return BooleanMetric(name, metric.level, metric.optimize == "max")
        return FloatMetric(name, metric.level, ">" if metric.optimize == "max" else "<", threshold)

    def _scores(self, function_name: str, metric_name: str, period: Period) -> ScoreQuery:
        self._check(function_name)
        metric = self._metric(metric_name)
        return ScoreQuery(
            function_name=function_name,
            metric_name=metric_name,
            metric_type=metric.type,
            level=metric.level,
            period=period,
        )

    def _last(self, window: Window, periods: int) -> Period:
        """The last so many periods, counted from now."""
        if not 0 < periods <= MAX_PERIODS:
            raise BadRequest(f"max_periods: must be from 1 to {MAX_PERIODS}, found {periods}")
        start = period_start(datetime.fromtimestamp(self._clock.time(), UTC), window)
        return Period(window=window, since=None if start is None else shifted(start, window, 1 - periods))


def deviation(score: ScoreSum) -> float | None:
    """The sample standard deviation; None of fewer than two values."""
    return math.sqrt(score.squares / (score.count - 1)) if score.count > 1 else None


def _alone(start: datetime | None, period: Period) -> Period:
    if start is None:
        return Period(since=period.since, until=period.until)
    return Period(since=start, until=shifted(start, period.window, 1))


def _cumulative(found: Sequence[ScoreSum], since: datetime, window: Window, periods: int) -> Iterator[Performance]:
    waiting = sorted(found, key=lambda each: (each.period_start or since, each.variant_name))
    totals: dict[str, ScoreSum] = {}
    at = 0
    for number in range(1, periods + 1):
        end = shifted(since, window, number)
        while at < len(waiting) and (waiting[at].period_start or since) < end:
            score = waiting[at]
            totals[score.variant_name] = _merged(totals.get(score.variant_name), score)
            at += 1
        for name in sorted(totals):
            yield _performance(end, totals[name])


def _merged(a: ScoreSum | None, b: ScoreSum) -> ScoreSum:
    """Both together. Chan, Golub and LeVeque (1979), Updating formulae and a pairwise algorithm, eq. 1.5."""
    if a is None:
        return b
    count, apart = a.count + b.count, b.mean - a.mean
    return ScoreSum(
        variant_name=a.variant_name,
        period_start=b.period_start,
        count=count,
        mean=a.mean + apart * b.count / count,
        squares=a.squares + b.squares + apart * apart * a.count * b.count / count,
    )


def _performance(end: datetime, score: ScoreSum) -> Performance:
    variance = score.squares / (score.count - 1) if score.count > 1 else None
    margin = None if variance is None else _margin(score.count, variance)
    return Performance(
        period_end=end,
        variant_name=score.variant_name,
        mean=score.mean,
        variance=variance,
        count=score.count,
        low=None if margin is None else score.mean - margin,
        high=None if margin is None else score.mean + margin,
    )


def _margin(n: int, variance: float) -> float:
    """Half the width of the asymptotic confidence sequence (experimentation 6)."""
    scaled = n * variance * _RHO**2 + 1
    return math.sqrt(scaled / (n * _RHO) ** 2 * math.log(scaled / ALPHA**2))
