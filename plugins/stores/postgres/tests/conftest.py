"""Every test here talks to a real PostgreSQL, and on asyncio only: asyncpg knows no other event loop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engines.postgres import Server, postgres_database, postgres_server
from headrace_postgres.tables import TABLES

__all__ = ["postgres_database", "postgres_server"]

_HERE = Path(__file__).parent
_TABLES = [*(table.name for table in TABLES.values()), "inference_cache", "resource_bucket"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is below this folder; the hook is shown everything."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.postgres)


@pytest.fixture
def anyio_backend() -> str:
    """asyncio only."""
    return "asyncio"


@pytest.fixture(scope="module")
def _shared_database(postgres_server: Server) -> Iterator[str]:
    with postgres_server.database() as url:
        yield url


@pytest.fixture
def emptied_database(postgres_server: Server, _shared_database: str) -> str:
    """A database whose tables, if it has any, are empty: to create a fresh one for each promise takes far longer."""
    empty = "; ".join(f"DELETE FROM headrace.{name}" for name in _TABLES)
    statement = f"DO $$ BEGIN IF to_regclass('headrace.inference_cache') IS NOT NULL THEN {empty}; END IF; END $$"
    postgres_server.run(statement, url=_shared_database)
    return _shared_database
