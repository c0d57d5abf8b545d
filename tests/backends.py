"""One gateway over each store that keeps records, for all the modules of a run that ask for ``gateway``.

A module takes these fixtures in with ``pytest_plugins = ["backends"]``: imported by name, each module would have
engines and gateways of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from clients import Call, Gateway, calling, serving
from engines import clickhouse, postgres
from engines.clickhouse import clickhouse_database, clickhouse_server
from engines.postgres import postgres_database, postgres_server
from headrace import Store

__all__ = ["clickhouse_database", "clickhouse_server", "postgres_database", "postgres_server"]

BACKENDS = [
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("clickhouse", marks=pytest.mark.clickhouse),
]


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest) -> Store:
    """A store that is not open, over a fresh database."""
    match request.param:
        case "sqlite":
            from headrace_sqlite import Settings, Sqlite

            return Sqlite(Settings(path=request.getfixturevalue("tmp_path") / "headrace.db"))
        case "postgres":
            import headrace_postgres

            url = request.getfixturevalue("postgres_database")
            return headrace_postgres.Postgres(headrace_postgres.Settings(url=url))
        case _:
            import headrace_clickhouse

            url = request.getfixturevalue("clickhouse_database")
            return headrace_clickhouse.ClickHouse(headrace_clickhouse.Settings(url=url))


@pytest.fixture(scope="session")
def sqlite_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Records in a file."""
    with serving(tmp_path_factory.mktemp("sqlite")) as running:
        yield running


@pytest.fixture(scope="session")
def postgres_gateway(tmp_path_factory: pytest.TempPathFactory, postgres_server: postgres.Server) -> Iterator[Gateway]:
    """Records in PostgreSQL."""
    folder = tmp_path_factory.mktemp("postgres")
    with (
        postgres_server.database() as url,
        serving(folder, backend="postgres", HEADRACE_POSTGRES_URL=url) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def clickhouse_gateway(
    tmp_path_factory: pytest.TempPathFactory, clickhouse_server: clickhouse.Server
) -> Iterator[Gateway]:
    """Records in ClickHouse."""
    folder = tmp_path_factory.mktemp("clickhouse-gateway")
    name = f"test_{uuid4().hex}"
    with serving(folder, backend="clickhouse", HEADRACE_CLICKHOUSE_URL=clickhouse_server.database(name)) as running:
        yield running
    clickhouse_server.query(f"DROP DATABASE IF EXISTS {name} SYNC")


@pytest.fixture(scope="module", params=BACKENDS)
def gateway(request: pytest.FixtureRequest) -> Gateway:
    """A running gateway that others use as well: what a test looks for has to be its own."""
    found: Gateway = request.getfixturevalue(f"{request.param}_gateway")
    return found


@pytest.fixture(scope="module", params=["sync", "async"])
def call(gateway: Gateway, request: pytest.FixtureRequest) -> Call:
    """The official client of that gateway."""
    return calling(gateway.url, request.param)
