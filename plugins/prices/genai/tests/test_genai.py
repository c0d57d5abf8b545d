"""Prices are the package's own, for every class of use; and unknown rather than wrong."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    TimeOfDateConstraint,
)
from genai_prices.types import Provider as Upstream
from headrace.conformance.script import Script
from headrace.contracts import ListedPrice, Services
from headrace.types import Usage
from headrace_genai import Book, Settings
from headrace_genai.price import Price

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
AT = NOW.timestamp()
BOOK = Book(Settings(), Services(Script(), lambda location: None))  # type: ignore[arg-type, return-value]

MODELS = [
    ("openai", "openai", "gpt-4o-mini"),
    ("openai", "openai", "gpt-4o-mini-2024-07-18"),
    ("openai", "openai", "o3"),
    ("anthropic", "anthropic", "claude-sonnet-4-5"),
    ("google_ai_studio_gemini", "google", "gemini-2.5-flash"),
    ("gcp_vertex_anthropic", "google", "claude-sonnet-4-5"),
    ("groq", "groq", "llama-3.3-70b-versatile"),
    ("mistral", "mistral", "mistral-large-latest"),
    ("deepseek", "deepseek", "deepseek-chat"),
    ("xai", "x-ai", "grok-4"),
    ("openrouter", "openrouter", "openai/gpt-4o-mini"),
]
EACH_MODEL = pytest.mark.parametrize(("type_", "id_", "model"), MODELS)


def price(type_: str, model: str, api_base: str | None = None) -> ListedPrice:
    found = BOOK.price(type_, model, api_base)
    assert found is not None
    return found


def package(id_: str, model: str, context: dict[str, str] | None = None, **counts: Any) -> Decimal:
    """What the package says itself."""
    said = genai_prices.calc_price(
        genai_prices.Usage(**counts),
        model,
        provider_id=id_,
        genai_request_timestamp=NOW,
        price_context=context,
    )
    return said.total_price


# -- classes of use ---------------------------------------------------------------------------------------


@EACH_MODEL
@pytest.mark.parametrize(
    ("into", "read", "written", "out"),
    [
        (1000, 0, 0, 10),
        (0, 0, 0, 0),
        (1000, 400, 0, 10),
        (1000, 400, 300, 10),
        (1000, 1000, 0, 0),
        (300_000, 7, 9, 8000),
    ],
    ids=["plain", "nothing", "cached", "written", "all-cached", "long"],
)
def test_a_price_is_the_packages_own(
    type_: str, id_: str, model: str, into: int, read: int, written: int, out: int
) -> None:
    usage = Usage(
        input_tokens=into,
        output_tokens=out,
        provider_cache_read_input_tokens=read or None,
        provider_cache_write_input_tokens=written or None,
    )
    said = package(id_, model, input_tokens=into, cache_read_tokens=read, cache_write_tokens=written, output_tokens=out)
    assert price(type_, model).cost(usage, at=AT) == said


def test_every_model_of_the_list_has_the_packages_price_on_both_sides_of_every_limit() -> None:
    checked = 0
    for provider in providers:
        for model in provider.models:
            found = Price(provider, model)
            for into in (1, 128_000, 128_001, 200_000, 200_001, 272_000, 272_001, 1_000_001):
                usage = Usage(input_tokens=into, output_tokens=3, provider_cache_read_input_tokens=1)
                cost = found.cost(usage, at=AT)
                if cost is not None:
                    counts = genai_prices.Usage(input_tokens=into, output_tokens=3, cache_read_tokens=1)
                    said = model.calc_price(counts, provider, genai_request_timestamp=NOW)
                    assert cost == said.total_price, (provider.id, model.id, into)
                    checked += 1
    assert checked > 10_000


@pytest.mark.parametrize(
    ("type_", "id_", "model", "raw_usage", "counts"),
    [
        (
            "openai", "openai", "gpt-audio",
            {"prompt_tokens_details": {"audio_tokens": 300}, "completion_tokens_details": {"audio_tokens": 40}},
            {"input_audio_tokens": 300, "output_audio_tokens": 40},
        ),
        (
            "anthropic", "anthropic", "claude-sonnet-4-5",
            {"cache_creation": {"ephemeral_1h_input_tokens": 50, "ephemeral_5m_input_tokens": 50},
             "server_tool_use": {"web_search_requests": 2}},
            {"cache_write_1h_tokens": 50, "web_searches": 2},
        ),
        (
            "google_ai_studio_gemini", "google", "gemini-2.5-flash",
            {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}, {"modality": "AUDIO", "tokenCount": 80}],
             "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}]},
            {"input_audio_tokens": 80, "cache_audio_read_tokens": 30},
        ),
        (
            "openrouter", "openrouter", "perplexity/sonar-deep-research",
            {"completion_tokens_details": {"reasoning_tokens": 60}}, {"output_reasoning_tokens": 60},
        ),
    ],
    ids=["audio", "one-hour-cache", "modalities", "reasoning"],
)  # fmt: skip
def test_what_has_a_price_of_its_own_is_read_from_the_upstreams_account(
    type_: str, id_: str, model: str, raw_usage: Any, counts: dict[str, Any]
) -> None:
    plain: dict[str, Any] = {"input_tokens": 1000, "output_tokens": 100}
    usage = Usage(**plain)
    if "cache_write_1h_tokens" in counts:
        usage, plain = Usage(provider_cache_write_input_tokens=100, **plain), plain | {"cache_write_tokens": 100}
    if "cache_audio_read_tokens" in counts:
        usage, plain = Usage(provider_cache_read_input_tokens=30, **plain), plain | {"cache_read_tokens": 30}
    cost = price(type_, model).cost(usage, raw_usage=raw_usage, at=AT)
    assert cost == package(id_, model, **plain, **counts)
    assert cost != price(type_, model).cost(usage, at=AT)


@pytest.mark.parametrize(
    "raw_usage", [None, 7, [], {"server_tool_use": 3}, {"server_tool_use": {"web_search_requests": "x"}}]
)
def test_a_strange_account_changes_nothing(raw_usage: Any) -> None:
    usage = Usage(input_tokens=10, output_tokens=1)
    found = price("anthropic", "claude-sonnet-4-5")
    assert found.cost(usage, raw_usage=raw_usage, at=AT) == found.cost(usage, at=AT)


def test_reasoning_counts_as_output_where_the_upstream_leaves_it_out() -> None:
    usage = Usage(input_tokens=10, output_tokens=5)
    account = {"completion_tokens_details": {"reasoning_tokens": 20}}
    dialect = price("openai", "grok-4", "https://api.x.ai/v1/")
    assert dialect.cost(usage, raw_usage=account, at=AT) == package("x-ai", "grok-4", input_tokens=10, output_tokens=25)
    own = price("xai", "grok-4")  # which has added it already
    assert own.cost(usage, raw_usage=account, at=AT) == package("x-ai", "grok-4", input_tokens=10, output_tokens=5)


def test_an_embedding_has_a_price_without_output() -> None:
    found = price("openai", "text-embedding-3-small")
    said = package("openai", "text-embedding-3-small", input_tokens=1000)
    assert found.cost(Usage(input_tokens=1000), at=AT) == found.cost(Usage(input_tokens=1000, output_tokens=0), at=AT)
    assert found.cost(Usage(input_tokens=1000), at=AT) == said


# -- how it was served, and when --------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["gpt-4o-mini", "o3", "claude-sonnet-4-5", "gemini-2.5-flash"])
def test_a_batch_has_the_price_of_batches(model: str) -> None:
    types = {"claude-sonnet-4-5": ("anthropic", "anthropic"), "gemini-2.5-flash": ("google_ai_studio_gemini", "google")}
    type_, id_ = types.get(model, ("openai", "openai"))
    found, usage = price(type_, model), Usage(input_tokens=1000, output_tokens=100)
    said = package(id_, model, {"processing": "batch"}, input_tokens=1000, output_tokens=100)
    whole = found.cost(usage, at=AT)
    assert whole is not None
    assert found.cost(usage, at=AT, is_batch=True) == said < whole


def test_a_batch_of_a_model_without_a_price_for_batches_has_none() -> None:
    found, usage = price("deepseek", "deepseek-chat"), Usage(input_tokens=1000, output_tokens=100)
    assert found.cost(usage, at=AT) is not None
    assert found.cost(usage, at=AT, is_batch=True) is None
    before = datetime(2026, 1, 1, tzinfo=UTC).timestamp()  # when the list began to have them
    assert price("openai", "gpt-4o-mini").cost(usage, at=before, is_batch=True) is None


@pytest.mark.parametrize("tier", ["default", "flex", "priority", "scale", None, 7])
def test_the_tier_that_answered_decides(tier: Any) -> None:
    usage = Usage(input_tokens=1000, output_tokens=100, provider_cache_read_input_tokens=10)
    context = {"service_tier": tier} if tier in ("flex", "priority") else None
    said = package("openai", "o3", context, input_tokens=1000, output_tokens=100, cache_read_tokens=10)
    assert price("openai", "o3").cost(usage, raw=json.dumps({"service_tier": tier, "id": "x"}), at=AT) == said
    plain = package("openai", "o3", input_tokens=1000, output_tokens=100, cache_read_tokens=10)
    assert price("openai", "o3").cost(usage, raw="no JSON", at=AT) == plain


def test_prices_begin_on_their_day() -> None:
    found, usage = price("openai", "o3"), Usage(input_tokens=1_000_000, output_tokens=0)
    costs = [found.cost(usage, at=datetime(2025, 6, day, 23, 59, 59, tzinfo=UTC).timestamp()) for day in (9, 10, 9)]
    assert costs == [10, 2, 10]


def model_with(*prices: ConditionalPrice, variants: list[PriceVariant] | None = None) -> Price:
    model = ModelInfo(id="m", match=ClauseEquals("m"), prices=list(prices), price_variants=variants)
    return Price(Upstream(id="u", name="U", api_pattern="https://u", models=[model]), model)


def test_prices_hold_at_their_hours() -> None:
    cheap = TimeOfDateConstraint(
        datetime(1, 1, 1, 16, 30, tzinfo=UTC).timetz(), datetime(1, 1, 1, 0, 30, tzinfo=UTC).timetz()
    )
    found = model_with(
        ConditionalPrice(prices=ModelPrice(input_mtok=Decimal(2))),
        ConditionalPrice(cheap, prices=ModelPrice(input_mtok=Decimal(1))),
    )
    hours = [(16, 29), (16, 30), (23, 59), (0, 0), (0, 29), (0, 30)]
    instants = [datetime(2026, 1, 1, *hour, 30, tzinfo=UTC).timestamp() for hour in hours]
    assert [found.cost(Usage(input_tokens=1_000_000), at=at) for at in instants] == [2, 1, 1, 1, 1, 2]


def test_a_variant_of_a_price_begins_on_its_day() -> None:
    batch = PriceVariant({"processing": "batch"}, ModelPrice(input_mtok=Decimal(1)), StartDateConstraint(NOW.date()))
    found = model_with(ConditionalPrice(prices=ModelPrice(input_mtok=Decimal(2))), variants=[batch])
    usage = Usage(input_tokens=1_000_000)
    assert [found.cost(usage, at=AT - days * 86_400, is_batch=True) for days in (0, 1)] == [1, None]


# -- what is not known ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "model", "api_base"),
    [
        ("openai", "nobody-has-heard-of-it", None),
        ("openai", "ft:gpt-4o-mini:org::abc", None),
        ("openai", "gpt-4o-mini", "http://localhost:8000/v1"),
        ("openai", "gpt-4o-mini", "https://llm.example/v1"),
        ("openai", "openai/gpt-oss-120b", "https://me--vllm.modal.run/v1"),
        ("openai", "sonar", "https://api.perplexity.ai"),
        ("echo", "gpt-4o-mini", None),
        ("dummy", "gpt-4o-mini", None),
        ("llamacpp", "gpt-4o-mini", None),
        ("vllm", "gpt-4o-mini", "https://api.openai.com/v1"),
        ("relay", "gpt-4o-mini", None),
    ],
)
def test_what_is_not_in_the_list_has_no_price(type_: str, model: str, api_base: str | None) -> None:
    assert BOOK.price(type_, model, api_base) is None


@pytest.mark.parametrize(
    ("api_base", "id_", "model"),
    [
        ("https://api.openai.com/v1/", "openai", "gpt-4o-mini"),
        ("https://api.groq.com/openai/v1", "groq", "llama-3.3-70b-versatile"),
        ("https://openrouter.ai/api/v1", "openrouter", "openai/gpt-4o-mini"),
        ("https://api.deepseek.com", "deepseek", "deepseek-chat"),
    ],
)
def test_an_address_says_whose_prices_they_are(api_base: str, id_: str, model: str) -> None:
    cost = price("openai", model, api_base).cost(Usage(input_tokens=1000, output_tokens=10), at=AT)
    assert cost == package(id_, model, input_tokens=1000, output_tokens=10)


@pytest.mark.parametrize(
    ("model", "usage"),
    [
        ("gpt-4o-mini", Usage()),
        ("gpt-4o-mini", Usage(input_tokens=1)),
        ("gpt-4o-mini", Usage(output_tokens=1)),
        ("gpt-4o-mini", Usage(input_tokens=1, output_tokens=1, provider_cache_read_input_tokens=2)),
        ("gpt-4o-mini", Usage(input_tokens=-1, output_tokens=1)),
        ("gpt-4o-mini", Usage(input_tokens=1, output_tokens=-1)),
        ("text-embedding-3-small", Usage(input_tokens=1, output_tokens=1)),
        ("whisper-1", Usage(input_tokens=1, output_tokens=1)),
    ],
    ids=["nothing", "no-output", "no-input", "more-cached", "negative", "negative-output", "unpriced-output", "hours"],
)
def test_what_a_count_does_not_tell_is_not_guessed(model: str, usage: Usage) -> None:
    found = BOOK.price("openai", model, None)
    assert found is None or found.cost(usage, at=AT) is None


def test_counts_that_contradict_each_other_have_no_price(caplog: pytest.LogCaptureFixture) -> None:
    account = {"prompt_tokens_details": {"audio_tokens": 2000}}
    with caplog.at_level(logging.WARNING):
        usage = Usage(input_tokens=1000, output_tokens=1)
        assert price("openai", "gpt-audio").cost(usage, raw_usage=account, at=AT) is None
    assert "no cost: Invalid usage data" in caplog.text


# -- the list itself --------------------------------------------------------------------------------------


def test_says_which_list_and_which_version() -> None:
    assert price("openai", "gpt-4o-mini").version == f"genai-prices/{genai_prices.__version__}"


def test_is_read_only_by_those_who_pay_and_never_fetched() -> None:
    program = """
import socket, sys, threading
import anyio
from headrace_genai import Book, Settings
assert "genai_prices" not in sys.modules
book = Book(Settings(), None)
assert book.price("echo", "gpt-4o-mini", None) is None and "genai_prices" not in sys.modules
sys.addaudithook(lambda event, args: sys.exit("network") if event in ("socket.connect", "socket.getaddrinfo") else None)
found = book.price("openai", "gpt-4o-mini", None)
from headrace.types import Usage
assert found.cost(Usage(input_tokens=1, output_tokens=1), at=1.8e9) > 0
assert threading.active_count() == 1, threading.enumerate()
async def serve():
    async with book:
        pass
anyio.run(serve)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
