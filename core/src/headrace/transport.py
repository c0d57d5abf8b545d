"""Bytes out and in: ``Call``, ``Reply``, the ``Transport`` Protocol, and an SSE decoder that does no I/O."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct


class Call(Struct, frozen=True):
    """One HTTP request. ``timeout_s`` bounds the wait for bytes, not the whole stream; None leaves it to the host."""

    url: str
    body: bytes = b""
    headers: Mapping[str, str] = {}
    method: str = "POST"
    timeout_s: float | None = None


class Reply(Struct, frozen=True):
    """A whole HTTP response. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StreamedReply(Protocol):
    """A response whose body is still coming. ``body`` can be iterated once."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, names in lower case."""

    @property
    def body(self) -> AsyncIterator[bytes]:
        """Pieces as they arrive, cut anywhere; may raise ``Unreachable``."""

    async def read(self) -> bytes:
        """The rest of the body, whole; may raise ``Unreachable``."""


class Transport(Protocol):
    """What carries a Call. Raises only ``Unreachable``; any HTTP status is an answer. Follows no redirects."""

    async def send(self, call: Call) -> Reply:
        """Send, and read the whole answer."""

    def stream(self, call: Call) -> AbstractAsyncContextManager[StreamedReply]:
        """Send, and leave the body to be read piece by piece inside the ``async with``."""


class EventDecoder:
    """Server-sent events from bytes cut anywhere: ``feed`` pieces, then ``end``. Yields each event's data.

    Follows the WHATWG event-stream grammar: LF, CRLF or CR; comments and unknown fields ignored; several data
    lines joined by LF. Unlike browsers, a last event without its blank line still counts (providers do that).
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, part: bytes) -> list[bytes]:
        """The data of every event that this part completes."""
        text = self._rest + part
        if b"\r" in text:
            # A CR at the very end may be half of a CRLF: hold it back until we know.
            held = b"\r" if text.endswith(b"\r") else b""
            text = text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            lines = text.split(b"\n")
            self._rest = lines.pop() + held
        else:
            lines = text.split(b"\n")
            self._rest = lines.pop()
        return [data for line in lines if (data := self._line(line)) is not None]

    def end(self) -> list[bytes]:
        """The data of a last event that was not followed by a blank line."""
        rest, self._rest = self._rest.rstrip(b"\r"), b""
        done = [data] if rest and (data := self._line(rest)) is not None else []
        last = self._line(b"")
        return [*done, last] if last is not None else done

    def _line(self, line: bytes) -> bytes | None:
        if line:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif line == b"data":
                self._data.append(b"")
            return None
        if not self._data:
            return None
        data, self._data = b"\n".join(self._data), []
        return data
