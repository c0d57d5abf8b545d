"""A ``Transport`` on aiohttp: asyncio only, a fraction of the CPU that the portable one takes per call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from urllib.request import getproxies, proxy_bypass

import aiohttp
from headrace import Services, __version__
from headrace.errors import ConfigError, Unreachable
from headrace.transport import Call, Reply
from pydantic import BaseModel
from sniffio import current_async_library
from yarl import URL

# Reasoning models think for minutes before the first byte.
TIMEOUT_S = 900.0

# Above this aiohttp wants a file: it writes those piece by piece and lets others run in between.
_LARGE = 2**20

# Bodies are recorded as they came, and many small compressed pieces cost more than they save.
_HEADERS = {"accept-encoding": "identity", "user-agent": f"headrace/{__version__}"}


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
            headers=_HEADERS,
            auto_decompress=False,
            # Upstreams' cookies would tie callers to each other.
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close every connection."""
        await self._session.close()

    async def send(self, call: Call) -> Reply:
        """Send, and read the whole answer."""
        async with self.stream(call) as reply:
            return Reply(reply.status, reply.headers, await reply.read())

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncGenerator[_StreamedReply, None]:
        """Send, and leave the body to be read piece by piece."""
        wait_s = self._timeout_s if call.timeout_s is None else min(call.timeout_s, self._timeout_s)
        with _unreachable(call):
            # As it stands: yarl would undo percent-encoding that some upstreams sign.
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
        # Leaving early closes the connection, as the rest of the body is in the way of another answer.
        async with response:
            yield _StreamedReply(call, response)

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
        with _unreachable(call):
            async for part in response.content.iter_any():
                yield part

    async def read(self) -> bytes:
        with _unreachable(self._call):
            return await self._response.content.read()


@contextmanager
def _unreachable(call: Call) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise Unreachable(f"no answer from {call.url}: {type(error).__name__}: {error}") from error
