"""Costs by a list of prices: for whom it is asked, what it is told, and what becomes of its answer."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from headrace import Factory, Provider, Services, plugins
from headrace.assembly import assemble
from headrace.config import loads
from headrace.contracts import BatchPolled, BatchStarted, ListedPrice, PriceList
from headrace.errors import ConfigError, ProviderError
from headrace.exchange import InferenceRequest
from headrace.ids import unix_seconds
from headrace.plugins import Plugin, Registry
from headrace.records import ModelInferenceRecord
from headrace.types import (
    CacheOptions,
    Chunk,
    EmbeddingRequest,
    EmbeddingResponse,
    Input,
    InputMessage,
    ModelRequest,
    ModelResponse,
    Text,
    TextDelta,
    Usage,
)
from pydantic import BaseModel

pytestmark = pytest.mark.anyio

LIST = '[headrace.prices]\ntype = "listed"\n'
MODEL = """
[models.m]
routing = ["p"]
[models.m.providers.p]
type = "sold"
model_name = "known"
"""
COST = 'cost = [{ pointer = "/n", cost_per_unit = 2.0 }]\n'


class SoldPart(BaseModel, extra="forbid", frozen=True):
    """An upstream's name for a model, and where it is; ``torn`` breaks its streams."""

    model_name: str
    api_base: str = "https://sold.example/"
    says: list[str] = ["hi"]
    torn: bool = False


class Sold:
    """Counts three tokens, and one for each word that it says."""

    def __init__(self, part: SoldPart, services: Services) -> None:
        self._part = part
        self._used = Usage(input_tokens=3, output_tokens=len(part.says))
        self._account = {"said": len(part.says)}
        self.taken: list[UUID] = []

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Say everything at once."""
        text = Text("".join(self._part.says))
        return ModelResponse(output=(text,), usage=self._used, raw_usage=self._account, raw_response="said")

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk, None]:
        """Say it word by word; usage comes with the last piece but one."""
        for text in self._part.says:
            yield Chunk(content=(TextDelta("0", text),), raw=text)
            if self._part.torn:
                raise ProviderError("torn")
        yield Chunk(usage=self._used, raw_usage=self._account, raw="end")
        yield Chunk(raw="[DONE]")

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Nothing but what it used."""
        return EmbeddingResponse(embeddings=((1.0,),), usage=Usage(input_tokens=4), raw_usage={"of": "vectors"})

    async def start_batch(self, requests: Sequence[tuple[UUID, ModelRequest]]) -> BatchStarted:
        """Take them."""
        self.taken = [id_ for id_, _ in requests]
        return BatchStarted(params={})

    async def poll_batch(self, params: Mapping[str, Any]) -> BatchPolled:
        """Be done with them."""
        answer = ModelResponse(output=(Text("hi"),), usage=Usage(input_tokens=5, output_tokens=1), raw_response="raw")
        return BatchPolled(status="completed", responses=dict.fromkeys(self.taken, answer))


class ListSettings(BaseModel, extra="forbid", frozen=True):
    """Nothing to set."""


class Listed:
    """A cent for each input token; ``told`` is what it was told of each call."""

    version = "listed/7"

    def __init__(self) -> None:
        self.told: list[tuple[Any, str, float, bool]] = []

    def cost(
        self, usage: Usage, *, raw_usage: Any = None, raw: str = "", at: float, is_batch: bool = False
    ) -> Decimal | None:
        """None for 13 tokens, of which nobody knows the price."""
        self.told.append((raw_usage, raw, at, is_batch))
        if raw_usage == {"said": 2}:
            raise ZeroDivisionError("oops")
        return None if usage.input_tokens == 13 else Decimal(usage.input_tokens or 0) / 100


class Catalogue:
    """Knows the models called ``known``."""

    def __init__(self, settings: ListSettings, services: Services) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        self.listed = Listed()

    def price(self, provider_type: str, model_name: str, api_base: str | None) -> ListedPrice | None:
        """The one price that it has."""
        self.asked.append((provider_type, model_name, api_base))
        return self.listed if model_name == "known" else None


@pytest.fixture
def catalogues() -> list[Catalogue]:
    return []


