"""OpenAI's ``tools``, ``tool_choice`` and ``response_format`` to neutral ones (http-api 16.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from ..types import CustomTool, JsonMode, Specific, Tool, ToolChoice
from .bodies import CustomFormat, to_format


class _Function(Struct):
    name: str
    parameters: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class FunctionToolBody(Struct, tag="function"):
    """A tool whose arguments are JSON."""

    function: _Function


class _Custom(Struct):
    name: str
    description: str | None = None
    format: CustomFormat | None = None


class CustomToolBody(Struct, tag="custom"):
    """A tool whose argument is text."""

    custom: _Custom


ToolBody: TypeAlias = FunctionToolBody | CustomToolBody


def to_tools(tools: Sequence[ToolBody]) -> tuple[tuple[Tool, ...], tuple[CustomTool, ...]]:
    """The function tools, and the custom ones."""
    functions, custom = [], []
    for tool in tools:
        if isinstance(tool, FunctionToolBody):
            told = tool.function
            functions.append(Tool(told.name, told.description or "", told.parameters, bool(told.strict)))
        else:
            custom.append(CustomTool(tool.custom.name, tool.custom.description, to_format(tool.custom.format)))
    return tuple(functions), tuple(custom)


class _Named(Struct):
    name: str


class _NamedTool(Struct):
    function: _Named
    type: Literal["function"] = "function"


class _Allowed(Struct):
    tools: list[_NamedTool]
    mode: Literal["auto", "required"]


class SpecificChoice(Struct, tag="function"):
    """Exactly this tool."""

    function: _Named


class AllowedChoice(Struct, tag="allowed_tools"):
    """Any of these tools."""

    allowed_tools: _Allowed


ToolChoiceBody: TypeAlias = Literal["none", "auto", "required"] | SpecificChoice | AllowedChoice


def to_choice(wanted: ToolChoiceBody | None) -> tuple[ToolChoice | None, tuple[str, ...] | None]:
    """The choice, and the list of allowed tools if it comes with one."""
    if isinstance(wanted, SpecificChoice):
        return Specific(wanted.function.name), None
    if isinstance(wanted, AllowedChoice):
        return wanted.allowed_tools.mode, tuple(tool.function.name for tool in wanted.allowed_tools.tools)
    return wanted, None


class PlainText(Struct, tag="text"):
    """Any text."""


class JsonObject(Struct, tag="json_object"):
    """Some JSON."""


class _JsonSchema(Struct):
    name: str
    schema: Any = None
    strict: bool | None = None
    description: str | None = None


class JsonSchema(Struct, tag="json_schema"):
    """JSON of a schema."""

    json_schema: _JsonSchema


ResponseFormat: TypeAlias = PlainText | JsonObject | JsonSchema


def to_json_mode(wanted: ResponseFormat | None) -> tuple[JsonMode | None, Any]:
    """The mode, and the schema if it comes with one."""
    if wanted is None:
        return None, None
    if isinstance(wanted, JsonSchema):
        return "strict", wanted.json_schema.schema
    return ("on" if isinstance(wanted, JsonObject) else "off"), None
