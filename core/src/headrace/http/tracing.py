"""The span of a request, around everything that answers it; and what a request says of its own trace (2.4 and 2.8)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import BadRequest, HeadraceError
from ..tracing import NOTHING_CUSTOM, Attribute, Custom, Node, Tracing, during, fits_export

PREFIX: Final = b"tensorzero-otlp-traces-extra-"

_CUSTOM: Final = "headrace.trace"
_VISIBLE: Final = re.compile(r"[\t\x20-\x7e]*")
# What a JSON value is called where it cannot be an attribute.
_KINDS: Final[Mapping[type, str]] = {
    type(None): "Null values",
    int: "Numbers",
    float: "Numbers",
    list: "Arrays",
    dict: "Objects",
}

_ROUTES: Final[Mapping[tuple[str, str], str]] = {
    ("POST", path): path
    for path in (
        "/inference",
        "/openai/v1/chat/completions",
        "/openai/v1/embeddings",
        "/openai/v1/responses",
        "/anthropic/v1/messages",
        "/feedback",
        "/batch_inference",
    )
}
_BATCHES: Final = (
    (re.compile(r"/batch_inference/[^/]+"), "/batch_inference/{batch_id}"),
    (re.compile(r"/batch_inference/[^/]+/inference/[^/]+"), "/batch_inference/{batch_id}/inference/{inference_id}"),
)


# -- what a request says ----------------------------------------------------------------------------------


def speaks_of_traces(scope: Scope) -> bool:
    """Whether there is a header to look at; asked of every request."""
    for name, _ in scope["headers"]:
        if name.startswith(PREFIX):
            return True
    return False


def keep_custom(scope: Scope) -> None:
    """Leave what the headers say where the root span finds it. Raise HeadraceError for one that cannot be."""
    headers: dict[str, str] = {}
    resource: dict[str, str] = {}
    attributes: dict[str, str | bool] = {}
    for raw_name, raw_value in scope["headers"]:
        if not raw_name.startswith(PREFIX):
            continue
        full, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        kind, _, name = full[len(PREFIX) :].partition("-")
        if kind == "header":
            if not fits_export(name, value):
                raise HeadraceError(f"Failed to parse `{full}` as metadata of an export: invalid name or value")
            headers[name] = value
        elif kind == "resource":
            if not _VISIBLE.fullmatch(value):
                raise BadRequest(f"Failed to parse `{full}` as a string: it is not visible ASCII")
            resource[name] = value
        elif kind == "attribute":
            attributes[name] = _attribute(full, raw_value)
    scope[_CUSTOM] = Custom(headers, resource, attributes)


def _attribute(full: str, raw: bytes) -> str | bool:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"Failed to parse `{full}` value as valid JSON: {error}") from None
    if isinstance(value, str | bool):
        return value
    raise BadRequest(f"Failed to convert `{full}` to an attribute: {_KINDS[type(value)]} are not yet supported")


# -- the span ---------------------------------------------------------------------------------------------


class Traced:
    """Plain ASGI around all that answers requests, on the routes that are traced. What streams on, ends on its own."""

    def __init__(self, app: ASGIApp, tracing: Tracing, base_path: str = "/") -> None:
        self._app = app
        self._tracing = tracing
        self._base = base_path.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, in a span."""
        route = self._route(scope) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        context = {
            name.decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        node = self._tracing.root(
            f"{scope['method']} {route}",
            dict(_said(scope, route)),
            context=context,
            custom=scope.get(_CUSTOM, NOTHING_CUSTOM),
        )
        head = _Head(node, send)
        with during(node):
            await self._app(scope, receive, head.send)

    def _route(self, scope: Scope) -> str | None:
        path: str = scope["path"]
        if not path.startswith(self._base):
            return None
        path = path[len(self._base) :]
        if scope["method"] == "GET" and path.startswith("/batch_inference/"):
            return next((route for pattern, route in _BATCHES if pattern.fullmatch(path)), None)
        return _ROUTES.get((scope["method"], path))


class _Head:
    """Ends the span with the head of the response; an error's text is in the body, which comes right behind."""

    def __init__(self, node: Node, send: Send) -> None:
        self._node = node
        self._send = send
        self._status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._node.set({"http.response.status_code": self._status})
            if self._status < 400:
                self._node.end()
        elif message["type"] == "http.response.body" and self._status >= 400:
            text = _error_in(message.get("body", b""))
            self._node.end("" if text is None and self._status >= 500 else text)
        await self._send(message)


def _said(scope: Scope, route: str) -> Iterator[tuple[str, Attribute]]:
    yield "http.request.method", scope["method"]
    yield "http.route", route
    yield "url.path", scope["path"]
    if scope["query_string"]:
        yield "url.query", scope["query_string"].decode("latin-1")
    yield "url.scheme", scope.get("scheme", "http")
    yield "network.protocol.version", scope["http_version"]
    for name, value in scope["headers"]:
        if name == b"host":
            yield "server.address", value.decode("latin-1")
        elif name == b"user-agent":
            yield "user_agent.original", value.decode("latin-1")
    yield "span.type", "web"


def _error_in(body: bytes) -> str | None:
    """The message of an error in any surface's form; None if the body is none."""
    try:
        error = msgspec.json.decode(body)["error"]
        text = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return text if isinstance(text, str) else None
