"""One route of a surface: an endpoint that answers errors in the surface's own form, and 405 for a wrong method."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send

from .errors import Endpoint, ErrorBody, answers


class Route(StarletteRoute):
    """A route that answers a wrong method with 405, ``Allow`` and nothing else."""

    def __init__(self, method: str, path: str, endpoint: Endpoint, error_body: ErrorBody) -> None:
        super().__init__(path, answers(error_body)(endpoint), methods=[method])

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or say which method would do."""
        if self.methods and scope["method"] not in self.methods:
            await Response(status_code=405, headers={"Allow": ", ".join(sorted(self.methods))})(scope, receive, send)
        else:
            await self.app(scope, receive, send)
