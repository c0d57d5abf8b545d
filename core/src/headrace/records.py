"""The rows that reach a store.

Writing a record whose id (a configuration's hash) is there already changes nothing, except that a ``Datapoint``, a
``ConfigSnapshot`` and an ``ApiKey`` take the place of the one before.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias, get_args
from uuid import UUID

from msgspec import Struct

from .extras import ExtraBody
from .types import ContentBlock, FinishReason, FunctionType, Input, JsonOutput, Message, Params, Split, ToolConfig


class InferenceRecord(Struct, frozen=True, kw_only=True, tag="inference"):
    """One call of a function. ``variant_probability`` is in (0, 1]: what honest off-policy estimates divide by.

    After a fallback it is the probability, over episodes, of the whole sequence of draws that led here, given
    that the variants drawn before failed. A pinned variant has 1; where nobody wrote it down, as in imported rows, it
    is None. ``input`` and ``output`` are None once their retention has ended.
    """

    id: UUID
    function_name: str
    variant_name: str
    function_type: FunctionType
    episode_id: UUID
    input: Input | None
    output: tuple[ContentBlock, ...] | JsonOutput | None
    variant_probability: float | None
    snapshot_hash: str
    tools: ToolConfig | None = None
    output_schema: Any = None
    auxiliary_content: tuple[ContentBlock, ...] = ()
    inference_params: Params = Params()
    extra_body: tuple[ExtraBody, ...] = ()
    processing_time_ms: int | None = None
    ttft_ms: int | None = None
    tags: dict[str, str] = {}


class ModelInferenceRecord(Struct, frozen=True, kw_only=True, tag="model_inference"):
    """One attempt at one provider, failed ones too: then ``error`` is set and ``output`` is empty.

    ``price_version`` says by whose prices it has its ``cost``: those of its ``"config"``, or of a list and which
    version of it. It is None without a cost, and where nothing was spent or nobody wrote it down.
    """

    id: UUID
    inference_id: UUID
    function_name: str
    variant_name: str
    model_name: str
    model_provider_name: str
    snapshot_hash: str
    raw_request: str = ""
    raw_response: str = ""
    system: str | None = None
    input_messages: tuple[Message, ...] = ()
    output: tuple[ContentBlock, ...] = ()
    finish_reason: FinishReason | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    provider_cache_read_input_tokens: int | None = None
    provider_cache_write_input_tokens: int | None = None
    cost: Decimal | None = None
    response_time_ms: int | None = None
    ttft_ms: int | None = None
    cached: bool = False
    error: str | None = None
    price_version: str | None = None


class BooleanFeedback(Struct, frozen=True, kw_only=True, tag="boolean"):
    """A yes or no about an inference or episode, under a configured metric."""

    id: UUID
    target_id: UUID
    metric_name: str
    value: bool
    snapshot_hash: str
    tags: dict[str, str] = {}


class FloatFeedback(Struct, frozen=True, kw_only=True, tag="float"):
    """A number about an inference or episode, under a configured metric."""

    id: UUID
    target_id: UUID
    metric_name: str
    value: float
    snapshot_hash: str
    tags: dict[str, str] = {}


class CommentFeedback(Struct, frozen=True, kw_only=True, tag="comment"):
    """Free text about an inference or episode (``target_type``)."""

    id: UUID
    target_id: UUID
    target_type: str
    value: str
    snapshot_hash: str
    tags: dict[str, str] = {}


class DemonstrationFeedback(Struct, frozen=True, kw_only=True, tag="demonstration"):
    """A better output for one inference."""

    id: UUID
    inference_id: UUID
    value: tuple[ContentBlock, ...] | JsonOutput
    snapshot_hash: str
    tags: dict[str, str] = {}


class HumanFeedback(Struct, frozen=True, kw_only=True, tag="human_feedback"):
    """What a human said of one output for one datapoint, so that the same output need not be judged again.

    ``output`` is the canonical JSON text of the output (``feedback.canonical_output``).
    """

    id: UUID
    metric_name: str
    datapoint_id: UUID
    output: str
    value: bool | float
    evaluator_inference_id: UUID | None = None


Feedback: TypeAlias = BooleanFeedback | FloatFeedback | CommentFeedback | DemonstrationFeedback


class Datapoint(Struct, frozen=True, kw_only=True, tag="datapoint"):
    """An input, perhaps with a reference output. ``split`` never changes; ``group`` is what it was hashed from.

    ``content_key`` is the same for copies that differ in case and punctuation only, and near copies share some of
    ``near_keys`` (see ``headrace.splits``). ``staled_at`` retires it. ``editor`` is who made it, as far as is known,
    ``replaces`` the datapoint that it is a new version of.
    """

    id: UUID
    dataset_name: str
    function_name: str
    function_type: FunctionType
    input: Input
    split: Split
    group: str
    content_key: str
    updated_at: datetime
    snapshot_hash: str
    output: tuple[ContentBlock, ...] | JsonOutput | None = None
    episode_id: UUID | None = None
    tools: ToolConfig | None = None
    output_schema: Any = None
    tags: dict[str, str] = {}
    is_custom: bool = False
    source_inference_id: UUID | None = None
    name: str | None = None
    staled_at: datetime | None = None
    near_keys: tuple[str, ...] = ()
    editor: str | None = None
    replaces: UUID | None = None


class HoldoutAccess(Struct, frozen=True, kw_only=True, tag="holdout_access"):
    """Somebody has read datapoints of a dataset's test split: who, why and how many."""

    id: UUID
    dataset_name: str
    reader: str
    purpose: str
    datapoint_count: int
    snapshot_hash: str


