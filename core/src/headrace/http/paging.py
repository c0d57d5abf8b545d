"""Parameters of a query string that say which page of a list is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from starlette.requests import Request

from ..errors import BadRequest
from .errors import BadParameter, query_whole


@dataclass(frozen=True)
class Page:
    """Exclusive cursors, at most one of them, and how many rows."""

    before: UUID | None
    after: UUID | None
    limit: int


def page_of(request: Request, *, limit: int) -> Page:
    """``before``, ``after`` and ``limit``, with what ``limit`` is if nobody says. Raise BadRequest."""
    before, after = query_uuid(request, "before"), query_uuid(request, "after")
    check_cursors(before, after)
    said = query_whole(request, "limit")
    return Page(before, after, limit if said is None else said)


def query_uuid(request: Request, name: str) -> UUID | None:
    """A query parameter that must be a UUID, or None if it is not there. Raise BadParameter."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise BadParameter(
            f"Failed to deserialize query string: {name}: invalid value `{text[:100]}`: not a UUID"
        ) from None


def check_cursors(before: UUID | None, after: UUID | None) -> None:
    """Raise BadRequest if there are two."""
    if before is not None and after is not None:
        raise BadRequest("Cannot specify both `before` and `after`: a page has one cursor")
