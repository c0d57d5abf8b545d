"""Variant for headrace that renders templates and calls one model."""

from headrace import Factory, Variant, hookimpl

from .rendering import Renderer, TemplateSettings
from .variant import ChatCompletion, Settings

__all__ = ["ChatCompletion", "Renderer", "Settings", "TemplateSettings"]


@hookimpl
def headrace_variants() -> list[Factory[Variant]]:
    """Offer ``type = "chat_completion"``."""
    return [Factory("chat_completion", Settings, ChatCompletion)]
