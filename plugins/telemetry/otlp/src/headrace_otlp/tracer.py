"""headrace's tracer on the OpenTelemetry SDK."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Final

from anyio import to_thread
from headrace.contracts import Clock
from headrace.errors import ConfigError
from headrace.tracing import NOTHING_CUSTOM, Attribute, Attributes, Custom, Span
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.environment_variables import OTEL_EXPORTER_OTLP_HEADERS, OTEL_EXPORTER_OTLP_TRACES_HEADERS
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.re import parse_env_headers

from .exports import CLOSE_WITHIN_S, Export, Exports

log = logging.getLogger(__name__)

_W3C: Final = TraceContextTextMapPropagator()
_OK: Final = Status(StatusCode.OK)
_INT64: Final = 2**63


class OtlpTracer:
    """Spans go to a collector in batches, from a thread of the SDK's. Raise ConfigError for settings that cannot be."""

    def __init__(self, endpoint: str, protocol: str, extra_headers: Mapping[str, str], *, clock: Clock) -> None:
        self._endpoint = endpoint
        self._protocol = protocol
        configured = os.environ.get(OTEL_EXPORTER_OTLP_TRACES_HEADERS) or os.environ.get(OTEL_EXPORTER_OTLP_HEADERS, "")
        self._headers = {**parse_env_headers(configured, liberal=True), **extra_headers}
        try:
            self._exports = Exports(self._exporter, clock)
        except Exception as error:  # whatever of OTEL_* the SDK or gRPC cannot use, each with an error of its own
            raise ConfigError(f"traces cannot be exported to {endpoint!r}: {type(error).__name__}: {error}") from error

    async def __aenter__(self) -> OtlpTracer:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Send what is left."""
        if not await to_thread.run_sync(self._exports.close):
            log.warning("traces could not all be sent to %s within %g s", self._endpoint, CLOSE_WITHIN_S)

    def root(self, name: str, attributes: Attributes, *, context: Mapping[str, str], custom: Custom) -> Span:
        """The span of one request."""
        export = self._exports.of(custom)
        parent = _W3C.extract(context, Context()) if context else Context()
        return _Span(export, name, attributes, parent, custom, SpanKind.SERVER)

    def child(self, name: str, attributes: Attributes, parent: Span) -> Span:
        """A span inside another one."""
        assert isinstance(parent, _Span)
        return _Span(parent.export, name, attributes, parent.context, parent.custom, SpanKind.INTERNAL)

    def _exporter(self, headers: Mapping[str, str]) -> SpanExporter:
        headers = {**self._headers, **headers}
        if self._protocol == "grpc":
            return GrpcExporter(endpoint=self._endpoint, headers=headers)
        return HttpExporter(endpoint=self._endpoint, headers=headers)


class _Span:
    """A span of the SDK's, and what its children need to know."""

    __slots__ = ("_span", "context", "custom", "export")

    def __init__(
        self, export: Export, name: str, attributes: Attributes, parent: Context, custom: Custom, kind: SpanKind
    ) -> None:
        self.export = export
        self.custom = custom
        said = _clean(attributes if custom is NOTHING_CUSTOM else {**attributes, **custom.attributes})
        self._span = export.tracer.start_span(name, parent, kind, said)
        self.context = trace.set_span_in_context(self._span, Context())
        export.began()

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(_clean(attributes))

    def event(self, name: str, attributes: Attributes) -> None:
        self._span.add_event(_clean_text(name), _clean(attributes))

    def headers(self) -> Mapping[str, str]:
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, self.context)
        return carrier

    def end(self, error: str | None = None) -> None:
        self._span.set_status(_OK if error is None else Status(StatusCode.ERROR, _clean_text(error)))
        self._span.end()
        self.export.ended()

    def discard(self) -> None:
        """One that has not ended is not exported."""
        self.export.ended()


def _clean(attributes: Attributes) -> dict[str, Attribute]:
    """What protobuf takes: it refuses a whole batch of spans for one text or number that it cannot hold."""
    return {_clean_text(name): _clean_value(value) for name, value in attributes.items()}


def _clean_value(value: Attribute) -> Attribute:
    if isinstance(value, str):
        return _clean_text(value)
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return str(value)
    return value


def _clean_text(text: str) -> str:
    """Without halves of surrogate pairs, which are no characters."""
    return text if text.isascii() else text.encode(errors="replace").decode()
