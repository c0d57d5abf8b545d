"""The gateway's own counters, exposed as Prometheus text. The only module that imports prometheus_client."""

from __future__ import annotations

import math
import platform
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from . import counting
from .contracts import Attempt
from .types import Usage

_HELP = {
    "tensorzero_requests": "Requests handled by TensorZero",
    "tensorzero_inferences": "Inferences performed by TensorZero",
    "tensorzero_input_tokens": "Input tokens consumed by TensorZero inferences",
    "tensorzero_output_tokens": "Output tokens consumed by TensorZero inferences",
    "headrace_records_dropped": "Records that could not be kept after every retry",
    "headrace_model_errors": "Calls of a provider that failed, by kind of error",
    "headrace_model_input_tokens": "Input tokens that a model's provider reported",
    "headrace_model_output_tokens": "Output tokens that a model's provider reported",
    "headrace_model_cost_dollars": "What calls of a model's provider cost, as far as prices are known",
    "headrace_cache_hits": "Model calls answered from the cache",
    "headrace_cache_misses": "Model calls that were looked for in the cache and not found",
    "headrace_rate_limit_refusals": "Model calls refused by rate limits of the configuration",
}

_OVERHEAD = "tensorzero_inference_latency_overhead_seconds"
_REQUEST, _MODEL_CALL, _FIRST_PIECE = (
    "headrace_request_duration_seconds",
    "headrace_model_call_duration_seconds",
    "headrace_model_first_piece_seconds",
)
_HISTOGRAMS = {
    _OVERHEAD: "Overhead of TensorZero on HTTP requests. Its buckets are "
    f"`gateway.metrics.{_OVERHEAD}_buckets` of the configuration",
    _REQUEST: "Requests, from their arrival until the last byte of the answer is sent",
    _MODEL_CALL: "Calls of a provider, until the end of the answer or the failure",
    _FIRST_PIECE: "Streamed calls of a provider, until the first piece that says something",
}
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

# Where no buckets are configured there is a summary. Its quantiles come of these, each 10 % above the one before, as
# they can be added up over workers.
_FINE = tuple(1e-6 * 1.1**step for step in range(220))
_QUANTILES = (0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0)

# Models called by short name are as many as callers think of. Beyond so many, and as long as no call of one has
# succeeded, they are counted together. TensorZero's families have names as they were sent, up to so many.
_MOST_SHORT_NAMES = 200
_MOST_NAMES = 1000
_OTHER = "other"

# What somebody else counts: a total that only grows, or how many there are just now.
_WATCHED: dict[str, tuple[type[CounterMetricFamily | GaugeMetricFamily], str]] = {
    "headrace_records_spilled": (CounterMetricFamily, "Records that went to the local disk while the store was away"),
    "headrace_records_waiting": (GaugeMetricFamily, "Records that are not in the store yet"),
    "headrace_requests_in_flight": (GaugeMetricFamily, "Requests under way"),
    "headrace_streams_in_flight": (GaugeMetricFamily, "Streams under way"),
}

Labels = counting.Labels


