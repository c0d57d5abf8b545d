"""How one try at one provider goes, written down while it does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from decimal import Decimal

from msgspec import UNSET, structs

from .cache import NOTHING_SPENT
from .contracts import Attempt, Clock
from .costs import Price, streamed_cost_of
from .errors import BadUpstreamReply, HeadraceError, ProviderError
from .ids import new_id
from .limiting import Reservation
from .pieces import Pieces
from .types import ApiType, Chunk, EmbeddingRequest, EmbeddingResponse, ModelRequest, ModelResponse, Usage

log = logging.getLogger(__name__)


class Watch:
    """One attempt and its clock."""

    def __init__(
        self,
        model_name: str,
        provider_name: str,
        provider_type: str,
        api_type: ApiType,
        request: ModelRequest | EmbeddingRequest,
        clock: Clock,
    ) -> None:
        self.attempt = Attempt(new_id(), model_name, provider_name, provider_type, request, api_type)
        self.reserved: Reservation | None = None
        self._clock = clock
        self._began = clock.perf()

    def elapsed_ms(self) -> int:
        """Since the attempt began."""
        return round((self._clock.perf() - self._began) * 1000)

    def answered(self, response: ModelResponse | EmbeddingResponse, cost: Decimal | None) -> None:
        """Note a whole answer."""
        attempt = self.attempt
        attempt.response_time_ms = self.elapsed_ms()
        attempt.raw_request, attempt.raw_response = response.raw_request, response.raw_response
        attempt.usage = structs.replace(response.usage, cost=cost)
        attempt.raw_usage = response.raw_usage
        if isinstance(response, ModelResponse):
            attempt.output, attempt.finish_reason = response.output, response.finish_reason

    def failed(self, error: Exception, *, debug: bool = False) -> HeadraceError:
        """Note the failure. A plugin's own bug counts as its upstream's failure, so that the next one is tried.

        ``debug`` puts the raw request and response into the error's text.
        """
        attempt = self.attempt
        if not isinstance(error, HeadraceError):
            log.error(
                "provider %s of type %s broke its contract",
                attempt.provider_name,
                attempt.provider_type,
                exc_info=error,
            )
            bug, error = error, ProviderError(f"{type(error).__name__}: {error}")
            error.__cause__ = bug
        if isinstance(error, ProviderError):
            error.provider_type = attempt.provider_type
            attempt.raw_request = error.raw_request or attempt.raw_request
            attempt.raw_response = error.raw_response or attempt.raw_response
            if debug:
                raws = {"Raw request": error.raw_request, "Raw response": error.raw_response}
                error.message += "".join(f"\n{what}: {raw}" for what, raw in raws.items() if raw)
        attempt.response_time_ms = self.elapsed_ms()
        attempt.error = str(error)
        return error

    def ended(self, why: str) -> None:
        """Note that nobody waits for the rest."""
        self.attempt.response_time_ms = self.elapsed_ms()
        self.attempt.error = why


class StreamWatch:
    """The same for one that comes piece by piece, with the pieces."""

    def __init__(self, watch: Watch) -> None:
        self.begun = False
        self.chunks: list[Chunk] = []
        self._watch = watch
        self._pieces = Pieces()

    def seen(self, chunk: Chunk) -> Chunk:
        """Note a chunk; returns it as the caller may see it. Raise BadUpstreamReply for a garbled first one."""
        attempt = self._watch.attempt
        if chunk.raw_request:
            attempt.raw_request = chunk.raw_request
        self._pieces.add(chunk)
        self.chunks.append(chunk)
        if not self.begun:
            if chunk.error is not None:
                raise BadUpstreamReply(chunk.error, raw_response=chunk.raw)
            if chunk.content or chunk.usage or chunk.finish_reason:
                self.begun = True
                attempt.ttft_ms = self._watch.elapsed_ms()
        return structs.replace(chunk, raw="") if attempt.cached else chunk

    def ended_well(self) -> None:
        """Raise ProviderError if nothing was said."""
        if not self.begun:
            raise ProviderError("the stream ended before the first piece")

    @property
    def is_worth_keeping(self) -> bool:
        """Whether all of it could be read, and it is not from the cache anyway."""
        return not self._watch.attempt.cached and not any(chunk.error for chunk in self.chunks)

    def close(self, prices: Sequence[Price]) -> None:
        """Note what came, however the stream ended; what an error brought came last."""
        if not self.begun:
            return
        attempt, pieces = self._watch.attempt, self._pieces
        raws = [chunk.raw for chunk in self.chunks]
        cost = NOTHING_SPENT.cost if attempt.cached else streamed_cost_of(prices, raws)
        attempt.response_time_ms = self._watch.elapsed_ms()
        attempt.raw_response = "\n".join(raw for raw in (*raws, attempt.raw_response) if raw)
        attempt.output, attempt.finish_reason = pieces.blocks(), pieces.finish_reason
        attempt.usage = structs.replace(pieces.usage or Usage(), cost=cost)
        attempt.raw_usage = pieces.raw_usage[-1] if pieces.raw_usage else UNSET
