"""aiohttp transport for headrace: less CPU per outgoing call than the portable one."""

from headrace import Factory, hookimpl
from headrace.transport import Transport

from .transport import AiohttpTransport, Settings

__all__ = ["AiohttpTransport", "Settings"]


@hookimpl
def headrace_transports() -> list[Factory[Transport]]:
    """Offer ``type = "aiohttp"``."""
    return [Factory("aiohttp", Settings, AiohttpTransport)]
