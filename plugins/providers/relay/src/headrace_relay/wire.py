"""What goes out: the bodies that the other gateway is asked with (http-api 5, 9, 11 and 17)."""

from __future__ import annotations

from typing import Any

from headrace.extras import Extra, ExtraBody, ExtraHeader
from headrace.media import File
from headrace.types import Block, CustomTool, EmbeddingRequest, ModelRequest, Params, Tool, ToolConfig
from msgspec import UNSET, UnsetType, structs, to_builtins


def inference(model: str, request: ModelRequest, *, stream: bool) -> dict[str, Any]:
    """The body of ``POST /inference``, without credentials. The cache, and what is recorded, stay each one's own."""
    messages = [
        {"role": message.role, "content": [_block(block) for block in message.content]} for message in request.messages
    ]
    body: dict[str, Any] = {
        "model_name": model,
        "input": {"messages": messages},
        "stream": stream,
        "include_raw_usage": True,
        "include_raw_response": True,
        **_tools(request.tools),
        **_extra(request.extra),
    }
    if request.system is not None:
        body["input"]["system"] = request.system
    # The mode that core has resolved: `tool`, where it was wished for, is among the tools by now.
    mode = request.json_mode if request.json_mode != "off" else None
    params = structs.replace(request.params, json_mode=mode)
    if params != Params():
        body["params"] = {"chat_completion": to_builtins(params)}
    if request.output_schema is not None:
        body["output_schema"] = request.output_schema
    return body


def embeddings(model: str, request: EmbeddingRequest) -> dict[str, Any]:
    """The body of ``POST /openai/v1/embeddings``, without credentials."""
    body = {
        "model": f"tensorzero::embedding_model_name::{model}",
        "input": request.input,
        "encoding_format": "float",
    }
    return body if request.dimensions is None else {**body, "dimensions": request.dimensions}


def inputs(request: EmbeddingRequest) -> int:
    """How many vectors to expect; a list of numbers is one text in tokens."""
    wanted = request.input
    return len(wanted) if isinstance(wanted, list) and not all(isinstance(item, int) for item in wanted) else 1


def _block(block: Block) -> Any:
    return _file(block) if isinstance(block, File) else to_builtins(block)


def _file(file: File) -> dict[str, Any]:
    """By its bytes if they are here; the path in an object store means nothing to another gateway."""
    form = {"file_type": "url", "url": file.source_url} if file.data is None else _bytes(file.data)
    about = {"mime_type": file.mime_type, "detail": file.detail, "filename": file.filename}
    return {"type": "file", **form, **{name: value for name, value in about.items() if value is not None}}


def _bytes(data: str) -> dict[str, Any]:
    return {"file_type": "base64", "data": data}


def _tools(config: ToolConfig | None) -> dict[str, Any]:
    """Only what may be called, and no ``allowed_tools``: that names keys of the other gateway's configuration too, and
    a tool that both gateways know would be there twice.
    """
    if config is None:
        return {}
    fields: dict[str, Any] = {"tool_choice": to_builtins(config.choice)}
    if config.offered or config.custom:
        fields["additional_tools"] = [*map(_tool, config.offered), *map(_custom, config.custom)]
    if config.parallel is not None:
        fields["parallel_tool_calls"] = config.parallel
    if config.provider_tools:
        fields["provider_tools"] = to_builtins(config.provider_tools)
    return fields


def _tool(tool: Tool) -> dict[str, Any]:
    return {"type": "function", **to_builtins(tool)}


def _custom(tool: CustomTool) -> dict[str, Any]:
    return {"type": "openai_custom", **to_builtins(tool)}


def _extra(extra: Extra) -> dict[str, Any]:
    """The entries without their filters, which spoke of this gateway's variants and providers."""
    lists = {
        "extra_body": [{"pointer": entry.pointer, **_change(entry)} for entry in extra.body],
        "extra_headers": [{"name": entry.name, **_change(entry)} for entry in extra.headers],
    }
    return {name: entries for name, entries in lists.items() if entries}


def _change(entry: ExtraBody | ExtraHeader) -> dict[str, Any]:
    value: Any | UnsetType = entry.value
    return {"delete": True} if entry.delete or value is UNSET else {"value": value}
