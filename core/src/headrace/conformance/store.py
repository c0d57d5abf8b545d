"""What every store promises: all or nothing, back as it went in, in the order and the selection asked for."""
# ruff: noqa: D102 - the name of a test says what it promises

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio.lowlevel
import msgspec
import pytest
from msgspec import structs

from ..contracts import DatapointQuery, InferenceQuery, Store
from ..errors import RecordRefused
from ..records import (
    BatchInference,
    BatchRequest,
    ConfigSnapshot,
    Datapoint,
    DemonstrationFeedback,
    EvaluationRun,
    Example,
    InferenceRecord,
    ModelInferenceRecord,
    Record,
)
from ..types import Text
from . import rows
from .batches import BatchPromises
from .rows import at, datapoint, example, inference, uid
from .suite import needs

BATCH = 25

INFERENCES = (
    inference(1, variant_name="v", tags={"a": "1", "b": "2"}),
    inference(2, variant_name="w", episode_id=uid(1), tags={"a": "1"}),
    inference(3, function_name="g", tags={"a": "2"}),
    inference(4, function_name="g", variant_name="w", episode_id=uid(3), function_type="json"),
    inference(5, episode_id=uid(3)),
)
INFERENCE_QUERIES = {
    "all": (InferenceQuery(), [5, 4, 3, 2, 1]),
    "limit": (InferenceQuery(limit=2), [5, 4]),
    "limit of none": (InferenceQuery(limit=0), []),
    "offset": (InferenceQuery(limit=2, offset=3), [2, 1]),
    "offset without limit": (InferenceQuery(limit=None, offset=4), [1]),
    "offset past the end": (InferenceQuery(offset=5), []),
    "cursor": (InferenceQuery(before=uid(3)), [2, 1]),
    "cursor and limit": (InferenceQuery(before=uid(3), limit=1), [2]),
    "cursor of nobody": (InferenceQuery(before=uid(99)), [5, 4, 3, 2, 1]),
    "ids": (InferenceQuery(ids=(uid(1), uid(4), uid(99), uid(1))), [4, 1]),
    "no ids": (InferenceQuery(ids=()), []),
    "function": (InferenceQuery(function_name="g"), [4, 3]),
    "variant": (InferenceQuery(variant_name="v"), [5, 3, 1]),
    "function and variant": (InferenceQuery(function_name="f", variant_name="v"), [5, 1]),
    "names are told apart by case": (InferenceQuery(function_name="F"), []),
    "names are not patterns": (InferenceQuery(function_name="%"), []),
    "episodes": (InferenceQuery(episode_ids=(uid(3), uid(1), uid(99))), [5, 4, 3, 2, 1]),
    "one episode": (InferenceQuery(episode_ids=(uid(3),)), [5, 4, 3]),
    "no episodes": (InferenceQuery(episode_ids=()), []),
    "tag": (InferenceQuery(tags={"a": "1"}), [2, 1]),
    "all of several tags": (InferenceQuery(tags={"a": "1", "b": "2"}), [1]),
    "tag that nobody has": (InferenceQuery(tags={"c": "1"}), []),
    "everything at once": (
        InferenceQuery(ids=(uid(1), uid(2)), function_name="f", tags={"a": "1"}, before=uid(2), limit=5),
        [1],
    ),
}

DATAPOINTS = (
    datapoint(1, updated_at=at(9), episode_id=uid(50)),
    datapoint(2, split="validation", content_key="same"),
    datapoint(3, split="test", content_key="same"),
    datapoint(4, dataset_name="e", function_name="g", updated_at=at(3)),
    datapoint(5, staled_at=at(6)),
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
    "everything at once": (
        DatapointQuery(dataset_name="d", function_name="f", splits=("test",), content_keys=("same",), limit=None),
        [3],
    ),
}

# One of each kind, none with the id of another.
KEPT = (
    "inference-full",
    "model-inference-full",
    "boolean",
    "float",
    "comment",
    "demonstration",
    "datapoint-full",
    "example",
    "snapshot",
)


