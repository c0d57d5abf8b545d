"""The file itself: from one version of its schema to another, copies of it, and copies put in its place."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from headrace.conformance.rows import SNAPSHOT, START, datapoint, inference, snapshot, uid
from headrace.contracts import DatapointQuery, InferenceQuery
from headrace.errors import StoreError
from headrace.filters import Tagged
from headrace.storage import BackedUp, Migratable, SchemaStatus
from headrace.types import Input, JsonOutput
from headrace_sqlite import Settings, Sqlite
from headrace_sqlite.steps import STEPS

pytestmark = pytest.mark.anyio

NEWEST = len(STEPS)


def rows(path: Path, sql: str) -> list[Any]:
    """What a query finds."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def make(path: Path, version: int, inferences: int = 1) -> None:
    """A file of a version, with a snapshot, a datapoint and some inferences (whose ids are those of ``uid``)."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN")
        for statement in (each for step in STEPS[:version] for each in step.forward):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute(
            """INSERT INTO config_snapshot (hash, config, extra_templates, headrace_version, created_at)
                VALUES (?, 'old', '{}', '0.1.0', '2026-01-02T03:04:05.678901+00:00')""",
            [SNAPSHOT],
        )
        connection.execute(
            """INSERT INTO datapoint (id, dataset_name, function_name, function_type, input, split, "group",
                content_key, updated_at, snapshot_hash, tags, is_custom) VALUES
                (?, 'd', 'f', 'chat', '{}', 'train', 'g', 'k', '2026-01-02T03:04:05.678901+00:00', ?, ?, 0)""",
            [uid(1).bytes, SNAPSHOT, '{"a":"1","b":"2"}'],
        )
        if version >= 4:  # since then who writes a datapoint writes its tags beside it
            connection.execute(
                """INSERT INTO datapoint_tag (datapoint_id, key, value)
                    SELECT datapoint.id, tag.key, tag.value FROM datapoint, json_each(datapoint.tags) AS tag"""
            )
        connection.executemany(
            """INSERT INTO inference (id, function_name, variant_name, function_type, episode_id, input, output,
                variant_probability, snapshot_hash, auxiliary_content, inference_params, tags)
                VALUES (?, 'f', 'v', 'chat', ?, '{}', ?, 1.0, ?, '[]', '{}', '{}')""",
            [
                (uid(n).bytes, uid(n).bytes, '[{"type":"text","text":"' + "x" * 500 + '"}]', SNAPSHOT)
                for n in range(inferences)
            ],
        )
        connection.execute("COMMIT")


def layout(path: Path) -> list[Any]:
    """The tables with their columns, and the indexes with theirs: all that a version is."""
    columns = "SELECT s.name, c.name FROM sqlite_schema s, pragma_table_info(s.name) c WHERE s.type = 'table'"
    indexes = "SELECT s.name, c.name FROM sqlite_schema s, pragma_index_info(s.name) c WHERE s.type = 'index'"
    triggers = "SELECT name, tbl_name FROM sqlite_schema WHERE type = 'trigger'"
    return [sorted(rows(path, sql), key=repr) for sql in (columns, indexes, triggers)]


# -- versions ---------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "headrace.db"


def sqlite(path: Path, *, disable_automatic_migrations: bool = False) -> Sqlite:
    return Sqlite(Settings(path=path, disable_automatic_migrations=disable_automatic_migrations))


async def test_can_be_migrated(path: Path) -> None:
    assert isinstance(sqlite(path), Migratable)


async def test_refuses_a_file_from_the_future(path: Path) -> None:
    async with sqlite(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    for attempt in (sqlite(path).__aenter__(), sqlite(path).migrate(), sqlite(path).migrate(1)):
        with pytest.raises(StoreError, match=rf"version 99 found.* up to {NEWEST}: upgrade headrace-sqlite"):
            await attempt
    assert (await sqlite(path).schema()).found == 99


async def test_brings_an_empty_file_up_to_date(path: Path) -> None:
    path.write_bytes(b"")  # noqa: ASYNC240 - it is empty
    async with sqlite(path) as store:
        await store.write([inference(1)])
    assert rows(path, "PRAGMA user_version") == [(NEWEST,)]


@pytest.mark.parametrize("version", range(1, NEWEST))
async def test_brings_a_file_of_any_version_up_to_date_and_keeps_its_records(path: Path, version: int) -> None:
    make(path, version)
    async with sqlite(path) as store:
        assert await store.config_snapshot(snapshot().hash) == snapshot(config="old", extra_templates={})
        assert [found.id for found in await store.inferences(InferenceQuery(function_name="f"))] == [uid(0)]
        tagged = DatapointQuery(filters=Tagged("b", "=", "2"))
        assert [point.tags for point in await store.datapoints(tagged)] == [{"a": "1", "b": "2"}]
        await store.cache("key", b"entry")
        await store.write([inference(1, tags={"a": "1"})])
        assert await store.cached("key") == b"entry"
    assert rows(path, "PRAGMA user_version") == [(NEWEST,)]


async def test_says_how_the_schema_stands_and_changes_nothing(path: Path) -> None:
    assert (await sqlite(path).schema()).found == 0
    assert not await anyio.Path(path).exists()
    make(path, 2)
    before = layout(path)
    assert await sqlite(path).schema() == SchemaStatus(
        found=2, known=NEWEST, steps=tuple(step.meaning for step in STEPS)
    )
    assert layout(path) == before


async def test_goes_step_by_step_to_the_newest_version_and_back(path: Path, tmp_path: Path) -> None:
    layouts = []
    for version in range(NEWEST + 1):
        assert (await sqlite(path).migrate(version)).found == version
        layouts.append(layout(path))
    assert layouts[0] == [[], [], []]
    for version in reversed(range(NEWEST)):
        assert (await sqlite(path).migrate(version)).found == version
        assert [set(part) for part in layout(path)] == [set(part) for part in layouts[version]]
    assert (await sqlite(path).migrate()).found == NEWEST
    assert layout(path) == layouts[NEWEST]
    async with sqlite(tmp_path / "other.db"):
        assert layout(tmp_path / "other.db") == layouts[NEWEST]


async def test_goes_back_with_what_the_older_version_can_hold(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chat, json = inference(1), inference(2, function_type="json", output=JsonOutput("1", 1))
    async with sqlite(path) as store:
        await store.write([chat, json, inference(9), datapoint(3, near_keys=("k",), tags={"a": "1"}), snapshot()])
        assert await store.expire("data", START + timedelta(milliseconds=5)) == 2
        assert [found.input for found in await store.inferences(InferenceQuery())] == [Input(), None, None]
    with caplog.at_level(logging.WARNING):
        await sqlite(path).migrate(3)
    assert "from version 4 to 3; lost: API keys" in caplog.text
    assert rows(path, "SELECT input, output FROM inference ORDER BY id")[:2] == [
        ("{}", "[]"),
        ("{}", '{"raw":null,"parsed":null}'),
    ]
    async with sqlite(path) as store:
        assert [found.id for found in await store.inferences(InferenceQuery())] == [uid(9), uid(2), uid(1)]
        assert await store.datapoints(DatapointQuery(filters=Tagged("a", "=", "1"))) == [datapoint(3, tags={"a": "1"})]
        assert await store.config_snapshot(snapshot().hash) == snapshot()


@pytest.mark.parametrize("version", [-1, NEWEST + 1])
async def test_refuses_a_version_that_there_is_not(path: Path, version: int) -> None:
    with pytest.raises(StoreError, match=f"no schema version {version}: .* 0 to {NEWEST}"):
        await sqlite(path).migrate(version)


async def test_leaves_a_file_as_it_was_when_it_cannot_bring_it_up_to_date(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE datapoint (mine TEXT)")
    with pytest.raises(StoreError, match="datapoint already exists"):
        await sqlite(path).__aenter__()
    assert rows(path, "SELECT name FROM sqlite_schema") == [("datapoint",)]


async def test_leaves_migrations_to_the_command_if_told_so(path: Path) -> None:
    make(path, 3)
    before = layout(path)
    with pytest.raises(StoreError, match=f"version 3 found, version {NEWEST} needed: run `headrace store migrate`"):
        await sqlite(path, disable_automatic_migrations=True).__aenter__()
    assert layout(path) == before
    await sqlite(path, disable_automatic_migrations=True).migrate()
    async with sqlite(path, disable_automatic_migrations=True) as store:
        assert len(await store.inferences(InferenceQuery())) == 1


async def test_creates_no_file_if_migrations_are_left_to_the_command(path: Path) -> None:
    with pytest.raises(StoreError, match="version 0 found"):
        await sqlite(path, disable_automatic_migrations=True).__aenter__()
    assert not await anyio.Path(path).exists()


# -- copies -----------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy.db"


def files(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


async def ids(path: Path) -> list[object]:
    async with sqlite(path) as store:
        return [found.id for found in await store.inferences(InferenceQuery(limit=None))]


def test_can_be_copied(path: Path) -> None:
    assert isinstance(sqlite(path), BackedUp)


async def test_copies_whole_batches_while_others_write(path: Path, tmp_path: Path) -> None:
    async def write(store: Sqlite) -> None:
        for n in range(0, 2000, 20):
            await store.write([inference(each) for each in range(n, n + 20)])

    async with sqlite(path) as store, anyio.create_task_group() as tasks:
        await store.write([inference(5000)])
        tasks.start_soon(write, store)
        for n in range(5):
            await store.backup(tmp_path / f"{n}.db")
    for n in range(5):
        assert rows(tmp_path / f"{n}.db", "PRAGMA integrity_check") == [("ok",)]
        found = await ids(tmp_path / f"{n}.db")
        assert len(found) % 20 == 1
        assert found[0] == uid(5000)


async def test_puts_a_copy_back(path: Path, copy: Path, tmp_path: Path) -> None:
    async with sqlite(path) as store:
        await store.write([inference(1)])
        await store.backup(copy)
        await store.write([inference(2)])
    await sqlite(path).restore(copy)
    assert files(tmp_path) == {"headrace.db", "copy.db"}
    assert await ids(path) == [uid(1)]
    assert await ids(copy) == [uid(1)]


async def test_puts_a_copy_where_nothing_was(path: Path, copy: Path) -> None:
    async with sqlite(copy) as store:
        await store.write([inference(1)])
    await sqlite(path).restore(copy)
    assert await ids(path) == [uid(1)]


async def test_brings_a_copy_of_an_older_version_up_to_date(path: Path, copy: Path) -> None:
    make(copy, 2)
    await sqlite(path).restore(copy)
    assert await ids(path) == [uid(0)]


async def test_never_writes_over_a_file(path: Path, copy: Path) -> None:
    copy.write_bytes(b"mine")  # noqa: ASYNC240 - four bytes
    async with sqlite(path) as store:
        with pytest.raises(StoreError, match="there is a file already"):
            await store.backup(copy)
    assert copy.read_bytes() == b"mine"  # noqa: ASYNC240 - four bytes


async def test_has_nothing_to_copy_where_there_is_no_file(path: Path, copy: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no such file"):
        await sqlite(path).backup(copy)
    with pytest.raises(StoreError, match="there is no such file"):
        await sqlite(path).restore(copy)
    assert files(tmp_path) == set()


async def test_names_a_folder_that_is_missing(path: Path, tmp_path: Path) -> None:
    make(path, 3)
    with pytest.raises(StoreError, match=r"no folder .*/gone"):
        await sqlite(path).backup(tmp_path / "gone" / "copy.db")


def damage(copy: Path) -> None:
    content = bytearray(copy.read_bytes())
    content[8192:40960] = b"\xff" * (40960 - 8192)
    copy.write_bytes(content)


def cut(copy: Path) -> None:
    copy.write_bytes(copy.read_bytes()[: copy.stat().st_size // 2])


def scribble(copy: Path) -> None:
    copy.write_bytes(b"no database at all" * 1000)


def empty(copy: Path) -> None:
    copy.write_bytes(b"")


def from_the_future(copy: Path) -> None:
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA user_version = 99")


def of_another_program(copy: Path) -> None:
    copy.unlink()
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("CREATE TABLE mine (a)")
        connection.execute("PRAGMA user_version = 1")


@pytest.mark.parametrize(
    "spoil", [damage, cut, scribble, empty, from_the_future, of_another_program], ids=lambda spoil: spoil.__name__
)
async def test_puts_nothing_back_that_is_not_whole(path: Path, copy: Path, tmp_path: Path, spoil: object) -> None:
    async with sqlite(path) as store:
        await store.write([inference(1)])
    make(copy, 3, inferences=500)
    assert callable(spoil)
    spoil(copy)
    with pytest.raises(StoreError, match=f"cannot restore {copy}: "):
        await sqlite(path).restore(copy)
    assert {name for name in files(tmp_path) if not name.startswith("copy.db")} == {"headrace.db"}
    assert await ids(path) == [uid(1)]


async def test_puts_nothing_in_the_place_of_a_file_that_is_open(path: Path, copy: Path) -> None:
    make(copy, 3)
    async with sqlite(path) as store:
        await store.write([inference(1)])
        with pytest.raises(StoreError, match="it is open; close it first"):
            await store.restore(copy)
        with pytest.raises(StoreError, match="somebody has the file open: stop every gateway"):
            await Sqlite(Settings(path=path, busy_timeout_ms=50)).restore(copy)
        await store.write([inference(2)])
    assert await ids(path) == [uid(2), uid(1)]


async def test_does_not_put_a_file_in_its_own_place(path: Path) -> None:
    make(path, 3)
    with pytest.raises(StoreError, match="own file"):
        await sqlite(path).restore(path)
    assert await ids(path) == [uid(0)]


async def test_keeps_a_damaged_file_aside(path: Path, copy: Path, tmp_path: Path) -> None:
    make(path, 3, inferences=500)
    scribble(path)
    content = path.read_bytes()  # noqa: ASYNC240 - small
    make(copy, 3)
    await sqlite(path).restore(copy)
    assert await ids(path) == [uid(0)]
    assert (tmp_path / "headrace.db.damaged").read_bytes() == content


async def test_leaves_no_log_that_would_spoil_the_copy(path: Path, copy: Path, tmp_path: Path) -> None:
    # A log without its file: somebody removed only the file.
    async with sqlite(path) as store:
        await store.write([inference(1)])
        log = path.with_name("headrace.db-wal").read_bytes()
    path.unlink()  # noqa: ASYNC240 - small
    path.with_name("headrace.db-wal").write_bytes(log)
    make(copy, 3)
    await sqlite(path).restore(copy)
    assert await ids(path) == [uid(0)]
    assert (tmp_path / "headrace.db.damaged-wal").read_bytes() == log
