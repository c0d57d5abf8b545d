"""What ends by age: what is configured, when it is older than that, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

import anyio
import pytest
from headrace.config import PostgresTable, RetentionTable, loads
from headrace.conformance.rows import boolean, inference, model_inference, uid
from headrace.errors import ConfigError, StoreError
from headrace.ids import unix_seconds
from headrace.queries import Expiring
from headrace.records import BooleanFeedback, InferenceRecord, ModelInferenceRecord
from headrace.retention import Retention
from headrace_memory import Memory, Settings

pytestmark = pytest.mark.anyio
DAY_MS = 86_400_000
BORN_S = unix_seconds(uid(0))


class Set:
    """A clock that somebody sets."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def time(self) -> float:
        return self.now_s

    def perf(self) -> float:
        return self.now_s


class Watched(Memory):
    """A memory store that says what ended, and fails at one kind; ``rounds`` is set once it was asked that often."""

    def __init__(self, *, fails: str = "", asked: int = 0) -> None:
        super().__init__(Settings())
        self.asked: list[tuple[str, datetime]] = []
        self.enough = anyio.Event()
        self._fails = fails
        self._goal = asked

    async def expire(self, what: Expiring, before: datetime) -> int:
        self.asked.append((what, before))
        if len(self.asked) == self._goal:
            self.enough.set()
        if what == self._fails:
            raise StoreError("away") if len(self.asked) == 1 else ZeroDivisionError("a bug")
        return await super().expire(what, before)


def at_day(days: float) -> Set:
    return Set(BORN_S + days * 86_400)


async def history() -> Watched:
    """An inference, its attempt and its feedback on each of ten days."""
    store = Watched()
    for day in range(10):
        n = day * DAY_MS
        await store.write([inference(n), model_inference(n, uid(n)), boolean(n, uid(n))])
    return store


async def test_rows_older_than_their_days_go_and_others_stay() -> None:
    store = await history()
    ended = await Retention(store, at_day(9), {"inferences": 3, "feedback": 5}).expire()
    assert {(each.what, each.rows) for each in ended} == {("inferences", 6), ("feedback", 4)}
    assert [row.id for row in await store.scan(InferenceRecord)] == [uid(day * DAY_MS) for day in range(6, 10)]
    assert len(await store.scan(BooleanFeedback)) == 6
    assert len(await store.scan(ModelInferenceRecord)) == 10


async def test_data_ends_while_rows_stay() -> None:
    store = await history()
    (ended,) = await Retention(store, at_day(9), {"data": 3}).expire()
    rows = await store.scan(InferenceRecord)
    assert [row.input is None for row in rows] == [True] * 6 + [False] * 4
    assert (ended.what, ended.before) == ("data", datetime.fromtimestamp(BORN_S + 6 * 86_400, UTC))


async def test_rows_go_before_data() -> None:
    store = Watched()
    await Retention(store, at_day(9), {"data": 1, "cache": 1, "inferences": 1}).expire()
    assert [what for what, _ in store.asked] == ["inferences", "cache", "data"]


@pytest.mark.parametrize("days", [10**6, 2**32 - 1, 10**12])
async def test_more_days_than_there_were_end_nothing(days: int) -> None:
    store = await history()
    (ended,) = await Retention(store, at_day(9), {"inferences": days}).expire()
    assert ended.rows == 0
    assert len(await store.scan(InferenceRecord)) == 10


async def test_a_round_is_done_at_once_and_then_every_interval() -> None:
    store = Watched(asked=3)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Retention(store, at_day(9), {"inferences": 1}, interval_s=0.001).run)
        with anyio.fail_after(10):
            await store.enough.wait()
        tasks.cancel_scope.cancel()
    assert {what for what, _ in store.asked} == {"inferences"}


async def test_the_first_round_does_not_wait_for_the_hour() -> None:
    store = Watched(asked=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Retention(store, at_day(9), {"inferences": 1}).run)
        with anyio.fail_after(10):
            await store.enough.wait()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert len(store.asked) == 1


async def test_trouble_is_logged_and_does_not_keep_the_rest_from_ending(caplog: pytest.LogCaptureFixture) -> None:
    store = Watched(fails="inferences", asked=4)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Retention(store, at_day(9), {"inferences": 1, "data": 1}, interval_s=0).run)
        with anyio.fail_after(10):
            await store.enough.wait()
        tasks.cancel_scope.cancel()
    assert [what for what, _ in store.asked[:4]] == ["inferences", "data"] * 2
    assert [record.levelno for record in caplog.records[:2]] == [logging.WARNING] * 2
    assert "could not end inferences that are past their days (away)" in caplog.text
    assert "(a bug)" in caplog.text


async def test_by_hand_trouble_is_raised() -> None:
    with pytest.raises(StoreError, match="away"):
        await Retention(Watched(fails="feedback"), at_day(9), {"feedback": 1}).expire()


async def test_without_days_there_is_nothing_to_run() -> None:
    store = Watched()
    await Retention(store, at_day(9), {}).run()
    assert (await Retention(store, at_day(9), {}).expire(), store.asked) == ([], [])


# -- configuration ----------------------------------------------------------------------------------------------


def days(text: str, *, is_postgres: bool = False) -> Mapping[Expiring, int]:
    tables = loads(text).tables
    return tables.headrace.retention.days(tables.postgres if is_postgres else None)


def test_nothing_ends_by_default() -> None:
    assert days("", is_postgres=True) == RetentionTable().days(PostgresTable()) == {}


def test_each_kind_has_days_of_its_own() -> None:
    names: tuple[Expiring, ...] = ("data", "inferences", "model_inferences", "feedback", "batches", "cache")
    text = "\n".join(f"{name}_days = {number}" for number, name in enumerate(names, start=1))
    assert days(f"[headrace.retention]\n{text}") == {name: number for number, name in enumerate(names, start=1)}


TENSORZERO = "[postgres]\ninference_metadata_retention_days = 90\ninference_retention_days = 30\n"


def test_tensorzeros_keys_mean_the_same_where_they_meant_it_there() -> None:
    rows = {"inferences": 90, "model_inferences": 90, "batches": 90}
    assert days(TENSORZERO, is_postgres=True) == {"data": 30, **rows}
    assert days(TENSORZERO) == {}, "of another store than Postgres they said nothing"


def test_own_keys_come_before_tensorzeros() -> None:
    own = "[headrace.retention]\ndata_days = 1\nbatches_days = 2\nfeedback_days = 3\n"
    assert days(TENSORZERO + own, is_postgres=True) == {
        "data": 1,
        "inferences": 90,
        "model_inferences": 90,
        "batches": 2,
        "feedback": 3,
    }


@pytest.mark.parametrize("value", ["0", "-1", "1.5", '"1"', "true"])
def test_days_are_whole_and_at_least_one(value: str) -> None:
    with pytest.raises(ConfigError, match=r"headrace\.retention\.data_days"):
        loads(f"[headrace.retention]\ndata_days = {value}\n")
