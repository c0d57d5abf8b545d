"""``HttpxTransport``, the portable Transport (asyncio and trio); the only module that imports httpx."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
from anyio import CancelScope

from .. import __version__
from ..errors import Unreachable
from ..transport import Call, Reply

# Reasoning models think for minutes before the first byte.
TIMEOUT_S = 900.0

# The queue belongs in front of the gateway, not in here: a slow upstream must not hold up the others.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=1000, keepalive_expiry=60.0)

# Bodies are recorded as they came, and many small compressed pieces cost more than they save.
_HEADERS = {"accept-encoding": "identity", "user-agent": f"headrace/{__version__}"}


class HttpxTransport:
    """A pool of connections, open between ``__aenter__`` and ``__aexit__``. Proxies come from the environment."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        """``timeout_s`` bounds every wait for bytes; a call's own limit can only be shorter."""
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(
            headers=_HEADERS,
            limits=_LIMITS,
            follow_redirects=False,
            trust_env=True,
            # Upstreams' cookies would tie callers to each other.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    async def __aenter__(self) -> HttpxTransport:
        """Open the pool."""
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def send(self, call: Call) -> Reply:
        """Send, and read the whole answer."""
        async with self.stream(call) as reply:
            return Reply(reply.status, reply.headers, await reply.read())

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncGenerator[_StreamedReply, None]:
        """Send, and leave the body to be read piece by piece."""
        with _unreachable(call):
            request = self._client.build_request(
                call.method,
                call.url,
                content=call.body,
                headers=dict(call.headers),
                timeout=self._timeout_s if call.timeout_s is None else min(call.timeout_s, self._timeout_s),
            )
            response = await self._client.send(request, stream=True)
        reply = _StreamedReply(call, response)
        try:
            yield reply
        finally:
            await response.aclose()
            await reply.finish()


class _StreamedReply:
    def __init__(self, call: Call, response: httpx.Response) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
        self.body: AsyncIterator[bytes] = self._pieces(call, response)

    async def _pieces(self, call: Call, response: httpx.Response) -> AsyncIterator[bytes]:
        with _unreachable(call):
            async for part in response.aiter_raw():
                yield part

    async def read(self) -> bytes:
        return b"".join([part async for part in self.body])

    async def finish(self) -> None:
        """After closing: end a body that was left early, by reading on until the closed connection fails.

        httpx reads through six nested generators and closes none of them; trio complains when they are collected.
        """
        with CancelScope(shield=True), suppress(Unreachable):
            async for _ in self.body:
                pass


@contextmanager
def _unreachable(call: Call) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise Unreachable(f"no answer from {call.url}: {type(error).__name__}: {error}") from error
