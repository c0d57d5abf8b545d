"""What every provider promises, asked with the upstream's own bytes.

The bytes a subclass brings have to say what is fixed here: ``TEXT`` with finish reason stop and ``tokens``, or a
call of ``get_weather`` with ``ARGUMENTS``; ``embeds_two`` holds the vectors (1, 0) and (0, 1) for two inputs.

Features for ``lacks``: upstream (the provider answers by itself), stream, tools, json, embeddings, credentials,
system, seed, penalties, stop_sequences, reasoning_effort.
"""

# ruff: noqa: D102 - the name of a test is its promise

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any, ClassVar

import pytest

from ..contracts import Embedder, Provider, Services
from ..errors import BadUpstreamReply, MissingCredential, ProviderError, RateLimited, Unreachable
from ..transport import Reply
from ..types import (
    Chunk,
    EmbeddingRequest,
    Message,
    ModelRequest,
    Params,
    Text,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolConfig,
    ToolResult,
)
from .script import Broken, Script, services
from .suite import Suite, needs, nothing_left_over

TEXT = "Hi 👋 there"
ARGUMENTS = {"city": "Zürich"}
DYNAMIC_KEY = "test_key"

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

_PIECES = pytest.mark.parametrize("piece", [7, 1, 0], ids=["7-bytes", "1-byte", "whole"])
_REFUSALS = pytest.mark.parametrize(
    ("status", "kind"),
    [(400, ProviderError), (401, ProviderError), (404, ProviderError), (429, RateLimited), (500, ProviderError)],
    ids=["400", "401", "404", "429", "500"],
)
_NONSENSE = pytest.mark.parametrize(
    "body", ["<html>maintenance</html>", '{"half', ""], ids=["html", "malformed-json", "empty"]
)


