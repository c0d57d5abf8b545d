"""ClickHouse store for headrace: many millions of records, fast sums."""

from headrace import Factory, Store, hookimpl

from .settings import Settings
from .store import ClickHouse

__all__ = ["ClickHouse", "Settings"]


@hookimpl
def headrace_stores() -> list[Factory[Store]]:
    """Offer ``backend = "clickhouse"``."""
    return [Factory("clickhouse", Settings, ClickHouse)]
