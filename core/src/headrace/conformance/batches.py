"""What every store promises of batches; ``StoreConformance`` takes these promises in."""
# ruff: noqa: D102 - the name of a test says what it promises

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from ..contracts import Store
from ..errors import RecordRefused
from ..records import BatchInference, BatchRequest, Record
from ..types import Input, Message, Params, Text
from . import rows
from .rows import uid
from .suite import Suite, needs


def batch_request(n: int, **changes: Any) -> BatchRequest:
    """A row of a batch that is pending."""
    record = BatchRequest(
        id=uid(n),
        batch_id=uid(100),
        status="pending",
        batch_params={},
        function_name="f",
        variant_name="v",
        model_name="m",
        model_provider_name="p",
        snapshot_hash=rows.SNAPSHOT,
    )
    return structs.replace(record, **changes)


def batch_inference(n: int, **changes: Any) -> BatchInference:
    """An inference of that batch."""
    record = BatchInference(
        id=uid(n),
        batch_id=uid(100),
        model_inference_id=uid(n + 1000),
        function_name="f",
        variant_name="v",
        function_type="chat",
        episode_id=uid(n),
        input=Input(),
        variant_probability=1.0,
        model_name="m",
        model_provider_name="p",
        snapshot_hash=rows.SNAPSHOT,
    )
    return structs.replace(record, **changes)


REQUESTS: Mapping[str, BatchRequest] = {
    "bare": batch_request(1),
    "full": batch_request(
        1,
        status="failed",
        batch_params=rows.NESTED,
        function_name=rows.TEXT,
        variant_name=rows.TEXT,
        model_name=rows.TEXT,
        model_provider_name=rows.TEXT,
        raw_request=rows.TEXT,
        raw_response=rows.TEXT * 1000,
        errors=(rows.TEXT, ""),
    ),
}
INFERENCES: Mapping[str, BatchInference] = {
    "bare": batch_inference(1),
    "full": batch_inference(
        1,
        function_name=rows.TEXT,
        variant_name=rows.TEXT,
        function_type="json",
        input=rows.INPUT,
        variant_probability=0.1,
        model_name=rows.TEXT,
        model_provider_name=rows.TEXT,
        system="",
        input_messages=(Message("user", (Text(rows.TEXT), *rows.FILES)), Message("assistant", ())),
        tools=rows.TOOLS,
        output_schema=rows.SCHEMA,
        inference_params=Params(temperature=0.1, seed=2**32 - 1, stop_sequences=("\n", rows.TEXT)),
        raw_request=rows.TEXT,
        tags={rows.TEXT: rows.TEXT, "": ""},
    ),
}
UNWRITABLE: Mapping[str, Record] = {
    "request": batch_request(9, raw_response="\ud800"),
    "inference": batch_inference(9, tags={"\udfff": ""}),
}


class BatchPromises(Suite):
    """The part of ``StoreConformance`` that is about batches."""

    def build(self, tmp_path: Path) -> Store:
        """A store that is not yet open."""
        raise NotImplementedError(f"{type(self).__name__}.build: return the store under test")

    @pytest.mark.parametrize("record", REQUESTS.values(), ids=REQUESTS.keys())
    async def test_gives_a_batch_back_as_it_was(self, store: Store, record: BatchRequest) -> None:
        await store.write([record])
        found = await store.batch_request(record.batch_id)
        assert found == record
        assert msgspec.json.encode(found) == msgspec.json.encode(record)

    @pytest.mark.parametrize("record", INFERENCES.values(), ids=INFERENCES.keys())
    async def test_gives_an_inference_of_a_batch_back_as_it_was(self, store: Store, record: BatchInference) -> None:
        await store.write([record])
        found = await store.batch_inferences(record.batch_id)
        assert found == [record]
        assert msgspec.json.encode(found) == msgspec.json.encode([record])

    async def test_knows_no_batch_that_was_not_written(self, store: Store) -> None:
        await store.write([batch_request(1), batch_inference(2)])
        assert await store.batch_request(uid(1)) is None  # the id of a row, not of the batch
        assert await store.batch_request(uid(99)) is None
        assert await store.batch_inferences(uid(2)) == []

    async def test_takes_the_newest_row_of_a_pending_batch(self, store: Store) -> None:
        await store.write([batch_request(2, raw_response="later"), batch_request(1), batch_request(9, batch_id=uid(7))])
        assert await store.batch_request(uid(100)) == batch_request(2, raw_response="later")

    @pytest.mark.parametrize("status", ["completed", "failed"])
    async def test_a_batch_that_has_ended_stays_so(self, store: Store, status: Any) -> None:
        # Another process may have seen it pending before, and write so afterwards.
        await store.write([batch_request(1), batch_request(2, status=status)])
        await store.write([batch_request(3)])
        assert await store.batch_request(uid(100)) == batch_request(2, status=status)

    async def test_lists_the_inferences_of_one_batch_in_the_order_of_their_ids(self, store: Store) -> None:
        await store.write([batch_inference(n) for n in (3, 1, 2)])
        await store.write([batch_inference(4, batch_id=uid(101))])
        assert await store.batch_inferences(uid(100)) == [batch_inference(n) for n in (1, 2, 3)]

    async def test_keeps_the_first_of_two_rows_of_a_batch_with_one_id(self, store: Store) -> None:
        await store.write([batch_request(1), batch_inference(2)])
        await store.write([batch_request(1, status="failed"), batch_inference(2, system="other")])
        assert await store.batch_request(uid(100)) == batch_request(1)
        assert await store.batch_inferences(uid(100)) == [batch_inference(2)]

    @pytest.mark.parametrize("bad", UNWRITABLE.values(), ids=UNWRITABLE.keys())
    async def test_writes_nothing_of_a_batch_of_which_one_row_cannot_be_written(
        self, store: Store, bad: Record
    ) -> None:
        with pytest.raises(RecordRefused):
            await store.write([batch_inference(1), bad, batch_request(2)])
        assert await store.batch_request(uid(100)) is None
        assert await store.batch_inferences(uid(100)) == []

    @needs("persistence")
    async def test_has_its_batches_when_opened_again(self, tmp_path: Path) -> None:
        async with self.build(tmp_path) as store:
            await store.write([batch_inference(1), batch_request(2)])
        async with self.build(tmp_path) as store:
            assert await store.batch_request(uid(100)) == batch_request(2)
            assert await store.batch_inferences(uid(100)) == [batch_inference(1)]
