"""How the dummy waits, fails, looks at credentials and embeds, by the name of its model."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import pytest
from headrace import Embedder
from headrace.conformance.provider import HELLO, asking
from headrace.conformance.script import Script, services
from headrace.contracts import Batcher
from headrace.errors import MissingCredential, ProviderError, RateLimitExceeded
from headrace.types import Chunk, EmbeddingInput, EmbeddingRequest, ModelRequest, Text, Usage
from headrace_dummy import Dummy, Settings, headrace_providers
from headrace_dummy.literals import MEGUMIN
from pydantic import ValidationError

pytestmark = pytest.mark.anyio

ONE = EmbeddingRequest(input="one")


class Naps:
    """Sleeping without waiting; the seconds are kept."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


def dummy(name: str, *, naps: Naps | None = None, **settings: Any) -> Dummy:
    return Dummy(Settings(model_name=name, **settings), services(Script()), sleep=naps or Naps())


async def streamed(provider: Dummy, request: ModelRequest = HELLO) -> list[Chunk]:
    async with aclosing(provider.stream(request)) as chunks:
        return [chunk async for chunk in chunks]


# -- time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "whole", "piecewise"),
    [
        ("good", [0.001], [0.001, *[0.01] * 16]),
        ("slow", [0.001, 5], [0.001, 5, *[0.01] * 16]),
        ("slow_second_chunk", [0.001], [0.001, 2, *[0.01] * 15]),
    ],
)
async def test_takes_its_time(name: str, whole: list[float], piecewise: list[float]) -> None:
    naps = Naps()
    await dummy(name, naps=naps).complete(HELLO)
    assert naps.taken == whole
    naps = Naps()
    await streamed(dummy(name, naps=naps))
    assert naps.taken == piecewise


# -- failures ---------------------------------------------------------------------------------------------


async def test_a_flaky_model_fails_every_second_time_streamed_or_not() -> None:
    flaky = dummy("flaky_model")
    await flaky.complete(HELLO)
    with pytest.raises(ProviderError, match="call number 2") as caught:
        await streamed(flaky)
    assert caught.value.message == "Flaky model 'flaky_model' failed on call number 2"
    assert caught.value.raw_response is None
    await streamed(flaky)
    with pytest.raises(ProviderError, match="call number 4"):
        await flaky.complete(HELLO)


@pytest.mark.parametrize(
    ("name", "kind", "raw"),
    [
        ("flaky_rate_limit_model", RateLimitExceeded, None),
        ("flaky_model_with_raw_response", ProviderError, "dummy error raw response"),
    ],
)
async def test_a_flaky_name_says_how_it_fails(name: str, kind: type[ProviderError], raw: str | None) -> None:
    flaky = dummy(name)
    await flaky.complete(HELLO)
    with pytest.raises(kind, match=f"Flaky model '{name}' failed on call number 2") as caught:
        await flaky.complete(HELLO)
    assert type(caught.value) is kind
    assert caught.value.raw_response == raw


async def test_flaky_calls_are_counted_by_name_within_one_gateway() -> None:
    (offer,) = headrace_providers()
    settings = Settings(model_name="flaky_model")
    here, there = services(Script()), services(Script())
    await offer.build(settings, here).complete(HELLO)
    await offer.build(settings, there).complete(HELLO)
    with pytest.raises(ProviderError, match="call number 2"):
        await offer.build(settings, here).complete(HELLO)


@pytest.mark.parametrize("name", ["error", "error_1", "error-anything"])
async def test_an_error_by_name(name: str) -> None:
    for ask in (dummy(name).complete(HELLO), anext(dummy(name).stream(HELLO)), dummy(name).embed(ONE)):
        with pytest.raises(ProviderError, match=f"Error sending request to Dummy provider for model '{name}'.$"):
            await ask


async def test_an_error_with_a_raw_response() -> None:
    name = "error_with_raw_response"
    for ask in (dummy(name).complete(HELLO), anext(dummy(name).stream(HELLO)), dummy(name).embed(ONE)):
        with pytest.raises(ProviderError, match="Error from Dummy provider with raw response") as caught:
            await ask
        error = caught.value
        assert (error.status, error.raw_request) == (500, "dummy error raw request")
        assert error.raw_response == "dummy error raw response"


async def test_a_judge_that_fails() -> None:
    with pytest.raises(ProviderError, match="Dummy error in inference"):
        await dummy("llm_judge::error").complete(HELLO)


# -- credentials ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("location", ["env::KEY", "dynamic::", "sk-secret", "path::x"])
def test_takes_a_dynamic_credential_or_none(location: str) -> None:
    with pytest.raises(ValidationError, match="Invalid api_key_location for Dummy provider"):
        Settings(model_name="good", api_key_location=location)


async def test_knows_the_good_key() -> None:
    provider = dummy("test_key", api_key_location="dynamic::k")
    assert (await provider.complete(asking("hi", credentials={"k": "good_key"}))).output == (Text(MEGUMIN),)
    assert len((await provider.embed(EmbeddingRequest(input="a", credentials={"k": "good_key"}))).embeddings) == 1
    for ask in (
        provider.complete(asking("hi", credentials={"k": "bad"})),
        provider.embed(EmbeddingRequest(input="a", credentials={"k": "bad"})),
        dummy("test_key").complete(HELLO),
    ):
        with pytest.raises(ProviderError, match="Invalid API key for Dummy provider"):
            await ask
    with pytest.raises(MissingCredential, match="`k` is missing"):
        await provider.complete(HELLO)


# -- embeddings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "count"),
    [("one", 1), (["one", "two"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)],
    ids=["text", "texts", "tokens", "lists-of-tokens"],
)
async def test_embeds_as_zeros(asked: EmbeddingInput, count: int) -> None:
    provider = dummy("anything")
    assert isinstance(provider, Embedder)
    response = await provider.embed(EmbeddingRequest(input=asked))
    assert response.embeddings == ((0.0,) * 1536,) * count
    assert (response.usage, response.raw_usage) == (Usage(10, 0), None)
    assert json.loads(response.raw_response)["usage"]["prompt_tokens"] == 10


async def test_embeds_slowly_by_name() -> None:
    naps = Naps()
    await dummy("very_slow_embeddings", naps=naps).embed(ONE)
    assert naps.taken == [0.001, 30]


def test_is_offered_under_its_type_and_by_short_names() -> None:
    (offer,) = headrace_providers()
    assert (offer.name, offer.config) == ("dummy", Settings)
    assert offer.shorthand is not None
    assert offer.shorthand("llm_judge::true") == {"model_name": "llm_judge::true"}
    assert isinstance(offer.build(Settings(model_name="good"), services(Script())), Dummy)
    assert isinstance(Dummy(Settings(model_name="good"), services(Script()), calls=Counter()), Embedder)


# -- batches ----------------------------------------------------------------------------------------------


async def test_takes_a_batch_with_ids_and_cannot_be_polled() -> None:
    provider = dummy("error")
    assert isinstance(provider, Batcher)
    one, other = [await provider.start_batch([(uuid4(), HELLO)]) for _ in range(2)]
    assert set(one.params) == {"file_id", "batch_id"}
    assert one.params != other.params
    with pytest.raises(ProviderError, match="does not support polling of batches"):
        await provider.poll_batch(one.params)
