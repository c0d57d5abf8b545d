"""Stored inferences over HTTP: which are selected, in which order, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from headrace.http.filters import MAX_DEPTH, MAX_NODES
from past import EPISODES, FIVE, asking, at, graded, inference, liked, shown

pytestmark = pytest.mark.anyio

LIST = "/v1/inferences/list_inferences"
COUNT = "/internal/inferences/count"


@pytest.fixture
def client(opened: Any) -> Callable[..., Any]:
    """``async with client(*records) as asks``."""
    return partial(asking, opened)


# -- which and in which order ---------------------------------------------------------------------------------


async def test_without_a_limit_the_newest_twenty_are_listed(client: Any) -> None:
    async with client(*(inference(number) for number in range(25))) as asks:
        assert await asks.numbers({}) == list(range(24, 4, -1))
        assert await asks.numbers({"limit": 0}) == []
        assert len(await asks.numbers({"limit": 2**32 - 1, "offset": 1})) == 24
        assert (await asks.post(COUNT, {})) == {"count": 25}


NULLS = dict.fromkeys(
    (
        "function_name",
        "variant_name",
        "episode_id",
        "output_source",
        "limit",
        "offset",
        "before",
        "after",
        "filters",
        "filter",
        "order_by",
        "search_query_experimental",
    )
)


async def test_null_is_absence_and_unknown_fields_are_ignored(client: Any) -> None:
    async with client(*FIVE) as asks:
        assert await asks.numbers(NULLS | {"nobody_knows": 1}) == [4, 3, 2, 1, 0]
        assert await asks.post(COUNT, NULLS) == {"count": 5}


@pytest.mark.parametrize(
    ("body", "numbers"),
    [
        ({"limit": 2}, [4, 3]),
        ({"limit": 2, "offset": 2}, [2, 1]),
        ({"before": str(at(3)), "limit": 2}, [2, 1]),
        ({"after": str(at(0)), "limit": 2}, [2, 1]),
        (
            {"after": str(at(0)), "limit": 2, "offset": 0, "order_by": [{"by": "timestamp", "direction": "ascending"}]},
            [2, 1],
        ),
        ({"episode_id": str(EPISODES[1])}, [3, 1]),
        ({"function_name": "extract"}, []),
        ({"variant_name": "w"}, []),
        ({"order_by": [{"by": "timestamp", "direction": "ascending"}]}, [0, 1, 2, 3, 4]),
        ({"order_by": [{"by": "metric", "name": "liked", "direction": "descending"}]}, [2, 3, 4, 1, 0]),
        ({"order_by": [{"by": "metric", "name": "grade", "direction": "ascending"}], "limit": 3}, [0, 2, 4]),
        ({"search_query_experimental": "QUESTION 3"}, [3]),
        ({"search_query_experimental": ""}, [4, 3, 2, 1, 0]),
        (
            {
                "search_query_experimental": "answer",
                "order_by": [{"by": "search_relevance", "direction": "descending"}],
                "limit": 1,
            },
            [4],
        ),
        ({"filters": {"type": "boolean_metric", "metric_name": "liked", "value": True}}, [2]),
        ({"filter": {"type": "boolean_metric", "metric_name": "liked", "value": False}}, [3]),
        (
            {"filters": {"type": "not", "child": {"type": "boolean_metric", "metric_name": "liked", "value": True}}},
            [3],
        ),
        ({"filters": {"type": "float_metric", "metric_name": "grade", "value": 1, "comparison_operator": ">"}}, [3, 1]),
        ({"filters": {"type": "demonstration_feedback", "has_demonstration": True}}, [1]),
        ({"output_source": "demonstration"}, [1]),
        (
            {
                "output_source": "demonstration",
                "filters": {"type": "tag", "key": "a", "value": "b", "comparison_operator": "="},
            },
            [],
        ),
        ({"filters": {"type": "time", "time": "2025-01-01T01:00:03+01:00", "comparison_operator": ">="}}, [4, 3]),
        ({"filters": {"type": "and", "children": []}}, [4, 3, 2, 1, 0]),
        ({"filters": {"type": "or", "children": []}}, []),
    ],
    ids=lambda value: json.dumps(value)[:70],
)
async def test_a_query_selects_and_orders(client: Any, body: Any, numbers: list[int]) -> None:
    said = [
        liked(2, False),
        liked(2, True, kind=4),
        liked(3, False),
        graded(0, 0.5),
        graded(1, 2.0),
        shown(1, "better"),
    ]
    async with client(*FIVE, *said) as asks:
        found = await asks.numbers(body)
        counted = await asks.post(COUNT, body)
    assert found == numbers
    if not {"limit", "before", "after"} & set(body):
        assert counted == {"count": len(numbers)}


async def test_what_has_just_been_answered_is_listed(client: Any) -> None:
    ask = {"function_name": "chat", "input": {"messages": [{"role": "user", "content": "hello"}]}, "tags": {"a": "b"}}
    async with client() as asks:
        answer = await asks.post("/inference", ask)
        [found] = (await asks.post(LIST, {"function_name": "chat"}))["inferences"]
    assert (found["inference_id"], found["episode_id"]) == (answer["inference_id"], answer["episode_id"])
    assert (found["tags"], found["output"]) == ({"a": "b"}, [{"type": "text", "text": "good day"}])


async def test_headrace_is_another_spelling_of_tensorzero(client: Any) -> None:
    direct = inference(1, function_name="tensorzero::default", tags={"tensorzero::a": "b"})
    tag = {"type": "tag", "key": "headrace::a", "value": "b", "comparison_operator": "="}
    async with client(direct) as asks:
        assert await asks.numbers({"function_name": "headrace::default", "filters": tag}) == [1]


# -- what is refused ------------------------------------------------------------------------------------------


def nested(depth: int) -> Any:
    inner: Any = {"type": "or", "children": []}
    for _ in range(depth - 1):
        inner = {"type": "not", "child": inner}
    return {"filters": inner}


METRIC = {"type": "boolean_metric", "metric_name": "liked", "value": True}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"function_name": "nope"}, 404, "Unknown function: nope"),
        ({"before": str(at(1)), "after": str(at(2))}, 400, "Cannot specify both `before` and `after`"),
        ({"before": str(at(1)), "offset": 1}, 400, "offset: cannot stand beside"),
        (
            {"after": str(at(1)), "order_by": [{"by": "metric", "name": "liked", "direction": "ascending"}]},
            400,
            "order_by",
        ),
        (
            {
                "after": str(at(1)),
                "search_query_experimental": "x",
                "order_by": [{"by": "search_relevance", "direction": "ascending"}],
            },
            400,
            "order_by: only `timestamp`",
        ),
        (
            {"order_by": [{"by": "search_relevance", "direction": "ascending"}]},
            400,
            "order_by: `search_relevance` needs",
        ),
        ({"order_by": [{"by": "timestamp"}]}, 400, "order_by[0]: Object missing required field `direction`"),
        ({"order_by": [{"by": "metric", "direction": "ascending"}]}, 400, "order_by[0].name: "),
        ({"order_by": [{"by": "metric", "name": "x", "direction": "ascending"}]}, 400, "Invalid metric name: x"),
        ({"order_by": [{"by": "luck", "direction": "ascending"}]}, 400, "order_by[0].by: unknown variant `luck`"),
        ({"limit": -1}, 400, "limit: "),
        ({"limit": 2**32}, 400, "limit: "),
        ({"offset": 2**32}, 400, "offset: "),
        ({"before": "x"}, 400, "before: Invalid UUID"),
        ({"output_source": "x"}, 400, "output_source: unknown variant `x`"),
        ({"filters": METRIC | {"metric_name": "x"}}, 400, "Invalid metric name: x"),
        ({"filters": METRIC | {"metric_name": "comment"}}, 400, "Invalid metric name: comment"),
        ({"filters": METRIC | {"metric_name": "grade"}}, 400, "filters.metric_name: `grade` is a float metric"),
        (
            {"filters": {"type": "float_metric", "metric_name": "liked", "value": 1, "comparison_operator": "="}},
            400,
            "filters.metric_name: `liked` is a boolean metric",
        ),
        ({"filters": METRIC | {"value": 1}}, 400, "filters.value: Expected `bool`"),
        ({"filters": {"type": "x"}}, 400, "filters.type: unknown variant `x`"),
        ({"filters": {}}, 400, "filters: Object missing required field `type`"),
        (
            {"filters": {"type": "and", "children": [METRIC, {"type": "not"}]}},
            400,
            "filters.children[1]: Object missing",
        ),
        (
            {"filters": {"type": "tag", "key": "a", "value": "b", "comparison_operator": "<"}},
            400,
            "filters.comparison_operator: unknown variant `<`",
        ),
        (
            {"filters": {"type": "time", "time": "2025-01-01T00:00:00", "comparison_operator": "<"}},
            400,
            "filters.time: Expected `datetime` with a timezone component",
        ),
        (
            {"filters": {"type": "time", "time": "0001-01-01T00:00:00+10:00", "comparison_operator": "<"}},
            400,
            "filters.time: beyond the years 1 to 9999",
        ),
        ({"filters": METRIC, "filter": METRIC}, 400, "filter: the old name"),
        (nested(MAX_DEPTH + 1), 400, "filters.child"),
        (
            {"filters": {"type": "and", "children": [METRIC] * MAX_NODES}},
            400,
            f"filters.children[{MAX_NODES - 1}]: a filter",
        ),
    ],
    ids=lambda value: json.dumps(value)[:70],
)
async def test_what_has_no_meaning_is_refused_with_a_line_to_act_on(
    client: Any, body: Any, status: int, message: str
) -> None:
    async with client(*FIVE) as asks:
        reply = await asks.http.post(LIST, json=body)
    assert (reply.status_code, set(reply.json())) == (status, {"error"})
    assert reply.json()["error"].startswith(message)


async def test_a_filter_as_deep_and_as_wide_as_may_be_is_read(client: Any) -> None:
    wide = {"filters": {"type": "or", "children": [METRIC] * (MAX_NODES - 1)}}
    async with client(*FIVE, liked(1, True)) as asks:
        assert len(await asks.numbers(nested(MAX_DEPTH))) == 5
        assert await asks.numbers(wide) == [1]


@pytest.mark.parametrize("depth", [300, 100_000])
async def test_a_filter_of_no_end_is_refused_before_it_is_read(client: Any, depth: int) -> None:
    body = '{"filters":' + '{"type":"not","child":' * depth + "null" + "}" * depth + "}"
    async with client(*FIVE) as asks:
        reply = await asks.http.post(LIST, content=body)
    assert (reply.status_code, set(reply.json())) == (400, {"error"})
