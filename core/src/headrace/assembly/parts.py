"""One plugin object after another, each checked by its own model; what is wrong is noted, not raised."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from ..config import Problems
from ..contracts import Clock, Services
from ..errors import ConfigError, HeadraceError, Unreachable
from ..plugins import Kind, Registry
from ..transport import Call, Reply, StreamedReply

log = logging.getLogger(__name__)


class NoTransport:
    """Stands where a transport will be: what a transport's own factory is lent, and what is left if that fails."""

    async def send(self, call: Call) -> Reply:
        """Raise Unreachable."""
        raise Unreachable("no transport")

    def stream(self, call: Call) -> AbstractAsyncContextManager[StreamedReply]:
        """Raise Unreachable."""
        raise Unreachable("no transport")


class Parts:
    """What every step of an assembly shares. ``resources`` are to be opened and closed with the gateway."""

    def __init__(self, registry: Registry, services: Services) -> None:
        self.registry = registry
        self.services = services
        self.problems = Problems()
        self.resources: list[AbstractAsyncContextManager[object]] = []

    @property
    def clock(self) -> Clock:
        """The time that everything here goes by."""
        return self.services.clock

    def own(self, thing: object) -> None:
        """Open and close this with the gateway, if it is to be opened at all."""
        if isinstance(thing, AbstractAsyncContextManager) and not any(thing is owned for owned in self.resources):
            self.resources.append(thing)

    def build(
        self, kind: Kind, where: str, table: Mapping[str, Any], *, key: str | None = None, services: Any = None
    ) -> Any:
        """One plugin object, or None and a problem noted. The plugin's own model checks its table."""
        settings = dict(table)
        type_ = settings.pop("type", None)
        if type_ is None:
            self.problems.add(where, f"`type` is missing ({kind}s: {', '.join(self.registry.types(kind))})")
            return None
        built = None
        with self.problems.at(where):
            try:
                factory = self.registry.get(kind, str(type_), where=key or f"{where}.type")
            except ConfigError as error:
                self.problems.lines.extend(error.problems)  # it names its own key
                return None
            checked = factory.config.model_validate(settings)
            try:
                built = factory.build(checked, services or self.services)
            except HeadraceError:
                raise
            except Exception as error:  # a plugin's bug: one line like every other problem, its traceback in the log
                log.debug("type %s failed to build", type_, exc_info=error)
                self.problems.add(where, f"the plugin of type {type_!r} failed: {type(error).__name__}: {error}")
        return built
