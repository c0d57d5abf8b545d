"""``[functions.F.experimentation]``: how a function draws its variant (config spec 16)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, FiniteFloat, PositiveInt, model_validator

from .base import U64, ByType, NotNegative, Table
from .names import NamespaceName

# Shares of a third each do not sum to 1 in binary.
_TOLERANCE = 1e-9


class _Drawn(Table, ABC):
    """What all ways of drawing share: ``namespaces`` for requests that name one, one level deep."""

    fallback_variants: list[str] = Field(default=[])

    @abstractmethod
    def weights(self, variants: Collection[str]) -> dict[str, float]:
        """The weight of each candidate, of all these variants where none are named."""

    def unfit(self, variants: Collection[str], metrics: Collection[str]) -> list[str]:
        """What is wrong with the names here, given the function's variants and the configured metrics."""
        named = self.named()
        weights = self.weights(variants)
        wrong = [
            f"unknown variant `{name}` (known: {', '.join(variants)})"
            for name in dict.fromkeys((*named, *self.fallback_variants))
            if name not in variants
        ]
        if len(set(named)) != len(named) or len(set(self.fallback_variants)) != len(self.fallback_variants):
            wrong.append("a variant is named twice")
        wrong += [f"`{name}` is both candidate and fallback" for name in self.fallback_variants if name in named]
        wrong += [f"the weight of `{name}` is negative: {weight}" for name, weight in weights.items() if weight < 0]
        if variants and not self.fallback_variants and not any(weight > 0 for weight in weights.values()):
            wrong.append("no candidate has a positive weight, and there is no fallback")
        return wrong

    def named(self) -> Sequence[str]:
        """The candidates, as often as they are named."""
        return list(self.weights(()))


class StaticExperimentation(_Drawn):
    """``type = "static"``: candidates with equal or given weights, then fallbacks in order."""

    type: Literal["static"]
    candidate_variants: list[str] | dict[str, FiniteFloat]
    namespaces: dict[NamespaceName, Annotation] = Field(default={})

    def weights(self, variants: Collection[str]) -> dict[str, float]:
        """As given; 1 each for a list."""
        return _weights(self.candidate_variants)

    def named(self) -> Sequence[str]:
        """The candidates, as often as they are named."""
        return list(self.candidate_variants)


class StaticWeightsExperimentation(_Drawn):
    """``type = "static_weights"``, deprecated: ``static`` with a table of weights."""

    type: Literal["static_weights"]
    candidate_variants: dict[str, FiniteFloat]
    namespaces: dict[NamespaceName, Annotation] = Field(default={})

    def weights(self, variants: Collection[str]) -> dict[str, float]:
        """As given."""
        return dict(self.candidate_variants)


class UniformExperimentation(_Drawn):
    """``type = "uniform"``, deprecated: equal weights, of all variants where none are named."""

    type: Literal["uniform"]
    candidate_variants: list[str] | None = None
    namespaces: dict[NamespaceName, Annotation] = Field(default={})

    def weights(self, variants: Collection[str]) -> dict[str, float]:
        """1 each. With fallbacks and no candidates there are only fallbacks."""
        if self.candidate_variants is None and not self.fallback_variants:
            return dict.fromkeys(variants, 1.0)
        return _weights(self.candidate_variants or [])

    def named(self) -> Sequence[str]:
        """The candidates, as often as they are named."""
        return self.candidate_variants or []


class AdaptiveExperimentation(_Drawn):
    """``type = "adaptive"`` (once ``track_and_stop``): weights follow the feedback on a metric."""

    type: Literal["adaptive", "track_and_stop"]
    algorithm: Literal["track_and_stop"] = "track_and_stop"
    metric: str
    candidate_variants: list[str] = Field(min_length=1)
    min_samples_per_variant: PositiveInt = 10
    delta: float = Field(default=0.05, gt=0, lt=1)
    epsilon: NotNegative = 0.0
    update_period_s: U64 = 300
    min_prob: NotNegative = 0.0
    max_samples_per_variant: U64 = 10_000
    namespaces: dict[NamespaceName, Annotation] = Field(default={})

    @model_validator(mode="after")
    def _possible(self) -> AdaptiveExperimentation:
        if self.max_samples_per_variant < self.min_samples_per_variant:
            raise ValueError(
                f"`max_samples_per_variant` ({self.max_samples_per_variant}) must be at least "
                f"`min_samples_per_variant` ({self.min_samples_per_variant})"
            )
        if self.min_prob * len(self.candidate_variants) > 1 + _TOLERANCE:
            raise ValueError(
                f"`min_prob` ({self.min_prob:g}) times the number of candidates "
                f"({len(self.candidate_variants)}) must be at most 1"
            )
        return self

    def weights(self, variants: Collection[str]) -> dict[str, float]:
        """1 each, until there is feedback."""
        return _weights(self.candidate_variants)

    def named(self) -> Sequence[str]:
        """The candidates, as often as they are named."""
        return self.candidate_variants

    def unfit(self, variants: Collection[str], metrics: Collection[str]) -> list[str]:
        """What is wrong with the names here, the metric's among them."""
        wrong = super().unfit(variants, metrics)
        if self.metric not in metrics:
            wrong.append(f"unknown metric `{self.metric}` (known: {', '.join(metrics) or 'none'})")
        return wrong


Experimentation: TypeAlias = (
    StaticExperimentation | StaticWeightsExperimentation | UniformExperimentation | AdaptiveExperimentation
)
Annotation: TypeAlias = Annotated[Experimentation, ByType()]

for _table in (
    StaticExperimentation,
    StaticWeightsExperimentation,
    UniformExperimentation,
    AdaptiveExperimentation,
):
    _table.model_rebuild()  # each may hold all of them


def _weights(candidates: Sequence[str] | Mapping[str, float]) -> dict[str, float]:
    return dict(candidates) if isinstance(candidates, Mapping) else dict.fromkeys(candidates, 1.0)


def check_experimentation(
    chosen: Experimentation, where: str, variants: Collection[str], metrics: Collection[str]
) -> list[str]:
    """What is wrong with the names in an experiment and in its namespaces, each a line."""
    wrong = [f"{where}: {problem}" for problem in chosen.unfit(variants, metrics)]
    for name, inner in chosen.namespaces.items():
        at = f"{where}.namespaces.{name}"
        if inner.namespaces:
            wrong.append(f"{at}.namespaces: a namespace has no namespaces of its own")
        wrong += [f"{at}: {problem}" for problem in inner.unfit(variants, metrics)]
    return wrong
