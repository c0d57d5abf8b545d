"""The tables of the configuration as pydantic models. Plugin tables stay raw until assembly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from ..files import File
from .names import OURS, EvaluatorName, FunctionName, MetricName, ModelName, ToolName, VariantName

_POINTER = re.compile(r"(/([^~/]|~[01])*)*")

# Tables that are neither core's nor a plugin's are mistakes, but only assembly knows the plugins: they wait here.
OWN = frozenset({"gateway", "models", "embedding_models", "functions", "metrics", "tools", "optimizers", "headrace"})


def _refuse(wrong: list[str]) -> None:
    """Raise everything that is wrong with a table, one finding a line."""
    if wrong:
        raise ValueError("\n".join(wrong))


class Table(BaseModel):
    """A TOML table: unknown keys and wrong types are errors, values never change after load."""

    # Strict, as TOML has types of its own: `debug = "false"` is a mistake, not a way to say false.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BatchWrites(Table):
    """``[gateway.observability.batch_writes]``: how many rows, or how long, before a flush."""

    enabled: bool
    flush_interval_ms: PositiveInt = 100
    max_rows: PositiveInt = 1000
    write_queue_capacity: PositiveInt | None = None


class Observability(Table):
    """``[gateway.observability]``: whether, where and how inferences are recorded."""

    enabled: bool | None = None
    backend: str = "auto"
    async_writes: bool = True
    batch_writes: BatchWrites | None = None

    @model_validator(mode="after")
    def _one_way_to_write(self) -> Observability:
        if self.async_writes and self.batch_writes and self.batch_writes.enabled:
            raise ValueError(
                "Batch writes and async writes cannot be enabled at the same time: set `async_writes = false`"
            )
        return self


class GatewayTable(Table):
    """``[gateway]``."""

    bind_address: str | None = None
    base_path: str = "/"
    debug: bool = False
    unstable_disable_feedback_target_validation: bool = False
    disable_pseudonymous_usage_analytics: bool = False
    global_outbound_http_timeout_ms: PositiveInt = 900_000
    observability: Observability = Observability()

    @field_validator("bind_address")
    @classmethod
    def _literal(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        try:
            ip_address(host.removeprefix("[").removesuffix("]"))
            if not (port.isdecimal() and int(port) < 2**16):
                raise ValueError
        except ValueError:
            raise ValueError(
                f"must be IP:PORT with a literal address, such as 127.0.0.1:3000, found {value!r}"
            ) from None
        return value

    @field_validator("base_path")
    @classmethod
    def _rooted(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError(f"[gateway.base_path] must start with a / : found {value!r}")
        return value.rstrip("/") or "/"


class CostEntry(Table):
    """One price: a JSON pointer into the provider's raw answer, times a rate in dollars."""

    pointer: str | None = None
    pointer_nonstreaming: str | None = None
    pointer_streaming: str | None = None
    cost_per_million: FiniteFloat | None = None
    cost_per_unit: FiniteFloat | None = None
    required: bool = False

    @model_validator(mode="after")
    def _one_of_each(self) -> CostEntry:
        split = (self.pointer_nonstreaming is not None, self.pointer_streaming is not None)
        if (self.pointer is not None and any(split)) or (self.pointer is None and not all(split)):
            raise ValueError(
                "invalid pointer configuration: give `pointer`, or both `pointer_nonstreaming` and `pointer_streaming`"
            )
        if (self.cost_per_million is None) == (self.cost_per_unit is None):
            raise ValueError("must specify exactly one of `cost_per_million` and `cost_per_unit`")
        for pointer in (self.pointer, self.pointer_nonstreaming, self.pointer_streaming):
            if pointer is not None and not _POINTER.fullmatch(pointer):
                raise ValueError(f"invalid JSON pointer `{pointer}`: it starts with `/`, and has `~` only in ~0 and ~1")
        return self


class ModelTable(Table):
    """``[models.M]``: providers in the order they are tried. Each provider's table is its plugin's."""

    routing: list[str]
    providers: dict[str, dict[str, Any]]

    @model_validator(mode="after")
    def _routes(self) -> ModelTable:
        wrong = [] if self.routing else ["`routing` is empty: name at least one provider"]
        if len(set(self.routing)) != len(self.routing):
            wrong.append(f"`routing` names a provider twice: {self.routing}")
        wrong += [f"Provider name cannot start with '{OURS}': {name}" for name in self.routing if name.startswith(OURS)]
        wrong += _missing_routes(self.routing, self.providers)
        wrong += [f"Provider {name} is not listed in routing" for name in self.providers if name not in self.routing]
        _refuse(wrong)
        return self


