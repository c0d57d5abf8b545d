"""An inference that may be answered from the cache."""

from __future__ import annotations

from typing import Any

import pytest
from headrace.cache import NOTHING_SPENT
from headrace.types import (
    CacheOptions,
)
from recipes import all_of, ask, function, model

pytestmark = pytest.mark.anyio

CACHED = CacheOptions("on")


async def test_a_second_equal_call_asks_nobody_and_costs_nothing(opened: Any) -> None:
    async with opened(model() + function()) as host:
        await host.gateway.infer(ask(cache=CACHED))
        await host.settled()
        answer = await host.gateway.infer(ask(cache=CACHED, include_raw_usage=True, include_raw_response=True))
        assert len(host.asked()) == 1
        await host.settled()
        [attempt] = await host.store.model_inferences(answer.inference_id)
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.cost) == (0, 0, 0)
    assert (answer.raw_usage, answer.raw_response) == ((), ())
    assert (attempt.cached, attempt.raw_response) == (True, "said")


async def test_http_edge_08_a_cached_stream_ends_with_a_chunk_of_zeros(opened: Any) -> None:
    async with opened(model(says='["a", "b"]') + function()) as host:
        before = await all_of(await host.gateway.stream(ask(cache=CACHED)))
        await host.settled()
        after = await all_of(await host.gateway.stream(ask(cache=CACHED, include_raw_response=True)))
        assert len(host.asked()) == 1
    assert [chunk.content for chunk in after] == [chunk.content for chunk in before]
    assert (after[-1].usage, after[-1].finish_reason) == (NOTHING_SPENT, "stop")
    assert not any(chunk.raw_chunk for chunk in after)


async def test_streams_and_whole_answers_are_kept_apart(opened: Any) -> None:
    async with opened(model() + function()) as host:
        await host.gateway.infer(ask(cache=CACHED))
        await host.settled()
        await all_of(await host.gateway.stream(ask(cache=CACHED)))
        assert len(host.asked()) == 2


@pytest.mark.parametrize(
    ("first", "second", "asked"),
    [("off", "on", 2), ("write_only", "read_only", 1), ("read_only", "on", 2), ("on", "write_only", 2)],
)
async def test_modes_say_who_reads_and_who_writes(opened: Any, first: Any, second: Any, asked: int) -> None:
    async with opened(model() + function()) as host:
        await host.gateway.infer(ask(cache=CacheOptions(first)))
        await host.settled()
        await host.gateway.infer(ask(cache=CacheOptions(second)))
        assert len(host.asked()) == asked


async def test_calls_of_tools_that_do_not_fit_are_not_kept(opened: Any) -> None:
    async with opened(model(calls="{ nobody = '{}' }") + function()) as host:
        await host.gateway.infer(ask(cache=CACHED))
        await host.settled()
        await host.gateway.infer(ask(cache=CACHED))
        assert len(host.asked()) == 2


async def test_a_garbled_stream_is_not_kept(opened: Any) -> None:
    async with opened(model(says='["a", "b"]', garbled_at=1) + function()) as host:
        await all_of(await host.gateway.stream(ask(cache=CACHED)))
        await host.settled()
        await all_of(await host.gateway.stream(ask(cache=CACHED)))
        assert len(host.asked()) == 2


async def test_a_disabled_cache_keeps_nothing(opened: Any) -> None:
    async with opened(model() + function() + "[gateway.cache]\nenabled = false\n") as host:
        await host.gateway.infer(ask(cache=CACHED))
        await host.settled()
        await host.gateway.infer(ask(cache=CACHED))
        assert len(host.asked()) == 2
