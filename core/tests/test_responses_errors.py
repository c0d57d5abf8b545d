"""What the Responses API refuses, and how OpenAI's own SDK sees what goes wrong."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest
from headrace.http.app import create_app
from player import TROUBLE

pytestmark = pytest.mark.anyio


@pytest.fixture
def connect(opened: Any) -> Callable[..., Any]:
    """``async with connect() as client``: OpenAI's SDK in front of a gateway."""

    @asynccontextmanager
    async def open_() -> AsyncGenerator[openai.AsyncOpenAI, None]:
        async with opened(TROUBLE) as host:
            app = create_app(host.gateway, owns_gateway=False)
            async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as http:
                url = "http://gateway/openai/v1"
                yield openai.AsyncOpenAI(base_url=url, api_key="any", http_client=http, max_retries=0)

    return open_


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"model": "openai::gpt-4o"}, "must start with"),
        ({"model": "nope"}, "Invalid inference target"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"extra_body": {"tensorzero::nonsense": 1}}, "tensorzero::nonsense: unknown field"),
        ({"extra_body": {"tensorzero::params": {}}}, "chat_completion"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"service_tier": "scale"}, "service_tier"),
    ],
)
async def test_refuses_what_it_cannot_do(connect: Any, asked: dict[str, Any], message: str) -> None:
    async with connect() as client:
        with pytest.raises(openai.BadRequestError, match=message) as caught:
            await client.responses.create(**{"model": "good", "input": "hello", **asked})
    assert caught.value.type == "invalid_request_error"


async def test_errors_have_a_status_and_a_type(connect: Any) -> None:
    async with connect() as client:
        with pytest.raises(openai.NotFoundError, match="Unknown function: nope"):
            await client.responses.create(model="tensorzero::function_name::nope", input="hello")
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError, match="broken") as caught:
                await client.responses.create(model="bad", input="hello", stream=stream)
            assert (caught.value.status_code, caught.value.type) == (502, "server_error")


async def test_a_stream_that_breaks_ends_as_failed(connect: Any) -> None:
    async with connect() as client:
        stream = await client.responses.create(model="torn", input="hello", stream=True)
        (*_, last) = [event async for event in stream]
    assert (last.type, last.response.status) == ("response.failed", "failed")
    assert "torn" in last.response.error.message


async def test_a_piece_that_cannot_be_read_is_an_event_and_the_stream_goes_on(connect: Any) -> None:
    async with connect() as client:
        stream = await client.responses.create(model="garbled", input="hello", stream=True)
        events = [event async for event in stream]
    assert [event.message for event in events if event.type == "error"] == ["Error parsing chunk"]
    assert events[-1].response.output_text == "good day"
