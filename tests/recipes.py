"""Short ways to write down a gateway with scripted models, and to ask it (core/tests/conftest.py opens it)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from headrace.exchange import InferenceChunk, InferenceRequest
from headrace.types import Input, InputMessage, Text

HI = Input((InputMessage("user", (Text("hi"),)),))

THEN = """[functions.f.experimentation]
type = "static"
candidate_variants = ["a"]
fallback_variants = ["b"]
"""


def model(name: str = "m", **part: Any) -> str:
    """A model of one scripted provider."""
    keys = "\n".join(f"{key} = {value}" for key, value in part.items())
    return f'[models.{name}]\nrouting = ["p"]\n[models.{name}.providers.p]\ntype = "scripted"\n{keys}\n'


def function(*variants: str, name: str = "f", type_: str = "chat", more: str = "") -> str:
    """A function whose variants, `name=model`, each call a model; ``more`` goes into the table of each."""
    mode = 'json_mode = "on"\n' if type_ == "json" else ""
    text = f'[functions.{name}]\ntype = "{type_}"\n'
    for variant in variants or ("v=m",):
        key, _, of = variant.partition("=")
        text += f'[functions.{name}.variants.{key}]\ntype = "chat_completion"\nmodel = "{of}"\n{mode}{more}'
    return text


def ask(**fields: Any) -> InferenceRequest:
    """A request of function f unless said otherwise."""
    if not {"function_name", "model_name"} & set(fields):
        fields["function_name"] = "f"
    return InferenceRequest(**{"input": HI, **fields})


async def all_of(chunks: AsyncGenerator[InferenceChunk, None]) -> list[InferenceChunk]:
    return [chunk async for chunk in chunks]
