"""The tools of a stored inference or datapoint as the fields that would ask for them again."""

from __future__ import annotations

from typing import Any

import msgspec

from ..functions import Function
from ..types import CustomTool, Tool, ToolConfig


def shown_tools(function: Function | None, tools: ToolConfig) -> dict[str, Any]:
    """The fields of a request; tools that ``function`` (None: it is no longer configured) has anyway are not named."""
    configured = {tool.name for tool in function.spec.tools.values()} if function else set()
    added = [_tool("function", tool) for tool in tools.tools if tool.name not in configured]
    return {
        "additional_tools": added + [_tool("openai_custom", tool) for tool in tools.custom],
        "allowed_tools": tools.allowed,
        "tool_choice": tools.choice,
        "parallel_tool_calls": tools.parallel,
        "provider_tools": tools.provider_tools,
    }


def _tool(type_: str, tool: Tool | CustomTool) -> dict[str, Any]:
    return {"type": type_, **msgspec.to_builtins(tool)}
