"""What ``POST /anthropic/v1/messages`` accepts: bytes to a checked Struct to a neutral request."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from ..errors import BadRequest
from ..exchange import InferenceRequest
from ..extras import Extra, ExtraBody
from ..types import Params, ProviderTool, ServiceTier, Specific, Tool, ToolChoice
from .anthropic_messages import AnthropicMessage, to_input
from .extensions import Extensions, convert, extended, parsed, target_of

log = logging.getLogger(__name__)


class _Tool(Struct):
    name: str
    input_schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class _Auto(Struct, tag="auto"):
    disable_parallel_tool_use: bool | None = None


class _Any(Struct, tag="any"):
    disable_parallel_tool_use: bool | None = None


class _One(Struct, tag="tool"):
    name: str
    disable_parallel_tool_use: bool | None = None


class _None(Struct, tag="none"):
    pass


_Choice: TypeAlias = _Auto | _Any | _One | _None


class _Thinking(Struct):
    type: str
    budget_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None


class _Schema(Struct, tag="json_schema"):
    schema: dict[str, Any]


class _OutputConfig(Struct):
    effort: str | None = None
    format: _Schema | None = None


class _Metadata(Struct):
    user_id: str | None = None


class MessagesBody(Extensions, kw_only=True):
    """The body."""

    model: Annotated[str, Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    messages: list[AnthropicMessage]
    system: str | list[dict[str, Any]] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**32 - 1)] | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: _Choice | None = None
    thinking: dict[str, Any] | None = None
    output_config: _OutputConfig | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    metadata: _Metadata | None = None


_decoder = msgspec.json.Decoder(MessagesBody)
_TIERS: dict[str, ServiceTier] = {"auto": "auto", "standard_only": "default"}


def read_body(raw: bytes) -> MessagesBody:
    """A checked body. Raise BadRequest."""
    return parsed(_decoder, MessagesBody, frozenset({"cache_control"}), raw)


def to_request(body: MessagesBody) -> InferenceRequest:
    """The neutral request. What has no neutral form is written into the provider's request as it is."""
    if body.metadata and body.metadata.user_id is not None:
        log.debug("`metadata.user_id` is ignored")
    function_name, model_name = target_of(body.model)
    choice, parallel = _choice(body.tool_choice)
    tools, provider_tools = _tools(body.tools or [])
    wanted = body.output_config or _OutputConfig()
    budget, thinking = _thinking(body.thinking, wanted.effort)
    verbatim = [] if body.top_k is None else [ExtraBody(pointer="/top_k", value=body.top_k)]
    if thinking is not None:
        verbatim.append(ExtraBody(pointer="/thinking", value=thinking))
    request = InferenceRequest(
        input=to_input(body.messages, body.system),
        function_name=function_name,
        model_name=model_name,
        params=Params(
            temperature=body.temperature,
            top_p=body.top_p,
            max_tokens=body.max_tokens,
            stop_sequences=tuple(body.stop_sequences) if body.stop_sequences is not None else None,
            reasoning_effort=wanted.effort,
            thinking_budget_tokens=budget,
            service_tier=_TIERS[body.service_tier] if body.service_tier else None,
            json_mode="strict" if wanted.format else None,
        ),
        additional_tools=tools,
        provider_tools=provider_tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        output_schema=wanted.format.schema if wanted.format else None,
        extra=Extra(tuple(verbatim)),
    )
    return extended(request, body)


def _thinking(wanted: dict[str, Any] | None, effort: str | None) -> tuple[int | None, dict[str, Any] | None]:
    """The budget, or what has to be passed on as it is."""
    if wanted is None:
        return None, None
    thinking: _Thinking = convert(wanted, _Thinking, "thinking")
    if thinking.type == "enabled":
        if thinking.budget_tokens is None:
            raise BadRequest("thinking.budget_tokens: needed with `thinking.type` = `enabled`")
        return thinking.budget_tokens, None
    if thinking.type == "disabled" or (thinking.type == "adaptive" and effort is not None):
        return None, None  # nothing asks for it; or the effort does, which has a neutral form
    return None, wanted


def _tools(wanted: list[dict[str, Any]]) -> tuple[tuple[Tool, ...], tuple[ProviderTool, ...]]:
    """The caller's tools, and Anthropic's own."""
    tools: list[Tool] = []
    others: list[ProviderTool] = []
    for index, tool in enumerate(wanted):
        kind = tool.get("type") or "custom"
        if not isinstance(kind, str):
            raise BadRequest(f"tools[{index}].type: expected a string, such as `custom`")
        if kind == "custom":
            told: _Tool = convert(tool, _Tool, f"tools[{index}]")
            tools.append(Tool(told.name, told.description or "", told.input_schema, bool(told.strict)))
        else:
            others.append(ProviderTool(tool))
    return tuple(tools), tuple(others)


def _choice(wanted: _Choice | None) -> tuple[ToolChoice | None, bool | None]:
    """The choice, and whether several calls at once are allowed, where the caller says so."""
    if wanted is None:
        return None, None
    if isinstance(wanted, _None):
        return "none", None
    disabled = wanted.disable_parallel_tool_use
    parallel = None if disabled is None else not disabled
    if isinstance(wanted, _One):
        return Specific(wanted.name), parallel
    return ("auto" if isinstance(wanted, _Auto) else "required"), parallel
