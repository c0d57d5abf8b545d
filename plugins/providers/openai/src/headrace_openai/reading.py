"""What comes in: whole answers, streamed chunks, vectors and refusals, read into headrace's own types."""

from __future__ import annotations

import struct
import uuid
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from headrace.errors import BadUpstreamReply, ProviderError, RateLimited
from headrace.transport import EventDecoder
from headrace.types import (
    Block,
    Chunk,
    Delta,
    EmbeddingResponse,
    FinishReason,
    ModelResponse,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from msgspec import UNSET, Struct

T = TypeVar("T")

FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_call",
    "function_call": "tool_call",
    "content_filter": "content_filter",
}

_BLAMES_CLIENT = frozenset((400, 401, 403, 429))
_TEXT_ID, _THOUGHT_ID = "0", "1"


class _Cached(Struct):
    cached_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None


class _Function(Struct):
    name: str | None = None
    arguments: str | None = None


class _Custom(Struct):
    name: str | None = None
    input: str | None = None


class _ToolCall(Struct):
    function: _Function | None = None
    custom: _Custom | None = None
    id: str | None = None
    index: int | None = None  # missing on servers that send one call, or each call whole

    def said(self, raw: str) -> tuple[str | None, str]:
        """The name, and the arguments or a custom tool's free text. Raise BadUpstreamReply if it is neither's."""
        if self.function is not None:
            return self.function.name, self.function.arguments or ""
        if self.custom is not None:
            return self.custom.name, self.custom.input or ""
        raise BadUpstreamReply("A tool call has neither `function` nor `custom`", raw_response=raw)


class _Said(Struct):
    """A message, or a delta of one; ``reasoning`` where the server calls it so."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(Struct):
    message: _Said | None = None  # Azure leaves it out where its filter struck
    delta: _Said | None = None
    finish_reason: str | None = None


class _Answer(Struct):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


class _Vector(Struct):
    embedding: list[float] | str
    index: int | None = None


class _Vectors(Struct):
    data: list[_Vector]
    usage: dict[str, Any] | None = None


_answer = msgspec.json.Decoder(_Answer)
_vectors = msgspec.json.Decoder(_Vectors)


def raise_for_status(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Raise the ProviderError that a status outside 2xx means; the body's text is its message, whatever it is."""
    if 200 <= status < 300:
        return
    text = body.decode(errors="replace")
    request_id = headers.get("x-request-id")
    kind = RateLimited if status == 429 else ProviderError
    raise kind(
        f"{text} [request_id: {request_id}]" if request_id else text,
        status=status,
        at_fault="client" if status in _BLAMES_CLIENT else "server",
        raw_response=text,
    )


def whole(body: bytes, *, raw_request: str, provider_type: str) -> ModelResponse:
    """An answer that came in one piece. Raise BadUpstreamReply."""
    raw = body.decode(errors="replace")
    answer = _decode(_answer, body, "response")
    choice = _only_choice(answer, raw)
    return ModelResponse(
        output=tuple(_blocks(choice.message or _Said(), provider_type, raw)),
        usage=_usage(answer.usage, raw) or Usage(),
        finish_reason=_finish(choice.finish_reason),
        raw_usage=_account(answer.usage),
        raw_request=raw_request,
        raw_response=raw,
    )


def vectors(body: bytes, *, raw_request: str, expected: int) -> EmbeddingResponse:
    """One vector per input, floats or base64 alike, in the order of the inputs. Raise BadUpstreamReply."""
    raw = body.decode(errors="replace")
    answer = _decode(_vectors, body, "response")
    placed = {position if vector.index is None else vector.index: vector for position, vector in enumerate(answer.data)}
    if sorted(placed) != list(range(expected)):
        raise BadUpstreamReply(f"Expected {expected} embeddings, found {len(answer.data)}", raw_response=raw)
    read = _usage(answer.usage, raw)
    return EmbeddingResponse(
        embeddings=tuple(_floats(placed[index].embedding, raw) for index in range(expected)),
        usage=Usage(input_tokens=read.input_tokens, output_tokens=0) if read else Usage(),
        raw_usage=_account(answer.usage),
        raw_request=raw_request,
        raw_response=raw,
    )


