"""Anthropic's Messages API: ``POST /anthropic/v1/messages``."""

from __future__ import annotations

from starlette.requests import Request

from ..gateway import Gateway
from .anthropic_answers import answer, anthropic_errors
from .anthropic_bodies import read_body, to_request
from .anthropic_stream import events
from .errors import edge_of, read
from .json_answer import JsonAnswer
from .native import encode
from .readers import asked_by
from .routing import Route
from .sse import EventStream


class Messages:
    """The endpoint, bound to one gateway."""

    def __init__(self, gateway: Gateway, max_body_bytes: int) -> None:
        self._gateway = gateway
        self._max_body_bytes = max_body_bytes

    async def create(self, request: Request) -> JsonAnswer | EventStream:
        """``POST /anthropic/v1/messages``."""
        body = read_body(await read(request, self._max_body_bytes))
        wanted = asked_by(request, to_request(body))
        if body.stream:
            pieces = events(await self._gateway.stream(wanted), wanted.function_name, edge_of(request.scope))
            return EventStream(pieces, anthropic_errors, frame=bytes, end=b"")
        response = await self._gateway.infer(wanted)
        return JsonAnswer(encode(answer(response, wanted.function_name)))


def routes(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """The routes of this surface. Tokens are not counted: that would take the upstream's own tokenizer."""
    return [Route("POST", "/anthropic/v1/messages", Messages(gateway, max_body_bytes).create, anthropic_errors)]
