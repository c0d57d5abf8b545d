"""Every route of what is stored answers the same of the same records, whichever store keeps them."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from time import perf_counter
from typing import Any
from uuid import UUID

import httpx
import pytest
from headrace import Store, plugins
from headrace.assembly import Assembly
from headrace.config import loads
from headrace.conformance.rows import START
from headrace.conformance.rows_history import History
from headrace.conformance.script import Script
from headrace.gateway import Gateway
from headrace.http.app import create_app, routes_of
from headrace.records import Record
from headrace_memory import Memory
from headrace_memory import Settings as MemorySettings
from route_questions import Asked, everything

pytest_plugins = ["backends"]
pytestmark = pytest.mark.anyio

TOML = """
[gateway.observability]
async_writes = false

[models.m1]
routing = ["dummy"]
[models.m1.providers.dummy]
type = "dummy"
model_name = "good"

[metrics.good]
type = "boolean"
optimize = "max"
level = "inference"
[metrics.stars]
type = "float"
optimize = "max"
level = "episode"
[metrics.Good]
type = "float"
optimize = "min"
level = "inference"

[functions.write]
type = "chat"
[functions.write.variants.a]
type = "chat_completion"
model = "m1"
[functions.Write]
type = "json"
[functions.Write.variants.b]
type = "chat_completion"
model = "m1"
json_mode = "on"
[functions."größe"]
type = "chat"
[functions."größe".variants.a]
type = "chat_completion"
model = "m1"
"""
NOW = START + timedelta(days=25)
SHOWN = 8
# Of these the answer is not of the store: an upstream's, the clock's, the process's.
ELSEWHERE = re.compile(r"/(inference|batch_inference.*|openai.*|anthropic.*|metrics|internal/object_storage)")


class Settable:
    """A clock that stands still when the history is over, but for those who wait."""

    def time(self) -> float:
        return NOW.timestamp()

    def perf(self) -> float:
        return perf_counter()


@pytest.fixture
def anyio_backend() -> str:
    """asyncpg knows no other event loop, and what a store does on the other one, its conformance suite shows."""
    return "asyncio"


# -- how it is asked --------------------------------------------------------------------------------------


class Asking:
    """Asks one gateway; what it makes up itself, ids and the time of day, is numbered or left out."""

    def __init__(self, http: httpx.AsyncClient, gateway: Gateway, known: set[str]) -> None:
        self.gateway = gateway
        self._http = http
        self._known = known
        self._made: list[str] = []

    async def __call__(self, asked: Asked) -> Any:
        last = self._made[-1] if self._made else ""
        body = None if asked.body is None else httpx.Request("POST", "http://x", json=asked.body).content
        path = asked.path.replace("MADE", last)
        content = body and body.replace(b"MADE", last.encode())
        reply = await self._http.request(asked.method, path, params=asked.query, content=content)
        return {"status": reply.status_code, "body": self._masked(reply.json())}

    def _masked(self, found: Any) -> Any:
        match found:
            case dict():
                return {self._masked(key): self._masked(value) for key, value in found.items()}
            case list():
                return [self._masked(value) for value in found]
            case str() if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found):
                return self._number(found)
            case str() if re.fullmatch(r"\d{4}-\d\d-\d\dT\S+Z", found) and found > f"{NOW:%Y-%m-%dT99}":
                return "today"
        return found

    def _number(self, id_: str) -> str:
        if id_ in self._known:
            return id_
        if id_ in self._made:
            return f"made {self._made.index(id_)}"
        self._made.append(id_)
        return f"made {len(self._made) - 1}"


@asynccontextmanager
async def asking(store: Store, history: History) -> AsyncGenerator[Asking, None]:
    """A gateway over this store, with the history in it."""
    assembly = Assembly(loads(TOML), plugins.load(), store=store, clock=Settable(), transport=Script(), environ={})
    gateway = assembly.gateway()
    known = {str(value) for record in history.records for value in _ids(record)}
    async with gateway:
        await store.write(history.records)
        transport = httpx.ASGITransport(create_app(gateway, owns_gateway=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            yield Asking(http, gateway, known)


def _ids(record: Record) -> Iterator[UUID]:
    for name in record.__struct_fields__:
        if isinstance(value := getattr(record, name), UUID):
            yield value


def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Where two answers differ by more than the last digits of a sum."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one:
            yield from differences(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{where}[{index}]")
    elif not (one == other or (_is_number(one) and _is_number(other) and math.isclose(one, other, rel_tol=1e-9))):
        yield f"  at {where}: memory has {str(one)[:500]}, the store {str(other)[:500]}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# -- promises ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [7])
async def test_routes_answer_as_over_memory(store: Store, seed: int) -> None:
    history = History(seed)
    found: list[str] = []
    async with asking(Memory(MemorySettings()), history) as memory, asking(store, history) as other:
        for asked in everything(history):
            if these := list(differences(await memory(asked), await other(asked))):
                found += [f"{asked.method} {asked.path} {asked.query or asked.body or ''}", *these[:2]]
    assert not found, "\n".join([f"{len(found)} lines, of which the first:", *found[: SHOWN * 3]])


async def test_every_route_is_asked_and_says_something() -> None:
    history = History(7)
    said: dict[tuple[str, str], bool] = {}
    async with asking(Memory(MemorySettings()), history) as ask:
        for asked in everything(history):
            answer = await ask(asked)
            key = asked.method, asked.route
            said[key] = said.get(key, False) or (answer["status"] == 200 and _says(answer["body"]))
        routes = {
            (method, route.path)
            for route in routes_of(ask.gateway, 1000)
            for method in route.methods or ()
            if method != "HEAD" and not ELSEWHERE.fullmatch(route.path)
        }
    assert routes <= said.keys(), f"not asked: {routes - said.keys()}"
    assert not (silent := {key for key, spoke in said.items() if not spoke}), silent


def _says(body: Any) -> bool:
    """Whether there is anything in it but zeros and empty lists."""
    if isinstance(body, dict | list):
        return any(_says(value) for value in (body.values() if isinstance(body, dict) else body))
    return bool(body)
