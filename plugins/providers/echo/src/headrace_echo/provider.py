"""Repeats what it is told, at once and for nothing: for first steps, tests, and a last provider to fall back on.

Copied as a template: an upstream goes where ``_answer`` and ``embed`` make up theirs. Take ``services.transport`` and
``services.secret`` in ``__init__``, send a ``Call``, and keep the upstream's field names in a ``wire.py`` beside
this file, as headrace-openai does.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from hashlib import sha256
from math import sqrt
from typing import Any

import anyio
import msgspec
from headrace import Services
from headrace.errors import ProviderError
from headrace.types import (
    Block,
    Chunk,
    Delta,
    EmbeddingRequest,
    EmbeddingResponse,
    FinishReason,
    ModelRequest,
    ModelResponse,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from pydantic import BaseModel, NonNegativeInt

_WORDS = re.compile(r"\S+\s*|\s+")
_CALL = re.compile(r"call (\S+) (\{.*\})", re.DOTALL)


class Settings(BaseModel, extra="forbid", frozen=True):
    """A ``[models.*.providers.*]`` or ``[embedding_models.*.providers.*]`` table with ``type = "echo"``.

    ``reply`` is said instead of the last user text; ``fail_with`` makes every call fail with that message;
    ``delay_ms`` passes before an answer, and before each streamed word.
    """

    reply: str | None = None
    fail_with: str | None = None
    delay_ms: NonNegativeInt = 0


class Echo:
    """Says the last user text again. ``call NAME {...}`` calls that tool, if it is on offer."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self._settings = settings

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Run to the end."""
        raw_request = _raw_request(request)
        await self._wait(raw_request)
        block, finish = self._answer(request)
        return ModelResponse(
            output=(block,),
            usage=_usage(request, block),
            finish_reason=finish,
            raw_request=raw_request,
            raw_response=_json(block),
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk, None]:
        """Run word by word; usage comes last."""
        raw_request: str | None = _raw_request(request)
        block, finish = self._answer(request)
        for delta in _deltas(block):
            await self._wait(raw_request)
            yield Chunk(content=(delta,), raw=_json(delta), raw_request=raw_request)
            raw_request = None
        usage = _usage(request, block)
        yield Chunk(usage=usage, finish_reason=finish, raw=_json(usage), raw_request=raw_request)

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """One vector of 16 numbers and length 1 per input: the same text, the same vector, and no meaning in it."""
        raw_request = _raw_request(request)
        await self._wait(raw_request)
        inputs: list[Any] = request.input if isinstance(request.input, list) else [request.input]
        if inputs and isinstance(inputs[0], int):  # one text in tokens
            inputs = [inputs]
        vectors = tuple(_vector(str(each)) for each in inputs)
        return EmbeddingResponse(
            embeddings=vectors,
            usage=Usage(input_tokens=sum(_count(str(each)) for each in inputs), output_tokens=0),
            raw_request=raw_request,
            raw_response=_json(vectors),
        )

    async def _wait(self, raw_request: str | None) -> None:
        if self._settings.delay_ms:
            await anyio.sleep(self._settings.delay_ms / 1000)
        if self._settings.fail_with is not None:
            raise ProviderError(self._settings.fail_with, raw_request=raw_request)

    def _answer(self, request: ModelRequest) -> tuple[Block, FinishReason]:
        text = _last_user_text(request) if self._settings.reply is None else self._settings.reply
        offered = {tool.name for tool in request.tools.offered} if request.tools else set()
        call = _CALL.fullmatch(text)
        if call and call[1] in offered:
            return ToolCall(f"call_{sha256(text.encode()).hexdigest()[:12]}", call[1], call[2]), "tool_call"
        if request.json_mode != "off" and not _is_json(text):
            text = _json({"echo": text})
        return Text(text), "stop"


def _last_user_text(request: ModelRequest) -> str:
    for message in reversed(request.messages):
        if message.role == "user":
            return "\n".join(block.text for block in message.content if isinstance(block, Text))
    return ""


def _deltas(block: Block) -> Iterator[Delta]:
    if isinstance(block, Text):
        for word in _WORDS.findall(block.text):
            yield TextDelta("0", word)
    elif isinstance(block, ToolCall):
        yield ToolCallDelta(block.id, block.name, "")
        for word in _WORDS.findall(block.arguments):
            yield ToolCallDelta(block.id, None, word)


def _usage(request: ModelRequest, block: Block) -> Usage:
    """A word is a token."""
    said = [request.system or "", *(_said(each) for message in request.messages for each in message.content)]
    return Usage(input_tokens=sum(map(_count, said)), output_tokens=_count(_said(block)))


def _said(block: Block) -> str:
    return block.text if isinstance(block, Text) else block.arguments if isinstance(block, ToolCall) else ""


def _count(text: str) -> int:
    return len(text.split())


def _vector(text: str) -> tuple[float, ...]:
    digest = sha256(text.encode()).digest()
    raw = [int.from_bytes(digest[start : start + 2], "big") - 32767.5 for start in range(0, 32, 2)]
    length = sqrt(sum(number * number for number in raw))
    return tuple(number / length for number in raw)


def _raw_request(request: ModelRequest | EmbeddingRequest) -> str:
    """What would go out: all but the credentials, for raw requests are stored."""
    return _json(msgspec.structs.replace(request, credentials={}))


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):  # no JSON, or nested beyond reason
        return False
    return True


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
