"""Inputs and outputs as TensorZero has stored them over the years, made what they are called today.

Each form is brought into the shape of ``types`` as plain JSON, and msgspec then sees that it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ..types import ContentBlock, Input, JsonOutput, Message


class Unmappable(ValueError):
    """A row that has no form here, and why."""


def parsed(value: Any) -> Any:
    """What JSON text stands for; what is no text is it already."""
    return msgspec.json.decode(value) if isinstance(value, (str, bytes)) else value


def input_of(value: Any) -> Input:
    """A function's input. Raise Unmappable or msgspec.ValidationError."""
    tree = _object(parsed(value), "input")
    system = tree.get("system")
    if system is not None and not isinstance(system, (str, dict)):
        raise Unmappable("input: `system` is neither text nor an object")
    messages = [_message(each, _input_block) for each in tree.get("messages") or []]
    return msgspec.convert({"messages": messages, "system": system}, Input)


def messages_of(value: Any) -> tuple[Message, ...]:
    """Rendered messages, as a provider saw them; none where they were not kept yet. Raises like ``input_of``."""
    if value in (None, ""):
        return ()
    messages = [_message(each, _rendered_block) for each in parsed(value)]
    return msgspec.convert(messages, tuple[Message, ...])


def blocks_of(value: Any) -> tuple[ContentBlock, ...]:
    """The blocks of an answer; none where they were not kept yet. Raises like ``input_of``."""
    if value in (None, ""):
        return ()
    return msgspec.convert([_output_block(each) for each in parsed(value)], tuple[ContentBlock, ...])


def json_output_of(value: Any) -> JsonOutput:
    """A json function's answer. Raises like ``input_of``."""
    tree = _object(parsed(value), "output")
    if "raw" not in tree:
        raise Unmappable("output: a json function's without `raw`")
    return JsonOutput(raw=msgspec.convert(tree["raw"], str | None), parsed=tree.get("parsed"))


def output_of(value: Any) -> tuple[ContentBlock, ...] | JsonOutput:
    """An answer of either type of function, told apart by its form. Raises like ``input_of``."""
    tree = parsed(value)
    return json_output_of(tree) if isinstance(tree, dict) else blocks_of(tree)


def _message(value: Any, block: Callable[[Any, str], dict[str, Any]]) -> dict[str, Any]:
    tree = _object(value, "message")
    role, content = tree.get("role"), tree.get("content")
    if role not in ("user", "assistant"):
        raise Unmappable(f"a message of the role {str(role)[:40]!r}")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    elif isinstance(content, dict):  # the first releases: a block, or the arguments of the role's only template
        content = [content if "type" in content else {"type": "text", "value": content}]
    elif not isinstance(content, list):
        raise Unmappable("a message whose content is neither text nor blocks")
    return {"role": role, "content": [block(each, role) for each in content]}


def _input_block(value: Any, role: str) -> dict[str, Any]:
    tree = _object(value, "block")
    kind = tree.get("type")
    make = _INPUT_BLOCKS.get(kind) if isinstance(kind, str) else None
    if make is None:
        raise Unmappable(f"a block of the type {str(kind)[:40]!r}")
    return make(tree, role)


def _rendered_block(value: Any, role: str) -> dict[str, Any]:
    made = _input_block(value, role)
    if made["type"] == "raw_text":
        return {"type": "text", "text": made["value"]}
    if made["type"] == "template":
        raise Unmappable("a rendered message with a template")
    return made


def _output_block(value: Any) -> dict[str, Any]:
    tree = _object(value, "block")
    if tree.get("type") == "tool_call":
        checked = "raw_name" in tree
        return {
            "type": "tool_call",
            "id": tree.get("id"),
            "raw_name": tree["raw_name"] if checked else tree.get("name"),
            "raw_arguments": _text(tree.get("raw_arguments") if checked else tree.get("arguments")),
            "name": tree.get("name") if checked else None,
            "arguments": tree.get("arguments") if checked else None,
        }
    made = _input_block(tree, "assistant")
    if made["type"] not in ("text", "thought", "unknown"):
        raise Unmappable(f"an answer with a block of the type {made['type']!r}")
    return made


