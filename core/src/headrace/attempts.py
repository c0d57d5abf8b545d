"""How one try at one provider goes, written down while it does."""

from __future__ import annotations

import logging
import re

from msgspec import UNSET, structs

from .cache import NOTHING_SPENT
from .contracts import Attempt, Clock
from .costs import Rates
from .errors import BadUpstreamReply, HeadraceError, MissingCredential, ProviderError, RateLimited, TimedOut
from .ids import new_id
from .limiting import Reservation
from .pieces import Pieces
from .types import ApiType, Chunk, EmbeddingRequest, EmbeddingResponse, ModelRequest, ModelResponse, Usage

log = logging.getLogger(__name__)

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
_MOST_TOLD = 1000  # characters of an upstream's error in the log; the record has all of it


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

    def time(self) -> float:
        """Now, in seconds since the epoch."""
        return self._clock.time()

    def elapsed_ms(self) -> int:
        """Since the attempt began."""
        return round((self._clock.perf() - self._began) * 1000)

    def answered(self, response: ModelResponse | EmbeddingResponse, rates: Rates) -> None:
        """Note a whole answer, and what it cost: nothing if it is from the cache."""
        attempt = self.attempt
        attempt.response_time_ms = self.elapsed_ms()
        attempt.raw_request, attempt.raw_response = response.raw_request, response.raw_response
        if attempt.cached:
            attempt.usage = structs.replace(response.usage, cost=NOTHING_SPENT.cost)
        else:
            attempt.usage, attempt.price_version = rates.priced(response, self.time())
        attempt.raw_usage = response.raw_usage
        if isinstance(response, ModelResponse):
            attempt.output, attempt.finish_reason = response.output, response.finish_reason

    def failed(self, error: Exception, *, debug: bool = False) -> HeadraceError:
        """Note the failure. A plugin's own bug counts as its upstream's failure, so that the next one is tried.

        ``debug`` puts the raw request and response into the error's text.
        """
        attempt = self.attempt
        bug: Exception | None = None
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
        attempt.error, attempt.failure = str(error), kind_of(error)
        if bug is None:
            level = logging.ERROR if error.http_status >= 500 and not _is_expected(error) else logging.WARNING
            told = "model %s, provider %s failed: %s"
            log.log(level, told, attempt.model_name, attempt.provider_name, attempt.error[:_MOST_TOLD])
        return error

    def ended(self, why: str) -> None:
        """Note that nobody waits for the rest."""
        self.attempt.response_time_ms = self.elapsed_ms()
        self.attempt.error, self.attempt.failure = why, "cancelled"


def kind_of(error: HeadraceError) -> str:
    """A word for its kind: that of its class, or for an upstream's plain refusal that of its status."""
    if type(error) is ProviderError:
        return "server_error" if error.status is None else f"http_{error.status // 100}xx"
    return _CAPITAL.sub("_", type(error).__name__).lower()


def _is_expected(error: HeadraceError) -> bool:
    """Whether the caller, or the time that it takes, is to blame."""
    return isinstance(error, TimedOut | RateLimited | MissingCredential) or (
        isinstance(error, ProviderError) and error.at_fault == "client"
    )


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

    def close(self, rates: Rates) -> None:
        """Note what came, however the stream ended; what an error brought came last."""
        if not self.begun:
            return
        attempt, pieces = self._watch.attempt, self._pieces
        raws = [chunk.raw for chunk in self.chunks]
        attempt.response_time_ms = self._watch.elapsed_ms()
        attempt.raw_response = "\n".join(raw for raw in (*raws, attempt.raw_response) if raw)
        attempt.output, attempt.finish_reason = pieces.blocks(), pieces.finish_reason
        attempt.usage = pieces.usage or Usage()
        attempt.raw_usage = pieces.raw_usage[-1] if pieces.raw_usage else UNSET
        if attempt.cached:
            attempt.usage = structs.replace(attempt.usage, cost=NOTHING_SPENT.cost)
        else:
            attempt.usage, attempt.price_version = rates.streamed(
                self.chunks, attempt.usage, attempt.raw_usage, self._watch.time(), is_whole=attempt.error is None
            )
