"""A streamed answer as the events of the Responses API, in its order."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from ..exchange import InferenceChunk
from ..types import Delta, TextDelta, ThoughtDelta, ToolCallDelta
from .errors import Edge, message_of, status_of
from .native import encode
from .responses_answers import (
    Frame,
    Status,
    call_item,
    code_of,
    ending,
    item_of,
    message_item,
    reasoning_item,
    responses_errors,
    text_part,
    usage_of,
)
from .sequence import Growing, Sequence, Step


def named_event(event: dict[str, Any]) -> bytes:
    """A server-sent event whose name is the type of its data."""
    return f"event: {event['type']}\ndata: ".encode() + encode(event) + b"\n\n"


async def events(chunks: AsyncGenerator[InferenceChunk, None], frame: Frame, edge: Edge) -> AsyncGenerator[bytes, None]:
    """The whole stream. What goes wrong in the middle is its last event, never an exception."""
    stream = _Stream(frame)
    async with aclosing(chunks):
        try:
            async for chunk in chunks:
                for event in stream.take(chunk):
                    yield named_event(event)
        except Exception as error:
            for event in stream.failed(error, edge):
                yield named_event(event)


class _Stream:
    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._sequence = Sequence(frame.custom)
        self._number = 0
        self._chunk: InferenceChunk | None = None
        self._raw: list[str] = []
        self._account = Account()
        self._items: list[dict[str, Any]] = []
        self._thought = _Summaries()
        self._item_id = ""

    def take(self, chunk: InferenceChunk) -> Iterator[dict[str, Any]]:
        """The events of one chunk. The last chunk, the one with usage, ends the response."""
        if self._chunk is None:
            self._chunk = chunk
            yield self._event("response.created", response=self._response("in_progress"))
            yield self._event("response.in_progress", response=self._response("in_progress"))
        self._chunk = chunk
        self._account.add(chunk)
        if chunk.raw_chunk is not None:
            self._raw.append(chunk.raw_chunk)
        if chunk.error is not None:  # a piece that could not be read; the stream goes on
            yield self._event("error", code="server_error", message=chunk.error, param=None)
            return
        for delta in deltas_of(chunk):
            for step in self._sequence.feed(delta):
                yield from self._step(step, "completed")
        if chunk.usage is not None:
            yield from self._end(chunk)

    def failed(self, error: Exception, edge: Edge) -> Iterator[dict[str, Any]]:
        """The end of a stream that broke off."""
        code, message = code_of(status_of(error)) or "server_error", message_of(error)
        if self._chunk is None:
            yield self._event("error", code=code, message=message, param=None)
            return
        # Beside the error there may be what we add to every error's body: raw responses, the error as data.
        more = {key: value for key, value in responses_errors.of(error, edge).items() if key != "error"}
        response = self._response("failed", error={"code": code, "message": message}, **more)
        yield self._event("response.failed", response=response)

    def _end(self, chunk: InferenceChunk) -> Iterator[dict[str, Any]]:
        status, details = ending(chunk.finish_reason)
        for step in self._sequence.end():
            yield from self._step(step, status)
        ids = {"inference_id": chunk.inference_id, "episode_id": chunk.episode_id}
        response = self._response(
            status,
            incomplete_details=details,
            completed_at=int(time.time()) if status == "completed" else None,
            usage=usage_of(chunk.usage) if chunk.usage is not None else None,
            **ids,
            **self._account.fields(),
        )
        yield self._event(f"response.{status}", response=response)

    def _response(self, status: str, **rest: Any) -> dict[str, Any]:
        assert self._chunk is not None
        return self._frame.around(self._chunk.inference_id, self._chunk.variant_name, status, self._items, **rest)

    def _event(self, type_: str, **fields: Any) -> dict[str, Any]:
        event = {"type": type_, "sequence_number": self._number, **fields}
        self._number += 1
        if self._raw:
            event["tensorzero_raw_chunk"] = "\n".join(self._raw)
            self._raw.clear()
        return event

    # -- one item ---------------------------------------------------------------------------------------------

    def _step(self, step: Step, status: Status) -> Iterator[dict[str, Any]]:
        """``status`` is that of an item that ends with this step."""
        if step.does == "end":
            yield from self._finish(step.block, status)
            return
        if step.does == "begin":
            yield from self._begin(step.block)
        where = {"item_id": self._item_id, "output_index": len(self._items)}
        match step.delta:
            case TextDelta(text=text):
                yield self._event("response.output_text.delta", **where, content_index=0, delta=text, logprobs=[])
            case ToolCallDelta(raw_arguments=arguments) if arguments:
                kind = "custom_tool_call_input" if self._is_custom(step.block) else "function_call_arguments"
                yield self._event(f"response.{kind}.delta", **where, delta=arguments)
            case ThoughtDelta() as thought:
                for type_, fields in self._thought.go_on(thought):
                    yield self._event(type_, **where, **fields)

    def _begin(self, block: Growing) -> Iterator[dict[str, Any]]:
        assert self._chunk is not None
        index, id_, first = len(self._items), self._chunk.inference_id, block.first
        match first:
            case TextDelta():
                item = message_item(id_, index)
            case ToolCallDelta():
                name = first.raw_name or ""
                item = call_item(first.id, name, "", id_, index, "in_progress", self._frame.custom)
            case ThoughtDelta():
                item, self._thought = reasoning_item(id_, index), _Summaries()
            case _:
                self._item_id = ""
                return
        self._item_id = item["id"]
        yield self._event("response.output_item.added", output_index=index, item=item)
        if isinstance(first, TextDelta):
            part = text_part("")
            yield self._event(
                "response.content_part.added", item_id=self._item_id, output_index=index, content_index=0, part=part
            )

    def _finish(self, block: Growing, status: Status) -> Iterator[dict[str, Any]]:
        assert self._chunk is not None
        index = len(self._items)
        item = item_of(block.block(), self._chunk.inference_id, index, status, self._frame.custom)
        if item is None:
            return
        where = {"item_id": item.get("id"), "output_index": index}
        if block.kind is TextDelta:
            part = item["content"][0]
            yield self._event("response.output_text.done", **where, content_index=0, text=part["text"], logprobs=[])
            yield self._event("response.content_part.done", **where, content_index=0, part=part)
        elif block.kind is ToolCallDelta and item["type"] == "custom_tool_call":
            yield self._event("response.custom_tool_call_input.done", **where, input=item["input"])
        elif block.kind is ToolCallDelta:
            yield self._event(
                "response.function_call_arguments.done", **where, name=item["name"], arguments=item["arguments"]
            )
        elif block.kind is ThoughtDelta:
            for type_, fields in self._thought.end(item):
                yield self._event(type_, **where, **fields)
        else:  # an upstream's own item comes whole
            yield self._event("response.output_item.added", output_index=index, item=item)
        self._items.append(item)
        yield self._event("response.output_item.done", output_index=index, item=item)

    def _is_custom(self, block: Growing) -> bool:
        return isinstance(block.first, ToolCallDelta) and block.first.raw_name in self._frame.custom


class _Summaries:
    """The parts of one reasoning item: numbered summaries, and perhaps the reasoning itself."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._has_text = False

    def go_on(self, delta: ThoughtDelta) -> Iterator[tuple[str, dict[str, Any]]]:
        if delta.text:
            if not self._has_text:
                part = {"type": "reasoning_text", "text": ""}
                yield "response.content_part.added", {"content_index": 0, "part": part}
            self._has_text = True
            yield "response.reasoning_text.delta", {"content_index": 0, "delta": delta.text}
        if delta.summary_text:
            id_ = delta.summary_id or "0"
            if id_ not in self._numbers:
                self._numbers[id_] = len(self._numbers)
                part = {"type": "summary_text", "text": ""}
                yield "response.reasoning_summary_part.added", {"summary_index": self._numbers[id_], "part": part}
            fields = {"summary_index": self._numbers[id_], "delta": delta.summary_text}
            yield "response.reasoning_summary_text.delta", fields

    def end(self, item: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        for index, part in enumerate(item["summary"]):
            yield "response.reasoning_summary_text.done", {"summary_index": index, "text": part["text"]}
            yield "response.reasoning_summary_part.done", {"summary_index": index, "part": part}
        if self._has_text:
            part = item["content"][0]
            yield "response.reasoning_text.done", {"content_index": 0, "text": part["text"]}
            yield "response.content_part.done", {"content_index": 0, "part": part}


class Account:
    """The raw usage and raw responses of all chunks, where they were asked for: they come a few at a time."""

    def __init__(self) -> None:
        self._lists: dict[str, list[Any]] = {}

    def add(self, chunk: InferenceChunk) -> None:
        """Take in what one chunk brings."""
        for name in ("raw_usage", "raw_response"):
            if (entries := getattr(chunk, name)) is not None:
                self._lists.setdefault(f"tensorzero_{name}", []).extend(entries)

    def fields(self) -> dict[str, Any]:
        """The fields of the last event."""
        return dict(self._lists)


def deltas_of(chunk: InferenceChunk) -> tuple[Delta, ...]:
    """A json function's answer is one text."""
    return chunk.content if chunk.raw is None else (TextDelta("0", chunk.raw),)