class StoreConformance(BatchPromises):
    """Subclass it with ``build``. A store whose records end with it says ``lacks = {"persistence": why}``."""

    def build(self, tmp_path: Path) -> Store:
        """A store that is not yet open; built again with the same folder, it is the same store again."""
        raise NotImplementedError(f"{type(self).__name__}.build: return the store under test")

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        """A fresh store, open."""
        async with self.build(tmp_path) as store:
            yield store

    # -- writing ------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("record", rows.EVERY.values(), ids=rows.EVERY.keys())
    async def test_gives_every_record_back_as_it_was(self, store: Store, record: Record) -> None:
        await store.write([record])
        found = await _read(store, record)
        assert found == [record]
        # Equality alone would let 1 pass for 1.0 and True.
        assert msgspec.json.encode(found) == msgspec.json.encode([record])

    async def test_takes_a_snapshot_and_a_run_again_and_again(self, store: Store) -> None:
        await store.write([rows.snapshot(), rows.evaluation_run(1)])
        await store.write([rows.snapshot(config="another"), rows.snapshot(), rows.evaluation_run(1)])
        assert await store.config_snapshot(rows.SNAPSHOT) == rows.snapshot()

    async def test_finds_a_configuration_by_its_whole_hash_only(self, store: Store) -> None:
        one, other = rows.snapshot(), rows.snapshot(hash="7", config="other")
        await store.write([one, other])
        assert await store.config_snapshot(one.hash) == one
        assert await store.config_snapshot("7") == other
        for unknown in ("", "%", "07", one.hash[:-1], "x" * 100_000):
            assert await store.config_snapshot(unknown) is None

    async def test_writes_nothing_when_there_is_nothing(self, store: Store) -> None:
        await store.write([])
        assert await store.inferences(InferenceQuery()) == []

    async def test_keeps_the_first_of_two_records_with_one_id(self, store: Store) -> None:
        # A recorder whose write failed half way may send the same batch again.
        first: list[Record] = [inference(1, tags={"a": "1"}), rows.boolean(2, uid(1)), example(3, (1.0,))]
        await store.write(first)
        await store.write([*first, inference(1, tags={"a": "2"})])
        assert await store.inferences(InferenceQuery()) == first[:1]
        assert await store.inferences(InferenceQuery(tags={"a": "2"})) == []
        assert await store.feedback(uid(1)) == first[1:2]
        assert await store.count_examples("f", "v") == 1

    @pytest.mark.parametrize("bad", rows.UNWRITABLE.values(), ids=rows.UNWRITABLE.keys())
    async def test_writes_none_of_a_batch_of_which_one_cannot_be_written(self, store: Store, bad: Record) -> None:
        good: list[Record] = [inference(1), rows.boolean(3, uid(1)), datapoint(4), example(5, (1.0, 0.0))]
        with pytest.raises(RecordRefused):
            await store.write([*good, bad, inference(6)])
        assert await store.inferences(InferenceQuery()) == []
        assert await store.feedback(uid(1)) == []
        assert await store.datapoints(DatapointQuery()) == []
        assert await store.count_examples("f", "v") == 0
        await store.write(good)
        assert await store.inferences(InferenceQuery()) == good[:1]

    @pytest.mark.parametrize("text", rows.HOSTILE.values(), ids=rows.HOSTILE.keys())
    async def test_gives_hostile_text_back_or_refuses_it(self, store: Store, text: str) -> None:
        record = inference(1, function_name=text, output=(Text(text),), tags={text: text})
        point = datapoint(2, dataset_name=text, content_key=text, name=text)
        try:
            await store.write([record, point])
        except RecordRefused:
            assert await store.inferences(InferenceQuery()) == []
            assert await store.datapoints(DatapointQuery()) == []
            return
        assert await store.inferences(InferenceQuery(function_name=text, tags={text: text})) == [record]
        assert await store.datapoints(DatapointQuery(dataset_name=text, content_keys=(text,))) == [point]
        assert [summary.dataset_name for summary in await store.datasets()] == [text]
        await store.ping()

    async def test_writes_a_thousand_records_at_once(self, store: Store) -> None:
        written = [inference(n) for n in range(1000)]
        await store.write(written)
        assert await store.inferences(InferenceQuery(limit=None)) == written[::-1]
        assert await store.inferences(InferenceQuery(ids=tuple(map(uid, range(1000))), limit=None)) == written[::-1]

    async def test_shows_whole_batches_to_those_who_read_meanwhile(self, store: Store) -> None:
        async def keep_writing(writer: int) -> None:
            for first in range(writer * 1000, writer * 1000 + 4 * BATCH, BATCH):
                await store.write([inference(n, variant_name=str(writer)) for n in range(first, first + BATCH)])
                mine = await store.inferences(InferenceQuery(variant_name=str(writer), limit=1))
                assert mine[0].id == uid(first + BATCH - 1)

        async def keep_reading() -> None:
            seen = 0
            while seen < 4 * 4 * BATCH:
                found = await store.inferences(InferenceQuery(limit=None))
                assert len(found) % BATCH == 0
                assert len(found) >= seen
                seen = len(found)
                await anyio.lowlevel.checkpoint()

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for writer in range(4):
                    tasks.start_soon(keep_writing, writer)
                tasks.start_soon(keep_reading)
                tasks.start_soon(keep_reading)

    async def test_stays_whole_when_a_writer_is_cancelled(self, store: Store) -> None:
        for n in range(0, 10 * BATCH, BATCH):
            with anyio.move_on_after(n / 100_000):
                await store.write([inference(each) for each in range(n, n + BATCH)])
        await store.write([inference(10 * BATCH)])
        found = await store.inferences(InferenceQuery(limit=None))
        assert found[0].id == uid(10 * BATCH)
        assert len(found) % BATCH == 1

    # -- inferences ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize(("query", "expected"), INFERENCE_QUERIES.values(), ids=INFERENCE_QUERIES.keys())
    async def test_selects_inferences(self, store: Store, query: InferenceQuery, expected: list[int]) -> None:
        await store.write(_shuffled(INFERENCES))
        assert _ids(await store.inferences(query)) == [uid(n) for n in expected]

    async def test_pages_through_inferences_without_a_gap(self, store: Store) -> None:
        await store.write([inference(n) for n in range(10)])
        found: list[UUID] = []
        for _ in range(4):
            found += _ids(await store.inferences(InferenceQuery(limit=3, before=found[-1] if found else None)))
        assert found == [uid(n) for n in reversed(range(10))]

    async def test_lists_attempts_in_the_order_they_were_made(self, store: Store) -> None:
        attempts = [rows.model_inference(n, uid(1), error=None if n == 4 else "away") for n in range(2, 5)]
        await store.write([*_shuffled(attempts), rows.model_inference(9, uid(2))])
        assert await store.model_inferences(uid(1)) == attempts
        assert await store.model_inferences(uid(99)) == []

    # -- feedback -----------------------------------------------------------------------------------------

    async def test_lists_feedback_of_all_kinds_newest_first(self, store: Store) -> None:
        given: list[Record] = [
            rows.boolean(1, uid(50)),
            rows.demonstration(2, uid(50), "better"),
            rows.number(3, uid(50), 4.5),
            rows.comment(4, uid(50), "thanks"),
            rows.boolean(5, uid(50), value=False),
        ]
        await store.write([*_shuffled(given), rows.boolean(6, uid(51))])
        assert await store.feedback(uid(50)) == given[::-1]
        assert await store.feedback(uid(50), limit=2) == given[:2:-1]
        assert await store.feedback(uid(50), limit=None) == given[::-1]
        assert await store.feedback(uid(50), limit=0) == []
        assert await store.feedback(uid(99)) == []

    async def test_takes_the_latest_demonstration(self, store: Store) -> None:
        first, second, other = (
            rows.demonstration(1, uid(50), "first"),
            rows.demonstration(2, uid(50), "second"),
            rows.demonstration(3, uid(51), "other"),
        )
        await store.write([second, other, first])
        assert await store.demonstrations([uid(50), uid(51), uid(99)]) == {uid(50): second, uid(51): other}
        assert await store.demonstrations([]) == {}

    # -- datasets -----------------------------------------------------------------------------------------

    @pytest.mark.parametrize(("query", "expected"), DATAPOINT_QUERIES.values(), ids=DATAPOINT_QUERIES.keys())
    async def test_selects_datapoints(self, store: Store, query: DatapointQuery, expected: list[int]) -> None:
        await store.write(_shuffled(DATAPOINTS))
        assert _ids(await store.datapoints(query)) == [uid(n) for n in expected]

    async def test_replaces_a_datapoint_by_its_id(self, store: Store) -> None:
        before = datapoint(1, name="before", tags={"a": "1"})
        after = structs.replace(before, name=None, updated_at=at(100), dataset_name="e")
        await store.write([before, datapoint(2)])
        await store.write([after])
        assert await store.datapoints(DatapointQuery()) == [after, datapoint(2)]
        await store.write([structs.replace(after, staled_at=at(101))])
        assert await store.datapoints(DatapointQuery()) == [datapoint(2)]

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

    # -- examples -----------------------------------------------------------------------------------------

    async def test_finds_the_nearest_examples_by_cosine(self, store: Store) -> None:
        same, near, across, opposite = (
            example(1, (2.0, 0.0)),
            example(2, (1.0, 1.0)),
            example(3, (0.0, 5.0)),
            example(4, (-1.0, 0.0)),
        )
        await store.write([opposite, near, across, same])
        found = await store.examples("f", "v", (0.5, 0.0), 10)
        assert [each for each, _ in found] == [same, near, across, opposite]
        assert [distance for _, distance in found] == pytest.approx([0, 1 - 0.5**0.5, 1, 2], abs=1e-5)
        assert all(0 <= distance <= 2 for _, distance in found)
        assert await store.examples("f", "v", (0.5, 0.0), 2) == found[:2]
        assert await store.examples("f", "v", (0.5, 0.0), 0) == []

    async def test_puts_the_smaller_id_first_where_distances_are_equal(self, store: Store) -> None:
        written = [example(n, (0.1 * (n + 1), 0.7 * (n + 1))) for n in range(9)]
        await store.write(_shuffled(written))
        assert _ids(each for each, _ in await store.examples("f", "v", (1.0, 0.3), 5)) == _ids(written[:5])

    async def test_puts_a_vector_without_direction_at_distance_one(self, store: Store) -> None:
        await store.write([example(1, (0.0, 0.0)), example(2, (1.0, 0.0))])
        assert [distance for _, distance in await store.examples("f", "v", (1.0, 0.0), 2)] == [0, 1]
        assert [distance for _, distance in await store.examples("f", "v", (0.0, 0.0), 2)] == [1, 1]

    async def test_leaves_out_examples_of_another_dimension(self, store: Store) -> None:
        # The embedding model of a variant was changed; the old vectors say nothing about the new ones.
        await store.write([example(1, (1.0, 0.0)), example(2, (1.0, 0.0, 0.0))])
        assert _ids(each for each, _ in await store.examples("f", "v", (1.0, 0.0, 0.0), 5)) == [uid(2)]
        assert await store.count_examples("f", "v") == 2

    async def test_finds_examples_of_that_variant_only(self, store: Store) -> None:
        await store.write(
            [example(1, (1.0,)), example(2, (1.0,), variant_name="w"), example(3, (1.0,), function_name="g")]
        )
        assert _ids(each for each, _ in await store.examples("f", "w", (1.0,), 5)) == [uid(2)]
        assert [await store.count_examples(*of) for of in (("f", "v"), ("g", "v"), ("g", "w"))] == [1, 1, 0]

    async def test_finds_examples_written_after_the_last_search(self, store: Store) -> None:
        assert await store.examples("f", "v", (1.0, 0.0), 1) == []
        for n, embedding in enumerate([(-1.0, 0.0), (1.0, 1.0), (1.0, 0.0)]):
            await store.write([example(n, embedding)])
            assert _ids(each for each, _ in await store.examples("f", "v", (1.0, 0.0), 1)) == [uid(n)]

    # -- the store itself ---------------------------------------------------------------------------------

    async def test_answers_a_ping(self, store: Store) -> None:
        await store.ping()

    @needs("persistence")
    async def test_has_everything_when_opened_again(self, tmp_path: Path) -> None:
        written = [rows.EVERY[name] for name in KEPT]
        async with self.build(tmp_path) as store:
            await store.write(written)
        async with self.build(tmp_path) as store:
            for record in written:
                assert record in await _read(store, record)


async def _read(store: Store, record: Record) -> Sequence[Any]:
    """What the store has under the record's id, by the method that reads its kind."""
    match record:
        case InferenceRecord():
            return await store.inferences(InferenceQuery(ids=(record.id,)))
        case ModelInferenceRecord():
            return await store.model_inferences(record.inference_id)
        case Datapoint():
            return await store.datapoints(DatapointQuery(ids=(record.id,)))
        case Example():
            found = await store.examples(record.function_name, record.variant_name, record.embedding, 1)
            return [each for each, _ in found]
        case DemonstrationFeedback():
            assert await store.demonstrations([record.inference_id]) == {record.inference_id: record}
            return await store.feedback(record.inference_id)
        case ConfigSnapshot():
            return [await store.config_snapshot(record.hash)]
        case EvaluationRun() | BatchRequest() | BatchInference():
            raise AssertionError(f"no method of a store reads {type(record).__name__} back")
        case _:
            return await store.feedback(record.target_id)


def _ids(records: Any) -> list[UUID]:
    return [record.id for record in records]


def _shuffled(records: Sequence[Record]) -> list[Record]:
    """In another order, the same one each time."""
    return [*records[1::2], *records[::2]]
