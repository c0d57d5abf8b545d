"""Episodes over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from headrace.ids import new_workflow_episode_id
from past import EPISODES, FIVE, asking, at, inference, liked

pytestmark = pytest.mark.anyio

PATH = "/internal/episodes"


@pytest.fixture
def client(opened: Any) -> Callable[..., Any]:
    """``async with client(*records) as asks``."""
    return partial(asking, opened)


def ids(answer: Any) -> list[Any]:
    return [one["episode_id"] for one in answer["episodes"]]


async def test_episodes_are_listed_greatest_id_first(client: Any) -> None:
    async with client(*FIVE) as asks:
        listed, searched = await asks.get(PATH), await asks.post(PATH, {})
    assert listed == searched
    assert listed["episodes"] == [
        {
            "episode_id": str(EPISODES[1]),
            "count": 2,
            "start_time": "2025-01-01T00:00:01Z",
            "end_time": "2025-01-01T00:00:03Z",
            "last_inference_id": str(at(3)),
        },
        {
            "episode_id": str(EPISODES[0]),
            "count": 3,
            "start_time": "2025-01-01T00:00:00Z",
            "end_time": "2025-01-01T00:00:04Z",
            "last_inference_id": str(at(4)),
        },
    ]


MANY = [inference(number, episode_id=at(number, kind=9)) for number in range(25)]


@pytest.mark.parametrize(
    ("page", "numbers"),
    [
        ({}, range(24, 4, -1)),
        ({"limit": 2}, [24, 23]),
        ({"limit": 0}, []),
        ({"limit": 2, "before": str(at(3, kind=9))}, [2, 1]),
        ({"limit": 2, "after": str(at(3, kind=9))}, [5, 4]),
        ({"function_name": "extract"}, []),
        ({"function_name": "chat", "limit": 1}, [24]),
        ({"function_name": "long_gone"}, []),
    ],
    ids=str,
)
async def test_episodes_come_in_pages(client: Any, page: Any, numbers: Any) -> None:
    nulls = dict.fromkeys(("limit", "before", "after", "function_name", "filters"))
    async with client(*MANY) as asks:
        listed, searched = await asks.get(PATH, **page), await asks.post(PATH, nulls | page)
    assert ids(listed) == ids(searched) == [str(at(number, kind=9)) for number in numbers]


async def test_a_filter_selects_episodes_by_their_inferences(client: Any) -> None:
    filters = {"type": "boolean_metric", "metric_name": "liked", "value": True}
    async with client(*FIVE, liked(1, True), liked(2, False)) as asks:
        found = await asks.post(PATH, {"filters": filters})
        strange = await asks.http.post(PATH, json={"filters": filters | {"metric_name": "x"}})
    assert ids(found) == [str(EPISODES[1])]
    assert found["episodes"][0]["count"] == 2  # of all its inferences
    assert (strange.status_code, strange.json()) == (400, {"error": "Invalid metric name: x"})


async def test_two_cursors_are_refused_and_so_is_what_is_no_parameter(client: Any) -> None:
    both = {"before": str(at(1)), "after": str(at(2))}
    async with client() as asks:
        replies = [await asks.http.get(PATH, params=both), await asks.http.post(PATH, json=both)]
        plain = [
            await asks.http.get(PATH, params={"limit": "x"}),
            await asks.http.get(PATH, params={"before": "x"}),
            await asks.http.get(f"{PATH}/x/inference_count"),
        ]
    assert [(reply.status_code, set(reply.json())) for reply in replies] == [(400, {"error"})] * 2
    assert [(reply.status_code, reply.headers["content-type"]) for reply in plain] == [
        (400, "text/plain; charset=utf-8")
    ] * 3


async def test_the_bounds_are_the_least_and_the_greatest_id(client: Any) -> None:
    ahead = new_workflow_episode_id()
    async with client(*FIVE, inference(7, episode_id=ahead)) as asks:
        bounds = await asks.get(f"{PATH}/bounds")
        [first, *_] = (await asks.get(PATH))["episodes"]
    assert bounds == {"first_id": str(EPISODES[0]), "last_id": str(ahead), "count": 3}
    assert (first["episode_id"], first["start_time"]) == (str(ahead), "2025-01-01T00:00:07Z")


async def test_without_episodes_there_are_no_bounds(client: Any) -> None:
    async with client() as asks:
        assert await asks.get(f"{PATH}/bounds") == {"first_id": None, "last_id": None, "count": 0}
        assert await asks.get(PATH) == {"episodes": []}


async def test_inferences_of_an_episode_are_counted(client: Any) -> None:
    async with client(*FIVE) as asks:
        counts = [await asks.get(f"{PATH}/{id_}/inference_count") for id_ in (*EPISODES, at(77))]
    assert counts == [{"inference_count": 3}, {"inference_count": 2}, {"inference_count": 0}]
