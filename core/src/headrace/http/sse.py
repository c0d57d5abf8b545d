"""Server-sent events out. A client that goes away does not stop the work: it is finished and recorded."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from time import monotonic

import anyio
from starlette.types import Receive, Scope, Send

from .errors import ErrorBody, body_of, edge_of

log = logging.getLogger(__name__)

_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
_COMMENT = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"


def data_event(data: bytes) -> bytes:
    """An event that has only data."""
    return b"data: " + data + b"\n\n"


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
        """Send the whole stream."""
        edge, frame = edge_of(scope), self._frame
        client = _Client(send, edge.keep_alive_s)
        await client.start()
        # Two tasks beside this one for the whole stream. The events are asked for here, with no time limit around
        # them, so that a pause never costs a piece.
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.keep_alive)
            tasks.start_soon(client.notice, receive)
            async with aclosing(self._events) as events:
                try:
                    async for event in events:
                        await client.send(frame(event))
                except Exception as error:
                    await client.send(frame(body_of(self._error_body, error, edge)))
            await client.send(self._end, last=True)
            tasks.cancel_scope.cancel()


class _Client:
    """The other end, which may go away at any time; from then on nothing is sent."""

    def __init__(self, send: Send, keep_alive_s: float) -> None:
        self._send = send
        self._keep_alive_s = keep_alive_s
        self._gone = False
        self._last = monotonic()
        self._sending = False
        self._commenting: anyio.Event | None = None

    async def start(self) -> None:
        await self._try({"type": "http.response.start", "status": 200, "headers": _HEADERS})

    async def send(self, body: bytes, *, last: bool = False) -> None:
        if self._commenting is not None:
            await self._commenting.wait()
        self._sending = True
        await self._try({"type": "http.response.body", "body": body, "more_body": not last})
        self._sending = False
        self._last = monotonic()

    async def notice(self, receive: Receive) -> None:
        """Stop sending when the server says that nobody listens: not every server raises from ``send``.

        The body has been read, so there is one message left to come. Runs until then or until cancelled.
        """
        if (await receive())["type"] == "http.disconnect":
            self._gone = True

    async def keep_alive(self) -> None:
        """Say something, without meaning, whenever nothing has been said for a while. Runs until cancelled."""
        while not self._gone:
            await anyio.sleep(max(self._last + self._keep_alive_s - monotonic(), 0))
            if self._sending:  # a client that is slow to read needs no sign of life
                self._last = monotonic()
            elif monotonic() - self._last >= self._keep_alive_s:
                self._commenting = anyio.Event()
                await self._try({"type": "http.response.body", "body": _COMMENT, "more_body": True})
                self._last = monotonic()
                self._commenting.set()
                self._commenting = None

    async def _try(self, message: dict[str, object]) -> None:
        if self._gone:
            return
        try:
            await self._send(message)
        except Exception as error:  # OSError by the ASGI specification (2.4); servers differ
            log.info("the client went away (%s); the stream is read to its end for the record", error)
            self._gone = True