class Example(Struct, frozen=True, kw_only=True, tag="example"):
    """A curated pair for in-context learning; ``input`` and ``output`` are JSON texts as the model will see them."""

    id: UUID
    function_name: str
    variant_name: str
    input: str
    output: str
    embedding: tuple[float, ...]


class ConfigSnapshot(Struct, frozen=True, kw_only=True, tag="config_snapshot"):
    """The configuration that records point at by ``snapshot_hash`` (decimal). ``last_used`` is when it last began."""

    hash: str
    config: str
    extra_templates: dict[str, str]
    headrace_version: str
    created_at: datetime
    last_used: datetime | None = None
    tags: dict[str, str] = {}


class EvaluationRun(Struct, frozen=True, kw_only=True, tag="evaluation_run"):
    """A run of evaluators over a dataset; ``split`` says which part was read."""

    id: UUID
    evaluation_name: str
    function_name: str
    function_type: FunctionType
    dataset_name: str
    split: str
    variant_names: list[str]
    metrics: list[str]
    snapshot_hash: str
    created_at: datetime


class WorkflowRun(Struct, frozen=True, kw_only=True, tag="workflow_run"):
    """A run of somebody's own program over many episodes, in which functions have the variants of ``variant_pins``."""

    id: UUID
    variant_pins: dict[str, str]
    snapshot_hash: str
    project_name: str | None = None
    display_name: str | None = None
    tags: dict[str, str] = {}


class WorkflowEpisode(Struct, frozen=True, kw_only=True, tag="workflow_episode"):
    """One episode of a run, under whose ``id`` its inferences come; ``tags`` are the run's and its own."""

    id: UUID
    run_id: UUID
    variant_pins: dict[str, str]
    snapshot_hash: str
    task_name: str | None = None
    tags: dict[str, str] = {}


class ApiKey(Struct, frozen=True, kw_only=True, tag="api_key"):
    """A key that callers show: its 12 public characters, and the SHA-256 of its 48 secret ones in hexadecimal."""

    id: UUID
    public_id: str
    hash: str
    created_at: datetime
    updated_at: datetime
    organization: str = "default"
    workspace: str = "default"
    description: str | None = None
    disabled_at: datetime | None = None
    expires_at: datetime | None = None


BatchStatus: TypeAlias = Literal["pending", "completed", "failed"]


class BatchRequest(Struct, frozen=True, kw_only=True, tag="batch_request"):
    """How a batch stood when somebody looked: a row when it was started, and one each time its provider was asked.

    ``batch_params`` are the provider's own, JSON, and all that it needs to find the batch again.
    """

    id: UUID
    batch_id: UUID
    status: BatchStatus
    batch_params: dict[str, Any]
    function_name: str
    variant_name: str
    model_name: str
    model_provider_name: str
    snapshot_hash: str
    raw_request: str = ""
    raw_response: str = ""
    errors: tuple[str, ...] = ()


class BatchInference(Struct, frozen=True, kw_only=True, tag="batch_inference"):
    """One inference of a batch, with all that its records will say but for the answer; ``id`` is the inference's.

    ``model_inference_id`` is fixed beforehand, so that whoever finishes the inference, and however often, writes the
    same rows.
    """

    id: UUID
    batch_id: UUID
    model_inference_id: UUID
    function_name: str
    variant_name: str
    function_type: FunctionType
    episode_id: UUID
    input: Input
    variant_probability: float | None
    model_name: str
    model_provider_name: str
    snapshot_hash: str
    system: str | None = None
    input_messages: tuple[Message, ...] = ()
    tools: ToolConfig | None = None
    output_schema: Any = None
    inference_params: Params = Params()
    raw_request: str = ""
    tags: dict[str, str] = {}


Record: TypeAlias = (
    InferenceRecord
    | ModelInferenceRecord
    | BooleanFeedback
    | FloatFeedback
    | CommentFeedback
    | DemonstrationFeedback
    | HumanFeedback
    | Datapoint
    | HoldoutAccess
    | Example
    | ConfigSnapshot
    | EvaluationRun
    | WorkflowRun
    | WorkflowEpisode
    | BatchRequest
    | BatchInference
    | ApiKey
)

KINDS: Final[tuple[type[Record], ...]] = get_args(Record)
"""Every kind of record, in an order in which they can be written."""
