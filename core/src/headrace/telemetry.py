"""The gateway's own counters, exposed as Prometheus text. The only module that imports prometheus_client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_HELP = {
    "tensorzero_requests": "Requests handled by TensorZero",
    "tensorzero_inferences": "Inferences performed by TensorZero",
    "tensorzero_input_tokens": "Input tokens consumed by TensorZero inferences",
    "tensorzero_output_tokens": "Output tokens consumed by TensorZero inferences",
    "headrace_records_dropped": "Records that could not be kept after every retry",
}

# What somebody else counts: a total that only grows, or how many there are just now.
_WATCHED: dict[str, tuple[type[CounterMetricFamily | GaugeMetricFamily], str]] = {
    "headrace_records_spilled": (CounterMetricFamily, "Records that went to the local disk while the store was away"),
    "headrace_records_waiting": (GaugeMetricFamily, "Records that are not in the store yet"),
}

Labels = tuple[tuple[str, str], ...]


class Telemetry(Collector):
    """Plain counters, so that counting costs a dict's worth on a request's path.

    Samples of one family may carry different labels (spec/observability.md 1.3), which the library's own
    Counter cannot do; hence a Collector.
    """

    def __init__(self) -> None:
        self._counts: dict[str, Counter[Labels]] = {name: Counter() for name in _HELP}
        self._watched: dict[str, Callable[[], int]] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def inference(self, function_name: str, model_name: str | None = None) -> None:
        """Count one request for one inference."""
        labels: Labels = (("endpoint", "inference"), ("function_name", function_name))
        if model_name is not None:
            labels = (*labels, ("model_name", model_name))
        self._counts["tensorzero_requests"][labels] += 1
        self._counts["tensorzero_inferences"][labels] += 1

    def batch(self, function_name: str, inputs: int) -> None:
        """Count one request for a batch of ``inputs`` inferences."""
        labels: Labels = (("endpoint", "batch_inference"), ("function_name", function_name))
        self._counts["tensorzero_requests"][labels] += 1
        self._counts["tensorzero_inferences"][labels] += inputs

    def embeddings(self, model_name: str, inputs: int) -> None:
        """Count one request for ``inputs`` embeddings."""
        labels: Labels = (("endpoint", "embeddings"), ("model_name", model_name))
        self._counts["tensorzero_requests"][labels] += 1
        self._counts["tensorzero_inferences"][labels] += inputs

    def feedback(self, metric_name: str) -> None:
        """Count one piece of feedback."""
        self._counts["tensorzero_requests"][(("endpoint", "feedback"), ("metric_name", metric_name))] += 1

    def tokens(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """Count the tokens that a provider reported."""
        if input_tokens is not None:
            self._counts["tensorzero_input_tokens"][()] += input_tokens
        if output_tokens is not None:
            self._counts["tensorzero_output_tokens"][()] += output_tokens

    def dropped(self, records: int) -> None:
        """Count records lost."""
        self._counts["headrace_records_dropped"][()] += records

    def watch(self, name: str, count: Callable[[], int]) -> None:
        """Ask for one of ``_WATCHED`` whenever somebody reads the page."""
        self._watched[name] = count

    def collect(self) -> Iterator[Metric]:
        """The families that have a sample."""
        for name, counts in self._counts.items():
            if counts:
                family = CounterMetricFamily(name, _HELP[name])
                for labels, value in counts.items():
                    family.add_sample(f"{name}_total", dict(labels), value)
                yield family
        for name, count in self._watched.items():
            kind, text = _WATCHED[name]
            yield kind(name, text, value=count())

    def page(self) -> bytes:
        """The text of ``GET /metrics``."""
        return generate_latest(self._registry)
