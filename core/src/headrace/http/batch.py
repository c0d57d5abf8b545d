"""``POST /batch_inference`` and its polling: many inferences now, their answers later (http-api 19)."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..batches import BatchState
from ..gateway import Gateway
from . import batch_bodies
from .errors import decode, native_body, path_uuid, read
from .native import encode, response_body
from .readers import asked_by
from .routing import Route


class BatchRoutes:
    """The endpoints, bound to one gateway."""

    def __init__(self, gateway: Gateway, max_body_bytes: int) -> None:
        self._gateway = gateway
        self._max_body_bytes = max_body_bytes

    async def start(self, request: Request) -> Response:
        """``POST /batch_inference``."""
        body = decode(batch_bodies.batch, await read(request, self._max_body_bytes))
        wanted = [asked_by(request, each) for each in batch_bodies.to_requests(body)]
        accepted = await self._gateway.batches.start(wanted)
        return Response(encode(accepted), media_type="application/json")

    async def poll(self, request: Request) -> Response:
        """``GET /batch_inference/{batch_id}``."""
        return _json(await self._gateway.batches.poll(path_uuid(request, "batch_id")))

    async def poll_one(self, request: Request) -> Response:
        """``GET /batch_inference/{batch_id}/inference/{inference_id}``: the same, with that inference alone."""
        ids = path_uuid(request, "batch_id"), path_uuid(request, "inference_id")
        return _json(await self._gateway.batches.poll(*ids))


def _json(state: BatchState) -> Response:
    body: dict[str, Any] = {"status": state.status}
    if state.status == "completed":
        body |= {"batch_id": state.batch_id, "inferences": [response_body(each) for each in state.inferences]}
    return Response(encode(body), media_type="application/json")


def routes(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """The routes of this surface, frequent ones first."""
    endpoints = BatchRoutes(gateway, max_body_bytes)
    one = "/batch_inference/{batch_id}/inference/{inference_id}"
    return [
        Route("GET", "/batch_inference/{batch_id}", endpoints.poll, native_body),
        Route("GET", one, endpoints.poll_one, native_body),
        Route("POST", "/batch_inference", endpoints.start, native_body),
    ]
