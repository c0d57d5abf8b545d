"""The rows that reach a store. Append-only but for datapoints, whose ``staled_at`` retires them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias
from uuid import UUID

from msgspec import Struct

from .types import ContentBlock, FinishReason, FunctionType, Input, JsonOutput, Message, Params, Split, ToolConfig


class InferenceRecord(Struct, frozen=True, kw_only=True, tag="inference"):
    """One call of a function. ``variant_probability`` is in (0, 1]: what honest off-policy estimates divide by.

    After a fallback it is the probability, over episodes, of the whole sequence of draws that led here, given
    that the variants drawn before failed. A pinned variant has 1.
    """

    id: UUID
    function_name: str
    variant_name: str
    function_type: FunctionType
    episode_id: UUID
    input: Input
    output: tuple[ContentBlock, ...] | JsonOutput
    variant_probability: float
    snapshot_hash: str
    tools: ToolConfig | None = None
    output_schema: Any = None
    auxiliary_content: tuple[ContentBlock, ...] = ()
    inference_params: Params = Params()
    processing_time_ms: int | None = None
    ttft_ms: int | None = None
    tags: dict[str, str] = {}


class ModelInferenceRecord(Struct, frozen=True, kw_only=True, tag="model_inference"):
    """One attempt at one provider, failed ones too: then ``error`` is set and ``output`` is empty."""

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


Feedback: TypeAlias = BooleanFeedback | FloatFeedback | CommentFeedback | DemonstrationFeedback


class Datapoint(Struct, frozen=True, kw_only=True, tag="datapoint"):
    """An input, perhaps with a reference output. ``split`` never changes; ``group`` is what it was hashed from.

    ``content_key`` is the same for near copies (see ``headrace.splits``). Writing a datapoint whose id exists
    replaces it, which is how one is retired (``staled_at``).
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


class Example(Struct, frozen=True, kw_only=True, tag="example"):
    """A curated pair for in-context learning; ``input`` and ``output`` are JSON texts as the model will see them."""

    id: UUID
    function_name: str
    variant_name: str
    input: str
    output: str
    embedding: tuple[float, ...]


class ConfigSnapshot(Struct, frozen=True, kw_only=True, tag="config_snapshot"):
    """The configuration that records point at by ``snapshot_hash`` (decimal). Writing it again changes nothing."""

    hash: str
    config: str
    extra_templates: dict[str, str]
    headrace_version: str
    created_at: datetime


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
    variant_probability: float
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
    | Datapoint
    | Example
    | ConfigSnapshot
    | EvaluationRun
    | BatchRequest
    | BatchInference
)
