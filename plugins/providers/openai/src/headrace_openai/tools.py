"""The tools of a request, and the choice among them, in the dialect's words."""

from __future__ import annotations

from typing import Any

from headrace.errors import NotForThisProvider
from headrace.types import CustomTool, Specific, Tool, ToolCall, ToolConfig

from .dialect import Dialect


def fields(model: str, config: ToolConfig | None, dialect: Dialect) -> dict[str, Any]:
    """``tools``, ``tool_choice`` and ``parallel_tool_calls``, or nothing. Raise NotForThisProvider."""
    if config is None:
        return {}
    if config.provider_tools:
        raise NotForThisProvider(
            f"Provider {dialect.provider_type} does not support provider_tools with chat completions "
            "(take them back, or scope them to a provider that does)"
        )
    if config.custom and not dialect.custom_tools:
        raise NotForThisProvider(f"OpenAI custom tools are not supported by this provider ({dialect.name})")
    tools = [_tool(tool) for tool in (config.tools if dialect.allowed_tools else config.offered)]
    tools += [_custom(tool) for tool in config.custom]
    if not tools:
        return {}
    # o1 refuses the field, and does what false asks for anyway.
    unsaid = config.parallel is False and model.lower().startswith("o1")
    return {
        "tools": tools,
        "tool_choice": _choice(config, dialect),
        "parallel_tool_calls": None if unsaid else config.parallel,
    }


def call(block: ToolCall, config: ToolConfig | None) -> dict[str, Any]:
    """A call of an earlier turn; that of a custom tool is told as such, for its text is no JSON."""
    if _is_custom(block.name, config):
        return {"id": block.id, "type": "custom", "custom": {"name": block.name, "input": block.arguments}}
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": block.arguments}}


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function, "strict": tool.strict}


def _custom(tool: CustomTool) -> dict[str, Any]:
    said = {"name": tool.name, "description": tool.description, "format": tool.format}
    return {"type": "custom", "custom": {name: value for name, value in said.items() if value is not None}}


def _choice(config: ToolConfig, dialect: Dialect) -> Any:
    """All tools are always sent (they are part of the cached prompt); an explicit list narrows the choice."""
    if isinstance(config.choice, Specific):
        return _named(config.choice.specific, config)
    if config.choice == "none" or config.allowed is None or not dialect.allowed_tools:
        return config.choice
    names = [_named(name, config) for name in config.allowed]
    return {"type": "allowed_tools", "allowed_tools": {"mode": config.choice, "tools": names}}


def _named(name: str, config: ToolConfig) -> dict[str, Any]:
    kind = "custom" if _is_custom(name, config) else "function"
    return {"type": kind, kind: {"name": name}}


def _is_custom(name: str, config: ToolConfig | None) -> bool:
    return config is not None and any(tool.name == name for tool in config.custom)
