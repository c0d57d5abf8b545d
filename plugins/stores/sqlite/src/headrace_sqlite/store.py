"""The store of one file: one thread writes, a few read, and the event loop does neither."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

import anyio
from anyio import to_thread
from headrace import Services
from headrace.contracts import DatapointQuery, DatasetSummary, InferenceQuery, SystemClock
from headrace.errors import StoreError
from headrace.records import (
    BatchInference,
    BatchRequest,
    ConfigSnapshot,
    Datapoint,
    DemonstrationFeedback,
    Example,
    Feedback,
    InferenceRecord,
    ModelInferenceRecord,
    Record,
)

from . import nearest, queries
from .files import File, Settings
from .nearest import Nearest
from .reader import Readers
from .rows import CacheEntry
from .writer import Writer

__all__ = ["Settings", "Sqlite"]

T = TypeVar("T")


class Sqlite:
    """Records, and answers in the cache, in one SQLite file, which several processes may share."""

    def __init__(self, settings: Settings, services: Services | None = None) -> None:
        """Of ``services`` only the clock is of use: it tells the age of what is in the cache."""
        self._clock = services.clock if services else SystemClock()
        self._file = File(settings)
        self._nearest = Nearest()
        self._writer: Writer | None = None
        self._readers: Readers | None = None

    @property
    def commits(self) -> int:
        """Transactions since the store was opened; fewer than writes where several were committed together."""
        return self._writer.commits if self._writer else 0

    async def write(self, records: Sequence[Record]) -> None:
        """Write all or none; durable on return. Raise RecordRefused for records that can never be written."""
        if self._writer is None:
            raise self._not_open("write")
        await self._writer.write(records)

    async def inferences(self, query: InferenceQuery) -> list[InferenceRecord]:
        """Stored inferences, newest id first."""
        return await self._read(lambda connection: queries.inferences(connection, query))

    async def model_inferences(self, inference_id: UUID) -> list[ModelInferenceRecord]:
        """Every attempt of one inference, in the order they were made."""
        return await self._read(lambda connection: queries.model_inferences(connection, inference_id))

    async def feedback(self, target_id: UUID, *, limit: int | None = 100) -> list[Feedback]:
        """All feedback on one inference or episode, newest id first."""
        return await self._read(lambda connection: queries.feedback(connection, target_id, limit))

    async def demonstrations(self, inference_ids: Sequence[UUID]) -> dict[UUID, DemonstrationFeedback]:
        """The latest demonstration of each inference that has one."""
        return await self._read(lambda connection: queries.demonstrations(connection, inference_ids))

    async def datapoints(self, query: DatapointQuery) -> list[Datapoint]:
        """Datapoints, last updated first, then the greatest id."""
        return await self._read(lambda connection: queries.datapoints(connection, query))

    async def datasets(self, *, function_name: str | None = None) -> list[DatasetSummary]:
        """Datasets that have datapoints, last updated first."""
        return await self._read(lambda connection: queries.datasets(connection, function_name))

    async def examples(
        self, function_name: str, variant_name: str, embedding: Sequence[float], k: int
    ) -> list[tuple[Example, float]]:
        """The k nearest examples of a variant, by cosine; equal ones by id. The first search imports numpy."""
        return await self._read(
            lambda connection: self._nearest.find(connection, function_name, variant_name, embedding, k)
        )

    async def count_examples(self, function_name: str, variant_name: str) -> int:
        """How many examples a variant has."""
        return await self._read(lambda connection: nearest.count(connection, function_name, variant_name))

    async def config_snapshot(self, hash_: str) -> ConfigSnapshot | None:
        """The configuration that ran under this hash, or None."""
        return await self._read(lambda connection: queries.config_snapshot(connection, hash_))

    async def batch_request(self, batch_id: UUID) -> BatchRequest | None:
        """The newest row of the batch that is not pending, or else its newest."""
        return await self._read(lambda connection: queries.batch_request(connection, batch_id))

    async def batch_inferences(self, batch_id: UUID) -> list[BatchInference]:
        """The inferences of one batch, smallest id first."""
        return await self._read(lambda connection: queries.batch_inferences(connection, batch_id))

    async def cached(self, key: str, *, max_age_s: float | None = None) -> bytes | None:
        """The entry kept last under this key and younger than ``max_age_s``, or None."""
        written_after = -math.inf if max_age_s is None else self._clock.time() - max_age_s
        return await self._read(lambda connection: queries.cached(connection, key, written_after))

    async def cache(self, key: str, entry: bytes) -> None:
        """Keep the entry, in place of one that is there. It stays until it is replaced."""
        if self._writer is None:
            raise self._not_open("write")
        await self._writer.write([CacheEntry(key, self._clock.time(), entry)])

    async def ping(self) -> None:
        """Return if the file can be read; raise StoreError otherwise."""
        await self._read(lambda connection: connection.execute("SELECT id FROM inference LIMIT 1").fetchone())

    async def __aenter__(self) -> Sqlite:
        """Open the file, or create it, and bring its schema up to date."""
        connection = await to_thread.run_sync(self._file.open_writer)
        self._writer = Writer(self._file, connection)
        self._readers = Readers(self._file)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Write what is queued, then close."""
        writer, readers = self._writer, self._readers
        self._writer = self._readers = None
        with anyio.CancelScope(shield=True):
            if readers:
                readers.close()
            if writer:
                await writer.close()

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        if self._readers is None:
            raise self._not_open("read")
        return await self._readers.run(query)

    def _not_open(self, what: str) -> StoreError:
        return StoreError(f"sqlite store {self._file.path}: cannot {what}: it is not open; use it inside `async with`")
