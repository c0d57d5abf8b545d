"""Uvicorn: HTTP/1.1, with httptools in C where that is installed (``headrace[uvicorn]``)."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp
from uvicorn import Config, Server

from . import END_S, HEAD_S

if TYPE_CHECKING or find_spec("httptools") is None:
    from uvicorn.protocols.http.h11_impl import H11Protocol as Base
else:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Base


async def serve(
    app: ASGIApp, listener: socket.socket, *, stop: Callable[[], Awaitable[object]], grace_s: float
) -> None:
    """Serve; see ``Serve``."""
    config = Config(
        app,
        http=_Punctual,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=round(HEAD_S),
        timeout_graceful_shutdown=round(grace_s + END_S),
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    uvicorn = _Server(config)

    async def end() -> None:
        await stop()
        uvicorn.should_exit = True

    ending = asyncio.create_task(end())
    try:
        await uvicorn.serve(sockets=[listener])
    finally:
        ending.cancel()


class _Server(Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to the worker."""
        yield


class _Punctual(Base):
    """Uvicorn lets a client take any time over a head, once there is a byte of it."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        before = self.cycle  # None, whatever its type says, until there is a request
        super().data_received(data)
        if self.cycle is not before:  # a head is complete
            self._stop_waiting()
        elif self._waiting is None and (before is None or before.response_complete):  # type: ignore[redundant-expr]
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEAD_S, self.timeout_keep_alive_handler)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
