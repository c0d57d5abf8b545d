"""The tools of one inference: what is offered to the model, and whether its calls fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import structs

from .contracts import FunctionSpec
from .errors import BadRequest
from .exchange import InferenceRequest
from .media import File
from .schemas import compiled
from .types import (
    Block,
    CheckedToolCall,
    ContentBlock,
    CustomTool,
    Specific,
    Text,
    Tool,
    ToolCall,
    ToolConfig,
    ToolResult,
    ToolScope,
)


def configure(request: InferenceRequest, function: FunctionSpec, known: Mapping[str, Tool]) -> ToolConfig | None:
    """The tools of a request (http-api 9); ``known`` is every configured tool by key. Raise BadRequest."""
    if function.type == "json":
        _refuse_tools(request)
        return ToolConfig(provider_tools=request.provider_tools) if request.provider_tools else None
    dynamic = request.additional_tools or request.custom_tools or request.provider_tools
    if not (function.tools or request.allowed_tools or dynamic):
        return None
    by_key = dict(function.tools)
    by_key |= {key: known[key] for key in request.allowed_tools or () if key in known}
    tools = (*by_key.values(), *request.additional_tools)
    _unique([tool.name for tool in tools] + [tool.name for tool in request.custom_tools])
    allowed, custom = None, request.custom_tools
    if request.allowed_tools is not None:
        allowed = _allowed(request, by_key)
        custom = tuple(tool for tool in custom if tool.name in allowed)
    choice = request.tool_choice if request.tool_choice is not None else function.tool_choice
    parallel = request.parallel_tool_calls
    config = ToolConfig(
        tools=tools,
        choice=choice,
        parallel=parallel if parallel is not None else function.parallel_tool_calls,
        allowed=allowed,
        custom=custom,
        provider_tools=request.provider_tools,
    )
    offered = _names(config)
    if not offered and not config.provider_tools:
        return None
    if isinstance(choice, Specific) and choice.specific not in offered:
        raise BadRequest(f"Tool not found: {choice.specific}")
    return config


def check_json_tool(request: InferenceRequest, function: FunctionSpec) -> None:
    """A chat function that is asked for ``json_mode = "tool"`` has, and is given, no other tools (http-api 9)."""
    if request.params.json_mode != "tool" or function.type != "chat":
        return
    if request.output_schema is None:
        raise BadRequest('`json_mode = "tool"` on a chat function needs an `output_schema`')
    said = [
        name
        for name in ("allowed_tools", "additional_tools", "custom_tools", "provider_tools", "tool_choice")
        if getattr(request, name)
    ]
    if said or request.parallel_tool_calls is not None:
        raise BadRequest(f'`json_mode = "tool"` cannot be combined with `{(said or ["parallel_tool_calls"])[0]}`')
    if function.tools or function.tool_choice != "auto" or function.parallel_tool_calls is not None:
        raise BadRequest(f'`json_mode = "tool"` cannot be used: function {function.name} has tools of its own')


def for_provider(config: ToolConfig | None, model_name: str, provider_name: str) -> ToolConfig | None:
    """The tools without the provider tools that are meant for others."""
    if config is None or not config.provider_tools:
        return config
    mine = tuple(tool for tool in config.provider_tools if _is_for(tool.scope, model_name, provider_name))
    return config if len(mine) == len(config.provider_tools) else structs.replace(config, provider_tools=mine)


def _is_for(scope: ToolScope | None, model_name: str, provider_name: str) -> bool:
    return scope is None or (scope.model_name == model_name and scope.provider_name in (None, provider_name))


def _allowed(request: InferenceRequest, by_key: Mapping[str, Tool]) -> tuple[str, ...]:
    """The caller's list as the names that the model knows; a key of the configuration, or a dynamic tool's name."""
    dynamic = [tool.name for tool in request.additional_tools] + [tool.name for tool in request.custom_tools]
    names = []
    for key in request.allowed_tools or ():
        if key not in by_key and key not in dynamic:
            raise BadRequest(f"Tool not found: {key}")
        names.append(by_key[key].name if key in by_key else key)
    known = [tool.name for tool in by_key.values()] + dynamic
    return tuple(name for name in known if name in names)


def _names(config: ToolConfig) -> set[str]:
    return {tool.name for tool in config.offered} | {tool.name for tool in config.custom}


def check(blocks: Sequence[Block], config: ToolConfig | None) -> tuple[ContentBlock, ...]:
    """The blocks with every tool call held against the tools; a call that does not fit is marked, not an error."""
    if all(type(block) is Text for block in blocks):  # as nearly always
        return tuple(blocks)  # type: ignore[arg-type]
    offered: dict[str, Tool | CustomTool] = {}
    if config is not None:
        offered |= {tool.name: tool for tool in config.offered}
        offered |= {tool.name: tool for tool in config.custom}
    return tuple(
        _checked(block, offered) if isinstance(block, ToolCall) else block
        for block in blocks
        if not isinstance(block, (ToolResult, File))  # never in an answer
    )


def _checked(call: ToolCall, offered: Mapping[str, Tool | CustomTool]) -> CheckedToolCall:
    tool = offered.get(call.name)
    return CheckedToolCall(
        id=call.id,
        raw_name=call.name,
        raw_arguments=call.arguments,
        name=call.name if tool else None,
        arguments=_fitting(call.arguments, tool) if isinstance(tool, Tool) else None,
    )


def _fitting(arguments: str, tool: Tool) -> Any:
    try:
        value = msgspec.json.decode(arguments)
        return value if compiled(tool.parameters).fits(value) else None
    except (ValueError, RecursionError):  # not JSON (or nested beyond reason), or the caller's schema is none
        return None


def _unique(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BadRequest(f"Duplicate tool name: {name}")
        seen.add(name)


def _refuse_tools(request: InferenceRequest) -> None:
    for name in ("allowed_tools", "tool_choice", "parallel_tool_calls"):
        if getattr(request, name) is not None:
            raise BadRequest(f"Cannot pass `{name}` to a JSON function")
    if request.additional_tools or request.custom_tools:
        raise BadRequest("Cannot pass `additional_tools` to a JSON function")
