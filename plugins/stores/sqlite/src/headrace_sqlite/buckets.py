"""Token buckets in the same file, on a thread and a connection of their own: takes do not queue behind records."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeAlias

import anyio
from anyio import to_thread
from anyio.lowlevel import EventLoopToken, current_token
from headrace.contracts import Bucket, Clock
from headrace.refills import changed, now_us, refilled, suffices

from .files import File
from .waking import wake

# Other connections hold the file for some milliseconds at a time. SQLite's own pauses, which grow to 100 ms, would
# miss the moments in between while records are written without end.
_PAUSE_S = 0.001

# By key: the balance, and when it was last refilled.
_States: TypeAlias = dict[str, tuple[int, int]]


@dataclass(eq=False, slots=True)
class _Job:
    of: Sequence[tuple[Bucket, int]]
    is_take: bool
    done: anyio.Event = field(default_factory=anyio.Event)
    had: list[int] = field(default_factory=list)
    error: Exception | None = None


class SqliteBuckets:
    """Those who wait together are served in one transaction. Nothing is started before somebody asks.

    What was taken survives the end of the process. A power cut may give the last of it back: a limit is not worth
    waiting for the disk.
    """

    def __init__(self, file: File, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._loop: EventLoopToken | None = None
        self._connection: sqlite3.Connection | None = None
        self._busy_ms = 0

    async def take(self, wanted: Sequence[tuple[Bucket, int]]) -> list[int]:
        """What each bucket had; taken from all or from none. Raise StoreError."""
        return await self._do(_Job(wanted, is_take=True))

    async def settle(self, changes: Sequence[tuple[Bucket, int]]) -> None:
        """Give back, or charge more. Raise StoreError."""
        await self._do(_Job(changes, is_take=False))

    async def close(self) -> None:
        """Do what is queued, then end."""
        if self._thread is not None:
            self._queue.put(None)
            await to_thread.run_sync(self._thread.join)

    async def _do(self, job: _Job) -> list[int]:
        with self._file.errors("use a bucket"):
            for bucket, _ in job.of:
                bucket.key.encode()  # what has no UTF-8 fails here, and not those it would share a transaction with
        if self._thread is None:
            self._loop = current_token()
            self._thread = Thread(target=self._run, name="headrace-sqlite-buckets", daemon=True)
            self._thread.start()
        self._queue.put(job)
        await job.done.wait()
        if job.error is not None:
            raise job.error
        return job.had

    def _run(self) -> None:
        is_last = False
        while not is_last:
            jobs, is_last = self._waiting()
            try:
                with self._file.errors("use a bucket"):
                    self._serve(jobs)
            except Exception as error:  # whatever it is, the thread has to live, and nobody may wait for ever
                for job in jobs:
                    job.error = error
            wake([job.done for job in jobs], self._loop)
        if self._connection is not None:
            self._connection.close()

    def _waiting(self) -> tuple[list[_Job], bool]:
        """Wait for somebody, then take those who wait behind him; True with the last ones of all."""
        jobs: list[_Job] = []
        job = self._queue.get()
        while job is not None:
            jobs.append(job)
            try:
                job = self._queue.get_nowait()
            except Empty:
                return jobs, False
        return jobs, True

    def _serve(self, jobs: Sequence[_Job]) -> None:
        if not jobs:
            return
        if self._connection is None:
            self._connection = self._file.connect()
            [self._busy_ms] = self._connection.execute("PRAGMA busy_timeout").fetchone()
            self._connection.execute("PRAGMA busy_timeout = 0")
            self._connection.execute("PRAGMA synchronous = normal")
        connection = self._connection
        self._begin(connection)
        try:
            states: _States = {}
            used: set[str] = set()
            for job in jobs:
                self._load(connection, job, states)
                used |= _take(job, states) if job.is_take else _settle(job, states)
            connection.executemany(
                "INSERT INTO resource_bucket (key, balance, filled_us) VALUES (?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET balance = excluded.balance, filled_us = excluded.filled_us",
                [(key, *states[key]) for key in used],
            )
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Begin to write, as soon as nobody else does."""
        deadline = time.monotonic() + self._busy_ms / 1000
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_S)

    def _load(self, connection: sqlite3.Connection, job: _Job, states: _States) -> None:
        """The buckets of this job as they stand now; those of jobs before it in this transaction as these left them."""
        at_us = now_us(self._clock.time())
        for bucket, _ in job.of:
            state = states.get(bucket.key)
            if state is None:
                sql = "SELECT balance, filled_us FROM resource_bucket WHERE key = ?"
                state = connection.execute(sql, (bucket.key,)).fetchone() or (bucket.capacity, at_us)
            balance, filled_us = state
            states[bucket.key] = refilled(bucket, balance, filled_us, at_us)


def _take(job: _Job, states: _States) -> set[str]:
    """The keys of the buckets that something was taken from."""
    job.had = [states[bucket.key][0] for bucket, _ in job.of]
    if not all(suffices(has, units) for has, (_, units) in zip(job.had, job.of, strict=True)):
        return set()
    for bucket, units in job.of:
        balance, filled_us = states[bucket.key]
        states[bucket.key] = balance - units, filled_us
    return {bucket.key for bucket, _ in job.of}


def _settle(job: _Job, states: _States) -> set[str]:
    for bucket, change in job.of:
        balance, filled_us = states[bucket.key]
        states[bucket.key] = changed(bucket, balance, change), filled_us
    return {bucket.key for bucket, _ in job.of}
