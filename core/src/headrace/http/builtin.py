"""Core's own plugin: the portable transport, offered through the same door as everybody's."""

from __future__ import annotations

from pydantic import BaseModel

from ..contracts import Factory, Services
from ..hookspecs import hookimpl
from ..transport import Transport


class HttpxSettings(BaseModel, extra="forbid", frozen=True):
    """The ``[headrace.transport]`` table with ``type = "httpx"``: nothing to set. Proxies come from the environment."""


@hookimpl
def headrace_transports() -> list[Factory[Transport]]:
    """Offer ``type = "httpx"``."""
    return [Factory("httpx", HttpxSettings, _httpx)]


def _httpx(settings: HttpxSettings, services: Services) -> Transport:
    from .outgoing import HttpxTransport  # importing httpx takes 80 ms, and most installations use aiohttp

    return HttpxTransport(services.outbound_timeout_s)
