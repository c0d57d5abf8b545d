"""OpenAI's Responses API, without a memory: ``POST /openai/v1/responses``."""

from __future__ import annotations

from starlette.requests import Request

from ..gateway import Gateway
from .errors import edge_of, read
from .json_answer import JsonAnswer
from .native import encode
from .readers import asked_by
from .responses_answers import Frame, responses_errors
from .responses_bodies import read_body, to_request
from .responses_stream import events
from .routing import Route
from .sse import EventStream


class Responses:
    """The endpoint, bound to one gateway."""

    def __init__(self, gateway: Gateway, max_body_bytes: int) -> None:
        self._gateway = gateway
        self._max_body_bytes = max_body_bytes

    async def create(self, request: Request) -> JsonAnswer | EventStream:
        """``POST /openai/v1/responses``."""
        body = read_body(await read(request, self._max_body_bytes))
        wanted = asked_by(request, to_request(body))
        frame = Frame(body, wanted)
        if body.stream:
            pieces = events(await self._gateway.stream(wanted), frame, edge_of(request.scope))
            return EventStream(pieces, responses_errors, frame=bytes, end=b"")
        return JsonAnswer(encode(frame.answer(await self._gateway.infer(wanted))))


def routes(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """The routes of this surface."""
    return [Route("POST", "/openai/v1/responses", Responses(gateway, max_body_bytes).create, responses_errors)]
