"""What every call of a plugin goes through: its time is noted, and no error that comes of it shows its secrets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from types import TracebackType
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from msgspec import structs

from .errors import ProviderError
from .incoming import current
from .transport import Call, Reply, StreamedReply, Transport

REDACTED = "[redacted]"

# Headers whose values are no secrets; everything else that a call carries may be one.
_HARMLESS = frozenset(
    {"accept", "accept-encoding", "content-length", "content-type", "host", "traceparent", "tracestate", "user-agent"}
)
# Shorter words would be found in texts that have nothing to do with them.
_SHORTEST = 8


class Outbound:
    """A ``Transport`` around the real one. Answers that are not 2xx lose what they echo of the call's own secrets."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    async def send(self, call: Call) -> Reply:
        """Send, and read the whole answer."""
        incoming, began = current(), perf_counter()
        try:
            reply = await self.transport.send(call)
        except ProviderError as error:
            _cleaned(error, call)
            raise
        finally:
            if incoming is not None:
                incoming.waits.append((began, perf_counter()))
        if 200 <= reply.status < 300:
            return reply
        return structs.replace(reply, body=_without(reply.body, call), headers=_headers(reply.headers, call))

    def stream(self, call: Call) -> AbstractAsyncContextManager[StreamedReply]:
        """Send, and leave the body to be read piece by piece."""
        return _Streaming(self.transport.stream(call), call)


class _Streaming:
    """A class, as every streamed call comes by here and a generator costs more."""

    __slots__ = ("_began", "_call", "_incoming", "_reply")

    def __init__(self, reply: AbstractAsyncContextManager[StreamedReply], call: Call) -> None:
        self._reply = reply
        self._call = call

    async def __aenter__(self) -> StreamedReply:
        self._incoming, self._began = current(), perf_counter()
        try:
            reply = await self._reply.__aenter__()
        except BaseException as error:
            self._over(error)
            raise
        return reply if 200 <= reply.status < 300 else _Refused(reply, self._call)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._over(error)
        return await self._reply.__aexit__(kind, error, trace)

    def _over(self, error: BaseException | None) -> None:
        if self._incoming is not None:
            self._incoming.waits.append((self._began, perf_counter()))
        if isinstance(error, ProviderError):
            _cleaned(error, self._call)


class _Refused:
    """An answer that is none. It is short, so it is read whole before anybody sees a piece."""

    def __init__(self, reply: StreamedReply, call: Call) -> None:
        self.status: int = reply.status
        self.headers: Mapping[str, str] = _headers(reply.headers, call)
        self.body: AsyncIterator[bytes] = self._whole()
        self._reply = reply
        self._call = call

    async def _whole(self) -> AsyncIterator[bytes]:
        yield await self.read()

    async def read(self) -> bytes:
        return _without(await self._reply.read(), self._call)


def _headers(headers: Mapping[str, str], call: Call) -> Mapping[str, str]:
    return {name: redacted(value, call) for name, value in headers.items()}


def _without(body: bytes, call: Call) -> bytes:
    for secret in secrets_of(call):
        body = body.replace(secret.encode(), REDACTED.encode())
    return body


def redacted(text: str, call: Call) -> str:
    """The text without what is secret in the call."""
    for secret in secrets_of(call):
        text = text.replace(secret, REDACTED)
    return text


def _cleaned(error: ProviderError, call: Call) -> None:
    error.message = redacted(error.message, call)
    error.args = (error.message,)
    if error.raw_response is not None:
        error.raw_response = redacted(error.raw_response, call)


def secrets_of(call: Call) -> list[str]:
    """What a call, or the proxy that it goes through, shows to prove who it is; longer ones first."""
    found = {secret for secret in _shown(call) if len(secret) >= _SHORTEST}
    return sorted(found, key=len, reverse=True)


def _shown(call: Call) -> Iterator[str]:
    for name, value in call.headers.items():
        if name.lower() not in _HARMLESS:
            yield value.strip()
            yield value.strip().removeprefix("Bearer ").strip()
    for url in (call.url, *getproxies().values()):
        try:
            parts = urlsplit(url)
        except ValueError:  # whoever sends it says so
            continue
        # With its name, as a password alone may be too short to look for.
        user, _, _ = parts.netloc.rpartition("@")
        if user:
            yield f"{user}@"
        if parts.password:
            yield parts.password
            yield unquote(parts.password)
        for parameter in parts.query.split("&") if url == call.url else ():
            name, _, value = parameter.partition("=")
            if "key" in name.lower() or "token" in name.lower():
                yield value
