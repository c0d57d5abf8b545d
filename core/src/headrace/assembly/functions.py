"""The tables of functions and tools to ``Function`` objects with their variants, experiments and evaluators."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..config import FunctionTable, Tables
from ..contracts import Evaluator, FunctionSpec, Store, Templated, Variant, VariantServices
from ..errors import ConfigError, HeadraceError, StoreError
from ..experiments import Experiment
from ..files import File
from ..functions import Function
from ..gateway import DEFAULT_FUNCTION
from ..prompts import Prompts
from ..records import Example
from ..schemas import Schema
from ..types import Specific, Tool
from .models import Models
from .parts import Parts

# Keys of a variant's table that core reads itself; the rest is for the plugin's own model.
_OWN_KEYS = frozenset({"weight"})


class Functions:
    """Every configured function and tool, by name."""

    def __init__(self, parts: Parts, tables: Tables, models: Models, store: Store | None) -> None:
        self._parts = parts
        self._tables = tables
        self._models = models
        self._store = store
        self._prompts = Prompts()
        self._direct: dict[str, Function] = {}
        self.tools = {key: tool for key in tables.tools if (tool := self._tool(key))}
        self.functions = {name: self._function(name, table) for name, table in tables.functions.items()}
        self.evaluators = {name: self._evaluators(name, table) for name, table in tables.functions.items()}

    def _tool(self, key: str) -> Tool | None:
        table = self._tables.tools[key]
        schema = self._schema(f"tools.{key}.parameters", table.parameters)
        if schema is None:
            return None
        return Tool(table.name or key, table.description, schema.value, table.strict)

    def _schema(self, where: str, file: File) -> Schema | None:
        try:
            return Schema(json.loads(file.text))
        except json.JSONDecodeError as error:
            self._parts.problems.add(where, f"Failed to parse JSON Schema `{file.name}`: {error}")
        except ValueError as error:
            self._parts.problems.add(where, f"Failed to compile JSON Schema `{file.name}`: {error}")
        return None

    def _function(self, name: str, table: FunctionTable) -> Function:
        where = f"functions.{name}"
        spec = self._spec(where, name, table)
        variants: dict[str, Variant] = {}
        for variant_name, variant in table.variants.items():
            built = self._variant(f"{where}.variants.{variant_name}", variant_name, spec, variant)
            if built is not None:
                variants[variant_name] = built
        slots = frozenset(
            slot for variant in variants.values() if isinstance(variant, Templated) for slot in variant.templates
        )
        return Function(spec, variants, self._experiment(where, table), slots)

    def _spec(self, where: str, name: str, table: FunctionTable) -> FunctionSpec:
        files = {role: file for role in ("system", "user", "assistant") if (file := getattr(table, f"{role}_schema"))}
        files |= {slot: schema.path for slot, schema in table.schemas.items()}
        schemas = {
            slot: schema for slot, file in files.items() if (schema := self._schema(f"{where}.schemas.{slot}", file))
        }
        output = self._schema(f"{where}.output_schema", table.output_schema) if table.output_schema else None
        tools = {}
        for key in table.tools:
            if key in self.tools:
                tools[key] = self.tools[key]
            elif key not in self._tables.tools:
                self._parts.problems.add(f"`{where}.tools`", f"tool `{key}` is not present in the config")
        choice = table.tool_choice
        return FunctionSpec(
            name=name,
            type=table.type,
            schemas=schemas,
            output_schema=output or (Schema({}) if table.type == "json" else None),
            tools=tools,
            tool_choice=choice if isinstance(choice, str) else Specific(choice.specific),
            parallel_tool_calls=table.parallel_tool_calls,
            description=table.description,
        )

    def _variant(self, where: str, name: str, spec: FunctionSpec, table: Mapping[str, Any]) -> Variant | None:
        lent = self._parts.services
        services = VariantServices(
            lent.transport,
            lent.secret,
            lent.clock,
            lent.outbound_timeout_s,
            name=name,
            function=spec,
            model=self._models.model,
            embedding_model=self._models.embedding_model,
            prompts=self._prompts,
            nearest=self._nearest,
            variant=self._no_variant,
        )
        own = {key: value for key, value in table.items() if key not in _OWN_KEYS}
        weight = table.get("weight")
        if weight is not None and not (isinstance(weight, (int, float)) and 0 <= weight < math.inf):
            self._parts.problems.add(f"{where}.weight", f"must be a number >= 0, found {weight!r}")
        built: Variant | None = self._parts.build("variant", where, own, services=services)
        self._parts.own(built)
        return built

    def _no_variant(self, name: str, timeout_s: float | None) -> Variant:
        raise ConfigError(f"Unknown candidate variant: {name}")

    async def _nearest(
        self, function_name: str, variant_name: str, embedding: Sequence[float], k: int
    ) -> list[tuple[Example, float]]:
        if self._store is None:
            raise StoreError("examples need a store: `gateway.observability.enabled` is false")
        return await self._store.examples(function_name, variant_name, embedding, k)

    def _experiment(self, where: str, table: FunctionTable) -> Experiment:
        names = list(table.variants)
        chosen = table.experimentation
        if chosen is None:
            weights = {name: variant["weight"] for name, variant in table.variants.items() if "weight" in variant}
            if not weights:
                return Experiment(dict.fromkeys(names, 1.0))
            # Once any variant has a weight, one without is a fallback, and weight 0 is never drawn.
            return Experiment(
                {name: weight for name, weight in weights.items() if weight > 0},
                sorted(name for name in names if name not in weights),
            )
        candidates = chosen.candidate_variants
        weighted = candidates if isinstance(candidates, dict) else dict.fromkeys(candidates, 1.0)
        for problem in _unfit(candidates, weighted, chosen.fallback_variants, names):
            self._parts.problems.add(f"{where}.experimentation", problem)
        return Experiment(weighted, chosen.fallback_variants)

    def _evaluators(self, name: str, table: FunctionTable) -> dict[str, Evaluator]:
        built = {
            evaluator: self._parts.build("evaluator", f"functions.{name}.evaluators.{evaluator}", settings)
            for evaluator, settings in table.evaluators.items()
        }
        for thing in built.values():
            self._parts.own(thing)
        return {evaluator: thing for evaluator, thing in built.items() if thing is not None}

    def direct(self, model_name: str) -> Function:
        """The built-in function that runs a model by its own name, with one variant named like the model."""
        if model_name not in self._direct:
            self._models.model(model_name)
            spec = FunctionSpec(DEFAULT_FUNCTION, "chat")
            variant = self._variant(
                DEFAULT_FUNCTION, model_name, spec, {"type": "chat_completion", "model": model_name}
            )
            if variant is None:
                raise HeadraceError(self._parts.problems.lines.pop())
            self._direct[model_name] = Function(spec, {model_name: variant}, Experiment({model_name: 1.0}))
        return self._direct[model_name]


def _unfit(
    candidates: Sequence[str] | Mapping[str, float],
    weighted: Mapping[str, float],
    fallbacks: Sequence[str],
    names: Sequence[str],
) -> list[str]:
    """What is wrong with an experiment's lists (spec/experimentation.md 1)."""
    wrong = [
        f"unknown variant `{name}` (known: {', '.join(names)})" for name in (*weighted, *fallbacks) if name not in names
    ]
    if len(candidates) != len(weighted) or len(set(fallbacks)) != len(fallbacks):
        wrong.append("a variant is named twice")
    wrong += [f"`{name}` is both candidate and fallback" for name in fallbacks if name in weighted]
    wrong += [f"the weight of `{name}` is negative: {weight}" for name, weight in weighted.items() if not weight >= 0]
    if not fallbacks and not any(weight > 0 for weight in weighted.values()):
        wrong.append("no candidate has a positive weight, and there is no fallback")
    return wrong
