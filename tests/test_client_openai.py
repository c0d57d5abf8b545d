"""Journeys with OpenAI's own Python SDK, synchronous and asynchronous, through a real server process."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from clients import (
    ALTERNATE,
    ANSWER,
    PNG_BASE64,
    SENTENCE,
    STREAMED,
    TEMPERATURE,
    TOML,
    WEATHER,
    Gateway,
    serving,
)
from pydantic import BaseModel
from upstreams import CALLING, upstream

F, M = "tensorzero::function_name::", "tensorzero::model_name::"
HI: Any = [{"role": "user", "content": "hi"}]
TOOL: Any = {"type": "function", "function": {"name": "get_temperature", "parameters": TEMPERATURE}}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with upstream() as url, serving(tmp_path_factory.mktemp("openai"), TOML + CALLING.format(url=url)) as running:
        yield running


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/openai/v1", api_key="none needed", max_retries=0) as client:
        yield client


def streamed(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


# -- chat completions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["tensorzero", "headrace"])
def test_chats(client: Any, gateway: Gateway, prefix: str) -> None:
    answer = client.chat.completions.create(
        model=f"{prefix}::function_name::chat",
        messages=[{"role": "system", "content": "be kind"}, *HI],
        temperature=0.5,
        max_completion_tokens=9,
        stop=["x"],
        extra_body={f"{prefix}::tags": {"team": "support"}, f"{prefix}::variant_name": "plain"},
    )
    assert answer.choices[0].message.content == SENTENCE
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (10, 1, 11)
    assert answer.model == f"{F}chat::variant_name::plain"
    tags, params, input_ = gateway.row(answer.id, "tags", "inference_params", "input")
    assert json.loads(tags) == {"team": "support", "tensorzero::variant_pinned": "plain"}
    assert json.loads(params)["stop_sequences"] == ["x"]
    assert json.loads(input_)["system"] == "be kind"


@pytest.mark.parametrize("usage", [True, False])
def test_streams(client: Any, usage: bool) -> None:
    with client.chat.completions.create(
        model=f"{F}chat", messages=HI, stream=True, stream_options={"include_usage": usage}
    ) as stream:
        *chunks, last = list(stream)
    assert streamed(chunks) == STREAMED
    assert [chunk.choices[0].delta.role for chunk in chunks[:2]] == ["assistant", None]
    assert last.choices[0].finish_reason == "stop"
    assert (last.usage.total_tokens if last.usage else None) == (26 if usage else None)


def test_calls_models_and_keeps_an_episode(client: Any) -> None:
    first = client.chat.completions.create(model=f"{M}dummy::alternate", messages=HI)
    assert (first.choices[0].message.content, first.model) == (ALTERNATE, f"{M}dummy::alternate")
    second = client.chat.completions.create(
        model=f"{F}chat", messages=HI, extra_body={"tensorzero::episode_id": first.episode_id}
    )
    assert second.episode_id == first.episode_id


def test_everything_else_comes_in_extra_body(client: Any, gateway: Gateway) -> None:
    answer = client.chat.completions.create(
        model=f"{F}chat",
        messages=HI,
        temperature=0.9,
        extra_body={
            "tensorzero::variant_name": "extra",
            "tensorzero::dryrun": True,
            "tensorzero::cache_options": {"enabled": "off", "max_age_s": 60},
            "tensorzero::params": {"chat_completion": {"temperature": 0.1}},
            "tensorzero::extra_body": [{"pointer": "/a", "value": 1}],
            "tensorzero::extra_headers": [{"name": "x-a", "value": "b"}],
            "tensorzero::include_raw_usage": True,
            "tensorzero::include_raw_response": True,
            "tensorzero::include_original_response": True,
            "tensorzero::deny_unknown_fields": True,
        },
    )
    said = json.loads(answer.choices[0].message.content)
    assert said == {"injected_body": {"a": 1}, "injected_headers": {"x-a": "b"}}
    (raw,) = answer.tensorzero_raw_response
    assert raw["data"] == answer.tensorzero_original_response
    assert [entry["provider_type"] for entry in answer.tensorzero_raw_usage] == ["dummy"]
    assert gateway.row(answer.id) is None

    keyed = {"tensorzero::variant_name": "keyed", "tensorzero::credentials": {"KEY": "good_key"}}
    answer = client.chat.completions.create(model=f"{F}chat", messages=HI, extra_body=keyed)
    assert answer.choices[0].message.content == SENTENCE
    inline = {"type": "chat_completion", "model": "dummy::alternate"}
    answer = client.chat.completions.create(
        model=f"{F}chat",
        messages=HI,
        extra_body={"tensorzero::internal_dynamic_variant_config": inline, "tensorzero::dryrun": True},
    )
    assert answer.choices[0].message.content == ALTERNATE


def test_raw_chunks_come_when_asked_for(client: Any) -> None:
    with client.chat.completions.create(
        model=f"{F}chat",
        messages=HI,
        stream=True,
        extra_body={"tensorzero::include_raw_response": True, "tensorzero::include_raw_usage": True},
    ) as stream:
        chunks: list[Any] = list(stream)
    assert [chunk.tensorzero_raw_chunk for chunk in chunks[:2]] == ["Wally,", " the"]
    assert any(getattr(chunk, "tensorzero_raw_usage", None) for chunk in chunks)


def test_a_configured_tool_is_called_and_answered(client: Any) -> None:
    made = client.chat.completions.create(model=f"{F}weather", messages=HI)
    assert made.choices[0].finish_reason == "tool_calls"
    message = made.choices[0].message
    (call,) = message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_temperature", WEATHER)
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "70F"}
    asked = client.chat.completions.create(
        model=f"{M}dummy::echo_request_messages", messages=[*HI, message, result], tools=[TOOL]
    )
    *_, last = json.loads(asked.choices[0].message.content)["messages"]
    assert last["content"] == [{"type": "tool_result", "id": call.id, "name": "get_temperature", "result": '"70F"'}]


ADD: Any = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
NAMED: Any = {"type": "function", "function": {"name": "add"}}


@pytest.mark.parametrize(
    "choice",
    ["auto", "required", NAMED, {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}],
    ids=["auto", "required", "one", "allowed"],
)
def test_tools_come_with_the_request(client: Any, choice: Any) -> None:
    asks = [{"role": "user", "content": 'call add {"a": 1}'}]
    asked = {"model": f"{M}parrot", "messages": asks, "tools": [ADD, TOOL], "parallel_tool_calls": False}
    made = client.chat.completions.create(**asked, tool_choice=choice)
    (call,) = made.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("add", '{"a": 1}')


def test_parallel_calls_come_apart(client: Any) -> None:
    plain = client.chat.completions.create(model=f"{M}calling", messages=HI, tools=[TOOL])
    with client.chat.completions.stream(model=f"{M}calling-streamed", messages=HI, tools=[TOOL]) as stream:
        final = stream.get_final_completion()
    for answer in (plain, final):
        assert answer.choices[0].finish_reason == "tool_calls"
        assert [(call.id, json.loads(call.function.arguments)) for call in answer.choices[0].message.tool_calls] == [
            ("call_1", {"location": "Basel"}),
            ("call_2", {"location": "Bern"}),
        ]
    with client.chat.completions.create(model=f"{M}calling-streamed", messages=HI, tools=[TOOL], stream=True) as chunks:
        deltas = [delta for chunk in chunks for delta in chunk.choices[0].delta.tool_calls or ()]
    assert {delta.index for delta in deltas} == {0, 1}
    assert [delta.id for delta in deltas if delta.id] == ["call_1", "call_2"]


class Answer(BaseModel):
    """What the SDK makes a schema of."""

    answer: str


def test_structured_output_is_parsed_by_the_sdk(client: Any) -> None:
    parsed = client.chat.completions.parse(model=f"{M}dummy::json", messages=HI, response_format=Answer)
    assert parsed.choices[0].message.parsed == Answer(answer="Hello")
    asked: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": ANSWER, "strict": True}}
    for model in (f"{F}extract", f"{M}dummy::json"):
        answer = client.chat.completions.create(model=model, messages=HI, response_format=asked)
        assert answer.choices[0].message.content == '{"answer":"Hello"}'
    with client.chat.completions.create(model=f"{F}extract", messages=HI, stream=True) as stream:
        assert streamed(list(stream)) == '{"name":"John","age":30}'


def test_templates_thoughts_and_images_have_their_blocks(client: Any) -> None:
    template = {"type": "tensorzero::template", "name": "topic", "arguments": {"topic": "cats"}}
    raw = {"type": "tensorzero::raw_text", "value": "as it is"}
    blocks: Any = [{"role": "user", "content": [template, raw]}]
    asked = client.chat.completions.create(model=f"{F}about", messages=blocks)
    (seen,) = json.loads(asked.choices[0].message.content)["messages"]
    assert [block["text"] for block in seen["content"]] == ["Tell me about cats.", "as it is"]

    thought = client.chat.completions.create(model=f"{M}dummy::reasoner_with_signature", messages=HI)
    message = thought.choices[0].message
    asked = client.chat.completions.create(model=f"{M}dummy::echo_request_messages", messages=[*HI, message])
    assert json.loads(asked.choices[0].message.content)["messages"][1]["content"] == [
        {"type": "thought", "text": "hmmm", "signature": "my_signature"},
        {"type": "text", "text": SENTENCE},
    ]

    picture: Any = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG_BASE64}", "detail": "low"}}
    asked = client.chat.completions.create(
        model=f"{M}dummy::extract_images", messages=[{"role": "user", "content": [picture]}]
    )
    (file,) = json.loads(asked.choices[0].message.content)
    assert (file["mime_type"], file["data"]) == ("image/png", PNG_BASE64)


# -- embeddings and models ----------------------------------------------------------------------------------


def test_embeds(client: Any) -> None:
    name = "tensorzero::embedding_model_name::vectors"
    one = client.embeddings.create(model=name, input="a", encoding_format="float").data[0].embedding
    several = client.embeddings.create(model=name, input=["a", "b"])
    assert [item.index for item in several.data] == [0, 1]
    assert several.data[0].embedding == pytest.approx(one)  # the SDK asks for base64 unless told otherwise
    assert several.model == name
    packed = client.embeddings.create(model=name, input=["a"], encoding_format="base64").data[0].embedding
    assert len(base64.b64decode(str(packed))) == 4 * len(one)
    zeros = client.embeddings.create(model="headrace::embedding_model_name::zeros", input="a")
    assert zeros.data[0].embedding == [0.0] * 1536
    assert zeros.usage.prompt_tokens == 10


def test_lists_and_retrieves_models(client: Any) -> None:
    names = [model.id for model in client.models.list()]
    assert {f"{F}chat", f"{M}keyed", "tensorzero::embedding_model_name::zeros"} <= set(names)
    assert client.models.retrieve(f"{F}chat").id == f"{F}chat"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(f"{F}nope")


# -- responses ----------------------------------------------------------------------------------------------

FLAT: Any = {"type": "function", "name": "get_temperature", "parameters": TEMPERATURE, "strict": False}


def test_responses(client: Any, gateway: Gateway) -> None:
    answer = client.responses.create(model=f"{F}chat", input="hi", instructions="be kind", max_output_tokens=9)
    assert (answer.output_text, answer.status, answer.usage.total_tokens) == (SENTENCE, "completed", 11)
    assert json.loads(gateway.row(answer.inference_id, "input"))["system"] == "be kind"


def test_responses_stream(client: Any) -> None:
    with client.responses.create(model=f"{F}chat", input="hi", stream=True) as stream:
        events: list[Any] = list(stream)
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == STREAMED
    assert events[0].type == "response.created"
    assert (events[-1].type, events[-1].response.output_text) == ("response.completed", STREAMED)


def test_responses_call_tools(client: Any) -> None:
    asked: list[Any] = [{"role": "user", "content": "hi"}]
    made = client.responses.create(model=f"{F}weather", input=asked)
    with client.responses.stream(model=f"{M}dummy::tool", input=asked, tools=[FLAT]) as stream:
        final = stream.get_final_response()
    for answer in (made, final):
        (call,) = answer.output
        assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "get_temperature", WEATHER)
    asked += [*made.output, {"type": "function_call_output", "call_id": call.call_id, "output": "70F"}]
    heard = client.responses.create(model=f"{M}dummy::echo_request_messages", input=asked, tools=[FLAT])
    *_, last = json.loads(heard.output_text)["messages"]
    assert last["content"][0]["result"] == "70F"


def test_responses_parse_structured_output(client: Any) -> None:
    parsed = client.responses.parse(model=f"{M}dummy::json", input="hi", text_format=Answer)
    assert parsed.output_parsed == Answer(answer="Hello")


# -- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": "gpt-4o"}, openai.BadRequestError, "`model` field must start with"),
        ({"model": f"{F}nope"}, openai.NotFoundError, "Unknown function: nope"),
        ({"n": 2}, openai.BadRequestError, "`n` must be absent or 1"),
        ({"model": f"{M}dummy::error"}, openai.InternalServerError, "All variants failed"),
        ({"extra_body": {"tensorzero::variant_name": "nope"}}, openai.NotFoundError, "Unknown variant: nope"),
        ({"extra_body": {"tensorzero::variant_name": "broken"}}, openai.InternalServerError, "All model providers"),
        (
            {"extra_body": {"tensorzero::deny_unknown_fields": True, "nope": 1}},
            openai.BadRequestError,
            "nope",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors_are_the_sdks_own_classes(client: Any, change: Any, error: Any, message: str, stream: bool) -> None:
    with pytest.raises(error, match=message) as caught:
        client.chat.completions.create(**{"model": f"{F}chat", "messages": HI, "stream": stream, **change})
    assert message in caught.value.body["message"]


def test_other_surfaces_raise_the_same_classes(client: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="Model not found: nope"):
        client.embeddings.create(model="tensorzero::embedding_model_name::nope", input="a")
    with pytest.raises(openai.BadRequestError, match="Input cannot be empty"):
        client.embeddings.create(model="tensorzero::embedding_model_name::zeros", input=[])
    with pytest.raises(openai.NotFoundError, match="Unknown function: nope"):
        client.responses.create(model=f"{F}nope", input="hi")


def test_an_error_within_a_stream_is_raised(client: Any) -> None:
    with client.chat.completions.create(model=f"{M}dummy::err_in_stream", messages=HI, stream=True) as stream:
        with pytest.raises(openai.APIError, match="Dummy error in stream"):
            list(stream)


# -- the asynchronous client --------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx2|httpcore2):ResourceWarning")
async def test_the_asynchronous_client_does_all_of_it(gateway: Gateway) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/openai/v1", api_key="any", max_retries=0) as client:
        plain = await client.chat.completions.create(model=f"{F}chat", messages=HI)
        assert plain.choices[0].message.content == SENTENCE
        async with await client.chat.completions.create(model=f"{F}chat", messages=HI, stream=True) as stream:
            assert streamed([chunk async for chunk in stream]) == STREAMED
        async with client.chat.completions.stream(
            model=f"{M}calling-streamed", messages=HI, tools=[TOOL]
        ) as completing:
            final = await completing.get_final_completion()
        assert len(final.choices[0].message.tool_calls or ()) == 2
        parsed = await client.chat.completions.parse(model=f"{F}extract", messages=HI, response_format=Answer)
        assert parsed.choices[0].message.parsed == Answer(answer="Hello")
        vectors = await client.embeddings.create(model="tensorzero::embedding_model_name::zeros", input=["a", "b"])
        assert len(vectors.data) == 2
        assert f"{F}chat" in [model.id async for model in client.models.list()]
        answer = await client.responses.create(model=f"{F}chat", input="hi")
        assert answer.output_text == SENTENCE
        async with client.responses.stream(model=f"{F}chat", input="hi") as responding:
            assert (await responding.get_final_response()).output_text == STREAMED
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model=f"{F}nope", messages=HI)
