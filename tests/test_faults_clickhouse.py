"""While ClickHouse is killed, cut off, silent or out of disk: what was acknowledged is stored, and stored once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import anyio
import pytest
from engines.clickhouse import Server, Unavailable, running
from faults import Disk, Drill, pass_an_outage, smoke
from faults_proxy import Proxy, kill_the_migration, proxied
from faults_server import ServerDrills
from headrace_clickhouse import ClickHouse, Settings

pytestmark = pytest.mark.clickhouse


class Database:
    """One database, asked by SQL as a reader sees it (FINAL); ``url`` is where the gateway finds it."""

    backend = "clickhouse"

    def __init__(self, server: Server) -> None:
        self.server = server
        self.name = f"test_{uuid4().hex}"
        self.url = server.database(self.name)

    def settings(self) -> str:
        return f'url = "{self.url}"'

    def ids(self, table: str, column: str) -> list[UUID]:
        return [UUID(each) for each in self.server.query(f"SELECT {column} FROM {self.name}.{table} FINAL").split()]

    @contextmanager
    def proxied(self) -> Iterator[Proxy]:
        """A proxy before the server, and the gateway behind it."""
        parts = urlsplit(self.server.url)
        assert parts.hostname and parts.port
        with proxied(parts.hostname, parts.port) as proxy:
            # The engine of these tests, a library that listens, aborts when a connection ends within the head of a
            # request: one plain socket does it. It survives an end within a body, or before the answer.
            proxy.spares_server = True
            self.url = f"http://127.0.0.1:{proxy.port}/{self.name}"
            yield proxy


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that may be killed, which the one at CLICKHOUSE_URL may not."""
    try:
        with running(tmp_path_factory.mktemp("clickhouse")) as server:
            yield server
    except Unavailable as error:
        pytest.skip(f"no ClickHouse: {error}")


@pytest.fixture
def database(server: Server) -> Database:
    if not server.answers():  # a test that failed has left it so
        server.start()
    return Database(server)


class TestClickHouseFaults(ServerDrills):
    """A server is one process."""


def test_the_disk_of_the_server_is_full(serve: Any, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    try:
        disk = Disk(folder, "200m")
    except OSError as error:
        pytest.skip(str(error))
    try:
        with running(folder) as server:
            drill = Drill(Database(server), serve, tmp_path)
            what = "the server's disk is full, then has room again"
            full, room = (lambda: disk.leave(200_000)), (lambda: disk.resize("200m"))
            pass_an_outage(drill, what, full, room, store="ok", words=2000)
    except Unavailable as error:
        pytest.skip(f"no ClickHouse: {error}")
    finally:
        disk.unmount()
        shutil.rmtree(folder, ignore_errors=True)


def test_kill_9_of_a_migration(server: Server, serve: Any, tmp_path: Path) -> None:
    """After half of it has reached the server: it can be done again, once its lock has run out."""
    whole = 0
    for share in (0, 0.5):
        database = Database(server)
        own_url = database.url
        with database.proxied() as proxy:
            kill_the_migration(tmp_path, Drill(database, serve, tmp_path).toml(), proxy, int(share * whole) or None)
            whole = whole or proxy.bytes_to_server
        anyio.run(smoke, ClickHouse(Settings(url=own_url)))
