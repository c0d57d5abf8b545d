"""The one thread that writes: batches that wait together are committed together, and their callers woken once."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeAlias

import anyio
from anyio import to_thread
from anyio.lowlevel import EventLoopToken, current_token
from headrace.errors import RecordRefused, StoreError
from headrace.records import Record

from .files import File
from .rows import CacheEntry, Rows, statements
from .waking import wake

# A transaction takes on further batches up to here, so that nobody waits long for the work of others.
_MERGE_RECORDS = 5000

# What no later attempt would cure.
_FOR_GOOD = (
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


Statement: TypeAlias = tuple[str, Rows | list[Mapping[str, Any]]]


@dataclass(eq=False, slots=True)
class _Job:
    records: Sequence[Record | CacheEntry]
    done: anyio.Event = field(default_factory=anyio.Event)
    statements: Sequence[Statement] = ()
    changed: int = 0
    error: Exception | None = None


class Writer:
    """Owns the writing connection. ``commits`` counts transactions that have been made durable."""

    def __init__(self, file: File, connection: sqlite3.Connection) -> None:
        """Must be made where it will be used: it wakes its callers on this event loop."""
        self.commits = 0
        self._file = file
        self._connection = connection
        self._loop: EventLoopToken = current_token()
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        # A daemon, so that a program that never closes its store can still end; what was durable stays so.
        self._thread = Thread(target=self._run, name="headrace-sqlite-writer", daemon=True)
        self._thread.start()

    async def write(self, records: Sequence[Record | CacheEntry]) -> None:
        """Return when they are durable. Raise StoreError; RecordRefused for records that can never be written."""
        await self._do(_Job(records))

    async def change(self, sql: str, parameters: Mapping[str, Any]) -> int:
        """Change what is there; says how many rows that concerned. Durable when it returns. Raise StoreError."""
        job = _Job((), statements=[(sql, [parameters])])
        await self._do(job)
        return job.changed

    async def close(self) -> None:
        """Write what is queued, then close the connection. Call once, and write no more."""
        self._queue.put(None)
        await to_thread.run_sync(self._thread.join)

    async def _do(self, job: _Job) -> None:
        self._queue.put(job)
        await job.done.wait()
        if job.error is not None:
            raise job.error

    def _run(self) -> None:
        is_last = False
        while not is_last:
            jobs, is_last = self._take()
            self._commit_all([job for job in jobs if self._is_ready(job)])
            wake([job.done for job in jobs], self._loop)
        self._connection.close()

    def _take(self) -> tuple[list[_Job], bool]:
        """Wait for a batch, then take those that wait behind it; True with the last ones of all."""
        jobs: list[_Job] = []
        count = 0
        job = self._queue.get()
        while job is not None:
            jobs.append(job)
            count += len(job.records)
            if count >= _MERGE_RECORDS:
                return jobs, False
            try:
                job = self._queue.get_nowait()
            except Empty:
                return jobs, False
        return jobs, True

    def _is_ready(self, job: _Job) -> bool:
        """Make rows of records before the transaction, so that the file is locked for as short as can be."""
        try:
            job.statements = job.statements or statements(job.records)
        except Exception as error:  # whatever it is, it is this caller's alone, and the thread has to live
            job.error = self._refusal(error)
        return job.error is None

    def _commit_all(self, jobs: list[_Job]) -> None:
        """All in one transaction; where a batch spoils it, one by one, so that nobody fails for his neighbour."""
        error = self._commit(jobs) if jobs else None
        for job in jobs if error else ():
            job.error = self._refusal(self._commit([job]) if isinstance(error, _FOR_GOOD) else error)

    def _commit(self, jobs: list[_Job]) -> Exception | None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for job in jobs:
                    job.changed = sum(self._connection.executemany(*each).rowcount for each in job.statements)
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
        except Exception as error:
            return error
        self.commits += 1
        return None

    def _refusal(self, error: Exception | None) -> Exception | None:
        """What the caller is to see: RecordRefused is for good, any other StoreError means to try again later."""
        if error is None:
            return None
        kind = RecordRefused if isinstance(error, _FOR_GOOD) else StoreError
        refusal = kind(f"sqlite store {self._file.path}: cannot write: {error}")
        refusal.__cause__ = error
        return refusal
