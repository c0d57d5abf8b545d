"""The tables of functions and tools to ``Function`` objects with their variants, experiments and evaluators."""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from ..admission import DEFAULT_FUNCTION
from ..config import FunctionTable, Tables
from ..contracts import Evaluator, FunctionSpec, Store, Templated, Variant
from ..errors import ConfigError, StoreError
from ..experiments import Experiment
from ..files import File
from ..functions import Function, reserved_for
from ..inference import INLINE_VARIANT
from ..prompts import Prompts
from ..records import Example
from ..sandbox import Sandbox, SandboxedPrompts
from ..schemas import Schema
from ..types import Specific, Tool
from .experiments import base_experiment, experiment_of, misplaced
from .judges import Judge, judges
from .models import MAX_SHORT, Models
from .parts import Parts
from .variants import Variants

log = logging.getLogger(__name__)

# Functions whose variants come with a request, as the table is named after what they are for (config spec 11.5).
_BUILT_IN = {
    "tensorzero::optimization::gepa::analyze": FunctionSpec("tensorzero::optimization::gepa::analyze", "chat"),
    "tensorzero::optimization::gepa::mutate": FunctionSpec(
        "tensorzero::optimization::gepa::mutate", "json", output_schema=Schema({})
    ),
}


class Functions:
    """Every configured function and tool, by name."""

    def __init__(
        self, parts: Parts, tables: Tables, models: Models, store: Store | None, includes: Mapping[str, str]
    ) -> None:
        self._parts = parts
        self._tables = tables
        self._models = models
        self._store = store
        self._prompts = Prompts(includes)
        self._sandbox = Sandbox()
        held = AsyncExitStack()
        held.enter_context(self._sandbox)
        parts.own(held)
        self._direct: OrderedDict[str, Function] = OrderedDict()
        self._inline: OrderedDict[tuple[str, str | None, bytes], Variant] = OrderedDict()
        self.tools = {key: tool for key in tables.tools if (tool := self._tool(key))}
        self.functions = {name: self._function(name, table) for name, table in tables.functions.items()}
        self.functions |= {name: Function(spec, {}, Experiment({})) for name, spec in _BUILT_IN.items()}
        self.functions |= {judge.spec.name: self._judge(judge) for judge in judges(tables)}
        self.evaluators = {name: self._evaluators(name, table) for name, table in tables.functions.items()}

    # -- at start-up --------------------------------------------------------------------------------------

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
        building = self._variants(self._parts, spec, table.variants, self._prompts)
        variants = building.all()
        namespaces = {variant: frozenset(names) for variant, names in building.namespaces.items() if names}
        base = base_experiment(table)
        chosen = table.experimentation.namespaces if table.experimentation else {}
        namespaced = {namespace: experiment_of(each, table.variants) for namespace, each in chosen.items()}
        for problem in misplaced(base, namespaced, namespaces):
            self._parts.problems.add(where, problem)
        return Function(spec, variants, base, _slots(variants), namespaced, namespaces)

    def _judge(self, judge: Judge) -> Function:
        building = self._variants(self._parts, judge.spec, judge.tables, self._prompts, judge.where)
        variants = building.all()
        return Function(judge.spec, variants, judge.experiment, _slots(variants))

    def _variants(
        self,
        parts: Parts,
        spec: FunctionSpec,
        tables: Mapping[str, Mapping[str, Any]],
        prompts: Prompts,
        where: str | None = None,
    ) -> Variants:
        return Variants(
            parts,
            spec,
            tables,
            where=where or f"functions.{spec.name}",
            models=self._models,
            prompts=prompts,
            nearest=self._nearest,
            ceiling_ms=self._tables.gateway.global_outbound_http_timeout_ms,
        )

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

    async def _nearest(
        self, function_name: str, variant_name: str, embedding: Sequence[float], k: int
    ) -> list[tuple[Example, float]]:
        if self._store is None:
            raise StoreError("examples need a store: `gateway.observability.enabled` is false")
        return await self._store.examples(function_name, variant_name, embedding, k)

    def _evaluators(self, name: str, table: FunctionTable) -> dict[str, Evaluator]:
        built: dict[str, Evaluator] = {}
        for evaluator, settings in table.evaluators.items():
            where = f"functions.{name}.evaluators.{evaluator}"
            if not self._parts.is_installed("evaluator", where, settings):
                continue
            thing = self._parts.build("evaluator", where, settings)
            self._parts.own(thing)
            if thing is not None:
                built[evaluator] = thing
        return built

    # -- while running ------------------------------------------------------------------------------------

    def direct(self, model_name: str) -> Function:
        """The built-in function that runs a model by its own name, with one variant named like the model."""
        function = self._direct.get(model_name)
        if function is None:
            self._models.model(model_name)  # so that what is wrong with the name is said of the name
            spec = FunctionSpec(DEFAULT_FUNCTION, "chat")
            table = {"type": "chat_completion", "model": model_name}
            building = self._variants(self._parts.apart(), spec, {model_name: table}, Prompts())
            variants = building.all()
            namespaces = {name: frozenset(wanted) for name, wanted in building.namespaces.items() if wanted}
            function = Function(spec, variants, Experiment({model_name: 1.0}), namespaces=namespaces)
            _keep(self._direct, model_name, function, MAX_SHORT)
        return function

    def inline(self, function: Function, table: Mapping[str, Any], namespace: str | None) -> Variant:
        """The variant that a request brought with it. Its templates run apart: nobody vouches for them.

        An evaluation sends the same one with each datapoint, so the last few are kept. Raise ConfigError.
        """
        key = (function.name, namespace, msgspec.json.encode(table, order="deterministic"))
        variant = self._inline.get(key)

        if variant is None:
            tables = {**self._tables_of(function.name), INLINE_VARIANT: table}
            building = self._variants(self._parts.apart(), function.spec, tables, SandboxedPrompts(self._sandbox))
            variant = building.one(INLINE_VARIANT)
            for wanted in building.namespaces[INLINE_VARIANT] - {namespace}:
                raise ConfigError(reserved_for(INLINE_VARIANT, wanted))
            _keep(self._inline, key, variant, 8)
        return variant

    def _tables_of(self, function_name: str) -> Mapping[str, Mapping[str, Any]]:
        table = self._tables.functions.get(function_name)
        return table.variants if table else {}


def _slots(variants: Mapping[str, Variant]) -> frozenset[str]:
    return frozenset(
        slot for variant in variants.values() if isinstance(variant, Templated) for slot in variant.templates
    )


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    while len(kept) >= most:
        kept.popitem(last=False)
    kept[key] = value
