"""PostgreSQL store for headrace: for many gateways at once."""

from headrace import Factory, Store, hookimpl

from .settings import Settings
from .store import Postgres

__all__ = ["Postgres", "Settings"]


@hookimpl
def headrace_stores() -> list[Factory[Store]]:
    """Offer ``backend = "postgres"``."""
    return [Factory("postgres", Settings, Postgres)]
