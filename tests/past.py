"""A past that tests look back on: five inferences of two episodes, what was said of them, and a client to ask with."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
from headrace.http.app import create_app
from headrace.records import BooleanFeedback, DemonstrationFeedback, FloatFeedback, InferenceRecord
from headrace.types import Input, InputMessage, Text

TOML = """
[models.m]
routing = ["p"]
[models.m.providers.p]
type = "scripted"
says = ["good ", "day"]

[metrics.liked]
type = "boolean"
optimize = "max"
level = "inference"
[metrics.grade]
type = "float"
optimize = "max"
level = "episode"

[functions.chat]
type = "chat"
[functions.chat.variants.v]
type = "chat_completion"
model = "m"

[functions.extract]
type = "json"
[functions.extract.variants.v]
type = "chat_completion"
model = "m"
json_mode = "off"
"""


def at(number: int, kind: int = 0) -> UUID:
    """A UUIDv7 of 2025, ``number`` seconds on."""
    return UUID(int=(1_735_689_600_000 + 1000 * number << 80) | 0x7 << 76 | 0x2 << 62 | kind << 32 | number)


EPISODES = [at(0, kind=9), at(1, kind=9)]


def inference(number: int, **fields: Any) -> InferenceRecord:
    """The inference of this number; even ones are of one episode, odd ones of the other."""
    given: dict[str, Any] = {
        "id": at(number),
        "function_name": "chat",
        "variant_name": "v",
        "function_type": "chat",
        "episode_id": EPISODES[number % 2],
        "input": Input((InputMessage("user", (Text(f"question {number}"),)),)),
        "output": (Text(f"answer {number}"),),
        "variant_probability": 1.0,
        "snapshot_hash": "255",
    }
    return InferenceRecord(**given | fields)


def liked(number: int, value: bool, kind: int = 1) -> BooleanFeedback:
    return BooleanFeedback(
        id=at(number, kind), target_id=at(number), metric_name="liked", value=value, snapshot_hash="1"
    )


def graded(episode: int, value: float) -> FloatFeedback:
    return FloatFeedback(
        id=at(episode, 2), target_id=EPISODES[episode], metric_name="grade", value=value, snapshot_hash="1"
    )


def shown(number: int, text: str, kind: int = 3) -> DemonstrationFeedback:
    return DemonstrationFeedback(id=at(number, kind), inference_id=at(number), value=(Text(text),), snapshot_hash="1")


FIVE = [inference(number) for number in range(5)]


class Asks:
    """Asks a gateway and reads the answers."""

    def __init__(self, http: httpx.AsyncClient, host: Any) -> None:
        self.http = http
        self.host = host

    async def post(self, path: str, body: Any) -> Any:
        reply = await self.http.post(path, json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def get(self, path: str, **query: Any) -> Any:
        reply = await self.http.get(path, params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def numbers(self, body: Any) -> list[int]:
        """What is listed, by number."""
        found = (await self.post("/v1/inferences/list_inferences", body))["inferences"]
        return [UUID(one["inference_id"]).int & 0xFFFF for one in found]


@asynccontextmanager
async def asking(opened: Callable[..., Any], *records: Any) -> AsyncGenerator[Asks, None]:
    """A client of a gateway with these records; ``opened`` is the fixture."""
    async with opened(TOML) as host:
        await host.store.write(records)
        transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            yield Asks(http, host)