class ProviderConformance(Suite):
    """Subclass with the upstream's bytes and ``build``; add ``build_dynamic`` where credentials exist."""

    says_hi: ClassVar[bytes] = b""
    calls_tool: ClassVar[bytes] = b""
    streams_hi: ClassVar[bytes] = b""
    streams_tool: ClassVar[bytes] = b""
    embeds_two: ClassVar[bytes] = b""
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

    # -- whole answers ------------------------------------------------------------------------------------

    async def test_answers_with_text(self) -> None:
        provider, _ = self.against(200, self.says_hi)
        assert (await provider.complete(HELLO)).output == (Text(TEXT),)

    async def test_reports_tokens_and_finish_reason(self) -> None:
        provider, _ = self.against(200, self.says_hi)
        response = await provider.complete(HELLO)
        assert (response.usage.input_tokens, response.usage.output_tokens) == self.tokens
        assert response.finish_reason == "stop"

    async def test_leaves_raw_texts_for_the_record(self) -> None:
        provider, _ = self.against(200, self.says_hi)
        response = await provider.complete(HELLO)
        assert response.raw_request
        assert response.raw_response

    @needs("upstream")
    async def test_raw_texts_are_what_went_out_and_came_in(self) -> None:
        provider, script = self.against(200, self.says_hi)
        response = await provider.complete(HELLO)
        assert response.raw_request == script.calls[0].body.decode()
        assert response.raw_response == self.says_hi.decode()

    @needs("tools")
    async def test_answers_with_a_tool_call(self) -> None:
        provider, _ = self.against(200, self.calls_tool)
        response = await provider.complete(CALL_TOOL)
        call = response.output[-1]
        assert isinstance(call, ToolCall)
        assert call.id
        assert (call.name, json.loads(call.arguments)) == ("get_weather", ARGUMENTS)
        assert response.finish_reason == "tool_call"

    # -- streams ------------------------------------------------------------------------------------------

    @needs("stream")
    @_PIECES
    async def test_streams_text_however_it_is_cut(self, piece: int) -> None:
        provider, _ = self.streaming(self.streams_hi, piece=piece)
        texts = [delta for chunk in await _all(provider, HELLO) for delta in chunk.content]
        assert all(isinstance(delta, TextDelta) for delta in texts)
        assert "".join(delta.text for delta in texts if isinstance(delta, TextDelta)) == TEXT
        assert len({delta.id for delta in texts}) == 1

    @needs("stream", "tools")
    @_PIECES
    async def test_streams_a_tool_call_however_it_is_cut(self, piece: int) -> None:
        provider, _ = self.streaming(self.streams_tool, piece=piece)
        chunks = await _all(provider, CALL_TOOL)
        deltas = [delta for chunk in chunks for delta in chunk.content if isinstance(delta, ToolCallDelta)]
        assert [delta.raw_name for delta in deltas if delta.raw_name is not None] == ["get_weather"]
        assert len({delta.id for delta in deltas}) == 1
        assert json.loads("".join(delta.raw_arguments for delta in deltas)) == ARGUMENTS
        assert "tool_call" in [chunk.finish_reason for chunk in chunks]

    @needs("stream")
    async def test_streams_usage_and_finish_reason(self) -> None:
        provider, _ = self.streaming(self.streams_hi)
        chunks = await _all(provider, HELLO)
        usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
        # Some upstreams send running totals: the largest value is the whole.
        most = (max(usage.input_tokens or 0 for usage in usages), max(usage.output_tokens or 0 for usage in usages))
        assert most == self.tokens
        assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason is not None] == ["stop"]

    @needs("stream")
    async def test_only_the_first_chunk_carries_the_request(self) -> None:
        provider, _ = self.streaming(self.streams_hi)
        first, *others = await _all(provider, HELLO)
        assert first.raw_request
        assert {chunk.raw_request for chunk in others} <= {None}

    @needs("stream", "upstream")
    async def test_a_stream_left_early_is_closed(self) -> None:
        provider, script = self.streaming(self.streams_hi)
        with nothing_left_over():
            async with aclosing(provider.stream(HELLO)) as chunks:
                async for _ in chunks:
                    break
            del chunks
        assert script.open_streams == 0

    # -- what reaches the wire ----------------------------------------------------------------------------

    @needs("upstream")
    async def test_messages_reach_the_wire(self) -> None:
        assert "Hi" in await self._sent(HELLO)

    @needs("upstream", "system")
    async def test_the_system_prompt_reaches_the_wire(self) -> None:
        assert "Be a pirate" in await self._sent(asking(TEXT, system="Be a pirate"))

    @needs("upstream")
    async def test_sampling_parameters_reach_the_wire(self) -> None:
        await self._expect_sent(Params(temperature=0.37, top_p=0.83, max_tokens=4321), "0.37", "0.83", "4321")

    @needs("upstream", "seed")
    async def test_the_seed_reaches_the_wire(self) -> None:
        await self._expect_sent(Params(seed=98765), "98765")

    @needs("upstream", "penalties")
    async def test_penalties_reach_the_wire(self) -> None:
        await self._expect_sent(Params(presence_penalty=0.29, frequency_penalty=0.31), "0.29", "0.31")

    @needs("upstream", "stop_sequences")
    async def test_stop_sequences_reach_the_wire(self) -> None:
        await self._expect_sent(Params(stop_sequences=("HALT",)), "HALT")

    @needs("upstream", "reasoning_effort")
    async def test_reasoning_effort_reaches_the_wire(self) -> None:
        await self._expect_sent(Params(reasoning_effort="minimal"), "minimal")

    @needs("upstream", "json")
    async def test_the_output_schema_reaches_the_wire_in_strict_mode(self) -> None:
        sent = await self._sent(asking(TEXT, json_mode="strict", output_schema=SCHEMA, function_type="json"))
        assert "shibboleth" in sent

    @needs("upstream", "tools")
    async def test_tools_reach_the_wire(self) -> None:
        sent = await self._sent(CALL_TOOL, answer=self.calls_tool)
        assert [value for value in (WEATHER.name, WEATHER.description, "city") if value not in sent] == []

    @needs("upstream", "tools")
    async def test_tool_calls_and_results_reach_the_wire(self) -> None:
        call = Message("assistant", (ToolCall("call_abc", "get_weather", '{"city": "Ystad"}'),))
        result = Message("user", (ToolResult("call_abc", "get_weather", "42 degrees"),))
        request = ModelRequest(messages=(*HELLO.messages, call, result), tools=ToolConfig((WEATHER,)))
        sent = await self._sent(request)
        assert [value for value in ("Ystad", "42 degrees") if value not in sent] == []

    # -- credentials --------------------------------------------------------------------------------------

    @needs("upstream", "credentials")
    async def test_a_credential_that_the_request_brings_is_used(self) -> None:
        script = Script(Reply(200, {"content-type": "application/json"}, self.says_hi))
        provider = self.build_dynamic(services(script, **self.secrets))
        await provider.complete(asking(TEXT, credentials={DYNAMIC_KEY: "sk-brought"}))
        assert any("sk-brought" in value for value in script.calls[0].headers.values())

    @needs("upstream", "credentials")
    async def test_a_credential_that_the_request_should_have_brought_is_missed(self) -> None:
        script = Script()
        provider = self.build_dynamic(services(script, **self.secrets))
        with pytest.raises(MissingCredential, match=DYNAMIC_KEY):
            await provider.complete(HELLO)
        assert script.calls == []

    # -- failures -----------------------------------------------------------------------------------------

    @needs("upstream")
    @_REFUSALS
    async def test_a_refusal_is_typed_and_keeps_the_upstreams_words(
        self, status: int, kind: type[ProviderError]
    ) -> None:
        provider, script = self.against(status, b'{"error": {"message": "No pasar\xc3\xa1n"}}')
        with pytest.raises(kind, match="No pasarán") as caught:
            await provider.complete(HELLO)
        _check_refusal(caught.value, status, script)

    @needs("upstream", "stream")
    @pytest.mark.parametrize("labelled", ["application/json", "text/event-stream"])
    @_REFUSALS
    async def test_a_refused_stream_is_read_by_its_status_whatever_its_type(
        self, status: int, kind: type[ProviderError], labelled: str
    ) -> None:
        body = b'{"error": {"message": "No pasar\xc3\xa1n"}}'
        provider, script = self.against(status, body, content_type=labelled)
        with pytest.raises(kind, match="No pasarán") as caught:
            await _all(provider, HELLO)
        _check_refusal(caught.value, status, script)
        assert script.open_streams == 0

    @needs("upstream")
    @_NONSENSE
    async def test_an_answer_that_is_not_the_dialect_is_kept(self, body: str) -> None:
        provider, script = self.against(200, body.encode())
        with pytest.raises(BadUpstreamReply) as caught:
            await provider.complete(HELLO)
        assert caught.value.raw_response == body
        assert caught.value.raw_request == script.calls[0].body.decode()

    @needs("upstream", "stream")
    @_NONSENSE
    async def test_a_stream_that_is_not_one_is_kept(self, body: str) -> None:
        provider, script = self.against(200, body.encode(), content_type="text/html")
        with pytest.raises(BadUpstreamReply) as caught:
            await _all(provider, HELLO)
        assert caught.value.raw_response == body
        assert caught.value.raw_request == script.calls[0].body.decode()

    @needs("upstream", "stream")
    async def test_a_stream_without_any_event_is_no_answer(self) -> None:
        provider, _ = self.streaming(b"")
        with pytest.raises(BadUpstreamReply):
            await _all(provider, HELLO)

    @needs("upstream")
    async def test_an_unreachable_upstream_is_a_provider_error(self) -> None:
        provider, script = self.breaking(Unreachable("connection refused"))
        with pytest.raises(ProviderError, match="connection refused") as caught:
            await provider.complete(HELLO)
        assert caught.value.raw_request == script.calls[0].body.decode()

    @needs("upstream", "stream")
    async def test_an_unreachable_upstream_is_a_provider_error_when_streaming(self) -> None:
        provider, script = self.breaking(Unreachable("connection refused"))
        with pytest.raises(ProviderError, match="connection refused") as caught:
            await _all(provider, HELLO)
        assert caught.value.raw_request == script.calls[0].body.decode()

    @needs("upstream", "stream")
    async def test_a_stream_that_breaks_gives_what_it_had_and_then_raises(self) -> None:
        whole = await _all(self.streaming(self.streams_hi)[0], HELLO)
        provider, script = self.breaking(
            Unreachable("connection reset"), after=self.streams_hi[: len(self.streams_hi) * 3 // 4]
        )
        had: list[Chunk] = []
        with pytest.raises(ProviderError, match="connection reset"):
            async with aclosing(provider.stream(HELLO)) as chunks:
                async for chunk in chunks:
                    had.append(chunk)
        assert had
        assert had == whole[: len(had)]
        assert script.open_streams == 0

    @needs("upstream")
    @pytest.mark.parametrize("status", [429, 500, 503])
    async def test_never_retries(self, status: int) -> None:
        provider, script = self.against(status, b"later")
        with pytest.raises(ProviderError):
            await provider.complete(HELLO)
        assert len(script.calls) == 1

    # -- embeddings ---------------------------------------------------------------------------------------

    @needs("embeddings")
    async def test_embeds_one_vector_per_input(self) -> None:
        provider, _ = self.against(200, self.embeds_two)
        assert isinstance(provider, Embedder)
        response = await provider.embed(EMBED_TWO)
        first, second = response.embeddings
        assert len(first) == len(second)
        assert first != second
        assert response.raw_request
        assert response.raw_response

    @needs("embeddings", "upstream")
    async def test_vectors_keep_the_order_of_their_inputs(self) -> None:
        provider, script = self.against(200, self.embeds_two)
        assert isinstance(provider, Embedder)
        assert (await provider.embed(EMBED_TWO)).embeddings == ((1.0, 0.0), (0.0, 1.0))
        sent = script.calls[0].body.decode()
        assert sent.index("first") < sent.index("second")

    @needs("embeddings", "upstream")
    @_NONSENSE
    async def test_vectors_that_are_not_the_dialect_are_kept(self, body: str) -> None:
        provider, _ = self.against(200, body.encode())
        assert isinstance(provider, Embedder)
        with pytest.raises(BadUpstreamReply) as caught:
            await provider.embed(EMBED_TWO)
        assert caught.value.raw_response == body

    # -- helpers ------------------------------------------------------------------------------------------

    async def _sent(self, request: ModelRequest, *, answer: bytes | None = None) -> str:
        provider, script = self.against(200, self.says_hi if answer is None else answer)
        await provider.complete(request)
        return script.calls[0].body.decode()

    async def _expect_sent(self, params: Params, *values: str) -> None:
        sent = await self._sent(asking(TEXT, params=params))
        assert [value for value in values if value not in sent] == []


async def _all(provider: Provider, request: ModelRequest) -> list[Chunk]:
    async with aclosing(provider.stream(request)) as chunks:
        return [chunk async for chunk in chunks]


def _check_refusal(error: ProviderError, status: int, script: Script) -> None:
    assert error.status == status
    assert error.raw_response is not None
    assert "No pasarán" in error.raw_response
    assert error.raw_request == script.calls[0].body.decode()
