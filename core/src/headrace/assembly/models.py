"""The tables of models and embedding models to routed providers; short names to models that need no table."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from ..config import EmbeddingProviderKeys, ProviderKeys, Tables
from ..config import Timeouts as TimeoutsTable
from ..contracts import Embedder, EmbeddingModel, Model, Provider
from ..errors import ConfigError, NotFound
from ..models import RoutedEmbeddingModel, RoutedModel
from ..relays import RELAY, RelayedEmbeddingModel, RelayedModel
from ..routes import Around, Route
from ..tags import canonical, is_reserved
from ..timeouts import Timeouts
from .parts import Parts
from .prices import Pricing
from .tracing import Traces, upstream_of

# Models called by a short name are built on their first request; a caller could go on inventing names.
MAX_SHORT = 1000


class Models:
    """Every configured model by name, and those that short names stand for (config spec 7.3)."""

    def __init__(self, parts: Parts, tables: Tables, around: Around, traces: Traces | None = None) -> None:
        self._parts = parts
        self.pricing = Pricing(parts, tables.headrace.prices)
        self._tables = tables
        self._around = around
        self.traces = traces
        self._relay_around = replace(around, cache=None, limiter=None)
        self._relays = tables.gateway.relay.gateway_url is not None
        # Tried out once, so that what is wrong with the other gateway's table is said once and not for each model.
        self._can_relay = self._relays and self._relay(parts, "") is not None
        self.models = {name: self._model(name) for name in tables.models}
        self.embedding_models = {name: self._embedding_model(name) for name in tables.embedding_models}
        self._short: dict[str, RoutedModel] = {}
        self._short_embeddings: dict[str, RoutedEmbeddingModel] = {}

    def model(self, name: str) -> Model:
        """The model of that name. Raise ConfigError."""
        return self.routed(name)

    def routed(self, name: str) -> RoutedModel:
        """The same, with what core knows of it."""
        name = canonical(name)
        if name in self.models:
            return self.models[name]
        if name not in self._short:
            _bounded(self._short)[name] = self._relayed_short(name) if self._relays else self._built_short(name)
        return self._short[name]

    def _built_short(self, name: str) -> RoutedModel:
        found = self._shorthand(name)
        if found is None:
            raise self._unknown(name)
        type_, table = found
        provider = self._unowned(name, type_, table)
        rates = self.pricing.rates({**table, "type": type_})
        routes = [Route(type_, type_, provider, rates, api_type=_api_type(provider))]
        return self._made(RoutedModel, {type_: table}, name, routes, self._around)

    def _unknown(self, name: str) -> ConfigError:
        known = ", ".join(self.models) or "none"
        return ConfigError(f"Model name '{name}' not found in model table (known: {known})")

    def embedding_model(self, name: str) -> EmbeddingModel:
        """The embedding model of that name. Raise ConfigError."""
        name = canonical(name)
        if name in self.embedding_models:
            return self.embedding_models[name]
        if name not in self._short_embeddings and self._relays and _is_short(name):
            _bounded(self._short_embeddings)[name] = self._relayed_embedding_model(name, self._parts.apart())
        if name not in self._short_embeddings:
            found = self._shorthand(name)
            provider = self._unowned(name, *found) if found else None
            if not isinstance(provider, Embedder) or found is None:
                known = ", ".join(self.embedding_models) or "none"
                raise ConfigError(f"Embedding model '{name}' not found in embedding model table (known: {known})")
            rates = self.pricing.rates({**found[1], "type": found[0]})
            route: Route[Embedder] = Route(found[0], found[0], provider, rates, api_type="embeddings")
            _bounded(self._short_embeddings)[name] = RoutedEmbeddingModel(name, [route], self._around)
        return self._short_embeddings[name]

    def table_of_short(self, name: str) -> dict[str, Any] | None:
        """What a provider's table would say for a model called by a short name; None if that is none."""
        found = self._shorthand(name)
        return {**found[1], "type": found[0]} if found else None

    def knows(self, name: str, provider_name: str | None) -> bool:
        """Whether there is such a model, and in it such a provider; where others run them, that is not known here."""
        if self._relays:
            return True
        try:
            routed = self.routed(name)
        except ConfigError:
            return False
        return provider_name is None or any(route.name == provider_name for route in routed.routes)

    # -- configured ---------------------------------------------------------------------------------------

    def _model(self, name: str) -> RoutedModel:
        table = self._tables.models[name]
        if self._relays and not table.skip_relay:
            routes = self._relay_routes(name, self._parts) if self._can_relay else []
            limits = seconds(table.timeouts)
            return self._made(RelayedModel, {}, name, routes, self._relay_around, limits, table.namespace)
        routes = []
        for provider_name in table.routing:
            where, settings = f"models.{name}.providers.{provider_name}", table.providers[provider_name]
            keys, own = self._keys(ProviderKeys, where, settings)
            provider = self._parts.build("provider", where, self._with_default_credential(own))
            self._parts.own(provider)
            if provider is None or keys is None:
                continue
            routes.append(
                Route(
                    provider_name,
                    str(settings["type"]),
                    provider,
                    rates=self.pricing.rates(settings, keys.cost),
                    extra=keys.extra,
                    timeouts=seconds(keys.timeouts),
                    api_type=_api_type(provider),
                    discard_unknown=keys.discard_unknown_chunks,
                )
            )
        limits = seconds(table.timeouts)
        return self._made(RoutedModel, table.providers, name, routes, self._around, limits, table.namespace)

    def _made(self, kind: type[RoutedModel], tables: Mapping[str, Mapping[str, Any]], *about: Any) -> RoutedModel:
        """A model from what its kind takes; ``tables`` are those of its providers."""
        if self.traces is None:
            return kind(*about)
        upstreams = {name: upstream_of(str(table.get("type", name)), table) for name, table in tables.items()}
        return self.traces.model(kind, upstreams, *about)

    def _embedding_model(self, name: str) -> RoutedEmbeddingModel:
        if self._relays:
            return self._relayed_embedding_model(name, self._parts)
        table = self._tables.embedding_models[name]
        routes: list[Route[Embedder]] = []
        for provider_name in table.routing:
            where = f"embedding_models.{name}.providers.{provider_name}"
            if provider_name not in table.providers:
                routes.append(Route(provider_name, "none", Missing(provider_name), api_type="embeddings"))
                continue
            settings = table.providers[provider_name]
            keys, own = self._keys(EmbeddingProviderKeys, where, settings)
            provider = self._parts.build("provider", where, self._with_default_credential(own))
            self._parts.own(provider)
            if provider is None or keys is None:
                continue
            if not isinstance(provider, Embedder):
                self._parts.problems.add(
                    where, f"Unsupported provider config for embedding: type {settings['type']!r} has no embeddings"
                )
                continue
            routes.append(
                Route(
                    provider_name,
                    str(settings["type"]),
                    provider,
                    rates=self.pricing.rates(settings, keys.cost),
                    extra=keys.extra,
                    timeouts=Timeouts(total_s=_s(keys.timeout_ms)),
                    api_type="embeddings",
                )
            )
        return RoutedEmbeddingModel(name, routes, self._around, Timeouts(total_s=_s(table.timeout_ms)))

    def _keys(self, model: type[Any], where: str, table: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The keys of a provider's table that core reads itself, checked; and the rest, for the plugin's model."""
        mine = {key: value for key, value in table.items() if key in model.model_fields}
        keys = None
        with self._parts.problems.at(where):
            keys = model.model_validate(mine)
        return keys, {key: value for key, value in table.items() if key not in mine}

    def _with_default_credential(self, table: Mapping[str, Any]) -> dict[str, Any]:
        """The table with ``[provider_types.TYPE.defaults]`` where it names no credential itself."""
        type_ = str(table.get("type", ""))
        key = "credential_location" if type_.startswith("gcp_") else "api_key_location"
        types = self._tables.provider_types.get(type_)
        if types is None or types.location is None or key in table:
            return dict(table)
        return {**table, key: types.location}

    # -- at another gateway (config spec 19) --------------------------------------------------------------

    def _relay(self, parts: Parts, name: str) -> Any:
        """The other gateway's model of that name; None and a problem noted, or ConfigError from ``parts`` apart."""
        if "relay" not in parts.registry.types("provider"):
            parts.problems.add("gateway.relay.gateway_url", "relaying needs a plugin: `pip install headrace-relay`")
            return None
        relay = self._tables.gateway.relay
        table = {"gateway_url": relay.gateway_url, "api_key_location": relay.api_key_location, "model_name": name}
        return parts.build("provider", "gateway.relay", {**table, "type": "relay"})

    def _relay_routes(self, name: str, parts: Parts) -> list[Route[Provider]]:
        provider = self._relay(parts, name)
        return [Route(RELAY, RELAY, provider, api_type=_api_type(provider))]

    def _relayed_short(self, name: str) -> RoutedModel:
        """Which types of provider there are is for the other gateway to say."""
        if not _is_short(name):
            raise self._unknown(name)
        routes = self._relay_routes(name, self._parts.apart())
        return self._made(RelayedModel, {}, name, routes, self._relay_around)

    def _relayed_embedding_model(self, name: str, parts: Parts) -> RoutedEmbeddingModel:
        provider = self._relay(parts, name) if self._can_relay else None
        routes: list[Route[Embedder]] = []
        if provider is not None:
            routes.append(Route(RELAY, RELAY, provider, api_type="embeddings"))
        table = self._tables.embedding_models.get(name)
        limits = Timeouts(total_s=_s(table.timeout_ms)) if table else Timeouts()
        return RelayedEmbeddingModel(name, routes, self._relay_around, limits)

    # -- by a short name ----------------------------------------------------------------------------------

    def _shorthand(self, name: str) -> tuple[str, dict[str, Any]] | None:
        """``TYPE::REST`` as a type and its table, or None if that is no short name."""
        type_, separator, rest = name.partition("::")
        if not (separator and rest and type_ in self._parts.registry.types("provider")):
            return None
        factory = self._parts.registry.get("provider", type_, where=name)
        return (type_, factory.shorthand(rest)) if factory.shorthand else None

    def _unowned(self, name: str, type_: str, table: Mapping[str, Any]) -> Any:
        """A provider that is there at once: the gateway may be open already, so nothing could be opened for it."""
        provider = self._parts.apart().build("provider", name, self._with_default_credential({**table, "type": type_}))
        if isinstance(provider, AbstractAsyncContextManager):
            raise ConfigError(f"Model name '{name}': type {type_!r} must be opened, so it needs a [models] table")
        return provider


def _is_short(name: str) -> bool:
    type_, separator, rest = name.partition("::")
    return bool(type_ and separator and rest) and not is_reserved(name)


class Missing:
    """Stands for a provider that ``routing`` names and nobody configured; found out by whoever needs it."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def embed(self, request: object) -> Any:
        """Raise NotFound."""
        raise NotFound(f"Provider not found: {self._name}")


def seconds(table: TimeoutsTable) -> Timeouts:
    """The limits of a ``timeouts`` table, which are in milliseconds."""
    return Timeouts(
        total_s=_s(table.non_streaming.total_ms),
        ttft_s=_s(table.streaming.ttft_ms),
        stream_total_s=_s(table.streaming.total_ms),
    )


def _s(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _api_type(provider: object) -> Any:
    return getattr(provider, "api_type", "chat_completions")


def _bounded(models: dict[str, Any]) -> dict[str, Any]:
    if len(models) >= MAX_SHORT:
        del models[next(iter(models))]
    return models
