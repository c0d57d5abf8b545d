"""Evaluator for headrace: the output equals the reference."""

from headrace import Evaluator, Factory, hookimpl

from .evaluator import ExactMatch, Settings

__all__ = ["ExactMatch", "Settings"]


@hookimpl
def headrace_evaluators() -> list[Factory[Evaluator]]:
    """Offer ``type = "exact_match"``."""
    return [Factory("exact_match", Settings, ExactMatch)]
