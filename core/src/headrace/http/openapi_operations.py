"""Every operation of the HTTP API in a line or two: what its route takes, answers, and can refuse with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from . import anthropic_bodies, batch_bodies, bodies, openai_bodies, openai_embeddings, responses_bodies
from . import openapi_answers as told

U32 = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
TEXT = {"type": "string"}
UUID_TEXT = {"type": "string", "format": "uuid"}

# What can go wrong with a call of a model, of a function without one, and of a store.
_CALL = (400, 404, 408, 429, 500, 501, 502, 503)
_BATCH = (400, 404, 500, 501, 502, 503)
STORE = (400, 404, 500, 501, 503)
_WHEN = {
    400: "The request cannot be served as it stands.",
    404: "A name or id in the request does not exist.",
    408: "A time limit has passed.",
    429: "A rate limit of the configuration.",
    500: "Something inside failed: every provider of a pinned variant's model, a template, a file.",
    501: "Known, but not in this version.",
    502: "Every variant failed.",
    503: "The store cannot be reached, or another part that is needed.",
}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A method of a path. ``answers`` are types, any of which may come; ``errors`` statuses of its surface's body.

    ``streams`` says that the answer can be events instead, ``parameters`` are schemas by name: those that are not in
    the path are in the query. ``media`` is the type of the answer.
    """

    method: str
    path: str
    summary: str
    tag: str
    answers: tuple[Any, ...] = (str,)
    body: Any = None
    errors: tuple[int, ...] = ()
    error: Any = told.NativeError
    streams: bool = False
    parameters: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    media: str = "application/json"
    unwell: Any = None

    @property
    def refuses_parameters(self) -> bool:
        """Whether a parameter that cannot be read is told in plain text."""
        return bool(self.required) or any(schema != TEXT for schema in self.parameters.values())


def when(status: int) -> str:
    """What a status means."""
    return f"{HTTPStatus(status).phrase}. {_WHEN[status]}"


_INTERNAL = "/internal/functions/{function_name}/variant_sampling_probabilities"

OPERATIONS = (
    Operation(
        method="POST",
        path="/inference",
        summary="Call a function, or a model by its name",
        tag="inference",
        body=bodies.InferenceBody,
        answers=(told.ChatAnswer, told.JsonAnswer),
        errors=_CALL,
        streams=True,
    ),
    Operation(
        method="POST",
        path="/feedback",
        summary="Say how good an inference or an episode was",
        tag="inference",
        body=bodies.FeedbackBody,
        answers=(told.FeedbackAnswer,),
        errors=STORE,
    ),
    Operation(
        method="POST",
        path="/openai/v1/chat/completions",
        summary="Call a function or a model, in the words of OpenAI's chat completions",
        tag="openai",
        body=openai_bodies.ChatBody,
        answers=(told.Completion,),
        errors=_CALL,
        error=told.OpenAIError,
        streams=True,
    ),
    Operation(
        method="POST",
        path="/openai/v1/embeddings",
        summary="Vectors of texts",
        tag="openai",
        body=openai_embeddings.EmbeddingsBody,
        answers=(told.EmbeddingList,),
        errors=_CALL,
        error=told.OpenAIError,
    ),
    Operation(
        method="GET",
        path="/openai/v1/models",
        summary="What `model` may be",
        tag="openai",
        answers=(told.ModelList,),
    ),
    Operation(
        method="GET",
        path="/openai/v1/models/{id}",
        summary="One of the things that `model` may be; an id may have slashes in it",
        tag="openai",
        answers=(told.ModelObject,),
        errors=(404,),
        error=told.OpenAIError,
        parameters={"id": TEXT},
    ),
    Operation(
        method="POST",
        path="/openai/v1/responses",
        summary="Call a function or a model, in the words of OpenAI's Responses",
        tag="openai",
        body=responses_bodies.ResponsesBody,
        answers=(told.ResponsesAnswer,),
        errors=_CALL,
        error=told.ResponsesError,
        streams=True,
    ),
    Operation(
        method="POST",
        path="/anthropic/v1/messages",
        summary="Call a function or a model, in the words of Anthropic's Messages",
        tag="anthropic",
        body=anthropic_bodies.MessagesBody,
        answers=(told.MessageAnswer,),
        errors=_CALL,
        error=told.AnthropicError,
        streams=True,
    ),
    Operation(
        method="POST",
        path="/batch_inference",
        summary="Many inferences now, their answers later",
        tag="batch",
        body=batch_bodies.BatchBody,
        answers=(told.BatchStartedAnswer,),
        errors=_BATCH,
    ),
    Operation(
        method="GET",
        path="/batch_inference/{batch_id}",
        summary="How a batch stands, and its answers once they are there",
        tag="batch",
        answers=(told.BatchAnswer,),
        errors=_BATCH,
        parameters={"batch_id": UUID_TEXT},
    ),
    Operation(
        method="GET",
        path="/batch_inference/{batch_id}/inference/{inference_id}",
        summary="The same, with one inference alone",
        tag="batch",
        answers=(told.BatchAnswer,),
        errors=_BATCH,
        parameters={"batch_id": UUID_TEXT, "inference_id": UUID_TEXT},
    ),
    Operation(
        method="GET",
        path=_INTERNAL,
        summary="How likely each variant of a function is drawn",
        tag="platform",
        answers=(told.Probabilities,),
        errors=(404, 500),
        parameters={"function_name": TEXT},
    ),
    Operation(
        method="GET",
        path="/internal/config",
        summary="The configuration that runs",
        tag="platform",
        answers=(told.ConfigAnswer,),
    ),
    Operation(
        method="GET",
        path="/internal/config/{hash}",
        summary="A configuration that ran",
        tag="platform",
        answers=(told.ConfigAnswer,),
        errors=(404, 503),
        parameters={"hash": TEXT},
    ),
    Operation(
        method="GET",
        path="/internal/object_storage",
        summary="The bytes of a stored file; `storage_path` is JSON, as inferences show it",
        tag="platform",
        answers=(told.StoredFile,),
        errors=(400, 404, 500, 503),
        parameters={"storage_path": TEXT},
        required=frozenset({"storage_path"}),
    ),
    Operation(
        method="GET",
        path="/status",
        summary="Version and configuration",
        tag="status",
        answers=(told.StatusAnswer,),
    ),
    Operation(
        method="GET",
        path="/health",
        summary="Whether the gateway can work",
        tag="status",
        answers=(told.HealthAnswer,),
        unwell=told.HealthAnswer,
    ),
    Operation(
        method="GET",
        path="/metrics",
        summary="Counters for Prometheus",
        tag="status",
        media="text/plain",
    ),
    Operation(
        method="GET",
        path="/openapi.json",
        summary="This document",
        tag="status",
        answers=(dict[str, Any],),
    ),
)
