"""What the upstreams said, for whoever asks: usage, responses, chunks; and the whole of a stream."""

from __future__ import annotations

from typing import Any

import pytest
from headrace.errors import AllVariantsFailed
from headrace.types import (
    JsonOutput,
    Text,
)
from recipes import all_of, ask, function, model

pytestmark = pytest.mark.anyio


async def test_nothing_raw_unless_asked_for(opened: Any) -> None:
    async with opened(model() + function()) as host:
        answer = await host.gateway.infer(ask())
    assert (answer.raw_usage, answer.raw_response, answer.original_response) == (None, None, None)


async def test_raw_usage_and_responses_name_their_model_inference(opened: Any) -> None:
    async with opened(model() + function()) as host:
        answer = await host.gateway.infer(
            ask(include_raw_usage=True, include_raw_response=True, include_original_response=True)
        )
        await host.settled()
        [attempt] = await host.store.model_inferences(answer.inference_id)
    [usage], [response] = answer.raw_usage, answer.raw_response
    assert (usage.model_inference_id, usage.provider_type, usage.api_type) == (
        attempt.id,
        "scripted",
        "chat_completions",
    )
    assert usage.data == {"said": 1}
    assert (response.data, response.model_inference_id) == ("said", attempt.id)
    assert answer.original_response == "said"


async def test_failed_attempts_come_first_and_have_no_id(opened: Any) -> None:
    toml = model("bad", fails='"no"') + model() + function("a=bad", "b=m")
    toml += '[functions.f.experimentation]\ntype = "static"\ncandidate_variants = ["a"]\nfallback_variants = ["b"]\n'
    async with opened(toml) as host:
        answer = await host.gateway.infer(ask(include_raw_response=True))
    assert [(each.data, each.model_inference_id is None) for each in answer.raw_response] == [
        ("no", True),
        ("said", False),
    ]


async def test_a_failed_inference_tells_what_the_upstreams_said(opened: Any) -> None:
    async with opened(model(fails='"down"') + function()) as host:
        with pytest.raises(AllVariantsFailed) as caught:
            await host.gateway.infer(ask(include_raw_response=True))
        with pytest.raises(AllVariantsFailed) as silent:
            await host.gateway.infer(ask())
    assert [each.data for each in caught.value.raw_responses] == ["no"]
    assert not silent.value.raw_responses


async def test_a_stream_tells_what_failed_before_it_began(opened: Any) -> None:
    toml = model("bad", fails='"no"') + model(says='["a", "b"]') + function("a=bad", "b=m")
    toml += '[functions.f.experimentation]\ntype = "static"\ncandidate_variants = ["a"]\nfallback_variants = ["b"]\n'
    async with opened(toml) as host:
        first, *rest = await all_of(await host.gateway.stream(ask(include_raw_response=True)))
    assert not first.content
    assert [each.data for each in first.raw_response or ()] == ["no"]
    assert [chunk.raw_chunk for chunk in rest] == ["a", "b", "end", None]


async def test_a_streams_last_chunk_can_hold_the_whole_answer(opened: Any) -> None:
    async with opened(model(says='["a", "b"]') + function()) as host:
        *_, last = await all_of(await host.gateway.stream(ask(include_aggregated_response=True)))
        *_, bare = await all_of(await host.gateway.stream(ask()))
    assert last.aggregated == (Text("ab"),)
    assert bare.aggregated is None


async def test_the_same_for_a_json_function(opened: Any) -> None:
    async with opened(model(says="['{\"a\":', '1}']") + function(type_="json")) as host:
        *_, last = await all_of(await host.gateway.stream(ask(include_aggregated_response=True)))
    assert last.aggregated == JsonOutput('{"a":1}', {"a": 1})
    assert last.raw == ""


async def test_http_edge_07_usage_and_reason_come_once_in_a_last_empty_chunk(opened: Any) -> None:
    async with opened(model(says='["a", "b"]') + function()) as host:
        *content, last = await all_of(await host.gateway.stream(ask()))
    assert [(chunk.usage, chunk.finish_reason) for chunk in content] == [(None, None)] * 2
    assert (last.content, last.finish_reason) == ((), "stop")
    assert last.usage is not None
    assert last.usage.output_tokens == 2


async def test_raw_usage_of_a_stream_comes_with_the_chunk_that_has_it(opened: Any) -> None:
    async with opened(model() + function()) as host:
        chunks = await all_of(await host.gateway.stream(ask(include_raw_usage=True)))
    assert [usage.data for chunk in chunks for usage in chunk.raw_usage or ()] == [{"said": 1}]
