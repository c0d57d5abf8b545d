"""The store of one schema in a PostgreSQL database, which many gateways may share."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple, TypeVar
from uuid import UUID

import anyio
from headrace import Services
from headrace.contracts import Bucket, SystemClock
from headrace.errors import StoreError
from headrace.queries import (
    CountQuery,
    DatapointQuery,
    DatasetSummary,
    EpisodeQuery,
    EpisodeSummary,
    Expiring,
    InferenceCount,
    InferenceQuery,
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

from . import answers, buckets, datapoints, everything, expiring, feedback, inferences, migrating, nearest, sums
from .nearest import Nearest
from .searching import Search
from .server import Connection, Pool, Server
from .settings import Settings
from .tables import rows_of

R = TypeVar("R", bound=Record)


class _Open(NamedTuple):
    pool: Pool
    search: Search
    nearest: Nearest


class Postgres:
    """Records, and answers in the cache. On asyncio only: asyncpg knows no other event loop."""

    def __init__(self, settings: Settings, services: Services | None = None) -> None:
        """Of ``services`` only the clock is of use: it tells the age of what is in the cache."""
        self._clock = services.clock if services else SystemClock()
        self._settings = settings
        self._server = Server(settings)
        self._open: _Open | None = None

    @property
    def has_pgvector(self) -> bool:
        """Whether the database finds the nearest examples by itself, once the store is open."""
        return self._open is not None and self._open.nearest.has_pgvector

    async def write(self, records: Sequence[Record]) -> None:
        """Write all or none; durable on return. Raise RecordRefused for records that can never be written."""
        pool = self._needed("write").pool
        with self._server.errors("write"):
            tables = rows_of(records)
        if not tables:
            return
        async with pool.writing() as connection:
            for table, rows in tables:
                await connection.execute(table.insert, *table.arrays(rows))

    # -- inferences -------------------------------------------------------------------------------------------

    async def inferences(self, query: InferenceQuery) -> list[InferenceRecord]:
        """Stored inferences, newest id first unless the query says otherwise."""
        async with self._reading() as connection:
            return await inferences.select(connection, query, self._needed("read").search)

    async def count_inferences(self, query: InferenceQuery) -> int:
        """How many the query selects."""
        async with self._reading() as connection:
            return await inferences.count(connection, query, self._needed("read").search)

    async def model_inferences(self, inference_id: UUID) -> list[ModelInferenceRecord]:
        """Every attempt of one inference, in the order they were made."""
        async with self._reading() as connection:
            return await inferences.attempts(connection, inference_id)

    async def episodes(self, query: EpisodeQuery) -> list[EpisodeSummary]:
        """Episodes, greatest id first."""
        async with self._reading() as connection:
            return await inferences.episodes(connection, query)

    async def count_episodes(self) -> int:
        """How many episodes there are."""
        async with self._reading() as connection:
            return await inferences.count_episodes(connection)

    # -- feedback ---------------------------------------------------------------------------------------------

    async def feedback(
        self, target_id: UUID, *, before: UUID | None = None, after: UUID | None = None, limit: int | None = 100
    ) -> list[Feedback]:
        """All feedback on one inference or episode, newest id first."""
        async with self._snapshot() as connection:
            return await feedback.about(connection, target_id, before, after, limit)

    async def demonstrations(self, inference_ids: Sequence[UUID]) -> dict[UUID, DemonstrationFeedback]:
        """The latest demonstration of each inference that has one."""
        async with self._reading() as connection:
            return await feedback.demonstrations(connection, inference_ids)

    async def human_feedback(self, metric_name: str, datapoint_id: UUID, output: str) -> HumanFeedback | None:
        """The latest judgement of exactly this output for this datapoint."""
        async with self._reading() as connection:
            return await feedback.human(connection, metric_name, datapoint_id, output)

    # -- datasets ---------------------------------------------------------------------------------------------

    async def datapoints(self, query: DatapointQuery) -> list[Datapoint]:
        """Datapoints, last updated first, then the greatest id, unless the query says otherwise."""
        async with self._reading() as connection:
            return await datapoints.select(connection, query, self._needed("read").search)

    async def count_datapoints(self, query: DatapointQuery) -> int:
        """How many the query selects."""
        async with self._reading() as connection:
            return await datapoints.count(connection, query, self._needed("read").search)

    async def datasets(self, *, function_name: str | None = None) -> list[DatasetSummary]:
        """Datasets that have datapoints, last updated first, then by name."""
        async with self._reading() as connection:
            return await datapoints.datasets(connection, function_name)

    async def holdout_accesses(self, dataset_name: str, *, limit: int | None = 100) -> list[HoldoutAccess]:
        """Who has read the test split of a dataset, newest first."""
        async with self._reading() as connection:
            return await datapoints.holdout_accesses(connection, dataset_name, limit)

    async def count_holdout_accesses(self, dataset_name: str) -> int:
        """How often somebody has."""
        async with self._reading() as connection:
            return await datapoints.count_holdout_accesses(connection, dataset_name)

    # -- examples, configurations, batches ----------------------------------------------------------------------

    async def examples(
        self, function_name: str, variant_name: str, embedding: Sequence[float], k: int
    ) -> list[tuple[Example, float]]:
        """The k nearest examples of a variant, by cosine; equal ones by id."""
        async with self._snapshot() as connection:
            return await self._needed("read").nearest.find(connection, function_name, variant_name, embedding, k)

    async def count_examples(self, function_name: str, variant_name: str) -> int:
        """How many examples a variant has."""
        async with self._reading() as connection:
            return await nearest.count(connection, function_name, variant_name)

    async def config_snapshot(self, hash_: str) -> ConfigSnapshot | None:
        """The configuration that ran under this hash, or None."""
        async with self._reading() as connection:
            return await everything.config_snapshot(connection, hash_)

    async def api_key(self, public_id: str) -> ApiKey | None:
        """The key of this public id as it was written last, or None."""
        async with self._reading() as connection:
            return await everything.api_key(connection, public_id)

    async def batch_request(self, batch_id: UUID) -> BatchRequest | None:
        """The newest row of the batch that is not pending, or else its newest."""
        async with self._reading() as connection:
            return await everything.batch_request(connection, batch_id)

    async def batch_inferences(self, batch_id: UUID) -> list[BatchInference]:
        """The inferences of one batch, smallest id first."""
        async with self._reading() as connection:
            return await everything.batch_inferences(connection, batch_id)

    # -- sums -------------------------------------------------------------------------------------------------

    async def inference_counts(self, query: CountQuery) -> list[InferenceCount]:
        """By function, variant and period, in the order of these."""
        async with self._reading() as connection:
            return await sums.inference_counts(connection, query)

    async def usage(self, query: UsageQuery) -> list[UsageSum]:
        """By owner, name and period, in the order of these."""
        async with self._reading() as connection:
            return await sums.usage(connection, query)

    async def latencies(self, query: LatencyQuery) -> list[LatencySummary]:
        """By owner and name, in the order of these."""
        async with self._reading() as connection:
            return await sums.latencies(connection, query)

    async def metric_counts(self, function_name: str, variant_name: str | None = None) -> list[MetricCount]:
        """By name of the metric and type, in the order of these."""
        async with self._reading() as connection:
            return await sums.metric_counts(connection, function_name, variant_name)

    async def scores(self, query: ScoreQuery) -> list[ScoreSum]:
        """By variant and period, in the order of these."""
        async with self._reading() as connection:
            return await sums.scores(connection, query)

    # -- everything -------------------------------------------------------------------------------------------

    async def find(self, id_: UUID) -> list[Record]:
        """Every record whose ``id`` this is, of whatever kind."""
        async with self._snapshot() as connection:
            return await everything.find(connection, id_)

    async def scan(self, kind: type[R], *, after: str = "", limit: int = 1000) -> list[R]:
        """Records of one kind in the order of their keys, from the first beyond ``after`` on."""
        async with self._reading() as connection:
            return await everything.scan(connection, kind, after, limit)

    async def expire(self, what: Expiring, before: datetime) -> int:
        """End what is older than ``before``, some thousand rows at a time; says how many rows that concerned."""
        return await expiring.expire(self._needed("write").pool, what, before)

    async def cached(self, key: str, *, max_age_s: float | None = None) -> bytes | None:
        """The entry kept last under this key and younger than ``max_age_s``, or None."""
        written_after = -math.inf if max_age_s is None else self._clock.time() - max_age_s
        async with self._reading() as connection:
            return await answers.cached(connection, key, written_after)

    async def cache(self, key: str, entry: bytes) -> None:
        """Keep the entry, in place of one that is there. It stays until it is replaced or expires."""
        async with self._needed("write").pool.writing() as connection:
            await answers.cache(connection, key, self._clock.time(), entry)

    async def take(self, wanted: Sequence[tuple[Bucket, int]]) -> list[int]:
        """What each bucket had by the server's clock; taken from all or from none, whoever shares the database."""
        async with self._needed("use a bucket").pool.reading("use a bucket") as connection:
            return await buckets.take(connection, wanted)

    async def settle(self, changes: Sequence[tuple[Bucket, int]]) -> None:
        """Give back, or charge more."""
        async with self._needed("use a bucket").pool.reading("use a bucket") as connection:
            await buckets.settle(connection, changes)

    async def ping(self) -> None:
        """Return if the database answers and has our tables; raise StoreError otherwise."""
        async with self._reading() as connection:
            await connection.fetchval("SELECT id FROM inference LIMIT 1")

    # -- the schema -------------------------------------------------------------------------------------------

    async def schema(self) -> SchemaStatus:
        """How the schema stands; changes nothing."""
        return await migrating.status(self._server)

    async def migrate(self, to: int | None = None) -> SchemaStatus:
        """Bring the schema to a version, forward or back; None is the newest."""
        return await migrating.migrate(self._server, to, pgvector=self._settings.pgvector)

    async def __aenter__(self) -> Postgres:
        """Connect, and bring the schema up to date unless the settings leave that to ``headrace store migrate``."""
        settings = self._settings
        await migrating.ready(
            self._server, automatic=not settings.disable_automatic_migrations, pgvector=settings.pgvector
        )
        pool = await self._server.open_pool()
        try:
            await pool.check()
            async with pool.reading() as connection:
                search = await Search.of(connection)
                near = await Nearest.of(connection, pgvector=settings.pgvector)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await pool.close()
            raise
        self._open = _Open(pool, search, near)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Wait for what is under way, then close."""
        open_, self._open = self._open, None
        if open_ is not None:
            with anyio.CancelScope(shield=True):
                await open_.pool.close()

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        async with self._needed("read").pool.reading() as connection:
            yield connection

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[Connection]:
        async with self._needed("read").pool.snapshot() as connection:
            yield connection

    def _needed(self, what: str) -> _Open:
        if self._open is None:
            raise StoreError(
                f"postgres store {self._server.name}: cannot {what}: it is not open; use it inside `async with`"
            )
        return self._open
