"""Journeys with the official `tensorzero` client, synchronous and asynchronous, through a real server process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import pytest
import tensorzero as tz
from clients import (
    ALTERNATE,
    PNG,
    PNG_BASE64,
    SENTENCE,
    STREAMED,
    TEMPERATURE,
    WEATHER,
    Call,
    Gateway,
    calling,
    eventually,
    serving,
)
from tensorzero.util import uuid7
from upstreams import web

HI = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("tensorzero")) as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def call(gateway: Gateway, request: pytest.FixtureRequest) -> Call:
    return calling(gateway.url, request.param)


@pytest.fixture
def ask(call: Call) -> Call:
    """An inference, of function `chat` and saying hi unless said otherwise."""

    def infer(*content: Any, **arguments: Any) -> Any:
        if not {"function_name", "model_name"} & set(arguments):
            arguments["function_name"] = "chat"
        if content:
            said = content[0] if isinstance(content[0], str) else list(content)
            arguments["input"] = {"messages": [{"role": "user", "content": said}]}
        return call("inference", **{"input": HI, **arguments})

    return infer


def text(answer: Any) -> str:
    (block,) = answer.content
    return cast(str, block.text)


def streamed(chunks: list[Any]) -> str:
    return "".join(block.text for chunk in chunks for block in chunk.content if block.type == "text")


# -- chat ---------------------------------------------------------------------------------------------------


def test_chats(ask: Call, gateway: Gateway) -> None:
    answer = ask(tags={"team": "support"}, params={"chat_completion": {"temperature": 0.5, "max_tokens": 9}})
    assert isinstance(answer, tz.ChatInferenceResponse)
    assert (text(answer), answer.variant_name, answer.finish_reason) == (SENTENCE, "plain", tz.FinishReason.STOP)
    assert answer.usage == tz.Usage(input_tokens=10, output_tokens=1)
    tags, params = gateway.row(answer.inference_id, "tags", "inference_params")
    assert json.loads(tags) == {"team": "support"}
    assert json.loads(params)["max_tokens"] == 9


def test_streams_a_chat(ask: Call, gateway: Gateway) -> None:
    *chunks, last = ask(stream=True)
    assert all(isinstance(chunk, tz.types.ChatChunk) for chunk in chunks)
    assert streamed(chunks) == STREAMED
    assert {chunk.inference_id for chunk in chunks} == {last.inference_id}
    assert (last.content, last.finish_reason) == ([], tz.FinishReason.STOP)
    assert last.usage == tz.Usage(input_tokens=10, output_tokens=16)
    assert gateway.row(last.inference_id, "variant_name") == "plain"


def test_an_episode_goes_on(ask: Call) -> None:
    first = ask()
    assert first.episode_id != first.inference_id
    assert ask(episode_id=first.episode_id).episode_id == first.episode_id
    assert ask(episode_id=str(own := uuid7()), stream=True)[0].episode_id.hex == own.hex


def test_pins_a_variant_and_calls_a_model(ask: Call) -> None:
    assert text(ask("repeat me", variant_name="repeats")) == "repeat me"
    answer = ask(model_name="dummy::alternate")
    assert (text(answer), answer.variant_name) == (ALTERNATE, "dummy::alternate")


def test_a_dry_run_leaves_no_record(ask: Call, gateway: Gateway) -> None:
    assert gateway.row(ask(dryrun=True).inference_id) is None
    assert gateway.row(ask(dryrun=True, stream=True)[0].inference_id) is None


def test_internal_callers_may_give_reserved_tags(ask: Call, gateway: Gateway) -> None:
    answer = ask(internal=True, tags={"tensorzero::a": "b"})
    assert json.loads(gateway.row(answer.inference_id, "tags")) == {
        "tensorzero::a": "b",
        "tensorzero::internal": "true",
    }


def test_credentials_come_with_the_request(ask: Call) -> None:
    assert text(ask(variant_name="keyed", credentials={"KEY": "good_key"})) == SENTENCE


@pytest.mark.parametrize("stream", [False, True])
def test_the_cache_answers_the_second_time(ask: Call, stream: bool, request: pytest.FixtureRequest) -> None:
    options = {"cache_options": {"enabled": "on", "max_age_s": 60}, "stream": stream}
    answers = [ask(request.node.name, **options)]

    def is_cached() -> bool:
        """No answer waits for the cache to have it, so the very next one may still be fresh."""
        answers.append(ask(request.node.name, **options))
        usage = (answers[-1][-1] if stream else answers[-1]).usage
        return bool(usage == tz.Usage(input_tokens=0, output_tokens=0, cost=0))

    assert eventually(is_cached)
    first, last = answers[0], answers[-1]
    if stream:
        assert streamed(first) == streamed(last)
        first = first[-1]
    assert first.usage.input_tokens == 10


def test_extra_body_and_headers_arrive_at_the_provider(ask: Call) -> None:
    answer = ask(
        variant_name="extra",
        extra_body=[
            tz.AlwaysExtraBody(pointer="/a/b", value=1),
            {"pointer": "/a/c", "value": [True]},
            tz.VariantExtraBody(pointer="/d", value=2, variant_name="extra"),
            tz.VariantExtraBody(pointer="/e", value=3, variant_name="plain"),
            tz.AlwaysExtraBodyDelete(pointer="/a/c"),
        ],
        extra_headers=[tz.AlwaysExtraHeader(name="x-a", value="b"), {"name": "x-c", "value": "d"}],
    )
    assert json.loads(text(answer)) == {
        "injected_body": {"a": {"b": 1}, "d": 2},
        "injected_headers": {"x-a": "b", "x-c": "d"},
    }


def test_raw_data_comes_when_asked_for(ask: Call) -> None:
    wanted = {"include_raw_usage": True, "include_raw_response": True, "include_original_response": True}
    answer = ask(variant_name="fallen", **wanted)
    (usage,), (response,) = answer.raw_usage, answer.raw_response
    assert (usage.provider_type, usage.api_type) == ("dummy", "chat_completions")
    assert json.loads(response.data)["model"] == "text-davinci-002"
    assert response.model_inference_id == usage.model_inference_id
    assert answer.original_response == response.data

    chunks = ask(variant_name="fallen", stream=True, **wanted)
    assert (
        [chunk.raw_chunk for chunk in chunks[:2]]
        == [chunk.original_chunk for chunk in chunks[:2]]
        == ["Wally,", " the"]
    )
    assert [entry.provider_type for chunk in chunks for entry in chunk.raw_usage or ()] == ["dummy"]


def test_the_aggregated_response_does_not_disturb_the_client(ask: Call) -> None:
    assert streamed(ask(stream=True, include_aggregated_response=True)) == STREAMED


def test_namespaces_guard_models(ask: Call, gateway: Gateway) -> None:
    answer = ask(model_name="guarded", namespace="blue")
    assert json.loads(gateway.row(answer.inference_id, "tags"))["tensorzero::namespace"] == "blue"
    with pytest.raises(tz.TensorZeroError, match="has namespace `blue`"):
        ask(model_name="guarded")


def test_an_inline_variant_answers_a_dry_run(ask: Call) -> None:
    variant = {"type": "chat_completion", "model": "dummy::alternate"}
    answer = ask(dryrun=True, internal_dynamic_variant_config=variant)
    assert (text(answer), answer.variant_name) == (ALTERNATE, "tensorzero::dynamic_variant")
    with pytest.raises(tz.TensorZeroError) as caught:
        ask(internal_dynamic_variant_config=variant)
    assert caught.value.status_code == 400


def test_extras_for_traces_and_headers_are_harmless(ask: Call) -> None:
    extras = {f"otlp_traces_extra_{kind}": {"user": "me"} for kind in ("headers", "resources")}
    extras["otlp_traces_extra_attributes"] = {"user": '"me"'}  # JSON text, as the client sends it as it stands
    assert text(ask(**extras, gateway_http_headers={"x-anything": "goes"})) == SENTENCE


def test_retries_and_composite_variants_answer(ask: Call) -> None:
    assert [text(ask(function_name="again")) for _ in range(3)] == [SENTENCE] * 3
    best = ask(function_name="chosen")
    assert (text(best), best.variant_name, best.usage.input_tokens) == (ALTERNATE, "best", 30)


# -- blocks of the input ------------------------------------------------------------------------------------


def test_templates_and_raw_text(ask: Call) -> None:
    blocks = [
        tz.types.Template(name="topic", arguments={"topic": "cats"}),
        {"type": "template", "name": "topic", "arguments": {"topic": "dogs"}},
        tz.RawText(value="{{ as it is }}"),
        tz.Text(text="and text"),
    ]
    (message,) = json.loads(text(ask(*blocks, function_name="about")))["messages"]
    assert [block["text"] for block in message["content"]] == [
        "Tell me about cats.",
        "Tell me about dogs.",
        "{{ as it is }}",
        "and text",
    ]
    with pytest.raises(tz.TensorZeroError, match="JSON Schema validation failed") as caught:
        ask(tz.types.Template(name="topic", arguments={"topic": 7}), function_name="about")
    assert caught.value.status_code == 400


def test_thoughts_go_out_and_come_back(ask: Call, call: Call) -> None:
    thought, said = ask(variant_name="signer").content
    assert (thought.text, thought.signature, said.text) == ("hmmm", "my_signature", SENTENCE)
    messages = [*HI["messages"], {"role": "assistant", "content": [thought, said]}]
    asked = call("inference", function_name="chat", variant_name="asked", input={"system": "be", "messages": messages})
    seen = json.loads(text(asked))
    assert seen["system"] == "be"
    assert seen["messages"][1]["content"] == [
        {"type": "thought", "text": "hmmm", "signature": "my_signature"},
        {"type": "text", "text": SENTENCE},
    ]


def test_streams_thoughts(ask: Call) -> None:
    first, *chunks = ask(variant_name="thinker", stream=True)
    (thought,) = first.content
    assert isinstance(thought, tz.ThoughtChunk)
    assert thought.text == "hmmm"
    assert streamed(chunks) == STREAMED


def test_files_come_as_bytes_and_as_urls(ask: Call, gateway: Gateway) -> None:
    with web({"/picture.png": ("image/png", PNG)}) as site:
        url = f"{site}/picture.png"
        blocks = [
            tz.FileBase64(data=PNG_BASE64, mime_type="image/png"),
            tz.ImageBase64(data=PNG_BASE64, mime_type="image/png"),
            {"type": "file", "file_type": "base64", "data": PNG_BASE64},
            tz.FileUrl(url=url),
            tz.ImageUrl(url=url, mime_type="image/png", detail="low"),
            {"type": "file", "file_type": "url", "url": url},
        ]
        found = json.loads(text(ask(*blocks, variant_name="files")))
    assert [(file["mime_type"], file["data"]) for file in found] == [("image/png", PNG_BASE64)] * 6
    assert [file.get("source_url") for file in found] == [None] * 3 + [url] * 3
    (path,) = {file["storage_path"]["path"] for file in found}
    assert (gateway.folder / path).exists()


# -- tools --------------------------------------------------------------------------------------------------


def test_calls_a_configured_tool_and_takes_its_result(ask: Call, call: Call) -> None:
    answer = ask(function_name="weather")
    (made,) = answer.content
    assert (made.name, made.arguments, json.loads(made.raw_arguments)) == ("get_temperature", WEATHER, WEATHER)
    assert answer.finish_reason == tz.FinishReason.TOOL_CALL
    result = tz.ToolResult(id=made.id, name="get_temperature", result="70F")
    messages = [*HI["messages"], {"role": "assistant", "content": [made]}, {"role": "user", "content": [result]}]
    asked = call("inference", model_name="dummy::echo_request_messages", input={"messages": messages})
    *_, last = json.loads(text(asked))["messages"]
    assert last["content"] == [{"type": "tool_result", "id": made.id, "name": "get_temperature", "result": "70F"}]


@pytest.mark.parametrize("variant", ["wrong", "broken"])
def test_a_call_that_does_not_fit_its_tool_is_told_raw(ask: Call, variant: str) -> None:
    (made,) = ask(function_name="weather", variant_name=variant).content
    assert (made.name, made.arguments, made.raw_name) == ("get_temperature", None, "get_temperature")
    assert made.raw_arguments


def test_streams_a_tool_call(ask: Call) -> None:
    *chunks, last = ask(function_name="weather", stream=True)
    calls = [block for chunk in chunks for block in chunk.content]
    assert all(isinstance(block, tz.ToolCallChunk) for block in calls)
    assert [block.raw_name for block in calls if block.raw_name] == ["get_temperature"]
    assert json.loads("".join(block.raw_arguments for block in calls)) == WEATHER
    assert last.finish_reason == tz.FinishReason.TOOL_CALL


def test_tools_come_with_the_request(ask: Call, gateway: Gateway) -> None:
    tool = {"name": "get_temperature", "description": "tells it", "parameters": TEMPERATURE, "strict": True}
    answer = ask(
        model_name="dummy::tool",
        additional_tools=[tool],
        tool_choice={"specific": "get_temperature"},
        parallel_tool_calls=False,
        provider_tools=[{"tool": {"type": "web_search"}, "scope": {"model_name": "dummy::tool"}}],
    )
    assert answer.content[0].arguments == WEATHER
    stored = json.loads(gateway.row(answer.inference_id, "tools"))
    assert stored["choice"] == {"specific": "get_temperature"}
    assert gateway.row(ask(function_name="weather", allowed_tools=[]).inference_id, "tools") is None
    with pytest.raises(tz.TensorZeroError, match="Tool not found: nope"):
        ask(model_name="dummy::tool", additional_tools=[tool], allowed_tools=["nope"])


@pytest.mark.parametrize("choice", ["none", "auto", "required"])
def test_says_how_to_choose_tools(ask: Call, choice: str) -> None:
    assert ask(function_name="weather", tool_choice=choice).content[0].raw_name == "get_temperature"


# -- json ---------------------------------------------------------------------------------------------------


def test_json_functions_parse_what_fits_the_schema(ask: Call) -> None:
    right = ask(function_name="extract")
    assert isinstance(right, tz.JsonInferenceResponse)
    assert (right.output.raw, right.output.parsed) == ('{"answer":"Hello"}', {"answer": "Hello"})
    off = ask(function_name="extract", variant_name="off")
    assert (off.output.raw, off.output.parsed) == ('{"response":"Hello"}', None)
    schema = {"type": "object", "required": ["response"]}
    replaced = ask(function_name="extract", variant_name="off", output_schema=schema)
    assert replaced.output.parsed == {"response": "Hello"}


def test_streams_json(ask: Call) -> None:
    chunks = ask(function_name="extract", stream=True)
    assert all(isinstance(chunk, tz.types.JsonChunk) for chunk in chunks)
    assert "".join(chunk.raw for chunk in chunks) == '{"name":"John","age":30}'
    assert chunks[-1].usage.output_tokens == 5


def test_a_chat_function_takes_a_schema(ask: Call) -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    mode = {"chat_completion": {"json_mode": "strict"}}
    assert text(ask(variant_name="json", output_schema=schema, params=mode)) == '{"answer":"Hello"}'
