"""What ``POST /inference`` and ``POST /feedback`` accept: bytes to checked Structs to neutral requests."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from ..errors import BadRequest
from ..exchange import InferenceRequest
from ..extras import Extra, ExtraBody, ExtraHeader
from ..feedback import FeedbackRequest
from ..tags import canonical, is_reserved
from ..types import (
    CacheMode,
    CacheOptions,
    CustomTool,
    Params,
    ProviderTool,
    Specific,
    Tool,
    ToolScope,
)
from .blocks import InputBody, to_input

log = logging.getLogger(__name__)

U32: TypeAlias = Annotated[int, Meta(ge=0, le=2**32 - 1)]
_BOUNDS = {"max_tokens": (0, 2**32 - 1), "seed": (0, 2**32 - 1), "thinking_budget_tokens": (-(2**31), 2**31 - 1)}


class ParamsBody(Struct, forbid_unknown_fields=True):
    """``params``: an object per type of variant; there is one."""

    chat_completion: Params


class _TextFormat(Struct, tag="text", forbid_unknown_fields=True):
    pass


class _Grammar(Struct, forbid_unknown_fields=True):
    syntax: Literal["lark", "regex"]
    definition: str


class _GrammarFormat(Struct, tag="grammar", forbid_unknown_fields=True):
    grammar: _Grammar


CustomFormat: TypeAlias = _TextFormat | _GrammarFormat


class ToolBody(Struct, forbid_unknown_fields=True):
    """An element of ``additional_tools``; which fields it has depends on ``type`` (http-api 9)."""

    name: str
    type: Literal["function", "client_side_function", "openai_custom"] | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    format: CustomFormat | None = None


class _Scope(Struct, forbid_unknown_fields=True):
    model_name: str
    provider_name: str | None = None
    model_provider_name: str | None = None


class ProviderToolBody(Struct, forbid_unknown_fields=True):
    """An element of ``provider_tools``."""

    tool: dict[str, Any]
    scope: _Scope | None = None


class CacheOptionsBody(Struct):
    """``cache_options``; keys that it does not know are tolerated."""

    enabled: CacheMode | None = None
    max_age_s: U32 | None = None


class _Filtered(Struct, forbid_unknown_fields=True, kw_only=True):
    delete: bool | None = None
    variant_name: str | None = None
    model_name: str | None = None
    provider_name: str | None = None


class ExtraBodyEntry(_Filtered):
    """An element of ``extra_body``."""

    pointer: str
    value: Any = UNSET
    model_provider_name: str | None = None


class ExtraHeaderEntry(_Filtered):
    """An element of ``extra_headers``."""

    name: str
    value: str | UnsetType | None = UNSET


class InferenceBody(Struct, forbid_unknown_fields=True):
    """The body of ``POST /inference``, every field of http-api 5; explicit nulls are as good as absence."""

    input: InputBody
    function_name: str | None = None
    model_name: str | None = None
    episode_id: UUID | None = None
    stream: bool | None = None
    params: ParamsBody | None = None
    variant_name: str | None = None
    dryrun: bool | None = None
    internal: bool | None = None
    tags: dict[str, str] | None = None
    namespace: str | None = None
    allowed_tools: list[str] | None = None
    additional_tools: list[ToolBody] | None = None
    tool_choice: Literal["none", "auto", "required"] | Specific | None = None
    parallel_tool_calls: bool | None = None
    provider_tools: list[ProviderToolBody] | None = None
    output_schema: Any = None
    credentials: dict[str, str] | None = None
    cache_options: CacheOptionsBody | None = None
    extra_body: list[ExtraBodyEntry] | None = None
    extra_headers: list[ExtraHeaderEntry] | None = None
    include_raw_response: bool | None = None
    include_raw_usage: bool | None = None
    include_original_response: bool | None = None
    include_aggregated_response: bool | None = None
    internal_dynamic_variant_config: dict[str, Any] | None = None


inference = msgspec.json.Decoder(InferenceBody)
_NO_EXTRA, _NO_PARAMS, _NO_CACHE = Extra(), Params(), CacheOptions()


def to_request(body: InferenceBody) -> InferenceRequest:
    """The neutral request. Raise BadRequest for what its shape allows and its meaning does not."""
    if body.include_aggregated_response and not body.stream:
        raise BadRequest("include_aggregated_response is only supported in streaming mode")
    if body.include_original_response:
        log.warning("`include_original_response` is deprecated: use `include_raw_response`")
    tools, custom = to_tools(body.additional_tools)
    return InferenceRequest(
        input=to_input(body.input),
        function_name=canonical(body.function_name) if body.function_name is not None else None,
        model_name=body.model_name,
        episode_id=body.episode_id,
        variant_name=body.variant_name,
        inline_variant=body.internal_dynamic_variant_config,
        namespace=to_namespace(body.namespace),
        params=to_params(body.params),
        dryrun=bool(body.dryrun),
        internal=bool(body.internal),
        tags=to_tags(body.tags, internal=body.internal),
        allowed_tools=tuple(body.allowed_tools) if body.allowed_tools is not None else None,
        additional_tools=tools,
        custom_tools=custom,
        provider_tools=to_provider_tools(body.provider_tools),
        tool_choice=body.tool_choice,
        parallel_tool_calls=body.parallel_tool_calls,
        output_schema=body.output_schema,
        credentials=body.credentials or {},
        cache=to_cache(body.cache_options),
        extra=to_extra(body.extra_body, body.extra_headers),
        include_raw_response=bool(body.include_raw_response),
        include_raw_usage=bool(body.include_raw_usage),
        include_original_response=bool(body.include_original_response),
        include_aggregated_response=bool(body.include_aggregated_response),
    )


# -- the parts, for every surface ---------------------------------------------------------------------------


def to_params(body: ParamsBody | None, *, where: str = "params.chat_completion") -> Params:
    """The sampling parameters. Raise BadRequest for a number that no upstream can be told."""
    if body is None:
        return _NO_PARAMS
    check_params(body.chat_completion, where=where)
    return body.chat_completion


def check_params(params: Params, *, where: str) -> None:
    """Raise BadRequest for a whole number beyond 32 bits: stores and upstreams have no room for it."""
    for name, (low, high) in _BOUNDS.items():
        value = getattr(params, name)
        if value is not None and not low <= value <= high:
            raise BadRequest(f"{where}.{name}: expected a whole number from {low} to {high}")


def to_namespace(name: str | None) -> str | None:
    """The namespace. Raise BadRequest for one that no configuration could have (config 3)."""
    if name is None:
        return None
    if not name or is_reserved(name):
        raise BadRequest("namespace: must not be empty, nor start with `tensorzero::` or `headrace::`")
    return name


def to_tags(tags: Mapping[str, str] | None, *, internal: bool | None = False) -> Mapping[str, str]:
    """The tags; reserved ones, which only internal callers may give, under the one name that is stored."""
    if not tags:
        return {}
    return {canonical(key): value for key, value in tags.items()} if internal else tags


def to_cache(body: CacheOptionsBody | None) -> CacheOptions:
    """The cache options; off unless said otherwise."""
    return _NO_CACHE if body is None else CacheOptions(body.enabled or "off", body.max_age_s)


def to_tools(
    bodies: Sequence[ToolBody] | None, *, where: str = "additional_tools"
) -> tuple[tuple[Tool, ...], tuple[CustomTool, ...]]:
    """Function tools and custom tools. Raise BadRequest for fields that do not go with the type."""
    tools: list[Tool] = []
    custom: list[CustomTool] = []
    for index, body in enumerate(bodies or ()):
        if body.type == "openai_custom":
            custom.append(_custom(f"{where}[{index}]", body))
        else:
            tools.append(_function(f"{where}[{index}]", body))
    return tuple(tools), tuple(custom)


def _function(where: str, body: ToolBody) -> Tool:
    if body.format is not None:
        raise BadRequest(f"{where}: unknown field `format` of a function tool")
    if body.description is None or body.parameters is None:
        missing = "description" if body.description is None else "parameters"
        raise BadRequest(f"{where}: missing field `{missing}` of a function tool")
    return Tool(body.name, body.description, body.parameters, bool(body.strict))


def _custom(where: str, body: ToolBody) -> CustomTool:
    for name in ("parameters", "strict"):
        if getattr(body, name) is not None:
            raise BadRequest(f"{where}: unknown field `{name}` of an `openai_custom` tool")
    return CustomTool(body.name, body.description, to_format(body.format))


def to_format(body: CustomFormat | None) -> dict[str, Any] | None:
    """A custom tool's format in the neutral form, which is OpenAI's of chat completions."""
    return None if body is None else msgspec.to_builtins(body)


def to_provider_tools(
    bodies: Sequence[ProviderToolBody] | None, *, where: str = "provider_tools"
) -> tuple[ProviderTool, ...]:
    """The upstreams' own tools. Raise BadRequest for a provider that is named twice."""
    if not bodies:
        return ()
    return tuple(
        ProviderTool(body.tool, _scope(f"{where}[{index}].scope", body.scope)) for index, body in enumerate(bodies)
    )


