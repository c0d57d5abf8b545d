"""The surfaces over HTTP, without a socket: bodies, statuses, headers, streams."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from headrace.http.app import create_app

pytestmark = pytest.mark.anyio

TOML = """
[models.good]
routing = ["p"]
[models.good.providers.p]
type = "scripted"
says = ["good ", "day"]

[models.bad]
routing = ["p"]
[models.bad.providers.p]
type = "scripted"
fails = "broken"

[models.torn]
routing = ["p"]
[models.torn.providers.p]
type = "scripted"
says = ["good ", "day"]
fail_after = 1

[models.garbled]
routing = ["p"]
[models.garbled.providers.p]
type = "scripted"
says = ["good ", "day"]
garbled_at = 1

[models.caller]
routing = ["p"]
[models.caller.providers.p]
type = "scripted"
says = []
calls = { add = '{"a": 1}' }

[embedding_models.e]
routing = ["echo"]
[embedding_models.e.providers.echo]
type = "echo"

[functions.f]
type = "chat"
[functions.f.variants.a]
type = "chat_completion"
model = "good"

[functions.bad]
type = "chat"
[functions.bad.variants.a]
type = "chat_completion"
model = "bad"

[functions.torn]
type = "chat"
[functions.torn.variants.a]
type = "chat_completion"
model = "torn"

