"""A ``Transport`` on aiohttp: asyncio only, a fraction of the CPU that the portable one takes per call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from urllib.request import getproxies, proxy_bypass

import aiohttp
from headrace import Services
from headrace.errors import ConfigError, Unreachable
from headrace.transport import Call, Reply, StreamedReply
from pydantic import BaseModel
from sniffio import current_async_library
from yarl import URL

from .connection import Connection
from .pool import Pool
from .requests import OURS, Place, place_of, request

# Reasoning models think for minutes before the first byte.
TIMEOUT_S = 900.0

# Above this aiohttp wants a file: it writes those piece by piece and lets others run in between.
_LARGE = 2**20


class Settings(BaseModel, extra="forbid", frozen=True):
    """The ``[headrace.transport]`` table with ``type = "aiohttp"``; proxies come from the environment.

    ``keepalive_s`` is how long an idle connection waits for its next call, ``dns_cache_s`` how long an address holds.
    """

    keepalive_s: float = 60.0
    dns_cache_s: int = 300


class AiohttpTransport:
    """A pool of connections, open between ``__aenter__`` and ``__aexit__``."""

    def __init__(self, settings: Settings, services: Services | None = None) -> None:
        self._settings = settings
        self._timeout_s = services.outbound_timeout_s if services else TIMEOUT_S
        # Read once and here: aiohttp's own trust_env reads .netrc and the environment in two threads per call
        # (430 µs of CPU instead of 90), and what it finds in .netrc collides with the authorization header.
        self._proxies = getproxies()
        self._pool = Pool(settings.keepalive_s, settings.dns_cache_s)

    async def __aenter__(self) -> AiohttpTransport:
        """Open the pool; aiohttp wants to be inside the running loop for that. Raise ConfigError on trio."""
        if current_async_library() != "asyncio":
            raise ConfigError(
                'headrace.transport: aiohttp runs on asyncio only; with another event loop set `type = "httpx"`'
            )
        self._session = aiohttp.ClientSession(
            # No limit: the queue belongs in front of the gateway, a slow upstream must not hold up the others.
            # aiohttp sets TCP_NODELAY itself.
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=self._settings.keepalive_s, ttl_dns_cache=self._settings.dns_cache_s
            ),
            headers=OURS,
            auto_decompress=False,
            # Upstreams' cookies would tie callers to each other.
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close every connection."""
        self._pool.close()
        await self._session.close()

    async def send(self, call: Call) -> Reply:
        """Send, and read the whole answer."""
        with _Unreachable(call):
            place = self._place(call)
            if place is not None:
                wait_s = self._wait_s(call)
                sent = request(call, place)
                connection = self._pool.take(place.origin) or await self._pool.connect(place.origin, wait_s)
                try:
                    await connection.ask(sent, wait_s, whole=True)
                    reply = Reply(connection.status, connection.headers, await connection.read())
                except BaseException:
                    connection.close()
                    raise
                self._pool.give_back(place.origin, connection)
                return reply
        async with self._through_aiohttp(call) as streamed:
            return Reply(streamed.status, streamed.headers, await streamed.read())

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncGenerator[StreamedReply, None]:
        """Send, and leave the body to be read piece by piece."""
        with _Unreachable(call):
            place = self._place(call)
        if place is None:
            async with self._through_aiohttp(call) as reply:
                yield reply
            return
        with _Unreachable(call):
            wait_s = self._wait_s(call)
            sent = request(call, place)
            connection = self._pool.take(place.origin) or await self._pool.connect(place.origin, wait_s)
            try:
                await connection.ask(sent, wait_s, whole=False)
            except BaseException:
                connection.close()
                raise
        try:
            yield _Piecewise(call, connection)
        except BaseException:
            connection.close()
            raise
        # Leaving early closes the connection, as the rest of the body is in the way of another answer.
        self._pool.give_back(place.origin, connection)

    @asynccontextmanager
    async def _through_aiohttp(self, call: Call) -> AsyncGenerator[_StreamedReply, None]:
        """What goes through a proxy, or has a name and password in its URL."""
        wait_s = self._wait_s(call)
        with _Unreachable(call):
            url = URL(call.url, encoded=True)
            response = await self._session.request(
                call.method,
                url,
                data=BytesIO(call.body) if len(call.body) > _LARGE else call.body or None,
                headers=call.headers,
                proxy=self._proxy(url),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(sock_connect=wait_s, sock_read=wait_s),
            )
        async with response:
            yield _StreamedReply(call, response)

    def _wait_s(self, call: Call) -> float:
        return self._timeout_s if call.timeout_s is None else min(call.timeout_s, self._timeout_s)

    def _place(self, call: Call) -> Place | None:
        """Where it goes if we take it there ourselves."""
        place = place_of(call.url) if call.method != "HEAD" else None  # whose answer has a length, and no body
        if place is None or (self._proxies and self._proxy(URL(call.url, encoded=True)) is not None):
            return None
        return place

    def _proxy(self, url: URL) -> str | None:
        if not self._proxies or proxy_bypass(url.host or ""):
            return None
        return self._proxies.get(url.scheme) or self._proxies.get("all")


class _StreamedReply:
    def __init__(self, call: Call, response: aiohttp.ClientResponse) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
        self.body: AsyncIterator[bytes] = self._pieces(call, response)
        self._call = call
        self._response = response

    async def _pieces(self, call: Call, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        with _Unreachable(call):
            async for part in response.content.iter_any():
                yield part

    async def read(self) -> bytes:
        with _Unreachable(self._call):
            return await self._response.content.read()


class _Piecewise:
    """An answer on a connection of ours."""

    def __init__(self, call: Call, connection: Connection) -> None:
        self.status: int = connection.status
        self.headers: Mapping[str, str] = connection.headers
        self.body: AsyncIterator[bytes] = self._pieces()
        self._call = call
        self._connection = connection

    async def _pieces(self) -> AsyncIterator[bytes]:
        with _Unreachable(self._call):
            while part := await self._connection.read():
                yield part

    async def read(self) -> bytes:
        return b"".join([part async for part in self.body])


class _Unreachable:
    """Whatever keeps the answer away is one error. A class, as every call comes by here."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (aiohttp.ClientError, TimeoutError, OSError, ValueError)):
            raise Unreachable(f"no answer from {self._call.url}: {type(error).__name__}: {error}") from error
