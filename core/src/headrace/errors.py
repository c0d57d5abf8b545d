"""The exception tree. Every error says where, what was found, and what would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal


class HeadraceError(Exception):
    """Anything headrace raises on purpose. ``http_status`` is what a caller over HTTP sees.

    ``raw_responses`` (of ``types.RawResponse``) are the failed attempts behind it, when the caller asked for them.
    """

    http_status = 500
    raw_responses: Sequence[Any] = ()


# -- start-up ---------------------------------------------------------------------------------------------


class ConfigError(HeadraceError):
    """The configuration cannot be served. Each of ``problems`` is a line that starts with the TOML key."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class PluginError(HeadraceError):
    """A plugin cannot be used: it failed to load, or two of them offer the same type."""


class SkipPlugin(Exception):
    """Raised by a plugin at import or in its hook: not usable here, and that is all right. Say why."""


# -- requests ---------------------------------------------------------------------------------------------


class BadRequest(HeadraceError):
    """The caller's request cannot be served as it stands."""

    http_status = 400


class Unauthenticated(HeadraceError):
    """The caller shows no API key that is good; what it did show is never in the message."""

    http_status = 401

    def __init__(self, detail: str) -> None:
        super().__init__(f"TensorZero authentication error: {detail}")


class NotFound(HeadraceError):
    """A name or id that the request needs does not exist."""

    http_status = 404


class NotSupported(HeadraceError):
    """Understood and specified, but not offered by this build."""

    http_status = 501


class TimedOut(HeadraceError):
    """A configured time limit has passed."""

    http_status = 408


class AllProvidersFailed(HeadraceError):
    """Every provider of a model failed; ``errors`` maps provider name to its error, in the order tried."""

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        self.errors = dict(errors)
        self.http_status = _status_of_last(self.errors, 500)
        shown = ", ".join(f"{name}: {error}" for name, error in self.errors.items())
        super().__init__(f"All model providers failed to infer with errors: {shown}")


class AllRetriesFailed(HeadraceError):
    """A model was asked several times and failed each time; ``errors`` are in order."""

    def __init__(self, errors: Sequence[Exception]) -> None:
        self.errors = tuple(errors)
        self.http_status = getattr(errors[-1], "http_status", 500)
        super().__init__(f"All retries failed with errors: {', '.join(map(str, errors))}")


class AllCandidatesFailed(HeadraceError):
    """A variant made of others got an answer from none of them; ``errors`` maps candidate to its error."""

    http_status = 502

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        self.errors = dict(errors)
        shown = ", ".join(f"{name}: {error}" for name, error in self.errors.items())
        super().__init__(f"All candidates failed to infer with errors: {shown}")


class AllVariantsFailed(HeadraceError):
    """Every variant that could be drawn failed; ``errors`` maps variant name to its error."""

    http_status = 502

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        self.errors = dict(errors)
        self.http_status = _status_of_last(self.errors, 502)
        shown = "\n".join(f"{name}: {error}" for name, error in self.errors.items())
        super().__init__(f"All variants failed with errors: {shown}")


def _status_of_last(errors: Mapping[str, Exception], otherwise: int) -> int:
    """429 if what failed last, and innermost, is a rate limit of ours (http-api 4.3)."""
    last: Exception | None = next(reversed(list(errors.values())), None)
    while isinstance(last, (AllProvidersFailed, AllVariantsFailed, AllRetriesFailed)):
        inner = list(last.errors.values()) if isinstance(last.errors, dict) else list(last.errors)
        last = inner[-1] if inner else None
    return 429 if isinstance(last, RateLimitExceeded) else otherwise


class TemplateError(HeadraceError):
    """A template did not compile or render."""


# -- upstream ---------------------------------------------------------------------------------------------


class ProviderError(HeadraceError):
    """An upstream did not give an answer. A provider raises only this class and those below it.

    ``message`` is the upstream's own words, ``status`` its HTTP status if there was one; ``at_fault`` says whom
    the upstream blames. The raw texts are kept for the record of the attempt.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        at_fault: Literal["client", "server"] = "server",
        raw_request: str | None = None,
        raw_response: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.at_fault = at_fault
        self.raw_request = raw_request
        self.raw_response = raw_response
        self.provider_type = "provider"

    def __str__(self) -> str:
        """Say it the way operators grep for it: ``Error 401 Unauthorized from openai client: ...``."""
        if self.at_fault == "server" or self.status is None:
            return f"Error from {self.provider_type} server: {self.message}"
        try:
            phrase = f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            phrase = str(self.status)
        return f"Error {phrase} from {self.provider_type} client: {self.message}"


class RateLimited(ProviderError):
    """The upstream asks us to slow down (HTTP 429)."""


class RateLimitExceeded(ProviderError):
    """A rate limit of our own configuration; the upstream was not asked (http-api 20).

    ``limits`` says for programs which ones: key, requested, available, resource and scope_key of each.
    """

    http_status = 429

    def __init__(self, message: str, *, limits: Sequence[Mapping[str, Any]] = (), **raw: Any) -> None:
        super().__init__(message, **raw)
        self.limits = tuple(limits)

    def __str__(self) -> str:
        """Which limit it is."""
        return self.message


class MissingMaxTokens(ProviderError):
    """Tokens are limited, and nothing says how many this call may answer with; no upstream has been asked."""

    http_status = 400

    def __str__(self) -> str:
        """What is missing."""
        return self.message


class BadUpstreamReply(ProviderError):
    """The upstream answered with something that is not its dialect."""


class Unreachable(ProviderError):
    """No answer at all: refused, reset, unresolved, or too slow. Transports raise it."""


class MissingCredential(ProviderError):
    """The request did not bring the ``dynamic::`` credential that this provider needs."""

    def __str__(self) -> str:
        """Name the provider, then what is missing."""
        return f"API key missing for provider {self.provider_type}: {self.message}"


class InvalidExtra(ProviderError):
    """An entry of ``extra_body`` or ``extra_headers`` that cannot be applied to this provider's request."""

    http_status = 400

    def __str__(self) -> str:
        """What is wrong with the entry; no upstream has been asked."""
        return self.message


class NotForThisProvider(ProviderError):
    """A part of the request that this provider cannot express, where leaving it out would change the meaning."""

    http_status = 400

    def __str__(self) -> str:
        """What it is; no upstream has been asked."""
        return self.message


# -- data -------------------------------------------------------------------------------------------------


class StoreError(HeadraceError):
    """The store could not read or write just now; the records are still ours to keep, and worth another try."""

    http_status = 503


class RecordRefused(StoreError):
    """The store can never write this record, however often it is asked."""


class ObjectStoreError(HeadraceError):
    """A file could not be written to, or read from, the object store."""


class FetchError(HeadraceError):
    """A file named by a URL could not be fetched, or must not be."""


class SealedSplit(HeadraceError):
    """Somebody who learns from data asked for the ``test`` split, which exists to judge what was learnt."""


class EvaluatorError(HeadraceError):
    """An evaluator could not judge one output."""