[functions.json]
type = "json"
[functions.json.variants.a]
type = "chat_completion"
model = "good"
json_mode = "off"
"""

INPUT = {"messages": [{"role": "user", "content": "hello"}]}
CHAT = {"model": "tensorzero::function_name::f", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def client(opened: Any) -> Callable[..., Any]:
    """``async with client() as http``."""

    @asynccontextmanager
    async def open_(**options: Any) -> AsyncGenerator[httpx.AsyncClient, None]:
        async with opened(TOML) as host:
            transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False, **options))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
                yield http

    return open_


def events(body: str) -> list[Any]:
    """The data of each event, decoded but for the terminator."""
    data = [line.removeprefix("data: ") for line in body.split("\n\n") if line]
    return [json.loads(each) if each != "[DONE]" else each for each in data]


# -- /inference -------------------------------------------------------------------------------------------


async def test_inference_answers_in_the_specified_shape(client: Any) -> None:
    async with client() as http:
        reply = await http.post("/inference", json={"function_name": "f", "input": INPUT})
    body = reply.json()
    assert reply.status_code == 200
    assert set(body) == {"inference_id", "episode_id", "variant_name", "content", "usage", "finish_reason"}
    assert body["content"] == [{"type": "text", "text": "good day"}]
    assert body["usage"] == {"input_tokens": 3, "output_tokens": 2, "cost": None}


async def test_every_response_says_the_version(client: Any) -> None:
    async with client() as http:
        for reply in (
            await http.get("/status"),
            await http.get("/nowhere"),
            await http.post("/inference", content="{"),
        ):
            assert reply.headers["x-tensorzero-gateway-version"]


async def test_explicit_nulls_are_as_good_as_absence(client: Any) -> None:
    names = "model_name episode_id stream params variant_name dryrun internal tags allowed_tools additional_tools "
    names += "tool_choice parallel_tool_calls output_schema credentials namespace provider_tools cache_options "
    names += "extra_body extra_headers include_raw_response include_raw_usage internal_dynamic_variant_config"
    body = {"function_name": "f", "input": INPUT} | dict.fromkeys(names.split())
    async with client() as http:
        assert (await http.post("/inference", json=body)).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ('{"fun', 400, "Failed to parse the request body as JSON: "),
        (b'{"function_name": "\xff"}', 400, "Failed to parse the request body as JSON: "),
        ("[]", 400, "Expected `object`, got `array`"),
        ("[" * 100_000, 400, ""),
        ({"function_name": "f"}, 400, "Object missing required field `input`"),
        ({"function_name": "f", "input": INPUT, "nope": 1}, 400, "unknown field `nope`"),
        (
            {"function_name": "f", "input": {"messages": [{"role": "robot", "content": "x"}]}},
            400,
            "input.messages[0].role: ",
        ),
        (
            {"function_name": "f", "input": {"messages": [{"role": "user", "content": [{"type": "text"}]}]}},
            400,
            "input.messages[0].content[0]: a text block needs exactly one of `text` and `arguments`",
        ),
        ({"function_name": "f", "input": INPUT, "params": {}}, 400, "params: Object missing required field"),
        ({"function_name": "f", "input": INPUT, "episode_id": "x"}, 400, "episode_id: Invalid UUID"),
        ({"function_name": 1, "input": INPUT}, 400, "function_name: Expected `str | null`, got `int`"),
        ({"function_name": "nope", "input": INPUT}, 404, "Unknown function: nope"),
        ({"function_name": "f", "variant_name": "nope", "input": INPUT}, 404, "Unknown variant: nope"),
        ({"model_name": "nope", "input": INPUT}, 400, "Invalid inference target: "),
        (
            {"function_name": "bad", "input": INPUT},
            502,
            "All variants failed with errors: a: All model providers failed",
        ),
        ({"function_name": "bad", "variant_name": "a", "input": INPUT}, 500, "All model providers failed to infer"),
        ({"function_name": "bad", "stream": True, "input": INPUT}, 502, "All variants failed with errors: "),
        (
            {"function_name": "f", "input": INPUT, "include_aggregated_response": True},
            400,
            "include_aggregated_response is only supported in streaming mode",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_inference_refuses_with_a_line_to_act_on(client: Any, body: Any, status: int, message: str) -> None:
    content = json.dumps(body) if isinstance(body, dict) else body
    async with client() as http:
        reply = await http.post("/inference", content=content)
        again = await http.post("/inference", json={"function_name": "f", "input": INPUT})
    assert (reply.status_code, list(reply.json())) == (status, ["error"])
    assert reply.json()["error"].startswith(message)
    assert "Traceback" not in reply.text
    assert again.status_code == 200, "the server keeps serving"


class Blanks(httpx.AsyncByteStream):
    """A body without end."""

    def __aiter__(self) -> Blanks:
        return self

    async def __anext__(self) -> bytes:
        return b" " * 100


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # httpx leaves a generator of its own open, and trio complains
async def test_an_oversized_body_is_refused_without_reading_it_all(client: Any) -> None:
    async with client(max_body_bytes=1000) as http:
        reply = await http.post("/inference", content=Blanks())
    assert reply.status_code == 400
    assert "413" in reply.json()["error"]


async def test_streams_events_and_done(client: Any) -> None:
    async with client() as http:
        reply = await http.post("/inference", json={"function_name": "f", "input": INPUT, "stream": True})
    *pieces, last, done = events(reply.text)
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.headers["cache-control"] == "no-cache"
    assert [piece["content"][0]["text"] for piece in pieces] == ["good ", "day"]
    assert not any("usage" in piece for piece in pieces)
    assert (last["content"], last["finish_reason"], last["usage"]["output_tokens"]) == ([], "stop", 2)
    assert done == "[DONE]"


async def test_streams_json_functions_as_raw(client: Any) -> None:
    async with client() as http:
        reply = await http.post("/inference", json={"function_name": "json", "input": INPUT, "stream": True})
    assert [event["raw"] for event in events(reply.text)[:-1]] == ["good ", "day", ""]


async def test_a_failure_midway_is_an_event_and_done_still_comes(client: Any) -> None:
    async with client() as http:
        reply = await http.post("/inference", json={"function_name": "torn", "input": INPUT, "stream": True})
    piece, error, done = events(reply.text)
    assert piece["content"][0]["text"] == "good "
    assert error == {"error": "Error from scripted server: torn"}
    assert done == "[DONE]"


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/inference", {"model_name": "garbled", "input": INPUT}, {"error": "Error parsing chunk"}),
        (
            "/openai/v1/chat/completions",
            {**CHAT, "model": "tensorzero::model_name::garbled"},
            {"error": {"message": "Error parsing chunk"}},
        ),
    ],
    ids=["native", "openai"],
)
async def test_a_garbled_piece_is_an_event_of_its_own(client: Any, path: str, body: Any, error: Any) -> None:
    async with client() as http:
        _, told, piece, last, done = events((await http.post(path, json={**body, "stream": True})).text)
    assert told == error
    assert "error" not in piece
    assert "error" not in last
    assert done == "[DONE]"


# -- OpenAI's -----------------------------------------------------------------------------------------------


async def test_chat_completions_answer_in_openais_shape(client: Any) -> None:
    async with client() as http:
        body = (await http.post("/openai/v1/chat/completions", json=CHAT)).json()
    assert body["object"] == "chat.completion"
    assert body["model"] == "tensorzero::function_name::f::variant_name::a"
    assert body["choices"] == [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "good day"}}
    ]
    assert body["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "tensorzero_cost": None,
    }


async def test_chat_completions_give_tool_calls(client: Any) -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    body = {**CHAT, "model": "tensorzero::model_name::caller", "tools": [tool]}
    async with client() as http:
        message = (await http.post("/openai/v1/chat/completions", json=body)).json()["choices"][0]["message"]
    assert message["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    ]


@pytest.mark.parametrize("asked", [True, False], ids=["usage-asked", "usage-not-asked"])
async def test_streamed_completions_end_with_one_chunk_of_finish_reason_and_usage(client: Any, asked: bool) -> None:
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": asked}}
    async with client() as http:
        *pieces, last, done = events((await http.post("/openai/v1/chat/completions", json=body)).text)
    assert [piece["choices"][0]["delta"] for piece in pieces] == [
        {"role": "assistant", "content": "good "},
        {"content": "day"},
    ]
    assert all(piece["usage"] is None for piece in pieces)
    assert last["choices"][0]["finish_reason"] == "stop"
    assert (last["usage"] is not None) is asked
    assert done == "[DONE]"


async def test_streamed_tool_calls_are_numbered_and_named_once(client: Any) -> None:
    body = {**CHAT, "model": "tensorzero::model_name::caller", "stream": True}
    async with client() as http:
        chunks = events((await http.post("/openai/v1/chat/completions", json=body)).text)[:-2]
    calls = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in chunks]
    assert [(call["id"], call["index"]) for call in calls] == [("c1", 0), (None, 0)]
    assert [call["function"] for call in calls] == [
        {"name": "add", "arguments": ""},
        {"name": "", "arguments": '{"a": 1}'},
    ]


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"model": "gpt-4o"}, 400, "Invalid request to OpenAI-compatible endpoint: `model` field must start with"),
        ({"model": "tensorzero::function_name::nope"}, 404, "Unknown function: nope"),
        ({"n": 2}, 400, "`n` must be absent or 1"),
        ({"stop": "x"}, 400, "stop: "),
        ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]}, 400, "tool call id not found: x"),
        ({"nope": 1, "tensorzero::deny_unknown_fields": True}, 400, "`tensorzero::deny_unknown_fields` is set"),
        ({"tensorzero::extra_body": [{}]}, 400, "tensorzero::extra_body[0]: Object missing required field `pointer`"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages[0].content[0]: "),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_openais_errors_have_openais_shape(client: Any, change: Any, status: int, message: str) -> None:
    async with client() as http:
        reply = await http.post("/openai/v1/chat/completions", json={**CHAT, **change})
    assert reply.status_code == status
    assert reply.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    "fields",
    [{"user": "x"}, {"tensorzero::cache_options": {"enabled": "off"}, "tensorzero::deny_unknown_fields": True}],
    ids=["unknown", "off"],
)
async def test_fields_without_meaning_are_tolerated(client: Any, fields: dict[str, Any]) -> None:
    async with client() as http:
        assert (await http.post("/openai/v1/chat/completions", json={**CHAT, **fields})).status_code == 200


async def test_embeddings_keep_order_and_encoding(client: Any) -> None:
    body = {"model": "tensorzero::embedding_model_name::e", "input": ["a", "b"]}
    async with client() as http:
        floats = (await http.post("/openai/v1/embeddings", json=body)).json()
        packed = (await http.post("/openai/v1/embeddings", json={**body, "encoding_format": "base64"})).json()
        other = (await http.post("/openai/v1/embeddings", json={**body, "input": "b"})).json()
    assert [item["index"] for item in floats["data"]] == [0, 1]
    assert floats["data"][1]["embedding"] == other["data"][0]["embedding"]
    assert isinstance(packed["data"][0]["embedding"], str)
    assert floats["model"] == "tensorzero::embedding_model_name::e"


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"input": []}, 400, "Input cannot be empty"),
        ({"input": ["a", 1]}, 400, "input: texts and token ids cannot be mixed"),
        ({"model": "nope"}, 404, "Model not found: nope"),
    ],
    ids=["empty", "mixed", "unknown"],
)
async def test_embeddings_refuse(client: Any, change: Any, status: int, message: str) -> None:
    async with client() as http:
        reply = await http.post("/openai/v1/embeddings", json={"model": "e", "input": "a", **change})
    assert (reply.status_code, reply.json()) == (status, {"error": {"message": message}})


# -- the rest ---------------------------------------------------------------------------------------------


async def test_an_unknown_route_is_a_json_404(client: Any) -> None:
    async with client() as http:
        reply = await http.get("/nope")
    assert (reply.status_code, reply.json()) == (404, {"error": "Route not found: GET /nope"})


async def test_a_wrong_method_is_an_empty_405(client: Any) -> None:
    async with client() as http:
        reply = await http.get("/inference")
    assert (reply.status_code, reply.content, reply.headers["allow"]) == (405, b"", "POST")


async def test_everything_moves_under_the_base_path(client: Any) -> None:
    async with client(base_path="/llm") as http:
        assert (await http.get("/llm/status")).json()["status"] == "ok"
        assert (await http.get("/status")).status_code == 404
        assert (await http.post("/llm/inference", json={"function_name": "f", "input": INPUT})).status_code == 200


async def test_status_health_and_metrics(client: Any) -> None:
    async with client() as http:
        await http.post("/inference", json={"function_name": "f", "input": INPUT})
        status, health = (await http.get("/status")).json(), await http.get("/health")
        page = (await http.get("/metrics")).text
    assert status["config_hash"].isdecimal()
    assert (health.status_code, set(health.json().values())) == (200, {"ok"})
    assert 'tensorzero_requests_total{endpoint="inference",function_name="f"} 1.0' in page
    assert "tensorzero_input_tokens_total 3.0" in page
