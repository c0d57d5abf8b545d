"""Extra parts of a request: in which order they come, and whom they reach."""

from __future__ import annotations

from typing import Any

import pytest
from headrace.errors import BadRequest, HeadraceError, NotFound
from headrace.extras import Extra, ExtraBody
from headrace.types import (
    ProviderTool,
    ToolScope,
)
from recipes import ask, function, model

pytestmark = pytest.mark.anyio


async def test_variant_then_provider_then_request(opened: Any) -> None:
    toml = model(extra_body='[{ pointer = "/x", value = "provider" }]')
    toml += function(more='extra_body = [{ pointer = "/x", value = "variant" }]\n')
    async with opened(toml) as host:
        await host.gateway.infer(ask(extra=Extra((ExtraBody(pointer="/x", value="request"),))))
        [request] = host.asked()
    assert [entry.value for entry in request.extra.body] == ["variant", "provider", "request"]


@pytest.mark.parametrize(
    ("names", "applies"),
    [
        ({"variant_name": "v"}, True),
        ({"variant_name": "w"}, False),
        ({"model_name": "m"}, True),
        ({"model_name": "other"}, False),
        ({"model_name": "m", "provider_name": "p"}, True),
    ],
    ids=str,
)
async def test_entries_for_others_are_left_out(opened: Any, names: dict[str, Any], applies: bool) -> None:
    async with opened(model() + model("other") + function("v=m", "w=other")) as host:
        entry = ExtraBody(pointer="/x", value=1, **names)
        await host.gateway.infer(ask(extra=Extra((entry,)), variant_name="v"))
        [request] = host.asked()
    assert (request.extra.body == (entry,)) is applies


@pytest.mark.parametrize(
    ("names", "error", "text"),
    [
        ({"variant_name": "x"}, NotFound, "Unknown variant: x"),
        ({"model_name": "x"}, BadRequest, "Invalid model provider filter: "),
        ({"model_name": "m", "provider_name": "x"}, BadRequest, "Invalid model provider filter: "),
    ],
    ids=str,
)
async def test_a_filter_must_name_something(
    opened: Any, names: dict[str, Any], error: type[HeadraceError], text: str
) -> None:
    async with opened(model() + function()) as host:
        with pytest.raises(error, match=text):
            await host.gateway.infer(ask(extra=Extra((ExtraBody(pointer="/x", value=1, **names),))))


async def test_provider_tools_reach_only_whom_they_are_for(opened: Any) -> None:
    mine, any_, other = (
        ProviderTool({"type": "a"}, ToolScope("m", "p")),
        ProviderTool({"type": "b"}),
        ProviderTool({"type": "c"}, ToolScope("n")),
    )
    async with opened(model() + function()) as host:
        await host.gateway.infer(ask(provider_tools=(mine, any_, other)))
        [request] = host.asked()
    assert request.tools.provider_tools == (mine, any_)
