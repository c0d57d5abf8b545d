"""Granian: HTTP/1.1 and HTTP/2 in Rust, embedded into our event loop (``headrace[granian]``)."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.net import SocketHolder  # type: ignore[attr-defined]
from granian.server.embed import Server
from starlette.types import ASGIApp

from . import HEAD_S


async def serve(
    app: ASGIApp, listener: socket.socket, *, stop: Callable[[], Awaitable[object]], grace_s: float
) -> None:
    """Serve; see ``Serve``."""
    logging.getLogger("_granian").setLevel(logging.ERROR)  # it warns of being embedded, at every start
    granian = _Server(
        app,
        listener,
        interface=Interfaces.ASGINL,
        websockets=False,
        log_enabled=False,
        http1_settings=HTTP1Settings(header_read_timeout=round(HEAD_S * 1000)),
    )
    async with anyio.create_task_group() as tasks:

        async def end() -> None:
            await stop()
            granian.stop()  # type: ignore[no-untyped-call]

        tasks.start_soon(end)
        await granian.serve()
        tasks.cancel_scope.cancel()


class _Server(Server):
    """Granian on a socket that is there already; its own workers take theirs over in this form too."""

    def __init__(self, app: ASGIApp, listener: socket.socket, **options: Any) -> None:
        super().__init__(app, **options)
        self._listener = listener

    def _init_shared_socket(self) -> None:
        holder: Any = SocketHolder
        self._shd = holder(self._listener.fileno(), False, 1024)
        self._ssp = None
