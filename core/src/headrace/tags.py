"""Names of headrace's own, in tags and elsewhere: who may use them, and their two spellings."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import BadRequest

RESERVED = "tensorzero::"
ALIAS = "headrace::"

API_KEY = "tensorzero::api_key_public_id"
"""The tag that says with which API key something was asked or said."""


def canonical(name: str) -> str:
    """``headrace::x`` is another spelling of ``tensorzero::x``; the latter is what is stored and answered."""
    return RESERVED + name.removeprefix(ALIAS) if name.startswith(ALIAS) else name


def is_reserved(name: str) -> bool:
    """Whether only headrace itself may give this name."""
    return name.startswith((RESERVED, ALIAS))


def accepted(tags: Mapping[str, str], *, internal: bool) -> dict[str, str]:
    """The tags to keep, in the stored spelling. Raise BadRequest for one that only headrace itself may set."""
    if internal:
        return {canonical(key): value for key, value in tags.items()} | {"tensorzero::internal": "true"}
    for key in tags:
        if is_reserved(key):
            raise BadRequest(f"Invalid tag: `{key}`: tags must not start with `{RESERVED}` or `{ALIAS}`")
    return dict(tags)
