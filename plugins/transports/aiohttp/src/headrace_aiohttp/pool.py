"""Connections by origin: found idle, or made - addresses looked up and kept, TLS sessions resumed."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

from aiohappyeyeballs import AddrInfoType, start_connection

from .connection import Connection
from .requests import Origin

# The delay that RFC 8305 (section 5) recommends before the next address is tried beside the last.
_NEXT_ADDRESS_S = 0.25
_MOST_HOSTS = 1024


class Resuming(ssl.SSLContext):
    """A client's context that resumes the last TLS session of each host, which asyncio itself never asks for."""

    sessions: dict[str, ssl.SSLSession]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As the standard library's, with a session if there is one."""
        known = self.sessions.get(server_hostname) if isinstance(server_hostname, str) else None
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session or known)


def tls_context() -> Resuming:
    """What ``ssl.create_default_context`` gives: certificates and names are checked, the system's roots are trusted."""
    context = Resuming(ssl.PROTOCOL_TLS_CLIENT)
    context.sessions = {}
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    return context


class Pool:
    """No limit: the queue belongs in front of the gateway, a slow upstream must not hold up the others."""

    def __init__(self, keepalive_s: float, dns_cache_s: float, context: Resuming | None = None) -> None:
        self._keepalive_s = keepalive_s
        self._dns_cache_s = dns_cache_s
        self._context = context
        self._idle: dict[Origin, list[Connection]] = {}
        self._addresses: dict[Origin, tuple[float, list[AddrInfoType]]] = {}

    def take(self, origin: Origin) -> Connection | None:
        """The one that was used last, as it is the least likely to have been closed by the other side."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.is_open:
                return connection
        self._idle.pop(origin, None)
        return None

    def give_back(self, origin: Origin, connection: Connection) -> None:
        """Keep it for the next call, if it can have one."""
        if self._context is not None and (tls := connection.tls) is not None:
            self._remember(self._context, origin, tls)
        if connection.rest(self._keepalive_s):
            self._idle.setdefault(origin, []).append(connection)

    async def connect(self, origin: Origin, wait_s: float) -> Connection:
        """A new one. Raise OSError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(wait_s):
            try:
                found = await start_connection(
                    await self._resolve(loop, origin), happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1, loop=loop
                )
            except OSError:
                self._addresses.pop(origin, None)
                raise
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(loop),
                    sock=found,
                    ssl=self._tls() if origin.scheme == "https" else None,
                    server_hostname=origin.host if origin.scheme == "https" else None,
                )
            except BaseException:
                found.close()
                raise
        return connection

    def close(self) -> None:
        """Close all that rest."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _resolve(self, loop: asyncio.AbstractEventLoop, origin: Origin) -> list[AddrInfoType]:
        now = loop.time()
        until, addresses = self._addresses.get(origin, (0.0, []))
        if until > now:
            return addresses
        found: list[Any] = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        if len(self._addresses) >= _MOST_HOSTS:
            self._addresses.clear()
        self._addresses[origin] = now + self._dns_cache_s, found
        return found

    def _tls(self) -> Resuming:
        if self._context is None:  # 20 ms of reading certificates, which a gateway of http:// upstreams can do without
            self._context = tls_context()
        return self._context

    @staticmethod
    def _remember(context: Resuming, origin: Origin, tls: ssl.SSLObject) -> None:
        if tls.session is not None and tls.session.has_ticket:
            if len(context.sessions) >= _MOST_HOSTS:
                context.sessions.clear()
            context.sessions[origin.host] = tls.session
