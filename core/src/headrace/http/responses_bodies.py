"""What ``POST /openai/v1/responses`` accepts: bytes to a checked Struct to a neutral request."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from ..errors import BadRequest
from ..exchange import InferenceRequest
from ..types import CustomTool, JsonMode, Params, ProviderTool, ServiceTier, Specific, Tool, ToolChoice
from .bodies import CustomFormat, to_format
from .extensions import Extensions, convert, extended, parsed, target_of
from .responses_items import to_input


class _Reasoning(Struct):
    effort: str | None = None
    summary: str | None = None


class _TextFormat(Struct, tag="text"):
    pass


class _JsonObject(Struct, tag="json_object"):
    pass


class _JsonSchema(Struct, tag="json_schema"):
    schema: dict[str, Any]
    name: str | None = None
    strict: bool | None = None
    description: str | None = None


class _TextConfig(Struct):
    format: _TextFormat | _JsonObject | _JsonSchema | None = None
    verbosity: str | None = None


class _FunctionTool(Struct):
    name: str
    parameters: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class _CustomTool(Struct):
    name: str
    description: str | None = None
    format: dict[str, Any] | None = None


class _Named(Struct):
    name: str
    type: Literal["function", "custom"]


class _Specific(Struct, tag="function"):
    name: str


class _SpecificCustom(Struct, tag="custom"):
    name: str


class _Allowed(Struct, tag="allowed_tools"):
    mode: Literal["auto", "required"]
    tools: list[_Named]


_AnyChoice: TypeAlias = _Specific | _SpecificCustom | _Allowed


class ResponsesBody(Extensions, kw_only=True):
    """The body; what this gateway could only answer with a memory of earlier responses is refused."""

    model: str
    input: str | list[dict[str, Any]] | None = None
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=2**32 - 1)] | None = None
    reasoning: _Reasoning | None = None
    text: _TextConfig | None = None
    service_tier: ServiceTier | None = None
    metadata: dict[str, str] | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None


_decoder = msgspec.json.Decoder(ResponsesBody)

# Known to OpenAI, and without a meaning for a gateway that keeps nothing. Everything else unknown is warned of.
_IGNORED = frozenset(
    {
        "include",  # encrypted reasoning is always included: without it no second turn could be right
        "stream_options",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
_REFUSED = {
    "previous_response_id": "send the earlier items in `input`",
    "conversation": "send the earlier items in `input`",
    "prompt": "call a function instead: `tensorzero::function_name::NAME`",
    "background": "leave it out, and wait for the answer",
}


def read_body(raw: bytes) -> ResponsesBody:
    """A checked body. Raise BadRequest."""
    body = parsed(_decoder, ResponsesBody, _IGNORED, raw)
    for name, instead in _REFUSED.items():
        if getattr(body, name):
            raise BadRequest(f"`{name}` is not supported, because this gateway keeps no responses: {instead}")
    return body


def to_request(body: ResponsesBody) -> InferenceRequest:
    """The neutral request. Raise BadRequest."""
    function_name, model_name = _target(body.model)
    choice, allowed = _choice(body.tool_choice)
    mode, schema = _format(body.text)
    tools, custom, provider_tools = _tools(body.tools or [])
    request = InferenceRequest(
        input=to_input(body.input, body.instructions),
        function_name=function_name,
        model_name=model_name,
        params=Params(
            temperature=body.temperature,
            top_p=body.top_p,
            max_tokens=body.max_output_tokens,
            reasoning_effort=body.reasoning.effort if body.reasoning else None,
            service_tier=body.service_tier,
            verbosity=body.text.verbosity if body.text else None,
            json_mode=mode,
        ),
        allowed_tools=allowed,
        additional_tools=tools,
        custom_tools=custom,
        provider_tools=provider_tools,
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls,
        output_schema=schema,
    )
    return extended(request, body)


def _target(model: str) -> tuple[str | None, str | None]:
    function_name, model_name = target_of(model)
    if model_name is not None and (not model or (model == model_name and "::" in model)):
        raise BadRequest(
            "Invalid request to OpenAI-compatible endpoint: `model` field must start with "
            "`tensorzero::function_name::` or `tensorzero::model_name::`, or be the name of a configured model, "
            f"found `{model[:100]}`"
        )
    return function_name, model_name


def _format(text: _TextConfig | None) -> tuple[JsonMode | None, dict[str, Any] | None]:
    match text.format if text else None:
        case _JsonSchema() as wanted:
            return "strict", wanted.schema
        case _JsonObject():
            return "on", None
        case _TextFormat():
            return "off", None
        case None:
            return None, None


def _tools(
    wanted: list[dict[str, Any]],
) -> tuple[tuple[Tool, ...], tuple[CustomTool, ...], tuple[ProviderTool, ...]]:
    """Function tools, custom tools, and the upstream's own."""
    functions: list[Tool] = []
    custom: list[CustomTool] = []
    others: list[ProviderTool] = []
    for index, tool in enumerate(wanted):
        where, kind = f"tools[{index}]", tool.get("type")
        if not isinstance(kind, str):
            raise BadRequest(f"{where}.type: expected the type of a tool, such as `function`")
        if kind == "function":
            told = convert(tool, _FunctionTool, where)
            parameters = told.parameters if told.parameters is not None else {"type": "object", "properties": {}}
            functions.append(Tool(told.name, told.description or "", parameters, bool(told.strict)))
        elif kind == "custom":
            own = convert(tool, _CustomTool, where)
            custom.append(CustomTool(own.name, own.description, _custom_format(own.format, where)))
        else:
            others.append(ProviderTool(tool))
    return tuple(functions), tuple(custom), tuple(others)


def _custom_format(wanted: dict[str, Any] | None, where: str) -> dict[str, Any] | None:
    """The neutral form is that of chat completions, where a grammar stands in an object of its own."""
    if wanted is None:
        return None
    if wanted.get("type") == "grammar" and "grammar" not in wanted:
        wanted = {"type": "grammar", "grammar": {key: value for key, value in wanted.items() if key != "type"}}
    return to_format(convert(wanted, CustomFormat, f"{where}.format"))


def _choice(wanted: str | dict[str, Any] | None) -> tuple[ToolChoice | None, tuple[str, ...] | None]:
    """The choice, and the list of allowed tools if it comes with one."""
    if wanted is None:
        return None, None
    if isinstance(wanted, str):
        mode: ToolChoice = convert(wanted, Literal["none", "auto", "required"], "tool_choice")
        return mode, None
    if wanted.get("type") not in ("function", "custom", "allowed_tools"):
        raise BadRequest(
            "tool_choice.type: only `function`, `custom` and `allowed_tools` can be chosen; an upstream's own tool "
            "cannot: use `auto` or `required`"
        )
    choice: _Specific | _SpecificCustom | _Allowed = convert(wanted, _AnyChoice, "tool_choice")
    if isinstance(choice, _Allowed):
        return choice.mode, tuple(tool.name for tool in choice.tools)
    return Specific(choice.name), None
