"""Time limits at three levels. They are real here: the scripted provider sleeps."""

from __future__ import annotations

from typing import Any

import pytest
from headrace.errors import HeadraceError, TimedOut
from headrace.types import TextDelta
from recipes import all_of, ask, function, model

pytestmark = pytest.mark.anyio

LATE = model(slow_s=30).replace('routing = ["p"]', 'routing = ["p"]\ntimeouts = { non_streaming.total_ms = 20 }')


async def test_a_provider_that_is_late_makes_way_for_the_next(opened: Any) -> None:
    toml = '[models.m]\nrouting = ["late", "p"]\n[models.m.providers.late]\ntype = "scripted"\nslow_s = 30\n'
    toml += "timeouts = { non_streaming.total_ms = 20, streaming.ttft_ms = 20 }\n"
    toml += '[models.m.providers.p]\ntype = "scripted"\n'
    async with opened(toml + function()) as host:
        answer = await host.gateway.infer(ask())
        await host.settled()
        attempts = await host.store.model_inferences(answer.inference_id)
        streamed = await all_of(await host.gateway.stream(ask()))
    assert (
        attempts[0].error == "Model provider late timed out due to configured `non_streaming.total_ms` timeout (20ms)"
    )
    assert streamed[0].content == (TextDelta("0", "hi"),)


async def test_a_late_model_is_a_408_for_a_pinned_variant(opened: Any) -> None:
    toml = model(slow_s=30).replace('routing = ["p"]', 'routing = ["p"]\ntimeouts = { non_streaming.total_ms = 20 }')
    async with opened(toml + function()) as host:
        with pytest.raises(TimedOut, match=r"Model m timed out .*`non_streaming.total_ms` timeout \(20ms\)"):
            await host.gateway.infer(ask(variant_name="v"))
    assert TimedOut.http_status == 408


async def test_config_edge_25_a_models_limit_is_for_one_attempt_not_for_all_retries(opened: Any) -> None:
    toml = model(slow_s=30).replace('routing = ["p"]', 'routing = ["p"]\ntimeouts = { non_streaming.total_ms = 20 }')
    toml += function(more="retries = { num_retries = 2, max_delay_s = 0.001 }\n")
    async with opened(toml) as host:
        with pytest.raises(HeadraceError, match="All retries failed with errors: Model m timed out") as caught:
            await host.gateway.infer(ask(variant_name="v"))
        assert len(host.asked()) == 3
    assert caught.value.http_status == 408


async def test_a_variants_limit_takes_in_its_retries(opened: Any) -> None:
    toml = model(fails='"no"')
    toml += function(
        more="retries = { num_retries = 50, max_delay_s = 10 }\ntimeouts = { non_streaming.total_ms = 50 }\n"
    )
    async with opened(toml) as host:
        with pytest.raises(TimedOut, match="Variant `v` timed out"):
            await host.gateway.infer(ask(variant_name="v"))


async def test_a_stream_that_takes_too_long_ends_with_an_error(opened: Any) -> None:
    toml = model(says='["a", "b", "c"]', pause_s=0.1) + function(more="timeouts = { streaming.total_ms = 150 }\n")
    async with opened(toml) as host:
        seen = []
        with pytest.raises(TimedOut, match="`streaming\\.total_ms`"):
            async for chunk in await host.gateway.stream(ask()):
                seen.append(chunk)
    assert 1 <= len(seen) < 3


async def test_config_edge_14_a_retry_goes_through_all_providers_again(opened: Any) -> None:
    toml = '[models.m]\nrouting = ["p", "q"]\n'
    for name in "pq":
        toml += f'[models.m.providers.{name}]\ntype = "scripted"\nfails = "400"\n'
    toml += function(more="retries = { num_retries = 1, max_delay_s = 0.001 }\n")
    async with opened(toml) as host:
        with pytest.raises(HeadraceError, match="All retries failed"):
            await host.gateway.infer(ask(variant_name="v"))
        assert [len(route.provider.asked) for route in host.assembly.models.routed("m").routes] == [2, 2]
