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

_BACKOFF_S = (0.1, 0.5, 2.0, 5.0)
_STOP_WITHIN_S = 30.0


class Recorder:
    """Takes records of whole requests and writes them in order. A record is never lost while the process lives.

    ``wait`` True makes ``put`` return only when the records are durable. Otherwise ``put`` returns once they are
    queued, and waits only while ``capacity`` records are queued already.
    """

    def __init__(
        self,
        store: Store,
        *,
        wait: bool = False,
        max_rows: int = 1000,
        interval_s: float = 0.0,
        capacity: int = 10_000,
        on_drop: Callable[[int], None] = lambda records: None,
    ) -> None:
        self._store = store
        self._wait = wait
        self._max_rows = max_rows
        self._interval_s = interval_s
        self._capacity = capacity
        self._on_drop = on_drop
        self._queue: deque[Record] = deque()
        self._taken = 0  # records handed over so far, and of these how many the store has answered for
        self._settled = 0
        self._arrived = anyio.Event()
        self._settling = anyio.Event()
        self._tasks: TaskGroup | None = None
        self._stopping = False

    async def start(self, tasks: TaskGroup) -> None:
        """Begin to write, in a task of this group."""
        self._tasks = tasks
        tasks.start_soon(self._run)

    async def put(self, records: Sequence[Record]) -> None:
        """Hand over the records of one request. Raise StoreError only if they were to be waited for and are lost."""
        if self._wait and await self._written(records):
            return
        while len(self._queue) >= self._capacity:
            await self._settling.wait()
        self._queue.extend(records)
        self._taken += len(records)
        self._arrived.set()

    async def flush(self) -> None:
        """Return when all that was put before has been written."""
        goal = self._taken
        while self._settled < goal:
            await self._settling.wait()

    async def stop(self) -> None:
        """Write what is queued, within a bound, and end."""
        self._stopping = True
        self._arrived.set()
        with anyio.move_on_after(_STOP_WITHIN_S, shield=True):
            await self.flush()
        if self._settled < self._taken:
            lost = self._taken - self._settled
            log.error("stopped with %d records unwritten: the store did not answer in %g s", lost, _STOP_WITHIN_S)
            self._on_drop(lost)

    async def _run(self) -> None:
        while not (self._stopping and not self._queue):
            if not self._queue:
                self._arrived = anyio.Event()
                await self._arrived.wait()
                if self._interval_s and not self._stopping:
                    await anyio.sleep(self._interval_s)
                continue
            batch = [self._queue.popleft() for _ in range(min(self._max_rows, len(self._queue)))]
            await self._write(batch)
            self._settled += len(batch)
            settled, self._settling = self._settling, anyio.Event()
            settled.set()

    async def _written(self, records: Sequence[Record]) -> bool:
        """Write now. A store that is away makes the records queue instead: its fault is not the caller's."""
        try:
            await self._store.write(records)
        except RecordRefused:
            self._drop(records)
        except StoreError as error:
            log.warning("could not write %d records at once (%s); queued", len(records), error)
            return False
        return True

    async def _write(self, batch: Sequence[Record]) -> None:
        """Write, again and again while the store is away. Only what the store refuses for good is given up."""
        attempt = 0
        while True:
            try:
                await self._store.write(batch)
                return
            except RecordRefused:
                if len(batch) == 1:
                    self._drop(batch)
                    return
                half = len(batch) // 2  # find the one, keep its neighbours
                await self._write(batch[:half])
                batch = batch[half:]
            except StoreError as error:
                pause = _BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]
                log.warning("could not write %d records (%s); next try in %g s", len(batch), error, pause)
                attempt += 1
                await anyio.sleep(pause)

    def _drop(self, records: Sequence[Record]) -> None:
        log.exception("%d records cannot be written: %s", len(records), [type(record).__name__ for record in records])
        self._on_drop(len(records))
