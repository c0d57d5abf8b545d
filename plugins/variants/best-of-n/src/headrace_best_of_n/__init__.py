"""Variant for headrace that runs several variants and lets a model choose the best answer."""

from headrace import Factory, Variant, hookimpl

from .candidates import Candidates, CandidateSettings, chunk_of, listing
from .variant import BestOfN, Settings

__all__ = ["BestOfN", "CandidateSettings", "Candidates", "Settings", "chunk_of", "listing"]


@hookimpl
def headrace_variants() -> list[Factory[Variant]]:
    """Offer ``type = "experimental_best_of_n_sampling"``."""
    return [Factory("experimental_best_of_n_sampling", Settings, BestOfN)]
