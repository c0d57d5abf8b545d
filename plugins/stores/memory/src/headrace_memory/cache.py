"""Answers of model calls in memory: the most recently used ones, up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from headrace import Services
from headrace.contracts import SystemClock
from pydantic import BaseModel, Field

MAX_BYTES: Final = 64 * 1024 * 1024

# What Python needs to keep an entry, beside the text of the key and the bytes of the entry.
_OVERHEAD_BYTES = 300


class CacheSettings(BaseModel, extra="forbid", frozen=True):
    """The ``[gateway.cache.memory]`` table."""

    max_bytes: int = Field(default=MAX_BYTES, ge=0)


class MemoryCache:
    """Forgets what was not asked for the longest, once it holds more than ``max_bytes``; never for age."""

    def __init__(self, settings: CacheSettings, services: Services | None = None) -> None:
        """Of ``services`` only the clock is of use: it tells the age of an entry."""
        self._clock = services.clock if services else SystemClock()
        self._max_bytes = settings.max_bytes
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    async def cached(self, key: str, *, max_age_s: float | None = None) -> bytes | None:
        """The entry kept last under this key and younger than ``max_age_s``, or None."""
        found = self._entries.get(key)
        if found is None:
            return None
        written_at, entry = found
        if max_age_s is not None and self._clock.time() - written_at >= max_age_s:
            return None
        self._entries.move_to_end(key)
        return entry

    async def cache(self, key: str, entry: bytes) -> None:
        """Keep the entry, in place of one that is there. One larger than ``max_bytes`` is not kept at all."""
        self._drop(key)
        if _size(key, entry) > self._max_bytes:
            return  # it would push all others out, and then itself
        self._entries[key] = self._clock.time(), entry
        self._bytes += _size(key, entry)
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def expire(self, before_s: float) -> int:
        """Forget what was kept before that instant, in seconds since the epoch; says how many entries that were."""
        old = [key for key, (written_at, _) in self._entries.items() if written_at < before_s]
        for key in old:
            self._drop(key)
        return len(old)

    def _drop(self, key: str) -> None:
        if found := self._entries.pop(key, None):
            self._bytes -= _size(key, found[1])


def _size(key: str, entry: bytes) -> int:
    return len(key) + len(entry) + _OVERHEAD_BYTES