def _missing_routes(routing: list[str], providers: Mapping[str, Any]) -> list[str]:
    return [
        f"`routing` contains provider `{name}` that does not exist in `providers`"
        for name in routing
        if name not in providers
    ]


class EmbeddingModelTable(Table):
    """``[embedding_models.M]``."""

    routing: list[str] = Field(min_length=1)
    providers: dict[str, dict[str, Any]]

    @model_validator(mode="after")
    def _routes(self) -> EmbeddingModelTable:
        _refuse(_missing_routes(self.routing, self.providers))
        return self


class SchemaTable(Table):
    """``[functions.F.schemas.S]``."""

    path: File


class SpecificTool(Table):
    """``tool_choice = { specific = "name" }``."""

    specific: str


class Experimentation(Table):
    """``[functions.F.experimentation]``: how a function draws its variant."""

    type: Literal["static"]
    candidate_variants: list[str] | dict[str, FiniteFloat]
    fallback_variants: list[str] = []


class FunctionTable(Table):
    """``[functions.F]``. Variant and evaluator tables are their plugins'."""

    type: Literal["chat", "json"]
    variants: dict[VariantName, dict[str, Any]]
    system_schema: File | None = None
    user_schema: File | None = None
    assistant_schema: File | None = None
    schemas: dict[str, SchemaTable] = {}
    output_schema: File | None = None
    tools: list[str] = []
    tool_choice: Literal["none", "auto", "required"] | SpecificTool = "auto"
    parallel_tool_calls: bool | None = None
    description: str | None = None
    experimentation: Experimentation | None = None
    evaluators: dict[EvaluatorName, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _consistent(self) -> FunctionTable:
        wrong = []
        if self.type == "chat" and self.output_schema is not None:
            wrong.append("`output_schema` belongs to json functions; this one is a chat function")
        if self.type == "json" and (self.tools or self.parallel_tool_calls is not None):
            wrong.append("`tools` and `parallel_tool_calls` belong to chat functions; this one is a json function")
        wrong += [
            f"Cannot specify both schemas.{role}.path and {role}_schema"
            for role in ("system", "user", "assistant")
            if role in self.schemas and getattr(self, f"{role}_schema") is not None
        ]
        if self.experimentation and any("weight" in variant for variant in self.variants.values()):
            wrong.append("`experimentation` and a variant's `weight` cannot be combined")
        _refuse(wrong)
        return self


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


class SplitsTable(Table):
    """``[headrace.splits]``: the shares of train, validation and test, and the key of the hash that assigns them."""

    train: float = Field(default=0.6, ge=0, le=1)
    validation: float = Field(default=0.2, ge=0, le=1)
    test: float = Field(default=0.2, ge=0, le=1)
    key: str = "headrace"

    @model_validator(mode="after")
    def _whole(self) -> SplitsTable:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train + validation + test must be 1, found {total:g}")
        return self


class HeadraceTable(Table):
    """``[headrace]``: what TensorZero does not know. ``transport`` is ``{ type = ... }`` with its plugin's keys."""

    splits: SplitsTable = SplitsTable()
    transport: dict[str, Any] | None = None
    max_body_bytes: PositiveInt = 100 * 1024 * 1024


class Tables(Table):
    """The whole configuration. ``stores`` holds the top-level tables that only a store plugin can know."""

    gateway: GatewayTable = GatewayTable()
    models: dict[ModelName, ModelTable] = {}
    embedding_models: dict[ModelName, EmbeddingModelTable] = {}
    functions: dict[FunctionName, FunctionTable] = {}
    metrics: dict[MetricName, MetricTable] = {}
    tools: dict[ToolName, ToolTable] = {}
    optimizers: dict[str, dict[str, Any]] = {}
    headrace: HeadraceTable = HeadraceTable()
    stores: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _set_store_tables_aside(cls, tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        own = {key: value for key, value in tree.items() if key in OWN}
        return {**own, "stores": {key: value for key, value in tree.items() if key not in OWN}}
