"""Files from URLs that callers name: bounded, only from public addresses, each once; and what bytes are."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from socket import SOCK_STREAM
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import anyio
import filetype  # type: ignore[import-untyped]
import httpcore

from . import __version__
from .errors import FetchError

_MAX_URL = 8192
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# The library's names for these, and the registered ones that upstreams know.
_USUAL = {"audio/x-wav": "audio/wav", "audio/x-flac": "audio/flac"}
# An IPv4 address as a NAT64 gateway writes it.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
LookUp: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]


def sniff(data: bytes) -> str | None:
    """The MIME type that the first bytes tell, or None. Text has no such bytes."""
    found: str | None = filetype.guess_mime(data[:8192])
    return _USUAL.get(found, found) if found else None


async def addresses_of(host: str, port: int) -> Sequence[str]:
    """What the system says of a name, in its order of preference. Raise OSError."""
    found = await anyio.getaddrinfo(host, port, type=SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class _Target(NamedTuple):
    """A URL that may be asked: ``url`` for the connection, ``host`` for the Host header, ``shown`` for people."""

    url: httpcore.URL
    host: bytes
    shown: str


@dataclass
class _Held:
    """One URL while somebody holds it. The lock passes on to the next in line when a download is cancelled."""

    users: int = 0
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    found: tuple[bytes, str | None] | None = None
    error: str | None = None


class Fetcher:
    """Downloads what callers name by URL. An async context manager: connections live only inside.

    ``max_bytes`` bounds each body, ``timeout_s`` each download with all its redirects. Addresses that are not public
    are refused unless ``allow_private_addresses``. No proxies, no cookies, no credentials; TLS is verified.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        timeout_s: float,
        max_redirects: int = 5,
        allow_private_addresses: bool = False,
        look_up: LookUp | None = None,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        """``look_up`` gives the addresses of a name, ``network`` connects to one; tests stand in for both."""
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._max_redirects = max_redirects
        self._network = _CheckedNetwork(
            look_up or addresses_of, network or httpcore.AnyIOBackend(), allow_private_addresses
        )
        self._pool: httpcore.AsyncConnectionPool | None = None
        self._held: dict[str, _Held] = {}

    async def __aenter__(self) -> Fetcher:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._pool is not None:
            await self._pool.aclose()
            self._pool = None

    @contextmanager
    def held(self, urls: Iterable[str]) -> Iterator[None]:
        """Inside, each of these URLs is downloaded at most once, for all who ask, and its outcome kept."""
        mine = set(urls)
        for url in mine:
            self._held.setdefault(url, _Held()).users += 1
        try:
            yield
        finally:
            for url in mine:
                self._held[url].users -= 1
                if not self._held[url].users:
                    del self._held[url]

    async def fetch(self, url: str) -> tuple[bytes, str | None]:
        """The bytes and the Content-Type header. Raise FetchError for anything but a whole 2xx answer."""
        held = self._held.get(url)
        if held is None:
            return await self._download(url)
        async with held.lock:
            if held.found is None and held.error is None:
                try:
                    held.found = await self._download(url)
                except FetchError as error:
                    held.error = str(error)
            if held.found is None:
                raise FetchError(held.error or "")
            return held.found

    async def _download(self, url: str) -> tuple[bytes, str | None]:
        """Follow redirects by hand, each checked like the first."""
        shown = url[:200].partition("?")[0]
        try:
            with anyio.fail_after(self._timeout_s):
                for _ in range(self._max_redirects + 1):
                    target = _target(url)
                    answer = await self._ask(target)
                    if isinstance(answer, tuple):
                        return answer
                    url = _join(url, answer, shown)
            raise _failed(shown, f"more than {self._max_redirects} redirects")
        except TimeoutError:
            raise _failed(shown, f"no whole answer within {self._timeout_s:g} s") from None

    async def _ask(self, target: _Target) -> tuple[bytes, str | None] | str:
        """The file, or where it is now."""
        if self._pool is None:
            self._pool = self._connections()
        headers = [
            (b"host", target.host),
            (b"accept", b"*/*"),
            (b"accept-encoding", b"identity"),  # a compressed body could unfold to more than the bound
            (b"user-agent", f"headrace/{__version__}".encode()),
        ]
        body = bytearray()
        try:
            # Cancelling is the one way out of a body that lets httpcore close all of its nested generators.
            with anyio.CancelScope() as enough:
                async with self._pool.stream("GET", target.url, headers=headers) as response:
                    said = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
                    if response.status in _REDIRECTS and "location" in said:
                        return said["location"]
                    self._check(target, response.status, said)
                    async for part in response.aiter_stream():
                        body += part
                        if len(body) > self._max_bytes:
                            enough.cancel()
        except _NETWORK_ERRORS as error:
            raise _failed(target.shown, str(error) or type(error).__name__) from None
        if len(body) > self._max_bytes:
            raise self._too_large(target)
        return bytes(body), said.get("content-type")

    def _connections(self) -> httpcore.AsyncConnectionPool:
        """Made when first needed: reading the certificate authorities takes 50 ms, and most gateways fetch nothing."""
        return httpcore.AsyncConnectionPool(
            ssl_context=httpcore.default_ssl_context(),
            max_connections=None,
            max_keepalive_connections=0,  # a file is fetched once, and a connection belongs to one checked look-up
            network_backend=self._network,
        )

    def _check(self, target: _Target, status: int, said: dict[str, str]) -> None:
        if not 200 <= status < 300:
            raise _failed(target.shown, f"HTTP status {status}")
        if said.get("content-encoding", "identity").lower() not in ("", "identity"):
            raise _failed(target.shown, "the body is compressed, which was not asked for")
        length = said.get("content-length", "")
        if length.isdecimal() and len(length) < 20 and int(length) > self._max_bytes:
            raise self._too_large(target)

    def _too_large(self, target: _Target) -> FetchError:
        return _failed(target.shown, f"larger than {self._max_bytes} bytes")


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects only to addresses that it has looked up and checked itself, so a name cannot change in between."""

    def __init__(self, look_up: LookUp, network: httpcore.AsyncNetworkBackend, allow_private: bool) -> None:
        self._look_up = look_up
        self._network = network
        self._allow_private = allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Try the addresses of the name in order."""
        failure: Exception = httpcore.ConnectError("the host has no address")
        addresses = await self._look_up(host, port)
        # One address that is not public condemns the name: it would be the way around the check.
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise httpcore.ConnectError(
                "the host has an address that is not public (`headrace.files.allow_private_addresses` would take it)"
            )
        for address in addresses:
            try:
                stream = await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
                return _ClosingStream(stream)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _ClosingStream(httpcore.AsyncNetworkStream):
    """A connection that a cancelled TLS handshake closes: httpcore would leave the socket open."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self.read = stream.read  # type: ignore[method-assign]
        self.write = stream.write  # type: ignore[method-assign]
        self.aclose = stream.aclose  # type: ignore[method-assign]
        self.get_extra_info = stream.get_extra_info  # type: ignore[method-assign]

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        """The same connection, encrypted."""
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise


_NETWORK_ERRORS = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    ssl.SSLError,
    OSError,
    UnicodeError,  # a name that DNS cannot hold
)


def is_public(text: str) -> bool:
    """Whether an address belongs to the public internet; one that is not an address does not."""
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None or address.scope_id is not None or address.is_site_local:
            return False
        if address.sixtofour is not None:
            return is_public(str(address.sixtofour))
        if address in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
    # `is_global` alone lets multicast through, and ranges that are reserved but not (yet) private.
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def check_url(url: str) -> None:
    """Raise FetchError unless this is an http(s) URL of a host, without credentials. Nothing is looked up."""
    _target(url)


def _join(url: str, location: str, shown: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise _failed(shown, f"it redirects to what is not a URL: {error}") from None


def _target(url: str) -> _Target:
    parts = _split(url)
    host = parts.hostname or ""
    try:
        host = str(ipaddress.ip_address(host))
    except ValueError:
        host = host.encode("idna").decode() if not host.isascii() else host
        if not _HOST.fullmatch(host):
            raise _failed(url, "the host is not a name that could be looked up") from None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=-._~")
    query = "?" + quote(parts.query, safe="/%:@!$&'()*+,;=-._~?[]") if parts.query else ""
    bracketed = f"[{host}]" if ":" in host else host
    return _Target(
        httpcore.URL(scheme=parts.scheme.encode(), host=host.encode(), port=port, target=(path + query).encode()),
        (bracketed if parts.port is None else f"{bracketed}:{port}").encode(),
        f"{parts.scheme}://{bracketed}{path}",
    )


def _split(url: str) -> SplitResult:
    if len(url) > _MAX_URL:
        raise _failed(url, f"longer than {_MAX_URL} characters")
    if not url.isprintable() or " " in url or "\\" in url:
        raise _failed(url, "spaces, backslashes and control characters are not part of a URL")
    try:
        parts = urlsplit(url)
        _ = parts.port, (parts.hostname or "").encode("idna")
    except (ValueError, UnicodeError) as error:
        raise _failed(url, f"not a URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise _failed(url, "only http:// and https:// are fetched")
    if "@" in parts.netloc:
        raise FetchError("Error fetching file from URL: a URL with credentials in it is refused")
    return parts


def _failed(url: str, reason: str) -> FetchError:
    """Without the query: that is where signed URLs keep their secret."""
    return FetchError(f"Error fetching file from URL: {url[:200].partition('?')[0]}: {reason}")
