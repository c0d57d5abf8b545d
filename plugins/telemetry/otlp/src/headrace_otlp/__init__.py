"""Traces of headrace to any OpenTelemetry collector."""

from __future__ import annotations

from typing import Literal

from headrace import Factory, Services, hookimpl
from headrace.contracts import Tracer
from pydantic import BaseModel

__all__ = ["Settings"]


class Settings(BaseModel, extra="forbid", frozen=True, strict=True):
    """Where traces go and how; ``extra_headers`` go with every export."""

    endpoint: str
    protocol: Literal["grpc", "http/protobuf"] = "grpc"
    extra_headers: dict[str, str] = {}


def _build(settings: Settings, services: Services) -> Tracer:
    from .tracer import OtlpTracer  # a quarter of a second, which nobody pays for whom traces are off

    return OtlpTracer(settings.endpoint, settings.protocol, settings.extra_headers, clock=services.clock)


@hookimpl
def headrace_tracers() -> list[Factory[Tracer]]:
    """Offer ``otlp``."""
    return [Factory("otlp", Settings, _build)]
