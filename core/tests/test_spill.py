"""The spill: what it took is on the disk, whole and in order; what it did not take leaves no trace."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from headrace.conformance import rows
from headrace.records import Record
from headrace.spill import REFUSED, Spill

SAMPLES: list[Record] = [
    rows.inference(1),
    rows.model_inference(2, rows.uid(1)),
    rows.boolean(3, rows.uid(1)),
    rows.number(4, rows.uid(1), 0.1),
    rows.comment(5, rows.uid(1), rows.TEXT),
    rows.demonstration(6, rows.uid(1), rows.TEXT),
    rows.datapoint(7),
    rows.example(8, (0.1, -1.0)),
    rows.snapshot(),
    rows.evaluation_run(9),
]


def comments(count: int, start: int = 0) -> list[Record]:
    return [rows.comment(n, rows.uid(1), f"comment {n}") for n in range(start, start + count)]


def drained(spill: Spill, count: int, at_once: int = 3) -> list[Record]:
    """The next ``count`` records, which leave."""
    read: list[Record] = []
    while len(read) < count:
        head = spill.head(min(at_once, count - len(read)))
        assert not isinstance(head, bytes)
        read += head
        spill.advance(len(head))
    return read


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))


def abandoned(folder: Path, records: Sequence[Record]) -> None:
    """What a process leaves that ends without a word."""
    spill = Spill(folder)
    assert spill.append(records) == len(records)
    spill.close()


def test_every_kind_comes_back_as_it_was(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "a" / "b")
    assert spill.append(SAMPLES) == len(SAMPLES)
    assert drained(spill, len(SAMPLES)) == SAMPLES


def test_nothing_is_made_before_the_first_record_and_no_file_stays_after_the_last(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "spill")
    assert spill.adopt() == 0
    assert not spill.folder.exists()
    spill.append(comments(2))
    assert len(files(spill.folder)) == 1
    drained(spill, 2)
    assert files(spill.folder) == []
    spill.append(comments(1))
    assert drained(spill, 1) == comments(1)


def test_others_cannot_read_it(tmp_path: Path) -> None:
    abandoned(tmp_path / "spill", comments(1))
    (file,) = files(tmp_path / "spill")
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_files_leave_one_by_one_while_others_are_filled(tmp_path: Path) -> None:
    spill = Spill(tmp_path, segment_bytes=1)
    for n in range(4):
        spill.append(comments(2, 2 * n))
    assert len(files(tmp_path)) == 4
    assert drained(spill, 3) == comments(3)
    assert len(files(tmp_path)) == 3
    spill.append(comments(2, 8))
    assert drained(spill, 7) == comments(7, 3)
    assert files(tmp_path) == []


def test_lines_longer_than_a_block_and_more_lines_than_fit_into_one(tmp_path: Path) -> None:
    long = [rows.comment(n, rows.uid(1), str(n) * 3_000_000) for n in (1, 2, 3)]
    very = [rows.comment(4, rows.uid(1), "4" * 10_000_000)]
    spill, left = Spill(tmp_path), [*long, *very, *comments(3)]
    while left:
        left = left[spill.append(left) :]
    assert drained(spill, 7) == [*long, *very, *comments(3)]


def test_leaving_needs_no_look_before(tmp_path: Path) -> None:
    spill = Spill(tmp_path, segment_bytes=1)
    spill.append(comments(2))
    spill.append(comments(2, 2))
    spill.advance(3)
    assert drained(spill, 1) == comments(1, 3)


def test_there_is_a_limit(tmp_path: Path) -> None:
    (record,) = comments(1)
    spill = Spill(tmp_path, max_bytes=3 * len(msgspec.json.encode(record)) + 3)
    assert spill.append(comments(5)) == 3
    assert spill.append(comments(1, 3)) == 0
    assert drained(spill, 3) == comments(3)
    assert spill.append(comments(2, 3)) == 2


# -- adopted --------------------------------------------------------------------------------------------------


def test_what_a_dead_process_left_is_adopted_oldest_first(tmp_path: Path) -> None:
    for n in range(3):
        abandoned(tmp_path, comments(2, 2 * n))
    (tmp_path / "notes.jsonl").write_text("not ours\n")
    spill = Spill(tmp_path)
    assert spill.adopt() == 6
    spill.append(comments(1, 6))
    assert drained(spill, 7) == comments(7)
    assert [file.name for file in files(tmp_path)] == ["notes.jsonl"]


def test_what_a_living_process_writes_is_not_adopted(tmp_path: Path) -> None:
    one, other = Spill(tmp_path), Spill(tmp_path)
    one.append(comments(2))
    assert other.adopt() == 0
    code = f"from pathlib import Path; from headrace.spill import Spill; print(Spill(Path({str(tmp_path)!r})).adopt())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "0\n"
    one.close()
    assert other.adopt() == 2


@pytest.mark.parametrize("cut", [1, 30])
def test_a_last_line_that_a_crash_cut_is_left_out_and_told(
    cut: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    abandoned(tmp_path, comments(3))
    (file,) = files(tmp_path)
    os.truncate(file, file.stat().st_size - cut)
    spill = Spill(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert spill.adopt() == 2
    assert "ends in the middle of a line" in caplog.text
    assert drained(spill, 2) == comments(2)


@pytest.mark.parametrize("text", [b"", b"torn"])
def test_a_file_without_a_record_is_deleted(text: bytes, tmp_path: Path) -> None:
    abandoned(tmp_path, comments(1))
    files(tmp_path)[0].write_bytes(text)
    assert Spill(tmp_path).adopt() == 0
    assert files(tmp_path) == []


def test_a_link_that_somebody_put_there_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "theirs").write_text("torn")
    (tmp_path / f"{1:020d}-1.jsonl").symlink_to(tmp_path / "theirs")
    with caplog.at_level(logging.ERROR):
        assert Spill(tmp_path).adopt() == 0
    assert "cannot adopt" in caplog.text
    assert (tmp_path / "theirs").read_text() == "torn"


# -- what is not a record -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[" * 5000, b'{"type":"comment"}', b"\xff", b'{"type":"comment","id":"1"}', b'{"type":"unheard-of"}'],
    ids=["empty", "no-tag", "deep", "nothing-in-it", "not-text", "bad-id", "unheard-of"],
)
def test_a_line_that_is_no_record_comes_alone(line: bytes, tmp_path: Path) -> None:
    abandoned(tmp_path, comments(2))
    (file,) = files(tmp_path)
    first, second = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([first, line, second, b""]))
    spill = Spill(tmp_path)
    assert spill.adopt() == 3
    assert spill.head(10) == comments(1)
    spill.advance(1)
    assert spill.head(10) == line
    spill.refuse(line)
    spill.advance(1)
    assert drained(spill, 1) == comments(1, 1)
    assert (tmp_path / REFUSED).read_bytes() == line + b"\n"


def test_a_record_that_no_json_can_say_keeps_its_place(tmp_path: Path) -> None:
    bad = rows.comment(5, rows.uid(1), "half a pair: \ud800")
    spill = Spill(tmp_path)
    assert spill.append([*comments(1), bad, *comments(1, 1)]) == 3
    assert drained(spill, 1) == comments(1)
    line = spill.head(10)
    assert isinstance(line, bytes) and str(rows.uid(5)).encode() in line
    spill.advance(1)
    assert drained(spill, 1) == comments(1, 1)


def test_refused_records_are_kept_up_to_the_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spill = Spill(tmp_path / "spill", max_bytes=500)
    for record in comments(10):
        spill.refuse(record)
    kept = (spill.folder / REFUSED).read_bytes().splitlines()
    assert [msgspec.json.decode(line)["value"] for line in kept] == ["comment 0", "comment 1", "comment 2"][: len(kept)]
    assert 1 <= len(kept) <= 3
    assert "could not keep a refused record" in caplog.text


# -- a disk in trouble ----------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_is_left_to_the_next_start(tmp_path: Path) -> None:
    abandoned(tmp_path, comments(3))
    abandoned(tmp_path, comments(1, 3))
    spill = Spill(tmp_path)
    assert spill.adopt() == 4
    broken = files(tmp_path)[0]
    os.truncate(broken, 0)
    with pytest.raises(OSError, match="cut short"):
        spill.head(10)
    assert spill.abandon() == 3
    assert drained(spill, 1) == comments(1, 3)
    assert files(tmp_path) == [broken]


def test_a_folder_that_cannot_be_made_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    spill = Spill(tmp_path / "file" / "spill")
    assert spill.adopt() == 0
    with pytest.raises(OSError):
        spill.append(comments(1))
    assert spill.size == 0
