"""Streamed pieces put together again into whole blocks."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct

from .types import (
    Block,
    Chunk,
    Delta,
    FinishReason,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    ToolCall,
    ToolCallDelta,
    Unknown,
    UnknownDelta,
    Usage,
)


class _Building(Struct):
    """One block under way; which fields matter depends on ``kind``."""

    kind: type[Delta]
    id: str
    texts: list[str]
    name: str = ""
    signature: str = ""
    summaries: dict[str, str] = {}
    provider_type: str | None = None
    data: Any = None


class Pieces:
    """Merges deltas by (kind, id) in order of first appearance; usage is the field-wise maximum seen."""

    def __init__(self) -> None:
        self._building: dict[tuple[type[Delta], str], _Building] = {}
        self.usage: Usage | None = None
        self.raw_usage: list[Any] = []
        self.finish_reason: FinishReason | None = None

    def add(self, chunk: Chunk) -> None:
        """Take in one chunk."""
        for delta in chunk.content:
            self._add(delta)
        if chunk.usage is not None:
            self.usage = chunk.usage if self.usage is None else _larger(self.usage, chunk.usage)
        if chunk.raw_usage is not UNSET:
            self.raw_usage.append(chunk.raw_usage)
        if chunk.finish_reason is not None:
            self.finish_reason = chunk.finish_reason

    def blocks(self) -> tuple[Block, ...]:
        """The blocks as they stand."""
        return tuple(_finished(building) for building in self._building.values())

    def _add(self, delta: Delta) -> None:
        key = (type(delta), delta.id)
        building = self._building.get(key)
        if building is None:
            building = self._building[key] = _Building(type(delta), delta.id, [])
        if isinstance(delta, TextDelta):
            building.texts.append(delta.text)
        elif isinstance(delta, ToolCallDelta):
            building.name += delta.raw_name or ""
            building.texts.append(delta.raw_arguments)
        elif isinstance(delta, ThoughtDelta):
            building.texts.extend([delta.text] if delta.text is not None else [])
            building.signature += delta.signature or ""
            if delta.summary_text is not None:
                so_far = building.summaries.get(delta.summary_id or "0", "")
                building.summaries = {**building.summaries, delta.summary_id or "0": so_far + delta.summary_text}
            building.provider_type = building.provider_type or (delta.provider_type or None)
            building.data = delta.extra_data if delta.extra_data is not UNSET else building.data
        else:
            building.data = delta


def _finished(building: _Building) -> Block:
    text = "".join(building.texts)
    if building.kind is TextDelta:
        return Text(text)
    if building.kind is ToolCallDelta:
        return ToolCall(building.id, building.name, text)
    if building.kind is ThoughtDelta:
        return Thought(
            text=text if building.texts else None,
            signature=building.signature or None,
            summary=[{"type": "summary_text", "text": each} for each in building.summaries.values()] or None,
            provider_type=building.provider_type,
            extra_data=building.data,
        )
    delta: UnknownDelta = building.data
    return Unknown(delta.data, delta.model_name, delta.provider_name)


def _larger(one: Usage, other: Usage) -> Usage:
    return Usage(
        **{
            name: max(
                (value for value in (getattr(one, name), getattr(other, name)) if value is not None), default=None
            )
            for name in Usage.__struct_fields__
        }
    )
