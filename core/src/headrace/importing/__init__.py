"""Brings the history of a TensorZero gateway into a store, from its ClickHouse or its Postgres.

Ids stay, so that it may be done again: what is there already is left alone. A row that has no form here is skipped and
told of; nothing else is lost by it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Final
from uuid import UUID

from msgspec import structs

from ..contracts import DatapointQuery, InferenceQuery, Store
from ..errors import RecordRefused
from ..placing import Newcomer, Placing
from ..records import ApiKey, ConfigSnapshot, Datapoint, ModelInferenceRecord, Record
from .clickhouse import ClickHouse
from .inferences import Reading
from .postgres import Postgres
from .report import Reason, Tally
from .rows import UNMAPPABLE, id_of, record_of
from .tables import TABLES, Row, Source, SourceError, Table

__all__ = ["ClickHouse", "Postgres", "Reason", "Source", "SourceError", "Tally", "import_tensorzero"]

_PAGE: Final = 1000
# Rows to read though they are there: they may be newer, are asked for tools, or have another id here.
_LOOKED_AT: Final = (Datapoint, ConfigSnapshot, ApiKey)
_ELSEWHERE: Final = "its id is that of a datapoint in another dataset"
_BYTES: Final = 16_000_000  # of raw rows that wait to be written, about


async def import_tensorzero(
    source: Source,
    store: Store,
    placing: Placing,
    *,
    config: str = "",
    batch: int = 1000,
    dry_run: bool = False,
    advance: Callable[[Tally], None] = lambda tally: None,
) -> list[Tally]:
    """Write what the old database has and the store has not; with ``dry_run`` only say what that would be.

    ``config`` is the TOML of today, for tools that old rows only name; ``advance`` is told after each batch. Raise
    SourceError or StoreError, where what is written by then stays.
    """
    importing = _Importing(source, store, placing, config, batch, dry_run, advance)
    return [await importing.table(table) for table in TABLES]


class _Importing:
    def __init__(
        self,
        source: Source,
        store: Store,
        placing: Placing,
        config: str,
        batch: int,
        dry_run: bool,
        advance: Callable[[Tally], None],
    ) -> None:
        self._source = source
        self._store = store
        self._placing = placing
        self._batch = batch
        self._dry_run = dry_run
        self._advance = advance
        self._tally = Tally(table="", kind="")
        self._row_id = ""
        self._reading = Reading(config, lambda reason: self._tally.note(reason, self._row_id))

    async def table(self, table: Table) -> Tally:
        self._tally = Tally(table=table.name, kind=str(table.kind.__struct_config__.tag))
        if not await self._source.has(table):
            self._tally.is_absent = True
            return self._tally
        known = await _Known.of(self._store, table.kind)
        pending: list[Record] = []
        size = 0
        async with aclosing(self._source.rows(table)) as rows:
            async for row in rows:
                self._tally.read += 1
                self._row_id = id_of(row, table.key)
                if table.kind not in _LOOKED_AT and self._row_id in known:
                    self._tally.already_there += 1
                    continue
                record = self._record(table, row)
                if record is None:
                    continue
                pending.append(record)
                size += sum(len(value) for value in row.values() if isinstance(value, (str, bytes)))
                if len(pending) >= self._batch or size >= _BYTES:
                    await self._flush(pending, known)
                    pending, size = [], 0
        await self._flush(pending, known)
        return self._tally

    def _record(self, table: Table, row: Row) -> Record | None:
        try:
            return record_of(table.name, row, self._reading)
        except UNMAPPABLE as error:
            reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            self._tally.skip(reason[:200], self._row_id)
            return None

    async def _flush(self, records: Sequence[Record], known: _Known) -> None:
        fresh: dict[str, Record] = {}
        there: list[Record] = []
        for record in records:
            key = _key_of(record)
            if _is_elsewhere(record, fresh.get(key)):
                self._tally.skip(_ELSEWHERE, key)
            elif key in known or key in fresh:
                there.append(record)
            else:
                fresh[key] = record
        newer = await self._newer(there)
        self._tally.already_there += len(there) - len(newer)
        made = await self._completed(list(fresh.values()))
        self._tally.written += await self._write([*newer, *made])
        known.add(made)
        self._advance(self._tally)

    async def _write(self, records: Sequence[Record]) -> int:
        """Write all but what the store can never write; says how many it took."""
        if not records or self._dry_run:
            return len(records)
        try:
            await self._store.write(records)
            return len(records)
        except RecordRefused as error:
            if len(records) == 1:
                self._tally.skip(f"the store refuses it: {error}"[:200], _key_of(records[0]))
                return 0
        half = len(records) // 2  # find the one, keep its neighbours
        return await self._write(records[:half]) + await self._write(records[half:])

    async def _completed(self, records: list[Record]) -> list[Record]:
        """The records with what their row alone does not say."""
        if records and isinstance(records[0], ModelInferenceRecord):
            return await self._named([each for each in records if isinstance(each, ModelInferenceRecord)])
        if records and isinstance(records[0], Datapoint):
            return await self._placed([each for each in records if isinstance(each, Datapoint)])
        return records

    async def _named(self, records: list[ModelInferenceRecord]) -> list[Record]:
        """Rows of older releases do not say whose they are; their inference does."""
        ids = {each.inference_id for each in records if not each.function_name}
        if not ids:
            return list(records)
        found = await self._store.inferences(InferenceQuery(ids=tuple(ids), limit=None))
        names = {each.id: (each.function_name, each.variant_name) for each in found}
        return [
            structs.replace(each, **dict(zip(("function_name", "variant_name"), names[each.inference_id], strict=True)))
            if each.inference_id in names and not each.function_name
            else each
            for each in records
        ]

    async def _placed(self, records: list[Datapoint]) -> list[Record]:
        """Each in the split where its near copies are, as if it had been made here."""
        if self._dry_run:
            return list(records)
        newcomers = [Newcomer(each.function_name, each.input, each.episode_id) for each in records]
        return [
            structs.replace(
                each,
                split=placed.place.split,
                group=placed.place.group,
                content_key=placed.content_key,
                near_keys=placed.near_keys,
            )
            for each, placed in zip(records, await self._placing.place(self._store, newcomers), strict=True)
        ]

    async def _newer(self, there: Sequence[Record]) -> list[Record]:
        """Datapoints that have been retired or renamed in the old database since they came over."""
        wanted = {each.id: each for each in there if isinstance(each, Datapoint)}
        if not wanted:
            return []
        newer: list[Record] = []
        for each in await self._store.datapoints(DatapointQuery(ids=tuple(wanted), limit=None)):
            of = wanted[each.id]
            if _is_elsewhere(of, each):
                self._tally.skip(_ELSEWHERE, _key_of(of))
                self._tally.already_there -= 1
            elif of.updated_at > each.updated_at:
                newer.append(structs.replace(each, name=of.name, staled_at=of.staled_at, updated_at=of.updated_at))
        return newer


def _is_elsewhere(record: Record, other: Record | None) -> bool:
    """Whether the id, by which we tell datapoints apart, is that of one in another dataset."""
    if not isinstance(record, Datapoint) or not isinstance(other, Datapoint):
        return False
    return record.dataset_name != other.dataset_name


def _key_of(record: Record) -> str:
    """By what a store tells rows of a kind apart, and sorts them."""
    return record.hash if isinstance(record, ConfigSnapshot) else str(record.id)


class _Known:
    """The keys of a kind that a store has: 16 bytes for each row, as asking for them one by one would take ages."""

    def __init__(self) -> None:
        self._ids = bytearray()
        self._keys: set[str] = set()

    @classmethod
    async def of(cls, store: Store, kind: type[Any]) -> _Known:
        known, after = cls(), ""
        while page := await store.scan(kind, after=after, limit=_PAGE):
            after = _key_of(page[-1])
            if kind is ConfigSnapshot:
                known._keys.update(map(_key_of, page))
            else:
                known._ids.extend(b"".join(row.id.bytes for row in page))
        return known

    def add(self, written: Sequence[Record]) -> None:
        """Of kinds that replace, what was written just now: a second one must not take the place of the first."""
        self._keys.update(_key_of(each) for each in written if isinstance(each, (Datapoint, ConfigSnapshot)))

    def __contains__(self, key: str) -> bool:
        """By bisection: keys come from a store in their order, which is that of their bytes."""
        if not self._ids or key in self._keys:
            return key in self._keys
        try:
            wanted = UUID(key).bytes
        except ValueError:
            return False
        view = _Ids(self._ids)
        at = bisect_left(view, wanted)
        return at < len(view) and view[at] == wanted


class _Ids(Sequence[bytes]):
    def __init__(self, ids: bytearray) -> None:
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids) // 16

    def __getitem__(self, index: Any) -> Any:
        return bytes(self._ids[16 * index : 16 * index + 16])
