"""Server-sent events out. A client that goes away does not stop the work: it is finished and recorded."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.types import Receive, Scope, Send

from .errors import ErrorBody, message_of

log = logging.getLogger(__name__)

_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]


class EventStream:
    """An ASGI response: one ``data:`` event per item, an error as an event, and always ``[DONE]`` at the end.

    Starlette's StreamingResponse cancels its iterator on disconnect, which would lose the record; this does not.
    """

    def __init__(self, events: AsyncGenerator[bytes, None], error_body: ErrorBody) -> None:
        self._events = events
        self._error_body = error_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the whole stream."""
        client = _Client(send)
        await client.start()
        async with aclosing(self._events) as events:
            try:
                async for event in events:
                    await client.event(event)
            except Exception as error:
                await client.event(msgspec.json.encode(self._error_body(message_of(error))))
        await client.event(b"[DONE]", last=True)


class _Client:
    """The other end, which may go away at any time; from then on nothing is sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._gone = False

    async def start(self) -> None:
        await self._try({"type": "http.response.start", "status": 200, "headers": _HEADERS})

    async def event(self, data: bytes, *, last: bool = False) -> None:
        body = b"data: " + data + b"\n\n"
        await self._try({"type": "http.response.body", "body": body, "more_body": not last})

    async def _try(self, message: dict[str, object]) -> None:
        if self._gone:
            return
        try:
            await self._send(message)
        except OSError:  # what the ASGI specification (2.4) has servers raise once the client is gone
            log.info("the client went away; the stream is read to its end for the record")
            self._gone = True
