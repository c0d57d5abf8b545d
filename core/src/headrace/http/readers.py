"""Who asks, as far as is known: for the log of reads of test data, and for who made a datapoint."""

from __future__ import annotations

from typing import TypeVar

from msgspec import structs
from starlette.requests import Request

from ..exchange import InferenceRequest
from ..feedback import FeedbackRequest
from ..holdout import Reader
from ..types import Caller, EmbeddingRequest

API_KEY = "headrace.api_key_public_id"
"""Where in a scope whoever has checked a request's API key leaves its public id."""

READER, PURPOSE = "x-headrace-reader", "x-headrace-purpose"

Asked = TypeVar("Asked", InferenceRequest, EmbeddingRequest, FeedbackRequest)

_MOST = 200  # characters; the rest of a longer header is left out


def asked_by(request: Request, asked: Asked) -> Asked:
    """What is asked, with the API key it is asked with."""
    key: str | None = request.scope.get(API_KEY)
    if key is None:
        return asked
    if isinstance(asked, EmbeddingRequest):
        return structs.replace(asked, caller=Caller({}, key))
    return structs.replace(asked, api_key_public_id=key)


def name_of(request: Request) -> str | None:
    """The public id of the API key, which nobody can make up, or else what the caller says in a header."""
    key: str | None = request.scope.get(API_KEY)
    return key or request.headers.get(READER, "").strip()[:_MOST] or None


def reader_of(request: Request) -> Reader:
    """Who reads; the purpose is what the caller says it is, or the route."""
    purpose = request.headers.get(PURPOSE, "").strip()[:_MOST]
    return Reader(name_of(request) or "unknown", purpose or f"{request.method} {request.url.path}"[:_MOST])
