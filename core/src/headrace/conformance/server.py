"""A little HTTP server on loopback that says exactly the bytes it is told to, however rude they are."""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from socket import SO_LINGER, SOL_SOCKET

import anyio
from anyio.abc import SocketAttribute, SocketStream
from msgspec import Struct


class Request(Struct, frozen=True):
    """What the server read. Header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Respond = Callable[[Request, SocketStream], Awaitable[object]]


class Server:
    """A little HTTP server: reads requests, lets ``respond`` write raw bytes, counts connections."""

    def __init__(self, respond: Respond) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.connections = 0
        self.open_connections = 0
        self._respond = respond

    async def handle(self, stream: SocketStream) -> None:
        """One connection, until either side closes it."""
        self.connections += 1
        self.open_connections += 1
        try:
            async with stream:
                while True:
                    request = await _read(stream)
                    self.requests.append(request)
                    await self._respond(request, stream)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            self.open_connections -= 1


async def _read(stream: SocketStream) -> Request:
    head = b""
    while b"\r\n\r\n" not in head:
        head += await stream.receive()
    head, _, body = head.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    while len(body) < int(headers.get("content-length", "0")):
        body += await stream.receive()
    method, target, _ = line.split(" ")
    return Request(method, target, headers, body)


@asynccontextmanager
async def serving(respond: Respond) -> AsyncGenerator[Server, None]:
    """A server on a loopback port of its own."""
    server = Server(respond)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        server.url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.start_soon(listener.serve, server.handle)
        yield server
        tasks.cancel_scope.cancel()


def saying(answer: bytes) -> Respond:
    """Answer every request with these bytes."""

    async def respond(request: Request, stream: SocketStream) -> None:
        await stream.send(answer)

    return respond


async def never(request: Request, stream: SocketStream) -> None:
    """Wait until the client hangs up."""
    await stream.receive()


async def reset(stream: SocketStream) -> None:
    """Close rudely: the peer gets RST instead of FIN."""
    stream.extra(SocketAttribute.raw_socket).setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


@contextmanager
def proxy_environment(**variables: str) -> Iterator[None]:
    """Exactly these proxy variables, whatever the machine has."""
    names = {f"{kind}_proxy" for kind in ("http", "https", "all", "no")}
    proxies = {name: value for name, value in os.environ.items() if name.lower() in names}
    for name in proxies:
        del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
        os.environ.update(proxies)
