"""How a JSON mode is asked of a provider, and how its answer becomes text again (config spec 13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct, structs

from .contracts import FunctionSpec, Task
from .errors import BadRequest
from .sampling import Sampling
from .schemas import Schema
from .types import (
    Block,
    Chunk,
    FunctionType,
    JsonMode,
    Message,
    ModelRequest,
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
    if mode != "tool" and mode != "implicit_tool":
        return Asked(mode, tools)
    if tools is not None and function_type == "chat":
        raise BadRequest('`json_mode = "tool"` cannot be combined with tools')
    if schema is None:
        raise BadRequest('`json_mode = "tool"` needs an `output_schema`')
    respond = Tool(RESPOND, _DESCRIPTION, schema.value)
    return Asked("off", ToolConfig((respond,), choice=Specific(RESPOND)), by_tool=True)


def ask(
    task: Task,
    function: FunctionSpec,
    settings: Sampling,
    *,
    system: str | None,
    messages: Sequence[Message],
) -> tuple[ModelRequest, bool]:
    """The request of one model call of a variant, and whether ``as_text`` is due on its answer.

    The task's parameters win over the settings'. Raise BadRequest for a JSON mode that cannot be.
    """
    params = task.params.over(settings.params)
    asked = prepare(params.json_mode, function.type, task.output_schema, task.tools)
    request = ModelRequest(
        messages=tuple(messages),
        system=system,
        params=params,
        tools=asked.tools,
        json_mode=asked.json_mode,
        output_schema=task.output_schema.value if task.output_schema else None,
        function_type=function.type,
        credentials=task.credentials,
        variant_extra=settings.extra,
        extra=task.extra,
        cache=task.cache,
        discriminator=task.discriminator,
        caller=task.caller,
    )
    # A chat function hides that `respond` was called; a json function reads the arguments itself.
    return request, asked.by_tool and function.type == "chat"


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
    return structs.replace(chunk, content=content)
