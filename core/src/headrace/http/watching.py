"""Around all that answers: how long each request took, how it ended, and whether somebody was there to hear it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import perf_counter

import anyio
import anyio.abc
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..gateway import Gateway
from ..incoming import Incoming, covered_s, enter, leave
from .routing import Route

log = logging.getLogger(__name__)

_NO_ROUTE, _OTHER_METHOD = "none", "other"

# A request that takes longer is asked each so often whether its client is still there. To wait for that from the start
# would be a task for every request, which is more than all else in here.
_LONG_S = 1.0


class Watched:
    """Plain ASGI around the app. What it keeps of a request are a few numbers; the rest is for who asks."""

    def __init__(self, app: ASGIApp, gateway: Gateway, routes: Sequence[Route], base_path: str = "/") -> None:
        base = base_path.rstrip("/")
        self._app = app
        self._gateway = gateway
        self._patterns = {
            (method, base + route.path): route.path
            for route in routes
            if not route.param_convertors
            for method in route.methods or ()
        }
        self._under_way: set[_Seen] = set()
        self._is_attended = False
        gateway.telemetry.watch("headrace_requests_in_flight", lambda: len(self._under_way))
        gateway.telemetry.watch("headrace_streams_in_flight", lambda: sum(each.streams for each in self._under_way))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and count."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not self._is_attended and self._gateway.is_open:
            self._is_attended = True
            self._gateway.attend(self._look_after)
        seen = _Seen(scope, receive, send)
        self._under_way.add(seen)
        token = enter(seen)
        is_told = log.isEnabledFor(logging.DEBUG)
        if is_told:
            log.debug("started processing request")
        try:
            await self._app(scope, seen.hear, seen.say)
        finally:
            took = perf_counter() - seen.began
            self._under_way.discard(seen)
            if seen.departure is not None:
                seen.departure.cancel()
            self._count(scope, seen, took)
            if is_told:
                _tell_end(seen, took)
            if seen.is_gone:
                seen.tell_departure()
            elif seen.status >= 400:
                log.log(
                    logging.ERROR if seen.status >= 500 else logging.WARNING, "answered with status %d", seen.status
                )
            leave(token)

    def _count(self, scope: Scope, seen: _Seen, took: float) -> None:
        method, path, status = scope["method"], scope["path"], seen.status or 500
        pattern = self._patterns.get((method, path))
        if pattern is None:
            method, pattern = _found(scope)
        self._gateway.telemetry.request(method, pattern, status, took)
        # Exactly this target (spec/observability.md 1.4), and nothing where the client did not wait for the end.
        if path == "/inference" and scope["method"] == "POST" and not scope["query_string"] and not seen.is_gone:
            trials, own_s = seen.trials, took - (covered_s(seen.waits) if seen.waits else 0.0)
            variant = trials[0].variant_name if status == 200 and len(trials) == 1 else None
            self._gateway.telemetry.overhead(seen.function_name, variant, own_s if own_s > 0 else 0.0)

    async def _look_after(self) -> None:
        """Wait for clients of long requests to leave."""
        try:
            async with anyio.create_task_group() as tasks:
                while True:
                    await anyio.sleep(_LONG_S)
                    now = perf_counter()
                    for seen in self._under_way:
                        if seen.is_heard and seen.departure is None and now - seen.began >= _LONG_S:
                            seen.departure = anyio.CancelScope()
                            tasks.start_soon(seen.await_departure, seen.departure)
        finally:
            self._is_attended = False


class _Seen(Incoming):
    """A request with what was heard and said of it."""

    status = 0
    streams = False
    is_heard = False  # to the end of its body
    is_over = False
    is_gone = False
    departure: anyio.CancelScope | None = None
    _is_told = False

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.waits = []
        self.began = perf_counter()
        self._receive = receive
        self._send = send

    async def hear(self) -> Message:
        """What the client sends."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.is_gone = not self.is_over
        elif not message.get("more_body"):
            self.is_heard = True
        return message

    async def say(self, message: Message) -> None:
        """What the client gets."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message.get("more_body"):
            self.streams = True
        else:  # before it is sent: who has all of it may leave
            self.is_over = True
        try:
            await self._send(message)
        except Exception:
            self.is_gone = True
            raise

    async def await_departure(self, until: anyio.CancelScope) -> None:
        """Note that the client has left, unless this is cancelled before."""
        with until:
            while (await self._receive())["type"] != "http.disconnect":
                pass
            if not self.is_over:
                self.is_gone = True
                token = enter(self)
                self.tell_departure()
                leave(token)

    def tell_departure(self) -> None:
        """Once, and not of HEAD, where clients leave when they like."""
        if not self._is_told and self.scope["method"] != "HEAD":
            self._is_told = True
            fields = {"latency": _shown(perf_counter() - self.began)}
            log.warning("Client closed the connection before the response was sent", extra={"fields": fields})


def _tell_end(seen: _Seen, took: float) -> None:
    fields = {"latency": _shown(took), "status": seen.status, "success": 200 <= seen.status < 400}
    log.debug("finished processing request", extra={"fields": fields})


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _found(scope: Scope) -> tuple[str, str]:
    """Method and pattern of the route that the router found, in words that callers cannot make up."""
    route = scope.get("route")
    if not isinstance(route, Route):
        return _OTHER_METHOD, _NO_ROUTE
    method: str = scope["method"]
    return method if method in (route.methods or ()) else _OTHER_METHOD, route.path
