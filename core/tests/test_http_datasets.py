"""Datapoints over HTTP: made of what is sent or of stored inferences, and found again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from dataset_calls import DATASET, PLACE, calling, chat, extract, said
from headrace.contracts import InferenceQuery
from headrace.ids import new_id

pytestmark = pytest.mark.anyio


@pytest.fixture
def client(opened: Any) -> Callable[..., Any]:
    """``async with client() as call``."""
    return partial(calling, opened)


# -- making -----------------------------------------------------------------------------------------------


async def test_a_chat_datapoint_is_what_was_sent(client: Any) -> None:
    output = [
        {"type": "text", "text": "let me see"},
        {"type": "tool_call", "id": "1", "name": "weather", "arguments": {"place": "Basel"}},
        {"type": "tool_call", "id": "2", "raw_name": "weather", "raw_arguments": "{broken"},
    ]
    episode = str(new_id())
    async with client() as call:
        wanted = chat(output=output, name="first", tags={"tensorzero::a": "b"}, episode_id=episode)
        [id_] = (await call.create(wanted, headers={"x-headrace-reader": "ada"}))["ids"]
        [found] = await call.get(id_)
    assert found["output"][1]["arguments"] == {"place": "Basel"}
    assert (found["output"][2]["name"], found["output"][2]["arguments"]) == ("weather", None)
    assert found["output"][2]["raw_arguments"] == "{broken"
    assert found["input"]["messages"][0]["content"] == [{"type": "text", "text": "hi"}]
    expected = {
        "type": "chat", "function_name": "chat", "dataset_name": "d", "name": "first", "tags": {"tensorzero::a": "b"},
        "episode_id": episode, "is_custom": True, "is_deleted": False, "source_inference_id": None, "staled_at": None,
        "additional_tools": [], "allowed_tools": None, "tool_choice": "auto", "editor": "ada", "replaces": None,
    }  # fmt: skip
    assert {key: found[key] for key in expected} == expected


async def test_tools_of_a_datapoint_ask_for_themselves_again(client: Any) -> None:
    tool = {"type": "function", "name": "extra", "description": "x", "parameters": PLACE, "strict": True}
    fields: dict[str, Any] = {
        "additional_tools": [tool],
        "allowed_tools": ["extra"],
        "tool_choice": {"specific": "extra"},
        "parallel_tool_calls": True,
        "provider_tools": [{"tool": {"type": "search"}, "scope": {"model_name": "m"}}],
    }
    async with client() as call:
        [id_] = (await call.create(chat(**fields)))["ids"]
        [found] = await call.get(id_)
    assert {name: found[name] for name in fields} == fields


@pytest.mark.parametrize(
    ("raw", "parsed"),
    [('{"place": "Basel"}', {"place": "Basel"}), ('{"town": 1}', None), ("no json", None), (None, None)],
    ids=repr,
)
async def test_a_json_datapoint_may_have_a_bad_output(client: Any, raw: str | None, parsed: Any) -> None:
    async with client() as call:
        [id_] = (await call.create(extract(output={"raw": raw})))["ids"]
        [found] = await call.get(id_)
    assert found["output"] == {"raw": raw, "parsed": parsed}
    assert found["output_schema"] == PLACE


async def test_a_schema_of_its_own_decides_what_fits(client: Any) -> None:
    schema = {"type": "object", "required": ["town"]}
    async with client() as call:
        [id_, bare] = (await call.create(extract(output={"raw": '{"town": 1}'}, output_schema=schema), extract("b")))[
            "ids"
        ]
        [found, other] = await call.get(id_, bare)
    assert (found["output"]["parsed"], found["output_schema"]) == ({"town": 1}, schema)
    assert other["output"] is None


@pytest.mark.parametrize(
    ("wanted", "status", "message"),
    [
        (None, 400, "datapoints: at least one is needed"),
        (chat(function_name="nope"), 404, "Unknown function: nope"),
        (chat(function_name="extract"), 400, "datapoints[1]: type: function extract is a json function, not chat"),
        (extract(function_name="chat"), 400, "datapoints[1]: type: function chat is a chat function, not json"),
        (chat(function_name="strict"), 400, "datapoints[1]: JSON Schema validation failed"),
        (chat(allowed_tools=["nope"]), 400, "datapoints[1]: Tool not found: nope"),
        (chat(tool_choice={"specific": "nope"}), 400, "datapoints[1]: Tool not found: nope"),
        (chat(additional_tools=[{"name": "x", "description": "", "parameters": {"type": 1}}]), 400,
         "datapoints[1]: additional_tools: the parameters of x are no JSON Schema"),
        (chat(additional_tools=[{"name": "x"}]), 400, "datapoints[1].additional_tools[0]: missing field"),
        (chat(output="text"), 400, "datapoints[1].output: Expected `array | null`, got `str`"),
        (chat(output=[{"type": "nope"}]), 400, "datapoints[1].output[0].type: "),
        (chat(output=[{"type": "raw_text", "value": "x"}]), 400, "datapoints[1].output[0].type: an output has blocks"),
        (chat(output=[{"type": "text"}]), 400, "datapoints[1].output[0]: a text block needs exactly one"),
        (chat(output=[{"type": "tool_call", "id": "1"}]), 400, "datapoints[1].output[0]: a tool_call needs `name`"),
        (extract(output={"raw": 1}), 400, "datapoints[1].output.raw: Expected `str | null`"),
        (extract(output_schema={"type": 1}), 400, "datapoints[1]: output_schema: not a JSON Schema"),
        (chat(tags={"a": 1}), 400, "datapoints[1].tags"),
        (chat() | {"type": "nope"}, 400, "datapoints[1].type: unknown variant `nope`"),
        (chat(input=said() | {"messages": [{"role": "user", "content": [{"type": "file", "url": "x"}]}]}), 400,
         "datapoints[1].input.messages[0].content[0].url: not an absolute URL"),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
async def test_one_wrong_datapoint_stops_all(client: Any, wanted: Any, status: int, message: str) -> None:
    async with client() as call:
        answer = await call.create(*([chat(), wanted] if wanted else []), status=status)
        assert answer["error"].startswith(message)
        assert await call.listed() == []


@pytest.mark.parametrize("name", ["builder", "tensorzero::x", "headrace::x"])
async def test_reserved_datasets_are_not_written_to(client: Any, name: str) -> None:
    async with client() as call:
        for method, path, body in [
            ("POST", "/datapoints", {"datapoints": [chat()]}),
            ("PATCH", "/datapoints", {"datapoints": [{"type": "chat", "id": str(new_id())}]}),
            ("PATCH", "/datapoints/metadata", {"datapoints": [{"id": str(new_id())}]}),
            ("DELETE", "/datapoints", {"ids": [str(new_id())]}),
            ("DELETE", "", None),
        ]:
            answer = await call(method, f"/v1/datasets/{name}{path}", body, status=400)
            assert answer == {"error": f"Invalid dataset name: {name}"}
        await call("POST", f"/internal/datasets/{name}/datapoints/clone", {"datapoint_ids": []}, status=400)


# -- from inferences ----------------------------------------------------------------------------------------


async def test_a_query_chooses_inferences_by_what_was_said_of_them(client: Any) -> None:
    async with client() as call:
        ids = [await call.infer(f"question {n} of many", n % 2 == 0) for n in range(30)]
        await call.host.settled()
        wanted = {
            "type": "inference_query",
            "function_name": "chat",
            "filters": {"type": "boolean_metric", "metric_name": "liked", "value": True},
            "order_by": [{"by": "timestamp", "direction": "ascending"}],
        }
        made = (await call("POST", f"{DATASET}/from_inferences", wanted))["ids"]
        found = await call.get(*made)
        assert [each["source_inference_id"] for each in found] == ids[::2], "all of them, though a list has 20"
        assert not found[0]["is_custom"]
        some = wanted | {"limit": 2, "offset": 1, "search_query_experimental": "QUESTION"}
        assert len((await call("POST", f"{DATASET}/from_inferences", some))["ids"]) == 2
        unknown = wanted | {"filters": {"type": "boolean_metric", "metric_name": "nope", "value": True}}
        answer = await call("POST", f"{DATASET}/from_inferences", unknown, status=400)
        assert answer == {"error": "Invalid metric name: nope"}


async def test_expired_inferences_make_no_datapoints(client: Any) -> None:
    async with client() as call:
        kept, lost = await call.infer("one"), await call.infer("two")
        await call.host.settled()
        await call.host.store.expire("data", datetime(2100, 1, 1, tzinfo=UTC))
        wanted = {"type": "inference_ids", "inference_ids": [kept, lost], "output_source": "none"}
        answer = await call("POST", f"{DATASET}/from_inferences", wanted, status=400)
        assert answer["error"].endswith("has expired: its input is no longer stored")
        assert await call.listed() == []


async def test_everything_a_query_can_say_reaches_from_inferences(client: Any) -> None:
    async with client() as call:
        ids = [await call.infer(f"q {n}") for n in range(5)]
        await call.host.settled()
        body: dict[str, Any]
        for body, expected in [({"before": ids[2]}, [1, 0]), ({"after": ids[2]}, [4, 3]), ({"limit": 1}, [4])]:
            wanted = {"type": "inference_query", **body}
            made = (await call("POST", f"{DATASET}/from_inferences", wanted))["ids"]
            assert [ids.index(each["source_inference_id"]) for each in await call.get(*made)] == expected
        assert len(await call.host.store.inferences(InferenceQuery(limit=None))) == 5


# -- finding ----------------------------------------------------------------------------------------------


async def test_lists_by_filter_search_and_order(client: Any) -> None:
    async with client() as call:
        made = [
            (await call.create(chat("apple pie", tags={"kind": "a", "n": "1"})))["ids"][0],
            (await call.create(chat("pear and apple, apple", tags={"kind": "b"})))["ids"][0],
            (await call.create(extract("plum", tags={"kind": "a"})))["ids"][0],
        ]

        async def ids(**body: Any) -> list[int]:
            return [made.index(each["id"]) for each in await call.listed(**body)]

        tag = {"type": "tag", "key": "kind", "value": "a", "comparison_operator": "="}
        ascending = [{"by": "timestamp", "direction": "ascending"}]
        relevant = [{"by": "search_relevance", "direction": "descending"}]
        assert await ids() == [2, 1, 0]
        assert await ids(order_by=ascending) == [0, 1, 2]
        assert await ids(filter=tag) == [2, 0]
        assert await ids(filter={"type": "not", "child": tag}) == [1]
        assert await ids(filter={"type": "and", "children": [tag, tag | {"key": "n", "value": "1"}]}) == [0]
        assert await ids(search_query_experimental="APPLE", order_by=relevant) == [1, 0]
        assert await ids(function_name="extract") == [2]
        assert await ids(limit=1, offset=1) == [1]
        assert await ids(page_size=1) == [2]
        before = {"type": "time", "time": "2020-01-01T00:00:00Z", "comparison_operator": "<"}
        assert await ids(filter=before) == []


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"order_by": [{"by": "search_relevance", "direction": "descending"}]}, 400, "`search_relevance` needs"),
        ({"order_by": [{"by": "metric", "name": "liked", "direction": "descending"}]}, 400, "have no metrics"),
        ({"filter": {"type": "boolean_metric", "metric_name": "liked", "value": True}}, 400, "have no feedback"),
        ({"function_name": "nope"}, 404, "Unknown function: nope"),
    ],
    ids=["relevance", "metric-order", "metric-filter", "function"],
)
async def test_what_datapoints_do_not_have_is_refused(client: Any, body: Any, status: int, message: str) -> None:
    async with client() as call:
        answer = await call("POST", f"{DATASET}/list_datapoints", body, status=status)
    assert message in answer["error"]


async def test_counts_a_dataset(client: Any) -> None:
    async with client() as call:
        await call.create(chat("a"), chat("b"), extract("c"))
        path = "/internal/datasets/d/datapoints/count"
        assert await call("GET", path) == {"datapoint_count": 3}
        assert await call("GET", f"{path}?function_name=extract") == {"datapoint_count": 1}
        await call("DELETE", DATASET)
        assert await call("GET", path) == {"datapoint_count": 0}
