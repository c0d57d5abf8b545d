"""Keys that still work and have a better successor: what to say of them, once a load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .functions import FunctionTable
from .tables import Tables

_EXPERIMENTS = {"uniform": "static", "static_weights": "static", "track_and_stop": "adaptive"}


def deprecations(tables: Tables) -> list[str]:
    """A line for each deprecated key, with its path and what to write instead."""
    found = [*_gateway(tables), *_providers(tables)]
    for name, function in tables.functions.items():
        found += _function(f"functions.{name}", function)
    for name, evaluation in tables.evaluations.items():
        where = f"evaluations.{name}"
        found.append(f"{where}: use [functions.{evaluation.function_name}.evaluators]")
        if evaluation.type == "static":
            found.append(f'{where}.type: "static" is called "inference" now')
        found += _evaluators(where, evaluation.evaluators)
    for name, optimizer in tables.optimizers.items():
        type_ = optimizer.get("type")
        if type_ == "gepa" and "evaluation_name" in optimizer:
            found.append(f"optimizers.{name}.evaluation_name: use `evaluator_names`")
        if type_ == "dicl" and "model" not in optimizer:
            found.append(f"optimizers.{name}.model: its default is deprecated; name a model")
    return found


def _gateway(tables: Tables) -> Iterator[str]:
    gateway = tables.gateway
    if gateway.observability.disable_automatic_migrations:
        yield (
            "gateway.observability.disable_automatic_migrations: has no effect; "
            "use `clickhouse.disable_automatic_migrations`"
        )
    if gateway.template_filesystem_access.enabled is not None:
        yield "gateway.template_filesystem_access.enabled: has no effect; access is enabled by `base_path`"
    if tables.postgres.enabled is not None:
        yield "postgres.enabled: Postgres is used if its URL is set"


def _providers(tables: Tables) -> Iterator[str]:
    for name, model in tables.models.items():
        for provider, table in model.providers.items():
            where = f"models.{name}.providers.{provider}"
            if "allow_auto_detect_region" in table:
                yield f'{where}.allow_auto_detect_region: use `region = "sdk"`'
            if "parse_think_blocks" in table:
                yield f"{where}.parse_think_blocks: has no effect; think blocks are always read"


def _function(where: str, function: FunctionTable) -> Iterator[str]:
    for name, variant in function.variants.items():
        yield from _variant(f"{where}.variants.{name}", variant)
    chosen = function.experimentation
    if chosen is not None:
        for at, each in (("", chosen), *((f".namespaces.{name}", inner) for name, inner in chosen.namespaces.items())):
            if each.type in _EXPERIMENTS:
                yield f'{where}.experimentation{at}.type: "{each.type}" is called "{_EXPERIMENTS[each.type]}" now'
    yield from _evaluators(where, function.evaluators)


def _variant(where: str, variant: Mapping[str, Any]) -> Iterator[str]:
    if "weight" in variant:
        yield f"{where}.weight: use [functions.F.experimentation]"
    if "timeout_s" in variant:
        yield f"{where}.timeout_s: use `timeouts` of the candidates"
    if variant.get("type") == "experimental_chain_of_thought":
        yield f"{where}.type: use a model that reasons by itself"
    for part in ("", ".evaluator", ".fuser"):
        table = variant.get(part[1:]) if part else variant
        if isinstance(table, Mapping) and "input_wrappers" in table:
            yield f"{where}{part}.input_wrappers: use `templates`"


def _evaluators(where: str, evaluators: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, table in evaluators.items():
        if "cutoff" in table:
            yield f"{where}.evaluators.{name}.cutoff: give cutoffs to the evaluation run"
        variants = table.get("variants")
        for variant, judge in (variants if isinstance(variants, Mapping) else {}).items():
            if isinstance(judge, Mapping):
                yield from _variant(f"{where}.evaluators.{name}.variants.{variant}", judge)
