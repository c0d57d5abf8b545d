"""A model in a GGUF file as a provider: the file, the process that serves it, and OpenAI's dialect between them."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Protocol, Self

import anyio.to_thread
from headrace import Services
from headrace.errors import ConfigError, ProviderError, Unreachable
from headrace.types import (
    Chunk,
    EmbeddingRequest,
    EmbeddingResponse,
    ModelRequest,
    ModelResponse,
    Specific,
    ToolConfig,
)
from headrace_openai import Dialect, OpenAI
from headrace_openai import Settings as OpenAISettings
from msgspec import structs
from pydantic import BaseModel, Field, field_validator, model_validator

from . import gguf, weights
from .server import Plan, Server

_LLAMACPP = Dialect(
    name="llama.cpp",
    provider_type="llamacpp",
    token_limit="max_tokens",
    allowed_tools=False,
    custom_tools=False,
    files=False,
)

# Below this size one thread generates best: SmolLM2 gives 43-74 tokens a second with one; with two 46-63 on an idle
# machine, and 5 when another process wants a core, because the threads spin while they wait for each other.
_ONE_THREAD_BYTES = 200_000_000


class Settings(BaseModel, extra="forbid", frozen=True):
    """A ``[models.*.providers.*]`` or ``[embedding_models.*.providers.*]`` table with ``type = "llamacpp"``.

    Exactly one of ``model`` (pulled weights) and ``path`` (any GGUF file). Paths are relative to where the gateway
    was started. ``n_ctx`` tokens are shared equally by ``n_parallel`` requests at a time; others wait their turn.
    """

    model: str | None = None
    path: Path | None = None
    n_ctx: int = Field(default=4096, ge=64)
    n_parallel: int = Field(default=2, ge=1, le=64)
    threads: int | None = Field(default=None, ge=1)
    embeddings: bool | None = None
    chat_template: Path | None = None
    startup_timeout_s: float = Field(default=60.0, gt=0)

    @field_validator("model")
    @classmethod
    def _is_known(cls, model: str | None) -> str | None:
        if model is not None and model not in weights.KNOWN:
            raise ValueError(
                f"no weights {model!r} (known: {', '.join(weights.KNOWN)}); for a file of yours use `path`"
            )
        return model

    @model_validator(mode="after")
    def _names_one_file(self) -> Self:
        if (self.model is None) == (self.path is None):
            raise ValueError("say exactly one of `model` (pulled weights) and `path` (a GGUF file)")
        return self


class Upstream(Protocol):
    """Where the model answers: ``Server``, or whatever a test puts in its place."""

    async def address(self) -> str:
        """Its ``http://host:port`` now. Raise ProviderError if there is none."""

    async def last_words(self) -> str | None:
        """What it said before it died; None while it lives."""


class LlamaCpp:
    """One GGUF file behind a llama.cpp of its own, from ``__aenter__`` to ``__aexit__``.

    Nothing is shared: two providers that name the same file cost two processes, of which the kernel keeps the
    file's pages once. ``upstream`` stands in for the process; then entering and leaving do nothing.
    """

    def __init__(self, settings: Settings, services: Services, *, upstream: Upstream | None = None) -> None:
        self._settings = settings
        self._services = services
        self._upstream = upstream
        self._server: Server | None = None
        self._has_tools = True
        self._dialect: tuple[str, OpenAI] | None = None

    async def __aenter__(self) -> Self:
        """Start the process and wait for the model. Raise ConfigError for a file that cannot be served."""
        if self._upstream is None:
            plan = await anyio.to_thread.run_sync(self._plan)
            server = Server(plan, startup_timeout_s=self._settings.startup_timeout_s)
            try:
                await server.start()
            except ProviderError as error:
                raise ConfigError(f"llamacpp: cannot serve {plan.path}: {error.message}") from None
            self._upstream = self._server = server
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop the process."""
        if self._server is not None:
            await self._server.stop()

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Run to the end."""
        request = self._fitted(request)
        async with self._speaking() as dialect:
            return await dialect.complete(request)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk, None]:
        """Run piece by piece."""
        request = self._fitted(request)
        async with self._speaking() as dialect, aclosing(dialect.stream(request)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """One vector per input, in order."""
        async with self._speaking() as dialect:
            return await dialect.embed(request)

    @asynccontextmanager
    async def _speaking(self) -> AsyncGenerator[OpenAI, None]:
        """The dialect at the process's present address; that the process died is told in its own last words."""
        if self._upstream is None:
            raise ProviderError("the model is not running: its provider has not been entered")
        address = await self._upstream.address()
        if self._dialect is None or self._dialect[0] != address:
            # The name is never a file's: the dialect treats some model names in ways of their own.
            settings = OpenAISettings(model_name="local", api_base=f"{address}/v1/", api_key_location="none")
            self._dialect = address, OpenAI(settings, self._services, dialect=_LLAMACPP)
        try:
            yield self._dialect[1]
        except Unreachable as error:
            words = await self._upstream.last_words()
            if words is None:
                raise
            raise ProviderError(f"llama.cpp died: {words}", raw_request=error.raw_request) from error

    def _fitted(self, request: ModelRequest) -> ModelRequest:
        """The request as llama.cpp can honour it. Raise ProviderError for tools that the model would never see."""
        if request.tools is None or not request.tools.tools or request.tools.choice == "none":
            return request
        if not self._has_tools:
            raise ProviderError(
                "the model's chat template knows no tools; use another model, or a `chat_template` that does",
                status=400,
                at_fault="client",
            )
        return structs.replace(request, tools=_narrowed(request.tools))

    def _plan(self) -> Plan:
        """Look at the files. Raise ConfigError."""
        settings = self._settings
        path, remedy = self._file()
        try:
            header = gguf.check(path)
            size = path.stat().st_size
        except OSError as error:
            raise ConfigError(f"llamacpp: cannot read {path}: {error.strerror}; {remedy}") from None
        except ValueError as error:
            raise ConfigError(f"llamacpp: cannot serve {path}: {error}; {remedy}") from None
        template = _template(settings.chat_template)
        self._has_tools = "tools" in (template or header.metadata.get("tokenizer.chat_template", ""))
        cores = _cores()
        return Plan(
            path=str(path),
            n_ctx=settings.n_ctx,
            n_parallel=settings.n_parallel,
            threads=settings.threads or (1 if size < _ONE_THREAD_BYTES else cores),
            batch_threads=settings.threads or cores,
            embeddings=header.embeds if settings.embeddings is None else settings.embeddings,
            chat_template=template,
        )

    def _file(self) -> tuple[Path, str]:
        """The file, and what to do if it is not there or not whole."""
        if self._settings.path is not None:
            return self._settings.path.expanduser().absolute(), "`path` has to name a whole GGUF file"
        assert self._settings.model
        return weights.path(self._settings.model), f"run `headrace models pull {self._settings.model}`"


def _narrowed(config: ToolConfig) -> ToolConfig:
    """llama.cpp knows tool choices of one word only, so the choice of one tool becomes a list of one."""
    if not isinstance(config.choice, Specific):
        return config
    return structs.replace(config, choice="required", allowed=(config.choice.specific,))


def _template(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"llamacpp: cannot read chat_template {path}: {error}") from None


def _cores() -> int:
    """Those this process may use; a container may have fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