def _scope(where: str, scope: _Scope | None) -> ToolScope | None:
    if scope is None:
        return None
    if scope.provider_name is not None and scope.model_provider_name is not None:
        raise BadRequest(f"{where}: `model_provider_name` is another name of `provider_name`: keep one of them")
    return ToolScope(scope.model_name, scope.provider_name or scope.model_provider_name)


def to_extra(
    body: Sequence[ExtraBodyEntry] | None,
    headers: Sequence[ExtraHeaderEntry] | None,
    *,
    where_body: str = "extra_body",
    where_headers: str = "extra_headers",
) -> Extra:
    """The entries in their order. Raise BadRequest for a combination of keys that has no meaning (http-api 11)."""
    if not body and not headers:
        return _NO_EXTRA
    return Extra(
        tuple(_extra_body(f"{where_body}[{index}]", entry) for index, entry in enumerate(body or ())),
        tuple(_extra_header(f"{where_headers}[{index}]", entry) for index, entry in enumerate(headers or ())),
    )


def _extra_body(where: str, entry: ExtraBodyEntry) -> ExtraBody:
    filters = _filters(where, entry)
    deletes = _deletes(where, entry.delete, given=entry.value is not UNSET)
    if entry.model_provider_name is not None:
        if filters:
            raise BadRequest(f"{where}: `model_provider_name` cannot be combined with another filter")
        log.warning("%s: `model_provider_name` is obsolete and filters nothing: use `model_name`", where)
    return ExtraBody(pointer=entry.pointer, value=entry.value, delete=deletes, **filters)


