"""While the store is away, and the gateway killed as well: what was acknowledged is stored, and stored once."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

CONFIG = """
[gateway.observability]
backend = "sqlite"
async_writes = {async_writes}

[sqlite]
path = "{database}"
busy_timeout_ms = 50

[headrace.records]
spill_path = "{spill}"
spill_after_s = 0.2

[models.echo]
routing = ["echo"]
providers.echo = {{ type = "echo" }}
"""


def toml(*, database: Path, spill: Path, waits: bool = True) -> str:
    return CONFIG.format(database=database, spill=spill, async_writes=str(not waits).lower())


def ask(url: str, words: int = 1) -> UUID:
    """One inference; its id, once it is answered."""
    message = {"role": "user", "content": "hello " * words}
    body = json.dumps({"model_name": "echo", "input": {"messages": [message]}}).encode()
    request = urllib.request.Request(f"{url}/inference", body, method="POST")
    with urllib.request.urlopen(request, timeout=60) as reply:
        return UUID(json.load(reply)["inference_id"])


def health(url: str) -> dict[str, str]:
    """What ``GET /health`` says, whatever its status."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=30) as reply:
            said: dict[str, str] = json.load(reply)
    except urllib.error.HTTPError as error:
        said = json.load(error)
    return said


def metric(url: str, name: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as reply:
        lines = reply.read().decode().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def eventually(condition: Callable[[], bool], within_s: float = 30) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def grows(answered: list[UUID], by: int) -> bool:
    """Whether there are so many more before long."""
    goal = len(answered) + by
    return eventually(lambda: len(answered) >= goal)


def stored(database: Path) -> list[UUID]:
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        return [UUID(bytes=row[0]) for row in connection.execute("SELECT id FROM inference ORDER BY id")]


def calls(database: Path) -> list[UUID]:
    """The inferences that the stored calls of providers belong to."""
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        return [UUID(bytes=row[0]) for row in connection.execute("SELECT inference_id FROM model_inference")]


def spilled(folder: Path) -> list[Path]:
    """Files that hold records."""
    return list(folder.rglob("*.jsonl"))


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Nobody else can write into this database."""
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def asked(url: str, *, threads: int = 4, words: int = 1) -> Iterator[list[UUID]]:
    """Requests from several threads, one after another each, as long as they are answered; the ids that were."""
    answered: list[UUID] = []
    stopping = threading.Event()

    def keep_asking() -> None:
        try:
            while not stopping.is_set():
                answered.append(ask(url, words))
        except (OSError, ValueError):  # the gateway is gone
            return

    workers = [threading.Thread(target=keep_asking) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield answered
    finally:
        stopping.set()
        for worker in workers:
            worker.join(60)
            assert not worker.is_alive()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """``small_disk("1m")``: a folder that has no more room; called again, it has that much."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted: list[str] = []

    def sized(size: str) -> Path:
        options = f"remount,size={size}" if mounted else f"size={size}"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount a small disk: {done.stderr.strip() or 'needs root'}")
        mounted.append(size)
        return folder

    try:
        yield sized
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


# -- a locked database ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("asks", [1, 4])
def test_kill_9_while_the_store_is_away(serve: Any, tmp_path: Path, asks: int) -> None:
    database, spill = tmp_path / "records.db", tmp_path / "spill"
    config = toml(database=database, spill=spill)
    with serve(config) as served, asked(served.url, threads=asks) as answered:
        assert eventually(lambda: len(answered) >= 20)
        with locked(database):
            assert eventually(lambda: health(served.url)["records"] == "error")
            assert grows(answered, 50)
            served.stop(signal.SIGKILL)
    assert not set(answered) <= set(stored(database))
    assert spilled(spill)
    with serve(config) as served:
        assert eventually(lambda: health(served.url)["records"] == "ok")
        assert eventually(lambda: not metric(served.url, "headrace_records_waiting"))
    ids = stored(database)
    assert set(answered) <= set(ids)
    assert len(ids) == len(set(ids)) == len(calls(database)) == len(set(calls(database)))
    assert not spilled(spill)


def test_kill_9_while_what_was_spilled_is_on_its_way_back(serve: Any, tmp_path: Path) -> None:
    database, spill = tmp_path / "records.db", tmp_path / "spill"
    config = toml(database=database, spill=spill)
    total: list[UUID] = []
    for _ in range(2):
        with serve(config) as served, asked(served.url) as answered:
            with locked(database):
                assert grows(answered, 50)
            assert eventually(lambda: metric(served.url, "headrace_records_spilled_total") > 0)
            served.stop(signal.SIGKILL)
        total += answered
    with serve(config) as served:
        assert eventually(lambda: health(served.url)["records"] == "ok")
    assert set(total) <= set(stored(database))
    assert sorted(calls(database)) == stored(database)


def test_an_outage_passes_and_nobody_notices(serve: Any, tmp_path: Path) -> None:
    database, spill = tmp_path / "records.db", tmp_path / "spill"
    with serve(toml(database=database, spill=spill)) as served:
        with asked(served.url) as answered:
            for _ in range(2):
                with locked(database):
                    assert grows(answered, 20)
                assert eventually(lambda: health(served.url)["records"] == "ok")
        assert metric(served.url, "headrace_records_spilled_total") > 0
        assert metric(served.url, "headrace_records_dropped_total") == 0
        assert served.stop() == 0
    assert sorted(answered) == stored(database) == sorted(calls(database))
    assert not spilled(spill)


@pytest.mark.parametrize("waits", [False, True], ids=["behind", "waited-for"])
def test_a_stop_while_the_store_is_away_leaves_all_to_the_next_start(serve: Any, tmp_path: Path, waits: bool) -> None:
    database, spill = tmp_path / "records.db", tmp_path / "spill"
    config = toml(database=database, spill=spill, waits=waits)
    with serve(config) as served:
        assert eventually(lambda: health(served.url)["records"] == "ok")
        with locked(database):
            ids = [ask(served.url) for _ in range(20)]
            began = time.monotonic()
            assert served.stop() == 0
            assert time.monotonic() - began < 15
    with serve(config) as served:
        assert eventually(lambda: not metric(served.url, "headrace_records_waiting"))
    assert stored(database) == sorted(ids)


# -- a full disk ----------------------------------------------------------------------------------------------


def test_a_full_disk_below_the_database(serve: Any, tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    database, spill = small_disk("2m") / "records.db", tmp_path / "spill"
    with serve(toml(database=database, spill=spill)) as served:
        with asked(served.url, words=1000) as answered:
            assert eventually(lambda: health(served.url)["records"] == "error", 60)
            assert grows(answered, 20)
        small_disk("64m")
        assert eventually(lambda: health(served.url)["records"] == "ok")
        assert metric(served.url, "headrace_records_dropped_total") == 0
        assert served.stop() == 0
    assert sorted(answered) == stored(database) == sorted(calls(database))


def test_a_full_disk_below_the_spill_makes_requests_wait(
    serve: Any, tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    database, spill = tmp_path / "records.db", small_disk("256k")
    with serve(toml(database=database, spill=spill)) as served:
        with asked(served.url, words=1000) as answered:
            assert eventually(lambda: len(answered) >= 5)
            with locked(database):
                assert eventually(lambda: "takes no more records (" in served.log.read_text())
                at_full = len(answered)
                assert metric(served.url, "headrace_records_waiting") > 0
            assert eventually(lambda: len(answered) >= at_full + 20)
        assert eventually(lambda: health(served.url)["records"] == "ok")
        assert metric(served.url, "headrace_records_dropped_total") == 0
        assert served.stop() == 0
    assert sorted(answered) == stored(database) == sorted(calls(database))


def test_kill_9_while_both_disks_are_full(serve: Any, small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("2m")
    config = toml(database=disk / "records.db", spill=disk / "spill")
    with serve(config) as served, asked(served.url, words=1000) as answered:
        assert eventually(lambda: "takes no more records (" in served.log.read_text(), 60)
        served.stop(signal.SIGKILL)
    small_disk("64m")
    with serve(config) as served:
        assert eventually(lambda: health(served.url)["records"] == "ok")
        assert eventually(lambda: not metric(served.url, "headrace_records_waiting"))
    ids = stored(disk / "records.db")
    assert set(answered) <= set(ids)
    assert sorted(calls(disk / "records.db")) == ids
