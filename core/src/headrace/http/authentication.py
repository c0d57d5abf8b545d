"""Whoever shows no good API key gets no further: what stands before every route when authentication is on."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..authentication import Authenticator
from ..errors import Unauthenticated
from .anthropic_answers import anthropic_errors
from .errors import ErrorBody, body_of, edge_of, native_body, openai_body, status_of
from .readers import API_KEY
from .responses_answers import responses_errors

# What load balancers and the like ask for, who have no key.
EXEMPT = ("/status", "/health", "/internal/autopilot/status")

_ANTHROPIC = "/anthropic/"

_PASSED_BY = 32 * 1024 * 1024  # bytes
_PATIENCE_S = 5.0


class Guard:
    """Plain ASGI around the router. It goes by the same decoded path as the router, so there is none between them.

    The public id of a good key is in the scope from here on (``readers.API_KEY``).
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator, base_path: str = "/") -> None:
        base = base_path.rstrip("/")
        self._app = app
        self._authenticator = authenticator
        self._exempt = frozenset(base + path for path in EXEMPT)
        self._anthropic = base + _ANTHROPIC
        self._surfaces: Sequence[tuple[str, ErrorBody]] = (
            (base + "/openai/v1/responses", responses_errors),
            (base + "/openai/v1/", openai_body),
            (self._anthropic, anthropic_errors),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through, or answer 401."""
        if scope["type"] != "lifespan" and scope["path"] not in self._exempt:
            try:
                key = await self._authenticator.check(self._shown(scope))
            except Exception as error:
                await self._refuse(error, scope, receive, send)
                return
            scope[API_KEY] = key.public_id
        await self._app(scope, receive, send)

    def _shown(self, scope: Scope) -> bytes | None:
        """The header to go by. Anthropic's SDKs show their key in one of their own."""
        if (found := _header(scope, b"authorization")) is None and scope["path"].startswith(self._anthropic):
            key = _header(scope, b"x-api-key")
            return None if key is None else b"Bearer " + key
        return found

    async def _refuse(self, error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        await _pass_by(receive)
        path: str = scope["path"]
        body = next((body for prefix, body in self._surfaces if path.startswith(prefix)), native_body)
        content, status = body_of(body, error, edge_of(scope)), status_of(error)
        headers = {"www-authenticate": "Bearer"} if status == 401 else {}
        await Response(content, status, headers, "application/json")(scope, receive, send)


async def _pass_by(receive: Receive) -> None:
    """Let the body go by, but not for ever: nobody knows who sends it.

    A server that closes a connection with bytes unread resets it, and the answer is lost with it.
    """
    size = 0
    with anyio.move_on_after(_PATIENCE_S):
        while size < _PASSED_BY:
            message = await receive()
            size += len(message.get("body", b""))
            if not message.get("more_body", False):  # the end, or a client that has gone
                return


def _header(scope: Scope, name: bytes) -> bytes | None:
    """Its value. Raise Unauthenticated for two of them: a proxy before us may have looked at the other one."""
    found: list[bytes] = [value for key, value in scope["headers"] if key == name]
    if len(found) > 1:
        raise Unauthenticated(f"Error performing authentication: there is more than one {name.decode()} header")
    return found[0] if found else None
