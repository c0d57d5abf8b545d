"""The servers that ``headrace serve`` can run on: one module for each, which is all that knows it."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from starlette.types import ASGIApp

from ...errors import ConfigError

HEAD_S = 5.0
"""A client whose request's head takes longer is cut off, and so is a connection that is quiet between two requests."""

END_S = 5.0
"""What a server may take to end beyond the grace of requests."""


class Serve(Protocol):
    """A server, in the event loop that runs."""

    async def __call__(
        self, app: ASGIApp, listener: socket.socket, *, stop: Callable[[], Awaitable[object]], grace_s: float
    ) -> None:
        """Serve until ``stop`` returns, then accept no more, and return when requests have ended, within ``grace_s``.

        It leaves signals, the app's lifespan and logging to others, and sets TCP_NODELAY where the listener does not
        hand it on.
        """
        ...


def server(name: str) -> Serve:
    """The server of this name. Raise ConfigError if it is not installed."""
    if find_spec(name) is None:
        raise ConfigError(f"--server {name}: it is not installed; `pip install 'headrace[{name}]'` installs it")
    serve: Serve = import_module(f"{__name__}.{name}").serve
    return serve
