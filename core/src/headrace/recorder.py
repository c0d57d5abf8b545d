"""A bounded queue in front of the store: records leave in batches; when it is full, requests wait."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

import anyio
from anyio.abc import TaskGroup

from .contracts import Store
from .errors import RecordRefused, StoreError
from .records import Record

log = logging.getLogger(__name__)

# Records that may wait for the store before requests have to.
CAPACITY = 10_000

_BACKOFF_S = (0.1, 0.5, 2.0, 5.0)


class Recorder:
    """Takes records of whole requests and writes them in order. A record is never lost while the process lives.

    ``wait`` True makes ``put`` return only when the records are durable. Otherwise ``put`` returns once they are
    queued, and waits only while ``capacity`` records are queued already. A batch leaves when it has ``max_rows``
    records or ``interval_s`` after its first. ``on_drop`` hears how many were lost: what the store refuses for good,
    and what it did not take within ``stop_within_s`` at the end.
    """

    def __init__(
        self,
        store: Store,
        *,
        wait: bool = False,
        max_rows: int = 1000,
        interval_s: float = 0.0,
        capacity: int = CAPACITY,
        stop_within_s: float = 30.0,
        on_drop: Callable[[int], None] = lambda records: None,
    ) -> None:
        self._store = store
        self._wait = wait
        self._max_rows = max_rows
        self._interval_s = interval_s
        self._capacity = capacity
        self._stop_within_s = stop_within_s
        self._on_drop = on_drop
        self._queue: deque[Record] = deque()
        self._taken = 0  # records handed over so far, and of these how many the store has answered for
        self._settled = 0
        self._arrived = anyio.Event()
        self._settling = anyio.Event()
        self._writing: anyio.CancelScope | None = None
        self._stopping = False
        self._ended = False

    async def start(self, tasks: TaskGroup) -> None:
        """Begin to write, in a task of this group; it ends only after ``stop``."""
        # Shielded: when the host is cancelled, its records are still to be written.
        self._writing = anyio.CancelScope(shield=True)
        tasks.start_soon(self._run, self._writing)

    async def put(self, records: Sequence[Record]) -> None:
        """Hand over the records of one request. What becomes of them later is logged, and no fault of the caller."""
        # While others wait for the store, these must not overtake them.
        if self._wait and self._settled == self._taken and await self._written(records):
            return
        while len(self._queue) >= self._capacity and not self._ended:
            await self._settling.wait()
        if self._ended:
            self._lose(len(records), "they came after the end")
            return
        self._queue.extend(records)
        self._taken += len(records)
        self._arrived.set()

    async def flush(self) -> None:
        """Return when all that was put before has been written."""
        goal = self._taken
        while self._settled < goal and not self._ended:
            await self._settling.wait()

    async def stop(self) -> None:
        """Write what is queued, within a bound, and end."""
        self._stopping = True
        self._arrived.set()
        with anyio.move_on_after(self._stop_within_s, shield=True):
            while self._settled < self._taken:  # requests that are ending may still bring some
                await self.flush()
        self._ended = True
        self._settling.set()
        if self._writing is not None:
            self._writing.cancel()
        if self._settled < self._taken:
            self._lose(self._taken - self._settled, f"the store did not take them within {self._stop_within_s:g} s")

    async def _run(self, scope: anyio.CancelScope) -> None:
        with scope:
            while not (self._stopping and not self._queue):
                if not self._queue:
                    self._arrived = anyio.Event()
                    await self._arrived.wait()
                    continue
                if self._interval_s:
                    await self._gather()
                batch = [self._queue.popleft() for _ in range(min(self._max_rows, len(self._queue)))]
                await self._write(batch)
                self._settled += len(batch)
                settled, self._settling = self._settling, anyio.Event()
                settled.set()

    async def _gather(self) -> None:
        """Let more records come, for the interval or until they are a batch."""
        with anyio.move_on_after(self._interval_s):
            while len(self._queue) < self._max_rows and not self._stopping:
                self._arrived = anyio.Event()
                await self._arrived.wait()

    async def _written(self, records: Sequence[Record]) -> bool:
        """Write now. A store that is away makes the records queue instead: its fault is not the caller's."""
        try:
            await self._store.write(records)
        except Exception as error:
            if _is_away(error):
                log.warning("could not write %d records at once (%s); queued", len(records), error)
                return False
            await self._write(records)  # finds the record that is refused
        return True

    async def _write(self, batch: Sequence[Record]) -> None:
        """Write, again and again while the store is away. Only what the store refuses for good is given up."""
        attempt = 0
        while True:
            try:
                await self._store.write(batch)
                return
            except Exception as error:  # a bug in the store's plugin, too, must not end the gateway
                if _is_away(error):
                    pause = _BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]
                    log.warning("could not write %d records (%s); next try in %g s", len(batch), error, pause)
                    attempt += 1
                    await anyio.sleep(pause)
                elif len(batch) == 1:
                    log.exception("the store refused a record: %s", type(batch[0]).__name__)
                    self._on_drop(1)
                    return
                else:
                    half = len(batch) // 2  # find the one, keep its neighbours
                    await self._write(batch[:half])
                    batch = batch[half:]

    def _lose(self, records: int, why: str) -> None:
        log.error("%d records are lost: %s", records, why)
        self._on_drop(records)


def _is_away(error: Exception) -> bool:
    """Whether the store is worth another try with the same records."""
    return isinstance(error, StoreError) and not isinstance(error, RecordRefused)
