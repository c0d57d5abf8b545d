"""What the routes of stored inferences, episodes and feedback answer, as types: for the OpenAPI document alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from ..queries import EpisodeSummary
from ..types import ContentBlock, FinishReason, FunctionType
from .openapi_answers import OutputAnswer

Object: TypeAlias = dict[str, Any]


class _Stored(Struct, kw_only=True):
    function_name: str
    variant_name: str
    timestamp: datetime
    episode_id: UUID
    inference_id: UUID
    input: Object | UnsetType = UNSET
    tags: dict[str, str]
    extra_body: list[Object]
    inference_params: Object
    processing_time_ms: int | None
    ttft_ms: int | None
    snapshot_hash: str


class StoredChat(_Stored, kw_only=True, tag="chat"):
    """An inference of a chat function; what its retention has ended is left out."""

    output: list[ContentBlock] | UnsetType = UNSET
    dispreferred_outputs: list[list[ContentBlock]]
    allowed_tools: list[str] | UnsetType | None = UNSET
    additional_tools: list[Object] | UnsetType = UNSET
    tool_choice: str | Object | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType | None = UNSET
    provider_tools: list[Object] | UnsetType = UNSET


class StoredJson(_Stored, kw_only=True, tag="json"):
    """An inference of a json function; what its retention has ended is left out."""

    output: OutputAnswer | UnsetType = UNSET
    dispreferred_outputs: list[OutputAnswer]
    output_schema: Any


class Inferences(Struct):
    """Stored inferences."""

    inferences: list[StoredChat | StoredJson]


class Counted(Struct):
    """How many there are."""

    count: int


class InferenceMetadata(Struct):
    """Of which function, variant and episode an inference is; its hash is decimal."""

    id: UUID
    function_name: str
    variant_name: str
    episode_id: UUID
    function_type: FunctionType
    snapshot_hash: str


class InferenceMetadataList(Struct):
    """A page of them."""

    inference_metadata: list[InferenceMetadata]


class ModelInference(Struct, kw_only=True):
    """One attempt at a provider; what is not known is left out, and ``error`` is there if it failed."""

    id: UUID
    inference_id: UUID
    function_name: str
    variant_name: str
    model_name: str
    model_provider_name: str
    snapshot_hash: str
    raw_request: str
    raw_response: str
    system: str | UnsetType = UNSET
    input_messages: list[Object]
    output: list[ContentBlock]
    finish_reason: FinishReason | UnsetType = UNSET
    input_tokens: int | UnsetType = UNSET
    output_tokens: int | UnsetType = UNSET
    provider_cache_read_input_tokens: int | UnsetType = UNSET
    provider_cache_write_input_tokens: int | UnsetType = UNSET
    cost: float | UnsetType = UNSET
    response_time_ms: int | UnsetType = UNSET
    ttft_ms: int | UnsetType = UNSET
    cached: bool
    error: str | UnsetType = UNSET
    timestamp: datetime


class ModelInferences(Struct):
    """Every attempt of one inference, in order."""

    model_inferences: list[ModelInference]


class Episodes(Struct):
    """A page of episodes."""

    episodes: list[EpisodeSummary]


class EpisodeBounds(Struct):
    """The least and the greatest id, null if there is no episode, and how many there are."""

    first_id: UUID | None
    last_id: UUID | None
    count: int


class InferenceCountAnswer(Struct):
    """How many inferences an episode has."""

    inference_count: int


class FeedbackRows(Struct):
    """Rows of feedback; ``type`` is ``boolean``, ``float``, ``comment`` or ``demonstration``."""

    feedback: list[Object]


class IdBounds(Struct):
    """The oldest and the newest id, if there are any."""

    first_id: UUID | UnsetType = UNSET
    last_id: UUID | UnsetType = UNSET


class FeedbackBoundsAnswer(IdBounds, kw_only=True):
    """Of all rows, and by type."""

    by_type: dict[Literal["boolean", "float", "comment", "demonstration"], IdBounds]


class LatestFeedback(Struct):
    """The newest id by metric."""

    feedback_id_by_metric: dict[str, UUID]


class ResolvedId(Struct):
    """What has an id; each object says its ``type``, and where it belongs."""

    id: UUID
    object_types: list[Object]


class ConfigHash(Struct):
    """The hash of a configuration, decimal."""

    hash: str
