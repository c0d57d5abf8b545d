"""Experiments and models that belong to a namespace."""

from __future__ import annotations

from typing import Any

import pytest
from headrace.contracts import InferenceQuery
from headrace.errors import BadRequest
from recipes import ask, function, model

pytestmark = pytest.mark.anyio

NAMESPACED = """
[functions.f.experimentation]
type = "static"
candidate_variants = ["a"]
[functions.f.experimentation.namespaces.mobile]
type = "static"
candidate_variants = ["b"]
"""


async def test_a_namespace_has_its_own_experiment(opened: Any) -> None:
    async with opened(model() + function("a=m", "b=m") + NAMESPACED) as host:
        names = [(await host.gateway.infer(ask(namespace=each))).variant_name for each in (None, "mobile", "elsewhere")]
        await host.settled()
        records = await host.store.inferences(InferenceQuery())
    assert names == ["a", "b", "a"]
    assert {record.tags.get("tensorzero::namespace") for record in records} == {None, "mobile", "elsewhere"}


@pytest.mark.parametrize("namespace", ["", "tensorzero::x", "headrace::x"])
async def test_a_namespace_has_a_name(opened: Any, namespace: str) -> None:
    async with opened(model() + function()) as host:
        with pytest.raises(BadRequest, match="namespace"):
            await host.gateway.infer(ask(namespace=namespace))


async def test_a_namespaced_model_is_called_only_from_there(opened: Any) -> None:
    toml = model().replace('routing = ["p"]', 'routing = ["p"]\nnamespace = "mobile"')
    async with opened(toml) as host:
        answer = await host.gateway.infer(ask(model_name="m", namespace="mobile"))
        with pytest.raises(BadRequest, match="can only be used with a matching namespace"):
            await host.gateway.infer(ask(model_name="m"))
    assert answer.variant_name == "m"
