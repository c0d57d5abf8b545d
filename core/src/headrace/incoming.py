"""The HTTP request that the running code works for: what the log says of it, how long it waited for upstreams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from typing import Any, Protocol

from .ids import new_id


class Tried(Protocol):
    """A variant that was tried."""

    @property
    def variant_name(self) -> str:
        """Its name."""


class Incoming:
    """One request under way, by its ASGI scope. Nothing is computed before somebody asks: few are ever spoken of.

    What most requests do not change are attributes of the class: to make one is on every request's path.
    """

    function_name: str | None = None
    trials: Sequence[Tried] = ()
    _id = ""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.scope = scope
        self.waits: list[tuple[float, float]] = []  # when each outbound call began and ended, in seconds

    @property
    def id(self) -> str:
        """A UUIDv7, made when it is first asked for."""
        self._id = self._id or str(new_id())
        return self._id

    def told(self) -> dict[str, str]:
        """What every line of the log says of it."""
        scope = self.scope
        query = scope["query_string"].decode("latin-1")
        fields = {
            "method": scope["method"],
            "uri": f"{scope['path']}?{query}" if query else scope["path"],
            "version": f"HTTP/{scope['http_version']}",
            "request_id": self.id,
        }
        for name, value in scope["headers"]:
            if name == b"x-amzn-trace-id":
                fields["x_amzn_trace_id"] = value.decode("latin-1")
        return fields


_current: ContextVar[Incoming | None] = ContextVar("headrace_incoming", default=None)


def current() -> Incoming | None:
    """The request that the running code works for; None outside of requests."""
    return _current.get()


def enter(incoming: Incoming) -> Token[Incoming | None]:
    """Work for this one from now on, until ``leave``."""
    return _current.set(incoming)


def leave(token: Token[Incoming | None]) -> None:
    """Work for whatever it was before."""
    _current.reset(token)


def covered_s(intervals: Sequence[tuple[float, float]]) -> float:
    """Seconds that lie in at least one of the intervals: what overlaps counts once."""
    if len(intervals) == 1:
        return intervals[0][1] - intervals[0][0]
    total, covered_until = 0.0, float("-inf")
    for began, ended in sorted(intervals):
        if ended > covered_until:
            total += ended - max(began, covered_until)
            covered_until = ended
    return total
