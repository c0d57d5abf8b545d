"""Variant for headrace that shows the model its nearest curated examples (DICL)."""

from headrace import Factory, Variant, hookimpl

from .variant import Dicl, Settings

__all__ = ["Dicl", "Settings"]


@hookimpl
def headrace_variants() -> list[Factory[Variant]]:
    """Offer ``type = "experimental_dynamic_in_context_learning"``."""
    return [Factory("experimental_dynamic_in_context_learning", Settings, Dicl)]
