"""Datasets: datapoints made from stored inferences, each with a split it will never leave."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, TypeAlias
from uuid import UUID

from .contracts import Clock, DatapointQuery, DatasetSummary, InferenceQuery, Store
from .errors import BadRequest
from .ids import new_id
from .recorder import Recorder
from .records import Datapoint, InferenceRecord
from .splits import Item, Known, Place, Shares, assign, content_key
from .types import Output

OutputSource: TypeAlias = Literal["none", "inference", "demonstration"]

_NAME = re.compile(r"[^/?#\s][^/?#]*")
_PAGE = 500


class Datasets:
    """The datasets of one store. Every method raises BadRequest where no store is configured."""

    def __init__(
        self,
        *,
        store: Store | None,
        recorder: Recorder | None,
        clock: Clock,
        snapshot_hash: str,
        shares: Shares,
        key: str,
    ) -> None:
        self._store_or_none = store
        self._recorder = recorder
        self._clock = clock
        self._snapshot_hash = snapshot_hash
        self._shares = shares
        self._key = key

    async def from_inferences(
        self, dataset_name: str, query: InferenceQuery, output_source: OutputSource = "inference"
    ) -> list[UUID]:
        """One datapoint per inference, durable when it returns; ids in the order of the inferences found.

        With ``demonstration`` the latest demonstration is the reference output, and inferences without one are
        left out. Raise BadRequest if an inference asked for by id is missing.
        """
        check_name(dataset_name)
        if self._recorder is not None:
            await self._recorder.flush()
        found = await self._store.inferences(query)
        if query.ids is not None:
            known = {record.id for record in found}
            for id_ in query.ids:
                if id_ not in known:
                    raise BadRequest(f"Inference {id_} not found")
        outputs = await self._outputs(found, output_source)
        kept = [record for record in found if output_source == "none" or record.id in outputs]
        places = await self._places(kept)
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        datapoints = [
            self._datapoint(dataset_name, record, outputs.get(record.id), item, place, now)
            for record, (item, place) in zip(kept, places, strict=True)
        ]
        if datapoints:
            await self._store.write(datapoints)
        return [datapoint.id for datapoint in datapoints]

    async def find(self, query: DatapointQuery) -> list[Datapoint]:
        """Datapoints, last updated first; retired ones only by id."""
        return await self._store.datapoints(query)

    async def names(self, function_name: str | None = None) -> list[DatasetSummary]:
        """The datasets there are."""
        return await self._store.datasets(function_name=function_name)

    @property
    def _store(self) -> Store:
        if self._store_or_none is None:
            raise BadRequest("Datasets need a store: `gateway.observability.enabled` is false")
        return self._store_or_none

    async def _outputs(self, found: Sequence[InferenceRecord], source: OutputSource) -> dict[UUID, Output]:
        if source == "none":
            return {}
        if source == "inference":
            return {record.id: record.output for record in found}
        demonstrations = await self._store.demonstrations([record.id for record in found])
        return {id_: demonstration.value for id_, demonstration in demonstrations.items()}

    async def _places(self, records: Sequence[InferenceRecord]) -> list[tuple[Item, Place]]:
        """Where each belongs. Datapoints of all datasets count as known, so a near copy has one split everywhere."""
        items = [Item(content_key(record.input), record.episode_id) for record in records]
        keys = sorted({item.content_key for item in items})
        episodes = sorted({item.episode_id for item in items if item.episode_id is not None})
        stored: dict[UUID, Datapoint] = {}
        for start in range(0, len(keys), _PAGE):
            query = DatapointQuery(content_keys=tuple(keys[start : start + _PAGE]), limit=None)
            stored |= {datapoint.id: datapoint for datapoint in await self._store.datapoints(query)}
        for start in range(0, len(episodes), _PAGE):
            query = DatapointQuery(episode_ids=tuple(episodes[start : start + _PAGE]), limit=None)
            stored |= {datapoint.id: datapoint for datapoint in await self._store.datapoints(query)}
        known = [Known(each.content_key, each.episode_id, Place(each.group, each.split)) for each in stored.values()]
        return list(zip(items, assign(items, known, self._shares, self._key), strict=True))

    def _datapoint(
        self,
        dataset_name: str,
        record: InferenceRecord,
        output: Output | None,
        item: Item,
        place: Place,
        now: datetime,
    ) -> Datapoint:
        return Datapoint(
            id=new_id(),
            dataset_name=dataset_name,
            function_name=record.function_name,
            function_type=record.function_type,
            input=record.input,
            split=place.split,
            group=place.group,
            content_key=item.content_key,
            updated_at=now,
            snapshot_hash=self._snapshot_hash,
            output=output,
            episode_id=record.episode_id,
            tools=record.tools,
            output_schema=record.output_schema,
            tags=record.tags,
            source_inference_id=record.id,
        )


def check_name(dataset_name: str) -> None:
    """Raise BadRequest for a name that is reserved or cannot be a path segment."""
    if dataset_name == "builder" or dataset_name.startswith("tensorzero::") or not _NAME.fullmatch(dataset_name):
        raise BadRequest(f"Invalid dataset name: {dataset_name}")
