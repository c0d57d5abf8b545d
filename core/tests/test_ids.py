"""Ids: new ones are UUIDv7, and a caller's episode id is taken only if it could be one of ours."""

from __future__ import annotations

import time
from uuid import NAMESPACE_DNS, UUID, uuid1, uuid3, uuid4, uuid5

import pytest
from headrace.errors import BadRequest
from headrace.ids import check_episode_id, new_id, unix_seconds

NOW = 1_750_000_000.9
EARLIEST = 1_579_751_960


def at(seconds: float, *, version: int = 7) -> UUID:
    """An id stamped so."""
    return UUID(int=(int(seconds * 1000) << 80) | (version << 76) | (0b10 << 62) | 0xABC)


def test_a_new_id_is_a_uuid_v7_of_now() -> None:
    before = time.time()
    id_ = new_id()
    assert type(id_) is UUID
    assert id_.version == 7
    assert before - 0.002 <= unix_seconds(id_) <= time.time()


def test_new_ids_are_unique_and_in_order() -> None:
    ids = [new_id() for _ in range(2000)]
    assert sorted(set(ids)) == ids


def test_a_workflow_episodes_time_is_without_its_offset() -> None:
    assert unix_seconds(at(NOW)) == pytest.approx(NOW, abs=0.001)
    assert unix_seconds(at(NOW + 10_000_000_000)) == pytest.approx(NOW, abs=0.001)


@pytest.mark.parametrize(
    "id_",
    [at(EARLIEST), at(NOW - 1), at(1_750_000_000), at(1_750_000_000.999)],
    ids=["earliest", "a-second-ago", "this-second", "later-this-second"],
)
def test_an_id_up_to_now_is_taken(id_: UUID) -> None:
    check_episode_id(id_, NOW)


@pytest.mark.parametrize(
    ("id_", "message"),
    [
        (at(EARLIEST - 0.001), "Invalid Episode ID: Timestamp is too early"),
        (at(0), "Invalid Episode ID: Timestamp is too early"),
        (at(1_750_000_001), "Invalid Episode ID: Timestamp is in the future"),
        (at(9_999_999_999.999), "Invalid Episode ID: Timestamp is in the future"),
        (at(10_000_000_000), f"Workflow evaluation run not found for episode id: {at(10_000_000_000)}"),
        (at(11_750_000_000), f"Workflow evaluation run not found for episode id: {at(11_750_000_000)}"),
        (uuid1(), "Invalid Episode ID: Version must be 7, got 1"),
        (at(NOW, version=6), "Invalid Episode ID: Version must be 7, got 6"),
        (uuid3(NAMESPACE_DNS, "x"), "Failed to parse UUID as v7: "),
        (uuid4(), "Failed to parse UUID as v7: "),
        (uuid5(NAMESPACE_DNS, "x"), "Failed to parse UUID as v7: "),
        (UUID(int=0), "Failed to parse UUID as v7: "),
        (UUID(int=2**128 - 1), "Failed to parse UUID as v7: "),
    ],
    ids=[
        "too-early", "epoch", "next-second", "far-future", "workflow", "workflow-now", "v1", "v6", "v3", "v4", "v5",
        "nil", "max",
    ],
)  # fmt: skip
def test_an_id_that_cannot_be_an_episode_is_refused(id_: UUID, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_episode_id(id_, NOW)
    assert str(caught.value).startswith(message)
