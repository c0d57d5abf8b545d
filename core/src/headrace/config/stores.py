"""Tables of databases and of what stands beside them (config spec 4.2, 4.3), and those of headrace's own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, Field, PositiveInt, model_validator

from ..queries import Expiring
from .base import U32, LaxTable, Table


class ClickhouseTable(Table):
    """``[clickhouse]``: TensorZero's one key, and those that headrace-clickhouse adds, and checks."""

    disable_automatic_migrations: bool = False
    url: str | None = Field(default=None, repr=False)
    cluster: str | None = None
    async_insert: bool = False
    request_timeout_s: float | None = None
    max_connections: int | None = None


class PostgresTable(LaxTable):
    """``[postgres]``. Unknown keys are for the store plugin of that name, if one is installed."""

    connection_pool_size: U32 = 20
    enabled: bool | None = None
    inference_metadata_retention_days: U32 | None = None
    inference_data_retention_days: U32 | None = Field(
        default=None,
        validation_alias=AliasChoices("inference_data_retention_days", "inference_retention_days"),
    )


class AutopilotTable(Table):
    """``[autopilot]``: accepted, and means nothing here."""

    tool_whitelist: list[str] | None = None


def check_object_storage(table: dict[str, Any]) -> dict[str, Any]:
    """``[object_storage]``: ``type`` names a plugin, which checks the rest; ``disabled`` is core's."""
    if not isinstance(table.get("type"), str):
        raise ValueError(".type: Field required" if "type" not in table else ".type: must be a string")
    if table["type"] == "disabled" and len(table) > 1:
        raise ValueError(
            "\n".join(f".{key}: unknown key (extra inputs are not permitted)" for key in table if key != "type")
        )
    return table


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


class FilesTable(Table):
    """``[headrace.files]``: what the gateway fetches when an input names a file by its URL."""

    max_bytes: PositiveInt = 20 * 1024 * 1024
    timeout_s: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    max_redirects: U32 = 3
    allow_private_addresses: bool = False


class RecordsTable(Table):
    """``[headrace.records]``: what becomes of records while the store is away."""

    when_full: Literal["wait", "drop"] = "wait"
    spill_path: str = "headrace-spill"
    spill_after_s: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    spill_max_bytes: PositiveInt = 1024**3


class RetentionTable(Table):
    """``[headrace.retention]``: the days after which what is stored ends; without any it never does."""

    data_days: PositiveInt | None = None
    inferences_days: PositiveInt | None = None
    model_inferences_days: PositiveInt | None = None
    feedback_days: PositiveInt | None = None
    batches_days: PositiveInt | None = None
    cache_days: PositiveInt | None = None

    def days(self, postgres: PostgresTable | None = None) -> dict[Expiring, int]:
        """What ends and when, where it is set. ``postgres``, if records are there, says the rest in other words."""
        rows = postgres.inference_metadata_retention_days if postgres is not None else None
        data = postgres.inference_data_retention_days if postgres is not None else None
        days: dict[Expiring, int | None] = {
            "data": self.data_days or data,
            "inferences": self.inferences_days or rows,
            "model_inferences": self.model_inferences_days or rows,
            "feedback": self.feedback_days,
            "batches": self.batches_days or rows,
            "cache": self.cache_days,
        }
        return {what: limit for what, limit in days.items() if limit is not None}


class PricesTable(Table):
    """``[headrace.prices]``: the list of prices for providers without ``cost``, if a plugin has it."""

    enabled: bool = True
    type: str = "genai"


class HeadraceTable(Table):
    """``[headrace]``: what TensorZero does not know. ``transport`` is ``{ type = ... }`` with its plugin's keys."""

    splits: SplitsTable = SplitsTable()
    files: FilesTable = FilesTable()
    records: RecordsTable = RecordsTable()
    retention: RetentionTable = RetentionTable()
    prices: PricesTable = PricesTable()
    transport: dict[str, Any] | None = None
    max_body_bytes: PositiveInt = 100 * 1024 * 1024
