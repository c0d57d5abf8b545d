"""What was said of an inference or episode, row by row and in sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..gateway import Gateway
from ..history import Bounds
from ..records import DemonstrationFeedback, Feedback
from .errors import native_body, path_uuid
from .native import encode
from .paging import page_of
from .routing import Route
from .stored import instant

_LIMIT = 100
_KINDS = ("boolean", "float", "comment", "demonstration")


class FeedbackRoutes:
    """The endpoints, bound to one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._history = gateway.history

    async def list_(self, request: Request) -> Response:
        """``GET /internal/feedback/{target_id}``."""
        target_id, page = path_uuid(request, "target_id"), page_of(request, limit=_LIMIT)
        return _rows(await self._history.feedback(target_id, before=page.before, after=page.after, limit=page.limit))

    async def demonstrations(self, request: Request) -> Response:
        """``GET /internal/feedback/{target_id}/demonstrations``."""
        target_id, page = path_uuid(request, "target_id"), page_of(request, limit=_LIMIT)
        return _rows(
            await self._history.demonstrations(target_id, before=page.before, after=page.after, limit=page.limit)
        )

    async def bounds(self, request: Request) -> Response:
        """``GET /internal/feedback/{target_id}/bounds``."""
        bounds = await self._history.feedback_bounds(path_uuid(request, "target_id"))
        by_type = {kind: _bounds(bounds.by_kind.get(kind, Bounds())) for kind in _KINDS}
        return _json({**_bounds(bounds.all), "by_type": by_type})

    async def latest(self, request: Request) -> Response:
        """``GET /internal/feedback/{target_id}/latest_id_by_metric``."""
        found = await self._history.latest_feedback(path_uuid(request, "target_id"))
        return _json({"feedback_id_by_metric": found})

    async def count(self, request: Request) -> Response:
        """``GET /internal/feedback/{target_id}/count``."""
        return _json({"count": await self._history.count_feedback(path_uuid(request, "target_id"))})


def feedback_row(one: Feedback) -> dict[str, Any]:
    """The wire form; of a demonstration the value is JSON within JSON (datasets-and-queries 7)."""
    body: dict[str, Any] = msgspec.to_builtins(one, builtin_types=(bytes,))
    del body["snapshot_hash"]
    if isinstance(one, DemonstrationFeedback):
        body["value"] = encode(one.value).decode()
    return body | {"timestamp": instant(one.id)}


def _rows(found: Sequence[Feedback]) -> Response:
    return _json({"feedback": [feedback_row(one) for one in found]})


def _bounds(bounds: Bounds) -> dict[str, Any]:
    return {name: id_ for name, id_ in (("first_id", bounds.first), ("last_id", bounds.last)) if id_ is not None}


def _json(body: dict[str, Any]) -> Response:
    return Response(encode(body), media_type="application/json")


def routes(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """The routes of this surface, frequent ones first. Of a fixed path below ``/internal/feedback`` they know none."""
    endpoints = FeedbackRoutes(gateway)
    of_target = "/internal/feedback/{target_id}"
    return [
        Route("GET", of_target, endpoints.list_, native_body),
        Route("GET", f"{of_target}/bounds", endpoints.bounds, native_body),
        Route("GET", f"{of_target}/latest_id_by_metric", endpoints.latest, native_body),
        Route("GET", f"{of_target}/count", endpoints.count, native_body),
        Route("GET", f"{of_target}/demonstrations", endpoints.demonstrations, native_body),
    ]
