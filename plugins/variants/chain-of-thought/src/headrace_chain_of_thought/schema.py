"""The output schema with a place for thinking before it, and answers of that form taken apart again."""

from __future__ import annotations

from typing import Any

from headrace.schemas import Schema
from msgspec import Raw, Struct, json

_PLACE = "#/properties/response"
# What stands under these keywords is data; a `$ref` in it refers to nothing.
_DATA = frozenset({"const", "default", "enum", "examples"})


class Wrapped(Struct, frozen=True):
    """An answer with its thinking; ``response`` is JSON as the model wrote it."""

    thinking: str
    response: Raw


_WRAPPED = json.Decoder(Wrapped)


def wrap(schema: Schema) -> Schema:
    """An object of ``thinking`` and ``response``, the latter as ``schema`` says. Raise ValueError if too large."""
    inner, outer = schema.value, dict[str, Any]()
    if isinstance(inner, dict):
        outer = {key: inner[key] for key in ("$schema",) if key in inner}
        root = inner.get("$id")
        rest = {key: value for key, value in inner.items() if key not in ("$schema", "$id")}
        inner = _moved(rest, root.rstrip("#") if isinstance(root, str) else "")
    return Schema(
        outer
        | {
            "type": "object",
            "properties": {"thinking": {"type": "string"}, "response": inner},
            "required": ["thinking", "response"],
            "additionalProperties": False,
        }
    )


def unwrap(raw: str) -> Wrapped | None:
    """Thinking and response; None if the text is not of this form."""
    try:
        return _WRAPPED.decode(raw)
    except (ValueError, RecursionError):  # not JSON, not this form, or nested beyond reason
        return None


def _moved(node: Any, root: str) -> Any:
    """The same with references to its own root, by the name ``root`` or none, following it to its new place.

    Its depth is bounded by ``Schema``.
    """
    if isinstance(node, list):
        return [_moved(each, root) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: value if key in _DATA else _reference(key, value, root) or _moved(value, root)
        for key, value in node.items()
    }


def _reference(key: str, value: Any, root: str) -> str | None:
    if key != "$ref" or not isinstance(value, str):
        return None
    name, _, path = value.partition("#")
    return _PLACE + path if name in ("", root) and (not path or path.startswith("/")) else None
