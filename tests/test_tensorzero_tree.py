"""A whole TensorZero tree: what this version cannot do is refused by its key, all of it at once; the rest runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace import plugins
from headrace.assembly import assemble
from headrace.config import load
from headrace.conformance.script import Script
from headrace.errors import ConfigError
from headrace.exchange import InferenceRequest
from headrace.types import Input, InputMessage, JsonOutput, Template
from tensorzero_tree import PROVIDERS, TREE, plant

# What this version brings of the specification's provider types. The list grows with the plugins.
INSTALLED = {"openai"}

ENVIRONMENT = {"OPENAI_API_KEY": "sk-test"}


def test_every_missing_part_is_named_by_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = plant(tmp_path)
    (tmp_path / "files").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        assemble(load(pattern), plugins.load(), environ=ENVIRONMENT)
    told = {line.partition(" ")[0].rstrip(":") for line in caught.value.problems}
    missing = {f"models.{type_}-model.providers.{type_}.type" for type_ in set(PROVIDERS) - INSTALLED}
    assert told == missing | {"functions.draft.experimentation.type"}


def runnable() -> dict[str, str]:
    """The tree with each provider played by the dummy, and without what is refused."""
    tree = dict(TREE)
    models = "".join(
        f'[models.{name}-model]\nrouting = ["{name}"]\n[models.{name}-model.providers.{name}]\n'
        'type = "dummy"\nmodel_name = "json"\n'
        for name in PROVIDERS
    )
    tree["config/models/all.toml"] = models
    tree["config/gateway.toml"] = (
        TREE["config/gateway.toml"]
        .replace("[[rate_limiting.rules]]", "[rate_limiting]\nenabled = false\n[[rate_limiting.rules]]", 1)
        .replace('backend = "sqlite"', "")
        .replace("[gateway.observability]\n", '[gateway.observability]\nbackend = "memory"\n')
        .replace('type = "openai"\nmodel_name = "x"', 'type = "dummy"\nmodel_name = "x"')
    )
    tree["functions/draft/function.toml"] = TREE["functions/draft/function.toml"].replace(
        'type = "adaptive"\nmetric = "liked"', 'type = "static"'
    )
    return tree


@pytest.mark.anyio
@pytest.mark.parametrize("variant", ["chat", "best", "mixture", "examples", "thought"])
async def test_every_variant_of_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str) -> None:
    pattern = plant(tmp_path, runnable())
    (tmp_path / "files").mkdir()
    monkeypatch.chdir(tmp_path)
    gateway = assemble(load(pattern), plugins.load(), environ=ENVIRONMENT, transport=Script())
    asked = Input((InputMessage("user", (Template("note", {"x": "hi"}),)),))
    async with gateway:
        answer = await gateway.infer(
            InferenceRequest(
                input=asked,
                function_name="draft",
                variant_name=variant,
                namespace="lab" if variant == "thought" else None,
            )
        )
    assert isinstance(answer.output, JsonOutput)
