"""Token buckets in a dict. Nothing here waits, so whatever is done is done at once."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.contracts import Bucket, Clock
from headrace.refills import changed, now_us, refilled, suffices


class MemoryBuckets:
    """The buckets of this process; they end with it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._states: dict[str, tuple[int, int]] = {}

    def take(self, wanted: Sequence[tuple[Bucket, int]]) -> list[int]:
        """What each bucket had; taken from all or from none."""
        states = self._refilled(wanted)
        had = [balance for balance, _ in states]
        if all(suffices(has, units) for has, (_, units) in zip(had, wanted, strict=True)):
            for (bucket, units), (balance, filled_us) in zip(wanted, states, strict=True):
                self._states[bucket.key] = balance - units, filled_us
        return had

    def settle(self, changes: Sequence[tuple[Bucket, int]]) -> None:
        """Give back, or charge more."""
        for (bucket, change), (balance, filled_us) in zip(changes, self._refilled(changes), strict=True):
            self._states[bucket.key] = changed(bucket, balance, change), filled_us

    def _refilled(self, of: Sequence[tuple[Bucket, int]]) -> list[tuple[int, int]]:
        at_us = now_us(self._clock.time())
        return [refilled(bucket, *self._states.get(bucket.key, (bucket.capacity, at_us)), at_us) for bucket, _ in of]
