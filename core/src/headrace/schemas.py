"""JSON Schema validators (jsonschema-rs), compiled once. The only module that imports jsonschema_rs."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import msgspec

from .errors import BadRequest

# A caller may send a schema of its own. These bounds keep compilation in microseconds.
MAX_SCHEMA_BYTES = 256 * 1024
MAX_SCHEMA_DEPTH = 64

# Formats are asserted by the drafts that did so; from 2019-09 on they are annotations.
_ASSERTING_DRAFTS = ("draft-04", "draft-06", "draft-07")


def _refuse(uri: str) -> Any:
    raise ValueError(f"remote references are not followed: {uri}")


class Schema:
    """A compiled JSON Schema; ``value`` is the document it came from."""

    def __init__(self, value: Any) -> None:
        """Raise ValueError when ``value`` is not a JSON Schema, or is larger or deeper than the bounds."""
        if isinstance(value, str):  # the validator would read it as JSON, past our bounds
            raise ValueError("a JSON Schema is an object or a boolean, not a string")
        if _depth(value) > MAX_SCHEMA_DEPTH:  # first, as encoding is recursive
            raise ValueError(f"schema nested deeper than {MAX_SCHEMA_DEPTH} levels")
        size = len(msgspec.json.encode(value))
        if size > MAX_SCHEMA_BYTES:
            raise ValueError(f"schema of {size} bytes; at most {MAX_SCHEMA_BYTES} are accepted")
        draft = str(value.get("$schema", "")) if isinstance(value, dict) else ""
        self.value = value
        try:
            self._validator = jsonschema_rs.validator_for(
                value,
                validate_formats=any(name in draft for name in _ASSERTING_DRAFTS),
                retriever=_refuse,
                # Linear-time expressions only: a pattern may come from a request.
                pattern_options=jsonschema_rs.RegexOptions(),
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            raise ValueError(str(error).partition("\n")[0]) from None

    def fits(self, instance: Any) -> bool:
        """Whether ``instance`` satisfies the schema."""
        return self._validator.is_valid(instance)

    def check(self, instance: Any) -> None:
        """Raise BadRequest with the first violation and the schema, the way existing clients know it."""
        try:
            self._validator.validate(instance)
        except jsonschema_rs.ValidationError as error:
            schema = msgspec.json.encode(self.value).decode()
            raise BadRequest(f"JSON Schema validation failed:\n{error.message}\n\nSchema:\n{schema}") from None


def _depth(value: Any) -> int:
    """Nesting depth, counted without recursion so that a hostile document cannot exhaust the stack."""
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        node, depth = waiting.pop()
        deepest = max(deepest, depth)
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        waiting.extend((child, depth + 1) for child in children)
    return deepest
