"""The recorder: in batches and in order, patient with a store that is away, and it loses only what is refused."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio
import pytest
from anyio.lowlevel import checkpoint
from fussy import Fussy, comments, running
from headrace.errors import RecordRefused, StoreError
from headrace.pacing import Pace
from headrace.records import Record

pytestmark = pytest.mark.anyio

AWAY = StoreError("no connection")


async def test_put_returns_before_the_store_does() -> None:
    store = Fussy()
    store.opened = anyio.Event()
    async with running(store) as recorder:
        await recorder.put(comments("a"))
        assert store.batches == []
        store.opened.set()
        await recorder.flush()
        assert store.batches == [["a"]]


async def test_what_gathers_while_the_store_is_busy_leaves_in_batches_and_in_order() -> None:
    store = Fussy()
    store.opened = anyio.Event()
    async with running(store, max_rows=3) as recorder:
        await recorder.put(comments("a"))
        await anyio.wait_all_tasks_blocked()
        for values in ("bc", "d", "efgh"):
            await recorder.put(comments(values))
        store.opened.set()
        await recorder.flush()
    assert store.batches == [["a"], ["b", "c", "d"], ["e", "f", "g"], ["h"]]


@pytest.mark.parametrize("idle", [False, True], ids=["at-once", "after-a-while"])
async def test_an_interval_lets_a_batch_gather(idle: bool) -> None:
    store = Fussy()
    async with running(store, pace=Pace(0.2)) as recorder:
        if idle:
            await anyio.wait_all_tasks_blocked()
        for value in "abc":
            await recorder.put(comments(value))
            await anyio.wait_all_tasks_blocked()
        await recorder.flush()
        assert store.batches == [["a", "b", "c"]]


async def test_a_full_batch_does_not_wait_for_the_interval() -> None:
    store = Fussy()
    with anyio.fail_after(5):
        async with running(store, pace=Pace(60), max_rows=2) as recorder:
            await recorder.put(comments("a"))
            await anyio.wait_all_tasks_blocked()
            assert store.batches == []
            await recorder.put(comments("bc"))
            await anyio.wait_all_tasks_blocked()
            assert store.batches == [["a", "b"]]
    assert store.comments == list("abc")


async def test_a_full_queue_makes_put_wait() -> None:
    store = Fussy()
    store.opened = anyio.Event()
    async with running(store, capacity=2, max_rows=2) as recorder:
        await recorder.put(comments("a"))
        await anyio.wait_all_tasks_blocked()  # `a` is on its way, the queue is empty
        await recorder.put(comments("bcd"))  # records of one request stay together
        with anyio.move_on_after(0.02) as scope:
            await recorder.put(comments("e"))
        assert scope.cancelled_caught
        store.opened.set()
        await recorder.put(comments("f"))
    assert store.comments == list("abcdf")


async def test_flush_waits_for_what_was_put_before_only() -> None:
    store = Fussy()
    async with running(store, max_rows=1) as recorder:
        await recorder.flush()
        await recorder.put(comments("a"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recorder.flush)
            await checkpoint()
            store.opened = anyio.Event()
            await recorder.put(comments("b"))
            await anyio.wait_all_tasks_blocked()
            assert store.comments in (["a"], [])
            store.opened.set()
    assert store.comments == ["a", "b"]


async def test_stop_writes_the_rest() -> None:
    store = Fussy()
    async with running(store, max_rows=2, pace=Pace(0.01)) as recorder:
        await recorder.put(comments("abc"))
    assert store.comments == list("abc")


async def test_a_cancelled_host_still_writes_the_rest() -> None:
    store = Fussy()
    with anyio.CancelScope() as scope:
        async with running(store, max_rows=1) as recorder:
            await recorder.put(comments("abc"))
            scope.cancel()
            await checkpoint()
    assert store.comments == list("abc")


async def test_starting_and_stopping_is_all_right_without_records() -> None:
    store = Fussy()
    async with running(store):
        pass
    assert store.tries == 0


# -- a store that is away ---------------------------------------------------------------------------------


async def test_a_store_that_is_away_is_asked_again_and_nothing_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    store, dropped = Fussy(AWAY), list[int]()
    with caplog.at_level(logging.WARNING):
        async with running(store, max_rows=2, on_drop=dropped.append) as recorder:
            await recorder.put(comments("abc"))
            await recorder.flush()
    assert store.comments == list("abc")
    assert (store.tries, dropped) == (3, [])
    assert "could not write 2 records (no connection); next try in 0.1 s" in caplog.text


async def test_the_pauses_grow(caplog: pytest.LogCaptureFixture) -> None:
    store = Fussy(AWAY, AWAY)
    with caplog.at_level(logging.WARNING):
        async with running(store) as recorder:
            await recorder.put(comments("a"))
            await recorder.flush()
    assert [record.getMessage().rpartition(" in ")[2] for record in caplog.records] == ["0.1 s", "0.5 s"]


async def test_a_batch_that_does_not_get_through_leaves_in_pieces_and_in_order() -> None:
    class Narrow(Fussy):
        """Lets two records through at once, or the connection breaks."""

        async def write(self, records: Sequence[Record]) -> None:
            if len(records) > 2:
                raise AWAY
            await super().write(records)

    store = Narrow()
    async with running(store) as recorder:
        await recorder.put(comments("abcdefgh"))
        with anyio.fail_after(10):
            await recorder.flush()
    assert store.comments == list("abcdefgh")


async def test_a_store_that_stays_away_is_given_up_at_the_end_and_told(caplog: pytest.LogCaptureFixture) -> None:
    store, dropped = Fussy(*[AWAY] * 100), list[int]()
    with caplog.at_level(logging.ERROR), anyio.fail_after(5):
        async with running(store, max_rows=2, stop_within_s=0.05, on_drop=dropped.append) as recorder:
            await recorder.put(comments("abc"))
    assert (store.comments, dropped) == ([], [3])
    assert "3 records are lost: the store did not take them within 0.05 s" in caplog.text


async def test_who_waits_for_room_or_comes_after_the_end_does_not_hang(caplog: pytest.LogCaptureFixture) -> None:
    store, dropped = Fussy(), list[int]()
    store.opened = anyio.Event()
    with caplog.at_level(logging.ERROR), anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            async with running(store, capacity=1, stop_within_s=0.05, on_drop=dropped.append) as recorder:
                await recorder.put(comments("a"))
                await anyio.wait_all_tasks_blocked()
                await recorder.put(comments("b"))
                tasks.start_soon(recorder.put, comments("cd"))
                await anyio.wait_all_tasks_blocked()
        await recorder.put(comments("e"))
        await recorder.flush()
    assert sorted(dropped) == [1, 4]  # at the end those who wait for room need none
    assert "1 records are lost: they came after the end" in caplog.text


# -- a record that is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RecordRefused, KeyError], ids=["refused", "bug"])
@pytest.mark.parametrize("refused", ["a", "d", "h", "cf", "abcdefgh"])
@pytest.mark.parametrize("wait", [False, True], ids=["queued", "waited-for"])
async def test_only_the_record_that_is_refused_is_lost(
    error: type[Exception], refused: str, wait: bool, caplog: pytest.LogCaptureFixture
) -> None:
    store, dropped = Fussy(refuses=refused, error=error), list[int]()
    with caplog.at_level(logging.ERROR):
        async with running(store, wait=wait, on_drop=dropped.append) as recorder:
            await recorder.put(comments("abcdefgh"))
            await recorder.put(comments("ij"))
            await recorder.flush()
    assert store.comments == [value for value in "abcdefghij" if value not in refused]
    assert dropped == [1] * len(refused)
    assert caplog.text.count("the store refused a record: CommentFeedback") == len(refused)


# -- waited for -------------------------------------------------------------------------------------------


async def test_waiting_means_durable_when_put_returns() -> None:
    store = Fussy()
    async with running(store, wait=True) as recorder:
        await recorder.put(comments("ab"))
        assert store.batches == [["a", "b"]]
        await recorder.put(comments("c"))
        assert store.batches == [["a", "b"], ["c"]]


async def test_a_store_that_is_away_is_not_the_callers_fault(caplog: pytest.LogCaptureFixture) -> None:
    store = Fussy(AWAY)
    with caplog.at_level(logging.WARNING):
        async with running(store, wait=True) as recorder:
            await recorder.put(comments("a"))
            assert store.comments == []
            await recorder.flush()
            assert store.comments == ["a"]
    assert "could not write 1 records at once (no connection); queued" in caplog.text


async def test_later_records_do_not_overtake_those_that_are_queued() -> None:
    store = Fussy(AWAY, AWAY)
    async with running(store, wait=True) as recorder:
        await recorder.put(comments("a"))
        await recorder.put(comments("b"))
        await recorder.flush()
        assert store.comments == ["a", "b"]
        await recorder.put(comments("c"))
        assert store.comments == ["a", "b", "c"]
