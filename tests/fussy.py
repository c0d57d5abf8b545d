"""A store with troubles, and a recorder at work in front of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from headrace.errors import RecordRefused
from headrace.ids import new_id
from headrace.recorder import Recorder
from headrace.records import CommentFeedback, Record
from headrace_memory import Memory, Settings


class Fussy(Memory):
    """A store whose first writes end as ``outcomes`` say, that refuses some records, and waits while it is shut.

    ``batches`` are the writes that succeeded, each as the comments in it; ``tries`` counts all.
    """

    def __init__(self, *outcomes: Exception, refuses: str = "", error: type[Exception] = RecordRefused) -> None:
        super().__init__(Settings())
        self.batches: list[list[str]] = []
        self.tries = 0
        self.opened = anyio.Event()
        self.opened.set()
        self._outcomes = list(outcomes)
        self._refuses = refuses
        self._error = error

    async def write(self, records: Sequence[Record]) -> None:
        """Write all or none."""
        self.tries += 1
        await checkpoint()
        await self.opened.wait()
        if self._outcomes:
            raise self._outcomes.pop(0)
        values = [record.value for record in records if isinstance(record, CommentFeedback)]
        if refused := [value for value in values if value in self._refuses]:
            raise self._error(f"cannot write {refused}")
        await super().write(records)
        self.batches.append(values)

    @property
    def stored(self) -> list[str]:
        """What is in the store, in the order in which it first came."""
        return list(dict.fromkeys(self.comments))

    @property
    def comments(self) -> list[str]:
        """Everything written, in order."""
        return [value for batch in self.batches for value in batch]


def comments(values: str) -> list[Record]:
    """One record per letter."""
    return [
        CommentFeedback(id=new_id(), target_id=new_id(), target_type="inference", value=value, snapshot_hash="0")
        for value in values
    ]


@asynccontextmanager
async def running(store: Fussy, **options: Any) -> AsyncGenerator[Recorder, None]:
    """A recorder at work; it is stopped at the end."""
    recorder = Recorder(store, **options)
    async with anyio.create_task_group() as tasks:
        await recorder.start(tasks)
        try:
            yield recorder
        finally:
            await recorder.stop()
