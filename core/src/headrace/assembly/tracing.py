"""Whether requests are traced, and the parts of a gateway that then stand in place of the plain ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import TracesTable
from ..contracts import Clock, Model, Tracer, Variant
from ..gateway import Gateway
from ..models import RoutedModel
from ..relays import RelayedModel
from ..traced import (
    TracedGateway,
    TracedModel,
    TracedPart,
    TracedRelayedModel,
    TracedTransport,
    TracedVariant,
)
from ..tracing import Tracing, fits_export
from ..transport import Transport
from ..vocabularies import vocabulary_of
from .parts import Parts

_WHERE = "gateway.export.otlp.traces"
_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_TYPE = "otlp"

# Under which key a provider's table has the upstream's own name for the model; the first that is there counts.
_UPSTREAM = ("model_name", "model_id", "deployment_id", "endpoint_id")
_NAMELESS = frozenset({"aws_sagemaker", "tgi"})
_PARTS = ("evaluator", "fuser")


class Traces:
    """Where traces are on: puts the traced parts of a gateway in place of the plain ones."""

    def __init__(self, tracer: Tracer, table: TracesTable) -> None:
        self.tracing = Tracing(tracer)
        self.vocabulary = vocabulary_of(table.format, content=table.include_content)

    def gateway(self, *, async_writes: bool, **parts: Any) -> Gateway:
        """A gateway of these parts."""
        return TracedGateway.of(self.tracing, self.vocabulary, async_writes=async_writes, **parts)

    def transport(self, transport: Transport) -> Transport:
        """The same, with every call marked as part of its trace."""
        return TracedTransport(transport)

    def model(self, kind: type[RoutedModel], upstreams: Mapping[str, str | None], *about: Any) -> RoutedModel:
        """A model of this kind, from what its kind takes."""
        traced = TracedRelayedModel if kind is RelayedModel else TracedModel
        model = traced(*about)
        model.vocabulary, model.upstreams = self.vocabulary, upstreams
        return model

    def variant(self, variant: Variant, name: str, function_name: str, clock: Clock) -> Variant:
        """A variant, its time limits with it."""
        return TracedVariant(variant, name, function_name, self.vocabulary.chain, clock)

    def part(self, model: Model, table: Mapping[str, Any], name: str, function_name: str) -> Model:
        """The model of a variant's evaluator or fuser, if that is what this variant's table has; else the model."""
        part = next((part for part in _PARTS if part in table), None)
        return model if part is None else TracedPart(model, part, name, function_name, self.vocabulary.chain)


def traces(parts: Parts, table: TracesTable, environ: Mapping[str, str]) -> Traces | None:
    """The tracer that a configuration wants, opened and closed with the gateway; None for none, or a problem noted."""
    if not table.enabled:
        return None
    for name, value in table.extra_headers.items():
        if not fits_export(name, value):
            parts.problems.add(f"{_WHERE}.extra_headers", f"{name!r} or its value is not valid metadata of an export")
    endpoint = environ.get(_ENDPOINT)
    if not endpoint:
        parts.problems.add(
            f"{_WHERE}.enabled",
            f"the environment variable {_ENDPOINT} is missing: set it to where traces go, such as "
            f"http://localhost:4317, or set `{_WHERE}.enabled = false`",
        )
    if _TYPE not in parts.registry.types("tracer"):
        parts.problems.add(f"{_WHERE}.enabled", "the export of traces needs a plugin: `pip install headrace-otlp`")
        return None
    settings: dict[str, Any] = {"type": _TYPE, "endpoint": endpoint or "", "extra_headers": table.extra_headers}
    protocol = next((found for name in _PROTOCOLS if (found := environ.get(name))), None)
    if protocol is not None:
        settings["protocol"] = protocol
    tracer: Tracer | None = parts.build("tracer", _WHERE, settings) if endpoint else None
    if tracer is None:
        return None
    made = Traces(tracer, table)
    parts.own(tracer)
    parts.own(made.tracing)
    return made


def upstream_of(type_: str, table: Mapping[str, Any]) -> str | None:
    """What a provider's own upstream calls the model, as far as its table says."""
    if type_ in _NAMELESS:
        return None
    found = next((table[key] for key in _UPSTREAM if key in table), None)
    return found if isinstance(found, str) else None
