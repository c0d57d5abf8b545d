"""The real engine, for the tests of this folder."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from engines.clickhouse import Server, clickhouse_database, clickhouse_server

__all__ = ["clickhouse_database", "clickhouse_server", "emptied_database"]


@pytest.fixture(scope="session")
def _one_database(clickhouse_server: Server) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    yield clickhouse_server.database(name)
    clickhouse_server.query(f"DROP DATABASE IF EXISTS {name} SYNC")


@pytest.fixture
def emptied_database(clickhouse_server: Server, _one_database: str) -> str:
    """The URL of a database that has its tables, but no rows: to make 20 tables anew takes longer than most tests."""
    name = urlsplit(_one_database).path.strip("/")
    having = f"SELECT name FROM system.tables WHERE database = '{name}' AND total_rows > 0"
    for table in clickhouse_server.query(f"{having} AND name != 'schema_migration'").split():
        clickhouse_server.query(f"TRUNCATE TABLE {name}.{table} SYNC")
    return _one_database
