"""A gateway in a test: configuration as text, a provider that plays a part, a memory store to look into."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from headrace import Answer, Factory, Provider, Services, Store, Task, Variant, plugins
from headrace.assembly import Assembly
from headrace.config import loads
from headrace.conformance.script import Script
from headrace.errors import ProviderError, RateLimited
from headrace.plugins import Plugin, Registry
from headrace.types import (
    Chunk,
    ModelRequest,
    ModelResponse,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from pydantic import BaseModel


class Part(BaseModel, extra="forbid", frozen=True):
    """What a ``scripted`` provider does. ``fail_after`` pieces of a stream it breaks; ``bug`` breaks the contract."""

    says: list[str] = ["hi"]
    calls: dict[str, str] = {}
    fails: str | None = None
    limited: bool = False
    fail_after: int | None = None
    garbled_at: int | None = None
    bug: bool = False
    slow_s: float = 0
    pause_s: float = 0


class Scripted:
    """A provider that plays its part; ``asked`` are the requests it got."""

    def __init__(self, part: Part, services: Services) -> None:
        self._part = part
        self.asked: list[ModelRequest] = []

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Say everything at once."""
        await self._perhaps_fail(request)
        return ModelResponse(
            output=(
                Text("".join(self._part.says)),
                *(ToolCall("c1", name, arguments) for name, arguments in self._part.calls.items()),
            ),
            usage=Usage(input_tokens=3, output_tokens=len(self._part.says)),
            raw_usage={"said": len(self._part.says)},
            finish_reason="stop",
            raw_request="asked",
            raw_response="said",
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk, None]:
        """Say it word by word; usage comes with the last piece."""
        await self._perhaps_fail(request)
        yield Chunk(raw_request="asked")
        for index, text in enumerate(self._part.says):
            if index == self._part.fail_after:
                raise ProviderError("torn", raw_response="half")
            if index == self._part.garbled_at:
                yield Chunk(error="Error parsing chunk", raw="garbled")
            yield Chunk(content=(TextDelta("0", text),), raw=text)
            await anyio.sleep(self._part.pause_s)
        for name, arguments in self._part.calls.items():
            yield Chunk(content=(ToolCallDelta("c1", name, ""),))
            yield Chunk(content=(ToolCallDelta("c1", None, arguments),))
        yield Chunk(
            usage=Usage(input_tokens=3, output_tokens=len(self._part.says)),
            raw_usage={"said": len(self._part.says)},
            finish_reason="stop",
            raw="end",
        )

    async def _perhaps_fail(self, request: ModelRequest) -> None:
        self.asked.append(request)
        await anyio.sleep(self._part.slow_s)
        if self._part.bug:
            raise KeyError("oops")
        if self._part.limited:
            raise RateLimited("slow down", status=429, at_fault="client")
        if self._part.fails is not None:
            raise ProviderError(self._part.fails, status=500, raw_request="asked", raw_response="no")


class Nothing(BaseModel, extra="forbid"):
    """Nothing to set, except how its plugin fails: at build, or (the default) when it runs."""

    at_build: bool = False


class Buggy:
    """A variant that breaks its contract."""

    def __init__(self, settings: Nothing, services: object) -> None:
        if settings.at_build:
            raise ZeroDivisionError("oops")

    async def run(self, task: Task) -> Answer:
        """Raise what no variant may raise."""
        raise ZeroDivisionError("oops")

    async def stream(self, task: Task) -> AsyncGenerator[Chunk, None]:
        """The same."""
        raise ZeroDivisionError("oops")
        yield Chunk()


@pytest.fixture(scope="session")
def registry() -> Registry:
    """Every installed plugin, the provider ``scripted`` and the variant ``buggy``."""
    found = plugins.load()
    offer: Factory[Provider] = Factory("scripted", Part, Scripted, shorthand=lambda rest: {"says": [rest]})
    buggy: Factory[Variant] = Factory("buggy", Nothing, Buggy)
    plugin = Plugin(name="scripted", distribution="tests", version="0", state="loaded")
    found.add(plugin, [("provider", offer), ("variant", buggy)])
    return found


MEMORY = '[gateway.observability]\nbackend = "memory"\n'


class Opened:
    """An open gateway and what it was assembled from. ``rows`` gives what has been recorded so far."""

    def __init__(self, assembly: Assembly) -> None:
        self.assembly = assembly
        self.gateway = assembly.gateway()

    def asked(self, model: str = "m") -> list[ModelRequest]:
        """What the first provider of a model has been asked so far."""
        provider = self.assembly.models.routed(model).routes[0].provider
        assert isinstance(provider, Scripted)
        return provider.asked

    async def settled(self) -> None:
        """Return when nothing is being written behind an answer's back."""
        await anyio.wait_all_tasks_blocked()

    @property
    def store(self) -> Store:
        """The memory store."""
        assert self.assembly.store is not None
        return self.assembly.store


@pytest.fixture
def opened(registry: Registry) -> Callable[..., Any]:
    """``async with opened(toml) as host``: a gateway that records into memory and reaches nothing outside."""

    @asynccontextmanager
    async def open_(toml: str, **stand_ins: Any) -> AsyncGenerator[Opened, None]:
        host = Opened(Assembly(loads(MEMORY + toml), registry, transport=Script(), **stand_ins))
        async with host.gateway:
            yield host

    return open_
