"""What is stored ends after the days that are configured: at start, and every hour from then on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import anyio
from msgspec import Struct

from .contracts import Clock, Store
from .queries import Expiring

log = logging.getLogger(__name__)

# Rows that go need not be emptied first.
_ORDER: Final[tuple[Expiring, ...]] = ("inferences", "model_inferences", "feedback", "batches", "cache", "data")
_DAY_S: Final = 86_400


class Expired(Struct, frozen=True, kw_only=True):
    """What has ended in one round: so many rows of ``what`` that were older than ``before``."""

    what: Expiring
    before: datetime
    rows: int


class Retention:
    """Ends what is older than its ``days``; what has none stays for ever. Several may do so at one store."""

    def __init__(self, store: Store, clock: Clock, days: Mapping[Expiring, int], *, interval_s: float = 3600.0) -> None:
        self._store = store
        self._clock = clock
        self._days = days
        self._interval_s = interval_s

    async def run(self) -> None:
        """Do a round now and one every ``interval_s``, until cancelled. A trouble is logged, and tried again then."""
        while self._days:
            for what in _ORDER:
                try:
                    await self._expire(what)
                except Exception as error:  # a bug in the store's plugin, too, must not end the gateway
                    log.warning("could not end %s that are past their days (%s); next try in an hour", what, error)
            await anyio.sleep(self._interval_s)

    async def expire(self) -> list[Expired]:
        """Do one round. Raise StoreError at the first trouble; what has ended by then stays so."""
        return [ended for what in _ORDER if (ended := await self._expire(what)) is not None]

    async def _expire(self, what: Expiring) -> Expired | None:
        if what not in self._days:
            return None
        # Before 1970 nothing was stored; and a year before the first has no datetime.
        since_s = max(self._clock.time() - self._days[what] * _DAY_S, 0.0)
        before = datetime.fromtimestamp(since_s, UTC)
        rows = await self._store.expire(what, before)
        if rows:
            log.info("%s: %d rows older than %s have ended", what, rows, before.isoformat(timespec="seconds"))
        return Expired(what=what, before=before, rows=rows)
