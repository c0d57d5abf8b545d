"""Feedback on one target over HTTP: rows and sums."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from headrace.records import CommentFeedback, DemonstrationFeedback, FloatFeedback
from headrace.types import CheckedToolCall, JsonOutput, Text
from past import EPISODES, FIVE, asking, at, graded, liked, shown

pytestmark = pytest.mark.anyio

PATH = f"/internal/feedback/{at(1)}"
COMMENT = CommentFeedback(
    id=at(9, 4), target_id=at(1), target_type="inference", value="fine", snapshot_hash="1", tags={"a": "b"}
)
SAID = [liked(1, True), COMMENT, shown(1, "better"), liked(2, False), graded(0, 0.5)]


@pytest.fixture
def client(opened: Any) -> Callable[..., Any]:
    """``async with client(*records) as asks``."""
    return partial(asking, opened)


async def test_every_kind_of_row_has_its_own_form(client: Any) -> None:
    async with client(*FIVE, *SAID) as asks:
        rows = (await asks.get(PATH))["feedback"]
        [of_episode] = (await asks.get(f"/internal/feedback/{EPISODES[0]}"))["feedback"]
    assert rows == [
        {
            "type": "comment",
            "id": str(at(9, 4)),
            "target_id": str(at(1)),
            "target_type": "inference",
            "value": "fine",
            "tags": {"a": "b"},
            "timestamp": "2025-01-01T00:00:09Z",
        },
        {
            "type": "demonstration",
            "id": str(at(1, 3)),
            "inference_id": str(at(1)),
            "value": '[{"type":"text","text":"better"}]',
            "tags": {},
            "timestamp": "2025-01-01T00:00:01Z",
        },
        {
            "type": "boolean",
            "id": str(at(1, 1)),
            "target_id": str(at(1)),
            "metric_name": "liked",
            "value": True,
            "tags": {},
            "timestamp": "2025-01-01T00:00:01Z",
        },
    ]
    assert (of_episode["type"], of_episode["metric_name"], of_episode["value"]) == ("float", "grade", 0.5)


@pytest.mark.parametrize(
    ("value", "shown_as"),
    [
        (JsonOutput('{"a": 1}', {"a": 1}), {"raw": '{"a": 1}', "parsed": {"a": 1}}),
        (
            (Text("ü\n"), CheckedToolCall("c", "f", "{}", "f", {})),
            [
                {"type": "text", "text": "ü\n"},
                {"type": "tool_call", "id": "c", "raw_name": "f", "raw_arguments": "{}", "name": "f", "arguments": {}},
            ],
        ),
    ],
    ids=["json", "chat"],
)
async def test_a_demonstration_is_json_within_json(client: Any, value: Any, shown_as: Any) -> None:
    given = DemonstrationFeedback(id=at(1, 3), inference_id=at(1), value=value, snapshot_hash="1")
    async with client(*FIVE, given) as asks:
        [row] = (await asks.get(f"{PATH}/demonstrations"))["feedback"]
    assert json.loads(row["value"]) == shown_as


MANY = [
    FloatFeedback(id=at(number, 2), target_id=at(1), metric_name="x", value=number, snapshot_hash="1")
    if number % 2
    else DemonstrationFeedback(id=at(number, 2), inference_id=at(1), value=(Text("x"),), snapshot_hash="1")
    for number in range(220)
]


@pytest.mark.parametrize(
    ("page", "rows", "demonstrations"),
    [
        ({}, range(219, 119, -1), range(218, 18, -2)),
        ({"limit": 2}, [219, 218], [218, 216]),
        ({"limit": 0}, [], []),
        ({"limit": 2, "before": str(at(10, 2))}, [9, 8], [8, 6]),
        ({"limit": 2, "after": str(at(10, 2))}, [12, 11], [14, 12]),
        ({"limit": 0, "after": str(at(10, 2))}, [], []),
        ({"limit": 500, "after": str(at(216, 2))}, [219, 218, 217], [218]),
    ],
    ids=str,
)
async def test_rows_come_in_pages_newest_first(client: Any, page: Any, rows: Any, demonstrations: Any) -> None:
    async with client(*FIVE, *MANY) as asks:
        all_ = (await asks.get(PATH, **page))["feedback"]
        some = (await asks.get(f"{PATH}/demonstrations", **page))["feedback"]
    assert [row["id"] for row in all_] == [str(at(number, 2)) for number in rows]
    assert [row["id"] for row in some] == [str(at(number, 2)) for number in demonstrations]


async def test_bounds_are_those_of_all_and_of_each_kind(client: Any) -> None:
    more = [liked(1, False, kind=8), liked(1, True, kind=7)]
    async with client(*FIVE, *SAID, *more) as asks:
        bounds = await asks.get(f"{PATH}/bounds")
        none = await asks.get(f"/internal/feedback/{at(77)}/bounds")
    assert bounds == {
        "first_id": str(at(1, 1)),
        "last_id": str(at(9, 4)),
        "by_type": {
            "boolean": {"first_id": str(at(1, 1)), "last_id": str(at(1, 8))},
            "float": {},
            "comment": {"first_id": str(at(9, 4)), "last_id": str(at(9, 4))},
            "demonstration": {"first_id": str(at(1, 3)), "last_id": str(at(1, 3))},
        },
    }
    assert none == {"by_type": {"boolean": {}, "float": {}, "comment": {}, "demonstration": {}}}


async def test_the_latest_row_of_each_metric_is_told_and_all_rows_are_counted(client: Any) -> None:
    other = FloatFeedback(id=at(5, 2), target_id=at(1), metric_name="x", value=1.0, snapshot_hash="1")
    async with client(*FIVE, *SAID, liked(1, False, kind=8), liked(1, True, kind=7), other) as asks:
        latest = await asks.get(f"{PATH}/latest_id_by_metric")
        count = await asks.get(f"{PATH}/count")
        none = [await asks.get(f"/internal/feedback/{at(77)}/{what}") for what in ("latest_id_by_metric", "count")]
    assert latest == {"feedback_id_by_metric": {"liked": str(at(1, 8)), "x": str(at(5, 2))}}
    assert count == {"count": 6}
    assert none == [{"feedback_id_by_metric": {}}, {"count": 0}]


async def test_what_has_just_been_said_is_there(client: Any) -> None:
    ask = {"function_name": "chat", "input": {"messages": [{"role": "user", "content": "hello"}]}}
    async with client() as asks:
        inference_id = (await asks.post("/inference", ask))["inference_id"]
        said = {"metric_name": "liked", "value": True, "inference_id": inference_id}
        given = await asks.post("/feedback", said)
        [row] = (await asks.get(f"/internal/feedback/{inference_id}"))["feedback"]
    assert row["id"] == given["feedback_id"]


@pytest.mark.parametrize("what", ["", "/bounds", "/latest_id_by_metric", "/count", "/demonstrations"])
async def test_a_target_that_is_no_id_is_told_in_plain_text(client: Any, what: str) -> None:
    async with client() as asks:
        reply = await asks.http.get(f"/internal/feedback/x{what}")
    assert (reply.status_code, reply.headers["content-type"]) == (400, "text/plain; charset=utf-8")


@pytest.mark.parametrize("what", ["", "/demonstrations"])
async def test_two_cursors_are_refused(client: Any, what: str) -> None:
    async with client() as asks:
        reply = await asks.http.get(f"{PATH}{what}", params={"before": str(at(1)), "after": str(at(2))})
    assert (reply.status_code, set(reply.json())) == (400, {"error"})
