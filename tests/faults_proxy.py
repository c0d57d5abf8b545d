"""A proxy between a store and its server that cuts connections in the middle, or lets nothing through for a while."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from faults import Drill, ended, eventually, migrate
from faults_table import Finding

# A close that is an error to the other side, like that of a machine which is gone.
_ABORT = struct.pack("ii", 1, 0)
_END_OF_HEAD = b"\r\n\r\n"


@dataclass
class Proxy:
    """Listens at ``port``. The attributes may change at any time.

    A new connection is cut after so many bytes, to the server or from it, as ``cut_after`` says; None is never.
    ``spares_server`` moves a cut out of the head of an HTTP request, into the body behind it, and ends the server's
    side of a connection in order; the client's is always cut.
    """

    server: tuple[str, int]
    port: int = 0
    cut_after: Callable[[], tuple[int, str] | None] = lambda: None
    on_cut: Callable[[], None] = lambda: None
    spares_server: bool = False
    cuts: int = 0
    bytes_to_server: int = 0
    flowing: threading.Event = field(default_factory=threading.Event)
    _open: set[socket.socket] = field(default_factory=set)

    def cut_all(self) -> None:
        """Cut what is open now."""
        for each in list(self._open):
            _abort(each)

    def accept(self, listener: socket.socket) -> None:
        """Serve until the listener is closed."""
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.server, timeout=10)
            except OSError:
                _abort(client)
                continue
            server.settimeout(None)
            self._open.add(client)
            limit, direction = self.cut_after() or (0, "")
            for source, target, name in ((client, server, "to"), (server, client, "from")):
                most = limit if name == direction else None
                threading.Thread(target=self._pump, args=(source, target, name, most), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, name: str, most: int | None) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(65536):
                self.flowing.wait()
                rest = len(data) if most is None else max(0, most - passed)
                if self.spares_server and name == "to" and _END_OF_HEAD in data:
                    rest = max(rest, data.index(_END_OF_HEAD) + len(_END_OF_HEAD))
                target.sendall(data[:rest])
                passed += len(data)
                if name == "to":
                    self.bytes_to_server += len(data)
                if rest < len(data):
                    self.cuts += 1
                    self.on_cut()
                    break
        client, server = (source, target) if name == "to" else (target, source)
        _abort(client)
        self._open.discard(client)
        if self.spares_server:
            _hang_up(server)
        else:
            _abort(server)


@contextmanager
def proxied(host: str, port: int) -> Iterator[Proxy]:
    """A proxy before this server, until the end of the block."""
    proxy = Proxy((host, port))
    proxy.flowing.set()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy.port = listener.getsockname()[1]
        thread = threading.Thread(target=proxy.accept, args=(listener,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(30)
            proxy.flowing.set()
            proxy.cut_all()


def at_random(seed: int) -> Callable[[], tuple[int, str]]:
    """For ``cut_after``: now a request does not arrive whole, now the answer to one that did."""
    dice = random.Random(seed)
    return lambda: (int(10 ** dice.uniform(2.5, 5)), dice.choice(("to", "from")))


def cut_connections(drill: Drill, proxy: Proxy, *, cuts: int = 8) -> Finding:
    """Cut connections again and again, while records are on their way, or the answer that they have arrived."""
    with drill.gateway() as served:
        with drill.load(served):
            drill.grows(20)
            proxy.cut_after = at_random(7)
            proxy.cut_all()
            assert eventually(lambda: proxy.cuts >= cuts), f"only {proxy.cuts} connections were cut"
            drill.grows(20)
            proxy.cut_after = lambda: None
            before = drill.found()
            drill.grows(20)
            drill.well(served)
        drill.ends_well(served)
    return drill.ends(f"{cuts} connections are cut in the middle", before)


def fall_silent(drill: Drill, proxy: Proxy) -> Finding:
    """The server takes requests and does not answer; nobody is told that it is gone."""
    with drill.gateway() as served:
        with drill.load(served):
            drill.grows(20)
            proxy.flowing.clear()
            drill.troubled(served, store="error")
            drill.grows(20)
            drill.logged(served, "the store is away: records go to")
            before = drill.found()
            proxy.flowing.set()
            proxy.cut_all()
            drill.well(served)
            drill.grows(20)
        drill.ends_well(served)
    return drill.ends("the server does not answer any more, then does", before)


def kill_the_migration(folder: Path, toml: str, proxy: Proxy, limit_bytes: int | None) -> None:
    """Migrate, and kill the process once so many bytes of it have reached the server; None is not at all."""
    with migrate(folder, toml) as process:
        if limit_bytes is not None:
            proxy.on_cut = process.kill
            proxy.cut_after = lambda: (limit_bytes, "to")
        code, said = ended(process)
    assert (code == 0) == (limit_bytes is None), said


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.settimeout(10)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    connection.close()


def _abort(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
