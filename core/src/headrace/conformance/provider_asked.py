"""The provider under test: what a subclass brings of its upstream, and the requests that every provider is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar

from ..contracts import Provider, Services
from ..errors import ProviderError
from ..media import File
from ..transport import Reply
from ..types import Chunk, EmbeddingRequest, Message, ModelRequest, Params, Text, Tool, ToolConfig
from .script import Broken, Script, services
from .suite import Suite

TEXT = "Hi 👋 there"
ARGUMENTS = {"city": "Zürich"}
DYNAMIC_KEY = "test_key"
FILE_DATA = "c2hpYmJvbGV0aA=="

WEATHER = Tool("get_weather", "The weather of a city", {"type": "object", "properties": {"city": {"type": "string"}}})
SCHEMA = {
    "type": "object",
    "properties": {"shibboleth": {"type": "string"}},
    "required": ["shibboleth"],
    "additionalProperties": False,
}


def asking(text: str, **fields: Any) -> ModelRequest:
    """A request of one user turn."""
    return ModelRequest(messages=(Message("user", (Text(text),)),), **fields)


HELLO = asking(TEXT)
CALL_TOOL = asking(f"call get_weather {json.dumps(ARGUMENTS)}", tools=ToolConfig((WEATHER,)))
EMBED_TWO = EmbeddingRequest(input=["first", "second"])


def with_file(mime_type: str) -> ModelRequest:
    """A request with the bytes ``FILE_DATA`` as a file of this type."""
    return ModelRequest(messages=(Message("user", (Text(TEXT), File(mime_type=mime_type, data=FILE_DATA))),))


def within(value: Any) -> Iterator[Any]:
    """The JSON value and all that it holds, at any depth."""
    yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from within(each)


async def every_chunk(provider: Provider, request: ModelRequest) -> list[Chunk]:
    """The stream to its end."""
    async with aclosing(provider.stream(request)) as chunks:
        return [chunk async for chunk in chunks]


class ProviderUnderTest(Suite):
    """What the promises are asked of. ``takes_files`` maps a MIME type to the JSON that a file with ``FILE_DATA``
    becomes in the request.
    """

    says_hi: ClassVar[bytes] = b""
    calls_tool: ClassVar[bytes] = b""
    streams_hi: ClassVar[bytes] = b""
    streams_tool: ClassVar[bytes] = b""
    embeds_two: ClassVar[bytes] = b""
    takes_files: ClassVar[Mapping[str, Any]] = {}
    tokens: ClassVar[tuple[int, int]] = (11, 4)
    stream_type: ClassVar[str] = "text/event-stream"
    secrets: ClassVar[dict[str, str]] = {}

    def build(self, services: Services) -> Provider:
        """The provider under test."""
        raise NotImplementedError(f"{type(self).__name__}.build: return the provider under test")

    def build_dynamic(self, services: Services) -> Provider:
        """The same with its credential at ``dynamic::test_key``."""
        raise NotImplementedError(f"{type(self).__name__}.build_dynamic: or say lacks credentials")

    def against(
        self, status: int, body: bytes, *, content_type: str = "application/json", piece: int = 7
    ) -> tuple[Provider, Script]:
        """A provider whose upstream gives this one answer."""
        script = Script(Reply(status, {"content-type": content_type}, body), piece=piece)
        return self.build(services(script, **self.secrets)), script

    def streaming(self, body: bytes, *, piece: int = 7) -> tuple[Provider, Script]:
        """A provider whose upstream streams this answer."""
        return self.against(200, body, content_type=self.stream_type, piece=piece)

    def breaking(self, error: ProviderError, *, after: bytes | None = None) -> tuple[Provider, Script]:
        """A provider whose upstream cannot be reached, or fails ``after`` these bytes of a stream."""
        reply = Reply(200, {"content-type": self.stream_type}, after or b"")
        script = Script(error if after is None else Broken(reply, error))
        return self.build(services(script, **self.secrets)), script

    async def _sent(self, request: ModelRequest, *, answer: bytes | None = None) -> str:
        provider, script = self.against(200, self.says_hi if answer is None else answer)
        await provider.complete(request)
        return script.calls[0].body.decode()

    async def _expect_sent(self, params: Params, *values: str) -> None:
        sent = await self._sent(asking(TEXT, params=params))
        assert [value for value in values if value not in sent] == []
