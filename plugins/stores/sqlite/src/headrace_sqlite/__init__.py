"""SQLite store for headrace: one file, no infrastructure."""

from headrace import Factory, Store, hookimpl

from .store import Settings, Sqlite

__all__ = ["Settings", "Sqlite"]


@hookimpl
def headrace_stores() -> list[Factory[Store]]:
    """Offer ``backend = "sqlite"``."""
    return [Factory("sqlite", Settings, Sqlite)]
