"""The tracer against collectors on real sockets: what arrives, what is kept apart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from collector import Collected, grpc_collector, http_collector
from headrace import plugins
from headrace.conformance.script import Script, SetClock, services
from headrace.contracts import Tracer
from headrace.errors import ConfigError
from headrace.tracing import NOTHING_CUSTOM, Custom
from headrace_otlp import Settings
from headrace_otlp.exports import IDLE_S, MAX_EXPORTS, Exports
from headrace_otlp.tracer import OtlpTracer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

pytestmark = pytest.mark.anyio

ROOT = {"a": "b"}


@pytest.fixture(params=["grpc", "http/protobuf"])
def protocol(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def collected(protocol: str) -> Iterator[Collected]:
    with collector(protocol) as found:
        yield found


def collector(protocol: str) -> AbstractContextManager[Collected]:
    return grpc_collector() if protocol == "grpc" else http_collector()


def tracer(url: str, protocol: str = "grpc", **headers: str) -> OtlpTracer:
    return OtlpTracer(url, protocol, headers, clock=SetClock())


async def test_spans_arrive_as_a_tree_with_their_status(collected: Collected, protocol: str) -> None:
    async with tracer(collected.url, protocol, team="blue") as made:
        root = made.root("root", ROOT, context={}, custom=NOTHING_CUSTOM)
        child = made.child("child", {"n": 1, "f": 0.5, "b": True}, root)
        child.event("something happened", {"level": "ERROR"})
        child.end("it broke")
        made.child("dropped", {}, root).discard()
        root.set({"c": "d"})
        root.end()
    assert collected.trees() == [("root", "child!")]
    first, second = collected.one("root"), collected.one("child")
    assert (first.kind, first.attributes, first.message) == ("SERVER", {"a": "b", "c": "d"}, "")
    assert (second.kind, second.attributes, second.message) == ("INTERNAL", {"n": 1, "f": 0.5, "b": True}, "it broke")
    assert second.events == ["something happened"]
    assert (first.scope, first.resource["service.name"]) == ("tensorzero", "tensorzero-gateway")
    assert first.metadata["team"] == "blue"


async def test_what_protobuf_cannot_hold_costs_no_batch(collected: Collected, protocol: str) -> None:
    async with tracer(collected.url, protocol) as made:
        root = made.root(
            "root",
            {"\udfff": "\ud83d", "n": 2**70, "nul": "\0", "long": "x" * 100_000},
            context={},
            custom=NOTHING_CUSTOM,
        )
        root.event("\ud800", {})
        root.end("\ud800")
    said = collected.one("root").attributes
    assert (said["?"], said["n"], said["nul"], len(said["long"])) == ("?", str(2**70), "\0", 100_000)


async def test_a_trace_context_comes_in_and_goes_out() -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with grpc_collector() as collected:
        async with tracer(collected.url) as made:
            came = {"traceparent": f"00-{trace}-{parent}-01", "tracestate": "a=1"}
            root = made.root("root", {}, context=came, custom=NOTHING_CUSTOM)
            child = made.child("child", {}, root)
            goes = child.headers()
            child.end()
            root.end()
            made.root("bad", {}, context={"traceparent": "nonsense"}, custom=NOTHING_CUSTOM).end()
            unsampled = {"traceparent": f"00-{trace}-{parent}-00"}
            made.root("unsampled", {}, context=unsampled, custom=NOTHING_CUSTOM).end()
    assert goes == {"traceparent": f"00-{trace}-{collected.one('child').id}-01", "tracestate": "a=1"}
    assert (collected.one("root").trace, collected.one("root").parent) == (trace, parent)
    assert collected.one("bad").trace != trace
    assert collected.named("unsampled") == []


async def test_headers_and_resources_of_a_request_are_for_its_trace_alone(collected: Collected, protocol: str) -> None:
    async with tracer(collected.url, protocol, both="static") as made:
        for number in range(3):
            custom = Custom({"both": f"mine {number}"}, {"room": str(number)}, {"n": f"a{number}"})
            root = made.root(f"root {number}", {}, context={}, custom=custom)
            made.child(f"child {number}", {}, root).end()
            root.end()
        made.root("plain", {}, context={}, custom=NOTHING_CUSTOM).end()
    for number in range(3):
        for span in (collected.one(f"root {number}"), collected.one(f"child {number}")):
            assert span.metadata["both"] == f"mine {number}"
            assert (span.resource["room"], span.attributes["n"]) == (str(number), f"a{number}")
    assert collected.one("plain").metadata["both"] == "static"


class Watched:
    """Exporters that can be asked whether they have been shut down, by the header that they were made for."""

    def __init__(self) -> None:
        self.made: dict[str, _Exporter] = {}

    def __call__(self, headers: object) -> _Exporter:
        name = dict(headers).get("n", "plain")  # type: ignore[call-overload]
        self.made[name] = _Exporter()
        return self.made[name]


class _Exporter(InMemorySpanExporter):
    def __init__(self) -> None:
        super().__init__()
        self.is_shut = False

    def shutdown(self) -> None:
        self.is_shut = True


def test_the_least_recently_used_way_is_flushed_and_closed_once_its_spans_have_ended() -> None:
    watched, clock = Watched(), SetClock()
    exports = Exports(watched, clock)
    first = exports.of(Custom({"n": "0"}))
    span = first.tracer.start_span("long")
    first.began()
    for number in range(1, MAX_EXPORTS + 1):
        exports.of(Custom({"n": str(number)}))
    assert first.closing is None  # a span is still on its way
    span.end()
    first.ended()
    assert first.closing is not None
    first.closing.join()
    assert watched.made["0"].is_shut
    assert [each.name for each in watched.made["0"].get_finished_spans()] == ["long"]
    assert exports.of(Custom({"n": "5"})) is exports.of(Custom({"n": "5"}, {}, {"attribute": "x"}))
    clock.advance(IDLE_S + 1)
    last = exports.of(Custom({"n": "again"}))
    assert exports.close()
    assert all(exporter.is_shut for exporter in watched.made.values())
    assert last is not first


async def test_a_collector_that_is_away_does_not_hold_up_the_end() -> None:
    began = time.monotonic()
    async with tracer("http://127.0.0.1:9") as made:
        made.root("lost", {}, context={}, custom=NOTHING_CUSTOM).end()
    assert time.monotonic() - began < 15


async def test_the_environment_names_the_service_and_adds_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "site=basel")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-a=1,x-b=2")
    with grpc_collector() as collected:
        async with tracer(collected.url, **{"x-b": "3"}) as made:
            made.root("root", {}, context={}, custom=NOTHING_CUSTOM).end()
    root = collected.one("root")
    assert (root.resource["service.name"], root.resource["site"]) == ("mine", "basel")
    assert (root.metadata["x-a"], root.metadata["x-b"]) == ("1", "3")


async def test_an_environment_that_cannot_be_is_told_at_start_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9999999")
    with pytest.raises(ConfigError, match="traces cannot be exported to 'http://x'"):
        tracer("http://x")


def test_the_plugin_offers_a_tracer() -> None:
    factory = plugins.load().get("tracer", "otlp", where="")
    made: Tracer = factory.build(factory.config(endpoint="http://127.0.0.1:9"), services(Script()))
    assert isinstance(made, OtlpTracer)
    assert Settings(endpoint="x").protocol == "grpc"