def _extra_header(where: str, entry: ExtraHeaderEntry) -> ExtraHeader:
    value = UNSET if entry.value is None else entry.value
    deletes = _deletes(where, entry.delete, given=value is not UNSET)
    return ExtraHeader(name=entry.name, value=value, delete=deletes, **_filters(where, entry))


def _deletes(where: str, delete: bool | None, *, given: bool) -> bool:
    if delete is False:
        raise BadRequest(f"{where}.delete: can only be `true`; leave it out to set a value")
    if given == bool(delete):
        raise BadRequest(f'{where}: needs exactly one of `value` and `"delete": true`')
    return bool(delete)


def _filters(where: str, entry: _Filtered) -> dict[str, str]:
    names = ("variant_name", "model_name", "provider_name")
    filters = {name: value for name in names if (value := getattr(entry, name)) is not None}
    if set(filters) not in (set(), {"variant_name"}, {"model_name"}, {"model_name", "provider_name"}):
        raise BadRequest(
            f"{where}: cannot be restricted by {' and '.join(f'`{name}`' for name in filters)}: "
            "use `variant_name`, `model_name`, or `model_name` with `provider_name`"
        )
    return filters


# -- feedback -----------------------------------------------------------------------------------------------


class FeedbackBody(Struct, forbid_unknown_fields=True):
    """The body of ``POST /feedback``."""

    metric_name: str
    value: Any
    inference_id: UUID | None = None
    episode_id: UUID | None = None
    tags: dict[str, str] | None = None
    dryrun: bool | None = None
    internal: bool | None = None


feedback = msgspec.json.Decoder(FeedbackBody)


def to_feedback(body: FeedbackBody) -> FeedbackRequest:
    """The neutral request."""
    return FeedbackRequest(
        metric_name=body.metric_name,
        value=body.value,
        inference_id=body.inference_id,
        episode_id=body.episode_id,
        tags=to_tags(body.tags, internal=body.internal),
        dryrun=bool(body.dryrun),
        internal=bool(body.internal),
    )
