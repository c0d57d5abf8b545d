"""``[functions]``, ``[metrics]`` and ``[tools]`` (config spec 11, 14, 18); of variants the keys that core reads."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ..files import File
from .base import CheckedBy, NotNegative, Table, refuse
from .experimentation import Annotation
from .models import Timeouts
from .names import EvaluatorName, NamespaceName, VariantName

_OF_CHAT = ("tools", "tool_choice", "parallel_tool_calls")


class SchemaTable(Table):
    """``[functions.F.schemas.S]``."""

    path: File


class SpecificTool(Table):
    """``tool_choice = { specific = "name" }``."""

    specific: str


class VariantKeys(Table):
    """The keys of any ``[functions.F.variants.V]`` table that core reads; ``type`` and the rest are the plugin's."""

    weight: NotNegative | None = None
    timeouts: Timeouts = Timeouts()
    namespace: NamespaceName | None = None


class FunctionTable(Table):
    """``[functions.F]``. Variant and evaluator tables are their plugins'."""

    type: Literal["chat", "json"]
    variants: dict[VariantName, Annotated[dict[str, Any], CheckedBy(VariantKeys)]]
    system_schema: File | None = None
    user_schema: File | None = None
    assistant_schema: File | None = None
    schemas: dict[str, SchemaTable] = Field(default={})
    output_schema: File | None = None
    tools: list[str] = Field(default=[])
    tool_choice: Literal["none", "auto", "required"] | SpecificTool = "auto"
    parallel_tool_calls: bool | None = None
    description: str | None = None
    experimentation: Annotation | None = None
    evaluators: dict[EvaluatorName, dict[str, Any]] = Field(default={})

    @model_validator(mode="after")
    def _consistent(self) -> FunctionTable:
        wrong = []
        if self.type == "chat" and self.output_schema is not None:
            wrong.append("`output_schema` belongs to json functions; this one is a chat function")
        if self.type == "json" and (misplaced := [key for key in _OF_CHAT if key in self.model_fields_set]):
            wrong.append(f"`{'`, `'.join(misplaced)}`: for chat functions only; this one is a json function")
        wrong += [
            f"Cannot specify both schemas.{role}.path and {role}_schema"
            for role in ("system", "user", "assistant")
            if role in self.schemas and getattr(self, f"{role}_schema") is not None
        ]
        if self.experimentation and any("weight" in variant for variant in self.variants.values()):
            wrong.append("`experimentation` and a variant's `weight` cannot be combined")
        for name, variant in self.variants.items():
            parts = {"": variant, ".evaluator": variant.get("evaluator"), ".fuser": variant.get("fuser")}
            for part, table in parts.items():
                wrong += [f".variants.{name}{part}: {problem}" for problem in self._wrappers(table)]
        refuse(wrong)
        return self

    def _wrappers(self, table: Any) -> list[str]:
        """An input wrapper stands for a template without a schema, so a schema beside it contradicts it."""
        wrappers = table.get("input_wrappers") if isinstance(table, dict) else None
        return [
            f"Cannot specify both input_wrappers.{role} and a schema of `{role}`"
            for role in (wrappers if isinstance(wrappers, dict) else ())
            if role in self.schemas or getattr(self, f"{role}_schema", None) is not None
        ]


class MetricTable(Table):
    """``[metrics.M]``."""

    type: Literal["boolean", "float"]
    optimize: Literal["min", "max"]
    level: Literal["inference", "episode"]
    description: str | None = None


class ToolTable(Table):
    """``[tools.T]``; ``name`` is what the model sees, the key by default."""

    description: str
    parameters: File
    name: str | None = None
    strict: bool = False
