"""``GET /internal/resolve_uuid/{id}``: an id tells what it is of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from headrace.ids import new_workflow_episode_id
from headrace.records import CommentFeedback, Datapoint, HoldoutAccess, ModelInferenceRecord, WorkflowEpisode
from headrace.types import Input
from past import EPISODES, FIVE, asking, at, graded, inference, liked, shown

pytestmark = pytest.mark.anyio

AHEAD = new_workflow_episode_id()


@pytest.fixture
def client(opened: Any) -> Callable[..., Any]:
    """``async with client(*records) as asks``."""
    return partial(asking, opened)


def datapoint(number: int, function_type: Any) -> Datapoint:
    return Datapoint(
        id=at(number, 7),
        dataset_name="d",
        function_name="chat",
        function_type=function_type,
        input=Input(),
        split="train",
        group="g",
        content_key="k",
        updated_at=datetime(2025, 1, 1, tzinfo=UTC),
        snapshot_hash="1",
        staled_at=datetime(2025, 1, 1, tzinfo=UTC),
    )


ATTEMPT = ModelInferenceRecord(
    id=at(1, 5),
    inference_id=at(1),
    function_name="chat",
    variant_name="v",
    model_name="m",
    model_provider_name="p",
    snapshot_hash="1",
)
RECORDS = [
    *FIVE,
    ATTEMPT,
    liked(1, True),
    graded(0, 0.5),
    shown(1, "better"),
    CommentFeedback(id=at(1, 4), target_id=at(1), target_type="inference", value="fine", snapshot_hash="1"),
    datapoint(1, "chat"),
    datapoint(2, "json"),
    HoldoutAccess(id=at(3, 7), dataset_name="d", reader="me", purpose="p", datapoint_count=1, snapshot_hash="1"),
    WorkflowEpisode(id=AHEAD, run_id=at(1, 8), variant_pins={}, snapshot_hash="1"),
    inference(8, id=EPISODES[1]),
]
INFERENCE = {"type": "inference", "function_name": "chat", "function_type": "chat", "variant_name": "v"}


@pytest.mark.parametrize(
    ("id_", "objects"),
    [
        (at(2), [INFERENCE | {"episode_id": str(EPISODES[0])}]),
        (EPISODES[0], [{"type": "episode"}]),
        (EPISODES[1], [INFERENCE | {"episode_id": str(EPISODES[0])}, {"type": "episode"}]),
        (AHEAD, [{"type": "episode"}]),
        (
            at(1, 5),
            [{"type": "model_inference", "inference_id": str(at(1)), "model_name": "m", "model_provider_name": "p"}],
        ),
        (at(1, 1), [{"type": "boolean_feedback"}]),
        (at(0, 2), [{"type": "float_feedback"}]),
        (at(1, 3), [{"type": "demonstration_feedback"}]),
        (at(1, 4), [{"type": "comment_feedback"}]),
        (at(1, 7), [{"type": "chat_datapoint", "dataset_name": "d", "function_name": "chat"}]),
        (at(2, 7), [{"type": "json_datapoint", "dataset_name": "d", "function_name": "chat"}]),
        (at(3, 7), []),
        (at(77), []),
    ],
    ids=[
        "inference",
        "episode",
        "both",
        "episode ahead",
        "attempt",
        "boolean",
        "float",
        "demonstration",
        "comment",
        "chat datapoint",
        "json datapoint",
        "nothing to tell of",
        "nothing",
    ],
)
async def test_an_id_tells_what_it_is_of(client: Any, id_: Any, objects: Any) -> None:
    async with client(*RECORDS) as asks:
        found = await asks.get(f"/internal/resolve_uuid/{id_}")
    assert found == {"id": str(id_), "object_types": objects}


async def test_what_is_no_id_is_told_in_plain_text(client: Any) -> None:
    async with client() as asks:
        reply = await asks.http.get("/internal/resolve_uuid/x")
    assert (reply.status_code, reply.headers["content-type"]) == (400, "text/plain; charset=utf-8")
