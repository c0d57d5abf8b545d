"""The ASGI app: routes, frequent ones first; the gateway opens and closes with the server's lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import __version__
from ..errors import HeadraceError, StoreError
from ..gateway import Gateway
from . import (
    anthropic,
    batch,
    datasets,
    episodes,
    feedback_rows,
    inferences,
    lookups,
    native,
    openai,
    openapi,
    platform,
    reports,
    responses,
    snapshots,
    workflows,
)
from .authentication import Guard
from .errors import Edge, keep, native_body, respond
from .routing import Exact, Route, introduce
from .sse import Pulse
from .tracing import Traced, keep_custom, speaks_of_traces
from .watching import Watched

_VERSION = (b"x-tensorzero-gateway-version", __version__.encode())
_CLOSE = (b"connection", b"close")
# A store that has not answered by then is not well; whoever asks for our health has no more patience either.
_PING_S = 5.0


def create_app(
    gateway: Gateway,
    *,
    base_path: str = "/",
    max_body_bytes: int = 100 * 1024 * 1024,
    owns_gateway: bool = True,
    error_json: bool = False,
    debug: bool = False,
    keep_alive_s: float = 15.0,
) -> ASGIApp:
    """An app for any ASGI server. It opens and closes the gateway with the server's lifespan, if it owns it.

    ``max_body_bytes`` bounds bodies before and after decompression. ``error_json`` adds errors as data to error
    bodies, with upstreams' raw texts in them only in ``debug``. A stream that is quiet for ``keep_alive_s`` gets a
    comment.
    """
    routes = routes_of(gateway, max_body_bytes)
    introduce(routes)

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        if not owns_gateway:
            yield
            return
        async with gateway:
            yield

    top = routes if base_path == "/" else [Mount(base_path, routes=routes)]
    router: ASGIApp = Exact(routes, base_path, Router(top, redirect_slashes=False, default=_nowhere, lifespan=lifespan))
    if gateway.authenticator is not None:
        router = Guard(router, gateway.authenticator, base_path)
    if gateway.tracing is not None:
        router = Traced(router, gateway.tracing, base_path)
    gateway.telemetry.version = __version__
    around = _Around(router, Edge(error_json, debug, Pulse(keep_alive_s, gateway.attend)), gateway)
    return Watched(around, gateway, routes, base_path)


def routes_of(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """Every route of every surface, frequent ones first."""
    return [
        *native.routes(gateway, max_body_bytes),
        *openai.routes(gateway, max_body_bytes),
        *responses.routes(gateway, max_body_bytes),
        *anthropic.routes(gateway, max_body_bytes),
        *batch.routes(gateway, max_body_bytes),
        *datasets.routes(gateway, max_body_bytes),
        *inferences.routes(gateway, max_body_bytes),
        *episodes.routes(gateway, max_body_bytes),
        *reports.routes(gateway, max_body_bytes),  # before what `timeseries` could be a target of
        *feedback_rows.routes(gateway, max_body_bytes),
        *lookups.routes(gateway, max_body_bytes),
        *snapshots.routes(gateway, max_body_bytes),
        *workflows.routes(gateway, max_body_bytes),
        *platform.routes(gateway, max_body_bytes),
        *Status(gateway).routes(),
        *openapi.routes(),
    ]


class Status:
    """What the gateway says of itself."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """The routes that need no key."""
        return [
            Route("GET", "/status", self.status, native_body),
            Route("GET", "/health", self.health, native_body),
            Route("GET", "/metrics", self.metrics, native_body),
        ]

    async def status(self, request: Request) -> Response:
        """``GET /status``."""
        return _json({"status": "ok", "version": __version__, "config_hash": self._gateway.snapshot.hash})

    async def health(self, request: Request) -> Response:
        """``GET /health``: 503 if the store or Valkey does not answer, or the gateway is about to stop.

        Dependencies that are not configured count as ok.
        ``records`` is "error" while records wait on the disk or are dropped; requests are answered all the same.
        """
        parts = dict.fromkeys(("gateway", "clickhouse", "postgres", "valkey", "valkey_cache", "store"), "ok")
        if self._gateway.draining:
            parts["gateway"] = "error"
        pings = dict(self._gateway.pings)
        if self._gateway.store is not None:
            pings["store"] = self._gateway.store.ping

        async def ask(name: str) -> None:
            try:
                with anyio.fail_after(_PING_S):
                    await pings[name]()
            except (StoreError, TimeoutError):
                parts[name] = "error"

        async with anyio.create_task_group() as tasks:
            for name in pings:
                tasks.start_soon(ask, name)
        status = 200 if "error" not in parts.values() else 503
        return _json({**parts, "records": "ok" if self._gateway.keeps_records else "error"}, status)

    async def metrics(self, request: Request) -> Response:
        """``GET /metrics``: Prometheus text."""
        return Response(self._gateway.telemetry.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


class _Around:
    """Plain ASGI middleware (240 µs cheaper than Starlette's): the version on every response, manners for all."""

    def __init__(self, app: ASGIApp, edge: Edge, gateway: Gateway) -> None:
        self._app = app
        self._edge = edge
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        keep(self._edge, scope)

        async def versioned(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), _VERSION]
                if self._gateway.draining and scope["http_version"] == "1.1":
                    message["headers"].append(_CLOSE)
            await send(message)

        if speaks_of_traces(scope):
            try:
                keep_custom(scope)
            except HeadraceError as error:
                await respond(native_body, error, self._edge)(scope, receive, versioned)
                return
        await self._app(scope, receive, versioned)


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    path = scope.get("raw_path") or scope["path"].encode()  # as received, that is: not unquoted
    error = native_body(f"Route not found: {scope['method']} {path.decode(errors='replace')}")
    await _json(error, 404)(scope, receive, send)


def _json(body: Mapping[str, object], status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
