"""Episodes: the inferences of one task together."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from ..gateway import Gateway
from ..queries import EpisodeQuery, InferenceQuery
from ..tags import canonical
from .bodies import U32
from .errors import decode, native_body, path_uuid, read
from .filters import DEFAULT_LIMIT, FilterBody, filter_of
from .native import encode
from .paging import check_cursors, page_of
from .routing import Route


class ListEpisodesBody(Struct):
    """Which episodes: those that have an inference that meets all of it."""

    limit: U32 | None = None
    before: UUID | None = None
    after: UUID | None = None
    function_name: str | None = None
    filters: FilterBody | None = None


_list = msgspec.json.Decoder(ListEpisodesBody)


class EpisodeRoutes:
    """The endpoints, bound to one gateway."""

    def __init__(self, gateway: Gateway, max_body_bytes: int) -> None:
        self._history = gateway.history
        self._max_body_bytes = max_body_bytes

    async def list_(self, request: Request) -> Response:
        """``GET /internal/episodes``."""
        page = page_of(request, limit=DEFAULT_LIMIT)
        function_name = request.query_params.get("function_name")
        return await self._episodes(
            EpisodeQuery(
                function_name=canonical(function_name) if function_name is not None else None,
                before=page.before,
                after=page.after,
                limit=page.limit,
            )
        )

    async def search(self, request: Request) -> Response:
        """``POST /internal/episodes``: the same with ``filters``."""
        body = decode(_list, await read(request, self._max_body_bytes))
        check_cursors(body.before, body.after)
        return await self._episodes(
            EpisodeQuery(
                function_name=canonical(body.function_name) if body.function_name is not None else None,
                filters=filter_of(body.filters, self._history.metrics) if body.filters is not None else None,
                before=body.before,
                after=body.after,
                limit=DEFAULT_LIMIT if body.limit is None else body.limit,
            )
        )

    async def bounds(self, request: Request) -> Response:
        """``GET /internal/episodes/bounds``."""
        bounds, count = await self._history.episode_bounds()
        return _json({"first_id": bounds.first, "last_id": bounds.last, "count": count})

    async def inference_count(self, request: Request) -> Response:
        """``GET /internal/episodes/{episode_id}/inference_count``."""
        query = InferenceQuery(episode_ids=(path_uuid(request, "episode_id"),), limit=None)
        return _json({"inference_count": await self._history.count_inferences(query)})

    async def _episodes(self, query: EpisodeQuery) -> Response:
        return _json({"episodes": await self._history.episodes(query)})


def _json(body: dict[str, Any]) -> Response:
    return Response(encode(body), media_type="application/json")


def routes(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """The routes of this surface, frequent ones first."""
    endpoints = EpisodeRoutes(gateway, max_body_bytes)
    return [
        Route("GET", "/internal/episodes", endpoints.list_, native_body),
        Route("POST", "/internal/episodes", endpoints.search, native_body),
        Route("GET", "/internal/episodes/bounds", endpoints.bounds, native_body),
        Route("GET", "/internal/episodes/{episode_id}/inference_count", endpoints.inference_count, native_body),
    ]
