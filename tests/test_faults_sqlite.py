"""While a file is locked, its disk full, or a process killed: what was acknowledged is stored, and stored once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest
from faults import Disk, Drill, ended, kill_both, kill_the_gateway, metric, migrate, pass_an_outage, smoke
from headrace_sqlite import Settings, Sqlite

# Holds the lock of writers until somebody ends it, with a transaction that is half done.
_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM inference")
connection.execute("PRAGMA cache_spill = 1")
print("locked", flush=True)
sys.stdin.read()
"""
_CHILD = Path(__file__).parent.parent / "plugins" / "stores" / "sqlite" / "tests" / "child.py"


class File:
    """One file, asked by SQLite itself."""

    backend = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path

    def settings(self) -> str:
        return f'path = "{self.path}"\nbusy_timeout_ms = 50'

    def ids(self, table: str, column: str) -> list[UUID]:
        with closing(sqlite3.connect(self.path, timeout=30)) as connection:
            return [UUID(bytes=row[0]) for row in connection.execute(f"SELECT {column} FROM {table}")]


class Locker:
    """Another process that writes; it is killed in the end, in the middle of its transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process: subprocess.Popen[str] | None = None

    def lock(self) -> None:
        command = [sys.executable, "-c", _HOLD, str(self._path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "locked\n"

    def release(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=30)
            self._process = None


@pytest.fixture
def locker(tmp_path: Path) -> Iterator[Locker]:
    locker = Locker(tmp_path / "records.db")
    try:
        yield locker
    finally:
        locker.release()


@pytest.fixture
def new_drill(serve: Any, tmp_path: Path) -> Callable[..., Drill]:
    def new(folder: Path = tmp_path, *, is_async: bool = False) -> Drill:
        return Drill(File(folder / "records.db"), serve, tmp_path, is_async=is_async)

    return new


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Disk]]:
    (tmp_path / "small").mkdir()
    disks: list[Disk] = []

    def sized(size: str) -> Disk:
        try:
            disks.append(Disk(tmp_path / "small", size))
        except OSError as error:
            pytest.skip(str(error))
        return disks[-1]

    yield sized
    for disk in disks:
        disk.unmount()


def is_whole(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",))


# Asynchronously the same fault meets the same code with more at stake in memory: a variant for `scripts/faults`.
EACH_WAY = pytest.mark.parametrize(
    "is_async", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["sync", "async"]
)


# -- somebody is killed -----------------------------------------------------------------------------------------


@EACH_WAY
def test_kill_9_of_the_gateway(new_drill: Any, is_async: bool) -> None:
    kill_the_gateway(new_drill(is_async=is_async))


@EACH_WAY
def test_kill_9_of_another_process_that_holds_the_lock(new_drill: Any, locker: Locker, is_async: bool) -> None:
    drill = new_drill(is_async=is_async)
    what = "another process locks the file, and is killed in its transaction"
    pass_an_outage(drill, what, locker.lock, locker.release, store="ok")
    assert is_whole(drill.engine.path)


@EACH_WAY
def test_kill_9_of_the_gateway_while_the_file_is_locked(new_drill: Any, locker: Locker, is_async: bool) -> None:
    what = "the file is locked, and the gateway killed"
    kill_both(new_drill(is_async=is_async), what, locker.lock, locker.release, store="ok")


def test_kill_9_of_a_second_writer(new_drill: Any) -> None:
    """Its rows are whole, and those of the gateway."""
    drill = new_drill()
    with drill.gateway() as served, drill.load(served):
        for first in (0, 100_000):
            drill.grows(20)
            command = [sys.executable, str(_CHILD), "write", str(drill.engine.path), str(first), "100000"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
                assert writer.stdout is not None
                assert writer.stdout.readline()
                drill.grows(20)
                writer.kill()
        drill.grows(20)
        before = drill.found()
        drill.kill9(served)
    with drill.gateway() as served:
        drill.ends_well(served)
    drill.ends("`kill -9` of a second writer, twice, then of the gateway", before)
    assert is_whole(drill.engine.path)


def test_kill_9_while_what_was_spilled_is_on_its_way_back(new_drill: Any, locker: Locker) -> None:
    drill = new_drill(is_async=True)
    for _ in range(2):
        with drill.gateway() as served, drill.load(served):
            drill.grows(20)
            locker.lock()
            drill.troubled(served)
            drill.grows(50)
            drill.spills(served, 50)
            locker.release()
            drill.kill9(served)
    before = drill.found()
    with drill.gateway() as served:
        drill.ends_well(served)
    drill.ends("the gateway is killed during the replay, twice", before, may_lose=True)


def test_several_outages_one_after_the_other(new_drill: Any, locker: Locker) -> None:
    drill = new_drill(is_async=True)
    with drill.gateway() as served:
        with drill.load(served):
            for _ in range(3):
                locker.lock()
                drill.troubled(served)
                drill.grows(20)
                locker.release()
                drill.well(served)
        drill.ends_well(served)
    drill.ends("the file is locked three times", None)


@EACH_WAY
def test_a_stop_while_the_file_is_locked_leaves_all_to_the_next_start(
    new_drill: Any, locker: Locker, is_async: bool
) -> None:
    drill = new_drill(is_async=is_async)
    with drill.gateway() as served:
        with drill.load(served):
            drill.grows(20)
            locker.lock()
            drill.troubled(served)
            drill.grows(20)
            before = drill.found()
            began = time.monotonic()
            drill.stop(served)
            assert time.monotonic() - began < 15
    locker.release()
    with drill.gateway() as served:
        drill.ends_well(served)
    drill.ends("SIGTERM while the file is locked", before)


# -- a full disk ------------------------------------------------------------------------------------------------


@EACH_WAY
def test_a_full_disk_below_the_database(new_drill: Any, small_disk: Any, is_async: bool) -> None:
    disk = small_disk("64m")
    drill = new_drill(disk.folder, is_async=is_async)
    what = "the disk of the file is full, then has room again"
    pass_an_outage(drill, what, lambda: disk.leave(200_000), lambda: disk.resize("64m"), store="ok", words=1000)


@EACH_WAY
def test_a_full_disk_below_the_spill_makes_requests_wait(
    new_drill: Any, small_disk: Any, locker: Locker, is_async: bool
) -> None:
    disk = small_disk("256k")
    drill = new_drill(is_async=is_async)
    drill.spill = disk.folder
    with drill.gateway() as served:
        with drill.load(served, words=1000):
            drill.grows(5)
            locker.lock()
            drill.logged(served, "takes no more records (")
            before = drill.found()
            assert metric(served.url, "headrace_records_waiting") > 0
            locker.release()
            drill.grows(20)
        drill.ends_well(served)
    drill.ends("the file is locked, and the spill's disk full", before)


@EACH_WAY
def test_kill_9_while_both_disks_are_full(new_drill: Any, small_disk: Any, is_async: bool) -> None:
    disk = small_disk("64m")
    drill = new_drill(disk.folder, is_async=is_async)
    drill.spill = disk.folder / "spill"
    with drill.gateway() as served, drill.load(served, words=1000):
        drill.grows(20)
        disk.leave(600_000)
        drill.logged(served, "takes no more records (")
        before = drill.found()
        drill.kill9(served)
    disk.resize("64m")
    with drill.gateway() as served:
        drill.ends_well(served)
    # Asynchronously, an answer does not wait for a disk that is full.
    drill.ends("file and spill are on one full disk, and the gateway is killed", before, may_lose=is_async)
    assert is_whole(drill.engine.path)


# -- a migration ------------------------------------------------------------------------------------------------


def test_kill_9_of_a_migration(serve: Any, tmp_path: Path) -> None:
    """Before and while it writes; the plugin's own tests kill it before each statement."""
    points: dict[str, Callable[[Path, Path], bool]] = {
        "file": lambda path, log: path.exists(),
        "rows": lambda path, log: log.exists() and log.stat().st_size > 0,
    }
    killed = 0
    for name, is_there in points.items():
        path = tmp_path / f"{name}.db"
        drill = Drill(File(path), serve, tmp_path)
        with migrate(tmp_path, drill.toml()) as process:
            while process.poll() is None and not is_there(path, path.with_name(f"{path.name}-wal")):
                time.sleep(0.0002)
            process.kill()
            killed += ended(process)[0] != 0
        assert is_whole(path)
        anyio.run(smoke, Sqlite(Settings(path=path)))
    assert killed
    with migrate(tmp_path, drill.toml()) as process:
        code, said = ended(process)
    assert code == 0 and "the newest" in said, said
