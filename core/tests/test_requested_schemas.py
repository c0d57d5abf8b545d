"""Output schemas that come with a request."""

from __future__ import annotations

from typing import Any

import pytest
from headrace.contracts import InferenceQuery
from headrace.errors import BadRequest
from headrace.types import (
    JsonOutput,
    Params,
)
from recipes import ask, function, model

pytestmark = pytest.mark.anyio


async def test_a_schema_that_is_none_makes_the_parsed_output_null(opened: Any) -> None:
    async with opened(model(says="['{}']") + function(type_="json")) as host:
        answer = await host.gateway.infer(ask(output_schema={"type": 5}))
    assert answer.output == JsonOutput("{}", None)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "needs an `output_schema`"),
        ({"output_schema": {}, "tool_choice": "auto"}, "cannot be combined with `tool_choice`"),
        ({"output_schema": {}, "parallel_tool_calls": False}, "cannot be combined with `parallel_tool_calls`"),
    ],
    ids=str,
)
async def test_json_mode_tool_on_a_chat_function(opened: Any, fields: dict[str, Any], text: str) -> None:
    async with opened(model() + function()) as host:
        with pytest.raises(BadRequest, match=text):
            await host.gateway.infer(ask(params=Params(json_mode="tool"), **fields))


@pytest.mark.parametrize("schema", [[], True, 5, "x"], ids=repr)
async def test_a_schema_that_is_no_object_does_not_lose_the_record(opened: Any, schema: Any) -> None:
    async with opened(model() + function()) as host:
        answer = await host.gateway.infer(ask(output_schema=schema))
        await host.settled()
        found = await host.store.inferences(InferenceQuery(ids=(answer.inference_id,)))
    assert len(found) == 1
