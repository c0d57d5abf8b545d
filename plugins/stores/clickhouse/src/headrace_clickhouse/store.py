"""The store of a ClickHouse server: each method of the contract, by the module that knows how."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from headrace import Services
from headrace.contracts import SystemClock
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

from . import datapoints, inferences, reads, sums
from .client import Client
from .expiry import expire
from .migration import Migration
from .settings import Address, Settings
from .sql import Statement
from .tables import TABLES, rows_by_table

__all__ = ["ClickHouse", "Settings"]

R = TypeVar("R", bound=Record)


class ClickHouse:
    """Records, and answers in the cache, in one database of a ClickHouse server, which many gateways may share."""

    def __init__(self, settings: Settings, services: Services | None = None) -> None:
        """Of ``services`` only the clock is of use: it tells the age of what is in the cache."""
        self._settings = settings
        self._clock = services.clock if services else SystemClock()
        self._open: Client | None = None

    @property
    def _client(self) -> Client:
        if self._open is None:
            raise StoreError(f"clickhouse store {Address.of(self._settings.url).shown}: it is not open")
        return self._open

    async def write(self, records: Sequence[Record]) -> None:
        """Write all, the rows of each table in one insert; durable on return. Raise RecordRefused, and write none."""
        client = self._client
        for table, rows in rows_by_table(records):
            await client.insert(table.into, rows)

    # -- inferences -------------------------------------------------------------------------------------------

    async def inferences(self, query: InferenceQuery) -> list[InferenceRecord]:
        """Stored inferences, newest id first unless the query says otherwise."""
        return await inferences.inferences(self._client, query)

    async def count_inferences(self, query: InferenceQuery) -> int:
        """How many the query selects."""
        return await inferences.count_inferences(self._client, query)

    async def model_inferences(self, inference_id: UUID) -> list[ModelInferenceRecord]:
        """Every attempt of one inference, in the order they were made."""
        return await reads.model_inferences(self._client, inference_id)

    async def episodes(self, query: EpisodeQuery) -> list[EpisodeSummary]:
        """Episodes, greatest id first."""
        return await inferences.episodes(self._client, query)

    async def count_episodes(self) -> int:
        """How many episodes there are."""
        return await inferences.count_episodes(self._client)

    # -- feedback ---------------------------------------------------------------------------------------------

    async def feedback(
        self, target_id: UUID, *, before: UUID | None = None, after: UUID | None = None, limit: int | None = 100
    ) -> list[Feedback]:
        """Feedback on one inference or episode, newest id first."""
        return await reads.feedback(self._client, target_id, before, after, limit)

    async def demonstrations(self, inference_ids: Sequence[UUID]) -> dict[UUID, DemonstrationFeedback]:
        """The latest demonstration of each inference that has one."""
        return await reads.demonstrations(self._client, inference_ids)

    async def human_feedback(self, metric_name: str, datapoint_id: UUID, output: str) -> HumanFeedback | None:
        """The latest judgement of exactly this output for this datapoint."""
        return await reads.human_feedback(self._client, metric_name, datapoint_id, output)

    # -- datasets ---------------------------------------------------------------------------------------------

    async def datapoints(self, query: DatapointQuery) -> list[Datapoint]:
        """Datapoints, last updated first unless the query says otherwise."""
        return await datapoints.datapoints(self._client, query)

    async def count_datapoints(self, query: DatapointQuery) -> int:
        """How many the query selects."""
        return await datapoints.count_datapoints(self._client, query)

    async def datasets(self, *, function_name: str | None = None) -> list[DatasetSummary]:
        """Datasets that have datapoints, last updated first."""
        return await datapoints.datasets(self._client, function_name)

    async def holdout_accesses(self, dataset_name: str, *, limit: int | None = 100) -> list[HoldoutAccess]:
        """Who has read the test split of a dataset, newest first."""
        return await reads.holdout_accesses(self._client, dataset_name, limit)

    async def count_holdout_accesses(self, dataset_name: str) -> int:
        """How often somebody has."""
        return await reads.count_holdout_accesses(self._client, dataset_name)

    # -- examples, configurations, batches ----------------------------------------------------------------------

    async def examples(
        self, function_name: str, variant_name: str, embedding: Sequence[float], k: int
    ) -> list[tuple[Example, float]]:
        """The k nearest examples of a variant, by cosine; equal ones by id."""
        return await reads.examples(self._client, function_name, variant_name, embedding, k)

    async def count_examples(self, function_name: str, variant_name: str) -> int:
        """How many examples a variant has."""
        return await reads.count_examples(self._client, function_name, variant_name)

    async def config_snapshot(self, hash_: str) -> ConfigSnapshot | None:
        """The configuration that ran under this hash, or None."""
        return await reads.config_snapshot(self._client, hash_)

    async def api_key(self, public_id: str) -> ApiKey | None:
        """The key of this public id as it was written last, or None."""
        return await reads.api_key(self._client, public_id)

    async def batch_request(self, batch_id: UUID) -> BatchRequest | None:
        """The newest row of the batch that is not pending, or else its newest."""
        return await reads.batch_request(self._client, batch_id)

    async def batch_inferences(self, batch_id: UUID) -> list[BatchInference]:
        """The inferences of one batch, smallest id first."""
        return await reads.batch_inferences(self._client, batch_id)

    # -- sums -------------------------------------------------------------------------------------------------

    async def inference_counts(self, query: CountQuery) -> list[InferenceCount]:
        """By function, variant and period, in the order of these."""
        return await sums.inference_counts(self._client, query)

    async def usage(self, query: UsageQuery) -> list[UsageSum]:
        """By owner, name and period, in the order of these. Costs are added to the 30th decimal place."""
        return await sums.usage(self._client, query)

    async def latencies(self, query: LatencyQuery) -> list[LatencySummary]:
        """By owner and name, in the order of these."""
        return await sums.latencies(self._client, query)

    async def metric_counts(self, function_name: str, variant_name: str | None = None) -> list[MetricCount]:
        """By name of the metric and type, in the order of these."""
        return await sums.metric_counts(self._client, function_name, variant_name)

    async def scores(self, query: ScoreQuery) -> list[ScoreSum]:
        """By variant and period, in the order of these."""
        return await sums.scores(self._client, query)

    # -- everything -------------------------------------------------------------------------------------------

    async def find(self, id_: UUID) -> list[Record]:
        """Every record whose ``id`` this is, of whatever kind."""
        return await reads.find(self._client, id_)

    async def scan(self, kind: type[R], *, after: str = "", limit: int = 1000) -> list[R]:
        """Records of one kind in the order of their keys, from the first beyond ``after`` on."""
        return await reads.scan(self._client, TABLES[kind], after, limit)

    async def expire(self, what: Expiring, before: datetime) -> int:
        """End what is older than ``before``; says how many rows that concerned."""
        return await expire(self._client, what, before, self._settings.cluster)

    async def ping(self) -> None:
        """Return if the server answers, and has our database; raise StoreError otherwise."""
        await self._client.rows("SELECT 1")

    # -- cache ------------------------------------------------------------------------------------------------

    async def cached(self, key: str, *, max_age_s: float | None = None) -> bytes | None:
        """The entry kept last under this key and younger than ``max_age_s``, or None."""
        asked = Statement()
        where = f"key = {asked.string(key)}"
        if max_age_s is not None:
            where += f" AND written_at > {asked.number(self._clock.time() - max_age_s)}"
        asked.text = f"SELECT entry FROM inference_cache FINAL WHERE {where}"
        rows = await self._client.rows(asked)
        return base64.b64decode(rows[0][0]) if rows else None

    async def cache(self, key: str, entry: bytes) -> None:
        """Keep the entry, in place of one that is there. It stays until it is replaced or expired."""
        row = [key, self._clock.time(), base64.b64encode(entry).decode()]
        await self._client.insert("inference_cache (key, written_at, entry)", [row])

    # -- the schema -------------------------------------------------------------------------------------------

    async def schema(self) -> SchemaStatus:
        """How the schema stands; changes nothing."""
        async with Client(self._settings) as client:
            return await self._migration(client).status()

    async def migrate(self, to: int | None = None) -> SchemaStatus:
        """Bring the schema to a version, forward or back; None is the newest."""
        async with Client(self._settings) as client:
            return await self._migration(client).run(to)

    def _migration(self, client: Client) -> Migration:
        return Migration(client, self._settings.cluster)

    async def __aenter__(self) -> ClickHouse:
        """Connect; make the database and bring its schema up to date, or check it where that is not automatic."""
        client = await Client(self._settings).__aenter__()
        try:
            # In a cluster whoever runs it decides when all of its servers change.
            if self._settings.disable_automatic_migrations or self._settings.cluster is not None:
                await self._migration(client).check()
            else:
                await self._migration(client).run()
        except BaseException:
            await client.__aexit__()
            raise
        self._open = client
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the connections; what ``write`` returned for is safe."""
        client, self._open = self._open, None
        if client is not None:
            await client.__aexit__(*exc)
