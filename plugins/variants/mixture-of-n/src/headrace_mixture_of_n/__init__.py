"""Variant for headrace that runs several variants and lets a model make one answer of theirs."""

from headrace import Factory, Variant, hookimpl

from .variant import MixtureOfN, Settings

__all__ = ["MixtureOfN", "Settings"]


@hookimpl
def headrace_variants() -> list[Factory[Variant]]:
    """Offer ``type = "experimental_mixture_of_n"``."""
    return [Factory("experimental_mixture_of_n", Settings, MixtureOfN)]
