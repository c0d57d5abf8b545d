"""Load over HTTP/1.1 from one event loop: at a constant rate, or as fast as it is answered.

At a rate, a request's time counts from when it was due: a stall is charged to every request that it delays, as it would
be to those who wait. ``Seen.late_us`` tells how late this generator itself was.

    python tests/bench/load.py URL BODY-FILE --connections 32 --seconds 10        prints what was seen, as JSON
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvloop

MOST_CONNECTIONS = 512
_IDLE_S = 3.0  # servers close what is quiet for 5 s, and a request must not meet that
_now = time.monotonic


@dataclass(frozen=True)
class Ask:
    """A request and what is right to answer. ``leaves_s``: the client hangs up so long after it asked."""

    content: bytes
    expect: bytes = b""
    status: int = 200
    leaves_s: float | None = None


def post(url: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """The bytes of a POST of JSON."""
    where = urlsplit(url)
    lines = {"host": where.netloc, "content-type": "application/json", "content-length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in (lines | (headers or {})).items())
    return f"POST {where.path} HTTP/1.1\r\n{head}\r\n".encode() + body


@dataclass
class Seen:
    """What became of the requests. Times, in microseconds, are of those due after the warm-up and answered rightly."""

    answered: int = 0  # rightly, with those of the warm-up
    left: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0  # from the first request to the last answer, with the warm-up
    latency_us: list[int] = field(default_factory=list)
    first_us: list[int] = field(default_factory=list)  # to the first byte
    late_us: list[int] = field(default_factory=list)  # from when a request was due to when it went out

    @property
    def errors(self) -> int:
        """How many were not answered rightly."""
        return self.wrong.total()


class Load:
    """Requests to one address. ``next_ask`` says which comes next."""

    def __init__(self, address: tuple[str, int], next_ask: Callable[[], Ask], *, timeout_s: float = 10) -> None:
        self.seen = Seen()
        self.asked = 0
        self._address, self._next, self._timeout_s = address, next_ask, timeout_s
        self._free: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._due: deque[float] = deque()
        self._under_way = 0
        self._began = self._counts_from = 0.0
        self._more: Callable[[], bool] | None = None

    async def at_rate(self, rate: float, seconds: float, *, warmup_s: float = 0.5) -> Seen:
        """So many requests a second, evenly, whether or not they are answered."""
        began = self._began = _now()
        self._counts_from = began + warmup_s
        total = int(rate * (warmup_s + seconds))
        with _every(1 / rate) as timer:
            numbers, done = count(), asyncio.Event()

            def tick() -> None:
                for _ in range(int.from_bytes(os.read(timer, 8), "little")):
                    if (number := next(numbers)) >= total:
                        done.set()
                        return
                    self._due.append(began + (number + 1) / rate)
                    self._ask()

            asyncio.get_running_loop().add_reader(timer, tick)
            await done.wait()
            asyncio.get_running_loop().remove_reader(timer)
        return await self._end(lambda: not self._under_way and not self._due)

    async def at_once(self, connections: int, more: Callable[[], bool], *, warmup_s: float = 0.5) -> Seen:
        """From so many connections, each asking again when it is answered, while there are to be ``more``."""
        self._began = _now()
        self._counts_from = self._began + warmup_s
        self._more = more
        for _ in range(connections):
            self._due.append(_now())
            self._ask()
        while self._more() and (self._under_way or self._opening):  # a server that is gone leaves neither
            self._sweep()
            await asyncio.sleep(0.05)
        self._due.clear()
        return await self._end(lambda: not self._under_way)

    async def _end(self, is_over: Callable[[], bool]) -> Seen:
        while not is_over():
            self._sweep()
            await asyncio.sleep(0.01)
        self.seen.seconds = _now() - self._began
        for task in self._opening:
            task.cancel()
        for connection in self._all:
            connection.transport.abort()
        return self.seen

    def _sweep(self) -> None:
        """Give up what is overdue, also what found no connection."""
        oldest = _now() - self._timeout_s
        for connection in [each for each in self._all if each.ask is not None and each.due < oldest]:
            self.failed(connection, "timed out")
        while self._due and self._due[0] < oldest:
            self._due.popleft()
            self.seen.wrong["timed out"] += 1

    def _ask(self) -> None:
        """Send the next request that is due, as soon as there is a connection."""
        while self._free:
            connection = self._free.pop()
            if connection.transport.is_closing() or _now() - connection.free_since > _IDLE_S:
                connection.transport.abort()
                continue
            self._send(connection)
            return
        if len(self._all) + len(self._opening) < MOST_CONNECTIONS:
            task = asyncio.create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), *self._address)
        except OSError as error:
            self.seen.wrong[f"no connection: {error.strerror}"] += 1
            if self._due:
                self._due.popleft()
            return
        self._all.add(connection)
        self.is_free(connection)

    def _send(self, connection: _Connection) -> None:
        self._under_way += 1
        self.asked += 1
        connection.send(self._next(), self._due.popleft())

    def is_free(self, connection: _Connection) -> None:
        """A connection can take a request; perhaps one waits for it."""
        if self._due:
            self._send(connection)
        else:
            connection.free_since = _now()
            self._free.append(connection)

    def _ended(self) -> None:
        """One request is over, however it ended."""
        self._under_way -= 1
        if self._more is not None and self._more():
            self._due.append(_now())

    def answered(self, connection: _Connection) -> None:
        """An answer is whole."""
        ask, status, body = connection.ask, connection.parser.get_status_code(), b"".join(connection.parts)
        assert ask is not None
        connection.ask = None
        self._ended()
        if status != ask.status or ask.expect not in body:
            self.seen.wrong[f"{status} {body[:200].decode(errors='replace')}"] += 1
        else:
            self.seen.answered += 1
            if connection.due >= self._counts_from:
                ended = _now()
                self.seen.latency_us.append(int((ended - connection.due) * 1e6))
                self.seen.first_us.append(int((connection.first - connection.due) * 1e6))
                self.seen.late_us.append(int((connection.sent - connection.due) * 1e6))
        if connection.parser.should_keep_alive():
            self.is_free(connection)
        else:
            connection.transport.close()
            self._ask_for_the_next()

    def leave(self, connection: _Connection, sent: float) -> None:
        """The client hangs up, if what it asked then has not been answered yet."""
        if connection.ask is not None and connection.sent == sent:
            self.seen.left += 1
            self._drop(connection)

    def failed(self, connection: _Connection, why: str) -> None:
        """A request will not be answered."""
        self.seen.wrong[why] += 1
        self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        connection.ask = None
        connection.transport.abort()
        self._ended()
        self._ask_for_the_next()

    def _ask_for_the_next(self) -> None:
        if self._due:
            self._ask()

    def lost(self, connection: _Connection) -> None:
        """A connection is no more."""
        self._all.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if connection.ask is not None:
            self.failed(connection, "the connection was closed")


class _Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    transport: asyncio.Transport

    def __init__(self, load: Load) -> None:
        self._load = load
        self.ask: Ask | None = None
        self.due = self.sent = self.first = self.free_since = 0.0
        self.parts: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its bases

    def send(self, ask: Ask, due: float) -> None:
        self.ask, self.due, self.sent, self.first = ask, due, _now(), 0.0
        self.parts.clear()
        self.parser = httptools.HttpResponseParser(self)
        self.transport.write(ask.content)
        if ask.leaves_s is not None:
            asyncio.get_running_loop().call_later(ask.leaves_s, self._load.leave, self, self.sent)

    def data_received(self, data: bytes) -> None:
        if self.ask is None:  # it has left meanwhile
            return
        self.first = self.first or _now()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._load.failed(self, f"not HTTP: {error}")

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)

    def on_message_complete(self) -> None:
        self._load.answered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost(self)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _every:
    """A file descriptor that can be read once a period: the timers of an event loop count whole milliseconds."""

    def __init__(self, period_s: float) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        period = _Timespec(int(period_s), int(period_s % 1 * 1e9))
        if self._fd < 0 or libc.timerfd_settime(self._fd, 0, (_Timespec * 2)(period, period), None):
            raise OSError(ctypes.get_errno(), "timerfd")

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def undisturbed() -> None:
    """No collection of garbage during a measurement; connections are few and ended by hand."""
    gc.collect()
    gc.freeze()
    gc.disable()


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("body", type=Path)
    parser.add_argument("--connections", default=32, type=int)
    parser.add_argument("--seconds", default=10.0, type=float)
    parser.add_argument("--rate", default=0.0, type=float, help="requests a second; without, as fast as it is answered")
    options = parser.parse_args()
    ask, where = Ask(post(options.url, options.body.read_bytes())), urlsplit(options.url)
    load, until = Load((where.hostname or "", where.port or 80), lambda: ask), _now() + options.seconds
    if options.rate:
        seen = await load.at_rate(options.rate, options.seconds, warmup_s=0)
    else:
        seen = await load.at_once(options.connections, lambda: _now() < until, warmup_s=0)
    found = {"answered": seen.answered, "rps": seen.answered / seen.seconds, "wrong": seen.wrong}
    print(json.dumps(found))  # noqa: T201 - whoever started it reads it


if __name__ == "__main__":
    uvloop.run(_main())