@pytest.fixture
def registry(catalogues: list[Catalogue]) -> Registry:
    """Every installed plugin but the real list, the provider ``sold`` and the list ``listed``."""
    found = plugins.load(disabled=["genai"])

    def build(settings: ListSettings, services: Services) -> PriceList:
        catalogues.append(Catalogue(settings, services))
        return catalogues[-1]

    sold: Factory[Provider] = Factory("sold", SoldPart, Sold, shorthand=lambda rest: {"model_name": rest})
    listed: Factory[PriceList] = Factory("listed", ListSettings, build)
    plugin = Plugin(name="sold", distribution="tests", version="0", state="loaded")
    found.add(plugin, [("provider", sold), ("prices", listed)])
    return found


def asking(**fields: Any) -> InferenceRequest:
    fields = {"model_name": "m"} | fields
    return InferenceRequest(input=Input((InputMessage("user", (Text("hello"),)),)), **fields)


async def recorded(host: Any, id_: UUID) -> list[ModelInferenceRecord]:
    """What a closed gateway has written of an inference."""
    found: list[ModelInferenceRecord] = await host.store.model_inferences(id_)
    return found


async def test_a_whole_answer_has_its_price_and_says_by_which_list(opened: Any, catalogues: list[Catalogue]) -> None:
    async with opened(LIST + MODEL) as host:
        answer = await host.gateway.infer(asking())
    (row,) = await recorded(host, answer.inference_id)
    assert answer.usage.cost == row.cost == Decimal("0.03")
    assert row.price_version == "listed/7"
    (catalogue,) = catalogues
    assert catalogue.asked == [("sold", "known", "https://sold.example/")]
    (told,) = catalogue.listed.told
    assert (told[0], told[1], told[3]) == ({"said": 1}, "said", False)
    assert abs(told[2] - unix_seconds(answer.inference_id)) < 60


async def test_a_streamed_answer_too_by_the_chunk_that_tells_of_its_usage(
    opened: Any, catalogues: list[Catalogue]
) -> None:
    async with opened(LIST + MODEL + 'says = ["a", "b", "c"]') as host:
        async with aclosing(await host.gateway.stream(asking())) as chunks:
            ids = [chunk.inference_id async for chunk in chunks]
    (row,) = await recorded(host, ids[0])
    assert (row.cost, row.price_version) == (Decimal("0.03"), "listed/7")
    assert [told[:2] for told in catalogues[0].listed.told] == [({"said": 3}, "end")]


async def test_of_a_stream_that_broke_off_nobody_knows_the_price(opened: Any, catalogues: list[Catalogue]) -> None:
    async with opened(LIST + MODEL + 'says = ["a", "b", "c"]\ntorn = true') as host:
        ids = []
        with pytest.raises(Exception, match="torn"):
            async with aclosing(await host.gateway.stream(asking())) as chunks:
                async for chunk in chunks:
                    ids.append(chunk.inference_id)
    (row,) = await recorded(host, ids[0])
    assert (row.error, row.cost, row.price_version) == ("Error from sold server: torn", None, None)
    assert catalogues[0].listed.told == []


@pytest.mark.parametrize(
    ("cost", "known"),
    [(COST, (Decimal(0), "config")), ("cost = []", (None, None))],
    ids=["no /n in the answer", "none"],
)
async def test_configured_prices_stand_alone(
    opened: Any, catalogues: list[Catalogue], cost: str, known: tuple[Decimal | None, str | None]
) -> None:
    async with opened(LIST + MODEL + cost) as host:
        answer = await host.gateway.infer(asking())
    (row,) = await recorded(host, answer.inference_id)
    assert (row.cost, row.price_version) == known
    assert catalogues[0].asked == []


@pytest.mark.parametrize(
    "more",
    [MODEL.replace('"known"', '"other"'), MODEL + 'says = ["a", "b"]'],
    ids=["not in the list", "the list fails"],
)
async def test_what_no_list_can_tell_is_not_known(opened: Any, more: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL):
        async with opened(LIST + more) as host:
            answer = await host.gateway.infer(asking())
        (row,) = await recorded(host, answer.inference_id)
    assert (answer.usage.cost, row.cost, row.price_version) == (None, None, None)


