"""What feedback is taken, what is refused, and when a missing target is believed to be missing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

import anyio
import httpx
import pytest
from headrace.errors import BadRequest, HeadraceError, NotFound
from headrace.exchange import InferenceRequest
from headrace.feedback import FeedbackRequest
from headrace.http.app import create_app
from headrace.ids import new_id
from headrace.records import BooleanFeedback, CommentFeedback, DemonstrationFeedback, FloatFeedback, Record
from headrace.types import CheckedToolCall, Input, InputMessage, JsonOutput, Text, Tool
from headrace_memory import Memory, Settings

pytestmark = pytest.mark.anyio

TOML = """
[models.m]
routing = ["p"]
[models.m.providers.p]
type = "scripted"

[functions.chat]
type = "chat"
[functions.chat.variants.a]
type = "chat_completion"
model = "m"

[functions.json]
type = "json"
output_schema.__tensorzero_remapped_path = "s"
output_schema.__data = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'
[functions.json.variants.a]
type = "chat_completion"
model = "m"
json_mode = "off"

[metrics.good]
type = "boolean"
level = "inference"
optimize = "max"

[metrics.stars]
type = "float"
level = "episode"
optimize = "max"
"""
HELLO = Input((InputMessage("user", (Text("hello"),)),))
ADD = Tool("add", "adds", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
OLD = UUID("01890000-0000-7000-8000-000000000000")


async def give(host: Any, function: str = "chat", *, on: str = "inference", **fields: Any) -> tuple[UUID, Any]:
    """Infer, then give feedback on it; returns the target and the row."""
    request = InferenceRequest(input=HELLO, function_name=function, additional_tools=fields.pop("tools", ()))
    response = await host.gateway.infer(request)
    target = response.inference_id if on == "inference" else response.episode_id
    id_ = await host.gateway.feedback.give(FeedbackRequest(**{f"{on}_id": target, **fields}))
    await anyio.wait_all_tasks_blocked()
    [row] = await host.store.feedback(target)
    assert row.id == id_
    return target, row


async def test_takes_a_boolean(opened: Any) -> None:
    async with opened(TOML) as host:
        target, row = await give(host, metric_name="good", value=True, tags={"by": "user"})
    assert isinstance(row, BooleanFeedback)
    assert (row.target_id, row.metric_name, row.value, row.tags) == (target, "good", True, {"by": "user"})
    assert row.snapshot_hash == host.gateway.snapshot.hash


async def test_takes_a_number_about_an_episode(opened: Any) -> None:
    async with opened(TOML) as host:
        target, row = await give(host, on="episode", metric_name="stars", value=4)
    assert isinstance(row, FloatFeedback)
    assert (row.target_id, row.value) == (target, 4.0)


@pytest.mark.parametrize("on", ["inference", "episode"])
async def test_takes_a_comment_on_either(opened: Any, on: str) -> None:
    async with opened(TOML) as host:
        _, row = await give(host, on=on, metric_name="comment", value="nice")
    assert isinstance(row, CommentFeedback)
    assert (row.target_type, row.value) == (on, "nice")


@pytest.mark.parametrize(
    ("function", "value", "kept"),
    [
        ("chat", "better", (Text("better"),)),
        ("chat", [{"type": "text", "text": "better"}], (Text("better"),)),
        (
            "chat",
            [{"type": "tool_call", "id": "c", "name": "add", "arguments": {"a": 1}}],
            (CheckedToolCall("c", "add", '{"a":1}', "add", {"a": 1}),),
        ),
        ("json", {"n": 1}, JsonOutput('{"n":1}', {"n": 1})),
    ],
    ids=["text", "blocks", "tool-call", "json"],
)
async def test_takes_a_demonstration_that_fits(opened: Any, function: str, value: Any, kept: Any) -> None:
    tools = (ADD,) if function == "chat" else ()
    async with opened(TOML) as host:
        _, row = await give(host, function, metric_name="demonstration", value=value, tools=tools)
    assert isinstance(row, DemonstrationFeedback)
    assert row.value == kept


@pytest.mark.parametrize(
    ("function", "fields", "fragment"),
    [
        ("json", {"metric_name": "demonstration", "value": {"n": "x"}}, "JSON Schema validation failed"),
        ("chat", {"metric_name": "demonstration", "value": 1}, "must be a string or a list"),
        (
            "chat",
            {"metric_name": "demonstration", "value": [{"type": "tool_call", "id": "c", "name": "x", "arguments": {}}]},
            "invalid tool name: x",
        ),
        (
            "chat",
            {
                "metric_name": "demonstration",
                "value": [{"type": "tool_call", "id": "c", "name": "add", "arguments": {"a": "x"}}],
                "tools": (ADD,),
            },
            "JSON Schema validation failed",
        ),
        ("chat", {"metric_name": "good", "value": 1}, "Feedback value for metric `good` must be a boolean"),
        ("chat", {"metric_name": "comment", "value": 1}, "must be a string"),
        ("chat", {"metric_name": "stars", "value": 1.0}, 'not provided for feedback level "episode"'),
        ("chat", {"metric_name": "good", "value": True, "tags": {"tensorzero::x": "y"}}, "Invalid tag"),
        ("chat", {"metric_name": "good", "value": True, "episode_id": OLD}, "Both episode_id and inference_id"),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_refuses_what_does_not_fit(opened: Any, function: str, fields: dict[str, Any], fragment: str) -> None:
    async with opened(TOML) as host:
        with pytest.raises(BadRequest, match=fragment.replace("[", r"\[")):
            await give(host, function, **fields)


@pytest.mark.parametrize(("value",), [(True,), ("0.5",), (None,), (10**400,), (-1e151,)], ids=lambda v: str(v)[:9])
async def test_a_float_metric_takes_only_numbers(opened: Any, value: Any) -> None:
    async with opened(TOML) as host:
        with pytest.raises(BadRequest, match="must be a number"):
            await give(host, on="episode", metric_name="stars", value=value)


async def test_an_unknown_metric_is_not_found(opened: Any) -> None:
    async with opened(TOML) as host:
        with pytest.raises(NotFound, match="Unknown metric: nope"):
            await give(host, metric_name="nope", value=True)


@pytest.mark.trio_cases(0)
async def test_an_old_id_that_is_nowhere_is_believed_after_a_moment(opened: Any) -> None:
    async with opened(TOML) as host:
        with pytest.raises(BadRequest, match=f"Inference ID: {OLD} does not exist"):
            await host.gateway.feedback.give(FeedbackRequest(metric_name="good", value=True, inference_id=OLD))


async def test_validation_of_targets_can_be_switched_off_but_for_demonstrations(opened: Any) -> None:
    async with opened("[gateway]\nunstable_disable_feedback_target_validation = true\n" + TOML) as host:
        desk = host.gateway.feedback
        await desk.give(FeedbackRequest(metric_name="good", value=True, inference_id=OLD))
        with pytest.raises(BadRequest, match="does not exist"):
            await desk.give(FeedbackRequest(metric_name="demonstration", value="x", inference_id=OLD))


async def test_a_dry_run_checks_and_keeps_nothing(opened: Any) -> None:
    async with opened(TOML) as host:
        response = await host.gateway.infer(InferenceRequest(input=HELLO, function_name="chat"))
        request = FeedbackRequest(metric_name="good", value=True, inference_id=response.inference_id, dryrun=True)
        await host.gateway.feedback.give(request)
        await anyio.wait_all_tasks_blocked()
        assert await host.store.feedback(response.inference_id) == []


@pytest.mark.parametrize(
    ("metric", "value"), [("good", True), ("comment", "x"), ("demonstration", "x")], ids=["metric", "comment", "demo"]
)
async def test_internal_feedback_is_marked_whatever_its_kind(opened: Any, metric: str, value: Any) -> None:
    async with opened(TOML) as host:
        _, row = await give(host, metric_name=metric, value=value, internal=True, tags={"tensorzero::x": "y"})
    assert row.tags == {"tensorzero::x": "y", "tensorzero::internal": "true"}


async def test_without_a_store_feedback_is_refused(registry: Any) -> None:
    from headrace.assembly import assemble
    from headrace.config import loads
    from headrace.conformance.script import Script

    async with assemble(loads("[gateway.observability]\nenabled = false"), registry, transport=Script()) as gateway:
        with pytest.raises(HeadraceError, match="needs a store"):
            await gateway.feedback.give(FeedbackRequest(metric_name="comment", value="x", inference_id=new_id()))


class Silent(Memory):
    """Does not answer to writes and pings until it is ``back``."""

    def __init__(self) -> None:
        super().__init__(Settings())
        self.back = anyio.Event()

    async def write(self, records: Sequence[Record]) -> None:
        await self.back.wait()
        await super().write(records)

    async def ping(self) -> None:
        await self.back.wait()


@pytest.mark.trio_cases(0)
async def test_what_a_silent_store_keeps_waiting_is_told_after_seconds(opened: Any) -> None:
    """Feedback whose target may be on its way, and whoever asks how we are."""
    store, replies = Silent(), dict[str, httpx.Response]()
    async with opened("async_writes = true\n" + TOML, store=store) as host:
        transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=30) as http:
            response = await host.gateway.infer(InferenceRequest(input=HELLO, function_name="chat"))
            judgement = {"metric_name": "good", "value": True, "inference_id": str(response.inference_id)}

            async def ask(method: str, path: str, **body: Any) -> None:
                replies[path] = await http.request(method, path, **body)

            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ask, "GET", "/health")
                    tasks.start_soon(partial(ask, "POST", "/feedback", json=judgement))
            assert (replies["/health"].status_code, replies["/health"].json()["store"]) == (503, "error")
            assert replies["/feedback"].status_code == 503
            assert "records wait for the store" in replies["/feedback"].text
            store.back.set()
            assert (await http.post("/feedback", json=judgement)).status_code == 200
            assert (await http.get("/health")).status_code == 200
