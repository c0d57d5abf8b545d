"""TensorZero's tables: what each is called in either database, and which columns of it are of use."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, Protocol, TypeAlias

from msgspec import Struct

from ..errors import HeadraceError
from ..records import (
    ApiKey,
    BatchInference,
    BatchRequest,
    BooleanFeedback,
    CommentFeedback,
    ConfigSnapshot,
    Datapoint,
    DemonstrationFeedback,
    EvaluationRun,
    Example,
    FloatFeedback,
    HumanFeedback,
    InferenceRecord,
    ModelInferenceRecord,
    Record,
    WorkflowEpisode,
    WorkflowRun,
)

Row: TypeAlias = Mapping[str, Any]
"""A row by the names of ``Table.columns``; a column that this version of the table does not have is not in it.

Numbers beyond 64 bits and decimals are texts, JSON is text or what it stands for, instants are texts in UTC or aware.
"""


class SourceError(HeadraceError):
    """The old database cannot be reached, or broke off. What has been imported so far stays; run it again."""


class Table(Struct, frozen=True, kw_only=True):
    """One table. ``name`` is ClickHouse's (or, where that has none, Postgres's); ``key`` tells its rows apart.

    ``payload`` is the Postgres table that has the large columns, and loses its rows first. ``renamed`` are columns
    that ClickHouse calls otherwise.
    """

    name: str
    kind: type[Record]
    columns: tuple[str, ...]
    postgres: str
    is_in_clickhouse: bool = True
    payload: str | None = None
    key: str = "id"
    schema: str = "tensorzero"
    renamed: Mapping[str, str] = {}
    is_ordered: bool = False  # read in the order of ids, though that makes ClickHouse sort: small tables alone


class Source(Protocol):
    """An old database, open."""

    async def has(self, table: Table) -> bool:
        """Whether it has this table."""

    def rows(self, table: Table) -> AsyncGenerator[Row, None]:
        """All its rows; of those that replace each other the newest. Raise SourceError. Whoever iterates closes it."""


_TOOLS: Final = ("dynamic_tools", "dynamic_provider_tools", "allowed_tools", "tool_choice", "parallel_tool_calls")
_COMMON: Final = ("id", "function_name", "variant_name", "episode_id", "input", "output", "inference_params", "tags")
_INFERENCE: Final = (*_COMMON, "processing_time_ms", "ttft_ms", "extra_body", "snapshot_hash")
_MODEL_INFERENCE: Final = tuple(
    "id inference_id raw_request raw_response system input_messages output model_name model_provider_name input_tokens "
    "output_tokens provider_cache_read_input_tokens provider_cache_write_input_tokens cost response_time_ms ttft_ms "
    "finish_reason cached function_name variant_name snapshot_hash".split()
)
_FEEDBACK: Final = ("id", "target_id", "metric_name", "value", "tags", "snapshot_hash")
_DATAPOINT: Final = tuple(
    "id dataset_name function_name episode_id input output tags is_custom source_inference_id name staled_at "
    "updated_at snapshot_hash".split()
)
_BATCH: Final = ("id", "batch_id", "model_name", "model_provider_name", "function_name", "variant_name")
_BATCH_REQUEST: Final = (
    *_BATCH,
    *("status", "batch_params", "errors", "raw_request", "raw_response", "snapshot_hash"),
)
_BATCH_INFERENCE: Final = (
    *("inference_id", *_BATCH[1:], "episode_id", "input", "input_messages", "system", "inference_params"),
    *("output_schema", "raw_request", "tags", "snapshot_hash", "tool_params", *_TOOLS),
)
_RUN: Final = ("run_id", "variant_pins", "tags", "project_name", "run_display_name", "snapshot_hash")
_EPISODE: Final = ("episode_id", "run_id", "variant_pins", "task_name", "tags", "snapshot_hash")
_EVALUATION: Final = tuple(
    "run_id evaluation_name function_name function_type dataset_name variant_names metrics snapshot_hash "
    "created_at".split()
)
_KEY: Final = tuple("id public_id hash organization workspace description disabled_at expires_at".split())

# In an order in which later ones find what they refer to.
TABLES: Final[tuple[Table, ...]] = (
    Table(
        name="ConfigSnapshot",
        kind=ConfigSnapshot,
        postgres="config_snapshots",
        key="hash",
        columns=("hash", "config", "extra_templates", "tensorzero_version", "created_at", "last_used", "tags"),
    ),
    Table(
        name="ChatInference",
        kind=InferenceRecord,
        postgres="chat_inferences",
        payload="chat_inference_data",
        columns=(*_INFERENCE, "tool_params", *_TOOLS),
    ),
    Table(
        name="JsonInference",
        kind=InferenceRecord,
        postgres="json_inferences",
        payload="json_inference_data",
        columns=(*_INFERENCE, "output_schema", "auxiliary_content"),
    ),
    Table(
        name="ModelInference",
        kind=ModelInferenceRecord,
        postgres="model_inferences",
        payload="model_inference_data",
        columns=_MODEL_INFERENCE,
    ),
    Table(name="BooleanMetricFeedback", kind=BooleanFeedback, postgres="boolean_metric_feedback", columns=_FEEDBACK),
    Table(name="FloatMetricFeedback", kind=FloatFeedback, postgres="float_metric_feedback", columns=_FEEDBACK),
    Table(
        name="CommentFeedback",
        kind=CommentFeedback,
        postgres="comment_feedback",
        columns=("id", "target_id", "target_type", "value", "tags", "snapshot_hash"),
    ),
    Table(
        name="DemonstrationFeedback",
        kind=DemonstrationFeedback,
        postgres="demonstration_feedback",
        columns=("id", "inference_id", "value", "tags", "snapshot_hash"),
    ),
    Table(
        name="StaticEvaluationHumanFeedback",
        kind=HumanFeedback,
        postgres="inference_evaluation_human_feedback",
        key="feedback_id",
        columns=("feedback_id", "metric_name", "datapoint_id", "output", "value", "evaluator_inference_id"),
    ),
    Table(
        name="ChatInferenceDatapoint",
        kind=Datapoint,
        postgres="chat_datapoints",
        columns=(*_DATAPOINT, "tool_params", *_TOOLS),
        is_ordered=True,
    ),
    Table(
        name="JsonInferenceDatapoint",
        kind=Datapoint,
        postgres="json_datapoints",
        columns=(*_DATAPOINT, "output_schema"),
        is_ordered=True,
    ),
    Table(
        name="BatchRequest",
        kind=BatchRequest,
        postgres="batch_requests",
        payload="batch_request_data",
        columns=_BATCH_REQUEST,
    ),
    Table(
        name="BatchModelInference",
        kind=BatchInference,
        postgres="batch_model_inferences",
        payload="batch_model_inference_data",
        key="inference_id",
        columns=_BATCH_INFERENCE,
    ),
    Table(
        name="DynamicInContextLearningExample",
        kind=Example,
        postgres="dicl_examples",
        columns=("id", "function_name", "variant_name", "input", "output", "embedding"),
    ),
    Table(
        name="DynamicEvaluationRun",
        kind=WorkflowRun,
        postgres="workflow_evaluation_runs",
        key="run_id",
        columns=_RUN,
        renamed={"run_id": "run_id_uint"},
    ),
    Table(
        name="DynamicEvaluationRunEpisode",
        kind=WorkflowEpisode,
        postgres="workflow_evaluation_run_episodes",
        key="episode_id",
        columns=_EPISODE,
        renamed={"episode_id": "episode_id_uint", "task_name": "datapoint_name"},
    ),
    Table(
        name="InferenceEvaluationRuns",
        kind=EvaluationRun,
        postgres="inference_evaluation_runs",
        key="run_id",
        columns=_EVALUATION,
        renamed={"run_id": "run_id_uint"},
    ),
    Table(
        name="tensorzero_auth_api_key",
        kind=ApiKey,
        postgres="tensorzero_auth_api_key",
        schema="public",
        columns=(*_KEY, "created_at", "updated_at"),
        is_in_clickhouse=False,
    ),
)
