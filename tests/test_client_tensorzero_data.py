"""What the official `tensorzero` client gives beside inferences, on each store: feedback and workflow evaluations."""

from __future__ import annotations

from typing import Any

import pytest
import tensorzero as tz
from clients import Call, Gateway
from tensorzero.generated_types import (
    InferenceFilterAnd,
    InferenceFilterFloatMetric,
    InferenceFilterTag,
    OrderByTimestamp,
)
from tensorzero.util import uuid7

pytest_plugins = ["backends"]

HI: Any = {"messages": [{"role": "user", "content": "hi"}]}


# -- feedback -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "value", "level"),
    [
        ("solved", True, "inference"),
        ("grade", 0.5, "episode"),
        ("comment", "well done", "inference"),
        ("comment", "well done", "episode"),
        ("demonstration", "a better answer", "inference"),
        ("demonstration", [{"type": "text", "text": "a better answer"}], "inference"),
    ],
)
def test_feedback_of_every_kind(call: Call, gateway: Gateway, metric: str, value: Any, level: str) -> None:
    answer = call("inference", function_name="chat", input=HI)
    target = {f"{level}_id": getattr(answer, f"{level}_id")}
    given = call("feedback", metric_name=metric, value=value, tags={"who": "me"}, **target)
    assert isinstance(given, tz.FeedbackResponse)
    assert gateway.has_feedback(given.feedback_id)
    dry = call("feedback", metric_name=metric, value=value, dryrun=True, **target)
    assert not gateway.has_feedback(dry.feedback_id)


def test_demonstrations_fit_what_they_replace(call: Call) -> None:
    chat = call("inference", function_name="weather", input=HI)
    better = [{"type": "tool_call", "id": "1", "name": "get_temperature", "arguments": {"location": "Basel"}}]
    call("feedback", metric_name="demonstration", value=better, inference_id=chat.inference_id)
    extracted = call("inference", function_name="extract", input=HI)
    call("feedback", metric_name="demonstration", value={"answer": "Bye"}, inference_id=extracted.inference_id)
    with pytest.raises(tz.TensorZeroError) as caught:
        call("feedback", metric_name="demonstration", value={"other": 1}, inference_id=extracted.inference_id)
    assert caught.value.status_code == 400


# -- workflow evaluations -----------------------------------------------------------------------------------


def test_a_run_pins_the_variants_of_its_episodes(call: Call) -> None:
    run = call(
        "workflow_evaluation_run",
        variants={"chat": "asked", "weather": "calls"},
        tags={"of": "run", "both": "run"},
        project_name="project",
        display_name="name",
    )
    assert isinstance(run, tz.WorkflowEvaluationRunResponse)
    made = call("workflow_evaluation_run_episode", run_id=run.run_id, task_name="task", tags={"both": "episode"})
    assert isinstance(made, tz.WorkflowEvaluationRunEpisodeResponse)
    episode_id = made.episode_id
    first = call("inference", function_name="chat", input=HI, episode_id=episode_id, tags={"own": "1"})
    second = call("inference", function_name="extract", input=HI, episode_id=episode_id)
    own = call("inference", function_name="chat", input=HI, episode_id=episode_id, variant_name="plain")
    assert [one.variant_name for one in (first, second, own)] == ["asked", "right", "plain"]
    assert {one.episode_id for one in (first, second, own)} == {episode_id}

    given = call("feedback", metric_name="grade", value=0.75, episode_id=episode_id)
    assert isinstance(given, tz.FeedbackResponse)
    call("feedback", metric_name="solved", value=True, inference_id=first.inference_id)
    graded = InferenceFilterFloatMetric(metric_name="grade", value=0.75, comparison_operator="=")
    of_run = InferenceFilterTag(
        key="tensorzero::workflow_evaluation_run_id", value=str(run.run_id), comparison_operator="="
    )
    wanted = tz.ListInferencesRequest(
        filters=InferenceFilterAnd(children=[graded, of_run]), order_by=[OrderByTimestamp(direction="ascending")]
    )
    found = call("list_inferences", request=wanted).inferences
    assert [one.inference_id for one in found] == [str(one.inference_id) for one in (first, second, own)]
    tags = found[0].tags
    assert (tags["of"], tags["both"], tags["own"]) == ("run", "episode", "1")
    assert tags["tensorzero::internal"] == "true"


def test_an_episode_is_of_a_run(call: Call) -> None:
    with pytest.raises(tz.TensorZeroError, match="Workflow evaluation run not found: ") as caught:
        call("workflow_evaluation_run_episode", run_id=str(uuid7()))
    assert caught.value.status_code == 400
    with pytest.raises(tz.TensorZeroError, match="Unknown variant: nope") as caught:
        call("workflow_evaluation_run", variants={"chat": "nope"})
    assert caught.value.status_code == 400
