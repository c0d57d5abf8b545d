"""The one door to test data: who has read it, why and how much is written down before it is given out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from .contracts import DatapointQuery, Store
from .ids import new_id
from .records import Datapoint, HoldoutAccess


class Reader(Struct, frozen=True):
    """Who reads, as far as is known, and what for."""

    name: str
    purpose: str


SOMEBODY: Final = Reader("unknown", "a program in this process")


class Holdout:
    """Reads datapoints of one store. ``snapshot_hash`` is of the configuration that runs."""

    def __init__(self, store: Store, snapshot_hash: str) -> None:
        self._store = store
        self._snapshot_hash = snapshot_hash

    async def read(self, query: DatapointQuery, reader: Reader) -> list[Datapoint]:
        """What the query selects. Raise StoreError, and give nothing, if the access cannot be written down."""
        found = await self._store.datapoints(query)
        await self.note(found, reader)
        return found

    async def note(self, datapoints: Sequence[Datapoint], reader: Reader) -> None:
        """Write down that somebody is about to read these; a row for each dataset of which there is test data."""
        counts = Counter(datapoint.dataset_name for datapoint in datapoints if datapoint.split == "test")
        if counts:
            await self._store.write([self._access(name, count, reader) for name, count in counts.items()])

    def _access(self, dataset_name: str, count: int, reader: Reader) -> HoldoutAccess:
        return HoldoutAccess(
            id=new_id(),
            dataset_name=dataset_name,
            reader=reader.name,
            purpose=reader.purpose,
            datapoint_count=count,
            snapshot_hash=self._snapshot_hash,
        )
