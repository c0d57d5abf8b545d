"""Journeys with Anthropic's own Python SDK, synchronous and asynchronous, through a real server process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from clients import ALTERNATE, PNG_BASE64, SENTENCE, STREAMED, TEMPERATURE, TOML, WEATHER, Gateway, serving
from upstreams import CALLING, upstream

F, M = "tensorzero::function_name::", "tensorzero::model_name::"
HI: Any = [{"role": "user", "content": "hi"}]
TOOL: Any = {"name": "get_temperature", "description": "tells it", "input_schema": TEMPERATURE}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with upstream() as url, serving(tmp_path_factory.mktemp("anthropic"), TOML + CALLING.format(url=url)) as running:
        yield running


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=f"{gateway.url}/anthropic", api_key="none needed", max_retries=0) as client:
        yield client


def create(client: Any, model: str = f"{F}chat", messages: Any = HI, **arguments: Any) -> Any:
    return client.messages.create(model=model, max_tokens=100, messages=messages, **arguments)


def seen(client: Any, messages: Any, **arguments: Any) -> Any:
    """What the provider is asked when the gateway is asked this."""
    answer = create(client, f"{M}dummy::echo_request_messages", messages, **arguments)
    return json.loads(answer.content[0].text)


# -- messages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["tensorzero", "headrace"])
def test_answers(client: Any, gateway: Gateway, prefix: str) -> None:
    message = create(
        client,
        f"{prefix}::function_name::chat",
        system="be kind",
        stop_sequences=["x"],
        # The SDK has no word for the temperature any more.
        extra_body={f"{prefix}::tags": {"team": "support"}, "temperature": 0.5},
    )
    assert [(block.type, block.text) for block in message.content] == [("text", SENTENCE)]
    assert (message.role, message.stop_reason) == ("assistant", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 1)
    tags, params, input_ = gateway.row(message.inference_id, "tags", "inference_params", "input")
    assert json.loads(tags) == {"team": "support"}
    assert json.loads(params) == {"max_tokens": 100, "stop_sequences": ["x"], "temperature": 0.5}
    assert json.loads(input_)["system"] == "be kind"


@pytest.mark.parametrize("name", ["parrot", "tensorzero::model_name::parrot", "headrace::model_name::parrot"])
def test_takes_every_spelling_of_a_model(client: Any, name: str) -> None:
    assert create(client, name).content[0].text == "hi"


def test_streams(client: Any) -> None:
    with client.messages.stream(model=f"{F}chat", max_tokens=100, messages=HI) as stream:
        assert "".join(stream.text_stream) == STREAMED
        final = stream.get_final_message()
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 16)
    with create(client, stream=True) as events:
        kinds = [event.type for event in events]
    assert [kinds[0], kinds[1], *kinds[-3:]] == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert set(kinds[2:-3]) == {"content_block_delta"}


def test_fields_of_ours_come_in_extra_body(client: Any, gateway: Gateway) -> None:
    first = create(client)
    message = create(
        client,
        extra_body={
            "tensorzero::variant_name": "extra",
            "tensorzero::episode_id": first.episode_id,
            "tensorzero::extra_body": [{"pointer": "/a", "value": 1}],
            "tensorzero::include_raw_response": True,
            "tensorzero::dryrun": True,
        },
    )
    assert json.loads(message.content[0].text)["injected_body"] == {"a": 1}
    assert message.episode_id == first.episode_id
    assert [entry["provider_type"] for entry in message.tensorzero_raw_response] == ["dummy"]
    assert gateway.row(message.inference_id) is None
    seeded = create(client, extra_body={"tensorzero::params": {"chat_completion": {"seed": 1}}})
    assert json.loads(gateway.row(seeded.inference_id, "inference_params"))["seed"] == 1


def test_composite_variants_answer_too(client: Any) -> None:
    assert create(client, f"{F}chosen").content[0].text == ALTERNATE


def test_thinking_goes_out_and_comes_back(client: Any) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    message = client.messages.create(
        model=f"{M}dummy::reasoner_with_signature", max_tokens=2048, messages=HI, thinking=thinking
    )
    thought, said = message.content
    assert (thought.type, thought.thinking, thought.signature) == ("thinking", "hmmm", "my_signature")
    assert said.text == SENTENCE
    back = seen(client, [*HI, {"role": "assistant", "content": message.content}, *HI])["messages"][1]["content"]
    assert back == [
        {"type": "thought", "text": "hmmm", "signature": "my_signature"},
        {"type": "text", "text": SENTENCE},
    ]
    with client.messages.stream(model=f"{M}dummy::reasoner", max_tokens=100, messages=HI) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert "thinking" in kinds
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert (final.content[0].thinking[:4], final.content[1].text) == ("hmmm", STREAMED)


def test_pictures_arrive_at_the_provider(client: Any) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PNG_BASE64}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    answer = create(client, f"{M}dummy::extract_images", [{"role": "user", "content": content}])
    (file,) = json.loads(answer.content[0].text)
    assert (file["mime_type"], file["data"]) == ("image/png", PNG_BASE64)


def test_templates_have_their_block(client: Any) -> None:
    block = {"type": "tensorzero::template", "name": "topic", "arguments": {"topic": "cats"}}
    answer = create(client, f"{F}about", [{"role": "user", "content": [block]}])
    assert json.loads(answer.content[0].text)["messages"][0]["content"][0]["text"] == "Tell me about cats."


def test_json_functions_say_their_text(client: Any) -> None:
    assert create(client, f"{F}extract").content[0].text == '{"answer":"Hello"}'


# -- tools --------------------------------------------------------------------------------------------------


def test_calls_a_configured_tool_and_takes_its_result(client: Any) -> None:
    message = create(client, f"{F}weather")
    (call,) = message.content
    assert (call.type, call.name, call.input, message.stop_reason) == (
        "tool_use",
        "get_temperature",
        WEATHER,
        "tool_use",
    )
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "70F"}
    asked = [*HI, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    *_, last = seen(client, asked, tools=[TOOL])["messages"]
    assert last["content"] == [{"type": "tool_result", "id": call.id, "name": "get_temperature", "result": "70F"}]


@pytest.mark.parametrize("choice", [{"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "add"}], ids=str)
def test_tools_come_with_the_request(client: Any, choice: Any) -> None:
    add = {"name": "add", "input_schema": {"type": "object"}}
    asks = [{"role": "user", "content": 'call add {"a": 1}'}]
    (call,) = create(client, "parrot", asks, tools=[add, TOOL], tool_choice=choice).content
    assert (call.name, call.input) == ("add", {"a": 1})


def test_streamed_calls_come_one_after_the_other(client: Any) -> None:
    with client.messages.stream(model=f"{F}weather", max_tokens=100, messages=HI) as stream:
        (call,) = stream.get_final_message().content
    assert (call.name, call.input) == ("get_temperature", WEATHER)

    plain = create(client, "calling", tools=[TOOL])
    with client.messages.stream(model="calling-streamed", max_tokens=100, messages=HI, tools=[TOOL]) as stream:
        open_: list[int] = []
        for event in stream:
            if event.type == "content_block_start":
                open_.append(event.index)
            if event.type == "content_block_stop":
                assert open_ == [event.index]
                open_.clear()
        final = stream.get_final_message()
    for message in (plain, final):
        assert message.stop_reason == "tool_use"
        assert [(call.id, call.input) for call in message.content] == [
            ("call_1", {"location": "Basel"}),
            ("call_2", {"location": "Bern"}),
        ]


# -- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": f"{F}nope"}, anthropic.NotFoundError, "Unknown function: nope"),
        ({"model": f"{M}dummy::error"}, anthropic.InternalServerError, "All variants failed"),
        ({"extra_body": {"tensorzero::variant_name": "nope"}}, anthropic.NotFoundError, "Unknown variant: nope"),
        ({"extra_body": {"tensorzero::nope": 1}}, anthropic.BadRequestError, "tensorzero::nope"),
        ({"messages": [{"role": "nobody", "content": "hi"}]}, anthropic.BadRequestError, r"messages\[0\].role"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors_are_the_sdks_own_classes(client: Any, change: Any, error: Any, message: str, stream: bool) -> None:
    with pytest.raises(error, match=message) as caught:
        create(client, **change, stream=stream)
    assert caught.value.body["type"] == "error"


def test_an_error_within_a_stream_is_raised(client: Any) -> None:
    with create(client, f"{M}dummy::fatal_stream_error", stream=True) as stream:
        with pytest.raises(anthropic.APIStatusError, match="stream"):
            list(stream)


# -- the asynchronous client --------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore:Async generator '(anthropic|httpx2?|httpcore2?):ResourceWarning")
async def test_the_asynchronous_client_does_all_of_it(gateway: Gateway) -> None:
    url = f"{gateway.url}/anthropic"
    async with anthropic.AsyncAnthropic(base_url=url, api_key="none needed", max_retries=0) as client:
        message = await create(client)
        assert message.content[0].text == SENTENCE
        async with client.messages.stream(model=f"{F}chat", max_tokens=100, messages=HI) as stream:
            assert "".join([text async for text in stream.text_stream]) == STREAMED
            assert (await stream.get_final_message()).stop_reason == "end_turn"
        async with client.messages.stream(
            model="calling-streamed", max_tokens=100, messages=HI, tools=[TOOL]
        ) as calling:
            assert len((await calling.get_final_message()).content) == 2
        with pytest.raises(anthropic.NotFoundError):
            await create(client, f"{F}nope")
