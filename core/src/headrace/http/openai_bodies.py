"""The body of ``POST /openai/v1/chat/completions``: bytes to a checked Struct to a neutral request (http-api 16.2)."""

from __future__ import annotations

import logging
from collections.abc import Set
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct, field

from ..errors import BadRequest
from ..exchange import InferenceRequest
from ..types import JsonMode, Params, ServiceTier
from .bodies import (
    CacheOptionsBody,
    ExtraBodyEntry,
    ExtraHeaderEntry,
    ParamsBody,
    ProviderToolBody,
    to_cache,
    to_extra,
    to_namespace,
    to_params,
    to_provider_tools,
    to_tags,
)
from .openai_fields import FUNCTION, MODEL, U32, parse, rest
from .openai_messages import OpenAIMessage, to_input
from .openai_tools import ResponseFormat, ToolBody, ToolChoiceBody, to_choice, to_json_mode, to_tools

log = logging.getLogger(__name__)

_IN_A_LOG_LINE = 20  # names of unknown fields


class _StreamOptions(Struct):
    include_usage: bool | None = None


class ChatBody(Struct, kw_only=True):
    """Every field that means something here; others are ignored unless asked otherwise."""

    model: str
    messages: list[OpenAIMessage]
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: U32 | None = None
    reasoning_effort: str | None = None
    service_tier: ServiceTier | None = None
    verbosity: str | None = None
    max_tokens: U32 | None = None
    max_completion_tokens: U32 | None = None
    stop: list[str] | None = None
    response_format: ResponseFormat | None = None
    tools: list[ToolBody] | None = None
    tool_choice: ToolChoiceBody | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    variant_name: str | None = field(name="tensorzero::variant_name", default=None)
    dryrun: bool | None = field(name="tensorzero::dryrun", default=None)
    episode_id: UUID | None = field(name="tensorzero::episode_id", default=None)
    namespace: str | None = field(name="tensorzero::namespace", default=None)
    cache_options: CacheOptionsBody | None = field(name="tensorzero::cache_options", default=None)
    extra_body: list[ExtraBodyEntry] | None = field(name="tensorzero::extra_body", default=None)
    extra_headers: list[ExtraHeaderEntry] | None = field(name="tensorzero::extra_headers", default=None)
    tags: dict[str, str] | None = field(name="tensorzero::tags", default=None)
    credentials: dict[str, str] | None = field(name="tensorzero::credentials", default=None)
    provider_tools: list[ProviderToolBody] | None = field(name="tensorzero::provider_tools", default=None)
    params: ParamsBody | None = field(name="tensorzero::params", default=None)
    include_raw_usage: bool | None = field(name="tensorzero::include_raw_usage", default=None)
    include_raw_response: bool | None = field(name="tensorzero::include_raw_response", default=None)
    include_original_response: bool | None = field(name="tensorzero::include_original_response", default=None)
    inline_variant: dict[str, Any] | None = field(name="tensorzero::internal_dynamic_variant_config", default=None)
    deny_unknown_fields: bool | None = field(name="tensorzero::deny_unknown_fields", default=None)

    @property
    def shows_usage(self) -> bool:
        """Whether a stream ends with the tokens used."""
        return bool(self.include_raw_usage or (self.stream_options and self.stream_options.include_usage))


_decoder = msgspec.json.Decoder(ChatBody)
_KNOWN = frozenset(info.encode_name for info in msgspec.structs.fields(ChatBody))


def read_chat(raw: bytes) -> tuple[ChatBody, InferenceRequest]:
    """The body, and the neutral request that it means. Raise BadRequest."""
    body, names = parse(_decoder, raw)
    _check(body, names)
    function_name, model_name = _target(body.model)
    mode, schema = to_json_mode(body.response_format)
    choice, allowed = to_choice(body.tool_choice)
    tools, custom = to_tools(body.tools or ())
    return body, InferenceRequest(
        input=to_input(body.messages),
        function_name=function_name,
        model_name=model_name,
        episode_id=body.episode_id,
        variant_name=body.variant_name,
        inline_variant=body.inline_variant,
        namespace=to_namespace(body.namespace),
        params=_params(body, mode),
        dryrun=bool(body.dryrun),
        tags=to_tags(body.tags),
        allowed_tools=allowed,
        additional_tools=tools,
        custom_tools=custom,
        provider_tools=to_provider_tools(body.provider_tools, where="tensorzero::provider_tools"),
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls,
        output_schema=schema,
        credentials=body.credentials or {},
        cache=to_cache(body.cache_options),
        extra=to_extra(
            body.extra_body,
            body.extra_headers,
            where_body="tensorzero::extra_body",
            where_headers="tensorzero::extra_headers",
        ),
        include_raw_response=bool(body.include_raw_response),
        include_raw_usage=bool(body.include_raw_usage),
        include_original_response=bool(body.include_original_response),
    )


def _check(body: ChatBody, names: Set[str]) -> None:
    """The rules that no type says."""
    unknown = [] if names <= _KNOWN else sorted(names - _KNOWN)
    if unknown and body.deny_unknown_fields:
        raise BadRequest(f"`tensorzero::deny_unknown_fields` is set, and these fields are unknown: {unknown}")
    if unknown:
        log.warning("ignored %d unknown fields: %s", len(unknown), unknown[:_IN_A_LOG_LINE])
    if body.n not in (None, 1):
        raise BadRequest(f"`n` must be absent or 1, found {body.n}")
    if body.include_original_response:
        log.warning("`tensorzero::include_original_response` is deprecated; use `tensorzero::include_raw_response`")
    if (
        body.stream
        and body.include_raw_usage
        and body.stream_options is not None
        and body.stream_options.include_usage is False
    ):
        raise BadRequest(
            "`tensorzero::include_raw_usage` needs usage: leave `stream_options.include_usage` out, or set it to true"
        )


def _target(model: str) -> tuple[str | None, str | None]:
    function_name, model_name = rest(model, FUNCTION), rest(model, MODEL)
    if function_name is None and model_name is None:
        raise BadRequest(
            "Invalid request to OpenAI-compatible endpoint: `model` field must start with "
            f"`{FUNCTION}` or `{MODEL}`, found `{model}`"
        )
    return function_name, model_name


def _params(body: ChatBody, mode: JsonMode | None) -> Params:
    limits = [limit for limit in (body.max_tokens, body.max_completion_tokens) if limit is not None]
    derived = Params(
        temperature=body.temperature,
        top_p=body.top_p,
        max_tokens=min(limits, default=None),
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        seed=body.seed,
        stop_sequences=tuple(body.stop) if body.stop is not None else None,
        reasoning_effort=body.reasoning_effort,
        service_tier=body.service_tier,
        verbosity=body.verbosity,
        json_mode=mode,
    )
    if body.params is None:
        return derived
    return to_params(body.params, where="tensorzero::params.chat_completion").over(derived)
