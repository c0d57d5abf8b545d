"""Evaluator for headrace: the output matches, or must not match, an expression."""

from headrace import Evaluator, Factory, hookimpl

from .evaluator import Regex, Settings

__all__ = ["Regex", "Settings"]


@hookimpl
def headrace_evaluators() -> list[Factory[Evaluator]]:
    """Offer ``type = "regex"``."""
    return [Factory("regex", Settings, Regex)]
