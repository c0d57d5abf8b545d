"""The gateway's own counters, exposed as Prometheus text. The only module that imports prometheus_client."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from . import counting

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

Labels = counting.Labels


class Telemetry(Collector):
    """Plain numbers, so that counting costs a dict's worth on a request's path.

    Samples of one family may carry different labels (spec/observability.md 1.3), which the library's own
    Counter cannot do; hence a Collector. With ``share`` the page is that of all workers, dead ones too.
    """

    def __init__(self) -> None:
        self.counts = counting.Counts()
        self._watched: dict[str, Callable[[], int]] = {}
        self._earlier: dict[str, float] = {}  # what a process before us has left of the watched totals
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def share(self, board: int, lane: int) -> None:
        """Count where other workers can read it: in this lane of the file ``board`` (``counting.Board``)."""
        self.counts.share(board, lane)
        for name in self._watched:
            slot = self.counts.slot(name)
            self._earlier[name] = self.counts.values[slot] if _WATCHED[name][0] is CounterMetricFamily else 0
        self.refresh()

    def inference(self, function_name: str, model_name: str | None = None) -> None:
        """Count one request for one inference."""
        labels: Labels = (("endpoint", "inference"), ("function_name", function_name))
        if model_name is not None:
            labels = (*labels, ("model_name", model_name))
        self.counts.add("tensorzero_requests", labels, 1)
        self.counts.add("tensorzero_inferences", labels, 1)

    def batch(self, function_name: str, inputs: int) -> None:
        """Count one request for a batch of ``inputs`` inferences."""
        labels: Labels = (("endpoint", "batch_inference"), ("function_name", function_name))
        self.counts.add("tensorzero_requests", labels, 1)
        self.counts.add("tensorzero_inferences", labels, inputs)

    def embeddings(self, model_name: str, inputs: int) -> None:
        """Count one request for ``inputs`` embeddings."""
        labels: Labels = (("endpoint", "embeddings"), ("model_name", model_name))
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

    def page(self) -> bytes:
        """The text of ``GET /metrics``."""
        return generate_latest(self._registry)
