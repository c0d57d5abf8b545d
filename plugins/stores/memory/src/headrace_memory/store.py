"""Records in dicts, gone with the process. Reads go through all of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from headrace import Services
from headrace.contracts import DatapointQuery, DatasetSummary, InferenceQuery
from headrace.errors import RecordRefused
from headrace.records import (
    ApiKey,
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
from pydantic import BaseModel, Field

from .cache import MAX_BYTES, CacheSettings, MemoryCache

R = TypeVar("R")

_DECODER = msgspec.json.Decoder(Record)


class Settings(BaseModel, extra="forbid", frozen=True):
    """The ``[memory]`` table."""

    max_cache_bytes: int = Field(default=MAX_BYTES, ge=0)


class Memory:
    """Keeps what it is given until the process ends, closed or not; tests may look at ``records``."""

    def __init__(self, settings: Settings, services: Services | None = None) -> None:
        """Of ``services`` only the clock is of use: it tells the age of what is in the cache."""
        self._cache = MemoryCache(CacheSettings(max_bytes=settings.max_cache_bytes), services)
        self._rows: dict[tuple[type, UUID | str], Record] = {}

    @property
    def records(self) -> list[Record]:
        """Everything, in the order it was first written."""
        return list(self._rows.values())

    async def write(self, records: Sequence[Record]) -> None:
        """Write all or none. Raise RecordRefused for a record that has no JSON form."""
        # By way of JSON, so that later changes to a caller's dicts do not reach us, and so that what a store on
        # disk would refuse is refused here too.
        for record in [_copy(record) for record in records]:
            key = (type(record), record.hash if isinstance(record, ConfigSnapshot) else record.id)
            if isinstance(record, Datapoint | ConfigSnapshot | ApiKey):
                self._rows[key] = record
            else:
                self._rows.setdefault(key, record)

    async def inferences(self, query: InferenceQuery) -> list[InferenceRecord]:
        """Stored inferences, newest id first."""
        found = [
            record
            for record in self._all(InferenceRecord)
            if _is(query.function_name, record.function_name)
            and _is(query.variant_name, record.variant_name)
            and _among(query.ids, record.id)
            and _among(query.episode_ids, record.episode_id)
            and query.tags.items() <= record.tags.items()
            and (query.before is None or record.id < query.before)
        ]
        return _page(sorted(found, key=_id, reverse=True), query.limit, query.offset)

    async def model_inferences(self, inference_id: UUID) -> list[ModelInferenceRecord]:
        """Every attempt of one inference, in the order they were made."""
        found = [record for record in self._all(ModelInferenceRecord) if record.inference_id == inference_id]
        return sorted(found, key=_id)

    async def feedback(self, target_id: UUID, *, limit: int | None = 100) -> list[Feedback]:
        """All feedback on one inference or episode, newest id first."""
        given = [record for record in self._rows.values() if isinstance(record, Feedback)]
        found = [one for one in given if _target(one) == target_id]
        return _page(sorted(found, key=_id, reverse=True), limit)

    async def demonstrations(self, inference_ids: Sequence[UUID]) -> dict[UUID, DemonstrationFeedback]:
        """The latest demonstration of each inference that has one."""
        wanted = set(inference_ids)
        given = sorted(self._all(DemonstrationFeedback), key=_id)
        return {one.inference_id: one for one in given if one.inference_id in wanted}

    async def datapoints(self, query: DatapointQuery) -> list[Datapoint]:
        """Datapoints, last updated first, then the greatest id."""
        found = [
            point
            for point in self._all(Datapoint)
            if _is(query.dataset_name, point.dataset_name)
            and _is(query.function_name, point.function_name)
            and _among(query.ids, point.id)
            and _among(query.splits, point.split)
            and _among(query.content_keys, point.content_key)
            and _among(query.episode_ids, point.episode_id)
            and (query.ids is not None or point.staled_at is None)
        ]
        found.sort(key=lambda point: (point.updated_at, point.id), reverse=True)
        return _page(found, query.limit, query.offset)

    async def datasets(self, *, function_name: str | None = None) -> list[DatasetSummary]:
        """Datasets that have datapoints, last updated first."""
        points = await self.datapoints(DatapointQuery(function_name=function_name, limit=None))
        counts = Counter(point.dataset_name for point in points)
        updated: dict[str, datetime] = {}
        for point in points:
            updated.setdefault(point.dataset_name, point.updated_at)
        return [
            DatasetSummary(dataset_name=name, datapoint_count=counts[name], last_updated=at.isoformat())
            for name, at in updated.items()
        ]

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
        return next((found for found in self._all(ConfigSnapshot) if found.hash == hash_), None)

    async def batch_request(self, batch_id: UUID) -> BatchRequest | None:
        """The newest row of the batch that is not pending, or else its newest."""
        found = [row for row in self._all(BatchRequest) if row.batch_id == batch_id]
        return max(found, key=lambda row: (row.status != "pending", row.id), default=None)

    async def batch_inferences(self, batch_id: UUID) -> list[BatchInference]:
        """The inferences of one batch, smallest id first."""
        return sorted((row for row in self._all(BatchInference) if row.batch_id == batch_id), key=_id)

    async def cached(self, key: str, *, max_age_s: float | None = None) -> bytes | None:
        """The entry kept last under this key and younger than ``max_age_s``, or None."""
        return await self._cache.cached(key, max_age_s=max_age_s)

    async def cache(self, key: str, entry: bytes) -> None:
        """Keep the entry, in place of one that is there, while there is room."""
        await self._cache.cache(key, entry)

    async def ping(self) -> None:
        """Return: memory always answers."""

    async def __aenter__(self) -> Memory:
        """Nothing to open."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Nothing to close."""

    def _all(self, kind: type[R]) -> list[R]:
        return [record for record in self._rows.values() if isinstance(record, kind)]

    def _examples(self, function_name: str, variant_name: str) -> list[Example]:
        of = (function_name, variant_name)
        return [example for example in self._all(Example) if (example.function_name, example.variant_name) == of]


def _copy(record: Record) -> Record:
    try:
        copy: Record = _DECODER.decode(msgspec.json.encode(record))
        return copy
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordRefused(
            f"memory store: cannot write {type(record).__name__} {getattr(record, 'id', '')}: {error}"
        ) from error


def _id(record: Any) -> UUID:
    found: UUID = record.id
    return found


def _target(one: Feedback) -> UUID:
    return one.inference_id if isinstance(one, DemonstrationFeedback) else one.target_id


def _is(wanted: str | None, value: str) -> bool:
    return wanted is None or wanted == value


def _among(wanted: Sequence[object] | None, value: object) -> bool:
    return wanted is None or value in wanted


def _page(found: list[Any], limit: int | None, offset: int = 0) -> list[Any]:
    return list(islice(found, offset, None if limit is None else offset + limit))


def _distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Cosine distance, 1 where a vector has no direction; rounded so that parallel vectors tie."""
    norms = math.hypot(*a) * math.hypot(*b)
    if not norms:
        return 1.0
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return round(min(max(1 - dot / norms, 0.0), 2.0), 6)
