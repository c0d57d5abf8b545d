"""Stored inferences over HTTP: how they are shown, by id, and what lies behind them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import httpx
import pytest
from headrace.extras import ExtraBody
from headrace.http.app import create_app
from headrace.media import File, StoragePath
from headrace.records import DemonstrationFeedback, InferenceRecord, ModelInferenceRecord
from headrace.types import (
    CheckedToolCall,
    Input,
    InputMessage,
    JsonOutput,
    Params,
    Specific,
    Template,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolConfig,
    ToolResult,
)
from past import EPISODES, FIVE, asking, at, inference, shown

pytestmark = pytest.mark.anyio

LIST = "/v1/inferences/list_inferences"
GET = "/v1/inferences/get_inferences"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.fixture
def client(opened: Any) -> Callable[..., Any]:
    """``async with client(*records) as asks``."""
    return partial(asking, opened)


# -- how they are shown ---------------------------------------------------------------------------------------


async def test_a_chat_inference_is_shown_whole(client: Any) -> None:
    record = inference(
        1,
        input=Input(
            (
                InputMessage("user", (Template("user", {"a": [1]}), Text("and"))),
                InputMessage("assistant", (ToolCall("c", "f", '{"x":1}'), Thought("hm"))),
                InputMessage("user", (ToolResult("c", "f", "2"),)),
            ),
            {"who": "you"},
        ),
        output=(Text("so"), CheckedToolCall("c", "f", "{", None, None)),
        tools=ToolConfig(
            tools=(Tool("f", "does", {"type": "object"}),), choice=Specific("f"), parallel=True, allowed=("f",)
        ),
        inference_params=Params(temperature=0.5),
        extra_body=(ExtraBody(pointer="/x", value=1), ExtraBody(pointer="/y", delete=True)),
        processing_time_ms=12,
        ttft_ms=3,
        tags={"a": "b"},
    )
    async with client(record) as asks:
        [found] = (await asks.post(LIST, {}))["inferences"]
    assert found == {
        "type": "chat",
        "function_name": "chat",
        "variant_name": "v",
        "timestamp": "2025-01-01T00:00:01Z",
        "episode_id": str(EPISODES[1]),
        "inference_id": str(at(1)),
        "input": {
            "system": {"who": "you"},
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "template", "name": "user", "arguments": {"a": [1]}},
                        {"type": "text", "text": "and"},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "tool_call", "id": "c", "name": "f", "arguments": '{"x":1}'},
                        {"type": "thought", "text": "hm"},
                    ],
                },
                {"role": "user", "content": [{"type": "tool_result", "id": "c", "name": "f", "result": "2"}]},
            ],
        },
        "output": [
            {"type": "text", "text": "so"},
            {"type": "tool_call", "id": "c", "raw_name": "f", "raw_arguments": "{", "name": None, "arguments": None},
        ],
        "dispreferred_outputs": [],
        "tags": {"a": "b"},
        "extra_body": [{"pointer": "/x", "value": 1}, {"pointer": "/y", "delete": True}],
        "inference_params": {"chat_completion": {"temperature": 0.5}},
        "processing_time_ms": 12,
        "ttft_ms": 3,
        "snapshot_hash": "ff",
        "allowed_tools": ["f"],
        "additional_tools": [
            {"type": "function", "name": "f", "description": "does", "parameters": {"type": "object"}, "strict": False}
        ],
        "tool_choice": {"specific": "f"},
        "parallel_tool_calls": True,
        "provider_tools": [],
    }


def extracted(number: int) -> InferenceRecord:
    return inference(
        number,
        function_name="extract",
        function_type="json",
        output=JsonOutput('{"a":1}', {"a": 1}),
        output_schema=SCHEMA,
    )


@pytest.mark.parametrize(
    ("source", "output", "dispreferred"),
    [
        ("inference", {"raw": '{"a":1}', "parsed": {"a": 1}}, []),
        ("none", None, []),
        ("demonstration", {"raw": '{"a":2}', "parsed": {"a": 2}}, [{"raw": '{"a":1}', "parsed": {"a": 1}}]),
    ],
)
@pytest.mark.parametrize("path", [LIST, GET])
async def test_the_output_is_the_given_one_none_or_the_latest_demonstration(
    client: Any, path: str, source: str, output: Any, dispreferred: Any
) -> None:
    better = [
        DemonstrationFeedback(
            id=at(2, kind), inference_id=at(2), value=JsonOutput(f'{{"a":{kind}}}', {"a": kind}), snapshot_hash="1"
        )
        for kind in (1, 2)
    ]
    async with client(extracted(2), *better) as asks:
        [found] = (await asks.post(path, {"ids": [str(at(2))], "output_source": source}))["inferences"]
    assert (found["type"], found["output_schema"]) == ("json", SCHEMA)
    assert (found.get("output"), found["dispreferred_outputs"]) == (output, dispreferred)
    assert ("output" in found) == (output is not None)


async def test_what_retention_has_emptied_is_listed_without_input_and_output(client: Any) -> None:
    async with client(inference(1, input=None, output=None), shown(1, "better")) as asks:
        [plain] = (await asks.post(LIST, {}))["inferences"]
        [demonstrated] = (await asks.post(LIST, {"output_source": "demonstration"}))["inferences"]
    assert {"input", "output"} & set(plain) == set()
    assert demonstrated["output"] == [{"type": "text", "text": "better"}]
    assert demonstrated["dispreferred_outputs"] == []


async def test_a_file_is_where_it_is_stored_and_clients_get_the_fields_they_insist_on(client: Any) -> None:
    path = StoragePath({"type": "filesystem", "path": "/x"}, "a.png")
    files = (File(mime_type="image/png", storage_path=path, detail="low"), File(source_url="https://example.com/b"))
    async with client(inference(1, input=Input((InputMessage("user", files),)))) as asks:
        [found] = (await asks.post(LIST, {}))["inferences"]
    [kept, lost] = found["input"]["messages"][0]["content"]
    assert kept == {
        "type": "file",
        "mime_type": "image/png",
        "storage_path": {"kind": {"type": "filesystem", "path": "/x"}, "path": "a.png"},
        "detail": "low",
    }
    assert lost == {
        "type": "file",
        "source_url": "https://example.com/b",
        "mime_type": "application/octet-stream",
        "storage_path": {"kind": {"type": "disabled"}, "path": ""},
    }


# -- by id ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "numbers"),
    [
        ({"ids": []}, []),
        ({"ids": [str(at(1)), str(at(3)), str(at(3)), str(at(77))]}, [3, 1]),
        ({"ids": [str(at(1))], "function_name": "extract"}, []),
        ({"ids": [str(at(1)), str(at(2))], "output_source": "demonstration", "function_name": None}, [1]),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_inferences_are_found_by_id(client: Any, body: Any, numbers: list[int]) -> None:
    async with client(*FIVE, shown(1, "better")) as asks:
        found = (await asks.post(GET, body))["inferences"]
    assert [one["inference_id"] for one in found] == [str(at(number)) for number in numbers]


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 400), ({"ids": None}, 400), ({"ids": ["x"]}, 400), ({"ids": [], "function_name": "nope"}, 404)],
)
async def test_ids_must_be_ids(client: Any, body: Any, status: int) -> None:
    async with client() as asks:
        reply = await asks.http.post(GET, json=body)
    assert (reply.status_code, set(reply.json())) == (status, {"error"})


# -- what lies behind -----------------------------------------------------------------------------------------


async def test_metadata_are_listed_in_pages(client: Any) -> None:
    path = "/internal/inference_metadata"
    async with client(*(inference(number) for number in range(25)), extracted(30)) as asks:
        first = (await asks.get(path))["inference_metadata"]
        after = (await asks.get(path, after=at(1), limit=2, function_name="chat"))["inference_metadata"]
        of_one = (await asks.get(path, episode_id=EPISODES[0], before=at(4), variant_name="v"))["inference_metadata"]
        none = (await asks.get(path, function_name="long_gone"))["inference_metadata"]
        both = await asks.http.get(path, params={"before": str(at(1)), "after": str(at(2))})
        bad = [await asks.http.get(path, params={name: "x"}) for name in ("before", "after", "limit", "episode_id")]
    assert len(first) == 20
    assert first[0] == {
        "id": str(at(30)),
        "function_name": "extract",
        "variant_name": "v",
        "episode_id": str(EPISODES[0]),
        "function_type": "json",
        "snapshot_hash": "255",
    }
    assert [one["id"] for one in after] == [str(at(3)), str(at(2))]
    assert [one["id"] for one in of_one] == [str(at(2)), str(at(0))]
    assert none == []
    assert (both.status_code, set(both.json())) == (400, {"error"})
    for reply in bad:
        assert (reply.status_code, reply.headers["content-type"]) == (400, "text/plain; charset=utf-8")


async def test_every_attempt_behind_an_inference_is_shown(client: Any) -> None:
    failed = ModelInferenceRecord(
        id=at(1, kind=5),
        inference_id=at(1),
        function_name="chat",
        variant_name="v",
        model_name="m",
        model_provider_name="p",
        snapshot_hash="255",
        error="torn",
    )
    good = ModelInferenceRecord(
        id=at(1, kind=6),
        inference_id=at(1),
        function_name="chat",
        variant_name="v",
        model_name="m",
        model_provider_name="p",
        snapshot_hash="255",
        raw_request="{}",
        raw_response="[]",
        system="be",
        output=(Text("hi"),),
        input_tokens=1,
        output_tokens=2,
        cost=Decimal("0.000000001"),
        finish_reason="stop",
    )
    async with client(inference(1), good, failed) as asks:
        found = (await asks.get(f"/internal/model_inferences/{at(1)}"))["model_inferences"]
        none = await asks.get(f"/internal/model_inferences/{at(2)}")
        bad = await asks.http.get("/internal/model_inferences/x")
    assert none == {"model_inferences": []}
    assert (bad.status_code, bad.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert [one.get("error") for one in found] == ["torn", None]
    assert found[1] == {
        "id": str(at(1, kind=6)),
        "inference_id": str(at(1)),
        "function_name": "chat",
        "variant_name": "v",
        "model_name": "m",
        "model_provider_name": "p",
        "snapshot_hash": "255",
        "raw_request": "{}",
        "raw_response": "[]",
        "system": "be",
        "input_messages": [],
        "output": [{"type": "text", "text": "hi"}],
        "finish_reason": "stop",
        "input_tokens": 1,
        "output_tokens": 2,
        "cost": 1e-9,
        "cached": False,
        "timestamp": "2025-01-01T00:00:01Z",
    }


async def test_without_a_store_there_is_nothing_to_ask(opened: Any) -> None:
    async with opened("enabled = false\n") as host:
        transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            replies = [
                await http.post(LIST, json={}),
                await http.post(GET, json={"ids": [str(at(1))]}),
                await http.get(f"/internal/resolve_uuid/{at(1)}"),
                await http.get("/internal/episodes"),
                await http.get(f"/internal/feedback/{at(1)}/bounds"),
            ]
    assert [reply.status_code for reply in replies] == [400] * 5
    assert all("needs a store" in reply.json()["error"] for reply in replies)
