"""Which model of whom a provider's table means in the list of genai-prices; the only module that imports it early."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

from anyio import to_thread
from headrace import Services
from headrace.contracts import ListedPrice
from pydantic import BaseModel

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot

# Whose prices a type of provider has, unless its table leads elsewhere. What is not here runs for nothing, or on
# machines that are paid by the hour.
_PROVIDERS: Final[Mapping[str, str]] = {
    "anthropic": "anthropic",
    "aws_bedrock": "aws",
    "azure": "azure",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "gcp_vertex_anthropic": "google",
    "gcp_vertex_gemini": "google",
    "google_ai_studio_gemini": "google",
    "groq": "groq",
    "mistral": "mistral",
    "openai": "openai",
    "openrouter": "openrouter",
    "together": "together",
    "xai": "x-ai",
}
# Modal runs what its users bring, on machines that are paid by the second; Perplexity counts reasoning, citations and
# searches besides the tokens of the dialect, so a price of these alone would be wrong.
_UNSURE: Final = frozenset({"modal", "perplexity"})


class Settings(BaseModel, extra="forbid", frozen=True):
    """The ``[headrace.prices]`` table with ``type = "genai"``: nothing but what core reads."""


class Book:
    """The list that came with the installed package; it never fetches another one."""

    def __init__(self, settings: Settings, services: Services) -> None:
        pass

    async def __aenter__(self) -> Book:
        """Have the list in memory before the first request: reading it takes half a second."""
        await to_thread.run_sync(_snapshot)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Nothing is held."""

    def price(self, provider_type: str, model_name: str, api_base: str | None) -> ListedPrice | None:
        """What a model costs there. By the address where there is one, as many speak the same dialect."""
        if provider_type not in _PROVIDERS:
            return None
        from .price import Price  # 0.4 s: not for those who have nothing to pay

        id_ = None if api_base else _PROVIDERS[provider_type]
        try:
            provider, model = _snapshot().find_provider_model(model_name, None, id_, api_base)
        except LookupError:
            return None
        if provider.id in _UNSURE:
            return None
        # xAI counts reasoning apart; the type of its own name has added it already (providers spec 8.1).
        return Price(provider, model, adds_reasoning=provider.id == "x-ai" and provider_type != "xai")


@cache
def _snapshot() -> DataSnapshot:
    """What the package ships, whatever others in this process have put in its place."""
    from genai_prices.data import providers
    from genai_prices.data_snapshot import DataSnapshot

    return DataSnapshot(providers=providers, from_auto_update=False)
