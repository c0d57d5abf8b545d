"""What every provider promises, asked with the upstream's own bytes.

The bytes a subclass brings have to say what is fixed here: ``TEXT`` with finish reason stop and ``tokens``, or a
call of ``get_weather`` with ``ARGUMENTS``; ``embeds_two`` holds the vectors (1, 0) and (0, 1) for two inputs.

Features for ``lacks``: upstream (the provider answers by itself), stream, tools, json, embeddings, credentials,
system, seed, penalties, stop_sequences, reasoning_effort, extra (bodies that are JSON), files, raw_usage.
"""

# ruff: noqa: D102 - the name of a test is its promise

from __future__ import annotations

import json
from contextlib import aclosing

import pytest
from msgspec import UNSET

from ..contracts import Embedder
from ..errors import BadUpstreamReply, MissingCredential, ProviderError, RateLimited, Unreachable
from ..transport import Reply
from ..types import Chunk, Text, TextDelta, ToolCall, ToolCallDelta
from .provider_asked import (
    ARGUMENTS,
    CALL_TOOL,
    DYNAMIC_KEY,
    EMBED_TWO,
    FILE_DATA,
    HELLO,
    SCHEMA,
    TEXT,
    WEATHER,
    asking,
    every_chunk,
    with_file,
    within,
)
from .provider_wire import WirePromises
from .script import Script, services
from .suite import needs, nothing_left_over

__all__ = [
    "ARGUMENTS",
    "CALL_TOOL",
    "DYNAMIC_KEY",
    "EMBED_TWO",
    "FILE_DATA",
    "HELLO",
    "SCHEMA",
    "TEXT",
    "WEATHER",
    "ProviderConformance",
    "asking",
    "with_file",
]

_PIECES = pytest.mark.parametrize("piece", [7, 1, 0], ids=["7-bytes", "1-byte", "whole"])
_REFUSALS = pytest.mark.parametrize(
    ("status", "kind"),
    [(400, ProviderError), (401, ProviderError), (404, ProviderError), (429, RateLimited), (500, ProviderError)],
    ids=["400", "401", "404", "429", "500"],
)
_NONSENSE = pytest.mark.parametrize(
    "body", ["<html>maintenance</html>", '{"half', ""], ids=["html", "malformed-json", "empty"]
)


class ProviderConformance(WirePromises):
    """Subclass with the upstream's bytes and ``build``; add ``build_dynamic`` where credentials exist."""

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
        texts = [delta for chunk in await every_chunk(provider, HELLO) for delta in chunk.content]
        assert all(isinstance(delta, TextDelta) for delta in texts)
        assert "".join(delta.text for delta in texts if isinstance(delta, TextDelta)) == TEXT
        assert len({delta.id for delta in texts}) == 1

    @needs("stream", "tools")
    @_PIECES
    async def test_streams_a_tool_call_however_it_is_cut(self, piece: int) -> None:
        provider, _ = self.streaming(self.streams_tool, piece=piece)
        chunks = await every_chunk(provider, CALL_TOOL)
        deltas = [delta for chunk in chunks for delta in chunk.content if isinstance(delta, ToolCallDelta)]
        assert [delta.raw_name for delta in deltas if delta.raw_name is not None] == ["get_weather"]
        assert len({delta.id for delta in deltas}) == 1
        assert json.loads("".join(delta.raw_arguments for delta in deltas)) == ARGUMENTS
        assert "tool_call" in [chunk.finish_reason for chunk in chunks]

    @needs("stream")
    async def test_streams_usage_and_finish_reason(self) -> None:
        provider, _ = self.streaming(self.streams_hi)
        chunks = await every_chunk(provider, HELLO)
        usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
        # Some upstreams send running totals: the largest value is the whole.
        most = (max(usage.input_tokens or 0 for usage in usages), max(usage.output_tokens or 0 for usage in usages))
        assert most == self.tokens
        assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason is not None] == ["stop"]

    @needs("stream")
    async def test_only_the_first_chunk_carries_the_request(self) -> None:
        provider, _ = self.streaming(self.streams_hi)
        first, *others = await every_chunk(provider, HELLO)
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

    # -- the upstream's own account -----------------------------------------------------------------------

    @needs("upstream", "raw_usage")
    async def test_raw_usage_is_what_the_upstream_said(self) -> None:
        provider, _ = self.against(200, self.says_hi)
        response = await provider.complete(HELLO)
        assert response.raw_usage is not UNSET
        assert response.raw_usage in list(within(json.loads(self.says_hi)))
        assert all(count in list(within(response.raw_usage)) for count in self.tokens)

    @needs("upstream", "raw_usage", "stream")
    async def test_raw_usage_of_a_stream_is_what_the_upstream_said(self) -> None:
        provider, _ = self.streaming(self.streams_hi)
        accounts = [chunk for chunk in await every_chunk(provider, HELLO) if chunk.raw_usage is not UNSET]
        assert accounts
        for chunk in accounts:
            assert chunk.raw_usage in list(within(json.loads(chunk.raw)))

    @needs("upstream", "raw_usage", "embeddings")
    async def test_raw_usage_of_embeddings_is_what_the_upstream_said(self) -> None:
        provider, _ = self.against(200, self.embeds_two)
        assert isinstance(provider, Embedder)
        response = await provider.embed(EMBED_TWO)
        assert response.raw_usage is not UNSET
        assert response.raw_usage in list(within(json.loads(self.embeds_two)))

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
            await every_chunk(provider, HELLO)
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
            await every_chunk(provider, HELLO)
        assert caught.value.raw_response == body
        assert caught.value.raw_request == script.calls[0].body.decode()

    @needs("upstream", "stream")
    async def test_a_stream_without_any_event_is_no_answer(self) -> None:
        provider, _ = self.streaming(b"")
        with pytest.raises(BadUpstreamReply):
            await every_chunk(provider, HELLO)

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
            await every_chunk(provider, HELLO)
        assert caught.value.raw_request == script.calls[0].body.decode()

    @needs("upstream", "stream")
    async def test_a_stream_that_breaks_gives_what_it_had_and_then_raises(self) -> None:
        whole = await every_chunk(self.streaming(self.streams_hi)[0], HELLO)
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


def _check_refusal(error: ProviderError, status: int, script: Script) -> None:
    assert error.status == status
    assert error.raw_response is not None
    assert "No pasarán" in error.raw_response
    assert error.raw_request == script.calls[0].body.decode()
