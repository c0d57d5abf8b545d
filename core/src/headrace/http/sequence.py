"""Streamed deltas, which may be mixed, as blocks one after the other: what two vendors' streams promise."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Literal, NamedTuple

import msgspec
from msgspec import UNSET

from ..pieces import Pieces
from ..types import Block, Chunk, Delta, TextDelta, ThoughtDelta, ToolCall, ToolCallDelta, UnknownDelta

log = logging.getLogger(__name__)


class Growing:
    """One block under way."""

    def __init__(self, first: Delta) -> None:
        self.kind = type(first)
        self.id = first.id
        self.first = first
        self._pieces = Pieces()

    def add(self, delta: Delta) -> None:
        """Take in one more delta of this block."""
        self._pieces.add(Chunk(content=(delta,)))

    def block(self) -> Block:
        """The block as it stands."""
        return self._pieces.blocks()[0]


class Step(NamedTuple):
    """A block begins or goes on with a delta, or ends (with its last delta)."""

    does: Literal["begin", "go on", "end"]
    block: Growing
    delta: Delta


class Sequence:
    """At most one block is open at a time. What belongs to another one waits until the open one may be closed.

    Text and thoughts may be closed at any time (more of them begins a new block). A tool call is complete when its
    arguments are; ``custom`` ones, whose input is any text, and all that are cut short, at the end of the stream.
    """

    def __init__(self, custom: Collection[str] = ()) -> None:
        self._custom = custom
        self._open: Growing | None = None
        self._waiting: list[Delta] = []
        self._done: set[str] = set()

    def feed(self, delta: Delta) -> list[Step]:
        """What becomes of one delta now."""
        if _is_void(delta):
            return []
        steps = self._take(delta)
        if self._waiting and self._is_complete():
            steps += self._replay()
        return steps

    def end(self) -> list[Step]:
        """What is left when there are no more deltas."""
        steps: list[Step] = []
        while self._open is not None:
            steps.append(self._close(self._open))
            steps += self._replay()
        return steps

    def _take(self, delta: Delta) -> list[Step]:
        now = self._open
        if now is not None and (now.kind, now.id) == (type(delta), delta.id):
            now.add(delta)
            return [Step("go on", now, delta)]
        if isinstance(delta, ToolCallDelta) and delta.id in self._done:
            return []  # white space, or a second object that no client could make sense of
        if now is not None and not self._is_complete():
            self._waiting.append(delta)
            return []
        steps = [] if now is None else [self._close(now)]
        begun = self._open = Growing(delta)
        begun.add(delta)
        return [*steps, Step("begin", begun, delta)]

    def _close(self, block: Growing) -> Step:
        if block.kind is ToolCallDelta:
            self._done.add(block.id)
        self._open = None
        return Step("end", block, block.first)

    def _replay(self) -> list[Step]:
        waiting, self._waiting = self._waiting, []
        return [step for delta in waiting for step in self._take(delta)]

    def _is_complete(self) -> bool:
        block = self._open.block() if self._open is not None else None
        if not isinstance(block, ToolCall):
            return True
        if block.name in self._custom or not block.arguments.rstrip().endswith("}"):
            return False
        try:
            msgspec.json.decode(block.arguments)
        except (ValueError, RecursionError):
            return False
        return True


def _is_void(delta: Delta) -> bool:
    """Whether nothing would be seen of it: some upstreams begin with an empty text."""
    if isinstance(delta, TextDelta):
        return not delta.text
    if isinstance(delta, ThoughtDelta):
        has_data = delta.extra_data is not UNSET and delta.extra_data is not None
        return not (delta.text or delta.signature or delta.summary_text or has_data)
    if isinstance(delta, UnknownDelta) and not is_item(delta.data):
        log.warning("left out a streamed part of an upstream's own dialect: it is no whole block")
        return True
    return False


def is_item(data: object) -> bool:
    """Whether a part of an upstream's dialect can stand by itself, and is not a fragment of something."""
    kind = data.get("type") if isinstance(data, dict) else None
    return isinstance(kind, str) and not kind.endswith(("_delta", ".delta"))
