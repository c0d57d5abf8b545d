"""OpenAI-dialect provider for headrace: OpenAI itself and any server that speaks its chat completions."""

from headrace import Factory, Provider, hookimpl

from .provider import OpenAI, Settings
from .wire import Dialect

__all__ = ["Dialect", "OpenAI", "Settings"]


@hookimpl
def headrace_providers() -> list[Factory[Provider]]:
    """Offer ``type = "openai"``."""
    return [Factory("openai", Settings, OpenAI)]
