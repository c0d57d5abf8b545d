"""One inference as its caller sees it: what is asked, what comes back, whole or piece by piece."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from msgspec import Struct

from .extras import Extra
from .types import (
    ApiType,
    CacheOptions,
    CustomTool,
    Delta,
    FinishReason,
    Input,
    Output,
    Params,
    ProviderTool,
    Tool,
    ToolChoice,
    Usage,
)


class InferenceRequest(Struct, frozen=True, kw_only=True):
    """One call of a function, or of a model directly (exactly one of the two names).

    ``inline_variant`` is the table of a variant that exists for this call alone (http-api 5). ``output_schema`` may
    be any JSON: what is no schema makes ``parsed`` null, not an error (http-api 10).
    """

    input: Input
    function_name: str | None = None
    model_name: str | None = None
    episode_id: UUID | None = None
    variant_name: str | None = None
    inline_variant: dict[str, Any] | None = None
    namespace: str | None = None
    params: Params = Params()
    dryrun: bool = False
    internal: bool = False
    tags: Mapping[str, str] = {}
    allowed_tools: tuple[str, ...] | None = None
    additional_tools: tuple[Tool, ...] = ()
    custom_tools: tuple[CustomTool, ...] = ()
    provider_tools: tuple[ProviderTool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output_schema: Any = None
    credentials: Mapping[str, str] = {}
    cache: CacheOptions = CacheOptions()
    extra: Extra = Extra()
    include_raw_response: bool = False
    include_raw_usage: bool = False
    include_original_response: bool = False
    include_aggregated_response: bool = False
    api_key_public_id: str | None = None


class RawUsage(Struct, frozen=True):
    """An upstream's own account of the tokens of one model inference."""

    model_inference_id: UUID
    provider_type: str
    api_type: ApiType
    data: Any


class RawResponse(Struct, frozen=True, omit_defaults=True):
    """An upstream's own words. Without ``model_inference_id`` they belong to an attempt that failed."""

    provider_type: str
    api_type: ApiType
    data: str
    model_inference_id: UUID | None = None


class InferenceResponse(Struct, frozen=True, kw_only=True):
    """The answer; ``output`` is content blocks for a chat function, ``JsonOutput`` for a json function.

    What was not asked for is None.
    """

    inference_id: UUID
    episode_id: UUID
    variant_name: str
    output: Output
    usage: Usage
    finish_reason: FinishReason | None = None
    raw_usage: tuple[RawUsage, ...] | None = None
    raw_response: tuple[RawResponse, ...] | None = None
    original_response: str | None = None


class InferenceChunk(Struct, frozen=True, kw_only=True):
    """One piece of a streamed answer; ``raw`` is set (perhaps empty) for json functions. The last one has ``usage``.

    One with ``error`` holds nothing else but perhaps ``raw_chunk``: a piece of the upstream's could not be read, and
    the stream goes on. ``raw_chunk`` is the upstream's event, when it was asked for; ``original_chunk`` the same for
    callers who use the older name. Only the last one may have ``aggregated``, the whole answer.
    """

    inference_id: UUID
    episode_id: UUID
    variant_name: str
    content: tuple[Delta, ...] = ()
    error: str | None = None
    raw: str | None = None
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    raw_usage: tuple[RawUsage, ...] | None = None
    raw_response: tuple[RawResponse, ...] | None = None
    raw_chunk: str | None = None
    original_chunk: str | None = None
    aggregated: Output | None = None


class EmbeddingsAnswer(Struct, frozen=True, kw_only=True):
    """The vectors of one embeddings call; ``raw_response`` is None unless asked for."""

    embeddings: tuple[tuple[float, ...], ...]
    usage: Usage
    raw_response: tuple[RawResponse, ...] | None = None
