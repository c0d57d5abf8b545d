"""One route of a surface: an endpoint that answers errors in the surface's own form, and 405 for a wrong method."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import Endpoint, ErrorBody, answers


class Route(StarletteRoute):
    """A route that answers a wrong method with 405, ``Allow`` and nothing else."""

    def __init__(self, method: str, path: str, endpoint: Endpoint, error_body: ErrorBody) -> None:
        super().__init__(path, answers(error_body)(endpoint), methods=[method])
        self.allowed = set(self.methods or ())
        # A segment may have line breaks in it, and none may follow the last one unseen.
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or say which method would do."""
        if self.methods and scope["method"] not in self.methods:
            await Response(status_code=405, headers={"Allow": ", ".join(sorted(self.allowed))})(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class Exact:
    """Requests whose path has no parameter go straight to their endpoint; the router, which tries route after route,
    gets the rest, and what no endpoint is for.
    """

    def __init__(self, routes: Sequence[Route], base_path: str, router: ASGIApp) -> None:
        self._base = base = base_path.rstrip("/")
        plain = [route for route in routes if not route.param_convertors]
        self._endpoints: dict[tuple[str, str], Endpoint] = {
            (method, base + route.path): route.endpoint for route in plain for method in route.methods or ()
        }
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] == "http" and not scope.get("root_path"):
            endpoint = self._endpoints.get((scope["method"], scope["path"]))
            if endpoint is not None:
                if self._base:
                    scope["root_path"] = self._base
                answer = await endpoint(Request(scope, receive))
                await answer(scope, receive, send)
                return
        await self._router(scope, receive, send)


def introduce(routes: Sequence[Route]) -> None:
    """Let routes of the same path know each other, since any of them may have to say what is allowed."""
    allowed: dict[str, set[str]] = defaultdict(set)
    for route in routes:
        allowed[route.path] |= route.allowed
    for route in routes:
        route.allowed = allowed[route.path]
