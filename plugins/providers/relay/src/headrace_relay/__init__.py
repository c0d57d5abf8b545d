"""Relay provider for headrace: models that another gateway runs."""

from headrace import Factory, Provider, hookimpl

from .provider import Relay, Settings

__all__ = ["Relay", "Settings"]


@hookimpl
def headrace_providers() -> list[Factory[Provider]]:
    """Offer ``type = "relay"``; core builds it for every model as soon as ``gateway.relay.gateway_url`` is set."""
    return [Factory("relay", Settings, Relay)]
