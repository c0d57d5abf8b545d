"""What comes in: the other gateway's answers, streamed chunks, vectors and refusals (http-api 4, 13 and 17)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, TypeVar, get_args

import msgspec
from headrace.errors import BadUpstreamReply, ProviderError, RateLimited
from headrace.transport import EventDecoder
from headrace.types import (
    Block,
    CheckedToolCall,
    Chunk,
    ContentBlock,
    Delta,
    EmbeddingResponse,
    FinishReason,
    ModelResponse,
    ToolCall,
    Usage,
)
from msgspec import UNSET, Meta, Struct

T = TypeVar("T")

_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Usage(Struct):
    """Without ``cost``: what the other gateway pays is not what is paid here."""

    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    provider_cache_read_input_tokens: _Count | None = None
    provider_cache_write_input_tokens: _Count | None = None


class _Answer(Struct):
    content: list[ContentBlock]
    usage: _Usage | None = None
    finish_reason: str | None = None
    raw_usage: Any = UNSET


class _Event(Struct):
    content: list[Delta] = []
    usage: _Usage | None = None
    finish_reason: str | None = None
    raw_usage: Any = UNSET
    error: Any = None


class _Refusal(Struct):
    error: Any


class _Vector(Struct):
    embedding: list[float]
    index: int


class _VectorUsage(Struct):
    prompt_tokens: _Count | None = None


class _Vectors(Struct):
    data: list[_Vector]
    usage: dict[str, Any] | None = None


_answer = msgspec.json.Decoder(_Answer)
_event = msgspec.json.Decoder(_Event)
_refusal = msgspec.json.Decoder(_Refusal)
_vectors = msgspec.json.Decoder(_Vectors)


def raise_for_status(status: int, body: bytes) -> None:
    """Raise the ProviderError that a status outside 2xx means, in the other gateway's own words."""
    if 200 <= status < 300:
        return
    text = body.decode(errors="replace")
    try:
        said = _said(_refusal.decode(body).error)
    except msgspec.DecodeError:  # a proxy in between answered, not the gateway
        said = text
    kind = RateLimited if status == 429 else ProviderError
    raise kind(said, status=status, at_fault="client" if status < 500 else "server", raw_response=text)


def whole(body: bytes, *, raw_request: str) -> ModelResponse:
    """An answer that came in one piece. Raise BadUpstreamReply."""
    answer = _decode(_answer, body, "response")
    return ModelResponse(
        output=tuple(map(_block, answer.content)),
        usage=_usage(answer.usage) or Usage(),
        finish_reason=_finish(answer.finish_reason),
        raw_usage=answer.raw_usage,
        raw_request=raw_request,
        raw_response=body.decode(errors="replace"),
    )


def vectors(body: bytes, *, raw_request: str, expected: int) -> EmbeddingResponse:
    """One vector per input, in the order of the inputs. Raise BadUpstreamReply."""
    answer, raw = _decode(_vectors, body, "response"), body.decode(errors="replace")
    placed = {vector.index: tuple(vector.embedding) for vector in answer.data}
    if sorted(placed) != list(range(expected)) or len(answer.data) != expected:
        raise BadUpstreamReply(f"Expected {expected} embeddings, found {len(answer.data)}", raw_response=raw)
    return EmbeddingResponse(
        embeddings=tuple(placed[index] for index in range(expected)),
        usage=_vector_usage(answer.usage, raw),
        raw_usage=UNSET if answer.usage is None else answer.usage,
        raw_request=raw_request,
        raw_response=raw,
    )


class Chunks:
    """A stream's bytes, cut anywhere, to chunks."""

    def __init__(self, *, raw_request: str) -> None:
        self._events = EventDecoder()
        self._raw_request: str | None = raw_request
        self._error: Chunk | None = None
        self._is_done = False

    def feed(self, part: bytes) -> Iterator[Chunk]:
        """The chunks that this part completes; one that cannot be read has ``error``, unless it is the first.

        Raise BadUpstreamReply for the first, and the ProviderError that ended the stream.
        """
        yield from self._read(self._events.feed(part))

    def end(self) -> Iterator[Chunk]:
        """A last chunk whose event was not closed. Raise BadUpstreamReply for a stream that was cut off."""
        yield from self._read(self._events.end())
        if not self._is_done:
            self._raise_held()
            raise BadUpstreamReply("The stream ended before its [DONE]")
        if self._raw_request is not None:
            raise BadUpstreamReply("The stream ended before its first chunk")

    def _read(self, events: list[bytes]) -> Iterator[Chunk]:
        for data in events:
            if self._is_done:
                return
            if data == b"[DONE]":
                self._raise_held()
                self._is_done = True
                return
            # An error that the stream goes on after is a piece lost; one that nothing follows has ended the stream.
            if self._error is not None:
                yield self._error
                self._error = None
            chunk = self._readable(data)
            self._raw_request = None
            if chunk.error is not None:
                self._error = chunk
            else:
                yield chunk

    def _raise_held(self) -> None:
        if self._error is not None:
            raise ProviderError(self._error.error or "", raw_response=self._error.raw)

    def _readable(self, data: bytes) -> Chunk:
        try:
            event = _decode(_event, data, "chunk")
        except BadUpstreamReply as error:
            if self._raw_request is not None:  # nothing has been said yet: better to ask again
                raise
            return Chunk(error=error.message, raw=data.decode(errors="replace"))
        return Chunk(
            content=tuple(event.content),
            error=None if event.error is None else _said(event.error),
            usage=_usage(event.usage),
            raw_usage=event.raw_usage,
            finish_reason=_finish(event.finish_reason),
            raw=data.decode(errors="replace"),
            raw_request=self._raw_request,
        )


def _decode(decoder: msgspec.json.Decoder[T], data: bytes, what: str) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadUpstreamReply(
            f"Error parsing {what}. Error: {error}", raw_response=data.decode(errors="replace")
        ) from None


def _block(block: ContentBlock) -> Block:
    """As the model wrote it: whether a call fits its tool is for this gateway to check."""
    return ToolCall(block.id, block.raw_name, block.raw_arguments) if isinstance(block, CheckedToolCall) else block


def _said(error: Any) -> str:
    """The text of an error, which some surfaces wrap."""
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return str(error["message"])
    return error if isinstance(error, str) else msgspec.json.encode(error).decode()


def _usage(said: _Usage | None) -> Usage | None:
    return None if said is None else Usage(**msgspec.structs.asdict(said))


def _vector_usage(account: dict[str, Any] | None, raw: str) -> Usage:
    if account is None:
        return Usage()
    try:
        said = msgspec.convert(account, _VectorUsage)
    except msgspec.ValidationError as error:
        raise BadUpstreamReply(f"Error parsing usage. Error: {error}", raw_response=raw) from None
    return Usage(input_tokens=said.prompt_tokens, output_tokens=0 if said.prompt_tokens is not None else None)


def _finish(reason: str | None) -> FinishReason | None:
    if reason is None:
        return None
    known: tuple[FinishReason, ...] = get_args(FinishReason)
    return next((each for each in known if each == reason), "unknown")
