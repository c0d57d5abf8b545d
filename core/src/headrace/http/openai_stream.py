"""A streamed answer as OpenAI's ``chat.completion.chunk`` events (http-api 16.5)."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from ..exchange import InferenceChunk
from ..types import Delta, TextDelta, ToolCallDelta
from .errors import openai_body
from .native import encode
from .openai_answers import finish, model_of, usage_of

_TAIL = b'}}],"usage":null}'
_OPTIONAL = ("raw_usage", "raw_response", "original_chunk", "raw_chunk")


async def events(
    chunks: AsyncGenerator[InferenceChunk, None], function_name: str | None, *, shows_usage: bool
) -> AsyncGenerator[bytes, None]:
    """One event per chunk; the last chunk has finish reason and, if asked for, usage. Closes ``chunks``."""
    deltas, created = _Deltas(), int(time.time())
    head: bytes | None = None
    async with aclosing(chunks):
        async for chunk in chunks:
            if head is not None and (text := deltas.only_text(chunk)) is not None:
                yield b"".join((head, encode(text), _TAIL))
                continue
            if chunk.error is not None:
                yield encode(openai_body(chunk.error, raw_chunk=chunk.raw_chunk))
                continue
            is_last = chunk.usage is not None
            reason = finish(chunk.finish_reason) if is_last else None
            choice = {"index": 0, "finish_reason": reason, "logprobs": None, "delta": deltas.delta(chunk)}
            body = {
                "id": chunk.inference_id,
                "episode_id": chunk.episode_id,
                "object": "chat.completion.chunk",
                "created": created,
                "model": model_of(function_name, chunk.variant_name),
                "system_fingerprint": "",
                "service_tier": None,
                "choices": [choice],
                "usage": usage_of(chunk.usage) if chunk.usage is not None and shows_usage else None,
            }
            if head is None:  # most of what follows is the same but for its text
                delta = {**choice, "finish_reason": None, "delta": {"content": ""}}
                head = encode({**body, "choices": [delta], "usage": None}).removesuffix(b'""' + _TAIL)
            for name in _OPTIONAL:
                if (value := getattr(chunk, name)) is not None:
                    body[f"tensorzero_{name}"] = value
            yield encode(body)


class _Deltas:
    """Neutral deltas as OpenAI's, which number tool calls and say the role once."""

    def __init__(self) -> None:
        self._calls: dict[str, int] = {}
        # Places in the whole answer: a block taken from a stream goes back to where one from a plain answer would.
        self._places: dict[tuple[type[Delta], str], int] = {}
        self._begun = False

    def only_text(self, chunk: InferenceChunk) -> str | None:
        """The text of a chunk that is nothing else, and not the last one; None for others, which ``delta`` is for."""
        if len(chunk.content) != 1 or chunk.usage is not None or chunk.raw is not None:
            return None
        delta = chunk.content[0]
        if type(delta) is not TextDelta or any(getattr(chunk, name) is not None for name in _OPTIONAL):
            return None
        self._places.setdefault((TextDelta, delta.id), len(self._places))
        return delta.text

    def delta(self, chunk: InferenceChunk) -> dict[str, Any]:
        """The ``delta`` of one chunk."""
        shown: dict[str, Any] = {} if self._begun else {"role": "assistant"}
        self._begun = True
        if chunk.raw is not None:
            shown["content"] = chunk.raw
            return shown
        texts, calls, extra = [], [], []
        for delta in chunk.content:
            place = self._places.setdefault((type(delta), delta.id), len(self._places))
            if isinstance(delta, TextDelta):
                texts.append(delta.text)
            elif isinstance(delta, ToolCallDelta):
                calls.append(self._call(delta))
            else:
                extra.append({**msgspec.to_builtins(delta), "insert_index": place})
        if texts:
            shown["content"] = "".join(texts)
        if calls:
            shown["tool_calls"] = calls
        if extra:
            shown["tensorzero_extra_content"] = extra
        return shown

    def _call(self, delta: ToolCallDelta) -> dict[str, Any]:
        first = delta.id not in self._calls
        index = self._calls.setdefault(delta.id, len(self._calls))
        return {
            "id": delta.id if first else None,
            "index": index,
            "type": "function",
            "function": {"name": delta.raw_name or "", "arguments": delta.raw_arguments},
        }
