"""Hypercorn: the default. HTTP/1.1 and HTTP/2 in Python; no other is as strict with what clients send."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from starlette.types import ASGIApp

from . import END_S, HEAD_S


async def serve(
    app: ASGIApp, listener: socket.socket, *, stop: Callable[[], Awaitable[object]], grace_s: float
) -> None:
    """Serve; see ``Serve``. Its time limit between requests is the one for a head as well."""
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.loglevel = "WARNING"
    config.keep_alive_timeout = HEAD_S
    # Not `read_timeout`: it would also cut a client that silently waits for a long answer.
    config.graceful_timeout = grace_s + END_S
    # In a task of its own: on Python 3.11 and 3.12 its asyncio.TaskGroup leaves the one it ends in marked as cancelled.
    await asyncio.create_task(hypercorn_serve(app, config, shutdown_trigger=stop, mode="asgi"))  # type: ignore[arg-type]
