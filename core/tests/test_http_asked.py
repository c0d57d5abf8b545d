"""What a caller can ask for besides the answer, all the way through a gateway: raw data, errors as data, files."""

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
routing = ["bad", "p"]
[models.good.providers.bad]
type = "scripted"
fails = "broken"
[models.good.providers.p]
type = "scripted"
says = ["good ", "day"]

[models.bad]
routing = ["p"]
[models.bad.providers.p]
type = "scripted"
fails = "broken"

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

[functions.json]
type = "json"
[functions.json.variants.a]
type = "chat_completion"
model = "good"
json_mode = "off"
"""
INPUT = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def ask(opened: Any) -> Callable[..., Any]:
    """``async with ask(**options) as infer``: ``await infer(**fields)`` is the reply of ``POST /inference``."""

    @asynccontextmanager
    async def open_(**options: Any) -> AsyncGenerator[Callable[..., Any], None]:
        async with opened(TOML) as host:
            transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False, **options))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:

                async def infer(**fields: Any) -> httpx.Response:
                    return await http.post("/inference", json={"function_name": "f", "input": INPUT, **fields})

                yield infer

    return open_


def events(body: str) -> list[Any]:
    *events, done = [each.removeprefix("data: ") for each in body.split("\n\n") if each]
    assert done == "[DONE]"
    return [json.loads(each) for each in events]


async def test_raw_data_tells_of_the_failed_attempt_and_the_good_one(ask: Any) -> None:
    async with ask() as infer:
        fields = dict.fromkeys(("include_raw_response", "include_raw_usage", "include_original_response"), True)
        body = (await infer(**fields)).json()
    failed, good = body["raw_response"]
    assert (failed["data"], "model_inference_id" in failed) == ("no", False)
    assert (good["data"], "model_inference_id" in good) == ("said", True)
    assert body["original_response"] == "said"
    assert isinstance(body["raw_usage"], list)


async def test_raw_data_of_a_stream_comes_before_the_pieces_it_goes_with(ask: Any) -> None:
    async with ask() as infer:
        pieces = events((await infer(stream=True, include_raw_response=True, include_aggregated_response=True)).text)
    assert pieces[0]["content"] == []
    assert pieces[0]["raw_response"][0]["data"] == "no"
    assert [piece["raw_chunk"] for piece in pieces if "raw_chunk" in piece][:2] == ["good ", "day"]
    assert pieces[-1]["aggregated_response"] == [{"type": "text", "text": "good day"}]
    assert not any("aggregated_response" in piece or "usage" in piece for piece in pieces[:-1])


async def test_a_json_functions_stream_ends_with_raw_and_parsed(ask: Any) -> None:
    async with ask() as infer:
        reply = await infer(function_name="json", stream=True, include_aggregated_response=True)
    assert events(reply.text)[-1]["aggregated_response"] == {"raw": "good day", "parsed": None}


async def test_a_failed_inference_shows_what_upstreams_said_if_asked(ask: Any) -> None:
    async with ask() as infer:
        silent = (await infer(function_name="bad")).json()
        told = (await infer(function_name="bad", include_raw_response=True)).json()
    assert set(silent) == {"error"}
    assert [each["data"] for each in told["raw_response"]] == ["no"]


@pytest.mark.parametrize(("debug", "raw"), [(False, None), (True, "no")], ids=["quiet", "debug"])
async def test_errors_as_data_nest_as_the_errors_do(ask: Any, debug: bool, raw: str | None) -> None:
    async with ask(error_json=True, debug=debug) as infer:
        reply = await infer(function_name="bad")
    failed = reply.json()["error_json"]["AllVariantsFailed"]["errors"]["a"]
    inner = failed["ModelProvidersExhausted"]["provider_errors"]["p"]["InferenceServer"]
    assert (reply.status_code, inner["message"], inner["raw_response"]) == (502, "broken", raw)


async def test_a_file_without_object_storage_is_refused_as_a_whole(ask: Any) -> None:
    picture = {"type": "file", "file_type": "base64", "data": "YQ==", "mime_type": "image/png"}
    async with ask() as infer:
        reply = await infer(input={"messages": [{"role": "user", "content": [picture]}]})
    assert reply.status_code == 500
    assert reply.json()["error"].startswith("Object storage is not configured")
