"""The json function that each LLM judge of the configuration is (evaluations spec 1.2), callable like any other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..config import LlmJudgeTable, Tables
from ..config.merging import DATA, NAME
from ..contracts import FunctionSpec
from ..experiments import Experiment
from ..schemas import Schema

_TEXTS = {"type": "string"}
_USER = Schema(
    {
        "type": "object",
        "properties": {
            "input": _TEXTS,
            "generated_output": _TEXTS,
            "reference_output": {"type": ["string", "null"]},
        },
        "required": ["input", "generated_output"],
        "additionalProperties": False,
    }
)
_SECTIONS = """\
# Input

{{ input }}

# Generated Output

{{ generated_output }}\
{% if reference_output is defined and reference_output is not none %}

# Reference Output

{{ reference_output }}\
{% endif %}"""


class Judge(NamedTuple):
    """A judge as a function: ``where`` its table stands, what it is, the tables of its variants, and who is drawn."""

    where: str
    spec: FunctionSpec
    tables: Mapping[str, Mapping[str, Any]]
    experiment: Experiment


def judges(tables: Tables) -> Iterator[Judge]:
    """Every judge of ``[functions.F.evaluators]`` and ``[evaluations.X.evaluators]`` whose table is valid."""
    for function, table in tables.functions.items():
        for name, evaluator in table.evaluators.items():
            yield from _judge(f"functions.{function}", f"function_name::{function}::{name}", name, evaluator)
    for evaluation, legacy in tables.evaluations.items():
        for name, evaluator in legacy.evaluators.items():
            yield from _judge(f"evaluations.{evaluation}", f"{evaluation}::{name}", name, evaluator)


def _judge(where: str, name: str, evaluator: str, raw: Mapping[str, Any]) -> Iterator[Judge]:
    if raw.get("type") != "llm_judge":
        return
    try:
        table = LlmJudgeTable.model_validate(dict(raw))
    except ValueError:  # it is told of elsewhere, with its key
        return
    serialized = table.input_format == "serialized"
    score = {"type": "number" if table.output_type == "float" else "boolean"}
    spec = FunctionSpec(
        name=f"tensorzero::llm_judge::{name}",
        type="json",
        schemas={"user": _USER} if serialized else {},
        output_schema=Schema(
            {"type": "object", "properties": {"score": score}, "required": ["score"], "additionalProperties": False}
        ),
        description=table.description,
    )
    active = [name for name, variant in table.variants.items() if variant.active] or list(table.variants)
    yield Judge(
        f"{where}.evaluators.{evaluator}",
        spec,
        {
            variant: _with_templates(spec.name, dict(keys), serialized=serialized)
            for variant, keys in raw["variants"].items()
        },
        Experiment({active[0]: 1.0}),
    )


def _with_templates(judge: str, table: dict[str, Any], *, serialized: bool) -> dict[str, Any]:
    """A judge's table as one of an ordinary variant: its instructions, said as they stand, and its sections."""
    table.pop("active", None)
    for part in ("evaluator", "fuser"):
        if part in table:
            table[part] = _with_templates(judge, dict(table[part]), serialized=serialized)
    if "system_instructions" not in table or table.get("type") == "experimental_dynamic_in_context_learning":
        return table
    instructions = table.pop("system_instructions")
    # As a string literal nothing in it is a template; JSON's escapes are MiniJinja's too.
    literal = "{{ " + json.dumps(instructions[DATA]) + " }}"
    templates = {"system": {"path": {NAME: f"tensorzero::{instructions[NAME]}", DATA: literal}}}
    if serialized:
        templates["user"] = {"path": {NAME: "tensorzero::llm_judge::user", DATA: _SECTIONS}}
    return {**table, "templates": templates}
