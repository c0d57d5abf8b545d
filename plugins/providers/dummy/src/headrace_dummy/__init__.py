"""Test-only provider for headrace: the name of a model decides what it answers and how it fails."""

from collections import Counter
from weakref import WeakKeyDictionary

from headrace import Factory, Provider, Services, hookimpl
from headrace.transport import Transport

from .provider import Dummy, Settings

__all__ = ["Dummy", "Settings"]


@hookimpl
def headrace_providers() -> list[Factory[Provider]]:
    """Offer ``type = "dummy"``. The calls of a ``flaky_*`` name are counted over all providers of one gateway."""
    calls: WeakKeyDictionary[Transport, Counter[str]] = WeakKeyDictionary()

    def build(settings: Settings, services: Services) -> Dummy:
        # A gateway is known by its transport: every provider of it is lent the same one, and no other gateway has it.
        return Dummy(settings, services, calls=calls.setdefault(services.transport, Counter()))

    return [Factory("dummy", Settings, build, shorthand=lambda name: {"model_name": name})]
