"""One plugin object after another, each checked by its own model; what is wrong is noted, not raised."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from ..config import Problems, check_evaluator, check_optimizer
from ..contracts import Clock, Services
from ..errors import ConfigError, HeadraceError, Unreachable
from ..plugins import Kind, Registry
from ..transport import Call, Reply, StreamedReply

log = logging.getLogger(__name__)

# Types that a configuration may name without harm while nobody asks for them at run time.
KNOWN_TYPES: Mapping[Kind, frozenset[str]] = {
    "evaluator": frozenset({"exact_match", "regex", "tool_use", "typescript", "llm_judge"}),
    "optimizer": frozenset(
        {"dicl", "openai_sft", "openai_rft", "fireworks_sft", "gcp_vertex_gemini_sft", "together_sft", "gepa"}
    ),
}


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

    def is_installed(self, kind: Kind, where: str, table: Mapping[str, Any]) -> bool:
        """Whether a table's type can be built here. One of TensorZero's that cannot is left aside until it is used.

        Its keys are checked all the same; a type nobody knows is for ``build`` to report.
        """
        type_ = str(table.get("type"))
        if type_ in self.registry.types(kind) or type_ not in KNOWN_TYPES.get(kind, ()):
            return True
        self.problems.lines += (check_evaluator if kind == "evaluator" else check_optimizer)(table, where)
        log.warning("%s: no installed plugin offers type %r, so it cannot be used", where, type_)
        return False

    def apart(self) -> Apart:
        """The same for what is built while the gateway runs: what is wrong with it is raised, not noted."""
        return Apart(self.registry, self.services)

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


class Apart(Parts):
    """Parts of something that comes with a request."""

    def build(
        self, kind: Kind, where: str, table: Mapping[str, Any], *, key: str | None = None, services: Any = None
    ) -> Any:
        """One plugin object. Raise ConfigError."""
        built = super().build(kind, where, table, key=key, services=services)
        self.problems.check()
        return built
