"""In-memory store and cache for headrace, for tests."""

from headrace import Cache, Factory, Store, hookimpl

from .cache import CacheSettings, MemoryCache
from .store import Memory, Settings

__all__ = ["CacheSettings", "Memory", "MemoryCache", "Settings"]


@hookimpl
def headrace_stores() -> list[Factory[Store]]:
    """Offer ``backend = "memory"``."""
    return [Factory("memory", Settings, Memory)]


@hookimpl
def headrace_caches() -> list[Factory[Cache]]:
    """Offer ``gateway.cache.backend = "memory"``, which needs no store."""
    return [Factory("memory", CacheSettings, MemoryCache)]
