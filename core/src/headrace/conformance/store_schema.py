"""What stores with versions of their schema promise, and what stores that can be copied while they work do."""
# ruff: noqa: D102 - the name of a test says what it promises

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol

import anyio
import pytest

from ..errors import StoreError
from ..queries import InferenceQuery
from ..records import InferenceRecord, Record
from ..storage import BackedUp, Migratable, Store
from ..types import Text
from . import rows
from .rows import inference, uid
from .rows_every import EVERY
from .store_promises import ids_of
from .suite import Suite, needs


class MigratableStore(Store, Migratable, Protocol):
    """A store whose schema has versions."""


class CopiedStore(Store, BackedUp, Protocol):
    """A store that can be copied."""


# What every version of a schema has had a place for.
LASTING: tuple[Record, ...] = (
    inference(201, output=(Text(rows.TEXT),), tags={"a": "1"}),
    rows.model_inference(202, uid(201)),
    rows.boolean(203, uid(201)),
    rows.number(204, uid(201), 0.1),
    rows.comment(205, uid(201), rows.TEXT),
    rows.demonstration(206, uid(201), "better"),
)


class MigrationConformance(Suite):
    """Subclass it with ``build``, ``build_unmigrated`` and ``make_newer``."""

    lasting: ClassVar[tuple[Record, ...]] = LASTING

    def build(self, tmp_path: Path) -> MigratableStore:
        """A store that is not open, the same one for the same folder; there is nothing yet where it will be."""
        raise NotImplementedError(f"{type(self).__name__}.build: return the store under test")

    def build_unmigrated(self, tmp_path: Path) -> MigratableStore:
        """The same one with ``disable_automatic_migrations``."""
        raise NotImplementedError(f"{type(self).__name__}.build_unmigrated: return the store under test")

    async def make_newer(self, tmp_path: Path, version: int) -> None:
        """Write this version into the database, as a later headrace would have done."""
        raise NotImplementedError(f"{type(self).__name__}.make_newer: write the version")

    async def test_tells_what_each_step_does_and_changes_nothing(self, tmp_path: Path) -> None:
        for _ in range(2):
            status = await self.build(tmp_path).schema()
            assert status.found == 0
            assert status.known == len(status.steps) >= 1
            assert all(step.strip() and "\n" not in step for step in status.steps)

    async def test_brings_a_fresh_database_up_to_date_when_it_is_opened(self, tmp_path: Path) -> None:
        async with self.build(tmp_path) as store:
            await store.write([inference(1)])
        status = await self.build(tmp_path).schema()
        assert status.found == status.known

    async def test_goes_forward_step_by_step(self, tmp_path: Path) -> None:
        known = (await self.build(tmp_path).schema()).known
        for version in range(1, known + 1):
            assert (await self.build(tmp_path).migrate(version)).found == version
            assert (await self.build(tmp_path).schema()).found == version
        assert (await self.build(tmp_path).migrate()).found == known
        await self._keeps_everything(tmp_path)

    async def test_goes_back_to_each_version_and_forward_again_and_keeps_what_fits(self, tmp_path: Path) -> None:
        async with self.build(tmp_path) as store:
            await store.write(self.lasting)
        known = (await self.build(tmp_path).schema()).known
        for version in range(known - 1, 0, -1):
            assert (await self.build(tmp_path).migrate(version)).found == version
            assert (await self.build(tmp_path).migrate()).found == known
            async with self.build(tmp_path) as store:
                for record in self.lasting:
                    assert await store.scan(type(record)) == [record]
                assert ids_of(await store.inferences(InferenceQuery(tags={"a": "1"}))) == [uid(201)]
        await self._keeps_everything(tmp_path)

    async def test_goes_all_the_way_back_and_forward_again(self, tmp_path: Path) -> None:
        async with self.build(tmp_path) as store:
            await store.write(self.lasting)
        known = (await self.build(tmp_path).schema()).known
        for version in (*range(known - 1, 0, -1), *range(2, known + 1)):
            assert (await self.build(tmp_path).migrate(version)).found == version
        async with self.build(tmp_path) as store:
            assert await store.scan(InferenceRecord) == list(self.lasting[:1])
        await self._keeps_everything(tmp_path)

    async def test_refuses_versions_that_it_does_not_know(self, tmp_path: Path) -> None:
        known = (await self.build(tmp_path).migrate()).known
        for version in (-1, known + 1, 10_000):
            with pytest.raises(StoreError, match=str(version)):
                await self.build(tmp_path).migrate(version)
        assert (await self.build(tmp_path).schema()).found == known

    async def test_refuses_a_database_from_the_future(self, tmp_path: Path) -> None:
        known = (await self.build(tmp_path).migrate()).known
        await self.make_newer(tmp_path, known + 1)
        assert (await self.build(tmp_path).schema()).found == known + 1
        with pytest.raises(StoreError, match=str(known + 1)):
            await self.build(tmp_path).migrate()
        with pytest.raises(StoreError, match=str(known + 1)):
            async with self.build(tmp_path):
                raise AssertionError("it opened")
        assert (await self.build(tmp_path).schema()).found == known + 1

    async def test_leaves_an_old_schema_alone_where_it_is_told_to(self, tmp_path: Path) -> None:
        known = (await self.build(tmp_path).schema()).known
        for version in range(known):
            if version:
                await self.build(tmp_path).migrate(version)
            with pytest.raises(StoreError, match="headrace store migrate"):
                async with self.build_unmigrated(tmp_path):
                    raise AssertionError("it opened")
            assert (await self.build(tmp_path).schema()).found == version
        await self.build_unmigrated(tmp_path).migrate()
        async with self.build_unmigrated(tmp_path) as store:
            await store.write([inference(1)])

    @needs("migration lock")
    async def test_migrates_once_where_several_do_it_at_once(self, tmp_path: Path) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(self.build(tmp_path).migrate)
        status = await self.build(tmp_path).schema()
        assert status.found == status.known
        await self._keeps_everything(tmp_path)

    async def _keeps_everything(self, tmp_path: Path) -> None:
        """A schema that has come up step by step holds what a fresh one holds."""
        written = {type(record): record for record in EVERY.values()}
        async with self.build(tmp_path) as store:
            await store.write(list(written.values()))
            for kind, record in written.items():
                assert record in await store.scan(kind)


