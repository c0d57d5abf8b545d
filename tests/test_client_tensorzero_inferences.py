"""What the official `tensorzero` client makes of stored inferences: `list_inferences` and `get_inferences`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import tensorzero as tz
from clients import PNG_BASE64, SENTENCE, WEATHER, Call, eventually
from tensorzero.generated_types import (
    InferenceFilterAnd,
    InferenceFilterBooleanMetric,
    InferenceFilterDemonstrationFeedback,
    InferenceFilterFloatMetric,
    InferenceFilterNot,
    InferenceFilterOr,
    InferenceFilterTag,
    InferenceFilterTime,
    OrderByMetric,
    OrderBySearchRelevance,
    OrderByTimestamp,
)
from tensorzero.util import uuid7

pytest_plugins = ["backends"]

HI: Any = {"messages": [{"role": "user", "content": "hi"}]}
ID = str(uuid7())


def listed(call: Call, **wanted: Any) -> list[str]:
    """The ids of what a request finds."""
    answer = call("list_inferences", request=tz.ListInferencesRequest(**wanted))
    assert isinstance(answer, tz.GetInferencesResponse)
    return [found.inference_id for found in answer.inferences]


def test_an_inference_is_found_as_it_was(call: Call) -> None:
    answer = call(
        "inference",
        function_name="chat",
        input={"messages": [{"role": "user", "content": "hi"}]},
        tags={"a": "b"},
        params={"chat_completion": {"max_tokens": 7}},
        extra_body=[{"pointer": "/x", "value": {"y": 1}}, {"pointer": "/z", "delete": True}],
    )
    [found] = call("get_inferences", ids=[str(answer.inference_id)]).inferences
    assert found.type == "chat"
    assert (found.function_name, found.variant_name) == ("chat", answer.variant_name)
    assert (found.inference_id, found.episode_id) == (str(answer.inference_id), str(answer.episode_id))
    assert found.input.messages[0].role == "user"
    assert found.input.messages[0].content[0].text == "hi"
    assert found.output[0].text == SENTENCE
    assert (found.tags, found.dispreferred_outputs) == ({"a": "b"}, [])
    assert found.inference_params.chat_completion.max_tokens == 7
    assert int(found.snapshot_hash, 16) > 0
    assert found.processing_time_ms >= 0
    assert abs(datetime.fromisoformat(found.timestamp) - datetime.now(UTC)) < timedelta(minutes=1)
    assert call("get_inferences", ids=[ID]).inferences == call("get_inferences", ids=[]).inferences == []


def test_every_kind_of_input_and_output_is_understood(call: Call) -> None:
    content: Any = [
        {"type": "text", "text": "look"},
        {"type": "raw_text", "value": "raw"},
        {"type": "file", "file_type": "base64", "data": PNG_BASE64, "mime_type": "image/png"},
        {"type": "thought", "text": "hm", "signature": "s"},
        {"type": "unknown", "data": {"x": 1}},
        {"type": "tool_result", "id": "1", "name": "get_temperature", "result": "7"},
        {"type": "tool_call", "id": "1", "name": "get_temperature", "arguments": {"location": "Basel"}},
    ]
    tool = {"name": "mine", "description": "d", "parameters": {"type": "object"}}
    messages: Any = {"messages": [{"role": "user", "content": content}]}
    weather = call(
        "inference", function_name="weather", input=messages, additional_tools=[tool], tool_choice="required"
    )
    extract = call("inference", function_name="extract", input=HI)
    ids = [str(weather.inference_id), str(extract.inference_id)]
    # One with files is recorded when these are stored, which no answer waits for.
    assert eventually(lambda: len(call("get_inferences", ids=ids).inferences) == len(ids))
    found = {one.function_name: one for one in call("get_inferences", ids=ids).inferences}
    blocks = found["weather"].input.messages[0].content
    assert [block.type for block in blocks] == [each["type"] for each in content]
    assert blocks[2].storage_path.path.startswith("observability/files/")
    assert json.loads(blocks[6].arguments) == {"location": "Basel"}
    assert found["weather"].output[0].arguments == WEATHER
    assert [each.name for each in found["weather"].additional_tools] == ["mine"]
    assert found["weather"].tool_choice == "required"
    assert found["extract"].type == "json"
    assert found["extract"].output.parsed == {"answer": "Hello"}
    assert found["extract"].output_schema["required"] == ["answer"]


def test_templates_keep_their_arguments(call: Call) -> None:
    block: Any = {"type": "template", "name": "topic", "arguments": {"topic": "snow"}}
    asked: Any = {"messages": [{"role": "user", "content": [block]}]}
    answer = call("inference", function_name="about", input=asked)
    [found] = call("get_inferences", ids=[str(answer.inference_id)]).inferences
    assert found.input.messages[0].content[0].arguments == {"topic": "snow"}


@pytest.fixture(scope="module")
def episode(call: Call) -> tuple[str, list[str]]:
    """An episode of three inferences: the first is solved, the second is not, the third has a demonstration."""
    first = call("inference", function_name="chat", input=HI, tags={"n": "0"})
    episode_id = str(first.episode_id)
    more = [
        call("inference", function_name="chat", input=HI, episode_id=episode_id, tags={"n": str(number)})
        for number in (1, 2)
    ]
    ids = [str(one.inference_id) for one in (first, *more)]
    for id_, value in zip(ids[:2], (True, False), strict=True):
        call("feedback", metric_name="solved", value=value, inference_id=id_)
    call("feedback", metric_name="grade", value=0.5, episode_id=episode_id)
    call("feedback", metric_name="demonstration", value="better", inference_id=ids[2])
    return episode_id, ids


def solved(value: bool) -> Any:
    return InferenceFilterBooleanMetric(metric_name="solved", value=value)


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        (solved(True), [0]),
        (InferenceFilterNot(child=solved(True)), [1]),
        (InferenceFilterOr(children=[solved(True), solved(False)]), [1, 0]),
        (InferenceFilterAnd(children=[solved(True), solved(False)]), []),
        (InferenceFilterAnd(children=[]), [2, 1, 0]),
        (InferenceFilterFloatMetric(metric_name="grade", value=0.25, comparison_operator=">="), [2, 1, 0]),
        (InferenceFilterFloatMetric(metric_name="grade", value=0.5, comparison_operator="!="), []),
        (InferenceFilterDemonstrationFeedback(has_demonstration=True), [2]),
        (InferenceFilterTag(key="n", value="1", comparison_operator="!="), [2, 0]),
        (InferenceFilterTime(time="2020-01-01T00:00:00Z", comparison_operator=">"), [2, 1, 0]),
        (InferenceFilterTime(time="2020-01-01T00:00:00+05:00", comparison_operator="<"), []),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_filter_selects(call: Call, episode: tuple[str, list[str]], filters: Any, numbers: list[int]) -> None:
    episode_id, ids = episode
    assert listed(call, episode_id=episode_id, filters=filters) == [ids[number] for number in numbers]


def test_pages_orders_and_searches(call: Call, episode: tuple[str, list[str]]) -> None:
    episode_id, ids = episode
    newest_first = ids[::-1]

    def found(**wanted: Any) -> list[str]:
        return listed(call, episode_id=episode_id, function_name="chat", **wanted)

    assert found() == newest_first
    assert found(limit=1, offset=1) == [ids[1]]
    assert found(before=ids[2], limit=1) == [ids[1]]
    assert found(after=ids[0], limit=1) == [ids[1]]
    assert found(order_by=[OrderByTimestamp(direction="ascending")]) == ids
    assert found(order_by=[OrderByMetric(name="solved", direction="descending")]) == ids
    assert found(order_by=[OrderByMetric(name="solved", direction="ascending")]) == [ids[1], ids[0], ids[2]]
    by_grade = [OrderByMetric(name="grade", direction="descending"), OrderByTimestamp(direction="ascending")]
    assert found(order_by=by_grade) == ids
    relevance = OrderBySearchRelevance(direction="descending")
    assert found(search_query_experimental="MEGUMIN", order_by=[relevance]) == newest_first
    assert found(search_query_experimental="nowhere at all") == []
    for wanted in (
        {"before": ids[0], "after": ids[1]},
        {"before": ids[0], "offset": 1},
        {"after": ids[0], "order_by": [OrderByMetric(name="solved", direction="descending")]},
        {"order_by": [relevance]},
        {"filters": InferenceFilterBooleanMetric(metric_name="nope", value=True)},
    ):
        with pytest.raises(tz.TensorZeroError) as caught:
            found(**wanted)
        assert caught.value.status_code == 400


def test_pages_lead_to_the_end_and_back(call: Call) -> None:
    first = call("inference", function_name="chat", input=HI)
    episode_id = str(first.episode_id)
    more = [call("inference", function_name="chat", input=HI, episode_id=episode_id) for _ in range(4)]
    newest_first = [str(one.inference_id) for one in (first, *more)][::-1]

    def page(**cursor: str) -> list[str]:
        return listed(call, episode_id=episode_id, limit=2, **cursor)

    pages = [page()]
    while found := page(before=pages[-1][-1]):
        pages.append(found)
    assert pages == [newest_first[:2], newest_first[2:4], newest_first[4:]]
    assert page(after=newest_first[-1]) == newest_first[2:4]
    assert page(after=newest_first[2]) == newest_first[:2]
    assert page(after=newest_first[0]) == []


@pytest.mark.parametrize(("source", "outputs"), [("inference", [SENTENCE] * 3), ("none", [None] * 3)])
def test_the_output_is_shown_or_not(
    call: Call, episode: tuple[str, list[str]], source: Any, outputs: list[Any]
) -> None:
    request = tz.ListInferencesRequest(episode_id=episode[0], output_source=source)
    found = call("list_inferences", request=request).inferences
    assert [one.output and one.output[0].text for one in found] == outputs


def test_a_demonstration_takes_the_place_of_the_output(call: Call, episode: tuple[str, list[str]]) -> None:
    request = tz.ListInferencesRequest(episode_id=episode[0], output_source="demonstration")
    [found] = call("list_inferences", request=request).inferences
    [same] = call("get_inferences", ids=episode[1], output_source="demonstration", function_name="chat").inferences
    assert found == same
    assert found.inference_id == episode[1][2]
    assert found.output[0].text == "better"
    assert found.dispreferred_outputs[0][0].text == SENTENCE


def test_an_unknown_function_is_an_error(call: Call) -> None:
    with pytest.raises(tz.TensorZeroError, match="Unknown function: nope") as caught:
        listed(call, function_name="nope")
    assert caught.value.status_code == 404