# -- blocks by their type -----------------------------------------------------------------------------------


def _text_block(tree: dict[str, Any], role: str) -> dict[str, Any]:
    """Text in ``text``, formerly in ``value``; an object there is the arguments of the role's template."""
    content = tree.get("text")
    if content is None:
        content = tree.get("arguments") if "arguments" in tree else tree.get("value")
    if isinstance(content, dict):
        return {"type": "template", "name": role, "arguments": content}
    return {"type": "text", "text": _text(content)}


def _template(tree: dict[str, Any], _: str) -> dict[str, Any]:
    return {"type": "template", "name": tree.get("name"), "arguments": tree.get("arguments") or {}}


def _raw_text(tree: dict[str, Any], _: str) -> dict[str, Any]:
    return {"type": "raw_text", "value": tree["value"] if "value" in tree else tree.get("text")}


def _tool_call(tree: dict[str, Any], _: str) -> dict[str, Any]:
    name = tree.get("name") or tree.get("raw_name")
    arguments = tree["raw_arguments"] if "raw_arguments" in tree else tree.get("arguments")
    return {"type": "tool_call", "id": tree.get("id"), "name": name, "arguments": _text(arguments)}


def _tool_result(tree: dict[str, Any], _: str) -> dict[str, Any]:
    return {
        "type": "tool_result",
        "id": tree.get("id"),
        "name": tree.get("name"),
        "result": _text(tree.get("result")),
    }


def _thought(tree: dict[str, Any], _: str) -> dict[str, Any]:
    made = {name: tree[name] for name in ("signature", "summary", "extra_data") if tree.get(name) is not None}
    provider = tree.get("provider_type") or tree.get("_internal_provider_type")
    if provider is not None:
        made["provider_type"] = provider
    return {"type": "thought", "text": tree.get("text"), **made}


def _unknown(tree: dict[str, Any], _: str) -> dict[str, Any]:
    return {"type": "unknown", "data": tree.get("data"), **scope_of(tree)}


def _file(tree: dict[str, Any], _: str) -> dict[str, Any]:
    """A file, formerly an image, whose particulars have stood in an object of its own. Its bytes are no part of it."""
    inner = tree.get("file") or tree.get("image") or tree
    inner = _object(inner, "file")
    made: dict[str, Any] = {"type": "file"}
    if (url := inner.get("source_url") or inner.get("url")) is not None:
        made["source_url"] = url
    if isinstance(mime := inner.get("mime_type"), str):
        made["mime_type"] = mime if "/" in mime else f"image/{mime}"
    for name in ("detail", "filename"):
        if inner.get(name) is not None:
            made[name] = inner[name]
    if (path := tree.get("storage_path") or inner.get("storage_path")) is not None:
        path = _object(path, "storage_path")
        made["storage_path"] = {"kind": path.get("kind"), "path": path.get("path")}
    return made


_INPUT_BLOCKS: Final[Mapping[str, Callable[[dict[str, Any], str], dict[str, Any]]]] = {
    "text": _text_block,
    "template": _template,
    "raw_text": _raw_text,
    "tool_call": _tool_call,
    "tool_result": _tool_result,
    "thought": _thought,
    "unknown": _unknown,
    "image": _file,
    "file": _file,
}


def scope_of(tree: Mapping[str, Any]) -> dict[str, str]:
    """The model and provider that something is for; formerly both in one name."""
    made = {name: tree[name] for name in ("model_name", "provider_name") if tree.get(name) is not None}
    joined = tree.get("model_provider_name")
    if isinstance(joined, str) and not made:
        model, _, provider = joined.removeprefix("tensorzero::model_name::").partition("::provider_name::")
        made = {"model_name": model, **({"provider_name": provider} if provider else {})}
    return made


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unmappable(f"{what}: not a JSON object")
    return value


def _text(value: Any) -> Any:
    """A text as it is, another JSON value as its text; nothing stays nothing, which no field takes."""
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()
