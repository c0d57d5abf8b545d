"""OpenAI's promises: those of every provider, and its own words on the wire."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from headrace import Embedder, Factory, Provider, Services
from headrace.conformance.provider import EMBED_TWO, FILE_DATA, HELLO, ProviderConformance, asking
from headrace.conformance.script import Script, services
from headrace.errors import ConfigError, ProviderError
from headrace.extras import Extra, ExtraBody, ExtraHeader
from headrace.transport import Reply
from headrace.types import EmbeddingInput, EmbeddingRequest, Params
from headrace_openai import Dialect, OpenAI, Settings, headrace_providers
from headrace_openai.provider import default_base
from pydantic import ValidationError

pytestmark = pytest.mark.anyio

HI = b"""{
  "id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-mini-2024-07-18",
  "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi \xf0\x9f\x91\x8b there", "refusal": null},
               "logprobs": null, "finish_reason": "stop"}],
  "usage": {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0}},
  "system_fingerprint": "fp_1"
}"""

TOOL = b"""{
  "choices": [{"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": [
      {"id": "call_1", "type": "function",
       "function": {"name": "get_weather", "arguments": "{\\"city\\": \\"Z\\u00fcrich\\"}"}}]},
    "finish_reason": "tool_calls"}],
  "usage": {"prompt_tokens": 60, "completion_tokens": 16, "total_tokens": 76}
}"""


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields, ensure_ascii=False).encode() + b"\n\n"


def delta(finish: str | None = None, **said: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": said, "finish_reason": finish}], usage=None)


def called(index: int, arguments: str, **function: Any) -> dict[str, Any]:
    call_id = {"id": function.pop("id")} if "id" in function else {}
    return {"index": index, "function": {"arguments": arguments, **function}, **call_id}


LAST = event(choices=[], usage={"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15})
DONE = b"data: [DONE]\n\n"

STREAM = b"".join(
    [delta(role="assistant", content=""), delta(content="Hi 👋"), delta(content=" there"), delta("stop"), LAST, DONE]
)
TOOL_STREAM = b"".join(
    [
        delta(role="assistant", content=None, tool_calls=[called(0, "", id="call_1", name="get_weather")]),
        delta(tool_calls=[called(0, '{"ci')]),
        delta(tool_calls=[called(0, 'ty": "Zürich"}')]),
        delta("tool_calls"),
        LAST,
        DONE,
    ]
)
# Out of order on purpose: the index counts.
VECTORS = b"""{
  "object": "list", "model": "text-embedding-3-small",
  "data": [{"object": "embedding", "index": 1, "embedding": [0.0, 1.0]},
           {"object": "embedding", "index": 0, "embedding": "AACAPwAAAAA="}],
  "usage": {"prompt_tokens": 2, "total_tokens": 2}
}"""


class TestOpenAI(ProviderConformance):
    says_hi, calls_tool, streams_hi, streams_tool, embeds_two = HI, TOOL, STREAM, TOOL_STREAM, VECTORS
    secrets: ClassVar = {"OPENAI_API_KEY": "sk-test"}
    takes_files: ClassVar = {
        "image/png": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{FILE_DATA}"}},
        "audio/mpeg": {"type": "input_audio", "input_audio": {"data": FILE_DATA, "format": "mp3"}},
        "application/pdf": {
            "type": "file",
            "file": {"file_data": f"data:application/pdf;base64,{FILE_DATA}", "filename": "input.pdf"},
        },
    }

    def build(self, services: Services) -> Provider:
        return OpenAI(Settings(model_name="m"), services)

    def build_dynamic(self, services: Services) -> Provider:
        return OpenAI(Settings(model_name="m", api_key_location="dynamic::test_key"), services)

    async def test_sends_the_key(self) -> None:
        provider, script = self.against(200, HI)
        await provider.complete(HELLO)
        assert script.calls[0].headers["authorization"] == "Bearer sk-test"

    async def test_blames_the_client_for_four_statuses_only(self) -> None:
        blamed = []
        for status in (400, 401, 403, 404, 413, 422, 429, 500, 529):
            provider, _ = self.against(status, b"no")
            with pytest.raises(ProviderError) as caught:
                await provider.complete(HELLO)
            if caught.value.at_fault == "client":
                blamed.append(status)
        assert blamed == [400, 401, 403, 429]


def scripted(body: bytes = HI, headers: dict[str, str] | None = None, **settings: Any) -> tuple[OpenAI, Script]:
    script = Script(Reply(200, headers or {}, body))
    table = {"model_name": "m", "api_key_location": "none", **settings}
    return OpenAI(Settings(**table), services(script, KEY="sk-env", OTHER="sk-other")), script


# -- addresses and headers --------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["http://localhost:8080/v1", "http://localhost:8080/v1/"])
async def test_finds_its_endpoints_with_and_without_a_trailing_slash(base: str) -> None:
    provider, script = scripted(api_base=base)
    await provider.complete(HELLO)
    assert script.calls[0].url == "http://localhost:8080/v1/chat/completions"
    provider, script = scripted(VECTORS, api_base=base)
    await provider.embed(EMBED_TWO)
    assert script.calls[0].url == "http://localhost:8080/v1/embeddings"


@pytest.mark.parametrize(
    ("environ", "base"),
    [
        ({}, "https://api.openai.com/v1/"),
        ({"HEADRACE_MOCK_PROVIDER_API": "http://localhost:3030"}, "http://localhost:3030/openai/"),
        ({"TENSORZERO_INTERNAL_MOCK_PROVIDER_API": "http://localhost:3030/"}, "http://localhost:3030/openai/"),
    ],
    ids=["openai", "mock", "mock-by-its-older-name"],
)
def test_speaks_to_openai_unless_a_mock_is_named(environ: dict[str, str], base: str) -> None:
    assert default_base(environ) == base


async def test_the_request_id_is_part_of_the_message() -> None:
    script = Script(Reply(400, {"x-request-id": "req_1"}, b"bad"))
    provider = OpenAI(Settings(model_name="m", api_key_location="none"), services(script))
    with pytest.raises(ProviderError) as caught:
        await provider.complete(HELLO)
    assert caught.value.message == "bad [request_id: req_1]"


# -- credentials ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "brought", "sent"),
    [
        ("env::KEY", {}, "Bearer sk-env"),
        ("dynamic::k", {"k": "sk-dynamic"}, "Bearer sk-dynamic"),
        ("none", {"k": "sk-dynamic"}, None),
        ({"default": "dynamic::k", "fallback": "env::OTHER"}, {}, "Bearer sk-other"),
        ({"default": "dynamic::k", "fallback": "env::OTHER"}, {"k": "sk-dynamic"}, "Bearer sk-dynamic"),
    ],
    ids=["env", "dynamic", "none", "pair-fallback", "pair-default"],
)
async def test_sends_the_credential_that_its_location_names(
    location: str | dict[str, str], brought: dict[str, str], sent: str | None
) -> None:
    provider, script = scripted(api_key_location=location)
    await provider.complete(asking("hi", credentials=brought))
    assert script.calls[0].headers.get("authorization") == sent


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("env::NOPE", "API key missing for provider OpenAI: Environment variable `NOPE` is missing"),
        ({"default": "env::KEY", "fallback": "env::NOPE"}, "API key missing for provider OpenAI: .*`NOPE`"),
        ("path::/no/such/file", "API key missing for provider OpenAI: Credential file `/no/such/file`"),
        ("sdk", "Invalid api_key_location for OpenAI provider: `sdk`"),
        ("sk-live-abc", "Invalid api_key_location for OpenAI provider"),
    ],
    ids=["env", "pair", "path", "sdk", "a-key-itself"],
)
def test_a_credential_that_cannot_be_had_is_a_config_error(location: str | dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scripted(api_key_location=location)


# -- settings ---------------------------------------------------------------------------------------------


def test_takes_every_key_of_the_specification() -> None:
    table = {
        "model_name": "m",
        "api_base": "http://localhost/v1",
        "api_key_location": {"default": "dynamic::k", "fallback": "env::KEY"},
        "api_type": "chat_completions",
        "include_encrypted_reasoning": False,
        "provider_tools": [],
        "content_type_overrides": {"audio/wav": "file"},
    }
    assert Settings.model_validate(table).model_dump() == table


def test_refuses_a_misspelt_key() -> None:
    with pytest.raises(ValidationError, match="modle_name"):
        Settings.model_validate({"modle_name": "m", "model_name": "m"})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"api_type": "responses"}, 'api_type = "responses" comes with a later release'),
        ({"include_encrypted_reasoning": True}, "include_encrypted_reasoning needs api_type"),
        ({"provider_tools": [{"type": "web_search"}]}, "provider_tools needs api_type"),
    ],
    ids=["responses", "encrypted-reasoning", "provider-tools"],
)
def test_refuses_what_only_the_responses_api_can_do(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scripted(**table)


# -- what is written into a request by hand ---------------------------------------------------------------


async def test_extra_parts_are_applied_in_order_to_what_was_built() -> None:
    body = (
        ExtraBody(pointer="/messages/0/content", value="changed"),
        ExtraBody(pointer="/stop/0", value="END"),
        ExtraBody(pointer="/stream", delete=True),
        ExtraBody(pointer="/seed", value=1),
        ExtraBody(pointer="/seed", value=2),
    )
    headers = (ExtraHeader(name="Authorization", value="Bearer mine"),)
    provider, script = scripted(api_key_location="env::KEY")
    params = Params(stop_sequences=("HALT",))
    response = await provider.complete(asking("hi", params=params, extra=Extra(body, headers)))
    messages = [{"role": "user", "content": "changed"}]
    assert json.loads(response.raw_request) == {"model": "m", "messages": messages, "stop": ["END"], "seed": 2}
    assert script.calls[0].headers["authorization"] == "Bearer mine"
    assert "mine" not in response.raw_request


# -- embeddings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "count"),
    [("one", 1), (["one"], 1), ([1, 2, 3], 1), ([[1, 2], [3]], 2)],
    ids=["text", "texts", "tokens", "lists-of-tokens"],
)
async def test_expects_as_many_vectors_as_inputs(asked: EmbeddingInput, count: int) -> None:
    rows = [{"index": index, "embedding": [0.5]} for index in range(count)]
    provider, script = scripted(json.dumps({"data": rows, "usage": {"prompt_tokens": 3}}).encode())
    response = await provider.embed(EmbeddingRequest(input=asked, dimensions=1))
    assert response.embeddings == ((0.5,),) * count
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 0)
    sent = {"model": "m", "input": asked, "dimensions": 1, "encoding_format": "float"}
    assert json.loads(script.calls[0].body) == sent


# -- the seam for other servers ---------------------------------------------------------------------------


async def test_a_dialect_renames_and_a_subclass_overrides() -> None:
    class Accent(OpenAI):
        def headers(self, key: str | None) -> dict[str, str]:
            return {"api-key": key or ""}

        def body(self, request: Any, *, stream: bool) -> dict[str, Any]:
            return {**super().body(request, stream=stream), "safe_prompt": True}

    script = Script(Reply(200, {"content-type": "text/event-stream"}, STREAM))
    dialect = Dialect(name="Accent", provider_type="accent", token_limit="max_tokens", stream_options=False)
    provider = Accent(Settings(model_name="m", api_key_location="env::KEY"), services(script, KEY="k"), dialect=dialect)
    _ = [chunk async for chunk in provider.stream(HELLO)]
    assert script.calls[0].headers == {"api-key": "k"}
    assert json.loads(script.calls[0].body).keys() == {"model", "messages", "stream", "safe_prompt"}


def test_is_offered_under_its_type() -> None:
    (offer,) = headrace_providers()
    assert isinstance(offer, Factory)
    assert isinstance(offer.build(Settings(model_name="m", api_key_location="none"), services(Script())), Embedder)


def test_short_names_need_no_table() -> None:
    (offer,) = headrace_providers()
    assert offer.shorthand is not None
    assert offer.shorthand("gpt-4o") == {"model_name": "gpt-4o"}
    assert offer.shorthand("ft:gpt-4o::x") == {"model_name": "ft:gpt-4o::x"}
    with pytest.raises(ConfigError, match="later release"):
        scripted(**offer.shorthand("responses::gpt-5"))
