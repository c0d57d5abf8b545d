"""Embeddings and the list of models with OpenAI's own SDK, through the app."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest
from headrace.http.app import create_app

pytestmark = pytest.mark.anyio

TOML = """
[models.m]
routing = ["echo"]
[models.m.providers.echo]
type = "echo"

[embedding_models.e]
routing = ["echo"]
[embedding_models.e.providers.echo]
type = "echo"

[functions.f]
type = "chat"
[functions.f.variants.a]
type = "chat_completion"
model = "m"
"""

F, M = "tensorzero::function_name::f", "tensorzero::model_name::m"
E = "tensorzero::embedding_model_name::e"


@pytest.fixture
def sdk(opened: Any) -> Callable[..., Any]:
    """``async with sdk() as client``."""

    @asynccontextmanager
    async def open_() -> AsyncGenerator[openai.AsyncOpenAI, None]:
        async with opened(TOML) as host:
            transport = httpx2.ASGITransport(create_app(host.gateway, owns_gateway=False))
            async with httpx2.AsyncClient(transport=transport) as http:
                yield openai.AsyncOpenAI(
                    base_url="http://gateway/openai/v1", api_key="none needed", http_client=http, max_retries=0
                )

    return open_


async def test_embeds_texts_in_either_encoding(sdk: Any) -> None:
    async with sdk() as client:
        packed = await client.embeddings.create(model=E, input=["a", "b"])  # the SDK asks for base64 by itself
        plain = await client.embeddings.create(model=E, input="b", encoding_format="float")
        extra = {"tensorzero::include_raw_response": True, "headrace::dryrun": True, "nope": 1}
        raw = await client.embeddings.create(model=E, input="b", encoding_format="float", extra_body=extra)
    assert [item.index for item in packed.data] == [0, 1]
    assert packed.data[1].embedding == pytest.approx(plain.data[0].embedding, rel=1e-6)
    assert (packed.model, packed.object, packed.data[0].object) == (E, "list", "embedding")
    (entry,) = raw.model_extra["tensorzero::raw_response"]
    assert (entry["provider_type"], entry["api_type"]) == ("echo", "embeddings")


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]]], ids=["one", "many"])
async def test_embeds_token_ids(sdk: Any, tokens: Any) -> None:
    async with sdk() as client:
        answer = await client.embeddings.create(model=E, input=tokens)
    assert len(answer.data) == (1 if isinstance(tokens[0], int) else 2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": "tensorzero::embedding_model_name::nope"}, openai.NotFoundError, "Model not found: nope"),
        ({"model": "nope"}, openai.NotFoundError, "Model not found: nope"),
        ({"input": []}, openai.BadRequestError, "Input cannot be empty"),
        ({"input": [[]]}, openai.BadRequestError, "Input cannot be empty"),
        ({"input": ["a", 1]}, openai.BadRequestError, "input: texts and token ids cannot be mixed"),
        ({"input": [1, [2]]}, openai.BadRequestError, "input: texts and token ids cannot be mixed"),
        ({"input": [-1]}, openai.BadRequestError, "input"),
        ({"input": {"a": 1}}, openai.BadRequestError, "input: "),
        ({"input": [[True]]}, openai.BadRequestError, "input"),
        ({"dimensions": -1}, openai.BadRequestError, "dimensions: "),
        ({"encoding_format": "hex"}, openai.BadRequestError, "encoding_format: "),
        ({"extra_body": {"tensorzero::cache_options": {"enabled": 1}}}, openai.BadRequestError, "cache_options"),
        ({"extra_body": {"headrace::dryrun": "yes"}}, openai.BadRequestError, "tensorzero::dryrun: "),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_embeddings_refuse_in_openais_shape(sdk: Any, change: Any, error: Any, message: str) -> None:
    async with sdk() as client:
        with pytest.raises(error, match=message):
            await client.embeddings.create(**{"model": E, "input": "a", **change})


async def test_lists_what_a_model_can_be(sdk: Any) -> None:
    async with sdk() as client:
        listed = [model async for model in client.models.list()]
        one = await client.models.retrieve(F)
        alias = await client.models.retrieve("headrace::model_name::m")
        for name in (F, M):
            await client.chat.completions.create(model=name, messages=[{"role": "user", "content": "hi"}])
        with pytest.raises(openai.NotFoundError, match="Model not found: gpt/4o") as caught:
            await client.models.retrieve("gpt/4o")
    assert [model.id for model in listed] == [F, M, E]
    assert {(model.object, model.owned_by) for model in listed} == {("model", "headrace")}
    assert (one, alias.id) == (listed[0], M)
    assert caught.value.response.json()["error"]["message"].startswith("Model not found: gpt/4o")
