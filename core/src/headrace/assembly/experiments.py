"""The tables of experimentation to ``Experiment`` objects, and who may be drawn where (config spec 16)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..config import Experimentation, FunctionTable
from ..experiments import Experiment


def base_experiment(table: FunctionTable) -> Experiment:
    """How a function draws: by its experimentation, by its variants' weights, or uniformly."""
    if table.experimentation is not None:
        return experiment_of(table.experimentation, table.variants)
    weights = {name: variant["weight"] for name, variant in table.variants.items() if "weight" in variant}
    if not weights:
        return Experiment(dict.fromkeys(table.variants, 1.0))
    # Once any variant has a weight, one without is a fallback, and weight 0 is never drawn.
    return Experiment(
        {name: weight for name, weight in weights.items() if weight > 0},
        sorted(name for name in table.variants if name not in weights),
    )


def experiment_of(chosen: Experimentation, variants: Collection[str]) -> Experiment:
    """The draw that a table describes."""
    return Experiment(chosen.weights(variants), chosen.fallback_variants)


def misplaced(
    base: Experiment, namespaced: Mapping[str, Experiment], namespaces: Mapping[str, frozenset[str]]
) -> list[str]:
    """Variants of a namespace that could be drawn outside of it (config spec 16.4)."""
    wrong = []
    for variant, wanted in namespaces.items():
        for namespace in sorted(wanted):
            places = [("the base experimentation", base)]
            places += [(f"namespace `{name}`", each) for name, each in namespaced.items() if name != namespace]
            wrong += [
                f"variant `{variant}` belongs to namespace `{namespace}` (its own, or that of a model it uses), but "
                f"{place} can draw it"
                for place, experiment in places
                if variant in experiment.reachable
            ]
    return wrong
