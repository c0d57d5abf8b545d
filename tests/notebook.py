"""A tracer that keeps its spans in a list, and shows them as trees."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from headrace import Factory, Services
from headrace.assembly import Assembly
from headrace.config import loads
from headrace.conformance.script import Script
from headrace.contracts import Tracer
from headrace.http.app import create_app
from headrace.plugins import HOOKS, Plugin, Registry
from headrace.tracing import Attribute, Attributes, Custom, Span
from pydantic import BaseModel


class Settings(BaseModel, extra="forbid", frozen=True):
    endpoint: str
    protocol: str = "grpc"
    extra_headers: dict[str, str] = {}


class Noted:
    """One span. ``error`` is None until it has ended, and if it has ended well."""

    def __init__(self, book: Notebook, name: str, attributes: Attributes, parent: Noted | None) -> None:
        self.book = book
        self.name = name
        self.attributes: dict[str, Attribute] = dict(attributes)
        self.events: list[str] = []
        self.children: list[Noted] = []
        self.has_ended = False
        self.error: str | None = None
        if parent is not None:
            parent.children.append(self)
        self._parent = parent

    def set(self, attributes: Attributes) -> None:
        assert not self.has_ended
        self.attributes.update(attributes)

    def event(self, name: str, attributes: Attributes) -> None:
        self.events.append(name)

    def headers(self) -> Mapping[str, str]:
        return {"traceparent": f"of {self.name}"}

    def end(self, error: str | None = None) -> None:
        assert not self.has_ended, self.name
        self.has_ended, self.error = True, error
        self.book.ended.append(self.name)

    def discard(self) -> None:
        assert self._parent is not None
        self._parent.children.remove(self)

    @property
    def tree(self) -> Any:
        """``name`` or ``(name, children)``; one that failed has a ``!``, one that has not ended a ``?``."""
        name = self.name + ("" if self.has_ended else "?") + ("!" if self.error is not None else "")
        return (name, *(child.tree for child in self.children)) if self.children else name


class Notebook:
    """Every trace so far; ``ended`` are the names of spans in the order in which they ended."""

    def __init__(self, settings: Settings, services: Services | None = None) -> None:
        self.settings = settings
        self.roots: list[Noted] = []
        self.contexts: list[tuple[Mapping[str, str], Custom]] = []
        self.ended: list[str] = []

    def root(self, name: str, attributes: Attributes, *, context: Mapping[str, str], custom: Custom) -> Span:
        self.contexts.append((dict(context), custom))
        self.roots.append(Noted(self, name, attributes, None))
        return self.roots[-1]

    def child(self, name: str, attributes: Attributes, parent: Span) -> Span:
        assert isinstance(parent, Noted)
        return Noted(self, name, attributes, parent)

    @property
    def trees(self) -> list[Any]:
        return [root.tree for root in self.roots]

    def named(self, name: str) -> list[Noted]:
        """Every span of that name, those that began first before others of their level."""
        found, level = list[Noted](), self.roots
        while level:
            found += [span for span in level if span.name == name]
            level = [child for span in level for child in span.children]
        return found

    def one(self, name: str) -> Noted:
        (span,) = self.named(name)
        return span


def with_notebook(registry: Registry) -> Registry:
    """The same plugins, with this one in place of any other tracer."""
    copied = Registry()
    plugin = Plugin(name="others", distribution="tests", version="0", state="loaded")
    for kind in HOOKS:
        if kind != "tracer":
            copied.add(plugin, [(kind, registry.get(kind, name, where="")) for name in registry.types(kind)])
    offer: Factory[Tracer] = Factory("otlp", Settings, Notebook)
    copied.add(plugin, [("tracer", offer)])
    return copied


# -- a gateway that is traced ------------------------------------------------------------------------------

ENVIRON = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector"}
ON = "[gateway.export.otlp.traces]\nenabled = true\n"
INPUT = {"messages": [{"role": "user", "content": "hello"}]}
ASK: dict[str, Any] = {"function_name": "f", "input": INPUT}
PREFIX = "tensorzero-otlp-traces-extra-"

LIMITS = ("rate_limiting_consume_tickets", "rate_limiting_return_tickets")
PROVIDER, FAILED_PROVIDER = ("model_provider_inference", *LIMITS), ("model_provider_inference!", LIMITS[0])
CALL, FAILED_CALL = ("model_inference", PROVIDER), ("model_inference!", FAILED_PROVIDER)
POST, WRITE = "POST /inference", "write_inference"


@pytest.fixture(scope="module")
def tracers(registry: Registry) -> Registry:
    return with_notebook(registry)


class Traced:
    def __init__(self, assembly: Assembly, http: httpx.AsyncClient, book: Notebook, gateway: Any) -> None:
        self.assembly, self.http, self.book, self.gateway = assembly, http, book, gateway

    async def ask(self, path: str = "/inference", **more: Any) -> httpx.Response:
        return await self.http.post(path, json=ASK | more)


Open = Callable[..., Any]


@pytest.fixture
def traced(tracers: Registry) -> Open:
    """``async with traced(toml) as host``: its app, and the notebook that its spans go to."""

    @asynccontextmanager
    async def open_(toml: str, on: str = ON, base_path: str = "/", **stand_ins: Any) -> AsyncGenerator[Traced, None]:
        text = f'[gateway.observability]\nbackend = "memory"\n{on}{toml}'
        stand_ins.setdefault("transport", Script())
        assembly = Assembly(loads(text), tracers, environ=ENVIRON, **stand_ins)
        async with assembly.gateway() as gateway:
            book = gateway.tracing.tracer if gateway.tracing else Notebook(Settings(endpoint=""))
            assert isinstance(book, Notebook)
            transport = httpx.ASGITransport(create_app(gateway, owns_gateway=False, base_path=base_path))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
                yield Traced(assembly, http, book, gateway)

    return open_
