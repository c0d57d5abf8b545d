"""The recorder with a spill: what the store does not take is on the disk, in order, and leaves it once."""

from __future__ import annotations

import os
import random
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint
from fussy import Fussy, comments, running
from headrace.errors import StoreError
from headrace.recorder import Recorder
from headrace.records import CommentFeedback
from headrace.spill import REFUSED, Spill

pytestmark = pytest.mark.anyio

AWAY = StoreError("no connection")
SEEDS = 5  # 200 have been run


def spilled(folder: Path) -> list[str]:
    """The comments that the next start will find."""
    spill = Spill(folder)
    count = spill.adopt()
    head = spill.head(count) if count else []
    assert isinstance(head, list)
    spill.close()
    return [record.value for record in head if isinstance(record, CommentFeedback)]


def files(folder: Path) -> list[Path]:
    return list(folder.glob("*.jsonl"))


async def until(recorder: Recorder, spilled_total: int) -> None:
    """Return when so many records have gone to the disk."""
    with anyio.fail_after(5):
        while recorder.spilled_total < spilled_total:
            await checkpoint()


async def test_records_go_to_the_disk_while_the_store_is_away_and_come_back_in_order(tmp_path: Path) -> None:
    store = Fussy(AWAY, AWAY)  # for 0.6 s
    async with running(store, max_rows=2, spill=Spill(tmp_path), spill_after_s=0.05) as recorder:
        await recorder.put(comments("abc"))
        assert recorder.is_well
        await until(recorder, 3)
        assert (recorder.is_well, recorder.waiting) == (False, 3)
        await recorder.put(comments("de"))
        await recorder.flush()
        assert (recorder.is_well, recorder.waiting) == (True, 0)
        await recorder.put(comments("f"))
    assert store.comments == list("abcdef")
    assert spilled(tmp_path) == []


async def test_a_store_that_hangs_is_away_and_what_it_took_after_all_is_not_lost_or_doubled(tmp_path: Path) -> None:
    store = Fussy()
    store.opened = anyio.Event()
    async with running(store, max_rows=2, spill=Spill(tmp_path), spill_after_s=0.05) as recorder:
        await recorder.put(comments("abcde"))
        await until(recorder, 5)
        store.opened.set()
        await recorder.put(comments("f"))
        await recorder.flush()
    assert store.comments == list("abcdef")


@pytest.mark.trio_cases(0)
async def test_a_full_queue_goes_to_the_disk_at_once_while_the_store_is_away(tmp_path: Path) -> None:
    store = Fussy(*[AWAY] * 3)
    async with running(store, capacity=2, max_rows=1, spill=Spill(tmp_path)) as recorder:
        with anyio.fail_after(1):
            for value in "abcdef":
                await recorder.put(comments(value))
                await anyio.wait_all_tasks_blocked()
        assert recorder.spilled_total > 0
        await recorder.flush()
    assert store.comments == list("abcdef")


async def test_waiting_means_durable_with_a_store_that_is_away_too(tmp_path: Path) -> None:
    store = Fussy(*[AWAY] * 100)
    with anyio.fail_after(5):
        async with running(store, wait=True, spill=Spill(tmp_path), spill_after_s=0.05) as recorder:
            await recorder.put(comments("ab"))
            assert recorder.spilled_total == 2
            async with anyio.create_task_group() as tasks:
                for value in "cde":
                    tasks.start_soon(recorder.put, comments(value))
            assert recorder.spilled_total == 5
    assert store.comments == []
    assert sorted(spilled(tmp_path)) == list("abcde")


async def test_the_next_recorder_writes_what_the_last_one_could_not_before_its_own(tmp_path: Path) -> None:
    away, store, dropped = Fussy(*[AWAY] * 100), Fussy(), list[int]()
    with anyio.fail_after(5):
        async with running(away, spill=Spill(tmp_path), on_drop=dropped.append) as recorder:
            await recorder.put(comments("abc"))
    assert spilled(tmp_path) == list("abc")
    async with running(store, wait=True, max_rows=2, spill=Spill(tmp_path), on_drop=dropped.append) as recorder:
        assert (recorder.is_well, recorder.waiting) == (False, 3)
        await recorder.put(comments("d"))
        await recorder.flush()
        assert recorder.is_well
    assert (store.comments, dropped) == (list("abcd"), [])


async def test_a_record_refused_at_its_return_is_kept_beside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    away, store, dropped = Fussy(*[AWAY] * 100), Fussy(refuses="bd"), list[int]()
    async with running(away, spill=Spill(tmp_path)) as recorder:
        await recorder.put(comments("abcde"))
    async with running(store, spill=Spill(tmp_path), on_drop=dropped.append) as recorder:
        await recorder.flush()
    assert (store.comments, dropped) == (list("ace"), [1, 1])
    assert [line.count("comment") for line in (tmp_path / REFUSED).read_text().splitlines()] == [1, 1]
    assert caplog.text.count("the store refused a record: CommentFeedback") == 2