async def test_an_answer_from_the_cache_costs_nothing(opened: Any, catalogues: list[Catalogue]) -> None:
    async with opened("[gateway.cache]\nenabled = true\n" + LIST + MODEL) as host:
        ids = []
        for _ in range(2):
            ids.append((await host.gateway.infer(asking(cache=CacheOptions(enabled="on")))).inference_id)
            await host.settled()
    rows = [row for id_ in ids for row in await recorded(host, id_)]
    assert [(row.cached, row.cost, row.price_version) for row in rows] == [
        (False, Decimal("0.03"), "listed/7"),
        (True, Decimal(0), None),
    ]
    assert len(catalogues[0].listed.told) == 1


@pytest.mark.parametrize("name", ["m", "sold::known"], ids=["configured", "by a short name"])
async def test_embeddings_have_their_price(opened: Any, catalogues: list[Catalogue], name: str) -> None:
    toml = LIST + MODEL.replace("models.m", "embedding_models.m")
    async with opened(toml) as host:
        attempts: list[Any] = []
        await host.assembly.models.embedding_model(name).embed(EmbeddingRequest(input="x"), attempts)
    assert [(each.usage.cost, each.price_version) for each in attempts] == [(Decimal("0.04"), "listed/7")]
    assert catalogues[0].listed.told[0][0] == {"of": "vectors"}


async def test_a_model_by_a_short_name_has_its_price(opened: Any) -> None:
    async with opened(LIST) as host:
        answer = await host.gateway.infer(asking(model_name="sold::known"))
    assert answer.usage.cost == Decimal("0.03")


@pytest.mark.parametrize("model", ["m", "sold::known"], ids=["configured", "by a short name"])
async def test_a_batch_has_the_price_of_batches_at_its_start(
    opened: Any, catalogues: list[Catalogue], model: str
) -> None:
    toml = (
        MODEL + f'[functions.f]\ntype = "chat"\n[functions.f.variants.v]\ntype = "chat_completion"\nmodel = "{model}"\n'
    )
    async with opened(LIST + toml) as host:
        batches = host.gateway.batches
        accepted = await batches.start([asking(model_name=None, function_name="f")])
        state = await batches.poll(accepted.batch_id)
    (row,) = await recorded(host, accepted.inference_ids[0])
    assert state.inferences[0].usage.cost == row.cost == Decimal("0.05")
    assert row.price_version == "listed/7"
    ((_, raw, at, is_batch),) = catalogues[0].listed.told
    assert (raw, at, is_batch) == ("raw", unix_seconds(accepted.inference_ids[0]), True)


async def test_a_limit_is_settled_with_the_listed_cost(opened: Any) -> None:
    rule = "[rate_limiting]\ndefault_cost = 1.0\n[[rate_limiting.rules]]\nalways = true\ncost_per_month = 1.05\n"
    async with opened(LIST + MODEL + rule) as host:
        await host.gateway.infer(asking())  # takes a dollar, and gives 97 cents back
        await host.settled()
        await host.gateway.infer(asking())
        await host.settled()
        with pytest.raises(Exception, match="rate limit exceeded"):
            await host.gateway.infer(asking())


@pytest.mark.parametrize(
    ("prices", "lists"),
    [("", 0), ('[headrace.prices]\nenabled = false\ntype = "listed"\n', 0), (LIST, 1)],
    ids=["not installed", "off", "on"],
)
async def test_without_a_list_nothing_is_asked(
    opened: Any, catalogues: list[Catalogue], prices: str, lists: int
) -> None:
    async with opened(prices + MODEL) as host:
        answer = await host.gateway.infer(asking())
    assert (answer.usage.cost is not None, len(catalogues)) == (bool(lists), lists)


def test_a_list_that_is_asked_for_must_be_there(registry: Registry) -> None:
    with pytest.raises(
        ConfigError, match=r'headrace\.prices\.type = "other" is not an installed type \(pricess: listed'
    ):
        assemble(loads('[headrace.prices]\ntype = "other"\n'), registry, environ={})


def test_a_provider_that_names_no_model_is_not_looked_up(registry: Registry, catalogues: list[Catalogue]) -> None:
    toml = LIST + '[models.m]\nrouting = ["p"]\n[models.m.providers.p]\ntype = "echo"\n'
    assemble(loads(toml), registry, environ={})
    assert catalogues[0].asked == []
