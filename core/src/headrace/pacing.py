"""When a batch of records leaves: what it costs beside its records is paid less often if it waits for more of them."""

from __future__ import annotations

import time

import anyio


class Pace:
    """A batch leaves ``interval_s`` after its first record, and ``pace_s`` after the one before it began."""

    def __init__(self, interval_s: float = 0.0, pace_s: float = 0.0) -> None:
        self._interval_s = interval_s
        self._pace_s = pace_s
        self._began = float("-inf")
        self._enough = anyio.Event()

    def begin(self) -> float:
        """A batch leaves: the time, on the monotonic clock."""
        self._began = time.monotonic()
        return self._began

    def hurry(self) -> None:
        """The batch under way need not wait for more."""
        self._enough.set()

    async def gather(self) -> None:
        """Let more records come, for as long as they may."""
        seconds = max(self._interval_s, self._began + self._pace_s - time.monotonic())
        if seconds > 0:
            self._enough = anyio.Event()
            with anyio.move_on_after(seconds):
                await self._enough.wait()
