"""The store of one file: one thread writes, a few read, and the event loop does neither."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import anyio
from anyio import to_thread
from headrace import Services
from headrace.contracts import Bucket, DatapointQuery, DatasetSummary, InferenceQuery, SystemClock
from headrace.errors import StoreError
from headrace.queries import (
    CountQuery,
    EpisodeQuery,
    EpisodeSummary,
    Expiring,
    InferenceCount,
    LatencyQuery,
    LatencySummary,
    MetricCount,
    ScoreQuery,
    ScoreSum,
    UsageQuery,
    UsageSum,
)
from headrace.records import (
    ApiKey,
    BatchInference,
    BatchRequest,
    ConfigSnapshot,
    Datapoint,
    DemonstrationFeedback,
    Example,
    Feedback,
    HoldoutAccess,
    HumanFeedback,
    InferenceRecord,
    ModelInferenceRecord,
    Record,
)
from headrace.storage import SchemaStatus

from . import copies, nearest, queries, sums
from .buckets import SqliteBuckets
from .expiry import endings
from .files import File, Settings
from .nearest import Nearest
from .reader import Readers
from .rows import CacheEntry
from .writer import Writer

__all__ = ["Settings", "Sqlite"]

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class Sqlite:
    """Records, and answers in the cache, in one SQLite file, which several processes may share."""

    def __init__(self, settings: Settings, services: Services | None = None) -> None:
        """Of ``services`` only the clock is of use: it tells the age of what is in the cache, and fills buckets."""
        self._clock = services.clock if services else SystemClock()
        self._file = File(settings)
        self._nearest = Nearest()
        self._writer: Writer | None = None
        self._readers: Readers | None = None
        self._buckets: SqliteBuckets | None = None

    @property
    def commits(self) -> int:
        """Transactions since the store was opened; fewer than writes where several were committed together."""
        return self._writer.commits if self._writer else 0

    async def write(self, records: Sequence[Record]) -> None:
        """Write all or none; durable on return. Raise RecordRefused for records that can never be written."""
        if self._writer is None:
            raise self._not_open("write")
        await self._writer.write(records)

    # -- inferences -------------------------------------------------------------------------------------------

    async def inferences(self, query: InferenceQuery) -> list[InferenceRecord]:
        """Stored inferences, newest id first unless the query says otherwise. A search reads every payload."""
        return await self._read(lambda connection: queries.inferences(connection, query))

    async def count_inferences(self, query: InferenceQuery) -> int:
        """How many the query selects."""
        return await self._read(lambda connection: queries.count_inferences(connection, query))

    async def model_inferences(self, inference_id: UUID) -> list[ModelInferenceRecord]:
        """Every attempt of one inference, in the order they were made."""
        return await self._read(lambda connection: queries.model_inferences(connection, inference_id))

    async def episodes(self, query: EpisodeQuery) -> list[EpisodeSummary]:
        """Episodes, greatest id first."""
        return await self._read(lambda connection: queries.episodes(connection, query))

    async def count_episodes(self) -> int:
        """How many episodes there are."""
        return await self._read(queries.count_episodes)

    # -- feedback ---------------------------------------------------------------------------------------------

    async def feedback(
        self, target_id: UUID, *, before: UUID | None = None, after: UUID | None = None, limit: int | None = 100
    ) -> list[Feedback]:
        """All feedback on one inference or episode, newest id first."""
        return await self._read(lambda connection: queries.feedback(connection, target_id, before, after, limit))

    async def demonstrations(self, inference_ids: Sequence[UUID]) -> dict[UUID, DemonstrationFeedback]:
        """The latest demonstration of each inference that has one."""
        return await self._read(lambda connection: queries.demonstrations(connection, inference_ids))

    async def human_feedback(self, metric_name: str, datapoint_id: UUID, output: str) -> HumanFeedback | None:
        """The latest judgement of exactly this output for this datapoint."""
        return await self._read(
            lambda connection: queries.human_feedback(connection, metric_name, datapoint_id, output)
        )

    # -- datasets ---------------------------------------------------------------------------------------------

    async def datapoints(self, query: DatapointQuery) -> list[Datapoint]:
        """Datapoints, last updated first, then the greatest id, unless the query says otherwise."""
        return await self._read(lambda connection: queries.datapoints(connection, query))

    async def count_datapoints(self, query: DatapointQuery) -> int:
        """How many the query selects."""
        return await self._read(lambda connection: queries.count_datapoints(connection, query))

    async def datasets(self, *, function_name: str | None = None) -> list[DatasetSummary]:
        """Datasets that have datapoints, last updated first."""
        return await self._read(lambda connection: queries.datasets(connection, function_name))

    async def holdout_accesses(self, dataset_name: str, *, limit: int | None = 100) -> list[HoldoutAccess]:
        """Who has read the test split of a dataset, newest first."""
        return await self._read(lambda connection: queries.holdout_accesses(connection, dataset_name, limit))

    async def count_holdout_accesses(self, dataset_name: str) -> int:
        """How often somebody has."""
        return await self._read(lambda connection: queries.count_holdout_accesses(connection, dataset_name))

    # -- examples, configurations, batches ----------------------------------------------------------------------

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

    async def api_key(self, public_id: str) -> ApiKey | None:
        """The key of this public id as it was written last, or None."""
        return await self._read(lambda connection: queries.api_key(connection, public_id))

    async def batch_request(self, batch_id: UUID) -> BatchRequest | None:
        """The newest row of the batch that is not pending, or else its newest."""
        return await self._read(lambda connection: queries.batch_request(connection, batch_id))

    async def batch_inferences(self, batch_id: UUID) -> list[BatchInference]:
        """The inferences of one batch, smallest id first."""
        return await self._read(lambda connection: queries.batch_inferences(connection, batch_id))

    # -- sums -------------------------------------------------------------------------------------------------

    async def inference_counts(self, query: CountQuery) -> list[InferenceCount]:
        """By function, variant and period, in the order of these."""
        return await self._read(lambda connection: sums.inference_counts(connection, query))

    async def usage(self, query: UsageQuery) -> list[UsageSum]:
        """By owner, name and period, in the order of these."""
        return await self._read(lambda connection: sums.usage(connection, query))

    async def latencies(self, query: LatencyQuery) -> list[LatencySummary]:
        """By owner and name, in the order of these."""
        return await self._read(lambda connection: sums.latencies(connection, query))

    async def metric_counts(self, function_name: str, variant_name: str | None = None) -> list[MetricCount]:
        """By name of the metric and type, in the order of these."""
        return await self._read(lambda connection: sums.metric_counts(connection, function_name, variant_name))

    async def scores(self, query: ScoreQuery) -> list[ScoreSum]:
        """By variant and period, in the order of these."""
        return await self._read(lambda connection: sums.scores(connection, query))

    # -- everything -------------------------------------------------------------------------------------------

    async def find(self, id_: UUID) -> list[Record]:
        """Every record whose ``id`` this is, of whatever kind."""
        return await self._read(lambda connection: queries.find(connection, id_))

    async def scan(self, kind: type[R], *, after: str = "", limit: int = 1000) -> list[R]:
        """Records of one kind in the order of their keys, from the first beyond ``after`` on."""
        return await self._read(lambda connection: queries.scan(connection, kind, after, limit))

    async def expire(self, what: Expiring, before: datetime) -> int:
        """End what is older than ``before``, in pieces of 1000 rows, each a transaction; says how many rows it was."""
        count = 0
        for ending in endings(what, before):
            after: bytes | str | None = None
            while piece := await self._read(partial(ending.piece, after=after)):
                if self._writer is None:
                    raise self._not_open("write")
                count += await self._writer.change(ending.change, piece)
                after = piece["last"]
        return count

    async def cached(self, key: str, *, max_age_s: float | None = None) -> bytes | None:
        """The entry kept last under this key and younger than ``max_age_s``, or None."""
        written_after = -math.inf if max_age_s is None else self._clock.time() - max_age_s
        return await self._read(lambda connection: queries.cached(connection, key, written_after))

    async def cache(self, key: str, entry: bytes) -> None:
        """Keep the entry, in place of one that is there. It stays until it is replaced."""
        if self._writer is None:
            raise self._not_open("write")
        await self._writer.write([CacheEntry(key, self._clock.time(), entry)])

    async def take(self, wanted: Sequence[tuple[Bucket, int]]) -> list[int]:
        """What each bucket had; taken from all or from none, whoever shares the file."""
        if self._buckets is None:
            raise self._not_open("use a bucket")
        return await self._buckets.take(wanted)

    async def settle(self, changes: Sequence[tuple[Bucket, int]]) -> None:
        """Give back, or charge more."""
        if self._buckets is None:
            raise self._not_open("use a bucket")
        await self._buckets.settle(changes)

    async def ping(self) -> None:
        """Return if the file can be read; raise StoreError otherwise."""
        await self._read(lambda connection: connection.execute("SELECT id FROM inference LIMIT 1").fetchone())

    async def __aenter__(self) -> Sqlite:
        """Open the file, or create it, and bring its schema up to date."""
        connection = await to_thread.run_sync(self._file.open_writer)
        self._writer = Writer(self._file, connection)
        self._readers = Readers(self._file)
        self._buckets = SqliteBuckets(self._file, self._clock)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Write what is queued, then close."""
        writer, readers, buckets = self._writer, self._readers, self._buckets
        self._writer = self._readers = self._buckets = None
        with anyio.CancelScope(shield=True):
            if buckets:
                await buckets.close()
            if readers:
                readers.close()
            if writer:
                await writer.close()

    # -- the file ---------------------------------------------------------------------------------------------

    async def schema(self) -> SchemaStatus:
        """How the schema of the file stands; 0 if there is none. Changes nothing."""
        return await to_thread.run_sync(self._file.schema)

    async def migrate(self, to: int | None = None) -> SchemaStatus:
        """Bring the schema to a version, forward or back, in one transaction."""
        return await to_thread.run_sync(self._file.migrate, to)

    async def backup(self, path: Path) -> None:
        """Write a consistent copy to a file that is not there yet, while anybody works with this one."""
        await to_thread.run_sync(copies.backup, self._file, path)

    async def restore(self, path: Path) -> None:
        """Put a copy in the place of the file, which nobody may have open, once it is known to be whole."""
        if self._writer is not None:
            raise StoreError(f"sqlite store {self._file.path}: cannot restore {path}: it is open; close it first")
        await to_thread.run_sync(copies.restore, self._file, path)

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        if self._readers is None:
            raise self._not_open("read")
        return await self._readers.run(query)

    def _not_open(self, what: str) -> StoreError:
        return StoreError(f"sqlite store {self._file.path}: cannot {what}: it is not open; use it inside `async with`")
