"""``GET /internal/resolve_uuid/{id}``: what it is that has this id."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..gateway import Gateway
from ..records import (
    BooleanFeedback,
    CommentFeedback,
    Datapoint,
    DemonstrationFeedback,
    FloatFeedback,
    InferenceRecord,
    ModelInferenceRecord,
    Record,
    WorkflowEpisode,
)
from .errors import native_body, path_uuid
from .native import encode
from .routing import Route

_FEEDBACK = {
    BooleanFeedback: "boolean_feedback",
    FloatFeedback: "float_feedback",
    CommentFeedback: "comment_feedback",
    DemonstrationFeedback: "demonstration_feedback",
}


class LookupRoutes:
    """The endpoint, bound to one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._history = gateway.history

    async def resolve(self, request: Request) -> Response:
        """``GET /internal/resolve_uuid/{id}``."""
        id_ = path_uuid(request, "id")
        found = await self._history.find(id_)
        objects = [shown for record in found.records if (shown := _shown(record)) is not None]
        if found.is_episode or any(isinstance(record, WorkflowEpisode) for record in found.records):
            objects.append({"type": "episode"})
        return Response(encode({"id": id_, "object_types": objects}), media_type="application/json")


def _shown(record: Record) -> dict[str, Any] | None:
    """What it is, and where it belongs; None for a record that callers know of under no id."""
    match record:
        case InferenceRecord():
            return {
                "type": "inference",
                "function_name": record.function_name,
                "function_type": record.function_type,
                "variant_name": record.variant_name,
                "episode_id": record.episode_id,
            }
        case ModelInferenceRecord():
            return {
                "type": "model_inference",
                "inference_id": record.inference_id,
                "model_name": record.model_name,
                "model_provider_name": record.model_provider_name,
            }
        case Datapoint():
            return {
                "type": f"{record.function_type}_datapoint",
                "dataset_name": record.dataset_name,
                "function_name": record.function_name,
            }
    kind = _FEEDBACK.get(type(record))
    return {"type": kind} if kind is not None else None


def routes(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """The route of this surface."""
    return [Route("GET", "/internal/resolve_uuid/{id}", LookupRoutes(gateway).resolve, native_body)]