async def test_a_line_that_is_not_a_record_does_not_hold_up_the_others(tmp_path: Path) -> None:
    (tmp_path / f"{1:020d}-1.jsonl").write_text("{}\n")
    store, dropped = Fussy(), list[int]()
    async with running(store, spill=Spill(tmp_path), on_drop=dropped.append) as recorder:
        await recorder.put(comments("a"))
        await recorder.flush()
    assert (store.comments, dropped) == (["a"], [1])


async def test_a_file_that_cannot_be_read_is_told_of_and_does_not_hold_up_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, dropped = Fussy(AWAY, AWAY), list[int]()
    options = {"max_rows": 2, "spill": Spill(tmp_path, segment_bytes=1), "spill_after_s": 0.05}
    async with running(store, on_drop=dropped.append, **options) as recorder:
        await recorder.put(comments("abc"))
        await until(recorder, 3)
        for file in files(tmp_path):
            os.truncate(file, 0)
        await recorder.put(comments("d"))
        await recorder.flush()
        assert (recorder.waiting, recorder.is_well) == (0, True)
    assert "d" in store.comments
    assert sum(dropped) + len(set(store.comments)) >= 4
    assert "cannot be read" in caplog.text


async def test_a_spill_that_is_full_makes_requests_wait(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Fussy(*[AWAY] * 2)
    options = {"capacity": 2, "max_rows": 1, "spill": Spill(tmp_path, max_bytes=500), "spill_after_s": 0.01}
    with anyio.fail_after(10):
        async with running(store, **options) as recorder:
            for value in "abcdefgh":
                await recorder.put(comments(value))
            assert 0 < recorder.spilled_total < 8
    assert store.comments == list("abcdefgh")
    assert "takes no more records (it has reached its limit)" in caplog.text


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_happens_every_record_arrives_and_in_order(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    taken, put, bad, told = list[str](), 0, 0, list[int]()
    for _ in range(3):  # processes, one after another, at a store in all kinds of trouble
        outcomes = [AWAY for _ in range(chance.choice([0, 1, 2, 50]))]
        store = Fussy(*outcomes, refuses="x")
        options = {
            "capacity": chance.choice([1, 3, 100]),
            "max_rows": chance.choice([1, 2, 100]),
            "wait": chance.random() < 0.5,
            "spill": Spill(tmp_path, segment_bytes=chance.choice([1, 1000])),
            "spill_after_s": chance.choice([0.01, 0.1]),
            "stop_within_s": 0.3,
            "on_drop": told.append,
        }
        async with running(store, **options) as recorder:
            for _ in range(chance.randint(5, 25)):
                values = [chr(0x4E00 + put + n) for n in range(chance.randint(1, 4))]
                put += len(values)
                spoilt = "x" * (chance.random() < 0.1)
                bad += len(spoilt)
                await recorder.put(comments("".join(values) + spoilt))
                if chance.random() < 0.1:
                    store.opened = anyio.Event()
                if chance.random() < 0.3:
                    store.opened.set()
                if chance.random() < 0.5:
                    await anyio.sleep(chance.choice([0, 0.001, 0.02]))
            store.opened.set()
        taken += store.stored
    last = Fussy(refuses="x")
    async with running(last, spill=Spill(tmp_path), on_drop=told.append) as recorder:
        await recorder.flush()
    taken += last.stored
    assert list(dict.fromkeys(taken)) == [chr(0x4E00 + n) for n in range(put)]
    assert sum(told) >= bad  # one may be told of again, where the store was away in the middle of a request's


# -- or is dropped ----------------------------------------------------------------------------------------


async def test_when_full_it_drops_if_that_is_wanted_and_tells(caplog: pytest.LogCaptureFixture) -> None:
    store, dropped = Fussy(), list[int]()
    store.opened = anyio.Event()
    async with running(store, capacity=2, max_rows=2, when_full="drop", on_drop=dropped.append) as recorder:
        await recorder.put(comments("ab"))
        await anyio.wait_all_tasks_blocked()
        for values in ("c", "d", "ef", "g"):
            await recorder.put(comments(values))
        assert (recorder.is_well, dropped) == (False, [2, 1])
        store.opened.set()
        await recorder.flush()
        assert recorder.is_well
    assert store.comments == list("abcd")
    assert "3 records were dropped while the queue was full" in caplog.text


async def test_it_drops_nothing_that_the_disk_takes(tmp_path: Path) -> None:
    store, dropped = Fussy(), list[int]()
    store.opened = anyio.Event()
    options = {"capacity": 1, "max_rows": 1, "when_full": "drop", "spill": Spill(tmp_path)}
    async with running(store, on_drop=dropped.append, **options) as recorder:
        with anyio.fail_after(5):
            for value in "abcdef":
                await recorder.put(comments(value))
        store.opened.set()
    assert (store.comments, dropped) == (list("abcdef"), [])
