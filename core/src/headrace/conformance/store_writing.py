"""What every store promises of writing: all or nothing, and back as it went in."""
# ruff: noqa: D102 - the name of a test says what it promises

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio.lowlevel
import msgspec
import pytest

from ..contracts import DatapointQuery, InferenceQuery, Store
from ..errors import RecordRefused
from ..records import (
    BatchInference,
    BatchRequest,
    BooleanFeedback,
    CommentFeedback,
    ConfigSnapshot,
    Datapoint,
    DemonstrationFeedback,
    Example,
    FloatFeedback,
    HoldoutAccess,
    HumanFeedback,
    InferenceRecord,
    ModelInferenceRecord,
    Record,
)
from ..types import Text
from . import rows
from .rows import datapoint, example, inference, uid
from .rows_every import EVERY, HOSTILE, UNWRITABLE
from .store_promises import StorePromises, ids_of
from .suite import needs

BATCH = 25

# One full record of each kind; all of them fit into one write.
KEPT: tuple[Record, ...] = tuple({type(record): record for record in EVERY.values()}.values())


class WritingPromises(StorePromises):
    """All or nothing, durable, back as it went in."""

    @pytest.mark.parametrize("record", EVERY.values(), ids=EVERY.keys())
    async def test_gives_every_record_back_as_it_was(self, store: Store, record: Record) -> None:
        await store.write([record])
        found = await read_back(store, record)
        assert found == [record]
        # Equality alone would let 1 pass for 1.0 and True.
        assert msgspec.json.encode(found) == msgspec.json.encode([record])

    async def test_takes_a_snapshot_and_a_run_again_and_again(self, store: Store) -> None:
        await store.write([rows.snapshot(), rows.evaluation_run(1)])
        await store.write([rows.snapshot(config="another"), rows.snapshot(), rows.evaluation_run(1)])
        assert await store.config_snapshot(rows.SNAPSHOT) == rows.snapshot()
        assert await store.find(uid(1)) == [rows.evaluation_run(1)]

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

    @pytest.mark.parametrize("bad", UNWRITABLE.values(), ids=UNWRITABLE.keys())
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

    @pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
    async def test_gives_hostile_text_back(self, store: Store, text: str) -> None:
        record = inference(1, function_name=text, variant_name=text, output=(Text(text),), tags={text: text})
        point = datapoint(2, dataset_name=text, content_key=text, name=text, near_keys=(text,), tags={text: text})
        await store.write([record, point, rows.boolean(3, uid(1), metric_name=text), rows.comment(4, uid(1), text)])
        named = InferenceQuery(function_name=text, variant_name=text, tags={text: text})
        assert await store.inferences(named) == [record]
        by_keys = DatapointQuery(dataset_name=text, content_keys=(text,), near_keys=(text, "other"))
        assert await store.datapoints(by_keys) == [point]
        assert [summary.dataset_name for summary in await store.datasets()] == [text]
        assert await store.feedback(uid(1)) == [
            rows.comment(4, uid(1), text),
            rows.boolean(3, uid(1), metric_name=text),
        ]
        counts = [(each.metric_name, each.count) for each in await store.metric_counts(text, text)]
        assert sorted(counts) == sorted([("comment", 1), (text, 1)])
        await store.ping()

    async def test_keeps_hostile_texts_apart(self, store: Store) -> None:
        texts = [*HOSTILE.values(), "a", "A", "\u00e4", "a\u0308", "a ", "", "a\x00", "a\x00c"]
        await store.write([inference(n, function_name=text) for n, text in enumerate(texts)])
        for n, text in enumerate(texts):
            assert ids_of(await store.inferences(InferenceQuery(function_name=text))) == [uid(n)]

    async def test_replaces_datapoints_snapshots_and_keys_and_nothing_else(self, store: Store) -> None:
        await store.write([*KEPT, datapoint(20), rows.snapshot(hash="7"), rows.api_key(21)])
        later: list[Record] = [
            datapoint(20, name="later"),
            rows.snapshot(hash="7", config="later", last_used=rows.at(9)),
            rows.api_key(21, disabled_at=rows.at(9)),
        ]
        others: list[Record] = [rows.holdout_access(10, reader="other"), rows.evaluation_run(11), rows.workflow_run(12)]
        await store.write([*others, datapoint(20, name="between"), *later])
        assert await store.datapoints(DatapointQuery(ids=(uid(20),))) == later[:1]
        assert await store.config_snapshot("7") == later[1]
        assert await store.find(uid(21)) == later[2:]
        for record in KEPT:
            assert record in await store.scan(type(record))
        assert await store.count_holdout_accesses(rows.TEXT) == 1
        assert await store.count_holdout_accesses("d") == 0

    async def test_writes_five_thousand_records_of_several_kinds_at_once(self, store: Store) -> None:
        written = [inference(n, tags={"n": str(n % 7)}) for n in range(2000)]
        attempts = [rows.model_inference(n, uid(n), input_tokens=n) for n in range(2000)]
        marks = [rows.boolean(n, uid(n)) for n in range(1000)]
        mixed = [each for both in zip(written, attempts, strict=True) for each in both]
        await store.write([*mixed, *marks])
        assert await store.inferences(InferenceQuery(limit=None)) == written[::-1]
        assert await store.inferences(InferenceQuery(ids=tuple(map(uid, range(2000))), limit=None)) == written[::-1]
        assert await store.scan(ModelInferenceRecord, limit=5000) == attempts
        assert await store.scan(BooleanFeedback, limit=5000) == marks
        assert await store.count_inferences(InferenceQuery(tags={"n": "3"})) == len(range(3, 2000, 7))

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

    async def test_answers_a_ping(self, store: Store) -> None:
        await store.ping()

    @needs("persistence")
    async def test_has_everything_when_opened_again(self, tmp_path: Path) -> None:
        async with self.build(tmp_path) as store:
            await store.write(KEPT)
        async with self.build(tmp_path) as store:
            for record in KEPT:
                assert await store.scan(type(record)) == [record]


async def read_back(store: Store, record: Record) -> Sequence[Any]:
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
        case BooleanFeedback() | FloatFeedback() | CommentFeedback():
            return await store.feedback(record.target_id)
        case _:
            return await _read_back_rarer(store, record)


async def _read_back_rarer(store: Store, record: Record) -> Sequence[Any]:
    match record:
        case BatchRequest():
            return [await store.batch_request(record.batch_id)]
        case BatchInference():
            return await store.batch_inferences(record.batch_id)
        case HoldoutAccess():
            return await store.holdout_accesses(record.dataset_name)
        case HumanFeedback():
            return [await store.human_feedback(record.metric_name, record.datapoint_id, record.output)]
        case ConfigSnapshot():
            return [await store.config_snapshot(record.hash)]
        case _:
            return await store.find(record.id)
