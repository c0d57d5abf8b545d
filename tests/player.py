"""A provider that says exactly the pieces it is given, for suites that look at what becomes of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from headrace import Factory, Provider, Services
from headrace.pieces import Pieces
from headrace.plugins import Plugin, Registry
from headrace.types import Chunk, Delta, FinishReason, ModelRequest, ModelResponse, Usage
from pydantic import BaseModel

MODEL = """
[models.{name}]
routing = ["p"]
[models.{name}.providers.p]
type = "{type}"
{rest}
"""
FUNCTION = """
[functions.{name}]
type = "{type}"
[functions.{name}.variants.a]
type = "chat_completion"
model = "{model}"
{rest}
"""


# Models of core/tests' provider `scripted`: one that answers, and three that fail in their own ways.
TROUBLE = "".join(
    [
        MODEL.format(name="good", type="scripted", rest='says = ["good ", "day"]'),
        MODEL.format(name="bad", type="scripted", rest='fails = "broken"'),
        MODEL.format(name="torn", type="scripted", rest='says = ["good ", "day"]\nfail_after = 1'),
        MODEL.format(name="garbled", type="scripted", rest='says = ["good ", "day"]\ngarbled_at = 1'),
    ]
)


class Play(BaseModel, extra="forbid", frozen=True):
    """The pieces that a ``player`` says, and how it ends."""

    deltas: list[dict[str, Any]]
    finish_reason: FinishReason = "stop"


class Player:
    """A provider that says exactly these pieces, streamed or put together."""

    def __init__(self, play: Play, services: Services) -> None:
        self._play = play

    def _chunks(self) -> list[Chunk]:
        deltas = [msgspec.convert(delta, Delta) for delta in self._play.deltas]
        usage = Usage(
            input_tokens=10,
            output_tokens=4,
            provider_cache_read_input_tokens=6,
            provider_cache_write_input_tokens=1,
        )
        end = Chunk(usage=usage, finish_reason=self._play.finish_reason)
        return [*(Chunk(content=(delta,), raw="a piece") for delta in deltas), end]

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Everything at once."""
        pieces = Pieces()
        for chunk in self._chunks():
            pieces.add(chunk)
        assert pieces.usage is not None
        return ModelResponse(output=pieces.blocks(), usage=pieces.usage, finish_reason=pieces.finish_reason)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk, None]:
        """Piece by piece."""
        yield Chunk(raw_request="asked")
        for chunk in self._chunks():
            yield chunk


def add_player(registry: Registry) -> None:
    """Offer ``type = "player"``, once."""
    if "player" not in registry.types("provider"):
        offer: Factory[Provider] = Factory("player", Play, Player)
        plugin = Plugin(name="player", distribution="tests", version="0", state="loaded")
        registry.add(plugin, [("provider", offer)])
