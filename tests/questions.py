"""Random questions for a store about a made-up history, the same ones for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from headrace.conformance.rows import START
from headrace.conformance.rows_history import (
    DATASETS,
    FUNCTIONS,
    METRICS,
    MODELS,
    NEAR,
    PROVIDERS,
    TAGS,
    VALUES,
    VARIANTS,
    History,
)
from headrace.filters import (
    And,
    BooleanMetric,
    ByMetric,
    ByRelevance,
    ByTime,
    Dated,
    Demonstrated,
    Direction,
    Filter,
    FloatMetric,
    Not,
    Or,
    Order,
    Tagged,
)
from headrace.queries import (
    CountQuery,
    DatapointQuery,
    EpisodeQuery,
    InferenceQuery,
    LatencyQuery,
    Period,
    ScoreQuery,
    UsageQuery,
)
from headrace.records import KINDS

SEARCHES = ("apple", "APPLE", "apple p", "100%", "it_s", "\\", '"', "\n", "\U0001f600", "null", "\x00", "%", "zo", "")
COMPARISONS = ("<", "<=", "=", ">", ">=", "!=")


class Asked(NamedTuple):
    """One question: the method of a store, and what it is given."""

    method: str
    arguments: tuple[Any, ...]
    named: dict[str, Any]


class Questions:
    """Random ones about a history, the same ones for the same seed."""

    def __init__(self, history: History) -> None:
        self.of = history
        self.random = history.random

    def ask(self, count: int) -> Iterator[Asked]:
        """So many questions, of every method in turn."""
        methods = [getattr(self, name) for name in dir(self) if name.startswith("on_")]
        for n in range(count):
            yield methods[n % len(methods)]()

    # -- rows ---------------------------------------------------------------------------------------------

    def on_inferences(self) -> Asked:
        return Asked("inferences", (self.inferences(),), {})

    def on_inferences_again(self) -> Asked:
        return Asked("inferences", (self.inferences(),), {})

    def on_count_inferences(self) -> Asked:
        return Asked("count_inferences", (self.inferences(),), {})

    def on_datapoints(self) -> Asked:
        return Asked("datapoints", (self.datapoints(),), {})

    def on_count_datapoints(self) -> Asked:
        return Asked("count_datapoints", (self.datapoints(),), {})

    def on_episodes(self) -> Asked:
        return Asked("episodes", (self.episodes(),), {})

    def on_count_episodes(self) -> Asked:
        return Asked("count_episodes", (), {})

    def on_model_inferences(self) -> Asked:
        return Asked("model_inferences", (self.one(self.of.inferences),), {})

    def on_feedback(self) -> Asked:
        cursor = self.any({}, {}, {"before": self.of.id()}, {"after": self.of.id()})
        return Asked("feedback", (self.of.target(),), {**cursor, "limit": self.any(None, 0, 1, 2, 100)})

    def on_demonstrations(self) -> Asked:
        return Asked("demonstrations", (self.random.sample(self.of.inferences, 50),), {})

    def on_human_feedback(self) -> Asked:
        of = (self.any(*METRICS), self.one(self.of.datapoints), self.any("[]", "{}"))
        return Asked("human_feedback", of, {})

    def on_datasets(self) -> Asked:
        return Asked("datasets", (), {"function_name": self.any(None, *FUNCTIONS)})

    def on_holdout_accesses(self) -> Asked:
        return Asked("holdout_accesses", (self.any(*DATASETS),), {"limit": self.any(None, 0, 3)})

    def on_count_holdout_accesses(self) -> Asked:
        return Asked("count_holdout_accesses", (self.any(*DATASETS),), {})

    def on_examples(self) -> Asked:
        embedding = tuple(self.random.randrange(-8, 9) / 4 for _ in range(self.any(2, 3)))
        return Asked("examples", (self.any(*FUNCTIONS[:2]), self.any(*VARIANTS), embedding, 100), {})

    def on_count_examples(self) -> Asked:
        return Asked("count_examples", (self.any(*FUNCTIONS[:2]), self.any(*VARIANTS)), {})

    def on_config_snapshot(self) -> Asked:
        return Asked("config_snapshot", (self.any(*self.of.hashes, "unknown"),), {})

    def on_batch_request(self) -> Asked:
        return Asked("batch_request", (self.any(*self.of.batches, self.of.id()),), {})

    def on_batch_inferences(self) -> Asked:
        return Asked("batch_inferences", (self.any(*self.of.batches),), {})

    # -- sums ---------------------------------------------------------------------------------------------

    def on_inference_counts(self) -> Asked:
        query = CountQuery(
            period=self.period(),
            function_name=self.any(None, *FUNCTIONS),
            variant_name=self.any(None, None, *VARIANTS),
        )
        return Asked("inference_counts", (query,), {})

    def on_usage(self) -> Asked:
        query = UsageQuery(
            by=self.any("variant", "model", "provider"),
            period=self.period(),
            function_name=self.any(None, *FUNCTIONS),
            variant_names=self.any(None, self.of.some(VARIANTS)),
            model_name=self.any(None, None, *MODELS),
            model_provider_name=self.any(None, None, *PROVIDERS),
        )
        return Asked("usage", (query,), {})

    def on_latencies(self) -> Asked:
        query = LatencyQuery(
            by=self.any("variant", "model"),
            quantiles=(0.0, 0.01, 0.5, 0.9, 0.999, 1.0),
            period=Period(since=self.instant(), until=self.instant()),
            function_name=self.any(None, *FUNCTIONS),
            variant_names=self.any(None, self.of.some(VARIANTS)),
        )
        return Asked("latencies", (query,), {})

    def on_metric_counts(self) -> Asked:
        return Asked("metric_counts", (self.any(*FUNCTIONS), self.any(None, *VARIANTS)), {})

    def on_scores(self) -> Asked:
        query = ScoreQuery(
            function_name=self.any(*FUNCTIONS),
            metric_name=self.any(*METRICS),
            metric_type=self.any("boolean", "float"),
            level=self.any("inference", "episode"),
            period=self.period(),
            variant_names=self.any(None, self.of.some(VARIANTS)),
        )
        return Asked("scores", (query,), {})

    # -- everything ---------------------------------------------------------------------------------------

    def on_find(self) -> Asked:
        ids = (*self.of.inferences[:12], *self.of.episodes[:12], *self.of.datapoints[:5], *self.of.batches[:1])
        return Asked("find", (self.any(*ids),), {})

    def on_scan(self) -> Asked:
        after = self.any("", str(self.of.id()))
        return Asked("scan", (self.any(*KINDS),), {"after": after, "limit": self.any(1, 10, 1000)})

    # -- parts --------------------------------------------------------------------------------------------

    def any(self, *values: Any) -> Any:
        return self.random.choice(values)

    def one(self, values: list[Any]) -> Any:
        return self.random.choice(values)

    def instant(self) -> datetime | None:
        at = START + timedelta(milliseconds=self.random.randrange(25 * 86_400_000))
        found: datetime | None = self.any(None, None, at, at.replace(hour=0, minute=0, second=0, microsecond=0))
        return found

    def period(self) -> Period:
        window = self.any("minute", "hour", "day", "week", "month", "cumulative")
        return Period(window=window, since=self.instant(), until=self.instant())

    def tagged(self) -> Filter:
        return Tagged(self.any(*TAGS, "late"), self.any("=", "!="), self.any(*VALUES))

    def filter_of_inferences(self, depth: int = 3) -> Filter:
        if depth and self.random.random() < 0.5:
            return self.combined(self.filter_of_inferences, depth)
        level, name = self.any("inference", "episode"), self.any(*METRICS)
        at = datetime.fromtimestamp((self.one(self.of.inferences).int >> 80) / 1000, START.tzinfo)
        found: Filter = self.any(
            BooleanMetric(name, level, self.any(True, False)),
            FloatMetric(name, level, self.any(*COMPARISONS), self.any(0.0, 1.0, -2.5, 50.0)),
            Demonstrated(self.any(True, False)),
            self.tagged(),
            Dated(self.any(*COMPARISONS), at),
        )
        return found

    def filter_of_datapoints(self, depth: int = 3) -> Filter:
        if depth and self.random.random() < 0.5:
            return self.combined(self.filter_of_datapoints, depth)
        at = START + timedelta(seconds=self.random.randrange(20), microseconds=self.any(0, 1))
        found: Filter = self.any(self.tagged(), Dated(self.any(*COMPARISONS), at))
        return found

    def combined(self, part: Callable[[int], Filter], depth: int) -> Filter:
        children = tuple(part(depth - 1) for _ in range(self.random.randint(0, 3)))
        found: Filter = self.any(And(children), Or(children), Not(part(depth - 1)))
        return found

    def orders(self, *, with_metrics: bool) -> tuple[Order, ...]:
        by: list[Order] = [ByTime(self.direction()), ByRelevance(self.direction())]
        if with_metrics:
            of = self.any("inference", "episode"), self.any("boolean", "float")
            by.append(ByMetric(self.any(*METRICS), *of, self.direction()))
        return tuple(self.random.sample(by, self.random.randint(0, 2)))

    def direction(self) -> Direction:
        found: Direction = self.any("ascending", "descending")
        return found

    def inferences(self) -> InferenceQuery:
        cursor = self.any({}, {"before": self.of.id()}, {"after": self.of.id()})
        if not cursor:
            cursor = {"order_by": self.orders(with_metrics=True), "offset": self.any(0, 0, 3)}
        return InferenceQuery(
            ids=self.any(None, None, None, tuple(self.random.sample(self.of.inferences, 150))),
            function_name=self.any(None, *FUNCTIONS),
            variant_name=self.any(None, None, *VARIANTS),
            episode_ids=self.any(None, None, tuple(self.random.sample(self.of.episodes, 20))),
            tags=self.any({}, {}, self.of.tags()),
            filters=self.any(None, self.filter_of_inferences(), self.filter_of_inferences()),
            search=self.any(None, None, *SEARCHES),
            limit=self.any(None, 0, 1, 5, 20),
            **cursor,
        )

    def datapoints(self) -> DatapointQuery:
        return DatapointQuery(
            ids=self.any(None, None, tuple(self.random.sample(self.of.datapoints, 40))),
            dataset_name=self.any(None, *DATASETS),
            function_name=self.any(None, None, None, *FUNCTIONS),
            splits=self.any(None, None, self.of.some(("train", "validation", "test"))),
            content_keys=self.any(None, None, self.of.some(("k1", "k2", "k3"))),
            near_keys=self.any(None, None, self.of.some(NEAR)),
            episode_ids=self.any(None, None, None, tuple(self.of.episodes[:2])),
            filters=self.any(None, self.filter_of_datapoints()),
            search=self.any(None, None, *SEARCHES),
            order_by=self.orders(with_metrics=False),
            limit=self.any(None, 0, 1, 5, 20),
            offset=self.any(0, 0, 2),
        )

    def episodes(self) -> EpisodeQuery:
        cursor = self.any({}, {"before": self.one(self.of.episodes)}, {"after": self.one(self.of.episodes)})
        return EpisodeQuery(
            function_name=self.any(None, *FUNCTIONS),
            filters=self.any(None, self.filter_of_inferences()),
            limit=self.any(None, 0, 1, 5, 20),
            **cursor,
        )
