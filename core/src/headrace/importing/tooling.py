"""The tools of old rows: all with the row, or their names alone, whose meaning the configuration of the time has."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ..types import CustomTool, ProviderTool, Tool, ToolChoice, ToolConfig
from .blocks import parsed, scope_of
from .tables import Row

_DEFAULT: Final = "function_default"
_CUSTOM: Final = ("custom", "openai_custom")


class Snapshots:
    """The tools of configurations by their keys: of old ones, by the hash of each, and of the one that is used now."""

    def __init__(self, config: str = "") -> None:
        self._now = _tools_in(config)
        self._then: dict[str, Mapping[str, Any]] = {}

    def add(self, hash_: str, config: str) -> None:
        """Remember an old configuration; one that cannot be read has no tools."""
        if tools := _tools_in(config):
            self._then[hash_] = tools

    def then(self, hash_: str, key: str) -> Tool | None:
        """A tool of the configuration of that time, or None."""
        return _tool_of(key, self._then.get(hash_, {}).get(key))

    def now(self, key: str) -> Tool | None:
        """A tool as it is configured today, or None."""
        return _tool_of(key, self._now.get(key))


def _tools_in(config: str) -> Mapping[str, Any]:
    try:
        tools = tomllib.loads(config).get("tools", {})
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}
    return tools if isinstance(tools, dict) else {}


def _tool_of(key: str, table: Any) -> Tool | None:
    if not isinstance(table, dict):
        return None
    parameters = table.get("parameters")
    if isinstance(parameters, dict):
        parameters = parameters.get("__data", parameters)
    try:
        return Tool(
            name=msgspec.convert(table.get("name") or key, str),
            description=msgspec.convert(table.get("description", ""), str),
            parameters=msgspec.convert(parsed(parameters), dict[str, Any]),
            strict=msgspec.convert(table.get("strict", False), bool),
        )
    except msgspec.MsgspecError:
        return None


def tools_of(row: Row, hash_: str, snapshots: Snapshots, note: Callable[[str], None]) -> ToolConfig | None:
    """The tools of a chat row; None where it had none. Raise Unmappable or msgspec.ValidationError."""
    merged = parsed(row.get("tool_params") or "null") or {}
    allowed = parsed(row.get("allowed_tools") or "null") or {}
    dynamic = [_tree(each) for each in parsed(row.get("dynamic_tools") or "[]")]
    provider = [_provider_tool(_tree(each)) for each in parsed(row.get("dynamic_provider_tools") or "[]")]
    choice = _choice(row.get("tool_choice"))
    if not (merged or allowed or dynamic or provider or choice is not None):
        return None
    custom = [msgspec.convert(each, CustomTool) for each in dynamic if each.get("type") in _CUSTOM]
    added = [_tool(each) for each in dynamic if each.get("type") not in _CUSTOM]
    names: list[str] = [msgspec.convert(name, str) for name in allowed.get("tools") or ()]
    if merged:
        offered = [_tree(each) for each in merged.get("tools_available") or ()]
        tools = [_tool(each) for each in offered if each.get("type") not in _CUSTOM]
    else:
        here = {tool.name for tool in added} | {tool.name for tool in custom}
        found = {name: _named(name, hash_, snapshots, note) for name in names if name not in here}
        tools = [*(tool for tool in found.values() if tool is not None), *added]
        names = [tool.name if (tool := found.get(name)) is not None else name for name in names]
    is_explicit = allowed.get("choice", _DEFAULT) != _DEFAULT
    parallel = row.get("parallel_tool_calls")
    return ToolConfig(
        tools=tuple({tool.name: tool for tool in tools}.values()),
        choice=choice or _choice(merged.get("tool_choice")) or "auto",
        parallel=merged.get("parallel_tool_calls") if parallel is None else parallel,
        allowed=tuple(names) if is_explicit else None,
        custom=tuple(custom),
        provider_tools=tuple(provider),
    )


def _named(key: str, hash_: str, snapshots: Snapshots, note: Callable[[str], None]) -> Tool | None:
    """A tool of which the row has the key alone, as in Postgres."""
    if (tool := snapshots.then(hash_, key)) is not None:
        return tool
    if (tool := snapshots.now(key)) is not None:
        note("a tool is as in today's configuration, as that of its time is not in the database")
    else:
        note("a tool's definition is in no configuration: it did not come over")
    return tool


def _tool(tree: dict[str, Any]) -> Tool:
    return msgspec.convert({**tree, "description": tree.get("description") or ""}, Tool)


def _provider_tool(tree: dict[str, Any]) -> ProviderTool:
    scope = scope_of(tree.get("scope") or {})
    return msgspec.convert({"tool": tree.get("tool"), "scope": scope or None}, ProviderTool)


def _choice(value: Any) -> ToolChoice | None:
    """Bare in ClickHouse, JSON in Postgres."""
    if value in (None, ""):
        return None
    if isinstance(value, str) and value[:1] in ('"', "{"):
        value = msgspec.json.decode(value)
    choice: ToolChoice = msgspec.convert(value, ToolChoice)
    return choice


def _tree(value: Any) -> dict[str, Any]:
    return msgspec.convert(parsed(value), dict[str, Any])
