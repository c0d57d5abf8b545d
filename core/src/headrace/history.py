"""What was asked, answered and said of it, read back from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import anyio
from msgspec import Struct, structs

from .contracts import Store
from .errors import BadRequest
from .feedback import Metric
from .queries import EpisodeQuery, EpisodeSummary, InferenceQuery
from .recorder import Recorder
from .records import (
    BooleanFeedback,
    ConfigSnapshot,
    DemonstrationFeedback,
    Feedback,
    FloatFeedback,
    InferenceRecord,
    ModelInferenceRecord,
    Record,
)

_FLUSH_WITHIN_S = 1.0
_LEAST = UUID(int=0)


class Bounds(Struct, frozen=True):
    """The smallest and the greatest id; None where there is none."""

    first: UUID | None = None
    last: UUID | None = None


class FeedbackBounds(Struct, frozen=True):
    """Of all feedback on a target, and by the kind of row (``boolean``, ``float``, ``comment``, ``demonstration``)."""

    all: Bounds
    by_kind: Mapping[str, Bounds]


class Found(Struct, frozen=True):
    """What has an id: records of whatever kind, and whether inferences name it as their episode."""

    records: tuple[Record, ...]
    is_episode: bool


class History:
    """The records of one store. Every method raises BadRequest where no store is configured, and StoreError.

    Reads see what this gateway has answered before, unless the store does not take it within a second.
    """

    def __init__(self, *, metrics: Mapping[str, Metric], store: Store | None, recorder: Recorder | None) -> None:
        self.metrics = metrics
        self._store_or_none = store
        self._recorder = recorder

    async def inferences(self, query: InferenceQuery) -> list[InferenceRecord]:
        """Stored inferences, newest first unless the query says otherwise."""
        return await (await self._settled()).inferences(query)

    async def count_inferences(self, query: InferenceQuery) -> int:
        """How many the query selects."""
        return await (await self._settled()).count_inferences(query)

    async def demonstrated(
        self, found: Sequence[InferenceRecord]
    ) -> list[tuple[InferenceRecord, DemonstrationFeedback]]:
        """Those that have a demonstration, each with its latest."""
        demonstrations = await self._store.demonstrations([record.id for record in found])
        return [(record, demonstrations[record.id]) for record in found if record.id in demonstrations]

    async def model_inferences(self, inference_id: UUID) -> list[ModelInferenceRecord]:
        """Every attempt of one inference, in the order they were made."""
        return await (await self._settled()).model_inferences(inference_id)

    # -- episodes -----------------------------------------------------------------------------------------

    async def episodes(self, query: EpisodeQuery) -> list[EpisodeSummary]:
        """Episodes, greatest id first."""
        return await (await self._settled()).episodes(query)

    async def episode_bounds(self) -> tuple[Bounds, int]:
        """The least and the greatest episode, and how many there are."""
        store = await self._settled()
        first = await store.episodes(EpisodeQuery(after=_LEAST, limit=1))
        last = await store.episodes(EpisodeQuery(limit=1))
        if not (first and last):
            return Bounds(), 0
        return Bounds(first[0].episode_id, last[0].episode_id), await store.count_episodes()

    # -- feedback -----------------------------------------------------------------------------------------

    async def feedback(
        self, target_id: UUID, *, before: UUID | None = None, after: UUID | None = None, limit: int | None = 100
    ) -> list[Feedback]:
        """Feedback on one inference or episode, newest first."""
        store = await self._settled()
        return await store.feedback(target_id, before=before, after=after, limit=limit)

    async def demonstrations(
        self, inference_id: UUID, *, before: UUID | None = None, after: UUID | None = None, limit: int | None = 100
    ) -> list[DemonstrationFeedback]:
        """Demonstrations of one inference, newest first; with ``after`` those nearest to it."""
        found = [
            one
            for one in await self.feedback(inference_id, before=before, after=after, limit=None)
            if isinstance(one, DemonstrationFeedback)
        ]
        if limit is None:
            return found
        return found[max(len(found) - limit, 0) :] if after is not None else found[:limit]

    async def feedback_bounds(self, target_id: UUID) -> FeedbackBounds:
        """The oldest and the newest id, of all and by kind."""
        found = await self.feedback(target_id, limit=None)
        kinds: dict[str, list[Feedback]] = {}
        for one in found:
            kinds.setdefault(_kind(one), []).append(one)
        return FeedbackBounds(_bounds(found), {kind: _bounds(rows) for kind, rows in kinds.items()})

    async def latest_feedback(self, target_id: UUID) -> dict[str, UUID]:
        """The newest id by metric. Comments and demonstrations belong to none."""
        latest: dict[str, UUID] = {}
        for one in await self.feedback(target_id, limit=None):
            if isinstance(one, BooleanFeedback | FloatFeedback):
                latest.setdefault(one.metric_name, one.id)
        return latest

    async def count_feedback(self, target_id: UUID) -> int:
        """How many rows of any kind there are."""
        return len(await self.feedback(target_id, limit=None))

    # -- anything -----------------------------------------------------------------------------------------

    async def find(self, id_: UUID) -> Found:
        """What has this id."""
        store = await self._settled()
        found = await store.find(id_)
        is_episode = bool(await store.count_inferences(InferenceQuery(episode_ids=(id_,))))
        return Found(tuple(found), is_episode)

    async def keep(self, snapshot: ConfigSnapshot) -> ConfigSnapshot:
        """Write a configuration down; returns it with what is known of it: when it was first seen, and all its tags."""
        store = await self._settled()
        earlier = await store.config_snapshot(snapshot.hash)
        if earlier is not None:
            snapshot = structs.replace(earlier, tags=earlier.tags | snapshot.tags)
        await store.write([snapshot])
        return snapshot

    @property
    def _store(self) -> Store:
        if self._store_or_none is None:
            raise BadRequest("Stored data needs a store: `gateway.observability.enabled` is false")
        return self._store_or_none

    async def _settled(self) -> Store:
        """The store, once what is queued has reached it. One that is away is for the read itself to tell of."""
        store = self._store
        if self._recorder is not None:
            with anyio.move_on_after(_FLUSH_WITHIN_S):
                await self._recorder.flush()
        return store


def _kind(one: Feedback) -> str:
    return str(one.__struct_config__.tag)


def _bounds(rows: Sequence[Feedback]) -> Bounds:
    ids = [one.id for one in rows]
    return Bounds(min(ids), max(ids)) if ids else Bounds()
