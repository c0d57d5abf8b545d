"""The variant tables of one function to ``Variant`` objects; those that are made of others find them here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ..config import VariantKeys, check_timeouts
from ..contracts import FunctionSpec, Model, Variant, VariantServices
from ..errors import ConfigError
from ..prompts import Prompts
from ..records import Example
from ..timeouts import Timeouts
from ..variants import Timed
from .models import Models, seconds
from .parts import Parts

Nearest = Callable[[str, str, Sequence[float], int], Awaitable[list[tuple[Example, float]]]]


class Variants:
    """Builds the variants of one function, each at most once, a candidate before the variant that is made of it.

    ``where`` is the key of the table that has them.
    """

    def __init__(
        self,
        parts: Parts,
        function: FunctionSpec,
        tables: Mapping[str, Mapping[str, Any]],
        *,
        where: str,
        models: Models,
        prompts: Prompts,
        nearest: Nearest,
        ceiling_ms: int,
    ) -> None:
        self._parts = parts
        self._function = function
        self._tables = tables
        self._where = where
        self._models = models
        self._prompts = prompts
        self._nearest = nearest
        self._ceiling_ms = ceiling_ms
        self._building: list[str] = []
        self._built: dict[str, Variant | None] = {}
        self.namespaces: dict[str, set[str]] = {}

    def all(self) -> dict[str, Variant]:
        """Every variant that could be built; what is wrong with the others has been noted."""
        return {name: variant for name in self._tables if (variant := self._one(name)) is not None}

    def one(self, name: str) -> Variant:
        """One of them. Raise ConfigError."""
        built = self._one(name)
        self._parts.problems.check()
        if built is None:
            raise ConfigError(f"variant `{name}` could not be built")
        return built

    def _one(self, name: str) -> Variant | None:
        if name not in self._built:
            self._building.append(name)
            self._built[name] = self._build(name, self._tables[name])
            self._building.pop()
        return self._built[name]

    def _build(self, name: str, table: Mapping[str, Any]) -> Variant | None:
        where = f"{self._where}.variants.{name}"
        mine = {key: value for key, value in table.items() if key in VariantKeys.model_fields}
        keys = VariantKeys()
        with self._parts.problems.at(where):
            keys = VariantKeys.model_validate(mine)
            self._parts.problems.lines += check_timeouts(keys.timeouts, where, self._ceiling_ms)
        self.namespaces[name] = {keys.namespace} if keys.namespace else set()
        services = VariantServices(
            **vars(self._parts.services),
            name=name,
            function=self._function,
            model=lambda model_name: self._model(name, model_name),
            embedding_model=self._models.embedding_model,
            prompts=self._prompts,
            nearest=self._nearest,
            variant=lambda candidate, timeout_s: self._candidate(name, candidate, timeout_s),
        )
        own = {key: value for key, value in table.items() if key not in mine}
        built: Variant | None = self._parts.build("variant", where, own, services=services)
        self._parts.own(built)
        return built and self._around(name, built, seconds(keys.timeouts))

    def _around(self, name: str, variant: Variant, timeouts: Timeouts) -> Variant:
        """The variant within its time limits, and those in its span; itself where there is nothing of that."""
        variant = Timed(variant, timeouts, name=name, clock=self._parts.clock) if timeouts else variant
        traces = self._models.traces
        return variant if traces is None else traces.variant(variant, name, self._function.name, self._parts.clock)

    def _model(self, name: str, model_name: str) -> Model:
        routed = self._models.routed(model_name)
        if routed.namespace is not None:
            self.namespaces[name].add(routed.namespace)
        traces = self._models.traces
        return routed if traces is None else traces.part(routed, self._tables[name], name, self._function.name)

    def _candidate(self, name: str, candidate: str, timeout_s: float | None) -> Variant:
        """Another variant, as a part of this one."""
        if candidate not in self._tables:
            raise ConfigError(f"Unknown candidate variant: {candidate}")
        if candidate in self._building:
            raise ConfigError(f"`{candidate}` is made of itself: {' -> '.join([*self._building, candidate])}")
        built = self._one(candidate)
        if built is None:
            raise ConfigError(f"candidate `{candidate}` is not valid itself")
        self.namespaces[name] |= self.namespaces[candidate]
        if timeout_s is None:
            return built
        if "timeouts" in self._tables[candidate]:
            raise ConfigError(f"`timeout_s` cannot be combined with the `timeouts` of candidate `{candidate}`")
        bare = built.inner if isinstance(built, Timed) else built
        return self._around(candidate, bare, Timeouts(total_s=timeout_s, ttft_s=timeout_s))
