"""What ``POST /inference`` and ``POST /feedback`` accept: bytes to checked Structs to neutral requests."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ..errors import BadRequest, NotSupported
from ..exchange import InferenceRequest
from ..feedback import FeedbackRequest
from ..types import (
    Input,
    InputBlock,
    InputMessage,
    Params,
    RawText,
    Role,
    Specific,
    Template,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolResult,
    Unknown,
)


class _Text(Struct, tag="text", forbid_unknown_fields=True):
    text: str | UnsetType = UNSET
    arguments: dict[str, Any] | UnsetType = UNSET


class _Template(Struct, tag="template", forbid_unknown_fields=True):
    name: str
    arguments: dict[str, Any]


class _RawText(Struct, tag="raw_text", forbid_unknown_fields=True):
    value: str


class _ToolCall(Struct, tag="tool_call"):
    id: str
    name: str | None = None
    arguments: str | dict[str, Any] | None = None
    raw_name: str | None = None
    raw_arguments: str | None = None


class _ToolResult(Struct, tag="tool_result", forbid_unknown_fields=True):
    id: str
    name: str
    result: str


class _Thought(Struct, tag="thought"):
    text: str | None = None
    signature: str | None = None
    summary: list[dict[str, str]] | None = None
    provider_type: str | None = None
    _internal_provider_type: str | None = None
    extra_data: Any = None


class _Unknown(Struct, tag="unknown"):
    data: Any
    model_name: str | None = None
    provider_name: str | None = None


_Block: TypeAlias = _Text | _Template | _RawText | _ToolCall | _ToolResult | _Thought | _Unknown


class _Message(Struct, forbid_unknown_fields=True):
    role: Role
    content: str | list[_Block] | dict[str, Any]


class InputBody(Struct, forbid_unknown_fields=True):
    """``input`` as callers write it."""

    messages: list[_Message] = []
    system: str | dict[str, Any] | None = None


class _ParamsBody(Struct, forbid_unknown_fields=True):
    chat_completion: Params


class _ToolBody(Struct, forbid_unknown_fields=True):
    name: str
    description: str
    parameters: dict[str, Any]
    strict: bool = False
    type: Literal["function", "client_side_function"] = "function"


class InferenceBody(Struct, forbid_unknown_fields=True):
    """The body of ``POST /inference``, every field of http-api 5; explicit nulls are as good as absence."""

    input: InputBody
    function_name: str | None = None
    model_name: str | None = None
    episode_id: UUID | None = None
    stream: bool | None = None
    params: _ParamsBody | None = None
    variant_name: str | None = None
    dryrun: bool | None = None
    internal: bool | None = None
    tags: dict[str, str] | None = None
    allowed_tools: list[str] | None = None
    additional_tools: list[_ToolBody] | None = None
    tool_choice: Literal["none", "auto", "required"] | Specific | None = None
    parallel_tool_calls: bool | None = None
    output_schema: dict[str, Any] | None = None
    credentials: dict[str, str] | None = None
    # Specified, and refused by name until they do something: an ignored field would be a lie.
    namespace: str | None = None
    provider_tools: list[Any] | None = None
    cache_options: dict[str, Any] | None = None
    extra_body: list[Any] | None = None
    extra_headers: list[Any] | None = None
    include_raw_response: bool | None = None
    include_raw_usage: bool | None = None
    include_original_response: bool | None = None
    include_aggregated_response: bool | None = None
    internal_dynamic_variant_config: dict[str, Any] | None = None


_LATER = (
    "namespace",
    "provider_tools",
    "extra_body",
    "extra_headers",
    "include_raw_response",
    "include_raw_usage",
    "include_original_response",
    "include_aggregated_response",
    "internal_dynamic_variant_config",
)

inference = msgspec.json.Decoder(InferenceBody)


def to_input(body: InputBody) -> Input:
    """The neutral input; raises BadRequest for a block that says two things at once."""
    messages = tuple(
        InputMessage(message.role, _content(index, message)) for index, message in enumerate(body.messages)
    )
    return Input(messages, body.system)


def _content(index: int, message: _Message) -> tuple[InputBlock, ...]:
    if isinstance(message.content, str):
        return (Text(message.content),)
    if isinstance(message.content, dict):  # deprecated form of a template named after the role
        return (Template(message.role, message.content),)
    return tuple(
        _block(f"input.messages[{index}].content[{position}]", message.role, block)
        for position, block in enumerate(message.content)
    )


def _block(where: str, role: Role, block: _Block) -> InputBlock:
    match block:
        case _Text():
            if isinstance(block.text, str) and block.arguments is UNSET:
                return Text(block.text)
            if isinstance(block.arguments, dict) and block.text is UNSET:
                return Template(role, block.arguments)
            raise BadRequest(f"{where}: a text block needs exactly one of `text` and `arguments`")
        case _Template():
            return Template(block.name, block.arguments)
        case _RawText():
            return RawText(block.value)
        case _ToolCall():
            return _tool_call(where, block)
        case _ToolResult():
            return ToolResult(block.id, block.name, block.result)
        case _Thought():
            provider_type = block.provider_type or block._internal_provider_type
            return Thought(block.text, block.signature, block.summary, provider_type, block.extra_data)
        case _Unknown():
            return Unknown(block.data, block.model_name, block.provider_name)


def _tool_call(where: str, block: _ToolCall) -> ToolCall:
    """A call as sent by hand, or as it came in an answer (``raw_*``); parsed values win where both are there."""
    name, arguments = block.name, block.arguments
    if name is None or arguments is None:
        name, arguments = block.raw_name, block.raw_arguments
    if name is None or arguments is None:
        raise BadRequest(f"{where}: a tool_call needs `name` and `arguments`, or `raw_name` and `raw_arguments`")
    return ToolCall(
        block.id, name, arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    )


def to_request(body: InferenceBody) -> InferenceRequest:
    """The neutral request. Raise NotSupported for what is specified but not offered yet."""
    for name in _LATER:
        if getattr(body, name):
            raise NotSupported(f"`{name}` is not supported by this version of headrace")
    if body.cache_options and body.cache_options.get("enabled", "off") != "off":
        raise NotSupported("`cache_options` is not supported by this version of headrace")
    return InferenceRequest(
        input=to_input(body.input),
        function_name=body.function_name,
        model_name=body.model_name,
        episode_id=body.episode_id,
        variant_name=body.variant_name,
        params=body.params.chat_completion if body.params else Params(),
        dryrun=bool(body.dryrun),
        internal=bool(body.internal),
        tags=body.tags or {},
        allowed_tools=tuple(body.allowed_tools) if body.allowed_tools is not None else None,
        additional_tools=tuple(
            Tool(tool.name, tool.description, tool.parameters, tool.strict) for tool in body.additional_tools or ()
        ),
        tool_choice=body.tool_choice,
        parallel_tool_calls=body.parallel_tool_calls,
        output_schema=body.output_schema,
        credentials=body.credentials or {},
    )


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
        tags=body.tags or {},
        dryrun=bool(body.dryrun),
        internal=bool(body.internal),
    )
