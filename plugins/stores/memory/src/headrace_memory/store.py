"""Records in a dict, gone with the process. Reads go through all of them: the plainest answer to each question."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from headrace import Services
from headrace.contracts import Bucket, SystemClock
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
from pydantic import BaseModel, Field

from . import expiring, selection, sums
from .buckets import MemoryBuckets
from .cache import MAX_BYTES, CacheSettings, MemoryCache
from .rows import Rows, id_of, key_of, target_of
from .selection import page, page_at

R = TypeVar("R", bound=Record)


class Settings(BaseModel, extra="forbid", frozen=True):
    """The ``[memory]`` table."""

    max_cache_bytes: int = Field(default=MAX_BYTES, ge=0)


class Memory:
    """Keeps what it is given until the process ends, closed or not; tests may look at ``records``."""

    def __init__(self, settings: Settings, services: Services | None = None) -> None:
        """Of ``services`` only the clock is of use: it tells the age of what is in the cache, and fills buckets."""
        self._cache = MemoryCache(CacheSettings(max_bytes=settings.max_cache_bytes), services)
        self._buckets = MemoryBuckets(services.clock if services else SystemClock())
        self._rows = Rows()

    @property
    def records(self) -> list[Record]:
        """Everything, in the order it was first written."""
        return list(self._rows)

    async def write(self, records: Sequence[Record]) -> None:
        """Write all or none. Raise RecordRefused for a record that has no JSON form."""
        self._rows.put(records)

    # -- inferences -------------------------------------------------------------------------------------------

    async def inferences(self, query: InferenceQuery) -> list[InferenceRecord]:
        """Stored inferences, newest id first unless the query says otherwise."""
        return selection.inferences(self._rows, query)

    async def count_inferences(self, query: InferenceQuery) -> int:
        """How many the query selects."""
        return len(selection.selected_inferences(self._rows, query))

    async def model_inferences(self, inference_id: UUID) -> list[ModelInferenceRecord]:
        """Every attempt of one inference, in the order they were made."""
        found = [record for record in self._rows.all(ModelInferenceRecord) if record.inference_id == inference_id]
        return sorted(found, key=id_of)

    async def episodes(self, query: EpisodeQuery) -> list[EpisodeSummary]:
        """Episodes, greatest id first."""
        return selection.episodes(self._rows, query)

    async def count_episodes(self) -> int:
        """How many episodes there are."""
        return len(selection.ids_by_episode(self._rows))

    # -- feedback ---------------------------------------------------------------------------------------------

    async def feedback(
        self, target_id: UUID, *, before: UUID | None = None, after: UUID | None = None, limit: int | None = 100
    ) -> list[Feedback]:
        """All feedback on one inference or episode, newest id first."""
        found = [one for one in self._rows if isinstance(one, Feedback) and target_of(one) == target_id]
        return page_at(sorted(found, key=id_of, reverse=True), id_of, before, after, limit)

    async def demonstrations(self, inference_ids: Sequence[UUID]) -> dict[UUID, DemonstrationFeedback]:
        """The latest demonstration of each inference that has one."""
        wanted = set(inference_ids)
        given = sorted(self._rows.all(DemonstrationFeedback), key=id_of)
        return {one.inference_id: one for one in given if one.inference_id in wanted}

    async def human_feedback(self, metric_name: str, datapoint_id: UUID, output: str) -> HumanFeedback | None:
        """The latest judgement of exactly this output for this datapoint."""
        wanted = (metric_name, datapoint_id, output)
        given = self._rows.all(HumanFeedback)
        found = [one for one in given if (one.metric_name, one.datapoint_id, one.output) == wanted]
        return max(found, key=id_of, default=None)

    # -- datasets ---------------------------------------------------------------------------------------------

    async def datapoints(self, query: DatapointQuery) -> list[Datapoint]:
        """Datapoints, last updated first, then the greatest id, unless the query says otherwise."""
        return selection.datapoints(self._rows, query)

    async def count_datapoints(self, query: DatapointQuery) -> int:
        """How many the query selects."""
        return len(selection.selected_datapoints(self._rows, query))

    async def datasets(self, *, function_name: str | None = None) -> list[DatasetSummary]:
        """Datasets that have datapoints, last updated first, then by name."""
        points = selection.selected_datapoints(self._rows, DatapointQuery(function_name=function_name))
        counts = Counter(point.dataset_name for point in points)
        updated = {point.dataset_name: point.updated_at for point in sorted(points, key=lambda point: point.updated_at)}
        newest_first = sorted(sorted(counts), key=lambda name: updated[name], reverse=True)
        return [
            DatasetSummary(dataset_name=name, datapoint_count=counts[name], last_updated=updated[name].isoformat())
            for name in newest_first
        ]

    async def holdout_accesses(self, dataset_name: str, *, limit: int | None = 100) -> list[HoldoutAccess]:
        """Who has read the test split of a dataset, newest first."""
        found = [access for access in self._rows.all(HoldoutAccess) if access.dataset_name == dataset_name]
        return page(sorted(found, key=id_of, reverse=True), limit)

    async def count_holdout_accesses(self, dataset_name: str) -> int:
        """How often somebody has."""
        return len(await self.holdout_accesses(dataset_name, limit=None))

    # -- examples, configurations, batches ----------------------------------------------------------------------

    async def examples(
        self, function_name: str, variant_name: str, embedding: Sequence[float], k: int
    ) -> list[tuple[Example, float]]:
        """The k nearest examples of a variant, by cosine; equal ones by id."""
        found = [
            (example, _distance(embedding, example.embedding))
            for example in self._examples(function_name, variant_name)
            if len(example.embedding) == len(embedding)
        ]
        return sorted(found, key=lambda each: (each[1], each[0].id))[:k]

    async def count_examples(self, function_name: str, variant_name: str) -> int:
        """How many examples a variant has."""
        return len(self._examples(function_name, variant_name))

    async def config_snapshot(self, hash_: str) -> ConfigSnapshot | None:
        """The configuration that ran under this hash, or None."""
        return next((found for found in self._rows.all(ConfigSnapshot) if found.hash == hash_), None)

    async def api_key(self, public_id: str) -> ApiKey | None:
        """The key of this public id as it was written last, or None."""
        found = [key for key in self._rows.all(ApiKey) if key.public_id == public_id]
        return max(found, key=lambda key: (key.updated_at, key.id), default=None)

    async def batch_request(self, batch_id: UUID) -> BatchRequest | None:
        """The newest row of the batch that is not pending, or else its newest."""
        found = [row for row in self._rows.all(BatchRequest) if row.batch_id == batch_id]
        return max(found, key=lambda row: (row.status != "pending", row.id), default=None)

    async def batch_inferences(self, batch_id: UUID) -> list[BatchInference]:
        """The inferences of one batch, smallest id first."""
        return sorted((row for row in self._rows.all(BatchInference) if row.batch_id == batch_id), key=id_of)

    # -- sums -------------------------------------------------------------------------------------------------

    async def inference_counts(self, query: CountQuery) -> list[InferenceCount]:
        """By function, variant and period, in the order of these."""
        return sums.inference_counts(self._rows, query)

    async def usage(self, query: UsageQuery) -> list[UsageSum]:
        """By owner, name and period, in the order of these."""
        return sums.usage(self._rows, query)

    async def latencies(self, query: LatencyQuery) -> list[LatencySummary]:
        """By owner and name, in the order of these."""
        return sums.latencies(self._rows, query)

    async def metric_counts(self, function_name: str, variant_name: str | None = None) -> list[MetricCount]:
        """By name of the metric and type, in the order of these."""
        return sums.metric_counts(self._rows, function_name, variant_name)

    async def scores(self, query: ScoreQuery) -> list[ScoreSum]:
        """By variant and period, in the order of these."""
        return sums.scores(self._rows, query)

    # -- everything -------------------------------------------------------------------------------------------

    async def find(self, id_: UUID) -> list[Record]:
        """Every record whose ``id`` this is, of whatever kind."""
        return [record for record in self._rows if getattr(record, "id", None) == id_]

    async def scan(self, kind: type[R], *, after: str = "", limit: int = 1000) -> list[R]:
        """Records of one kind in the order of their keys, from the first beyond ``after`` on."""
        found = [record for record in self._rows.all(kind) if key_of(record) > after]
        return page(sorted(found, key=key_of), limit)

    async def expire(self, what: Expiring, before: datetime) -> int:
        """End what is older than ``before``; says how many rows that concerned."""
        if what == "cache":
            return self._cache.expire(before.timestamp())
        return expiring.expire(self._rows, what, before)

    async def cached(self, key: str, *, max_age_s: float | None = None) -> bytes | None:
        """The entry kept last under this key and younger than ``max_age_s``, or None."""
        return await self._cache.cached(key, max_age_s=max_age_s)

    async def cache(self, key: str, entry: bytes) -> None:
        """Keep the entry, in place of one that is there, while there is room."""
        await self._cache.cache(key, entry)

    async def take(self, wanted: Sequence[tuple[Bucket, int]]) -> list[int]:
        """What each bucket had; taken from all or from none."""
        return self._buckets.take(wanted)

    async def settle(self, changes: Sequence[tuple[Bucket, int]]) -> None:
        """Give back, or charge more."""
        self._buckets.settle(changes)

    async def ping(self) -> None:
        """Return: memory always answers."""

    async def __aenter__(self) -> Memory:
        """Nothing to open."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Nothing to close."""

    def _examples(self, function_name: str, variant_name: str) -> list[Example]:
        of = (function_name, variant_name)
        return [example for example in self._rows.all(Example) if (example.function_name, example.variant_name) == of]


def _distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Cosine distance, 1 where a vector has no direction; rounded so that parallel vectors tie."""
    norms = math.hypot(*a) * math.hypot(*b)
    if not norms:
        return 1.0
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return round(min(max(1 - dot / norms, 0.0), 2.0), 6)
