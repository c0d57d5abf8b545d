"""A variant that keeps to the time limits of its table, whatever it is made of (config spec 9)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection

from .contracts import Answer, Clock, Task, Templated, Variant
from .timeouts import Timeouts, bounded, within
from .types import Chunk


class Timed:
    """Another variant within limits that take in everything it does: retries, candidates, evaluator, fuser."""

    def __init__(self, variant: Variant, timeouts: Timeouts, *, name: str, clock: Clock) -> None:
        self._variant = variant
        self._timeouts = timeouts
        self._name = f"Variant `{name}`"
        self._clock = clock

    @property
    def inner(self) -> Variant:
        """The variant without its limits."""
        return self._variant

    @property
    def templates(self) -> Collection[str]:
        """What the other one can render; nothing, if it renders no templates."""
        return self._variant.templates if isinstance(self._variant, Templated) else ()

    async def run(self, task: Task) -> Answer:
        """Perform once. Raise TimedOut."""
        return await within(lambda: self._variant.run(task), self._timeouts.total_s, self._name)

    def stream(self, task: Task) -> AsyncGenerator[Chunk, None]:
        """Perform piece by piece; TimedOut may also come after the first piece."""
        return bounded(self._variant.stream(task), self._timeouts, self._name, self._clock)
