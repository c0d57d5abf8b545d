"""What the official `tensorzero` client does with datasets: make, change, name, retire and list datapoints."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import tensorzero as tz
from clients import ANSWER, PNG_BASE64, SENTENCE, TEMPERATURE, WEATHER, Call, Gateway
from tensorzero.generated_types import (
    AndDatapointFilter,
    CreateDatapointsFromInferenceRequestParamsInferenceQuery,
    DatapointOrderBySearchRelevance,
    DatapointOrderByTimestamp,
    InferenceFilterBooleanMetric,
    NotDatapointFilter,
    OrDatapointFilter,
    TagDatapointFilter,
    TimeDatapointFilter,
    UpdateChatDatapointRequest,
    UpdateJsonDatapointRequest,
)
from tensorzero.util import uuid7

pytest_plugins = ["backends"]

HI: Any = {"messages": [{"role": "user", "content": "hi"}]}
ID = str(uuid7())


@pytest.fixture
def dataset() -> str:
    """A name that no other test has."""
    return f"d-{uuid7()}"


def said(text: str) -> tz.Input:
    return tz.Input(messages=[{"role": "user", "content": text}])  # type: ignore[list-item]


def chat(text: str = "hi", **fields: Any) -> tz.CreateDatapointRequestChat:
    return tz.CreateDatapointRequestChat(function_name="weather", input=said(text), **fields)


def extract(text: str = "hi", **fields: Any) -> tz.CreateDatapointRequestJson:
    return tz.CreateDatapointRequestJson(function_name="extract", input=said(text), **fields)


def create(call: Call, dataset: str, *requests: Any) -> list[str]:
    answer = call("create_datapoints", dataset_name=dataset, requests=list(requests))
    assert isinstance(answer, tz.CreateDatapointsResponse)
    return list(answer.ids)


def get(call: Call, dataset: str, *ids: str) -> list[Any]:
    found = {point.id: point for point in call("get_datapoints", dataset_name=dataset, ids=list(ids)).datapoints}
    return [found[id_] for id_ in ids]


def update(call: Call, dataset: str, *requests: Any) -> list[str]:
    answer = call("update_datapoints", dataset_name=dataset, requests=list(requests))
    assert isinstance(answer, tz.UpdateDatapointsResponse)
    return list(answer.ids)


def test_datapoints_are_made_as_they_were_sent(call: Call, dataset: str) -> None:
    tool = {"type": "function", "name": "extra", "description": "x", "parameters": ANSWER, "strict": False}
    ids = create(
        call,
        dataset,
        chat(
            output=[
                {"type": "text", "text": "let me see"},
                {"type": "tool_call", "id": "1", "raw_name": "get_temperature", "raw_arguments": json.dumps(WEATHER)},
            ],
            additional_tools=[tool],
            tool_choice="auto",
            parallel_tool_calls=True,
            tags={"a": "b"},
            name="mine",
            episode_id=ID,
        ),
        extract(output=tz.JsonDatapointOutputUpdate(raw='{"answer": "Hello"}')),
        extract(output=tz.JsonDatapointOutputUpdate(raw="no json"), output_schema=TEMPERATURE),
    )
    first, right, wrong = get(call, dataset, *ids)
    assert (first.type, first.name, first.episode_id, first.tags) == ("chat", "mine", ID, {"a": "b"})
    assert first.output[0].text == "let me see"
    assert first.output[1].arguments == WEATHER
    assert [each.name for each in first.additional_tools] == ["extra"]
    assert (first.is_custom, first.is_deleted, first.source_inference_id) == (True, False, None)
    assert right.output.parsed == {"answer": "Hello"}
    assert right.output_schema == ANSWER
    assert (wrong.output.raw, wrong.output.parsed, wrong.output_schema) == ("no json", None, TEMPERATURE)


def test_files_of_datapoints_are_kept(call: Call, gateway: Gateway, dataset: str) -> None:
    file = {"type": "file", "file_type": "base64", "mime_type": "image/png", "data": PNG_BASE64}
    input_: Any = {"messages": [{"role": "user", "content": [file]}]}
    [id_] = create(call, dataset, {"type": "chat", "function_name": "chat", "input": input_})
    [found] = get(call, dataset, id_)
    assert found.input.messages[0].content[0].type == "file", "of which the client's class has nothing else"
    assert list((gateway.folder / "observability" / "files").glob("*.png"))


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        (tz.CreateDatapointRequestChat(function_name="nope", input=said("x")), 404, "Unknown function: nope"),
        (tz.CreateDatapointRequestChat(function_name="extract", input=said("x")), 400, "is a json function"),
        (chat(allowed_tools=["nope"]), 400, "Tool not found: nope"),
        (extract(output_schema={"type": 1}), 400, "not a JSON Schema"),
    ],
)
def test_a_wrong_datapoint_stops_all(call: Call, dataset: str, request_: Any, status: int, message: str) -> None:
    with pytest.raises(tz.TensorZeroError, match=message) as caught:
        create(call, dataset, chat(), request_)
    assert caught.value.status_code == status
    assert set(json.loads(caught.value.text or "")) == {"error"}
    assert call("list_datapoints", dataset_name=dataset, request=tz.ListDatapointsRequest()).datapoints == []


def test_an_update_has_a_new_id(call: Call, dataset: str) -> None:
    one, two = create(call, dataset, chat(name="keep", tags={"a": "b"}), extract())
    changes = [
        UpdateChatDatapointRequest(id=one, input=said("changed"), name="new", tags={"c": "d"}),
        UpdateJsonDatapointRequest(id=two, output=tz.JsonDatapointOutputUpdate(raw='{"answer": "x"}')),
    ]
    ids = update(call, dataset, *changes)
    assert not set(ids) & {one, two}
    first, second = get(call, dataset, *ids)
    assert first.input.messages[0].content[0].text == "changed"
    assert (first.name, first.tags) == ("new", {"c": "d"})
    assert second.output.parsed == {"answer": "x"}
    assert all(each.is_deleted for each in get(call, dataset, one, two))
    with pytest.raises(tz.TensorZeroError, match=f"Datapoint not found for id: {one}") as caught:
        update(call, dataset, UpdateChatDatapointRequest(id=one))
    assert caught.value.status_code == 404


def test_the_client_writes_null_for_what_it_was_not_given(call: Call, dataset: str) -> None:
    """Which clears it: sharp edge 0 of datasets. Nothing in the request tells it from a wish to clear."""
    [id_] = create(call, dataset, chat(name="old", output=[{"type": "text", "text": "x"}]))
    [changed] = get(call, dataset, *update(call, dataset, UpdateChatDatapointRequest(id=id_, tags={"a": "b"})))
    assert (changed.name, changed.output) == (None, None)


def test_names_change_in_place(call: Call, dataset: str) -> None:
    [id_] = create(call, dataset, chat(name="old"))
    for name in ("new", None):
        answer = call(
            "update_datapoints_metadata",
            dataset_name=dataset,
            requests=[tz.UpdateDatapointMetadataRequest(id=id_, name=name)],
        )
        assert answer.ids == [id_]
        assert get(call, dataset, id_)[0].name == name


def test_datapoints_are_retired(call: Call, dataset: str) -> None:
    ids = create(call, dataset, *(chat(f"text {n}") for n in range(5)))
    answer = call("delete_datapoints", dataset_name=dataset, ids=ids[:2])
    assert isinstance(answer, tz.DeleteDatapointsResponse)
    assert answer.num_deleted_datapoints == 2
    assert call("delete_datapoints", dataset_name=dataset, ids=ids[:3]).num_deleted_datapoints == 1
    assert call("delete_dataset", dataset_name=dataset).num_deleted_datapoints == 2
    assert call("delete_dataset", dataset_name=dataset).num_deleted_datapoints == 0
    assert call("list_datapoints", dataset_name=dataset, request=tz.ListDatapointsRequest()).datapoints == []
    assert len(get(call, dataset, *ids)) == 5


def test_lists_by_filter_search_and_order(call: Call, dataset: str) -> None:
    made = [
        *create(call, dataset, chat("apple pie", tags={"kind": "a"})),
        *create(call, dataset, chat("apple, pear and apple", tags={"kind": "b"})),
        *create(call, dataset, extract("plum", tags={"kind": "a"})),
    ]

    def listed(**wanted: Any) -> list[int]:
        answer = call("list_datapoints", dataset_name=dataset, request=tz.ListDatapointsRequest(**wanted))
        assert isinstance(answer, tz.GetDatapointsResponse)
        return [made.index(point.id) for point in answer.datapoints]

    kind = TagDatapointFilter(key="kind", value="a", comparison_operator="=")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    later = TimeDatapointFilter(time=tomorrow, comparison_operator=">")
    assert listed() == [2, 1, 0]
    assert listed(filter=kind) == [2, 0]
    assert listed(filter=NotDatapointFilter(child=kind)) == [1]
    assert listed(filter=AndDatapointFilter(children=[kind, later])) == []
    assert listed(filter=OrDatapointFilter(children=[kind, later])) == [2, 0]
    assert listed(order_by=[DatapointOrderByTimestamp(direction="ascending")], limit=2) == [0, 1]
    relevance = [DatapointOrderBySearchRelevance(direction="descending")]
    assert listed(search_query_experimental="APPLE", order_by=relevance) == [1, 0]
    assert listed(function_name="extract") == [2]
    assert listed(page_size=1, offset=1) == [1]
    with pytest.raises(tz.TensorZeroError, match="`search_relevance` needs") as caught:
        listed(order_by=relevance)
    assert caught.value.status_code == 400


def test_a_query_makes_datapoints_of_what_was_liked(call: Call, dataset: str) -> None:
    answers = [call("inference", function_name="chat", input=HI) for _ in range(3)]
    episodes = {str(answer.episode_id) for answer in answers}
    for answer, liked in zip(answers, (True, False, True), strict=True):
        call("feedback", metric_name="solved", value=liked, inference_id=answer.inference_id)
    params = CreateDatapointsFromInferenceRequestParamsInferenceQuery(
        function_name="chat", filters=InferenceFilterBooleanMetric(metric_name="solved", value=True)
    )
    made = call("create_datapoints_from_inferences", dataset_name=dataset, params=params)
    mine = [each for each in get(call, dataset, *made.ids) if each.episode_id in episodes]
    assert {each.source_inference_id for each in mine} == {str(answers[n].inference_id) for n in (0, 2)}


def test_inferences_become_datapoints(call: Call, dataset: str) -> None:
    chat, weather, extract = (
        call("inference", function_name=function, input=HI, tags={"a": "b"})
        for function in ("chat", "weather", "extract")
    )
    call("feedback", metric_name="demonstration", value="better", inference_id=chat.inference_id)
    ids = [str(answer.inference_id) for answer in (chat, weather, extract)]
    params = tz.CreateDatapointsFromInferenceRequestParamsInferenceIds(inference_ids=ids)
    made = call("create_datapoints_from_inferences", dataset_name=dataset, params=params)
    assert isinstance(made, tz.CreateDatapointsResponse)
    assert len(made.ids) == 3

    found = call("get_datapoints", dataset_name=dataset, ids=made.ids).datapoints
    assert {point.source_inference_id for point in found} == set(ids)
    by_function = {point.function_name: point for point in found}
    assert by_function["chat"].output[0].text == SENTENCE
    assert by_function["chat"].tags == {"a": "b"}
    assert by_function["weather"].output[0].arguments == WEATHER
    assert by_function["extract"].output.parsed == {"answer": "Hello"}
    assert by_function["extract"].output_schema["required"] == ["answer"]
    with pytest.warns(DeprecationWarning, match="without a dataset name"):
        assert len(call("get_datapoints", ids=made.ids).datapoints) == 3

    (listed,) = call(
        "list_datapoints", dataset_name=dataset, request=tz.ListDatapointsRequest(function_name="chat", limit=5)
    ).datapoints
    assert (listed.type, listed.input.messages[0].content[0].text) == ("chat", "hi")
    assert len(call("list_datapoints", dataset_name=dataset, request=tz.ListDatapointsRequest(limit=2)).datapoints) == 2


def test_a_query_makes_datapoints_of_demonstrations(call: Call, dataset: str) -> None:
    answer = call("inference", function_name="again", input=HI)
    call("feedback", metric_name="demonstration", value="better", inference_id=answer.inference_id)
    params = CreateDatapointsFromInferenceRequestParamsInferenceQuery(
        function_name="again", episode_id=str(answer.episode_id), output_source="demonstration"
    )
    made = call("create_datapoints_from_inferences", dataset_name=dataset, params=params)
    (point,) = call("get_datapoints", dataset_name=dataset, ids=made.ids).datapoints
    assert point.output[0].text == "better"
    assert point.episode_id == str(answer.episode_id)


def test_datapoints_of_no_inference_are_an_error(call: Call) -> None:
    params = tz.CreateDatapointsFromInferenceRequestParamsInferenceIds(inference_ids=[ID])
    with pytest.raises(tz.TensorZeroError, match=f"Inference {ID} not found") as caught:
        call("create_datapoints_from_inferences", dataset_name="mine", params=params)
    assert caught.value.status_code == 400
    with pytest.raises(tz.TensorZeroError, match="Invalid dataset name") as caught:
        call("create_datapoints_from_inferences", dataset_name="tensorzero::mine", params=params)
    assert caught.value.status_code == 400
