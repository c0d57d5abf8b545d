"""The least that a gateway in Python does: read a body and answer bytes, plain or streamed, asking nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from upstream import CHAT, EVENTS

_PLAIN = CHAT.partition(b"\r\n\r\n")[2]


async def _each() -> AsyncIterator[bytes]:
    for event in EVENTS:
        yield event


async def _answer(request: Request) -> Response:
    if b'"stream": true' in await request.body():
        return StreamingResponse(_each(), media_type="text/event-stream")
    return Response(_PLAIN, media_type="application/json")


app = Starlette(routes=[Route("/", _answer, methods=["POST"])])
