"""What survives a process, and what several of them do to one file."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
from headrace.conformance.rows import uid


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "headrace.db"


def child(what: str, path: Path, first: int, batches: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name("child.py")), what, str(path), str(first), str(batches)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def whole_batches(path: Path) -> set[UUID]:
    """The ids in the file, each of which must have the other record of its batch."""
    with closing(sqlite3.connect(path)) as connection:
        inferences = {UUID(bytes=id_) for (id_,) in connection.execute("SELECT id FROM inference")}
        attempts = {UUID(bytes=id_) for (id_,) in connection.execute("SELECT inference_id FROM model_inference")}
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert inferences == attempts
    return inferences


def test_keeps_what_write_returned_for_when_the_process_is_killed(path: Path) -> None:
    said: set[UUID] = set()
    for round_ in range(3):
        with child("write", path, round_ * 100_000, 100_000) as writer:
            assert writer.stdout is not None
            said.add(uid(int(writer.stdout.readline())))
            time.sleep(random.uniform(0, 0.2))
            writer.kill()
            said |= {uid(int(line)) for line in writer.stdout}
        found = whole_batches(path)
        assert said <= found
        # Of each process, at most the batch that it was about to report.
        assert len(found - said) <= round_ + 1


def test_lets_two_processes_create_and_write_one_file_at_once(path: Path) -> None:
    with child("write", path, 0, 200) as one, child("write", path, 1000, 200) as other:
        for writer in (one, other):
            _, errors = writer.communicate(timeout=30)
            assert (writer.returncode, errors) == (0, "")
    assert whole_batches(path) == {uid(n) for first in (0, 1000) for n in range(first, first + 200)}


def test_survives_a_full_disk(path: Path) -> None:
    with child("fill", path, 0, 1000) as writer:
        output, errors = writer.communicate(timeout=30)
    assert writer.returncode == 0
    assert errors.startswith(f"sqlite store {path}: cannot write: ")
    assert errors.count("\n") == 1
    said = {uid(int(line)) for line in output.splitlines()}
    assert whole_batches(path) == said
    assert uid(0) in said
    assert uid(999) not in said
    assert uid(1000) in said


def dies(what: str, path: Path, other: Path | int, step: int) -> bool:
    """Whether a process died before its ``step``-th step, as it was to; False if it had fewer of them."""
    command = [sys.executable, str(Path(__file__).with_name("dying.py")), what, str(path), str(other), str(step)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found: int = connection.execute("PRAGMA user_version").fetchone()[0]
        return found


def write_batches(path: Path, first: int, batches: int) -> None:
    with child("write", path, first, batches) as writer:
        _, errors = writer.communicate(timeout=30)
        assert (writer.returncode, errors) == (0, "")


def test_a_migration_that_is_killed_leaves_the_version_before(path: Path) -> None:
    write_batches(path, 0, 200)
    written = {uid(n) for n in range(200)}
    newest = version(path)
    for target in (newest - 1, newest):
        before = version(path)
        # At the first statement, somewhere in the middle, then on and on until it is through.
        for step in range(1, 200, 21):
            died = dies("migrate", path, target, step)
            assert version(path) == (before if died else target)
            assert whole_batches(path) == written
            if not died:
                break
        assert step > 21
        assert not died


def test_a_restore_that_is_killed_leaves_the_one_or_the_other(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    write_batches(copy, 1000, 3)
    step, died = 0, True
    while died:
        step += 1
        write_batches(path, 0, 2)
        with child("write", path, 2, 100_000) as writer:  # which leaves a log behind
            assert writer.stdout is not None
            writer.stdout.readline()
            writer.kill()
        before = whole_batches(path)
        died = dies("restore", path, copy, step)
        found = whole_batches(path)
        assert found == {uid(n) for n in range(1000, 1003)} or (died and before <= found)
        for each in tmp_path.glob("headrace.db*"):
            each.unlink()
    assert step > 4


def test_a_backup_that_is_killed_leaves_a_whole_copy_or_none(path: Path, tmp_path: Path) -> None:
    write_batches(path, 0, 20)
    copy = tmp_path / "copy.db"
    step, died = 0, True
    while died:
        step += 1
        died = dies("backup", path, copy, step)
        assert copy.exists() or died
        if copy.exists():
            assert whole_batches(copy) == {uid(n) for n in range(20)}
            copy.unlink()
    assert step > 3
