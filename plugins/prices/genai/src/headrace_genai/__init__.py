"""Prices of hosted models for headrace, from the list that the genai-prices package ships."""

from headrace import Factory, hookimpl
from headrace.contracts import PriceList

from .book import Book, Settings

__all__ = ["Book", "Settings"]


@hookimpl
def headrace_prices() -> list[Factory[PriceList]]:
    """Offer ``type = "genai"``."""
    return [Factory("genai", Settings, Book)]
