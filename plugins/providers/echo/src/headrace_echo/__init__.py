"""Deterministic provider for headrace that repeats what it is told; the template for new providers."""

from headrace import Factory, Provider, hookimpl

from .provider import Echo, Settings

__all__ = ["Echo", "Settings"]


@hookimpl
def headrace_providers() -> list[Factory[Provider]]:
    """Offer ``type = "echo"``."""
    return [Factory("echo", Settings, Echo)]
