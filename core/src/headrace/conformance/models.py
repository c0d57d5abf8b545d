"""Models for tests: one that answers from a list, and one whose vectors are near where texts share words."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from hashlib import blake2b
from math import sqrt

from anyio.lowlevel import checkpoint
from msgspec import Struct

from ..contracts import Attempt
from ..ids import new_id
from ..types import (
    Block,
    Chunk,
    Delta,
    EmbeddingRequest,
    EmbeddingResponse,
    ModelRequest,
    ModelResponse,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)

USAGE = Usage(input_tokens=10, output_tokens=5)


class Breaking(Struct, frozen=True):
    """An answer that a stream begins and an error ends; ``complete`` sees only the error."""

    text: str
    error: Exception


class ScriptedModel:
    """A Model that answers from a list, the last answer for ever, in pieces of three characters when streamed.

    Records ``requests``; ``open_streams`` counts streams that nobody has closed yet. An exception is raised.
    """

    def __init__(self, *answers: str | tuple[Block, ...] | Breaking | Exception) -> None:
        self.requests: list[ModelRequest] = []
        self.open_streams = 0
        self._answers = list(answers)

    async def complete(self, request: ModelRequest, attempts: list[Attempt]) -> ModelResponse:
        """The next answer, whole."""
        attempt, answer = self._begin(request, attempts)
        await checkpoint()
        if isinstance(answer, Breaking | Exception):
            raise self._failed(attempt, answer.error if isinstance(answer, Breaking) else answer)
        attempt.output, attempt.usage = _blocks(answer), USAGE
        return ModelResponse(output=attempt.output, usage=USAGE, finish_reason="stop")

    async def stream(self, request: ModelRequest, attempts: list[Attempt]) -> AsyncGenerator[Chunk, None]:
        """The next answer in pieces; the last one says why it ended."""
        attempt, answer = self._begin(request, attempts)
        self.open_streams += 1
        try:
            await checkpoint()
            if isinstance(answer, Exception):
                raise self._failed(attempt, answer)
            yield Chunk(raw_request="{}")
            for delta in _deltas(_blocks(answer.text if isinstance(answer, Breaking) else answer)):
                yield Chunk(content=(delta,))
            if isinstance(answer, Breaking):
                raise self._failed(attempt, answer.error)
            yield Chunk(usage=USAGE, finish_reason="stop")
        finally:
            self.open_streams -= 1

    def _begin(
        self, request: ModelRequest, attempts: list[Attempt]
    ) -> tuple[Attempt, str | tuple[Block, ...] | Breaking | Exception]:
        self.requests.append(request)
        attempts.append(Attempt(new_id(), "m", "scripted", "scripted", request))
        return attempts[-1], self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def _failed(self, attempt: Attempt, error: Exception) -> Exception:
        attempt.error = str(error)
        return error


class WordVectors:
    """An EmbeddingModel in which texts that share words are near: each word adds one of 16 directions."""

    def __init__(self, error: Exception | None = None) -> None:
        self.requests: list[EmbeddingRequest] = []
        self._error = error

    async def embed(self, request: EmbeddingRequest, attempts: list[Attempt]) -> EmbeddingResponse:
        """One vector per input."""
        self.requests.append(request)
        attempts.append(Attempt(new_id(), "e", "scripted", "scripted", request))
        await checkpoint()
        if self._error is not None:
            attempts[-1].error = str(self._error)
            raise self._error
        texts = [request.input] if isinstance(request.input, str) else request.input
        return EmbeddingResponse(
            embeddings=tuple(word_vector(str(text)) for text in texts), usage=Usage(input_tokens=3)
        )


def word_vector(text: str) -> tuple[float, ...]:
    """What ``WordVectors`` makes of a text: of length 1, and the same everywhere."""
    counts = [0.0] * 16
    for word in text.casefold().split() or [""]:
        counts[blake2b(word.encode(), digest_size=1).digest()[0] % 16] += 1
    length = sqrt(sum(count * count for count in counts))
    return tuple(count / length for count in counts)


def _blocks(answer: str | tuple[Block, ...]) -> tuple[Block, ...]:
    return (Text(answer),) if isinstance(answer, str) else answer


def _deltas(blocks: tuple[Block, ...]) -> list[Delta]:
    deltas: list[Delta] = []
    for index, block in enumerate(blocks):
        if isinstance(block, Text):
            deltas += [TextDelta(str(index), part) for part in _parts(block.text)]
        elif isinstance(block, ToolCall):
            deltas.append(ToolCallDelta(block.id, block.name, ""))
            deltas += [ToolCallDelta(block.id, None, part) for part in _parts(block.arguments)]
        else:
            raise AssertionError(f"a scripted stream has texts and tool calls, not {block!r}")
    return deltas


def _parts(text: str) -> list[str]:
    return [text[start : start + 3] for start in range(0, len(text), 3)]
