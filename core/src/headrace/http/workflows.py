"""Workflow evaluations, and what humans said of an evaluation's outputs (evaluations 4 and 5)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from ..feedback import canonical_output
from ..gateway import Gateway
from .errors import decode, native_body, path_uuid, read
from .native import encode
from .routing import Route


class RunBody(Struct, forbid_unknown_fields=True):
    """The body of ``POST /workflow_evaluation_run``; ``variants`` are pins by function."""

    variants: dict[str, str]
    tags: dict[str, str] | None = None
    project_name: str | None = None
    display_name: str | None = None
    internal: bool | None = None


class EpisodeBody(Struct, forbid_unknown_fields=True):
    """The body of ``POST /workflow_evaluation_run/{run_id}/episode``."""

    task_name: str | None = None
    tags: dict[str, str] | None = None


class HumanFeedbackBody(Struct):
    """Which output's judgement is looked for: ``output`` is its JSON text."""

    metric_name: str
    output: str


_run = msgspec.json.Decoder(RunBody)
_episode = msgspec.json.Decoder(EpisodeBody)
_human_feedback = msgspec.json.Decoder(HumanFeedbackBody)


class WorkflowRoutes:
    """The endpoints, bound to one gateway."""

    def __init__(self, gateway: Gateway, max_body_bytes: int) -> None:
        self._gateway = gateway
        self._max_body_bytes = max_body_bytes

    async def begin(self, request: Request) -> Response:
        """``POST /workflow_evaluation_run``."""
        body = decode(_run, await read(request, self._max_body_bytes))
        run_id = await self._gateway.workflows.begin(
            body.variants,
            tags=body.tags or {},
            project_name=body.project_name,
            display_name=body.display_name,
            internal=bool(body.internal),
        )
        return _json({"run_id": run_id})

    async def episode(self, request: Request) -> Response:
        """``POST /workflow_evaluation_run/{run_id}/episode``."""
        run_id: UUID = path_uuid(request, "run_id")
        body = decode(_episode, await read(request, self._max_body_bytes))
        made = await self._gateway.workflows.episode(run_id, tags=body.tags or {}, task_name=body.task_name)
        return _json({"episode_id": made})

    async def human_feedback(self, request: Request) -> Response:
        """``POST /internal/evaluations/datapoints/{datapoint_id}/get_human_feedback``; without any, ``{}``."""
        datapoint_id: UUID = path_uuid(request, "datapoint_id")
        body = decode(_human_feedback, await read(request, self._max_body_bytes))
        found = await self._gateway.feedback.of_human(body.metric_name, datapoint_id, _canonical(body.output))
        if found is None:
            return _json({})
        return _json({"feedback": {"value": found.value, "evaluator_inference_id": found.evaluator_inference_id}})


def _canonical(text: str) -> str:
    """As outputs are remembered, however the caller has ordered its keys; what is no JSON stays, and is not found."""
    try:
        return canonical_output(msgspec.json.decode(text))
    except (ValueError, RecursionError):
        return text


def _json(body: dict[str, Any]) -> Response:
    return Response(encode(body), media_type="application/json")


def routes(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """The routes of this surface, frequent ones first."""
    endpoints = WorkflowRoutes(gateway, max_body_bytes)
    human = "/internal/evaluations/datapoints/{datapoint_id}/get_human_feedback"
    return [
        Route("POST", "/workflow_evaluation_run/{run_id}/episode", endpoints.episode, native_body),
        Route("POST", "/workflow_evaluation_run", endpoints.begin, native_body),
        Route("POST", human, endpoints.human_feedback, native_body),
    ]
