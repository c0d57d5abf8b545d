"""From an exception to the body and status that each surface promises, and from bad bytes to an exception."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import msgspec
from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from ..errors import BadRequest, HeadraceError
from .compression import plain
from .error_json import error_json
from .json_answer import JsonAnswer

if TYPE_CHECKING:  # it is one of those who ask here
    from .sse import Pulse

log = logging.getLogger(__name__)

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Any]]
ErrorBody = Callable[[str], dict[str, Any]]

MAX_DEPTH = 128  # as serde_json has it; far below what Python's own recursion bears anywhere further in

_AT = re.compile(r"^(?P<reason>.*?) - at `(?:key in )?\$\.?(?P<path>.*)`$", re.DOTALL)
_VARIANT = re.compile(r"^Invalid (?:enum )?value '(?P<value>.*?)'", re.DOTALL)
_ONE_KIND, _OTHERS = bytes.maketrans(b"{}", b"[]"), bytes(set(range(256)) - set(b"[]{}"))
_EDGE = "headrace.edge"


class BadParameter(BadRequest):
    """A path or query parameter that cannot be read. Answered as plain text on every surface (http-api 1)."""


@dataclass(frozen=True)
class Edge:
    """How an app behaves towards its callers, whatever the surface; see ``create_app``."""

    error_json: bool = False
    debug: bool = False
    pulse: Pulse | None = None


_DEFAULT = Edge()


def keep(edge: Edge, scope: MutableMapping[str, Any]) -> None:
    """Put it where whoever answers this request finds it."""
    scope[_EDGE] = edge


def edge_of(scope: MutableMapping[str, Any]) -> Edge:
    """What the app said, or the defaults where there is no app around a surface."""
    edge: Edge = scope.get(_EDGE, _DEFAULT)
    return edge


class Surface:
    """How one surface writes errors: call it for a plain message, or ask ``of`` for all that is known of an error.

    ``prefix`` goes before the names of fields that the surface's own vendor does not have.
    """

    def __init__(self, prefix: str = "", *, nested: bool = False) -> None:
        self._prefix = prefix
        self._nested = nested

    def __call__(self, message: str, *, raw_chunk: str | None = None) -> dict[str, Any]:
        """The body of an error of which there is only a message, and perhaps the upstream's event."""
        body: dict[str, Any] = {"error": {"message": message} if self._nested else message}
        if raw_chunk is not None:
            body[f"{self._prefix}raw_chunk"] = raw_chunk
        return body

    def of(self, error: Exception, edge: Edge) -> dict[str, Any]:
        """The body of an error, with ``error_json`` and the raw responses of failed attempts where asked for."""
        body = self(message_of(error))
        if edge.error_json:
            shown = error_json(error, debug=edge.debug)
            if self._nested:
                body["error"] |= {f"{self._prefix}error_json": shown, "error_json": shown}
            else:
                body["error_json"] = shown
        if isinstance(error, HeadraceError) and error.raw_responses:
            body[f"{self._prefix}raw_response"] = list(error.raw_responses)
        return body


native_body = Surface()
openai_body = Surface("tensorzero_", nested=True)


def body_of(surface: ErrorBody, error: Exception, edge: Edge) -> bytes:
    """The JSON of an error. A surface may be any function from a message to a body."""
    return msgspec.json.encode(surface.of(error, edge) if isinstance(surface, Surface) else surface(message_of(error)))


def status_of(error: Exception) -> int:
    """The HTTP status of an error (http-api 4.2); anything unforeseen is a 500."""
    return error.http_status if isinstance(error, HeadraceError) else 500


def message_of(error: Exception) -> str:
    """What the caller is told. Our own mistakes are logged, not shown."""
    if isinstance(error, HeadraceError):
        return str(error)
    log.error("unforeseen error", exc_info=error)
    return f"Internal error: {type(error).__name__}"


def respond(body: ErrorBody, error: Exception, edge: Edge = _DEFAULT) -> Response | JsonAnswer:
    """The error as a response of a surface."""
    if isinstance(error, BadParameter):
        return PlainTextResponse(str(error), error.http_status)
    return JsonAnswer(body_of(body, error, edge), status_of(error))


def answers(body: ErrorBody) -> Callable[[Endpoint], Endpoint]:
    """Make an endpoint answer errors in its surface's form instead of raising them."""

    def wrap(endpoint: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Any:
            try:
                return await endpoint(request)
            except ClientDisconnect:
                return Response(status_code=499)
            except Exception as error:
                return respond(body, error, edge_of(request.scope))

        return guarded

    return wrap


async def read(request: Request, bound: int) -> bytes:
    """The whole body, decompressed. Raise BadRequest if it exceeds the bound before or after.

    Of a body that is too large nothing is kept, but as much again is read: a server that closes a connection with bytes
    unread resets it, and the answer is often lost with it.
    """
    parts, size, more = [], 0, True
    while more and size <= 2 * bound:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size <= bound:
            parts.append(part)
        else:
            parts.clear()
    if size > bound:
        raise BadRequest(f"413 Payload Too Large: the request body exceeds {bound} bytes")
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    encoding = next((value for name, value in request.scope["headers"] if name == b"content-encoding"), None)
    if encoding is None:
        return body
    found = await to_thread.run_sync(_plain, encoding.decode("latin-1"), body, bound)
    if isinstance(found, BadRequest):
        raise found
    return found


def _plain(encoding: str, body: bytes, bound: int) -> bytes | BadRequest:
    """What it is plain. An exception that leaves a thread lives, with 100 MiB of a bomb, until the next collection."""
    try:
        return plain(encoding, body, bound)
    except BadRequest as error:
        return error.with_traceback(None)


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """A checked Struct. Raise BadRequest that says where in the document and why."""
    try:
        found = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise BadRequest(_located(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_json(error) from None
    except RecursionError:
        raise _not_json(f"it is nested deeper than {MAX_DEPTH} levels") from None
    if _too_deep(body):
        raise _not_json(f"it is nested deeper than {MAX_DEPTH} levels")
    return found


def path_uuid(request: Request, name: str) -> UUID:
    """A path parameter that must be a UUID. Raise BadParameter."""
    text = str(request.path_params[name])
    try:
        return UUID(text)
    except ValueError:
        raise BadParameter(f"Invalid URL: Cannot parse `{name}` with value `{text[:100]}`: not a UUID") from None


def query_whole(request: Request, name: str) -> int | None:
    """A query parameter that must be a whole number of 32 bits, or None if it is not there. Raise BadParameter."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < 2**32):
        raise BadParameter(f"Failed to deserialize query string: {name}: invalid value `{text[:100]}`: not a u32")
    return int(text)


def _too_deep(body: bytes) -> bool:
    """Whether this JSON is nested too deeply. In few steps that each go through all of it, as bytes do fast."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:  # as nearly always
        return False
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(unescaped.split(b'"')[::2]).translate(_ONE_KIND, _OTHERS)  # outside of strings
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")  # takes the innermost level away
        if not brackets:
            return False
    return bool(brackets)


def _not_json(reason: object) -> BadRequest:
    return BadRequest(f"Failed to parse the request body as JSON: {reason} (400 Bad Request)")


def _located(text: str) -> str:
    """msgspec's ``reason - at `$.path``` as ``path: reason``."""
    found = _AT.match(text)
    reason, path = (found["reason"], found["path"]) if found else (text, "")
    reason = _VARIANT.sub(lambda match: f"unknown variant `{match['value']}`", reason)
    reason = reason.replace("Object contains unknown field", "unknown field")
    return f"{path}: {reason}" if path else reason
