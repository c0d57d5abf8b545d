"""An outside world for tests: a Transport that answers from a list, a clock to set, and the services around them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from anyio.lowlevel import checkpoint
from msgspec import Struct

from ..contracts import Services
from ..credentials import load
from ..transport import Call, Reply, Transport


class Broken(Struct, frozen=True):
    """An answer that begins as ``reply`` does and then fails: ``send`` sees only the error."""

    reply: Reply
    error: Exception


class Script:
    """Answers calls from a list, streamed bodies in pieces of ``piece`` bytes (0: whole). Records ``calls``.

    An exception in the list is raised instead of answering. ``open_streams`` counts replies not yet closed.
    """

    def __init__(self, *answers: Reply | Broken | Exception, piece: int = 7) -> None:
        self.calls: list[Call] = []
        self.open_streams = 0
        self._answers = iter(answers)
        self._piece = piece

    async def send(self, call: Call) -> Reply:
        """The next answer, whole."""
        answer = await self._next(call)
        if isinstance(answer, Broken):
            raise answer.error
        return answer

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncGenerator[_ScriptedReply, None]:
        """The next answer, its body in pieces."""
        answer = await self._next(call)
        self.open_streams += 1
        reply = _ScriptedReply(answer, self._piece)
        try:
            yield reply
        finally:
            await reply.body.aclose()
            self.open_streams -= 1

    async def _next(self, call: Call) -> Reply | Broken:
        self.calls.append(call)
        await checkpoint()
        answer = next(self._answers, None)
        if answer is None:
            raise AssertionError(f"the script has no answer to call {len(self.calls)}: {call.method} {call.url}")
        if isinstance(answer, Exception):
            raise answer
        return answer


class _ScriptedReply:
    """A StreamedReply over bytes that are all there."""

    def __init__(self, answer: Reply | Broken, piece: int) -> None:
        reply = answer.reply if isinstance(answer, Broken) else answer
        self._error = answer.error if isinstance(answer, Broken) else None
        self.status: int = reply.status
        self.headers: Mapping[str, str] = reply.headers
        self.body = self._pieces(reply.body, piece or len(reply.body) or 1)

    async def _pieces(self, body: bytes, size: int) -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), size):
            yield body[start : start + size]
        if self._error is not None:
            raise self._error

    async def read(self) -> bytes:
        """The rest of the body, whole."""
        return b"".join([part async for part in self.body])


class SetClock:
    """A clock that stands still until ``advance`` moves it."""

    def __init__(self, now: float = 1_750_000_000.0) -> None:
        self._now = now

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def perf(self) -> float:
        """The same clock: it never goes back either."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds


def services(transport: Transport, **secrets: str) -> Services:
    """What core would lend, where ``secrets`` is the whole environment."""
    return Services(transport, partial(load, environ=secrets), SetClock())
