"""What every store promises of all kinds alike: found by id, walked through by key, ended by age."""
# ruff: noqa: D102 - the name of a test says what it promises

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest
from msgspec import structs

from ..queries import DatapointQuery, EpisodeQuery, Expiring, InferenceQuery
from ..records import (
    KINDS,
    BatchInference,
    BatchRequest,
    BooleanFeedback,
    CommentFeedback,
    ConfigSnapshot,
    Datapoint,
    DemonstrationFeedback,
    FloatFeedback,
    HumanFeedback,
    InferenceRecord,
    ModelInferenceRecord,
    Record,
)
from ..storage import Store
from ..types import Input, InputMessage, Text
from . import rows
from .batches import batch_inference, batch_request
from .rows import START, boolean, inference, model_inference, uid
from .rows_every import EVERY
from .store_promises import StorePromises, ids_of, shuffled

TALK = Input((InputMessage("user", (Text("secret"),)),), "secret")
# What ages, made at 1 and again at 1001: everything that retention can end.
AGING: tuple[tuple[Record, ...], ...] = tuple(
    (
        inference(n, input=TALK, output=(Text("secret"),), auxiliary_content=(Text("secret"),), tags={"kept": "1"}),
        model_inference(n + 1, uid(n), raw_request="secret", raw_response="secret", system="secret", input_tokens=1),
        boolean(n + 2, uid(n)),
        rows.number(n + 3, uid(n), 1.5),
        rows.comment(n + 4, uid(n), "kept"),
        rows.demonstration(n + 5, uid(n), "kept"),
        rows.human_feedback(n + 6, uid(7)),
        batch_request(n + 7, raw_request="secret", raw_response="secret"),
        batch_inference(n + 8, input=TALK, system="secret", raw_request="secret"),
        rows.datapoint(n + 9, input=TALK),
        rows.snapshot(hash=str(n)),
    )
    for n in (1, 1001)
)
# The cut lies at a whole millisecond: what was made in it stays.
CUT = START.replace(microsecond=678000) + timedelta(milliseconds=1001)
ENDED: dict[Expiring, tuple[type[Record], ...]] = {
    "inferences": (InferenceRecord,),
    "model_inferences": (ModelInferenceRecord,),
    "feedback": (BooleanFeedback, FloatFeedback, CommentFeedback, DemonstrationFeedback, HumanFeedback),
    "batches": (BatchRequest, BatchInference),
}


