"""Everything that a store holds: to a folder, from a folder into any other store, and whether both are the same.

Files are read and written on the event loop: these functions are for commands, which have it to themselves.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec import Struct

from .. import __version__
from ..contracts import Clock, Store
from ..errors import RecordRefused
from ..ids import new_id
from ..records import KINDS, ApiKey, ConfigSnapshot, Datapoint, HoldoutAccess, Record
from .files import PAGE, ExportDamaged, Format, create
from .folder import Manifest, Part, check, file_name, finish, fresh, rows_of, write_manifest
from .rows import Digest, canonical, key_of, name_of

__all__ = ["Agreement", "ExportDamaged", "Format", "Manifest", "Part", "export", "import_", "verify"]

log = logging.getLogger(__name__)

EXPORT_PURPOSE: Final = "export"


class Agreement(Struct, frozen=True, kw_only=True):
    """How a store and an export stand to each other, in one kind of record.

    Of the ``rows`` of the export, the store has the ``same``, a ``newer`` one (of kinds that are replaced), a
    ``different`` one under the same key, or none (``missing``); ``others`` are in the store alone. ``written`` are
    those that an import has just written. ``is_equal``: both have the same checksum.
    """

    kind: str
    rows: int
    same: int
    newer: int
    different: int
    missing: int
    others: int
    is_equal: bool
    written: int = 0

    @property
    def is_kept(self) -> bool:
        """Whether the store has all that the export has, or what replaced it."""
        return not self.different and not self.missing


async def export(
    store: Store,
    folder: Path,
    format_: Format,
    *,
    clock: Clock,
    reader: str,
    snapshot_hash: str,
    advance: Callable[[str, int], None] = lambda kind, rows: None,
) -> Manifest:
    """Write everything to a new folder, which appears when it is whole. ``reader`` has then seen every test split.

    Each kind is as the store has it when its turn comes: for one moment of all, let nobody write meanwhile. Raise
    HeadraceError where the folder is there already, StoreError where the store fails.
    """
    with fresh(folder) as partial:
        await _note_access(store, reader, snapshot_hash)
        kinds = {}
        for kind in KINDS:
            digest, path, rows = Digest(), partial / file_name(kind, format_), _Scan(store, kind)
            with create(path, kind, format_) as sheet:
                while page := await rows.page():
                    sheet.write(page)
                    for row in page:
                        digest.add(canonical(row))
                    advance(name_of(kind), len(page))
            kinds[name_of(kind)] = Part(rows=digest.rows, sha256=digest.sha256, file_sha256=finish(path))
        now = datetime.fromtimestamp(clock.time(), UTC)
        manifest = Manifest(format=format_, headrace_version=__version__, created_at=now, kinds=kinds)
        write_manifest(partial, manifest)
    return manifest


async def import_(
    store: Store, folder: Path, *, advance: Callable[[str, int], None] = lambda kind, rows: None
) -> list[Agreement]:
    """Write what an export has and the store has not, and say how both stand to each other then.

    A row of a kind that is replaced takes the place of an older one only. What the store refuses for good is logged and
    then missing. An import that was interrupted may be done again. Raise ExportDamaged before the first write,
    StoreError where the store fails.
    """
    manifest = check(folder)
    written = {}
    for kind in KINDS:
        stored, pending, count = _Stored(store, kind), list[Record](), 0
        for row in rows_of(folder, manifest, kind):
            found = await stored.at(key_of(row))
            if found is None or _instant(row) > _instant(found):
                pending.append(row)
            if len(pending) == PAGE:
                count += await _write(store, pending)
                pending = []
            advance(name_of(kind), 1)
        written[kind] = count + await _write(store, pending)
    return [await _agreement(store, folder, manifest, kind, written[kind]) for kind in KINDS]


async def _write(store: Store, rows: Sequence[Record]) -> int:
    """Write all but what the store can never write; says how many it took."""
    if not rows:
        return 0
    try:
        await store.write(rows)
        return len(rows)
    except RecordRefused as error:
        if len(rows) == 1:
            log.error("%s %s is not imported: %s", name_of(type(rows[0])), key_of(rows[0]), error)
            return 0
    half = len(rows) // 2  # find the one, keep its neighbours
    return await _write(store, rows[:half]) + await _write(store, rows[half:])


async def verify(store: Store, folder: Path) -> list[Agreement]:
    """Compare a store with an export, row by row. Raise ExportDamaged where that is not as it was written."""
    manifest = check(folder)
    return [await _agreement(store, folder, manifest, kind) for kind in KINDS]


async def _agreement(store: Store, folder: Path, manifest: Manifest, kind: type[Record], written: int = 0) -> Agreement:
    stored, mine, count = _Stored(store, kind), Digest(), Counter[str]()
    for row in rows_of(folder, manifest, kind):
        found, line = await stored.at(key_of(row)), canonical(row)
        mine.add(line)
        if found is None:
            count["missing"] += 1
        elif canonical(found) == line:
            count["same"] += 1
        else:
            count["newer" if _instant(found) > _instant(row) else "different"] += 1
    await stored.to_end()
    return Agreement(
        kind=name_of(kind),
        rows=mine.rows,
        same=count["same"],
        newer=count["newer"],
        different=count["different"],
        missing=count["missing"],
        others=stored.others,
        is_equal=mine.sha256 == stored.digest.sha256,
        written=written,
    )


_NEVER: Final = datetime.min.replace(tzinfo=UTC)


def _instant(row: Record) -> datetime:
    """When a row took its present form. One of a kind that is never replaced always had it."""
    if isinstance(row, Datapoint | ApiKey):
        return row.updated_at
    return (row.last_used or row.created_at) if isinstance(row, ConfigSnapshot) else _NEVER


async def _note_access(store: Store, reader: str, snapshot_hash: str) -> None:
    """Before any of them leaves: who takes the datapoints of which test split, and how many (retired ones too)."""
    counts, rows = Counter[str](), _Scan(store, Datapoint)
    while page := await rows.page():
        counts.update(row.dataset_name for row in page if isinstance(row, Datapoint) and row.split == "test")
    accesses = [
        HoldoutAccess(
            id=new_id(),
            dataset_name=name,
            reader=reader,
            purpose=EXPORT_PURPOSE,
            datapoint_count=count,
            snapshot_hash=snapshot_hash,
        )
        for name, count in sorted(counts.items())
    ]
    if accesses:
        await store.write(accesses)


class _Scan:
    """A store's rows of one kind, page by page."""

    def __init__(self, store: Store, kind: type[Record]) -> None:
        self._store = store
        self._kind = kind
        self._after = ""
        self._ended = False

    async def page(self) -> list[Record]:
        """The next rows; none at the end."""
        if self._ended:
            return []
        page = await self._store.scan(self._kind, after=self._after, limit=PAGE)
        self._ended = not page
        if page:
            self._after = key_of(page[-1])
        return page


class _Stored:
    """A store's rows of one kind beside those of a file, both in the order of keys. ``digest`` is of all rows passed,
    ``others`` counts those that nobody asked for."""

    def __init__(self, store: Store, kind: type[Record]) -> None:
        self.digest = Digest()
        self.others = 0
        self._rows = _Scan(store, kind)
        self._page: list[Record] = []  # from the last to the first

    async def at(self, key: str) -> Record | None:
        """The row of this key, or None; keys are asked for in ascending order."""
        while row := await self._peek():
            if key_of(row) > key:
                break
            self._page.pop()
            self.digest.add(canonical(row))
            if key_of(row) == key:
                return row
            self.others += 1
        return None

    async def to_end(self) -> None:
        """Pass what is left."""
        while row := await self._peek():
            self._page.pop()
            self.digest.add(canonical(row))
            self.others += 1

    async def _peek(self) -> Record | None:
        if not self._page:
            self._page = (await self._rows.page())[::-1]
        return self._page[-1] if self._page else None
