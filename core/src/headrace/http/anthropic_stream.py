"""A streamed answer as the events of Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from msgspec import UNSET

from ..exchange import InferenceChunk
from ..types import TextDelta, Thought, ThoughtDelta, ToolCallDelta, Usage
from .anthropic_answers import anthropic_errors, block_of, message, ours, stop_reason, usage_of
from .errors import Edge
from .responses_stream import Account, deltas_of, named_event
from .sequence import Growing, Sequence, Step


async def events(
    chunks: AsyncGenerator[InferenceChunk, None], function_name: str | None, edge: Edge
) -> AsyncGenerator[bytes, None]:
    """The whole stream. What goes wrong in the middle is its last event, never an exception."""
    stream = _Stream(function_name)
    async with aclosing(chunks):
        try:
            async for chunk in chunks:
                for event in stream.take(chunk):
                    yield named_event(event)
        except Exception as error:
            yield named_event(anthropic_errors.of(error, edge))


class _Stream:
    def __init__(self, function_name: str | None) -> None:
        self._function_name = function_name
        self._sequence = Sequence()
        self._begun = False
        self._called = False
        self._raw: list[str] = []
        self._account = Account()
        self._index = 0
        self._is_shown = False  # whether the open block has been told of
        self._summary_id: str | None = None

    def take(self, chunk: InferenceChunk) -> Iterator[dict[str, Any]]:
        """The events of one chunk. The last chunk, the one with usage, ends the message."""
        self._account.add(chunk)
        if chunk.raw_chunk is not None and chunk.error is None:
            self._raw.append(chunk.raw_chunk)
        if not self._begun:
            self._begun = True
            yield self._event("message_start", message=self._message(chunk))
            yield self._event("ping")
        if chunk.error is not None:  # a piece that could not be read; the stream goes on
            yield anthropic_errors(chunk.error, raw_chunk=chunk.raw_chunk)
            return
        for delta in deltas_of(chunk):
            for step in self._sequence.feed(delta):
                yield from self._step(step)
        if chunk.usage is not None:
            yield from self._end(chunk, chunk.usage)

    def _message(self, chunk: InferenceChunk) -> dict[str, Any]:
        ids = {"inference_id": chunk.inference_id, "episode_id": chunk.episode_id}
        # Nothing is known of usage yet; the last event has it all.
        return message(chunk.inference_id, self._function_name, chunk.variant_name, (), usage_of(Usage()), **ids)

    def _end(self, chunk: InferenceChunk, usage: Usage) -> Iterator[dict[str, Any]]:
        for step in self._sequence.end():
            yield from self._step(step)
        reason = stop_reason(chunk.finish_reason, calls=self._called)
        delta = {"stop_reason": reason, "stop_sequence": None}
        yield self._event("message_delta", delta=delta, usage=usage_of(usage), **self._account.fields())
        yield self._event("message_stop")

    def _event(self, type_: str, **fields: Any) -> dict[str, Any]:
        event = {"type": type_, **fields}
        if self._raw:
            event["tensorzero_raw_chunk"] = "\n".join(self._raw)
            self._raw.clear()
        return event

    # -- one block --------------------------------------------------------------------------------------------

    def _step(self, step: Step) -> Iterator[dict[str, Any]]:
        if step.does == "end":
            yield from self._finish(step.block)
            return
        if step.does == "begin":
            self._is_shown, self._summary_id = False, None
        match step.delta:
            case TextDelta(text=text):
                yield from self._show({"type": "text", "text": ""})
                yield self._delta({"type": "text_delta", "text": text})
            case ToolCallDelta() as call:
                self._called = True
                yield from self._show({"type": "tool_use", "id": call.id, "name": call.raw_name or "", "input": {}})
                if call.raw_arguments:
                    yield self._delta({"type": "input_json_delta", "partial_json": call.raw_arguments})
            case ThoughtDelta() as thought:
                yield from self._think(thought)

    def _think(self, delta: ThoughtDelta) -> Iterator[dict[str, Any]]:
        """The text of a thought. Its signature comes at the end, as only then it is known to be more than that."""
        text = (delta.text or "") + self._summary(delta)
        if not text:
            return
        provider_type = None if delta.provider_type is UNSET else delta.provider_type
        yield from self._show({"type": "thinking", "thinking": "", "signature": "", **ours(provider_type)})
        yield self._delta({"type": "thinking_delta", "thinking": text})

    def _summary(self, delta: ThoughtDelta) -> str:
        if not delta.summary_text:
            return ""
        before, self._summary_id = self._summary_id, delta.summary_id or "0"
        return ("\n\n" if before not in (None, self._summary_id) else "") + delta.summary_text

    def _finish(self, growing: Growing) -> Iterator[dict[str, Any]]:
        block = growing.block()
        if not self._is_shown:  # a thought without text, or an upstream's own block: comes whole
            shown = block_of(block)
            if shown is None:
                return
            yield from self._show(shown)
        elif isinstance(block, Thought) and block.signature:
            yield self._delta({"type": "signature_delta", "signature": block.signature})
        yield self._event("content_block_stop", index=self._index)
        self._index += 1

    def _show(self, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not self._is_shown:
            self._is_shown = True
            yield self._event("content_block_start", index=self._index, content_block=block)

    def _delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        return self._event("content_block_delta", index=self._index, delta=delta)
