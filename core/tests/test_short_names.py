"""Models that need no table."""

from __future__ import annotations

from typing import Any

import pytest
from headrace.errors import BadRequest
from headrace.types import (
    Text,
)
from recipes import ask, function

pytestmark = pytest.mark.anyio


async def test_a_short_name_is_a_model_with_one_provider(opened: Any) -> None:
    async with opened("") as host:
        answer = await host.gateway.infer(ask(model_name="scripted::hello"))
        await host.settled()
        [attempt] = await host.store.model_inferences(answer.inference_id)
    assert answer.output == (Text("hello"),)
    assert (attempt.model_name, attempt.model_provider_name) == ("scripted::hello", "scripted")


async def test_a_variant_may_use_one(opened: Any) -> None:
    async with opened(function("v=scripted::there")) as host:
        answer = await host.gateway.infer(ask())
    assert answer.output == (Text("there"),)


@pytest.mark.parametrize("name", ["nobody::x", "scripted::", "scripted", "buggy::x"])
async def test_any_other_name_is_unknown(opened: Any, name: str) -> None:
    async with opened("") as host:
        with pytest.raises(BadRequest, match=f"Invalid inference target: Model name '{name}' not found"):
            await host.gateway.infer(ask(model_name=name))


async def test_names_that_callers_invent_do_not_fill_the_memory(opened: Any) -> None:
    async with opened("") as host:
        for index in range(1005):
            host.assembly.models.model(f"scripted::{index}")
        assert len(host.assembly.models._short) == 1000
