"""What every store promises of datapoints and datasets."""
# ruff: noqa: D102 - the name of a test says what it promises

from __future__ import annotations

from datetime import datetime

from msgspec import structs

from ..filters import ByTime, Tagged
from ..queries import DatapointQuery
from ..storage import Store
from . import rows
from .rows import at, datapoint, uid
from .store_promises import StorePromises, answers, numbers_of, shuffled

DATAPOINTS = (
    datapoint(1, updated_at=at(9), episode_id=uid(50), near_keys=("n1", "n2")),
    datapoint(2, split="validation", content_key="same", near_keys=("n2", "n3")),
    datapoint(3, split="test", content_key="same", near_keys=("N1",)),
    datapoint(4, dataset_name="e", function_name="g", updated_at=at(3)),
    datapoint(5, staled_at=at(6), near_keys=("n1", "n4")),
)
DATAPOINT_QUERIES = {
    "last updated first, then greatest id": (DatapointQuery(), [1, 4, 3, 2]),
    "limit": (DatapointQuery(limit=1), [1]),
    "limit of none": (DatapointQuery(limit=0), []),
    "offset": (DatapointQuery(limit=2, offset=1), [4, 3]),
    "offset without limit": (DatapointQuery(limit=None, offset=3), [2]),
    "ids": (DatapointQuery(ids=(uid(2), uid(4), uid(99))), [4, 2]),
    "retired ones by id": (DatapointQuery(ids=(uid(5),)), [5]),
    "no ids": (DatapointQuery(ids=()), []),
    "dataset": (DatapointQuery(dataset_name="d"), [1, 3, 2]),
    "function": (DatapointQuery(function_name="g"), [4]),
    "split": (DatapointQuery(splits=("train",)), [1, 4]),
    "splits": (DatapointQuery(splits=("validation", "test")), [3, 2]),
    "no splits": (DatapointQuery(splits=()), []),
    "content keys": (DatapointQuery(content_keys=("same", "key 1")), [1, 3, 2]),
    "no content keys": (DatapointQuery(content_keys=()), []),
    "episodes": (DatapointQuery(episode_ids=(uid(50),)), [1]),
    "no episodes": (DatapointQuery(episode_ids=()), []),
    "near keys": (DatapointQuery(near_keys=("n1", "n3")), [1, 2]),
    "one near key": (DatapointQuery(near_keys=("n2",)), [1, 2]),
    "near keys of a retired one": (DatapointQuery(near_keys=("n4", "%")), []),
    "near keys of a dataset": (DatapointQuery(dataset_name="e", near_keys=("n1", "n2", "n3")), []),
    "no near keys": (DatapointQuery(near_keys=()), []),
    "last updated last": (DatapointQuery(order_by=(ByTime("ascending"),)), [2, 3, 4, 1]),
    "last updated first, said": (DatapointQuery(order_by=(ByTime(),), limit=2), [1, 4]),
    "a page of it": (DatapointQuery(order_by=(ByTime("ascending"),), limit=2, offset=1), [3, 4]),
    "a name that is a statement": (DatapointQuery(dataset_name="d' OR '1'='1"), []),
    "everything at once": (
        DatapointQuery(dataset_name="d", function_name="f", splits=("test",), content_keys=("same",), limit=None),
        [3],
    ),
}


class DatapointPromises(StorePromises):
    """Datapoints are selected, replaced and summed up; who read the test split is known."""

    async def test_selects_datapoints(self, store: Store) -> None:
        async def selected(case: tuple[DatapointQuery, list[int]]) -> list[int]:
            return numbers_of(await store.datapoints(case[0]))

        async def counted(case: tuple[DatapointQuery, list[int]]) -> bool:
            everything = structs.replace(case[0], limit=None, offset=0, order_by=())
            return await store.count_datapoints(case[0]) == len(await store.datapoints(everything))

        await store.write(shuffled(DATAPOINTS))
        expected = {name: numbers for name, (_, numbers) in DATAPOINT_QUERIES.items()}
        assert await answers(DATAPOINT_QUERIES, selected) == expected
        assert await answers(DATAPOINT_QUERIES, counted) == dict.fromkeys(expected, True)

    async def test_replaces_a_datapoint_by_its_id(self, store: Store) -> None:
        before = datapoint(1, name="before", tags={"a": "1"})
        after = structs.replace(before, name=None, updated_at=at(100), dataset_name="e")
        await store.write([before, datapoint(2)])
        await store.write([after])
        assert await store.datapoints(DatapointQuery()) == [after, datapoint(2)]
        await store.write([structs.replace(after, staled_at=at(101))])
        assert await store.datapoints(DatapointQuery()) == [datapoint(2)]

    async def test_forgets_the_keys_and_tags_of_what_was_replaced(self, store: Store) -> None:
        before = datapoint(1, tags={"a": "1"}, near_keys=("n1", "n2"), content_key="before")
        await store.write([before])
        await store.write([structs.replace(before, tags={"b": "1"}, near_keys=("n2", "n3"), content_key="after")])
        assert await store.count_datapoints(DatapointQuery(near_keys=("n1",))) == 0
        assert await store.count_datapoints(DatapointQuery(near_keys=("n3", "n2"))) == 1
        assert await store.count_datapoints(DatapointQuery(content_keys=("before",))) == 0
        assert await store.count_datapoints(DatapointQuery(filters=Tagged("a", "=", "1"))) == 0
        assert await store.count_datapoints(DatapointQuery(filters=Tagged("b", "=", "1"))) == 1

    async def test_sums_datasets_up(self, store: Store) -> None:
        await store.write([*DATAPOINTS, datapoint(6, dataset_name="gone", staled_at=at(6))])
        found = [(each.dataset_name, each.datapoint_count) for each in await store.datasets()]
        assert found == [("d", 3), ("e", 1)]
        assert [each.dataset_name for each in await store.datasets(function_name="g")] == ["e"]
        assert await store.datasets(function_name="unknown") == []

    async def test_says_when_a_dataset_was_last_updated(self, store: Store) -> None:
        await store.write(DATAPOINTS)
        found = [datetime.fromisoformat(each.last_updated) for each in await store.datasets()]
        assert found == [at(9), at(3)]

    async def test_orders_datasets_by_name_where_they_were_updated_at_once(self, store: Store) -> None:
        await store.write([datapoint(n, dataset_name=name, updated_at=at(1)) for n, name in enumerate("b\u00e4Ba")])
        assert [each.dataset_name for each in await store.datasets()] == ["B", "a", "b", "\u00e4"]

    async def test_knows_who_has_read_the_test_split(self, store: Store) -> None:
        accesses = [rows.holdout_access(n, reader=str(n)) for n in range(110)]
        await store.write([*shuffled(accesses), rows.holdout_access(200, dataset_name="D")])
        assert await store.holdout_accesses("d") == accesses[:9:-1]
        assert await store.holdout_accesses("d", limit=2) == accesses[:107:-1]
        assert await store.holdout_accesses("d", limit=None) == accesses[::-1]
        assert await store.holdout_accesses("d", limit=0) == await store.holdout_accesses("e") == []
        assert [await store.count_holdout_accesses(name) for name in ("d", "D", "e")] == [110, 1, 0]
