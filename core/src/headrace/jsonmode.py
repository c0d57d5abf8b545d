"""How a JSON mode is asked of a provider, and how its answer becomes text again (config spec 13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from .errors import BadRequest
from .schemas import Schema
from .types import (
    Block,
    Chunk,
    FunctionType,
    JsonMode,
    Specific,
    Text,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolConfig,
)

RESPOND = "respond"
_DESCRIPTION = "Respond to the user using the output schema provided."


class Asked(Struct, frozen=True):
    """What goes into a ModelRequest. ``by_tool`` says that the answer comes as a call of the tool ``respond``."""

    json_mode: Literal["off", "on", "strict"]
    tools: ToolConfig | None
    by_tool: bool = False


def prepare(
    mode: JsonMode | None, function_type: FunctionType, schema: Schema | None, tools: ToolConfig | None
) -> Asked:
    """Resolve a mode; None is ``strict`` in a json function and ``off`` in a chat function. Raise BadRequest."""
    mode = mode or ("strict" if function_type == "json" else "off")
    if mode != "tool":
        return Asked(mode, tools)
    if tools is not None:
        raise BadRequest('`json_mode = "tool"` cannot be combined with tools')
    if schema is None:
        raise BadRequest('`json_mode = "tool"` needs an `output_schema`')
    respond = Tool(RESPOND, _DESCRIPTION, schema.value)
    return Asked("off", ToolConfig((respond,), choice=Specific(RESPOND)), by_tool=True)


def as_text(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Calls of ``respond`` as the text they stand for."""
    return tuple(Text(block.arguments) if isinstance(block, ToolCall) else block for block in blocks)


def chunk_as_text(chunk: Chunk) -> Chunk:
    """The same for a piece of a stream; ids are kept."""
    if not any(isinstance(delta, ToolCallDelta) for delta in chunk.content):
        return chunk
    content = tuple(
        TextDelta(delta.id, delta.raw_arguments) if isinstance(delta, ToolCallDelta) else delta
        for delta in chunk.content
    )
    return Chunk(
        content=content,
        error=chunk.error,
        usage=chunk.usage,
        finish_reason=chunk.finish_reason,
        raw=chunk.raw,
        raw_request=chunk.raw_request,
    )
