"""What survives a process, and what several of them do to one file."""

from __future__ import annotations

import random
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
