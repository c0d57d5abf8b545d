"""Workflow evaluations over HTTP: runs pin variants for their episodes, and lend them tags."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
from headrace.http.app import create_app
from headrace.ids import is_workflow_episode, new_id, new_workflow_episode_id, unix_seconds
from headrace.records import HumanFeedback, InferenceRecord, WorkflowEpisode, WorkflowRun
from recipes import function, model

pytestmark = pytest.mark.anyio

INTERNAL = {"internal": True, "tags": {"tensorzero::internal": "true", "who": "run"}}
ASK = {"function_name": "f", "input": {"messages": [{"role": "user", "content": "hi"}]}}
TOML = model() + function() + '[functions.f.variants.w]\ntype = "chat_completion"\nmodel = "m"\nweight = 0.0\n'
METRIC = '[metrics.good]\ntype = "boolean"\nlevel = "inference"\noptimize = "max"\n'


@asynccontextmanager
async def client(host: Any) -> AsyncGenerator[httpx.AsyncClient, None]:
    transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        yield http


async def settled(host: Any) -> list[Any]:
    await host.settled()
    rows: list[Any] = host.assembly.store.records
    return rows


async def test_a_run_pins_its_variants_and_lends_its_tags(opened: Any) -> None:
    async with opened(TOML) as host, client(host) as http:
        body = {"variants": {"f": "w"}, "project_name": "p", "display_name": "d", **INTERNAL}
        run = (await http.post("/workflow_evaluation_run", json=body)).json()["run_id"]
        made = await http.post(f"/workflow_evaluation_run/{run}/episode", json={"task_name": "t", "tags": {"a": "e"}})
        episode = UUID(made.json()["episode_id"])
        assert is_workflow_episode(episode)
        assert abs(unix_seconds(episode) - unix_seconds(new_id())) < 60
        reply = await http.post("/inference", json={**ASK, "episode_id": str(episode), "tags": {"a": "mine"}})
        assert reply.json()["variant_name"] == "w"
        assert reply.json()["episode_id"] == str(episode)
        own = await http.post("/inference", json={**ASK, "episode_id": str(episode), "variant_name": "v"})
        assert own.json()["variant_name"] == "v"
        rows = await settled(host)
        [kept] = [row for row in rows if isinstance(row, WorkflowRun)]
        assert (kept.project_name, kept.display_name, kept.variant_pins) == ("p", "d", {"f": "w"})
        [of_run] = [row for row in rows if isinstance(row, WorkflowEpisode)]
        assert (of_run.run_id, of_run.task_name, of_run.tags["a"]) == (UUID(run), "t", "e")
        first = next(row for row in rows if isinstance(row, InferenceRecord) and row.variant_name == "w")
        assert first.tags == {
            "tensorzero::internal": "true",
            "tensorzero::dynamic_evaluation_run_id": run,
            "tensorzero::workflow_evaluation_run_id": run,
            "tensorzero::variant_pinned": "w",
            "who": "run",
            "a": "mine",
        }
        assert first.variant_probability == 1.0


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"variants": {"g": "v"}}, 404, "Unknown function: g"),
        ({"variants": {"f": "x"}}, 400, "Unknown variant: x"),
        ({"variants": {}, "tags": {"tensorzero::a": "b"}}, 400, "Invalid tag"),
        ({}, 400, "variants"),
        ({"variants": {}, "x": 1}, 400, "x"),
    ],
)
async def test_a_run_of_what_is_not_there_is_refused(opened: Any, body: Any, status: int, message: str) -> None:
    async with opened(TOML) as host, client(host) as http:
        reply = await http.post("/workflow_evaluation_run", json=body)
        assert reply.status_code == status
        assert message in reply.json()["error"]
        assert not [row for row in await settled(host) if isinstance(row, WorkflowRun)]


async def test_episodes_of_unknown_runs_are_refused(opened: Any) -> None:
    async with opened(TOML) as host, client(host) as http:
        made = await http.post(f"/workflow_evaluation_run/{new_id()}/episode", json={})
        assert made.status_code == 400
        assert made.json()["error"].startswith("Workflow evaluation run not found: ")
        reply = await http.post("/inference", json={**ASK, "episode_id": str(new_workflow_episode_id())})
        assert reply.status_code == 400
        assert reply.json()["error"].startswith("Workflow evaluation run not found for episode id: ")


async def test_what_a_human_said_of_an_output_is_found_by_the_output(opened: Any) -> None:
    async with opened(TOML + METRIC) as host, client(host) as http:
        inference = (await http.post("/inference", json=ASK)).json()["inference_id"]
        datapoint, judgement = str(new_id()), str(new_id())
        tags = {
            "tensorzero::human_feedback": "true",
            "tensorzero::datapoint_id": datapoint,
            "tensorzero::evaluator_inference_id": judgement,
        }
        given = {"metric_name": "good", "value": False, "inference_id": inference, "internal": True, "tags": tags}
        assert (await http.post("/feedback", json=given)).status_code == 200
        [kept] = [row for row in await settled(host) if isinstance(row, HumanFeedback)]
        path = "/internal/evaluations/datapoints/{}/get_human_feedback"
        wanted = {"metric_name": "good", "output": ' [{"text": "hi", "type": "text"}] '}
        found = await http.post(path.format(datapoint), json=wanted)
        assert found.json() == {"feedback": {"value": False, "evaluator_inference_id": judgement}}
        assert kept.output == '[{"text":"hi","type":"text"}]'
        assert (await http.post(path.format(new_id()), json=wanted)).json() == {}
        nothing = await http.post(path.format(datapoint), json={"metric_name": "good", "output": "["})
        assert nothing.json() == {}
        bad = {**given, "tags": {**tags, "tensorzero::datapoint_id": "x"}}
        assert (await http.post("/feedback", json=bad)).status_code == 400


async def test_http_edge_33_a_workflow_evaluation_pins_as_a_caller_does(opened: Any) -> None:
    async with opened(model() + function("v=m", "w=m")) as host, client(host) as http:
        run = await host.gateway.workflows.begin({"f": "w"}, tags={})
        episode = await host.gateway.workflows.episode(run, tags={})
        reply = await http.post("/inference", json={**ASK, "episode_id": str(episode)})
        assert reply.json()["variant_name"] == "w"
        [row] = [row for row in await settled(host) if isinstance(row, InferenceRecord)]
        assert row.tags["tensorzero::variant_pinned"] == "w"
