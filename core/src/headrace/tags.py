"""Names of headrace's own, in tags and elsewhere: who may use them, and their two spellings."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import BadRequest

RESERVED = "tensorzero::"
ALIAS = "headrace::"


def canonical(name: str) -> str:
    """``headrace::x`` is another spelling of ``tensorzero::x``; the latter is what is stored and answered."""
    return RESERVED + name.removeprefix(ALIAS) if name.startswith(ALIAS) else name


def is_reserved(name: str) -> bool:
    """Whether only headrace itself may give this name."""
    return name.startswith((RESERVED, ALIAS))


def check_tags(tags: Mapping[str, str]) -> None:
    """Raise BadRequest for a tag that only headrace itself may set."""
    for key in tags:
        if is_reserved(key):
            raise BadRequest(f"Invalid tag: `{key}`: tags must not start with `{RESERVED}` or `{ALIAS}`")
