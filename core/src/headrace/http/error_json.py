"""An error as data, for ``gateway.unstable_error_json``: ``{"Class": {...}}``, nested as the errors are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .. import errors


def error_json(error: Exception, *, debug: bool) -> dict[str, Any] | str:
    """The externally tagged form (http-api 4.1). An upstream's raw request and response are in it only in debug."""
    if isinstance(error, errors.Unauthenticated):
        return str(error)
    for kind, tag, fields in _FORMS:
        if isinstance(error, kind):
            return {tag: fields(error, debug)}
    if isinstance(error, errors.ProviderError):
        return {"InferenceClient" if error.at_fault == "client" else "InferenceServer": _upstream(error, debug)}
    if isinstance(error, errors.HeadraceError):
        return {type(error).__name__: {"message": str(error)}}
    return {"InternalError": {"message": type(error).__name__}}


def _upstream(error: errors.ProviderError, debug: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"message": error.message, "provider_type": error.provider_type}
    if error.at_fault == "client":
        shown["status_code"] = error.status
    return shown | {
        "raw_request": error.raw_request if debug else None,
        "raw_response": error.raw_response if debug else None,
    }


def _inner(name: str) -> Callable[[Any, bool], dict[str, Any]]:
    def fields(error: Any, debug: bool) -> dict[str, Any]:
        inner: Mapping[str, Exception] | tuple[Exception, ...] = error.errors
        if isinstance(inner, Mapping):
            return {name: {key: error_json(each, debug=debug) for key, each in inner.items()}}
        return {name: [error_json(each, debug=debug) for each in inner]}

    return fields


def _message(error: Any, debug: bool) -> dict[str, Any]:
    return {"message": str(error)}


def _ours_of_provider(error: Any, debug: bool) -> dict[str, Any]:
    return {"message": error.message, "provider_type": error.provider_type}


_Fields = Callable[[Any, bool], dict[str, Any]]


# The first that fits; what is not here is called as our class is.
def _limits(error: Any, debug: bool) -> dict[str, Any]:
    return {"failed_rate_limits": list(error.limits)}


_FORMS: tuple[tuple[type[Exception], str, _Fields], ...] = (
    (errors.AllVariantsFailed, "AllVariantsFailed", _inner("errors")),
    (errors.AllProvidersFailed, "ModelProvidersExhausted", _inner("provider_errors")),
    (errors.AllRetriesFailed, "AllRetriesFailed", _inner("errors")),
    (errors.AllCandidatesFailed, "AllCandidatesFailed", _inner("candidate_errors")),
    (errors.RateLimitExceeded, "RateLimitExceeded", _limits),
    (errors.MissingCredential, "ApiKeyMissing", _ours_of_provider),
    (errors.InvalidExtra, "InvalidExtra", _ours_of_provider),
    (errors.NotForThisProvider, "NotForThisProvider", _ours_of_provider),
    (errors.BadRequest, "InvalidRequest", _message),
)
