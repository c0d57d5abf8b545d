"""The requests under way in a worker: what it has to finish before it ends, and what it says meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger(__name__)

_TELL_S = 5.0


class UnderWay:
    """An app around the app, which knows its requests. For asyncio, which all our servers run on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._requests: dict[int, tuple[Scope, asyncio.Task[object] | None]] = {}
        self._none = anyio.Event()  # set when the last is done, if somebody waits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app; its request is under way until it returns."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        key = id(scope)
        self._requests[key] = scope, asyncio.current_task()
        try:
            await self._app(scope, receive, send)
        finally:
            del self._requests[key]
            if not self._requests:
                self._none.set()

    async def finish(self, grace_s: float, end_s: float) -> None:
        """Return when none is left. After ``grace_s`` those that are left are cancelled, and given ``end_s`` to end."""
        with anyio.move_on_after(grace_s):
            while True:
                for line in self.told():
                    log.info(line)
                if not self._requests:
                    return
                with anyio.move_on_after(_TELL_S):
                    await self._last()
        log.warning("%d requests did not end within %g s: they are cut off", len(self._requests), grace_s)
        for _, task in self._requests.values():
            if task is not None:
                task.cancel()
        with anyio.move_on_after(end_s):
            await self._last()

    def told(self) -> Iterator[str]:
        """Lines that say how many are left, and of which routes."""
        count = len(self._requests)
        yield f"Server shutdown in progress: {count} in-flight requests remaining"
        if count:
            yield "In-flight requests by route:"
        routes = Counter(_route(scope) for scope, _ in self._requests.values())
        for number, (route, each) in enumerate(routes.most_common(), 1):
            yield f"{'└' if number == len(routes) else '├'} `{route}` -> {each} requests in flight"

    async def _last(self) -> None:
        self._none = anyio.Event()
        while self._requests:
            await self._none.wait()
            self._none = anyio.Event()


def _route(scope: Scope) -> str:
    """Method and path; ids in the path give way to their names."""
    names = {str(value): f"{{{name}}}" for name, value in scope.get("path_params", {}).items()}
    return f"{scope['method']} {'/'.join(names.get(part, part) for part in scope['path'].split('/'))}"
