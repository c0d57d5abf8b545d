"""A collector of traces as gateways see it: OTLP over gRPC and over HTTP, both on real sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status


@dataclass
class Seen:
    """A span as it arrived, with what came around it."""

    name: str
    id: str
    parent: str
    trace: str
    attributes: dict[str, Any]
    status: str
    message: str
    kind: str
    began: int
    ended: int
    resource: dict[str, Any]
    scope: str
    metadata: dict[str, str]
    events: list[str] = field(default_factory=list)


class Collected:
    """Every span so far. ``url`` is where they are to be sent."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Seen] = []
        self.exports: list[dict[str, str]] = []

    def take(self, request: messages.ExportTraceServiceRequest, metadata: Mapping[str, str]) -> None:
        self.exports.append(dict(metadata))
        for of_resource in request.resource_spans:
            resource = _values(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    self.spans.append(_seen(span, resource, of_scope.scope.name, dict(metadata)))

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Seen:
        (span,) = self.named(name)
        return span

    def trees(self) -> list[Any]:
        """Each trace as ``name`` or ``(name, children)``, spans in the order in which they began."""
        known = {span.id for span in self.spans}
        return [self._tree(span) for span in self._ordered() if span.parent not in known]

    def _tree(self, span: Seen) -> Any:
        children = [self._tree(each) for each in self._ordered() if each.parent == span.id]
        name = span.name if span.status == "OK" else f"{span.name}!"
        return (name, *children) if children else name

    def _ordered(self) -> list[Seen]:
        return sorted(self.spans, key=lambda span: span.began)


def _seen(span: WireSpan, resource: dict[str, Any], scope: str, metadata: dict[str, str]) -> Seen:
    return Seen(
        name=span.name,
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        trace=span.trace_id.hex(),
        attributes=_values(span.attributes),
        status=Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        message=span.status.message,
        kind=WireSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        resource=resource,
        scope=scope,
        metadata=metadata,
        events=[event.name for event in span.events],
    )


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs if isinstance(pair, KeyValue)}


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")


class _Service(services.TraceServiceServicer):
    def __init__(self, collected: Collected) -> None:
        self._collected = collected

    def Export(self, request: Any, context: Any) -> Any:
        self._collected.take(request, {key: str(value) for key, value in context.invocation_metadata()})
        return messages.ExportTraceServiceResponse()


@contextmanager
def grpc_collector() -> Iterator[Collected]:
    """One that speaks gRPC."""
    collected = Collected()
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        services.add_TraceServiceServicer_to_server(_Service(collected), server)  # type: ignore[no-untyped-call]
        collected.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield collected
        finally:
            server.stop(None).wait()


@contextmanager
def http_collector() -> Iterator[Collected]:
    """One that speaks protobuf over HTTP."""
    collected = Collected()

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            assert self.path == "/v1/traces"
            request = messages.ExportTraceServiceRequest.FromString(body)
            collected.take(request, {key.lower(): value for key, value in self.headers.items()})
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        collected.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
        try:
            yield collected
        finally:
            server.shutdown()
            thread.join()
