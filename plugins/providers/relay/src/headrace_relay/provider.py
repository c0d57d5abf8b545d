"""POST /inference and POST /openai/v1/embeddings of another gateway. What a model is, that gateway knows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from headrace import Services
from headrace.credentials import Secret
from headrace.errors import BadUpstreamReply, ConfigError, NotForThisProvider, ProviderError
from headrace.media import File
from headrace.transport import Call, StreamedReply
from headrace.types import ApiType, Chunk, EmbeddingRequest, EmbeddingResponse, ModelRequest, ModelResponse
from pydantic import BaseModel

from . import reading, wire

_FORMS = ("env", "dynamic", "none")


class Settings(BaseModel, extra="forbid", frozen=True):
    """The other gateway, and what it calls the model; core fills it from ``[gateway.relay]``."""

    model_name: str
    gateway_url: str
    api_key_location: str | dict[str, str] = "none"


class Relay:
    """One model of another gateway. Raise ConfigError for a credential that is not there."""

    api_type: ApiType = "other"

    def __init__(self, settings: Settings, services: Services) -> None:
        self._model = settings.model_name
        self._url = settings.gateway_url.rstrip("/")
        self._key = _secret(settings.api_key_location, services)
        self._transport = services.transport

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Run to the end."""
        body = wire.inference(self._model, request, stream=False)
        call, shown = self._call("inference", body, "credentials", request.credentials)
        with _request_kept(shown):
            reply = await self._transport.send(call)
            reading.raise_for_status(reply.status, reply.body)
            return reading.whole(reply.body, raw_request=shown)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk, None]:
        """Run piece by piece."""
        body = wire.inference(self._model, request, stream=True)
        call, shown = self._call("inference", body, "credentials", request.credentials)
        with _request_kept(shown):
            async with self._transport.stream(call) as reply:
                await _raise_unless_event_stream(reply)
                chunks = reading.Chunks(raw_request=shown)
                # To the end of the body and not just to [DONE]: only a finished connection can be used again.
                async for part in reply.body:
                    for chunk in chunks.feed(part):
                        yield chunk
                for chunk in chunks.end():
                    yield chunk

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """One vector per input, in order."""
        if request.extra:
            raise NotForThisProvider("Embeddings of another gateway take no `extra_body` and no `extra_headers`")
        body = wire.embeddings(self._model, request)
        call, shown = self._call("openai/v1/embeddings", body, "tensorzero::credentials", request.credentials)
        with _request_kept(shown):
            reply = await self._transport.send(call)
            reading.raise_for_status(reply.status, reply.body)
            return reading.vectors(reply.body, raw_request=shown, expected=wire.inputs(request))

    def takes_url(self, file: File) -> bool:
        """Whether the other gateway fetches this file itself: unless it lies in this one's own object store."""
        return file.source_url is not None and file.storage_path is None

    def _call(self, path: str, body: dict[str, Any], field: str, brought: Mapping[str, str]) -> tuple[Call, str]:
        """What goes out, and its text for the record: the same, but that credentials are never recorded."""
        headers = {"content-type": "application/json"}
        if (key := self._key.reveal(brought)) is not None:
            headers["authorization"] = f"Bearer {key}"
        shown = msgspec.json.encode(body)
        sent = msgspec.json.encode({**body, field: brought}) if brought else shown
        return Call(f"{self._url}/{path}", sent, headers), shown.decode()


@contextmanager
def _request_kept(shown: str) -> Iterator[None]:
    """Whatever fails, the record of the attempt shows what was asked."""
    try:
        yield
    except ProviderError as error:
        error.raw_request = shown
        raise


async def _raise_unless_event_stream(reply: StreamedReply) -> None:
    if not 200 <= reply.status < 300:
        reading.raise_for_status(reply.status, await reply.read())
    found = reply.headers.get("content-type", "")
    if not found.lower().startswith("text/event-stream"):
        text = (await reply.read()).decode(errors="replace")
        raise BadUpstreamReply(
            f"Expected content-type text/event-stream, found `{found}`: {text}", status=reply.status, raw_response=text
        )


def _secret(location: str | dict[str, str], services: Services) -> Secret:
    for form in location.values() if isinstance(location, dict) else (location,):
        if form.partition("::")[0] not in _FORMS:
            raise ConfigError(
                f"Invalid api_key_location for relay: `{form}` (use `env::NAME`, `dynamic::KEY`, `none` or a pair)"
            )
    try:
        return services.secret(location)
    except ConfigError as error:
        raise ConfigError(f"API key missing for provider relay: {error}") from None
