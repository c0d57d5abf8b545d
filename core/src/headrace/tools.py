"""The tools of one inference: what is offered to the model, and whether its calls fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from .contracts import FunctionSpec
from .errors import BadRequest
from .exchange import InferenceRequest
from .media import File
from .schemas import Schema
from .types import Block, CheckedToolCall, ContentBlock, Specific, Tool, ToolCall, ToolConfig, ToolResult


def configure(request: InferenceRequest, function: FunctionSpec, known: Mapping[str, Tool]) -> ToolConfig | None:
    """The tools of a request (http-api 9); ``known`` is every configured tool by key. Raise BadRequest."""
    if function.type == "json":
        _refuse_tools(request)
        return None
    by_key = dict(function.tools)
    allowed = request.allowed_tools
    if allowed is not None:
        by_key |= {key: known[key] for key in allowed if key in known}
        dynamic = [tool for tool in request.additional_tools if tool.name in allowed]
        names = {tool.name for tool in dynamic}
        for key in allowed:
            if key not in by_key and key not in names:
                raise BadRequest(f"Tool not found: {key}")
        tools = [tool for key, tool in by_key.items() if key in allowed] + dynamic
    else:
        tools = [*by_key.values(), *request.additional_tools]
    if not tools:
        return None
    _unique(tools)
    choice = request.tool_choice if request.tool_choice is not None else function.tool_choice
    if isinstance(choice, Specific) and choice.specific not in {tool.name for tool in tools}:
        raise BadRequest(f"Tool not found: {choice.specific}")
    parallel = request.parallel_tool_calls
    return ToolConfig(
        tools=tuple(tools),
        choice=choice,
        parallel=parallel if parallel is not None else function.parallel_tool_calls,
        allowed=tuple(tool.name for tool in tools) if allowed is not None else None,
    )


def check(blocks: Sequence[Block], config: ToolConfig | None) -> tuple[ContentBlock, ...]:
    """The blocks with every tool call held against the tools; a call that does not fit is marked, not an error."""
    offered = {tool.name: tool for tool in config.tools} if config else {}
    return tuple(
        _checked(block, offered) if isinstance(block, ToolCall) else block
        for block in blocks
        if not isinstance(block, (ToolResult, File))  # never in an answer
    )


def _checked(call: ToolCall, offered: Mapping[str, Tool]) -> CheckedToolCall:
    tool = offered.get(call.name)
    return CheckedToolCall(
        id=call.id,
        raw_name=call.name,
        raw_arguments=call.arguments,
        name=call.name if tool else None,
        arguments=_fitting(call.arguments, tool) if tool else None,
    )


def _fitting(arguments: str, tool: Tool) -> Any:
    try:
        value = msgspec.json.decode(arguments)
        return value if Schema(tool.parameters).fits(value) else None
    except (ValueError, RecursionError):  # not JSON (or nested beyond reason), or the caller's schema is none
        return None


def _unique(tools: Sequence[Tool]) -> None:
    seen: set[str] = set()
    for tool in tools:
        if tool.name in seen:
            raise BadRequest(f"Duplicate tool name: {tool.name}")
        seen.add(tool.name)


def _refuse_tools(request: InferenceRequest) -> None:
    for name in ("allowed_tools", "tool_choice", "parallel_tool_calls"):
        if getattr(request, name) is not None:
            raise BadRequest(f"Cannot pass `{name}` to a JSON function")
    if request.additional_tools:
        raise BadRequest("Cannot pass `additional_tools` to a JSON function")
