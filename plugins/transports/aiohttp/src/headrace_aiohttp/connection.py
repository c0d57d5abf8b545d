"""One HTTP/1.1 connection: a request goes out, its answer comes in, and the next may follow.

Parsing is httptools' (llhttp, in C). What aiohttp does beyond that - cookies, redirects, tracing, decoding - no call
here wants, and it costs six times the CPU.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httptools

# A stream that is read slowly stops being received beyond this, so that memory stays bounded.
_MOST_UNREAD = 256 * 1024

# Of a head that is longer nobody reads the end.
_LONGEST_HEAD = 64 * 1024


class Broken(OSError):
    """The connection ended, or said something that is not HTTP, before the answer did."""


class Connection(asyncio.Protocol):
    """Made by ``Pool``. One exchange at a time: ``ask``, then ``read`` until it gives nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser: Any = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._wait_s = 0.0
        self._error: Exception | None = None
        self._is_busy = self._is_whole = self._is_lost = self._is_spoiled = self._is_paused = False
        self._has_head = self._has_ended = self._keeps_alive = False
        self._head_bytes = self._unread = 0
        self._parts: list[bytes] = []
        self.status = 0
        self.headers: dict[str, str] = {}

    # -- for the pool -------------------------------------------------------------------------------------

    async def ask(self, request: bytes, wait_s: float, *, whole: bool) -> None:
        """Send, and return with the head of the answer, or with all of it. Raise OSError or ValueError.

        ``wait_s`` bounds every wait for bytes of this exchange.
        """
        self._is_busy, self._is_whole, self._wait_s = True, whole, wait_s
        self._has_head = self._has_ended = False
        self._head_bytes = self._unread = 0
        self.headers = {}
        self._transport.write(request)
        while not (self._has_ended if whole else self._has_head):
            await self._more()

    async def read(self) -> bytes:
        """What has come of the body since; nothing at its end. Raise OSError or ValueError."""
        while not self._parts and not self._has_ended:
            await self._more()
        body = b"".join(self._parts)
        self._parts.clear()
        self._unread = 0
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        return body

    def rest(self, idle_s: float) -> bool:
        """Wait for the next exchange, for so long; False, and closed, if there can be none."""
        self._is_busy = False
        self._parts.clear()
        can = self._has_ended and not (self._is_lost or self._is_spoiled) and self._keeps_alive
        if not can or idle_s <= 0:
            self.close()
            return False
        self._wait_s = idle_s
        self._arm()
        return True

    @property
    def is_open(self) -> bool:
        """Whether another exchange can begin, as far as is known."""
        return not self._is_lost and not self._transport.is_closing()

    @property
    def tls(self) -> Any:
        """The ``ssl.SSLObject``, None where there is no TLS."""
        return self._transport.get_extra_info("ssl_object")

    def close(self) -> None:
        """Hang up at once: what is still under way is in the way of another answer."""
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._is_lost:
            self._transport.abort()

    # -- waiting ------------------------------------------------------------------------------------------

    async def _more(self) -> None:
        """Wait until something has come."""
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        self._arm()
        try:
            await self._waiter
        finally:
            self._waiter = self._deadline = None

    def _arm(self) -> None:
        """One timer for many waits: it looks again when it is early, which is cheaper than a new one for each."""
        self._deadline = self._loop.time() + self._wait_s
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._check)
        elif self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._check)

    def _check(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._check)
        elif self._is_busy:
            self._fail(TimeoutError(f"nothing has come for {self._wait_s:g} s"))
        else:
            self.close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._error)

    # -- asyncio.Protocol ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There it is."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse. What comes unasked spoils the connection."""
        if not self._is_busy:
            self.close()
            return
        if self._deadline is not None:
            self._deadline = self._loop.time() + self._wait_s
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, UnicodeDecodeError) as error:
            self._is_spoiled = True
            self._fail(Broken(f"the answer is not HTTP/1.1: {error}"))
        if not self._has_head and self._head_bytes > _LONGEST_HEAD:
            self._is_spoiled = True
            self._fail(Broken(f"the head of the answer exceeds {_LONGEST_HEAD} bytes"))

    def eof_received(self) -> bool:
        """Nothing more will come; ``connection_lost`` follows."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The end, which for some bodies is just that."""
        self._is_lost = True
        has_length = "content-length" in self.headers or "transfer-encoding" in self.headers
        if self._is_busy and self._has_head and not self._has_ended and error is None and not has_length:
            self.on_message_complete()
        elif self._is_busy and not self._has_ended:
            self._fail(Broken(f"the connection was lost: {error or 'closed by the other side'}"))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- httptools ----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A second answer to one request is nobody's."""
        self._is_spoiled = self._is_spoiled or self._has_ended

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; those of one name are joined (RFC 9110, 5.3)."""
        if self._has_head:
            return  # a trailer
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        """The head is whole, unless it was an interim one."""
        self.status = self._parser.get_status_code()
        if self.status >= 200 and not self._has_ended:
            self._has_head = True
            if not self._is_whole:
                self._wake()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._has_ended:
            return
        self._parts.append(body)
        if self._is_whole:
            return
        self._unread += len(body)
        if self._unread > _MOST_UNREAD and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        """The answer is whole, or the interim one is over."""
        if not self._has_head:
            self.headers = {}
            return
        self._has_ended = True
        self._keeps_alive = self._parser.should_keep_alive()
        self._wake()
