"""The whole configuration as one pydantic model, and the rules that concern several of its tables."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from .base import Table, refuse
from .evaluators import EvaluationTable
from .experimentation import check_experimentation
from .functions import FunctionTable, MetricTable, ToolTable
from .gateway import GatewayTable
from .models import CostEntry, EmbeddingModelTable, ModelTable, check_models, over_the_ceiling
from .names import EvaluationName, FunctionName, MetricName, ModelName, ToolName
from .provider_types import ProviderTypes
from .rate_limiting import RateLimitingTable
from .stores import AutopilotTable, ClickhouseTable, HeadraceTable, PostgresTable, check_object_storage

__all__ = ["OWN", "CostEntry", "Tables"]

_DICL = "experimental_dynamic_in_context_learning"


class Tables(Table):
    """The whole configuration. ``stores`` holds the top-level tables that only a store plugin can know."""

    gateway: GatewayTable = GatewayTable()
    clickhouse: ClickhouseTable = ClickhouseTable()
    postgres: PostgresTable = PostgresTable()
    object_storage: Annotated[dict[str, Any], AfterValidator(check_object_storage)] | None = None
    provider_types: ProviderTypes = ProviderTypes()
    rate_limiting: RateLimitingTable = RateLimitingTable()
    models: dict[ModelName, ModelTable] = Field(default={})
    embedding_models: dict[ModelName, EmbeddingModelTable] = Field(default={})
    functions: dict[FunctionName, FunctionTable] = Field(default={})
    metrics: dict[MetricName, MetricTable] = Field(default={})
    tools: dict[ToolName, ToolTable] = Field(default={})
    evaluations: dict[EvaluationName, EvaluationTable] = Field(default={})
    optimizers: dict[str, dict[str, Any]] = Field(default={})
    autopilot: AutopilotTable = AutopilotTable()
    headrace: HeadraceTable = HeadraceTable()
    stores: dict[str, Any] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _set_store_tables_aside(cls, tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        own = {key: value for key, value in tree.items() if key in OWN}
        return {**own, "stores": {key: value for key, value in tree.items() if key not in OWN}}

    @model_validator(mode="after")
    def _agree(self) -> Tables:
        ceiling_ms = self.gateway.global_outbound_http_timeout_ms
        wrong = check_models(self.models, ceiling_ms)
        for name, function in self.functions.items():
            if function.experimentation is not None:
                where = f"functions.{name}.experimentation"
                wrong += check_experimentation(function.experimentation, where, function.variants, self.metrics)
            for variant, table in function.variants.items():
                wrong += self._embedding_limit(f"functions.{name}.variants.{variant}", table, ceiling_ms)
        wrong += [
            f"evaluations.{name}.function_name: no function `{evaluation.function_name}` "
            f"(known: {', '.join(self.functions) or 'none'})"
            for name, evaluation in self.evaluations.items()
            if evaluation.function_name not in self.functions
        ]
        if self.clickhouse.disable_automatic_migrations and self.gateway.observability.disable_automatic_migrations:
            wrong.append(
                "clickhouse.disable_automatic_migrations: "
                "`gateway.observability.disable_automatic_migrations` is its old name: set one of them"
            )
        refuse(wrong)
        return self

    def _embedding_limit(self, where: str, table: dict[str, Any], ceiling_ms: int) -> list[str]:
        """An embedding model's limit is held against the gateway's where a DICL variant uses it (config spec 10)."""
        name = table.get("embedding_model") if table.get("type") == _DICL else None
        model = self.embedding_models.get(name) if isinstance(name, str) else None
        if model is None or model.timeout_ms is None or model.timeout_ms <= ceiling_ms:
            return []
        over = over_the_ceiling("timeout_ms", model.timeout_ms, ceiling_ms)
        return [f"embedding_models.{name}: {over} (used by {where})"]

    def store(self, type_: str) -> dict[str, Any]:
        """The keys that are set in the top-level table which a store plugin of this type reads."""
        if type_ == "postgres":
            return self.postgres.model_dump(exclude_unset=True)
        if type_ == "clickhouse":
            return self.clickhouse.model_dump(exclude_unset=True)
        return dict(self.stores.get(type_) or {})


# Only assembly knows the plugins, so a table that may be a mistake waits in `stores`.
OWN = frozenset(Tables.model_fields) - {"stores"}
