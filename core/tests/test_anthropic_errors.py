"""How Anthropic's own SDK sees what goes wrong, and what becomes of a client that goes away."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import anyio
import httpx2
import pytest
from headrace.contracts import InferenceQuery
from headrace.http.app import create_app
from player import TROUBLE
from starlette.types import ASGIApp, Message

pytestmark = pytest.mark.anyio

HELLO: dict[str, Any] = {"max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}


class Bench:
    """A client of a gateway, the gateway's app and what stands behind it."""

    def __init__(self, client: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, app: ASGIApp, host: Any) -> None:
        self.client = client
        self.app = app
        self.http = http
        self.host = host


@pytest.fixture
def bench(opened: Any) -> Callable[..., Any]:
    """``async with bench() as it``: Anthropic's SDK in front of a gateway."""

    @asynccontextmanager
    async def open_() -> AsyncGenerator[Bench, None]:
        async with opened(TROUBLE) as host:
            app = create_app(host.gateway, owns_gateway=False)
            async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as http:
                client = anthropic.AsyncAnthropic(
                    base_url="http://gateway/anthropic", api_key="any", http_client=http, max_retries=0
                )
                yield Bench(client, http, app, host)

    return open_


@pytest.mark.parametrize(
    ("model", "error", "kind"),
    [
        ("nope", anthropic.BadRequestError, "invalid_request_error"),
        ("tensorzero::function_name::nope", anthropic.NotFoundError, "not_found_error"),
        ("bad", anthropic.InternalServerError, "api_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_have_a_status_and_a_type(
    bench: Any, model: str, error: type[anthropic.APIStatusError], kind: str, stream: bool
) -> None:
    async with bench() as it:
        with pytest.raises(error) as caught:
            await it.client.messages.create(model=model, stream=stream, **HELLO)
    body: Any = caught.value.body
    assert (body["type"], body["error"]["type"]) == ("error", kind)


# The SDK drops its generators when it raises, and trio minds.
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_stream_that_breaks_ends_with_an_error(bench: Any) -> None:
    async with bench() as it:
        stream = await it.client.messages.create(model="torn", stream=True, **HELLO)
        with pytest.raises(anthropic.APIStatusError, match="torn"):
            _ = [event async for event in stream]
        reply = await it.http.post(
            "http://gateway/anthropic/v1/messages", json={"model": "torn", "stream": True, **HELLO}
        )
    assert "event: message_stop" not in reply.text


async def test_a_piece_that_cannot_be_read_is_an_event_and_the_stream_goes_on(bench: Any) -> None:
    async with bench() as it:
        body = {"model": "garbled", "stream": True, **HELLO}
        reply = await it.http.post("http://gateway/anthropic/v1/messages", json=body)
    assert '{"type":"error","error":{"type":"api_error","message":"Error parsing chunk"}' in reply.text
    assert reply.text.index("event: error") < reply.text.index("event: message_stop")


async def test_tokens_are_not_counted(bench: Any) -> None:
    async with bench() as it:
        with pytest.raises(anthropic.NotFoundError):
            await it.client.messages.count_tokens(model="good", messages=HELLO["messages"])


async def test_a_client_that_goes_away_leaves_a_record(bench: Any) -> None:
    async with bench() as it:
        body = json.dumps({"model": "good", "stream": True, **HELLO}).encode()
        sent = 0

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal sent
            sent += 1
            if sent > 2:
                raise OSError("gone")

        path = "/anthropic/v1/messages"
        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
        await it.app(scope, receive, send)
        assert sent == 3
        for _ in range(500):
            if rows := await it.host.store.inferences(InferenceQuery()):
                break
            await anyio.sleep(0.01)
        assert [block.text for block in rows[0].output] == ["good day"]
