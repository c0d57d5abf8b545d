"""Models that another gateway runs (config spec 19): what of a request is for which provider, that one knows."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import structs

from .contracts import Attempt, Provider
from .errors import AllProvidersFailed, MissingCredential, ProviderError
from .extras import Extra
from .models import RoutedEmbeddingModel, RoutedModel
from .routes import Route
from .types import Chunk, EmbeddingRequest, EmbeddingResponse, ModelRequest, ModelResponse

# What records say of the provider of such a model, and of its type.
RELAY = "tensorzero::relay"


class RelayedModel(RoutedModel):
    """A model of another gateway: what of a request is for which provider, and whose an answer is, that one knows."""

    async def complete(self, request: ModelRequest, attempts: list[Attempt]) -> ModelResponse:
        """The other gateway's answer. Raise its error, or TimedOut."""
        try:
            return await super().complete(self._asked(request), attempts)
        except AllProvidersFailed as failed:
            error = _bare(failed)
            raise error from error.__cause__

    async def stream(self, request: ModelRequest, attempts: list[Attempt]) -> AsyncGenerator[Chunk, None]:
        """The same piece by piece."""
        try:
            async with aclosing(super().stream(self._asked(request), attempts)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except AllProvidersFailed as failed:
            error = _bare(failed)
            raise error from error.__cause__

    def _asked(self, request: ModelRequest) -> ModelRequest:
        """Entries for another model do not go along; which provider one is for cannot be said in a relayed call."""
        if not request.extra:
            return request
        entries = Extra(
            tuple(structs.replace(each, provider_name=None) for each in request.extra.body),
            tuple(structs.replace(each, provider_name=None) for each in request.extra.headers),
        )
        return structs.replace(request, extra=entries)

    def _concerning(self, route: Route[Provider], request: ModelRequest) -> ModelRequest:
        return request

    def _named(self, response: ModelResponse, route: Route[Provider]) -> ModelResponse:
        return response

    def _named_chunk(self, chunk: Chunk, route: Route[Provider]) -> Chunk:
        return chunk


class RelayedEmbeddingModel(RoutedEmbeddingModel):
    """The same for embeddings."""

    async def embed(self, request: EmbeddingRequest, attempts: list[Attempt]) -> EmbeddingResponse:
        """The other gateway's answer. Raise its error, or TimedOut."""
        try:
            return await super().embed(request, attempts)
        except AllProvidersFailed as failed:
            error = _bare(failed)
            raise error from error.__cause__


def _bare(failed: AllProvidersFailed) -> Exception:
    """The one error inside. Its status is the other gateway's, or 502 where that gave none (http-api 4.2)."""
    error = next(iter(failed.errors.values()), failed)
    if isinstance(error, ProviderError) and error.http_status == ProviderError.http_status:
        status = 400 if isinstance(error, MissingCredential) else error.status
        error.http_status = status if status is not None and 400 <= status < 600 else 502
    return error
