"""What of a request a provider promises to pass on: each part of it lands in the call, or the request is refused."""

# ruff: noqa: D102 - the name of a test is its promise

from __future__ import annotations

import json

import pytest
from msgspec import structs

from ..contracts import Embedder
from ..errors import InvalidExtra, NotForThisProvider
from ..extras import Extra, ExtraBody, ExtraHeader
from ..types import CustomTool, Message, ModelRequest, Params, ProviderTool, ToolCall, ToolConfig, ToolResult
from .provider_asked import (
    CALL_TOOL,
    EMBED_TWO,
    FILE_DATA,
    HELLO,
    SCHEMA,
    TEXT,
    WEATHER,
    ProviderUnderTest,
    asking,
    every_chunk,
    with_file,
    within,
)
from .script import Script
from .suite import needs

_EXTRA = Extra(
    (ExtraBody(pointer="/x_shibboleth", value={"deep": [1, None]}), ExtraBody(pointer="/x_shibboleth/deep/-", value=2)),
    (ExtraHeader(name="X-Shibboleth", value="sent"),),
)
_WRONG = Extra((ExtraBody(pointer="no-pointer", value=1),))


class WirePromises(ProviderUnderTest):
    """The part of ``ProviderConformance`` that looks at what goes out."""

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

    # -- what is written into it by hand ------------------------------------------------------------------

    @needs("upstream", "extra")
    async def test_extra_body_lands_in_the_request_and_its_record(self) -> None:
        provider, script = self.against(200, self.says_hi)
        response = await provider.complete(asking(TEXT, extra=_EXTRA))
        assert json.loads(script.calls[0].body)["x_shibboleth"] == {"deep": [1, None, 2]}
        assert response.raw_request == script.calls[0].body.decode()

    @needs("upstream", "extra", "stream")
    async def test_extra_body_and_headers_land_in_a_streaming_request(self) -> None:
        provider, script = self.streaming(self.streams_hi)
        await every_chunk(provider, asking(TEXT, extra=_EXTRA))
        assert json.loads(script.calls[0].body)["x_shibboleth"] == {"deep": [1, None, 2]}
        assert _header(script, "x-shibboleth") == ["sent"]

    @needs("upstream", "extra")
    async def test_extra_headers_are_sent_in_place_of_the_providers_own(self) -> None:
        provider, script = self.against(200, self.says_hi)
        override = Extra(headers=(*_EXTRA.headers, ExtraHeader(name="Content-Type", value="application/x-mine")))
        await provider.complete(asking(TEXT, extra=override))
        assert _header(script, "x-shibboleth") == ["sent"]
        assert _header(script, "content-type") == ["application/x-mine"]

    @needs("upstream", "extra")
    async def test_a_wrong_pointer_is_the_attempts_error_and_nothing_is_sent(self) -> None:
        provider, script = self.against(200, self.says_hi)
        with pytest.raises(InvalidExtra, match="no-pointer"):
            await provider.complete(asking(TEXT, extra=_WRONG))
        assert script.calls == []

    @needs("upstream", "extra", "stream")
    async def test_a_wrong_pointer_is_an_error_of_the_stream(self) -> None:
        provider, script = self.streaming(self.streams_hi)
        with pytest.raises(InvalidExtra, match="no-pointer"):
            await every_chunk(provider, asking(TEXT, extra=_WRONG))
        assert script.calls == []

    @needs("upstream", "extra", "embeddings")
    async def test_extra_parts_land_in_an_embeddings_request(self) -> None:
        provider, script = self.against(200, self.embeds_two)
        assert isinstance(provider, Embedder)
        await provider.embed(structs.replace(EMBED_TWO, extra=_EXTRA))
        assert json.loads(script.calls[0].body)["x_shibboleth"] == {"deep": [1, None, 2]}
        assert _header(script, "x-shibboleth") == ["sent"]

    # -- taken or refused, never left out -----------------------------------------------------------------

    @needs("upstream", "files")
    async def test_files_reach_the_wire_in_their_declared_form(self) -> None:
        assert self.takes_files, f"{type(self).__name__}.takes_files: say what a file becomes, or that it lacks files"
        for mime_type, form in self.takes_files.items():
            sent = json.loads(await self._sent(with_file(mime_type)))
            assert form in list(within(sent)), mime_type

    @needs("upstream")
    async def test_a_file_is_taken_or_refused(self) -> None:
        await self._expect_taken_or_refused(with_file("image/png"), FILE_DATA)

    @needs("upstream")
    async def test_a_provider_tool_is_taken_or_refused(self) -> None:
        tools = ToolConfig(provider_tools=(ProviderTool({"type": "x_shibboleth"}),))
        await self._expect_taken_or_refused(asking(TEXT, tools=tools), "x_shibboleth")

    @needs("upstream")
    async def test_a_custom_tool_is_taken_or_refused(self) -> None:
        tools = ToolConfig(custom=(CustomTool("x_shibboleth"),))
        await self._expect_taken_or_refused(asking(TEXT, tools=tools), "x_shibboleth")

    async def _expect_taken_or_refused(self, request: ModelRequest, trace: str) -> None:
        provider, script = self.against(200, self.says_hi)
        try:
            await provider.complete(request)
        except NotForThisProvider:
            assert script.calls == []
        else:
            assert trace in script.calls[0].body.decode()


def _header(script: Script, name: str) -> list[str]:
    return [value for each, value in script.calls[0].headers.items() if each.lower() == name]
