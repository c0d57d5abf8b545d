"""The tables of models and embedding models to routed providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from ..config import Tables
from ..config.tables import CostEntry
from ..contracts import Embedder, EmbeddingModel, Model
from ..costs import Price
from ..errors import ConfigError
from ..models import Route, RoutedEmbeddingModel, RoutedModel
from .parts import Parts

# Keys of a provider's table that core reads itself; the rest is for the plugin's own model.
_OWN_KEYS = frozenset({"cost"})


class Models:
    """Every configured model, by name."""

    def __init__(self, parts: Parts, tables: Tables) -> None:
        self._parts = parts
        self._tables = tables
        self.models: dict[str, Model] = {name: self._model(name) for name in tables.models}
        self.embedding_models: dict[str, EmbeddingModel] = {
            name: self._embedding_model(name) for name in tables.embedding_models
        }

    def _model(self, name: str) -> RoutedModel:
        table = self._tables.models[name]
        routes = []
        for provider in table.routing:
            where = f"models.{name}.providers.{provider}"
            built = self._provider(where, table.providers[provider])
            if built is not None:
                routes.append(Route(provider, str(table.providers[provider]["type"]), *built))
        return RoutedModel(name, routes, self._parts.clock)

    def _embedding_model(self, name: str) -> RoutedEmbeddingModel:
        table = self._tables.embedding_models[name]
        routes = []
        for provider in table.routing:
            where = f"embedding_models.{name}.providers.{provider}"
            built = self._provider(where, table.providers[provider])
            if built is None:
                continue
            if not isinstance(built[0], Embedder):
                self._parts.problems.add(where, f"type {table.providers[provider]['type']!r} has no embeddings")
                continue
            routes.append(Route(provider, str(table.providers[provider]["type"]), *built))
        return RoutedEmbeddingModel(name, routes, self._parts.clock)

    def _provider(self, where: str, table: Mapping[str, Any]) -> tuple[Any, Sequence[Price]] | None:
        prices: list[Price] = []
        for index, entry in enumerate(table.get("cost", [])):
            with self._parts.problems.at(f"{where}.cost[{index}]"):
                prices.append(_price(CostEntry.model_validate(entry)))
        own = {key: value for key, value in table.items() if key not in _OWN_KEYS}
        provider = self._parts.build("provider", where, own)
        self._parts.own(provider)
        return None if provider is None else (provider, tuple(prices))

    def model(self, name: str) -> Model:
        """The model of that name. Raise ConfigError."""
        if name not in self.models:
            raise ConfigError(
                f"Model name '{name}' not found in model table (known: {', '.join(self.models) or 'none'})"
            )
        return self.models[name]

    def embedding_model(self, name: str) -> EmbeddingModel:
        """The embedding model of that name. Raise ConfigError."""
        if name not in self.embedding_models:
            known = ", ".join(self.embedding_models) or "none"
            raise ConfigError(f"Embedding model '{name}' not found in embedding model table (known: {known})")
        return self.embedding_models[name]


def _price(entry: CostEntry) -> Price:
    per_unit = entry.cost_per_unit
    rate = Decimal(str(per_unit)) if per_unit is not None else Decimal(str(entry.cost_per_million)) / 1_000_000
    return Price(
        pointer=entry.pointer or entry.pointer_nonstreaming or "",
        streaming_pointer=entry.pointer or entry.pointer_streaming or "",
        rate=rate,
        required=entry.required,
    )
