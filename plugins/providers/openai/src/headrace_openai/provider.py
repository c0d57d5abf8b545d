"""The dialect's two endpoints, and the seam for servers that speak it with an accent.

Most such servers need no code: ``type = "openai"`` with ``api_base``. A plugin of its own composes or subclasses
``OpenAI``: give it settings with the server's base, and a ``Dialect`` for the usual deltas (label, name of the
token limit, what the server does not know); override ``headers`` for another authentication and ``body`` for anything
else. What a request writes into body and headers by hand is applied after both.

    llama = OpenAI(Settings(model_name="m", api_base=base, api_key_location="none"), services, dialect=LLAMA)

Retries and fallback are core's business, not ours.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Literal

import msgspec
from headrace import Services
from headrace.credentials import Secret
from headrace.errors import BadUpstreamReply, ConfigError, ProviderError
from headrace.extras import apply_body, apply_headers
from headrace.media import File
from headrace.transport import Call, StreamedReply
from headrace.types import (
    Chunk,
    EmbeddingRequest,
    EmbeddingResponse,
    ModelRequest,
    ModelResponse,
)
from pydantic import BaseModel, Field

from . import files, reading, wire
from .dialect import Dialect

_log = logging.getLogger(__name__)

OPENAI = Dialect()

_FORMS = ("env", "path", "path_from_env", "dynamic", "none")


def default_base(environ: Mapping[str, str] = os.environ) -> str:
    """OpenAI's, unless a test run points every provider of this type at a mock."""
    for name in ("HEADRACE_MOCK_PROVIDER_API", "TENSORZERO_INTERNAL_MOCK_PROVIDER_API"):
        if mock := environ.get(name):
            return f"{mock.rstrip('/')}/openai/"
    return "https://api.openai.com/v1/"


class Settings(BaseModel, extra="forbid", frozen=True):
    """A ``[models.*.providers.*]`` or ``[embedding_models.*.providers.*]`` table with ``type = "openai"``."""

    model_name: str
    api_base: str = Field(default_factory=default_base)
    api_key_location: str | dict[str, str] = "env::OPENAI_API_KEY"
    api_type: Literal["chat_completions", "responses"] = "chat_completions"
    include_encrypted_reasoning: bool = False
    provider_tools: list[dict[str, Any]] = []
    content_type_overrides: dict[str, files.Part] = {}


class OpenAI:
    """One model behind one server that speaks the dialect. Raise ConfigError for settings it cannot serve."""

    def __init__(self, settings: Settings, services: Services, *, dialect: Dialect = OPENAI) -> None:
        _refuse_responses_api(settings)
        self.model_name = settings.model_name
        self.dialect = dialect
        self._base = settings.api_base if settings.api_base.endswith("/") else f"{settings.api_base}/"
        if self._base.endswith("/chat/completions/"):
            _log.warning("api_base %s already names an endpoint; it should end before chat/completions", self._base)
        self._overrides = {mime.lower(): part for mime, part in settings.content_type_overrides.items()}
        self._key = _secret(settings.api_key_location, services, dialect.name)
        self._transport = services.transport

    # -- what a dialect overrides -------------------------------------------------------------------------

    def headers(self, key: str | None) -> dict[str, str]:
        """Headers of every call; ``key`` is None where no credential is to be sent."""
        headers = {"content-type": "application/json"}
        return {**headers, "authorization": f"Bearer {key}"} if key is not None else headers

    def body(self, request: ModelRequest, *, stream: bool) -> dict[str, Any]:
        """The JSON body of a chat completions request."""
        return wire.chat(self.model_name, request, self.dialect, stream=stream, overrides=self._overrides)

    # -- what core calls ----------------------------------------------------------------------------------

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Run to the end."""
        call = self._call("chat/completions", self.body(request, stream=False), request)
        with _Kept(call):
            reply = await self._transport.send(call)
            reading.raise_for_status(reply.status, reply.headers, reply.body)
            return reading.whole(reply.body, raw_request=call.body.decode(), provider_type=self.dialect.provider_type)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk, None]:
        """Run piece by piece."""
        call = self._call("chat/completions", self.body(request, stream=True), request)
        with _Kept(call):
            async with self._transport.stream(call) as reply:
                await _raise_unless_event_stream(reply)
                chunks = reading.Chunks(raw_request=call.body.decode(), provider_type=self.dialect.provider_type)
                # To the end of the body and not just to [DONE]: only a finished connection can be used again.
                async for part in reply.body:
                    for chunk in chunks.feed(part):
                        yield chunk
                for chunk in chunks.end():
                    yield chunk

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """One vector per input, in order."""
        call = self._call("embeddings", wire.embeddings(self.model_name, request), request)
        with _Kept(call):
            reply = await self._transport.send(call)
            reading.raise_for_status(reply.status, reply.headers, reply.body)
            return reading.vectors(reply.body, raw_request=call.body.decode(), expected=_inputs(request))

    def takes_url(self, file: File) -> bool:
        """Whether the server fetches this file itself: images, unless they are to be sent as something else."""
        return files.takes_url(file, self.dialect, self._overrides)

    def _call(self, path: str, body: dict[str, Any], request: ModelRequest | EmbeddingRequest) -> Call:
        """What was built, then what was written into it by hand, serialised once."""
        headers = self.headers(self._key.reveal(request.credentials))
        if request.extra:
            body = apply_body(body, request.extra.body)
            headers = apply_headers(headers, request.extra.headers)
        return Call(f"{self._base}{path}", msgspec.json.encode(body), headers)


class _Kept:
    """Whatever fails inside, the record of the attempt shows what was asked."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ProviderError):
            error.raw_request = self._call.body.decode()


async def _raise_unless_event_stream(reply: StreamedReply) -> None:
    """Look at the status before the type: Google labels even its error JSON as an event stream."""
    if not 200 <= reply.status < 300:
        reading.raise_for_status(reply.status, reply.headers, await reply.read())
    found = reply.headers.get("content-type", "")
    if not found.lower().startswith("text/event-stream"):
        text = (await reply.read()).decode(errors="replace")
        raise BadUpstreamReply(
            f"Expected content-type text/event-stream, found `{found}`: {text}", status=reply.status, raw_response=text
        )


def _inputs(request: EmbeddingRequest) -> int:
    """A list of numbers is one text in tokens."""
    wanted = request.input
    return len(wanted) if isinstance(wanted, list) and not all(isinstance(item, int) for item in wanted) else 1


def _secret(location: str | dict[str, str], services: Services, name: str) -> Secret:
    for form in location.values() if isinstance(location, dict) else (location,):
        if form.partition("::")[0] not in _FORMS:
            raise ConfigError(
                f"Invalid api_key_location for {name} provider: `{form}` "
                "(use `env::NAME`, `path::FILE`, `path_from_env::NAME`, `dynamic::KEY` or `none`)"
            )
    try:
        return services.secret(location)
    except ConfigError as error:
        raise ConfigError(f"API key missing for provider {name}: {error}") from None


def _refuse_responses_api(settings: Settings) -> None:
    if settings.api_type == "responses":
        raise ConfigError('api_type = "responses" comes with a later release; use "chat_completions"')
    for key in ("include_encrypted_reasoning", "provider_tools"):
        if getattr(settings, key):
            raise ConfigError(f'{key} needs api_type = "responses"; remove it')
