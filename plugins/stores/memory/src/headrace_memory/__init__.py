"""In-memory store for headrace, for tests."""

from headrace import Factory, Store, hookimpl

from .store import Memory, Settings

__all__ = ["Memory", "Settings"]


@hookimpl
def headrace_stores() -> list[Factory[Store]]:
    """Offer ``backend = "memory"``."""
    return [Factory("memory", Settings, Memory)]
