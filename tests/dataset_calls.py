"""Datasets over HTTP in a test: a gateway with functions of every kind, and few words to call it by."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from headrace.http.app import create_app

TOML = """
[models.m]
routing = ["p"]
[models.m.providers.p]
type = "scripted"
says = ["hello"]

[metrics.liked]
type = "boolean"
optimize = "max"
level = "inference"

[tools.weather]
description = "Tell the weather"
parameters = "place.json"
[tools.spare]
name = "spare_tool"
description = "Not used by `chat`"
parameters = "place.json"

[functions.chat]
type = "chat"
tools = ["weather"]
[functions.chat.variants.v]
type = "chat_completion"
model = "m"

[functions.other]
type = "chat"
tools = ["spare"]
[functions.other.variants.v]
type = "chat_completion"
model = "m"

[functions.strict]
type = "chat"
user_schema = "place.json"
[functions.strict.variants.v]
type = "chat_completion"
model = "m"
user_template = "user.minijinja"

[functions.extract]
type = "json"
output_schema = "place.json"
[functions.extract.variants.v]
type = "chat_completion"
model = "m"
json_mode = "off"
"""
PLACE = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
DATASET = "/v1/datasets/d"
POINTS = f"{DATASET}/datapoints"


def said(text: str = "hi") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def chat(text: str = "hi", **fields: Any) -> dict[str, Any]:
    return {"type": "chat", "function_name": "chat", "input": said(text), **fields}


def extract(text: str = "hi", **fields: Any) -> dict[str, Any]:
    return {"type": "json", "function_name": "extract", "input": said(text), **fields}


class Client:
    """Speaks JSON; an answer that is not 200 fails the test unless it is asked for by its status."""

    def __init__(self, http: httpx.AsyncClient, host: Any) -> None:
        self.http = http
        self.host = host

    async def __call__(
        self, method: str, path: str, body: Any = None, *, status: int = 200, headers: Any = None
    ) -> Any:
        content = None if body is None else json.dumps(body)
        reply = await self.http.request(method, path, content=content, headers=headers)
        assert reply.status_code == status, reply.text
        return reply.json()

    async def create(self, *datapoints: Any, path: str = POINTS, **kwargs: Any) -> Any:
        return await self("POST", path, {"datapoints": datapoints}, **kwargs)

    async def get(self, *ids: str) -> list[Any]:
        found = await self("POST", "/v1/datasets/get_datapoints", {"ids": ids})
        by_id = {each["id"]: each for each in found["datapoints"]}
        return [by_id[id_] for id_ in ids]

    async def listed(self, **body: Any) -> list[Any]:
        found: list[Any] = (await self("POST", f"{DATASET}/list_datapoints", body))["datapoints"]
        return found

    async def infer(self, text: str, liked: bool | None = None) -> str:
        """The id of an inference, perhaps with feedback."""
        answer = await self("POST", "/inference", {"function_name": "chat", "input": said(text)})
        if liked is not None:
            given = {"metric_name": "liked", "value": liked, "inference_id": answer["inference_id"]}
            await self("POST", "/feedback", given)
        id_: str = answer["inference_id"]
        return id_


@asynccontextmanager
async def calling(opened: Callable[..., Any], more: str = "") -> AsyncGenerator[Client, None]:
    """``opened`` is the fixture of core's tests, ``more`` configuration."""
    toml = TOML
    for name, text in {"place.json": json.dumps(PLACE), "user.minijinja": "Where is {{ place }}?"}.items():
        toml = toml.replace(f'"{name}"', f"{{ __tensorzero_remapped_path = '{name}', __data = '{text}' }}")
    async with opened(toml + more) as host:
        transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            yield Client(http, host)
