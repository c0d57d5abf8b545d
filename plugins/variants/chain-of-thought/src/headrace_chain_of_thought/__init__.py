"""Variant for headrace that lets a model think before it gives JSON (deprecated)."""

from headrace import Factory, Variant, hookimpl

from .variant import ChainOfThought, Settings

__all__ = ["ChainOfThought", "Settings"]


@hookimpl
def headrace_variants() -> list[Factory[Variant]]:
    """Offer ``type = "experimental_chain_of_thought"``."""
    return [Factory("experimental_chain_of_thought", Settings, ChainOfThought)]