class Chunks:
    """A stream's bytes, cut anywhere, to chunks. Remembers which tool call each index stands for."""

    def __init__(self, *, raw_request: str, provider_type: str) -> None:
        self._events = EventDecoder()
        self._raw_request: str | None = raw_request
        self._provider_type = provider_type
        self._ids: dict[int, str] = {}
        self._named: set[str] = set()

    def feed(self, part: bytes) -> Iterator[Chunk]:
        """The chunks that this part completes; one that cannot be read has ``error``, unless it is the first.

        Raise BadUpstreamReply for the first, and the ProviderError that came in-stream.
        """
        yield from self._read(self._events.feed(part))

    def end(self) -> Iterator[Chunk]:
        """A last chunk whose event was not closed. Raise BadUpstreamReply if the stream held no chunk at all."""
        yield from self._read(self._events.end())
        if self._raw_request is not None:
            raise BadUpstreamReply("The stream ended before its first chunk")

    def _read(self, events: list[bytes]) -> Iterator[Chunk]:
        for data in events:
            if data != b"[DONE]":
                yield self._readable(data)
                self._raw_request = None

    def _readable(self, data: bytes) -> Chunk:
        try:
            return self._chunk(data)
        except BadUpstreamReply as error:
            if self._raw_request is not None:  # nothing has been said yet: better to ask another provider
                raise
            return Chunk(error=str(error.message), raw=data.decode(errors="replace"))

    def _chunk(self, data: bytes) -> Chunk:
        raw = data.decode(errors="replace")
        answer = _decode(_answer, data, "chunk")
        choice = _only_choice(answer, raw) if answer.choices or answer.error else _Choice()
        return Chunk(
            content=tuple(self._deltas(choice.delta or _Said(), raw)),
            usage=_usage(answer.usage, raw),
            raw_usage=_account(answer.usage),
            finish_reason=_finish(choice.finish_reason),
            raw=raw,
            raw_request=self._raw_request,
        )

    def _deltas(self, said: _Said, raw: str) -> Iterator[Delta]:
        if thought := said.reasoning or said.reasoning_content:
            yield ThoughtDelta(_THOUGHT_ID, thought, provider_type=self._provider_type)
        if said.content:
            yield TextDelta(_TEXT_ID, said.content)
        for call in said.tool_calls or ():
            yield self._tool_call(call, raw)

    def _tool_call(self, call: _ToolCall, raw: str) -> ToolCallDelta:
        """Id and name come with an index's first fragment; some servers repeat them, clients want them once."""
        index = call.index or 0
        if call.id or (call.id == "" and index not in self._ids):
            self._ids[index] = call.id or _new_id()
        known = self._ids.get(index)
        if known is None:
            raise BadUpstreamReply(f"Tool call fragment for index {index}, which never started", raw_response=raw)
        name, arguments = call.said(raw)
        if known in self._named:
            name = None
        elif name:
            self._named.add(known)
        return ToolCallDelta(known, name or None, arguments)


def _decode(decoder: msgspec.json.Decoder[T], data: bytes, what: str) -> T:
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        raise BadUpstreamReply(
            f"Error parsing {what}. Error: {error}", raw_response=data.decode(errors="replace")
        ) from None


def _only_choice(answer: _Answer, raw: str) -> _Choice:
    if answer.error:  # some servers tell it inside a 200, even beside choices
        raise ProviderError(raw, raw_response=raw)
    choices = answer.choices or []
    if len(choices) != 1:
        raise BadUpstreamReply(f"Response has invalid number of choices: {len(choices)}. Expected 1.", raw_response=raw)
    return choices[0]


def _blocks(said: _Said, provider_type: str, raw: str) -> Iterator[Block]:
    if thought := said.reasoning or said.reasoning_content:
        yield Thought(thought, provider_type=provider_type)
    if said.content:
        yield Text(said.content)
    for call in said.tool_calls or ():
        # Gemini's OpenAI endpoint sends empty ids, and the tool's result needs one to refer to.
        name, arguments = call.said(raw)
        yield ToolCall(call.id or _new_id(), name or "", arguments)


def _usage(account: dict[str, Any] | None, raw: str) -> Usage | None:
    if account is None:
        return None
    try:
        said = msgspec.convert(account, _Usage)
    except msgspec.ValidationError as error:
        raise BadUpstreamReply(f"Error parsing usage. Error: {error}", raw_response=raw) from None
    cached = said.prompt_tokens_details.cached_tokens if said.prompt_tokens_details else None
    return Usage(
        input_tokens=said.prompt_tokens,
        output_tokens=said.completion_tokens,
        provider_cache_read_input_tokens=cached,
    )


def _account(usage: dict[str, Any] | None) -> Any:
    return UNSET if usage is None else usage


def _finish(reason: str | None) -> FinishReason | None:
    return FINISH.get(reason, "unknown") if reason else None


def _floats(embedding: list[float] | str, raw: str) -> tuple[float, ...]:
    if not isinstance(embedding, str):
        return tuple(embedding)
    try:
        packed = b64decode(embedding, validate=True)
        return struct.unpack(f"<{len(packed) // 4}f", packed)
    except (ValueError, struct.error) as error:
        raise BadUpstreamReply(f"Error parsing base64 embedding. Error: {error}", raw_response=raw) from None


def _new_id() -> str:
    return f"call_{uuid.uuid4().hex}"