class Telemetry(Collector):
    """Plain numbers, so that counting costs a dict's worth on a request's path.

    Samples of one family may carry different labels (spec/observability.md 1.3), which the library's own
    Counter cannot do; hence a Collector. With ``share`` the page is that of all workers, dead ones too.
    """

    def __init__(self, overhead_buckets: Sequence[float] = (0.001, 0.01, 0.1)) -> None:
        """``overhead_buckets`` are upper bounds in seconds; without any, that family is a summary."""
        self.version = ""  # what the page says of the build, if anything
        self._overhead_bounds = tuple(overhead_buckets)
        self.counts = counting.Counts()
        self._names: set[str] = set()
        self._short_names = 0
        self._inferences: dict[tuple[str, str | None], tuple[int, int]] = {}
        self._models: dict[tuple[str, str], _Model] = {}
        self._requests: dict[tuple[str, str, int], counting.Histogram] = {}
        self._overheads: dict[tuple[str | None, str | None], counting.Histogram] = {}
        self._watched: dict[str, Callable[[], int]] = {}
        self._earlier: dict[str, float] = {}  # what a process before us has left of the watched totals
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def share(self, board: int, lane: int) -> None:
        """Count where other workers can read it: in this lane of the file ``board`` (``counting.Board``)."""
        self.counts.share(board, lane)
        for series in (self._inferences, self._models, self._requests, self._overheads):
            series.clear()  # they know where their numbers were
        self._short_names = 0
        for name in self._watched:
            slot = self.counts.slot(name)
            self._earlier[name] = self.counts.values[slot] if _WATCHED[name][0] is CounterMetricFamily else 0
        self.refresh()

    def inference(self, function_name: str, model_name: str | None = None) -> None:
        """Count one request for one inference."""
        key = function_name, model_name
        slots = self._inferences.get(key)
        if slots is None:
            labels: Labels = (("endpoint", "inference"), ("function_name", function_name))
            if model_name is not None:
                labels = (*labels, ("model_name", self._bounded(model_name)))
            slots = self.counts.slot("tensorzero_requests", labels), self.counts.slot("tensorzero_inferences", labels)
            if len(self._inferences) < _MOST_NAMES:
                self._inferences[key] = slots
        self.counts.values[slots[0]] += 1
        self.counts.values[slots[1]] += 1

    def batch(self, function_name: str, inputs: int) -> None:
        """Count one request for a batch of ``inputs`` inferences."""
        labels: Labels = (("endpoint", "batch_inference"), ("function_name", function_name))
        self.counts.add("tensorzero_requests", labels, 1)
        self.counts.add("tensorzero_inferences", labels, inputs)

    def embeddings(self, model_name: str, inputs: int) -> None:
        """Count one request for ``inputs`` embeddings."""
        labels: Labels = (("endpoint", "embeddings"), ("model_name", self._bounded(model_name)))
        self.counts.add("tensorzero_requests", labels, 1)
        self.counts.add("tensorzero_inferences", labels, inputs)

    def feedback(self, metric_name: str) -> None:
        """Count one piece of feedback."""
        self.counts.add("tensorzero_requests", (("endpoint", "feedback"), ("metric_name", metric_name)), 1)

    def tokens(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """Count the tokens that a provider reported."""
        if input_tokens is not None:
            self.counts.add("tensorzero_input_tokens", (), input_tokens)
        if output_tokens is not None:
            self.counts.add("tensorzero_output_tokens", (), output_tokens)

    def attempt(self, attempt: Attempt, *, relayed: bool = False) -> None:
        """Count one call of a provider, once it is over. What was ``relayed``, whoever ran it counts as tokens."""
        usage, failure = attempt.usage, attempt.failure
        if not relayed:
            self.tokens(usage.input_tokens, usage.output_tokens)
        if failure == "rate_limit_exceeded":
            self.counts.add("headrace_rate_limit_refusals", (), 1)
            return
        model = self._models.get((attempt.model_name, attempt.provider_name)) or self._model(attempt)
        if attempt.request.cache.reads:
            name = "headrace_cache_hits" if attempt.cached else "headrace_cache_misses"
            self.counts.add(name, model.labels, 1)
        if attempt.cached:
            return
        if attempt.response_time_ms is not None:
            model.duration.observe(attempt.response_time_ms / 1000)
        if attempt.ttft_ms is not None:
            model.first_piece.observe(attempt.ttft_ms / 1000)
        if failure is not None:
            self.counts.add("headrace_model_errors", (*model.labels, ("kind", failure)), 1)
        model.used(usage)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; ``route`` is a pattern and ``method`` one that it has, so that they are few."""
        key = method, route, status // 100
        series = self._requests.get(key)
        if series is None:
            labels = (("method", method), ("route", route), ("status", f"{key[2]}xx"))
            series = self._requests[key] = counting.Histogram(self.counts, _REQUEST, labels, _SECONDS)
        series.observe(seconds)

    def overhead(self, function_name: str | None, variant_name: str | None, seconds: float) -> None:
        """Count what one inference took beyond its calls of upstreams."""
        key = function_name, variant_name
        series = self._overheads.get(key)
        if series is None:
            found = (("function_name", function_name), ("variant_name", variant_name))
            labels = tuple((name, value) for name, value in found if value is not None)
            bounds = self._overhead_bounds or _FINE
            series = self._overheads[key] = counting.Histogram(self.counts, _OVERHEAD, labels, bounds)
        series.observe(seconds)

    def _model(self, attempt: Attempt) -> _Model:
        """The series of a model that has none yet."""
        model, provider = attempt.model_name, attempt.provider_name
        if "::" in model:
            if attempt.error is not None or self._short_names >= _MOST_SHORT_NAMES:
                model, provider = _OTHER, _OTHER
            else:
                self._short_names += 1
        key = model, provider
        found = self._models.get(key)
        if found is None:
            found = self._models[key] = _Model(self.counts, (("model_name", model), ("provider_name", provider)))
        return found

    def _bounded(self, model_name: str) -> str:
        """The name as it was sent, unless there have been too many."""
        if len(self._names) < _MOST_NAMES:
            self._names.add(model_name)
        return model_name if model_name in self._names else _OTHER

    def dropped(self, records: int) -> None:
        """Count records lost."""
        self.counts.add("headrace_records_dropped", (), records)

    def watch(self, name: str, count: Callable[[], int]) -> None:
        """Ask for one of ``_WATCHED`` whenever somebody reads the page."""
        self._watched[name] = count

    def refresh(self) -> None:
        """Ask for what is watched now; a worker does so every second, for the pages that others give."""
        for name, count in self._watched.items():
            self.counts.values[self.counts.slot(name)] = self._earlier.get(name, 0) + count()

    def collect(self) -> Iterator[Metric]:
        """The families that have a sample."""
        self.refresh()
        sums = counting.merged(
            (name, labels, value)
            for name, labels, value, is_alive in self.counts.everywhere()
            if is_alive or name not in _WATCHED or _WATCHED[name][0] is CounterMetricFamily
        )
        for name, help_ in _HELP.items():
            if name in sums:
                family = CounterMetricFamily(name, help_)
                for labels, value in sums[name].items():
                    family.add_sample(f"{name}_total", dict(labels), value)
                yield family
        for name, (kind, help_) in _WATCHED.items():
            if name in sums:
                yield kind(name, help_, value=sums[name][()])
        for name, help_ in _HISTOGRAMS.items():
            if name in sums:
                buckets, totals = _buckets(sums[name]), sums[f"{name}_sum"]
                if name == _OVERHEAD and not self._overhead_bounds:
                    yield _summary(name, buckets, totals)
                else:
                    bounds = self._overhead_bounds if name == _OVERHEAD else _SECONDS
                    yield _histogram(HistogramMetricFamily(name, help_), bounds, buckets, totals)
        if self.version:
            about = {"version": self.version, "python": platform.python_version()}
            build = GaugeMetricFamily("headrace_build_info", "Which build this is", labels=list(about))
            build.add_metric(list(about.values()), 1)
            yield build

    def page(self) -> bytes:
        """The text of ``GET /metrics``."""
        page = generate_latest(self._registry)
        # A summary has no HELP (spec/observability.md 1.4), which the library cannot leave out.
        return page if self._overhead_bounds else page.replace(f"# HELP {_OVERHEAD} \n".encode(), b"")


class _Model:
    """The series of one provider of a model."""

    __slots__ = ("counts", "duration", "first_piece", "input_tokens", "labels", "output_tokens")

    def __init__(self, counts: counting.Counts, labels: Labels) -> None:
        self.counts = counts
        self.labels = labels
        self.duration = counting.Histogram(counts, _MODEL_CALL, labels, _SECONDS)
        self.first_piece = counting.Histogram(counts, _FIRST_PIECE, labels, _SECONDS)
        self.input_tokens = counts.slot("headrace_model_input_tokens", labels)
        self.output_tokens = counts.slot("headrace_model_output_tokens", labels)

    def used(self, usage: Usage) -> None:
        """Count what a call has used, as far as it is known."""
        values = self.counts.values
        if usage.input_tokens:
            values[self.input_tokens] += usage.input_tokens
        if usage.output_tokens:
            values[self.output_tokens] += usage.output_tokens
        if usage.cost:
            self.counts.add("headrace_model_cost_dollars", self.labels, float(usage.cost))


_Buckets = Mapping[Labels, Mapping[float, float]]


def _buckets(samples: Mapping[Labels, float]) -> _Buckets:
    """How many fell into each bucket, by upper bound, for each set of labels."""
    found: defaultdict[Labels, dict[float, float]] = defaultdict(dict)
    for labels, value in samples.items():
        found[labels[:-1]][float(labels[-1][1])] = value
    return found


def _histogram(family: Metric, bounds: Sequence[float], buckets: _Buckets, totals: Mapping[Labels, float]) -> Metric:
    """Buckets add up. Every series has all of them, also those of a configuration before this one."""
    name = family.name
    bounds = sorted({math.inf, *bounds, *(bound for counts in buckets.values() for bound in counts)})
    for labels, counts in buckets.items():
        count = 0.0
        for bound in bounds:
            count += counts.get(bound, 0)
            family.add_sample(
                f"{name}_bucket", {**dict(labels), "le": "+Inf" if bound == math.inf else str(bound)}, count
            )
        family.add_sample(f"{name}_count", dict(labels), count)
        family.add_sample(f"{name}_sum", dict(labels), totals[labels])
    return family


def _summary(name: str, buckets: _Buckets, totals: Mapping[Labels, float]) -> Metric:
    """Quantiles of all there has been, to within 5 %."""
    family = SummaryMetricFamily(name, "")
    for labels, counts in buckets.items():
        count = sum(counts.values())
        for quantile in _QUANTILES:
            family.add_sample(name, {**dict(labels), "quantile": str(quantile)}, _quantile(counts, quantile * count))
        family.add_sample(f"{name}_sum", dict(labels), totals[labels])
        family.add_sample(f"{name}_count", dict(labels), count)
    return family


def _quantile(counts: Mapping[float, float], rank: float) -> float:
    """The middle of the bucket in which the number of this rank is."""
    passed = 0.0
    for bound in sorted(counts):
        passed += counts[bound]
        if passed >= rank and passed:
            break
    return min(bound, _FINE[-1]) / math.sqrt(1.1)
