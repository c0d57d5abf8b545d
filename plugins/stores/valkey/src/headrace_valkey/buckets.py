"""Token buckets in hashes, filled up, taken from and settled by scripts that run alone on the server, by its clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from headrace import Services
from headrace.contracts import Bucket

from .scripts import SETTLE, TAKE
from .server import Server, Word
from .settings import BucketsSettings

PREFIX: Final = "tensorzero_ratelimit:"
DAY_US: Final = 86_400_000_000
# A month is 30 days: a script has no calendar.
WINDOWS_US: Final[Mapping[str, int]] = {
    "second": 1_000_000,
    "minute": 60_000_000,
    "hour": 3_600_000_000,
    "day": DAY_US,
    "week": 7 * DAY_US,
    "month": 30 * DAY_US,
}


class ValkeyBuckets:
    """Buckets that every gateway of this server shares. Without it nothing can be taken. An async context manager."""

    def __init__(self, settings: BucketsSettings, services: Services) -> None:
        self._server = Server(settings.url, meanwhile="what a rate limit concerns is refused")

    async def __aenter__(self) -> ValkeyBuckets:
        """Open, whether or not the server answers."""
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close every connection."""
        await self._server.__aexit__(*exc)

    async def take(self, wanted: Sequence[tuple[Bucket, int]]) -> list[int]:
        """What each bucket had; taken from all if each had enough, and else from none. Raise StoreError."""
        return [int(had) for had in await self._server.run(TAKE, *_words(wanted))] if wanted else []

    async def settle(self, changes: Sequence[tuple[Bucket, int]]) -> None:
        """Give back, or charge more. Raise StoreError."""
        if changes:
            await self._server.run(SETTLE, *_words(changes))

    async def ping(self) -> None:
        """Return if the server answers; raise StoreError otherwise."""
        await self._server.ping()


def _words(amounts: Sequence[tuple[Bucket, int]]) -> Iterable[Word]:
    yield len(amounts)
    for bucket, _ in amounts:
        yield PREFIX + bucket.key
    for bucket, amount in amounts:
        yield from (bucket.capacity, bucket.refill_rate, WINDOWS_US[bucket.window], amount)
