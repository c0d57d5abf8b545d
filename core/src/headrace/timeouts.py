"""Configured time limits: what they are, what is said when one has passed, and how work and streams keep to them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

import anyio

from .contracts import Clock
from .errors import TimedOut
from .types import Chunk

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds: of a whole answer, of a stream until its first piece, of a whole stream. None is none."""

    total_s: float | None = None
    ttft_s: float | None = None
    stream_total_s: float | None = None

    def __bool__(self) -> bool:
        """Whether anything is limited."""
        return not (self.total_s is None and self.ttft_s is None and self.stream_total_s is None)


def shown(seconds: float) -> str:
    """A duration as operators of the gateway know it: ``3s``, ``1.5s``, ``200ms``; finer than milliseconds is cut."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0ns"
    whole, rest = divmod(milliseconds, 1000)
    return f"{whole}.{rest:03}".rstrip("0").rstrip(".") + "s"


def timed_out(name: str, key: str, seconds: float) -> TimedOut:
    """The error of ``name`` (as in ``Model m``) whose limit is configured as ``key`` (config spec 9)."""
    return TimedOut(f"{name} timed out due to configured `{key}` timeout ({shown(seconds)})")


async def within(
    work: Callable[[], Awaitable[T]], seconds: float | None, name: str, *, key: str = "non_streaming.total_ms"
) -> T:
    """What ``work`` gives. Raise TimedOut, and cancel the work, when ``seconds`` have passed; None is no limit."""
    if seconds is None:
        return await work()
    with anyio.move_on_after(seconds):
        return await work()
    raise timed_out(name, key, seconds)


async def bounded(
    chunks: AsyncGenerator[Chunk, None], timeouts: Timeouts, name: str, clock: Clock
) -> AsyncGenerator[Chunk, None]:
    """The same chunks, and TimedOut when a limit passes; closes ``chunks`` at its end.

    Time runs from the first ``anext``, and while the consumer is busy too. What counts as the first piece is one
    that says something: the note of what was asked (``raw_request``) does not.
    """
    began, begun = clock.perf(), False
    async with aclosing(chunks):
        while True:
            key, limit_s = _limit(timeouts, begun)
            if limit_s is None:
                chunk = await anext(chunks, None)
            else:
                chunk = await _next(chunks, limit_s - (clock.perf() - began), timed_out(name, key, limit_s))
            if chunk is None:
                return
            begun = begun or bool(chunk.content or chunk.usage or chunk.finish_reason)
            yield chunk


async def _next(chunks: AsyncGenerator[Chunk, None], seconds: float, late: TimedOut) -> Chunk | None:
    """One piece, or None at the end. Its own cancel scope: one left open across a `yield` takes in the consumer."""
    if seconds > 0:  # work that never waits would not notice a deadline that lies behind it
        with anyio.move_on_after(seconds):
            return await anext(chunks, None)
    raise late


def _limit(timeouts: Timeouts, begun: bool) -> tuple[str, float | None]:
    """The limit that passes next; of two equal ones, that of the first piece."""
    total_s, ttft_s = timeouts.stream_total_s, timeouts.ttft_s
    if not begun and ttft_s is not None and (total_s is None or ttft_s <= total_s):
        return "streaming.ttft_ms", ttft_s
    return "streaming.total_ms", total_s
