"""Local models for headrace: a GGUF file served by llama.cpp in a child process."""

from headrace import Factory, Provider, Weights, hookimpl

from . import weights
from .provider import LlamaCpp, Settings

__all__ = ["LlamaCpp", "Settings"]


@hookimpl
def headrace_providers() -> list[Factory[Provider]]:
    """Offer ``type = "llamacpp"``."""
    return [Factory("llamacpp", Settings, LlamaCpp)]


@hookimpl
def headrace_weights() -> list[Weights]:
    """Offer the weights that packages carry."""
    return weights.offers()
