"""Ways to the collector: one for each set of headers and resource attributes that requests ask for."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Thread
from time import monotonic
from typing import Final

from headrace.contracts import Clock
from headrace.tracing import Custom
from opentelemetry.sdk.environment_variables import OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Tracer

MAX_EXPORTS: Final = 32
IDLE_S: Final = 3600.0
CLOSE_WITHIN_S: Final = 10.0
_SCOPE: Final = "tensorzero"
_SERVICE: Final = "tensorzero-gateway"

Key = tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]


class Export:
    """One way. It is closed when it is no longer wanted and the last span on it has ended."""

    def __init__(self, exporter: SpanExporter, resource: Mapping[str, str]) -> None:
        self._provider = TracerProvider(resource=_resource(resource), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer: Tracer = self._provider.get_tracer(_SCOPE)
        self.used_at = 0.0
        self.closing: Thread | None = None
        self._open = 0
        self._is_wanted = True

    def began(self) -> None:
        """Count a span."""
        self._open += 1

    def ended(self) -> None:
        """Count it off."""
        self._open -= 1
        self._close_if_done()

    def drop(self) -> None:
        """It is no longer wanted: flush and close it as soon as its spans have ended."""
        self._is_wanted = False
        self._close_if_done()

    def close(self) -> Thread:
        """Flush and close it now, in a thread, which may take until a collector that is away has been given up."""
        if self.closing is None:
            # The SDK shuts down by blocking. A daemon, so that it never holds up the end of the process.
            self.closing = Thread(target=self._provider.shutdown, name="headrace-otlp-close", daemon=True)
            self.closing.start()
        return self.closing

    def _close_if_done(self) -> None:
        if not self._is_wanted and not self._open:
            self.close()


class Exports:
    """The ways in use, the least recently used first; beyond 32, and after an hour without use, they are closed."""

    def __init__(self, exporter: Callable[[Mapping[str, str]], SpanExporter], clock: Clock) -> None:
        self._exporter = exporter
        self._clock = clock
        self._plain = Export(exporter({}), {})
        self._custom: OrderedDict[Key, Export] = OrderedDict()
        self._dropped: list[Export] = []

    def of(self, custom: Custom) -> Export:
        """The way for what one request wants. What it wants of spans needs no way of its own."""
        if not (custom.headers or custom.resource):
            return self._plain
        now = self._clock.perf()
        key = (tuple(sorted(custom.headers.items())), tuple(sorted(custom.resource.items())))
        export = self._custom.pop(key, None)
        while self._custom and (len(self._custom) >= MAX_EXPORTS or self._first.used_at < now - IDLE_S):
            self._drop(self._custom.popitem(last=False)[1])
        if export is None:
            export = Export(self._exporter(custom.headers), custom.resource)
        export.used_at = now
        self._custom[key] = export
        return export

    def close(self) -> bool:
        """Flush and close all of them, blocking, within a bound; False if that was not enough."""
        threads = [export.close() for export in (self._plain, *self._custom.values(), *self._dropped)]
        deadline = monotonic() + CLOSE_WITHIN_S
        for thread in threads:
            thread.join(max(0.0, deadline - monotonic()))
        return not any(thread.is_alive() for thread in threads)

    @property
    def _first(self) -> Export:
        return next(iter(self._custom.values()))

    def _drop(self, export: Export) -> None:
        self._dropped = [each for each in self._dropped if each.closing is None or each.closing.is_alive()]
        self._dropped.append(export)
        export.drop()


def _resource(attributes: Mapping[str, str]) -> Resource:
    """The gateway's name is TensorZero's, as dashboards know it, unless the environment gives another."""
    named = os.environ.get(OTEL_SERVICE_NAME) or f"{SERVICE_NAME}=" in os.environ.get(OTEL_RESOURCE_ATTRIBUTES, "")
    return Resource.create(({} if named else {SERVICE_NAME: _SERVICE}) | dict(attributes))
