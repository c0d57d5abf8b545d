"""Datasets: where datapoints are kept, each with a split that it will never leave."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Literal, TypeAlias
from uuid import UUID

import anyio
from msgspec import Struct, UnsetType, structs

from .contracts import Clock, DatapointQuery, DatasetSummary, InferenceQuery, Store
from .datapoints import Draft, draft_of
from .errors import BadRequest, NotFound
from .holdout import SOMEBODY, Holdout, Reader
from .ids import new_id
from .placing import Newcomer, Placed, Placing
from .recorder import Recorder
from .records import Datapoint, HoldoutAccess, InferenceRecord
from .splits import Shares
from .tags import is_reserved
from .types import Output, Split

OutputSource: TypeAlias = Literal["none", "inference", "demonstration"]

_NAME = re.compile(r"[^/?#\s][^/?#]*")
_PAGE = 1000


class NearDuplicate(Struct, frozen=True):
    """A new datapoint (``id``) that is a copy, or nearly one, of another, and where that one is. 1 is the same text."""

    id: UUID
    of: UUID
    dataset_name: str
    split: Split
    similarity: float


class Made(Struct, frozen=True):
    """New datapoints, in the order in which they were asked for, and which of them are (near) copies."""

    ids: list[UUID]
    near_duplicates: list[NearDuplicate]


class Datasets:
    """The datasets of one store. Every method raises BadRequest where no store is configured.

    Whatever is written is durable when a method returns. ``editor`` is who does it, as far as is known.
    """

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
        self._placing = Placing(shares, key)
        # Of two copies that arrive at once, the second has to see where the first went.
        self._writing = anyio.Lock()

    # -- making -------------------------------------------------------------------------------------------------

    async def create(self, dataset_name: str, drafts: Sequence[Draft], *, editor: str | None = None) -> Made:
        """One datapoint per draft: all of them, or none."""
        check_name(dataset_name)
        async with self._writing:
            return await self._make(dataset_name, drafts, editor)

    async def from_inferences(
        self,
        dataset_name: str,
        query: InferenceQuery,
        output_source: OutputSource = "inference",
        *,
        editor: str | None = None,
    ) -> Made:
        """One datapoint per inference, in the order of the inferences found; all of them, or none.

        With ``demonstration`` the latest demonstration is the reference output, and inferences without one are
        left out. Raise BadRequest if an inference asked for by id is missing, or one has expired.
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
        return await self.create(
            dataset_name, [draft_of(record, outputs.get(record.id)) for record in kept], editor=editor
        )

    async def clone(self, dataset_name: str, ids: Sequence[UUID], *, editor: str | None = None) -> list[UUID | None]:
        """Copies with new ids, in order; None where there is no such datapoint, or it is retired.

        A copy stays in the split of what it is a copy of.
        """
        check_name(dataset_name)
        found = {each.id: each for each in await self._current(ids)}
        now = self._now()
        copies = [
            structs.replace(
                found[id_],
                id=new_id(),
                dataset_name=dataset_name,
                updated_at=now,
                snapshot_hash=self._snapshot_hash,
                editor=editor,
                replaces=None,
            )
            if id_ in found
            else None
            for id_ in ids
        ]
        if written := [copy for copy in copies if copy is not None]:
            await self._store.write(written)
        return [copy.id if copy is not None else None for copy in copies]

    # -- changing -----------------------------------------------------------------------------------------------

    async def current(self, dataset_name: str, ids: Sequence[UUID]) -> list[Datapoint]:
        """The datapoints that are to be changed, in order. Raise NotFound for one that is not there, or is retired."""
        found = {each.id: each for each in await self._current(ids, dataset_name)}
        for id_ in ids:
            if id_ not in found:
                raise NotFound(f"Datapoint not found for id: {id_}")
        return [found[id_] for id_ in ids]

    async def replace(
        self, dataset_name: str, old: Sequence[Datapoint], drafts: Sequence[Draft], *, editor: str | None = None
    ) -> Made:
        """New versions of datapoints, in order, and the old ones retired, in one write; the split stays.

        Raise NotFound for one that somebody else has changed or retired meanwhile.
        """
        async with self._writing:
            old = await self.current(dataset_name, [each.id for each in old])
            placed = await self._placing.place(
                self._store, [_newcomer(draft) for draft in drafts], without={each.id for each in old}
            )
            now = self._now()
            versions = [
                structs.replace(
                    self._datapoint(dataset_name, draft, where, now, editor),
                    split=before.split,
                    group=before.group,
                    replaces=before.id,
                )
                for before, draft, where in zip(old, drafts, placed, strict=True)
            ]
            retired = [structs.replace(each, staled_at=now, updated_at=now) for each in old]
            await self._store.write([*retired, *versions])
        return _made(versions, placed)

    async def rename(self, dataset_name: str, names: Sequence[tuple[UUID, str | UnsetType | None]]) -> list[UUID]:
        """Give datapoints names, take them away (None) or leave them (unset), in place. Raise NotFound."""
        async with self._writing:
            old = await self.current(dataset_name, [id_ for id_, _ in names])
            now = self._now()
            renamed = [
                structs.replace(each, name=name, updated_at=now)
                for each, (_, name) in zip(old, names, strict=True)
                if not isinstance(name, UnsetType)
            ]
            if renamed:
                await self._store.write(renamed)
        return [each.id for each in old]

    async def retire(self, dataset_name: str, ids: Sequence[UUID] | None = None) -> int:
        """Retire datapoints of a dataset, all of them unless ``ids`` says which; says how many were not retired yet."""
        count = 0
        async with self._writing:
            while found := (
                await self._current(ids, dataset_name)
                if ids is not None
                else await self._store.datapoints(DatapointQuery(dataset_name=dataset_name, limit=_PAGE))
            ):
                now = self._now()
                await self._store.write([structs.replace(each, staled_at=now, updated_at=now) for each in found])
                count += len(found)
        return count

    # -- reading ------------------------------------------------------------------------------------------------

    async def find(self, query: DatapointQuery, reader: Reader = SOMEBODY) -> list[Datapoint]:
        """Datapoints, last updated first; retired ones only by id. Test data is given only to who is written down."""
        return await Holdout(self._store, self._snapshot_hash).read(query, reader)

    async def count(self, query: DatapointQuery) -> int:
        """How many the query selects."""
        return await self._store.count_datapoints(query)

    async def names(self, function_name: str | None = None) -> list[DatasetSummary]:
        """The datasets there are."""
        return await self._store.datasets(function_name=function_name)

    async def accesses(self, dataset_name: str, *, limit: int | None = 100) -> tuple[int, list[HoldoutAccess]]:
        """How often somebody has read test data of the dataset, and who it was, newest first."""
        count = await self._store.count_holdout_accesses(dataset_name)
        return count, await self._store.holdout_accesses(dataset_name, limit=limit)

    # -- parts --------------------------------------------------------------------------------------------------

    @property
    def _store(self) -> Store:
        if self._store_or_none is None:
            raise BadRequest("Datasets need a store: `gateway.observability.enabled` is false")
        return self._store_or_none

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)

    async def _current(self, ids: Collection[UUID], dataset_name: str | None = None) -> list[Datapoint]:
        """Of these those that are not retired. For work within; nobody is shown them."""
        query = DatapointQuery(ids=tuple(ids), dataset_name=dataset_name, limit=None)
        return [each for each in await self._store.datapoints(query) if each.staled_at is None] if ids else []

    async def _outputs(self, found: Sequence[InferenceRecord], source: OutputSource) -> dict[UUID, Output]:
        if source == "none":
            return {}
        if source == "demonstration":
            demonstrations = await self._store.demonstrations([record.id for record in found])
            return {id_: demonstration.value for id_, demonstration in demonstrations.items()}
        outputs: dict[UUID, Output] = {}
        for record in found:
            if record.output is None:
                raise BadRequest(f"Inference {record.id} has expired: its output is no longer stored")
            outputs[record.id] = record.output
        return outputs

    async def _make(self, dataset_name: str, drafts: Sequence[Draft], editor: str | None) -> Made:
        placed = await self._placing.place(self._store, [_newcomer(draft) for draft in drafts])
        now = self._now()
        made = [
            self._datapoint(dataset_name, draft, where, now, editor)
            for draft, where in zip(drafts, placed, strict=True)
        ]
        if made:
            await self._store.write(made)
        return _made(made, placed)

    def _datapoint(
        self, dataset_name: str, draft: Draft, placed: Placed, now: datetime, editor: str | None
    ) -> Datapoint:
        return Datapoint(
            id=new_id(),
            dataset_name=dataset_name,
            split=placed.place.split,
            group=placed.place.group,
            content_key=placed.content_key,
            near_keys=placed.near_keys,
            updated_at=now,
            snapshot_hash=self._snapshot_hash,
            editor=editor,
            **structs.asdict(draft),
        )


def check_name(dataset_name: str) -> None:
    """Raise BadRequest for a name that is reserved or cannot be a path segment."""
    if dataset_name == "builder" or is_reserved(dataset_name) or not _NAME.fullmatch(dataset_name):
        raise BadRequest(f"Invalid dataset name: {dataset_name}")


def _newcomer(draft: Draft) -> Newcomer:
    return Newcomer(draft.function_name, draft.input, draft.episode_id)


def _made(datapoints: Sequence[Datapoint], placed: Sequence[Placed]) -> Made:
    copies = []
    for datapoint, where in zip(datapoints, placed, strict=True):
        if where.copied is not None:
            of = where.copied.of if isinstance(where.copied.of, Datapoint) else datapoints[where.copied.of]
            copies.append(
                NearDuplicate(datapoint.id, of.id, of.dataset_name, of.split, similarity=where.copied.similarity)
            )
    return Made([datapoint.id for datapoint in datapoints], copies)
