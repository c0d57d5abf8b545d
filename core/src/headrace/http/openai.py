"""OpenAI's surface: chat completions, embeddings and the list of models, each in its own modules."""

from __future__ import annotations

from starlette.requests import Request

from ..gateway import Gateway
from .errors import openai_body, read
from .json_answer import JsonAnswer
from .native import encode
from .openai_answers import completion
from .openai_bodies import read_chat
from .openai_embeddings import embedding_list, read_embeddings
from .openai_models import model, model_list
from .openai_stream import events
from .readers import asked_by
from .routing import Route
from .sse import EventStream


class OpenAI:
    """The endpoints, bound to one gateway."""

    def __init__(self, gateway: Gateway, max_body_bytes: int) -> None:
        self._gateway = gateway
        self._max_body_bytes = max_body_bytes

    async def chat_completions(self, request: Request) -> JsonAnswer | EventStream:
        """``POST /openai/v1/chat/completions``."""
        body, wanted = read_chat(await read(request, self._max_body_bytes))
        wanted = asked_by(request, wanted)
        if body.stream:
            chunks = await self._gateway.stream(wanted)
            return EventStream(events(chunks, wanted.function_name, shows_usage=body.shows_usage), openai_body)
        return _json(completion(await self._gateway.infer(wanted), wanted.function_name))

    async def embeddings(self, request: Request) -> JsonAnswer:
        """``POST /openai/v1/embeddings``."""
        body, wanted = read_embeddings(await read(request, self._max_body_bytes))
        answer = await self._gateway.embed(
            body.model_name,
            asked_by(request, wanted),
            dryrun=bool(body.dryrun),
            include_raw_response=bool(body.include_raw_response),
        )
        return _json(embedding_list(body, answer))

    async def models(self, request: Request) -> JsonAnswer:
        """``GET /openai/v1/models``."""
        return _json(model_list(self._gateway))

    async def model(self, request: Request) -> JsonAnswer:
        """``GET /openai/v1/models/{id}``; an id may have slashes in it."""
        return _json(model(self._gateway, request.path_params["id"]))


def _json(body: dict[str, object]) -> JsonAnswer:
    return JsonAnswer(encode(body))


def routes(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """The routes of this surface, frequent ones first."""
    endpoints = OpenAI(gateway, max_body_bytes)
    return [
        Route("POST", "/openai/v1/chat/completions", endpoints.chat_completions, openai_body),
        Route("POST", "/openai/v1/embeddings", endpoints.embeddings, openai_body),
        Route("GET", "/openai/v1/models", endpoints.models, openai_body),
        Route("GET", "/openai/v1/models/{id:path}", endpoints.model, openai_body),
    ]
