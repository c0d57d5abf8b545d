"""What the routes answer, as types: for the OpenAPI document alone, since answers are written as plain objects."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from ..contracts import DatasetSummary
from ..exchange import RawResponse, RawUsage
from ..types import ContentBlock, FinishReason

Object: TypeAlias = dict[str, Any]


# -- errors -----------------------------------------------------------------------------------------------


class NativeError(Struct):
    """An error of a route of the platform's own."""

    error: str
    error_json: Object | UnsetType = UNSET
    raw_response: list[RawResponse] | UnsetType = UNSET


class Said(Struct):
    """What went wrong. ``error_json`` is there with ``gateway.unstable_error_json``."""

    message: str
    tensorzero_error_json: Object | UnsetType = UNSET
    error_json: Object | UnsetType = UNSET


class OpenAIError(Struct):
    """An error of a route of OpenAI's."""

    error: Said
    tensorzero_raw_response: list[RawResponse] | UnsetType = UNSET


class SaidByResponses(Said, kw_only=True):
    """What went wrong, with OpenAI's four fields."""

    type: str
    param: None
    code: str | None


class ResponsesError(Struct):
    """An error of the Responses route."""

    error: SaidByResponses
    tensorzero_raw_response: list[RawResponse] | UnsetType = UNSET


class SaidByAnthropic(Said, kw_only=True):
    """What went wrong, with the type that Anthropic's SDKs look at."""

    type: str


class AnthropicError(Struct):
    """An error of Anthropic's route."""

    type: Literal["error"]
    error: SaidByAnthropic
    tensorzero_raw_response: list[RawResponse] | UnsetType = UNSET


# -- inference and feedback -------------------------------------------------------------------------------


class UsageAnswer(Struct):
    """Tokens and cost in dollars; null where nobody said."""

    input_tokens: int | None
    output_tokens: int | None
    cost: float | None
    provider_cache_read_input_tokens: int | UnsetType = UNSET
    provider_cache_write_input_tokens: int | UnsetType = UNSET


class _Answer(Struct, kw_only=True):
    inference_id: UUID
    episode_id: UUID
    variant_name: str
    usage: UsageAnswer
    finish_reason: FinishReason | UnsetType = UNSET
    raw_usage: list[RawUsage] | UnsetType = UNSET
    raw_response: list[RawResponse] | UnsetType = UNSET
    original_response: str | UnsetType = UNSET


class ChatAnswer(_Answer, kw_only=True):
    """The answer of a chat function or of a model."""

    content: list[ContentBlock]


class OutputAnswer(Struct):
    """What a model wrote, and its value if it fits the schema."""

    raw: str | None
    parsed: Any


class JsonAnswer(_Answer, kw_only=True):
    """The answer of a json function."""

    output: OutputAnswer


class FeedbackAnswer(Struct):
    """The id of the feedback."""

    feedback_id: UUID


class BatchStartedAnswer(Struct):
    """A batch that a provider has taken."""

    batch_id: UUID
    inference_ids: list[UUID]
    episode_ids: list[UUID]


class BatchAnswer(Struct):
    """How a batch stands; once completed, with answers as ``POST /inference`` gives them."""

    status: Literal["pending", "failed", "completed"]
    batch_id: UUID | UnsetType = UNSET
    inferences: list[Object] | UnsetType = UNSET


# -- other vendors' words ---------------------------------------------------------------------------------


class Completion(Struct):
    """OpenAI's ``chat.completion``."""

    id: UUID
    episode_id: UUID
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Object]
    usage: Object
    system_fingerprint: str
    service_tier: str | None
    tensorzero_raw_usage: list[RawUsage] | UnsetType = UNSET
    tensorzero_raw_response: list[RawResponse] | UnsetType = UNSET
    tensorzero_original_response: str | UnsetType = UNSET


class Embedding(Struct):
    """One vector, as numbers or as base64 of little-endian 32-bit floats."""

    object: Literal["embedding"]
    embedding: list[float] | str
    index: int


class EmbeddingList(Struct):
    """OpenAI's list of vectors."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Object


class ModelObject(Struct):
    """One thing that ``model`` may be."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Struct):
    """All of them."""

    object: Literal["list"]
    data: list[ModelObject]


class ResponsesAnswer(Struct):
    """OpenAI's ``response`` object; it has more fields, which echo the request."""

    id: str
    object: Literal["response"]
    status: str
    model: str
    output: list[Object]
    usage: Object | None


class MessageAnswer(Struct):
    """Anthropic's message object."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[Object]
    stop_reason: str | None
    usage: Object


# -- data and the platform --------------------------------------------------------------------------------


class Ids(Struct):
    """What was made."""

    ids: list[UUID]


class Datapoints(Struct):
    """Datapoints (their form is that of the data model)."""

    datapoints: list[Object]


class DatasetList(Struct):
    """The datasets that there are."""

    datasets: list[DatasetSummary]


class Probabilities(Struct):
    """How likely each variant is drawn."""

    probabilities: dict[str, float]


class ConfigAnswer(Struct):
    """A configuration as the store remembers it."""

    config: str
    hash: str
    extra_templates: dict[str, str]
    tags: dict[str, str]


class StoredFile(Struct):
    """The bytes of a file, as base64."""

    data: str
    reused_object_store: bool


class StatusAnswer(Struct):
    """Version and configuration."""

    status: Literal["ok"]
    version: str
    config_hash: str


class HealthAnswer(Struct):
    """Whether each part can work; those that are not configured can."""

    gateway: Literal["ok", "error"]
    clickhouse: Literal["ok", "error"]
    postgres: Literal["ok", "error"]
    valkey: Literal["ok", "error"]
    valkey_cache: Literal["ok", "error"]
    store: Literal["ok", "error"]
    records: Literal["ok", "error"]
