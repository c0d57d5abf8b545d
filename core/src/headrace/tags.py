"""Tags: who may set which."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import BadRequest

RESERVED = "tensorzero::"


def check_tags(tags: Mapping[str, str]) -> None:
    """Raise BadRequest for a tag that only headrace itself may set."""
    for key in tags:
        if key.startswith(RESERVED):
            raise BadRequest(f"Invalid tag: `{key}`: tags must not start with `{RESERVED}`")
