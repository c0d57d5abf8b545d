"""A variant that comes with its request."""

from __future__ import annotations

from typing import Any

import pytest
from headrace.errors import BadRequest
from headrace.types import (
    Input,
    InputMessage,
    Template,
    Text,
)
from recipes import ask, function, model

pytestmark = pytest.mark.anyio

INLINE: dict[str, Any] = {
    "type": "chat_completion",
    "model": "m",
    "templates": {"greet": {"path": {"__tensorzero_remapped_path": "greet", "__data": "Hello {{ name }}"}}},
}


async def test_http_edge_29_it_answers_once_and_leaves_no_record(opened: Any) -> None:
    async with opened(model() + function()) as host:
        answer = await host.gateway.infer(ask(inline_variant={"type": "chat_completion", "model": "m"}, dryrun=True))
        await host.settled()
        assert await host.store.model_inferences(answer.inference_id) == []
    assert answer.variant_name == "tensorzero::dynamic_variant"


async def test_its_templates_are_rendered(opened: Any) -> None:
    input_ = Input((InputMessage("user", (Template("greet", {"name": "Ada"}),)),))
    async with opened(model() + function()) as host:
        await host.gateway.infer(ask(input=input_, inline_variant=INLINE, dryrun=True))
        [request] = host.asked()
    assert request.messages[0].content == (Text("Hello Ada"),)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"dryrun": False}, "needs `dryrun: true`"),
        ({"variant_name": "v"}, "cannot be combined with `variant_name`"),
        ({"model_name": "m"}, "Invalid inference target"),
        ({"inline_variant": {"type": "nothing"}}, "nothing"),
        ({"inline_variant": {"type": "chat_completion", "model": "nobody"}}, "nobody"),
        ({"inline_variant": {"type": "chat_completion", "model": "m", "strange": 1}}, "strange"),
    ],
    ids=str,
)
async def test_it_needs_a_dry_run_of_a_function_and_a_valid_table(
    opened: Any, fields: dict[str, Any], text: str
) -> None:
    async with opened(model() + function()) as host:
        with pytest.raises(BadRequest, match=text):
            await host.gateway.infer(ask(**{"inline_variant": INLINE, "dryrun": True, **fields}))
