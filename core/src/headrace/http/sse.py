"""Server-sent events out. A client that goes away does not stop the work: it is finished and recorded."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from time import monotonic
from typing import Any

import anyio
from starlette.types import Receive, Scope, Send

from .errors import ErrorBody, body_of, edge_of

log = logging.getLogger(__name__)

_HEADERS = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"))
_COMMENT = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"


def data_event(data: bytes) -> bytes:
    """An event that has only data."""
    return b"data: " + data + b"\n\n"


class Pulse:
    """Says something, without meaning, on every stream that has been quiet for ``quiet_s`` seconds.

    One task for all streams, as two for each were a quarter of what a short stream costs. ``attend(run)`` is to run
    something beside everything else until the app ends.
    """

    def __init__(self, quiet_s: float, attend: Callable[[Callable[[], Coroutine[Any, Any, None]]], object]) -> None:
        self._quiet_s = quiet_s
        self._attend = attend
        self._is_attended = False
        self._clients: set[_Client] = set()
        self._some = anyio.Event()

    def watch(self, client: _Client) -> None:
        """Look after this one too."""
        if not self._is_attended:
            self._attend(self._run)
            self._is_attended = True
        if not self._clients:
            self._some.set()
        self._clients.add(client)

    def leave(self, client: _Client) -> None:
        """No longer."""
        self._clients.discard(client)

    async def _run(self) -> None:
        async with anyio.create_task_group() as tasks:
            while True:
                while not self._clients:
                    self._some = anyio.Event()
                    await self._some.wait()
                # One that comes meanwhile is due later than all that are here.
                await anyio.sleep(max(min(client.last for client in self._clients) + self._quiet_s - monotonic(), 0))
                for client in [client for client in self._clients if monotonic() - client.last >= self._quiet_s]:
                    client.last = monotonic()
                    tasks.start_soon(client.comment)


class EventStream:
    """An ASGI response: one event per item, an error as an event, always ``end`` last, comments while it is quiet.

    ``frame`` makes an event of an item. Starlette's StreamingResponse cancels its iterator on disconnect, which
    would lose the record; this does not.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        error_body: ErrorBody,
        *,
        frame: Callable[[bytes], bytes] = data_event,
        end: bytes = DONE,
    ) -> None:
        self._events = events
        self._error_body = error_body
        self._frame = frame
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the whole stream. Events are asked for with no time limit around, so that a pause costs no piece."""
        edge, frame, client = edge_of(scope), self._frame, _Client(send)
        await client.start()
        if edge.pulse is not None:
            edge.pulse.watch(client)
        try:
            async with aclosing(self._events) as events:
                try:
                    async for event in events:
                        await client.send(frame(event))
                except Exception as error:
                    await client.send(frame(body_of(self._error_body, error, edge)))
        finally:
            if edge.pulse is not None:
                edge.pulse.leave(client)
        await client.send(self._end, last=True)


class _Client:
    """The other end, which may go away at any time; from then on nothing is sent."""

    def __init__(self, send: Send) -> None:
        self.last = monotonic()
        self._send = send
        self._gone = False
        self._sending = False
        self._commenting: anyio.Event | None = None

    async def start(self) -> None:
        await self._try({"type": "http.response.start", "status": 200, "headers": _HEADERS})

    async def send(self, body: bytes, *, last: bool = False) -> None:
        self._sending = True  # from here on no comment begins
        if self._commenting is not None:
            await self._commenting.wait()
        await self._try({"type": "http.response.body", "body": body, "more_body": not last})
        self._sending = False
        self.last = monotonic()

    async def comment(self) -> None:
        """A sign of life, unless something is being sent: a client that is slow to read needs none."""
        if self._sending or self._commenting is not None:
            return
        self._commenting = anyio.Event()
        await self._try({"type": "http.response.body", "body": _COMMENT, "more_body": True})
        self.last = monotonic()
        self._commenting.set()
        self._commenting = None

    async def _try(self, message: dict[str, object]) -> None:
        if self._gone:
            return
        try:
            await self._send(message)
        except Exception as error:  # OSError by the ASGI specification (2.4); servers differ, and some say nothing
            log.info("the client went away (%s); the stream is read to its end for the record", error)
            self._gone = True
