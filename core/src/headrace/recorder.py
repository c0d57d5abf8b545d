"""A bounded queue in front of the store: records leave in batches, and wait on the disk while the store is away."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Literal

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from .contracts import Store
from .errors import RecordRefused, StoreError
from .pacing import Pace
from .records import Record
from .spill import REFUSED, Spill

log = logging.getLogger(__name__)

# Records that may wait for the store before requests have to.
CAPACITY = 10_000

_BACKOFF_S = (0.1, 0.5, 2.0, 5.0)
# While a store is away: how often what has come goes to the disk, how much at once; how often a full disk is asked.
_TICK_S = 1.0
_SPILL_ROWS = 1000


class Recorder:
    """Takes records of whole requests and writes them in order. A record is never lost while the process lives.

    Records wait in one line for the store: first those that are in ``spill``, then those of the queue. They join the
    queue, and move from it to the spill when the store has been away for ``spill_after_s``, or is away and the queue is
    full, or when the recorder stops and the store is away; what has moved survives the process.

    ``wait`` True makes ``put`` return only when the records are durable, in the store or in the spill (without a spill:
    or queued, where the store is away). Otherwise ``put`` returns once they are queued. While ``capacity`` records are
    queued already and the spill takes none, it waits; or, with ``when_full`` "drop", gives its records up.

    A batch leaves when it has ``max_rows`` records, or when ``pace`` says. ``on_drop`` hears how many were lost:
    what the store refuses for good (the spill's folder keeps it, in ``refused.jsonl``), what was given up since
    there was no room, and what neither store nor spill took within ``stop_within_s`` at the end.
    """

    def __init__(
        self,
        store: Store,
        *,
        wait: bool = False,
        max_rows: int = 5000,
        pace: Pace | None = None,
        capacity: int = CAPACITY,
        stop_within_s: float = 30.0,
        on_drop: Callable[[int], None] = lambda records: None,
        spill: Spill | None = None,
        spill_after_s: float = 10.0,
        when_full: Literal["wait", "drop"] = "wait",
    ) -> None:
        self._store = store
        self._wait = wait
        self._max_rows = max_rows
        self._pace = pace or Pace()
        self._capacity = capacity
        self._stop_within_s = stop_within_s
        self._on_drop = on_drop
        self._spill = spill
        self._spill_after_s = spill_after_s
        self._drops = when_full == "drop"
        self._waits_for_spill = wait and spill is not None
        # The line: ``_spilled`` records of it are in the spill, the rest in the queue, whose first ``_sending`` are
        # with the store just now. ``_taken`` have ever joined it, and ``_settled`` of these have left it.
        self._queue: deque[Record] = deque()
        self._spilled = self._sending = self._taken = self._settled = 0
        self._arrived = anyio.Event()
        self._is_idle = False  # whether somebody waits for ``_arrived``
        self._turned = anyio.Event()  # replaced whenever the line has moved
        self._alarm = anyio.Event()  # the spill may have to take some
        self._moving = anyio.Lock(fast_acquire=True)  # who takes from the line's parts, or moves between them
        self._thread: anyio.CapacityLimiter | None = None  # one call of the spill at a time
        self._stuck_since: float | None = None  # when the first attempt began that has not succeeded yet
        self._failures = 0  # attempts in a row that found the store away
        self._is_blocked = False  # whether the spill has just not taken what it was given
        self._dropping = 0  # records given up since the queue was full
        self._writing: anyio.CancelScope | None = None
        self._stopping = self._ended = self._closed = False
        self.spilled_total = 0  # records that have ever gone to the spill

    @property
    def waiting(self) -> int:
        """Records that are not in the store yet, those in the spill with them."""
        return self._taken - self._settled

    @property
    def is_well(self) -> bool:
        """Whether records neither wait in the spill nor are dropped."""
        return not self._spilled and not self._dropping

    @property
    def takes_at_once(self) -> bool:
        """Whether ``put`` would return without waiting for anything."""
        return not self._wait and len(self._queue) - self._sending < self._capacity

    async def start(self, tasks: TaskGroup) -> None:
        """Begin to write, in a task of this group; it ends only after ``stop``."""
        self._thread = anyio.CapacityLimiter(1)
        if self._spill is not None:
            await self._adopt(self._spill)
        # Shielded: when the host is cancelled, its records are still to be written.
        self._writing = anyio.CancelScope(shield=True)
        tasks.start_soon(self._run, self._writing)

    async def put(self, records: Sequence[Record]) -> None:
        """Hand over the records of one request. What becomes of them later is logged, and no fault of the caller."""
        # While others wait for the store, these must not overtake them.
        if self._wait and self._settled == self._taken and await self._written(records):
            return
        if len(self._queue) - self._sending >= self._capacity and not await self._has_room(records):
            return
        self._queue.extend(records)
        self._taken += len(records)
        if self._is_idle:
            self._is_idle = False
            self._arrived.set()
        elif len(self._queue) >= self._max_rows:
            self._pace.hurry()
        if self._waits_for_spill:
            await self._durable(self._taken)

    async def flush(self) -> None:
        """Return when all that was put before has been written to the store."""
        goal = self._taken
        while self._settled < goal and not self._ended:
            self._pace.hurry()
            await self._turned.wait()

    async def stop(self) -> None:
        """Write what is in line, within a bound, and end; while the store is away, move it to the spill."""
        self._stopping = True
        self._arrived.set()
        self._pace.hurry()
        self._alarm.set()
        self._turn()
        with anyio.move_on_after(self._stop_within_s, shield=True):
            while self._settled < self._taken and not (self._failures and self._spilled == self.waiting):
                await self._turned.wait()
        self._ended, self._capacity = True, 0
        if self._writing is not None:
            self._writing.cancel()
        if self._spill is not None:
            with anyio.CancelScope(shield=True):
                await self._close(self._spill)
        self._closed = True
        self._turn()
        if self._queue:
            self._lose(len(self._queue), f"the store did not take them within {self._stop_within_s:g} s")

    async def _written(self, records: Sequence[Record]) -> bool:
        """Write now. A store that is away makes the records queue instead: its fault is not the caller's."""
        began = time.monotonic()
        # A store that hangs is away as well, if there is somewhere else to go.
        with anyio.move_on_after(self._spill_after_s if self._spill is not None else None):
            try:
                await self._store.write(records)
            except Exception as error:
                if _is_away(error):
                    log.warning("could not write %d records at once (%s); queued", len(records), error)
                    return False
                if len(records) == 1:
                    return await self._refused(records[0])
                half = len(records) // 2  # find the one, keep its neighbours
                return await self._written(records[:half]) and await self._written(records[half:])
            return True
        self._stuck_since = self._stuck_since or began
        return False

    async def _has_room(self, records: Sequence[Record]) -> bool:
        """Wait until the queue has room, or the recorder stops; False if these records have been given up."""
        while len(self._queue) - self._sending >= self._capacity and not self._stopping:
            if self._drops and (self._spill is None or self._is_blocked):
                self._drop(len(records))
                return False
            self._alarm.set()
            await self._turned.wait()
        if self._ended:
            self._lose(len(records), "they came after the end")
        return not self._ended

    async def _durable(self, goal: int) -> None:
        """Wait until no record up to this one is in the queue."""
        while self._taken - len(self._queue) < goal and not self._closed:
            self._alarm.set()
            await self._turned.wait()

    async def _run(self, scope: anyio.CancelScope) -> None:
        with scope:
            async with anyio.create_task_group() as tasks:
                if self._spill is not None:
                    tasks.start_soon(self._keep_safe, self._spill)
                await self._send()

    async def _send(self) -> None:
        """Write batch after batch, again and again while the store is away. Ends when it is cancelled."""
        size = self._max_rows
        while True:
            if not self.waiting:
                await self._arrival()
                continue
            if not self._spilled and len(self._queue) < self._max_rows and not self._stopping:
                await self._pace.gather()
            if self._spilled and self._spill is not None:
                batch = await self._spilled_head(self._spill, size)
            else:
                batch = self._queued_head(size)
            if not batch:
                continue
            began = self._pace.begin()
            self._stuck_since = self._stuck_since or began
            try:
                await self._store.write(batch)
            except Exception as error:  # a bug in the store's plugin, too, must not end the gateway
                if _is_away(error):
                    await self._pause(len(batch), error)
                    size = max(1, len(batch) // 2)  # a bad line, or little memory, may let no more than a few through
                    continue
                size = max(1, len(batch) // 2)  # find the one, keep its neighbours
                if len(batch) > 1:
                    continue
                await self._refused(batch[0])
            size = min(self._max_rows, size * 2)
            self._stuck_since = None
            self._failures = 0
            if self._spill is not None and (self._spilled or self._moving.locked()):
                await self._leave_spill(self._spill, len(batch))
            else:
                self._pop(len(batch))
            self._turn()

    async def _arrival(self) -> None:
        self._arrived, self._is_idle = anyio.Event(), True
        await self._arrived.wait()

    def _queued_head(self, size: int) -> list[Record]:
        """The first of the queue; they stay in it until the store has them."""
        self._sending = min(size, len(self._queue))
        if len(self._queue) >= self._capacity:  # what is with the store makes room
            self._turn()
        return list(islice(self._queue, self._sending))

    async def _spilled_head(self, spill: Spill, size: int) -> list[Record]:
        """The first of the spill; nothing where it was to be given up instead."""
        async with self._moving:
            try:
                head = await to_thread.run_sync(spill.head, size, limiter=self._thread)
            except OSError as error:
                self._give_up(spill, error)
                await self._advance(spill, 0)
                return []
            if isinstance(head, list):
                return head
            self._lose(1, f"a line of the spill is not one; it goes to {REFUSED}")
            await to_thread.run_sync(spill.refuse, head, limiter=self._thread)
            await self._advance(spill, 1)
        return []

    async def _leave_spill(self, spill: Spill, count: int) -> None:
        """Take the first off the line, which are, or may be on their way to, the spill."""
        async with self._moving:
            spilled = min(count, self._spilled)
            self._pop(count - spilled)
            if spilled:
                await self._advance(spill, spilled)

    def _pop(self, count: int) -> None:
        for _ in range(count):
            self._queue.popleft()
        self._sending = 0
        self._settled += count

    async def _advance(self, spill: Spill, count: int) -> None:
        try:
            await to_thread.run_sync(spill.advance, count, limiter=self._thread)
        except OSError as error:
            self._give_up(spill, error)
        self._settled += self._spilled - spill.rows
        self._spilled = spill.rows
        self._turn()
        if not self._spilled:
            log.warning("nothing is left on the disk: the store has what was spilled")

    def _give_up(self, spill: Spill, error: OSError) -> None:
        """Leave a file to the next start, since it cannot be read now."""
        self._lose(spill.abandon(), f"a file of the spill cannot be read ({error}); it stays for the next start")

    async def _pause(self, count: int, error: Exception) -> None:
        pause = _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
        log.warning("could not write %d records (%s); next try in %g s", count, error, pause)
        self._failures += 1
        self._alarm.set()
        self._turn()
        # A little earlier, each process at its own time: a store that comes back is not run over.
        await anyio.sleep(pause * random.uniform(0.75, 1))

    async def _refused(self, record: Record) -> bool:
        """Tell of the record that no store will have, and keep it where there is a folder for it."""
        log.exception("the store refused a record: %s", type(record).__name__)
        self._on_drop(1)
        if self._spill is not None:
            await to_thread.run_sync(self._spill.refuse, record, limiter=self._thread)
        return True

    def _turn(self) -> None:
        """Wake who waits for the line to move."""
        turned, self._turned = self._turned, anyio.Event()
        turned.set()
        if self._dropping and len(self._queue) < self._capacity:
            log.error("%d records were dropped while the queue was full", self._dropping)
            self._dropping = 0

    async def _adopt(self, spill: Spill) -> None:
        count = await to_thread.run_sync(spill.adopt, limiter=self._thread)
        if count:
            log.warning("%d records of an earlier process wait in %s", count, spill.folder)
        self._spilled = self._taken = count

    async def _keep_safe(self, spill: Spill) -> None:
        """Move records to the spill whenever they should; ends when it is cancelled."""
        tick = min(_TICK_S, self._spill_after_s)
        while True:
            is_troubled = self._spilled or self._failures or self._is_blocked
            with anyio.move_on_after(tick if is_troubled else self._spill_after_s):  # or does the store hang?
                await self._alarm.wait()
            self._alarm = anyio.Event()
            while self._has_to_spill() and await self._move(spill):
                pass
            if self._is_blocked:
                await anyio.sleep(tick)
                self._is_blocked = bool(self._queue)

    def _has_to_spill(self) -> bool:
        if not self._queue:
            return False
        if self._stuck_since is not None and time.monotonic() - self._stuck_since >= self._spill_after_s:
            return True
        is_full = len(self._queue) - self._sending >= self._capacity
        if self._failures:
            return bool(is_full or self._spilled or self._stopping)
        # The store answers. What comes behind spilled records goes there only where it cannot wait: once a batch is all
        # that is left, it can, or else a store that takes longer than the disk would never be caught up with.
        is_behind = self._spilled > self._max_rows
        return bool((is_full and (self._drops or self._spilled)) or (is_behind and self._wait))

    async def _move(self, spill: Spill) -> bool:
        """Move some from the queue to the spill; False if it does not take them."""
        async with self._moving:
            rows = list(islice(self._queue, _SPILL_ROWS))
            was_blocked, was_empty, why = self._is_blocked, not self._spilled, "it has reached its limit"
            try:
                moved = await to_thread.run_sync(spill.append, rows, limiter=self._thread)
            except OSError as error:
                moved, why = 0, str(error)
            for _ in range(moved):
                self._queue.popleft()
            self._spilled += moved
            self.spilled_total += moved
            self._sending = max(0, self._sending - moved)
            self._is_blocked = bool(rows) and not moved
        self._turn()
        if self._is_blocked and not was_blocked:
            log.error("the spill %s takes no more records (%s): %d wait in memory", spill.folder, why, len(self._queue))
        elif moved and was_empty:
            log.warning("the store is away: records go to %s until it is back", spill.folder)
        return moved > 0

    async def _close(self, spill: Spill) -> None:
        while self._queue and await self._move(spill):
            pass
        async with self._moving:
            spill.close()
        if self._spilled:
            log.warning("%d records wait in %s for the next start", self._spilled, spill.folder)

    def _drop(self, records: int) -> None:
        if not self._dropping:
            log.error("the queue is full, with %d records: what comes is dropped", len(self._queue))
        self._dropping += records
        self._on_drop(records)

    def _lose(self, records: int, why: str) -> None:
        log.error("%d records are lost: %s", records, why)
        self._on_drop(records)


def _is_away(error: Exception) -> bool:
    """Whether the store is worth another try with the same records."""
    return isinstance(error, StoreError) and not isinstance(error, RecordRefused)
