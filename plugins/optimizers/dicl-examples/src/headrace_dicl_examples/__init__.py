"""Optimizer for headrace that embeds curated examples and yields a DICL variant."""

from headrace import Factory, Optimizer, hookimpl

from .optimizer import DiclExamples, Settings

__all__ = ["DiclExamples", "Settings"]


@hookimpl
def headrace_optimizers() -> list[Factory[Optimizer]]:
    """Offer ``type = "dicl"``."""
    return [Factory("dicl", Settings, DiclExamples)]
