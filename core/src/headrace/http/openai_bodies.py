"""What OpenAI's routes accept: bytes to checked Structs to neutral requests (http-api 16.1-16.2, 17)."""

from __future__ import annotations

import logging
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import Struct, field

from ..errors import BadRequest, NotSupported
from ..exchange import InferenceRequest
from ..types import EmbeddingInput, JsonMode, Params, ServiceTier, Specific, Tool, ToolChoice
from .openai_messages import OpenAIMessage, to_input

log = logging.getLogger(__name__)

_FUNCTION, _MODEL = "tensorzero::function_name::", "tensorzero::model_name::"


class _JsonSchema(Struct):
    name: str = ""
    schema: dict[str, Any] | None = None


class _ResponseFormat(Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JsonSchema | None = None


class _ToolFunction(Struct):
    name: str
    parameters: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class _Tool(Struct):
    type: Literal["function"]
    function: _ToolFunction


class _Named(Struct):
    name: str


class _NamedTool(Struct):
    function: _Named
    type: Literal["function"] = "function"


class _AllowedTools(Struct):
    tools: list[_NamedTool]
    mode: Literal["auto", "required"]


class _SpecificChoice(Struct, tag="function"):
    function: _Named


class _AllowedChoice(Struct, tag="allowed_tools"):
    allowed_tools: _AllowedTools


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _ParamsBody(Struct, forbid_unknown_fields=True):
    chat_completion: Params


class ChatBody(Struct, kw_only=True):
    """The body of ``POST /openai/v1/chat/completions``; unknown keys are ignored unless asked otherwise."""

    model: str
    messages: list[OpenAIMessage]
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    reasoning_effort: str | None = None
    service_tier: ServiceTier | None = None
    verbosity: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: list[str] | None = None
    response_format: _ResponseFormat | None = None
    tools: list[_Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | _SpecificChoice | _AllowedChoice | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    variant_name: str | None = field(name="tensorzero::variant_name", default=None)
    dryrun: bool | None = field(name="tensorzero::dryrun", default=None)
    episode_id: UUID | None = field(name="tensorzero::episode_id", default=None)
    tags: dict[str, str] | None = field(name="tensorzero::tags", default=None)
    credentials: dict[str, str] | None = field(name="tensorzero::credentials", default=None)
    params: _ParamsBody | None = field(name="tensorzero::params", default=None)
    deny_unknown_fields: bool | None = field(name="tensorzero::deny_unknown_fields", default=None)


class EmbeddingsBody(Struct, kw_only=True):
    """The body of ``POST /openai/v1/embeddings``; other keys are ignored."""

    model: str
    input: EmbeddingInput
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    credentials: dict[str, str] | None = field(name="tensorzero::credentials", default=None)


chat = msgspec.json.Decoder(ChatBody)
embeddings = msgspec.json.Decoder(EmbeddingsBody)

_keys = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KNOWN = frozenset(info.encode_name for info in msgspec.structs.fields(ChatBody))
_LATER = frozenset(
    f"tensorzero::{name}"
    for name in (
        "namespace",
        "cache_options",
        "extra_body",
        "extra_headers",
        "provider_tools",
        "include_raw_usage",
        "include_raw_response",
        "include_original_response",
        "internal_dynamic_variant_config",
    )
)


def to_request(body: ChatBody, raw: bytes) -> InferenceRequest:
    """The neutral request; ``raw`` is looked at for keys that the Struct does not know. Raise BadRequest."""
    _check_keys(body, raw)
    if body.n not in (None, 1):
        raise BadRequest(f"`n` must be absent or 1, found {body.n}")
    function_name, model_name = _target(body.model)
    mode, schema = _response_format(body.response_format)
    choice, allowed = _tool_choice(body.tool_choice)
    return InferenceRequest(
        input=to_input(body.messages),
        function_name=function_name,
        model_name=model_name,
        episode_id=body.episode_id,
        variant_name=body.variant_name,
        params=_params(body, mode),
        dryrun=bool(body.dryrun),
        tags=body.tags or {},
        allowed_tools=allowed,
        additional_tools=tuple(
            Tool(
                tool.function.name,
                tool.function.description or "",
                tool.function.parameters,
                bool(tool.function.strict),
            )
            for tool in body.tools or ()
        ),
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls,
        output_schema=schema,
        credentials=body.credentials or {},
    )


def _check_keys(body: ChatBody, raw: bytes) -> None:
    document = _keys.decode(raw)
    unknown = sorted(key for key in document if key not in _KNOWN)
    for key in unknown:
        if key in _LATER and _asks_for_something(document[key]):
            raise NotSupported(f"`{key}` is not supported by this version of headrace")
    strange = [key for key in unknown if key not in _LATER]
    if strange and body.deny_unknown_fields:
        raise BadRequest(f"`tensorzero::deny_unknown_fields` is set, and these fields are unknown: {strange}")
    if strange:
        log.warning("ignored unknown fields %s", strange)


def _asks_for_something(value: msgspec.Raw) -> bool:
    decoded = msgspec.json.decode(value)
    if isinstance(decoded, dict) and decoded.get("enabled") == "off":
        return False
    return bool(decoded)


def _target(model: str) -> tuple[str | None, str | None]:
    for prefix in (_FUNCTION, _MODEL):
        name = model.removeprefix(prefix)
        if name != model and name:
            return (name, None) if prefix == _FUNCTION else (None, name)
    raise BadRequest(
        "Invalid request to OpenAI-compatible endpoint: `model` field must start with "
        f"`{_FUNCTION}` or `{_MODEL}`, found `{model}`"
    )


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
    return body.params.chat_completion.over(derived) if body.params else derived


def _response_format(wanted: _ResponseFormat | None) -> tuple[JsonMode | None, dict[str, Any] | None]:
    if wanted is None:
        return None, None
    if wanted.type == "json_schema":
        return "strict", wanted.json_schema.schema if wanted.json_schema else None
    return ("on" if wanted.type == "json_object" else "off"), None


def _tool_choice(
    wanted: Literal["none", "auto", "required"] | _SpecificChoice | _AllowedChoice | None,
) -> tuple[ToolChoice | None, tuple[str, ...] | None]:
    if isinstance(wanted, _SpecificChoice):
        return Specific(wanted.function.name), None
    if isinstance(wanted, _AllowedChoice):
        return wanted.allowed_tools.mode, tuple(tool.function.name for tool in wanted.allowed_tools.tools)
    return wanted, None
