"""From an exception to the body and status that each surface promises, and from bad bytes to an exception."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..errors import BadRequest, HeadraceError

log = logging.getLogger(__name__)

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Any]]
ErrorBody = Callable[[str], dict[str, Any]]

_AT = re.compile(r"^(?P<reason>.*?) - at `(?:key in )?\$\.?(?P<path>.*)`$", re.DOTALL)


def native_body(message: str) -> dict[str, Any]:
    """``{"error": message}``."""
    return {"error": message}


def openai_body(message: str) -> dict[str, Any]:
    """``{"error": {"message": message}}``."""
    return {"error": {"message": message}}


def status_of(error: Exception) -> int:
    """The HTTP status of an error (http-api 4.2); anything unforeseen is a 500."""
    return error.http_status if isinstance(error, HeadraceError) else 500


def message_of(error: Exception) -> str:
    """What the caller is told. Our own mistakes are logged, not shown."""
    if isinstance(error, HeadraceError):
        return str(error)
    log.error("unforeseen error", exc_info=error)
    return f"Internal error: {type(error).__name__}"


def respond(body: ErrorBody, error: Exception) -> Response:
    """The error as a response of a surface."""
    content = msgspec.json.encode(body(message_of(error)))
    return Response(content, status_of(error), media_type="application/json")


def answers(body: ErrorBody) -> Callable[[Endpoint], Endpoint]:
    """Make an endpoint answer errors in its surface's form instead of raising them."""

    def wrap(endpoint: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Any:
            try:
                return await endpoint(request)
            except ClientDisconnect:
                return Response(status_code=499)
            except Exception as error:
                return respond(body, error)

        return guarded

    return wrap


async def read(request: Request, bound: int) -> bytes:
    """The whole body. Raise BadRequest beyond the bound, without reading on."""
    parts, size = [], 0
    async with aclosing(request.stream()) as stream:
        async for part in stream:
            size += len(part)
            if size > bound:
                raise BadRequest(f"413 Payload Too Large: the request body exceeds {bound} bytes")
            parts.append(part)
    return b"".join(parts)


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """A checked Struct. Raise BadRequest that says where in the document and why."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise BadRequest(_located(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"Failed to parse the request body as JSON: {error} (400 Bad Request)") from None


def _located(text: str) -> str:
    """msgspec's ``reason - at `$.path``` as ``path: reason``."""
    text = text.replace("Object contains unknown field", "unknown field")
    found = _AT.match(text)
    if found is None:
        return text
    return f"{found['path']}: {found['reason']}" if found["path"] else found["reason"]