class BackupConformance(Suite):
    """Subclass it with ``build``."""

    def build(self, tmp_path: Path) -> CopiedStore:
        """A store that is not open, the same one for the same folder; there is nothing yet where it will be."""
        raise NotImplementedError(f"{type(self).__name__}.build: return the store under test")

    async def test_has_what_it_had_when_it_was_copied(self, tmp_path: Path) -> None:
        first = list({type(record): record for record in EVERY.values()}.values())
        async with self.build(tmp_path) as store:
            await store.write(first)
            await self.build(tmp_path).backup(tmp_path / "copy")
            await store.write([inference(100)])
        await self.build(tmp_path).restore(tmp_path / "copy")
        async with self.build(tmp_path) as store:
            for record in first:
                assert await store.scan(type(record)) == [record]

    async def test_restores_where_nothing_is(self, tmp_path: Path) -> None:
        (one := tmp_path / "one").mkdir()
        (other := tmp_path / "other").mkdir()
        async with self.build(one) as store:
            await store.write([inference(1)])
        await self.build(one).backup(tmp_path / "copy")
        await self.build(other).restore(tmp_path / "copy")
        async with self.build(other) as store:
            assert await store.inferences(InferenceQuery()) == [inference(1)]

    async def test_copies_whole_writes_while_others_write(self, tmp_path: Path) -> None:
        async def keep_writing(store: Store) -> None:
            for n in range(0, 500, 10):
                await store.write([inference(each) for each in range(n, n + 10)])

        async with self.build(tmp_path) as store:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(keep_writing, store)
                await self.build(tmp_path).backup(tmp_path / "copy")
        await self.build(tmp_path).restore(tmp_path / "copy")
        async with self.build(tmp_path) as store:
            assert await store.count_inferences(InferenceQuery()) % 10 == 0

    async def test_does_not_overwrite_a_file(self, tmp_path: Path) -> None:
        async with self.build(tmp_path) as store:
            await store.write([inference(1)])
        there = anyio.Path(tmp_path / "there")
        await there.write_bytes(b"mine")
        with pytest.raises(StoreError, match="there"):
            await self.build(tmp_path).backup(tmp_path / "there")
        assert await there.read_bytes() == b"mine"

    @pytest.mark.parametrize("content", [None, b"", b"no copy, by any means" * 1000], ids=["missing", "empty", "text"])
    async def test_keeps_what_is_there_where_a_copy_is_none(self, tmp_path: Path, content: Any) -> None:
        async with self.build(tmp_path) as store:
            await store.write([inference(1)])
        copy = anyio.Path(tmp_path / "copy")
        if content is not None:
            await copy.write_bytes(content)
        with pytest.raises(StoreError, match="copy"):
            await self.build(tmp_path).restore(tmp_path / "copy")
        async with self.build(tmp_path) as store:
            assert await store.inferences(InferenceQuery()) == [inference(1)]