class EverythingPromises(StorePromises):
    """``find``, ``scan`` and ``expire``."""

    # -- find and scan ------------------------------------------------------------------------------------

    @pytest.mark.parametrize("record", EVERY.values(), ids=EVERY.keys())
    async def test_finds_every_record_by_id_and_by_kind(self, store: Store, record: Record) -> None:
        await store.write([record])
        ways = [await store.scan(type(record))]
        if not isinstance(record, ConfigSnapshot):
            ways.append(await store.find(record.id))
        for found in ways:
            assert found == [record]
            # Equality alone would let 1 pass for 1.0 and True.
            assert msgspec.json.encode(found) == msgspec.json.encode([record])

    async def test_walks_over_one_kind_only(self, store: Store) -> None:
        every = {type(record): record for record in EVERY.values()}
        assert set(every) == set(KINDS)
        await store.write(list(every.values()))
        for kind, record in every.items():
            assert await store.scan(kind) == [record]

    async def test_finds_records_of_several_kinds_with_one_id(self, store: Store) -> None:
        given: list[Record] = [
            inference(1),
            rows.boolean(1, uid(1)),
            rows.datapoint(1, staled_at=START),
            rows.workflow_episode(1),
        ]
        await store.write(given)
        found = {type(record): record for record in await store.find(uid(1))}
        assert found == {type(record): record for record in given}
        assert len(await store.find(uid(1))) == len(given)

    async def test_does_not_find_what_only_points_at_an_id(self, store: Store) -> None:
        await store.write([inference(1, episode_id=uid(2)), model_inference(3, uid(4)), rows.boolean(5, uid(6))])
        await store.write([batch_request(7)])
        for n in (2, 4, 6, 99, 100):
            assert await store.find(uid(n)) == []

    async def test_walks_in_pages_in_the_order_of_keys(self, store: Store) -> None:
        written = [inference(n) for n in range(25)]
        await store.write(shuffled(written))
        assert await store.scan(InferenceRecord) == written
        found: list[InferenceRecord] = []
        while page := await store.scan(InferenceRecord, after=str(found[-1].id) if found else "", limit=7):
            found += page
        assert found == written
        assert await store.scan(InferenceRecord, limit=0) == []
        assert await store.scan(InferenceRecord, after=str(uid(99))) == []

    async def test_walks_over_configurations_in_the_order_of_their_hashes(self, store: Store) -> None:
        hashes = sorted(["9", "10", "1", "a", "B", "\u00e4", "\uffff", "\U0001f600", "~", " ", "1\x00"])
        await store.write([rows.snapshot(hash=hash_) for hash_ in shuffled(hashes)])
        found: list[ConfigSnapshot] = []
        while page := await store.scan(ConfigSnapshot, after=found[-1].hash if found else "", limit=2):
            found += page
        assert [each.hash for each in found] == hashes

    async def test_walks_over_retired_datapoints_too(self, store: Store) -> None:
        await store.write([rows.datapoint(1, staled_at=START), rows.datapoint(2)])
        assert ids_of(await store.scan(Datapoint)) == [uid(1), uid(2)]
        assert ids_of(await store.datapoints(DatapointQuery())) == [uid(2)]

    # -- expire -------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("what", ENDED)
    async def test_deletes_what_is_older_and_nothing_else(self, store: Store, what: Expiring) -> None:
        await store.write([record for records in AGING for record in records])
        assert await store.expire(what, CUT) == len(ENDED[what])
        for old, new in zip(*AGING, strict=True):
            assert await store.scan(type(old)) == ([new] if isinstance(old, ENDED[what]) else [old, new])
        assert await store.expire(what, CUT) == 0

    async def test_empties_what_is_older_and_keeps_the_rows(self, store: Store) -> None:
        await store.write([record for records in AGING for record in records])
        assert await store.expire("data", CUT) == 4
        for old, new in zip(*AGING, strict=True):
            assert await store.scan(type(old)) == [_emptied(old), new]
        assert await store.inferences(InferenceQuery()) == [AGING[1][0], _emptied(AGING[0][0])]
        assert await store.expire("data", CUT) == 0

    async def test_does_not_find_what_has_expired(self, store: Store) -> None:
        await store.write([record for records in AGING for record in records])
        assert await store.count_inferences(InferenceQuery(search="secret")) == 2
        await store.expire("data", CUT)
        assert ids_of(await store.inferences(InferenceQuery(search="secret"))) == [uid(1001)]
        assert ids_of(await store.inferences(InferenceQuery(tags={"kept": "1"}))) == [uid(1001), uid(1)]
        assert await store.count_inferences(InferenceQuery(search="null")) == 0
        await store.expire("inferences", CUT)
        assert await store.count_inferences(InferenceQuery(tags={"kept": "1"})) == 1
        assert await store.count_episodes() == 1
        assert [each.episode_id for each in await store.episodes(EpisodeQuery())] == [uid(1001)]

    async def test_takes_back_what_has_expired_when_it_is_written_again(self, store: Store) -> None:
        await store.write(AGING[0])
        await store.expire("inferences", CUT)
        assert await store.find(uid(1)) == []
        await store.write(AGING[0])
        assert await store.inferences(InferenceQuery(tags={"kept": "1"})) == list(AGING[0][:1])

    async def test_has_nothing_to_end_when_it_is_empty(self, store: Store) -> None:
        every: Sequence[Expiring] = ("data", "inferences", "model_inferences", "feedback", "batches", "cache")
        assert [await store.expire(what, CUT) for what in every] == [0] * len(every)


def _emptied(record: Record) -> Record:
    """What stays of a record whose data has ended."""
    match record:
        case InferenceRecord():
            return structs.replace(record, input=None, output=None, auxiliary_content=())
        case ModelInferenceRecord():
            return structs.replace(record, raw_request="", raw_response="", system=None, input_messages=(), output=())
        case BatchRequest():
            return structs.replace(record, raw_request="", raw_response="")
        case BatchInference():
            return structs.replace(record, input=Input(), system=None, input_messages=(), raw_request="")
        case _:
            return record
