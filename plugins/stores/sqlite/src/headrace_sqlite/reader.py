"""A few reading connections, each used by one worker thread at a time, so that the event loop never waits on disk."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from .files import File

T = TypeVar("T")

_READERS = 4


class Readers:
    """Runs queries. Connections are opened when first needed and kept."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._idle: deque[sqlite3.Connection] = deque()
        self._limiter = CapacityLimiter(_READERS)
        self._is_closed = False

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query in a thread. Raise StoreError where SQLite fails."""
        return await to_thread.run_sync(self._run, query, limiter=self._limiter)

    def close(self) -> None:
        """Close the connections; one that is still in use closes when its query ends."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()

    def _run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        with self._file.errors("read"):
            connection = self._idle.pop() if self._idle else self._file.open_reader()
            try:
                return query(connection)
            finally:
                if self._is_closed:
                    connection.close()
                else:
                    self._idle.append(connection)
