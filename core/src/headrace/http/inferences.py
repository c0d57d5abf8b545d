"""Stored inferences: list, get, count, and every attempt behind one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from ..datasets import OutputSource
from ..gateway import Gateway
from ..queries import InferenceQuery
from ..records import InferenceRecord
from ..tags import canonical
from .errors import decode, native_body, path_uuid, read
from .filters import (
    DEFAULT_LIMIT,
    ListInferencesBody,
    SelectionBody,
    inference_query_of,
    known_function,
    selection_of,
)
from .native import encode
from .paging import page_of, query_uuid
from .routing import Route
from .stored import inference_metadata, model_inference, stored_inference


class GetInferencesBody(Struct):
    """Stored inferences by id; those that are not there are left out."""

    ids: list[UUID]
    function_name: str | None = None
    output_source: OutputSource | None = None


_list = msgspec.json.Decoder(ListInferencesBody)
_count = msgspec.json.Decoder(SelectionBody)
_get = msgspec.json.Decoder(GetInferencesBody)


class InferenceRoutes:
    """The endpoints, bound to one gateway."""

    def __init__(self, gateway: Gateway, max_body_bytes: int) -> None:
        self._gateway = gateway
        self._history = gateway.history
        self._max_body_bytes = max_body_bytes

    async def list_inferences(self, request: Request) -> Response:
        """``POST /v1/inferences/list_inferences``."""
        body = decode(_list, await read(request, self._max_body_bytes))
        query, source = inference_query_of(body, self._gateway)
        return await self._inferences(await self._history.inferences(query), source)

    async def get_inferences(self, request: Request) -> Response:
        """``POST /v1/inferences/get_inferences``."""
        body = decode(_get, await read(request, self._max_body_bytes))
        query = InferenceQuery(
            ids=tuple(body.ids), function_name=known_function(body.function_name, self._gateway), limit=None
        )
        found = await self._history.inferences(query) if body.ids else []
        return await self._inferences(found, body.output_source or "inference")

    async def count(self, request: Request) -> Response:
        """``POST /internal/inferences/count``."""
        body = decode(_count, await read(request, self._max_body_bytes))
        return _json({"count": await self._history.count_inferences(selection_of(body, self._gateway))})

    async def metadata(self, request: Request) -> Response:
        """``GET /internal/inference_metadata``."""
        page = page_of(request, limit=DEFAULT_LIMIT)
        function_name = request.query_params.get("function_name")
        episode_id = query_uuid(request, "episode_id")
        query = InferenceQuery(
            function_name=canonical(function_name) if function_name is not None else None,
            variant_name=request.query_params.get("variant_name"),
            episode_ids=(episode_id,) if episode_id is not None else None,
            before=page.before,
            after=page.after,
            limit=page.limit,
        )
        found = await self._history.inferences(query)
        return _json({"inference_metadata": [inference_metadata(record) for record in found]})

    async def model_inferences(self, request: Request) -> Response:
        """``GET /internal/model_inferences/{inference_id}``."""
        found = await self._history.model_inferences(path_uuid(request, "inference_id"))
        return _json({"model_inferences": [model_inference(record) for record in found]})

    async def _inferences(self, found: list[InferenceRecord], source: OutputSource) -> Response:
        functions = self._gateway.functions
        if source == "demonstration":
            pairs = await self._history.demonstrated(found)
            shown = [stored_inference(record, functions, source, demonstration) for record, demonstration in pairs]
        else:
            shown = [stored_inference(record, functions, source) for record in found]
        return _json({"inferences": shown})


def _json(body: dict[str, Any]) -> Response:
    return Response(encode(body), media_type="application/json")


def routes(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """The routes of this surface, frequent ones first."""
    endpoints = InferenceRoutes(gateway, max_body_bytes)
    return [
        Route("POST", "/v1/inferences/list_inferences", endpoints.list_inferences, native_body),
        Route("POST", "/v1/inferences/get_inferences", endpoints.get_inferences, native_body),
        Route("POST", "/internal/inferences/count", endpoints.count, native_body),
        Route("GET", "/internal/inference_metadata", endpoints.metadata, native_body),
        Route("GET", "/internal/model_inferences/{inference_id}", endpoints.model_inferences, native_body),
    ]
