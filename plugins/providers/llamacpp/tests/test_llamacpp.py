"""What the provider promises without a model: every provider's promises, and what it makes of settings and tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from headrace import Embedder, Factory, Provider, Services
from headrace.conformance.provider import CALL_TOOL, HELLO, TEXT, WEATHER, ProviderConformance
from headrace.conformance.script import Script, services
from headrace.errors import ConfigError, ProviderError, Unreachable
from headrace.transport import Reply
from headrace.types import Specific, Tool, ToolChoice, ToolConfig
from headrace_llamacpp import LlamaCpp, Settings, gguf, headrace_providers, headrace_weights
from msgspec import structs
from pydantic import ValidationError

pytestmark = pytest.mark.anyio

TIMINGS = {"cache_n": 0, "prompt_n": 11, "prompt_ms": 35.2, "predicted_n": 4, "predicted_ms": 80.1}
USAGE = {
    "completion_tokens": 4,
    "prompt_tokens": 11,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 0},
}


def said(finish: str, **message: Any) -> bytes:
    choice = {"finish_reason": finish, "index": 0, "message": {"role": "assistant", **message}}
    reply = {"choices": [choice], "model": "local", "object": "chat.completion", "usage": USAGE, "timings": TIMINGS}
    return json.dumps(reply, ensure_ascii=False).encode()


def streamed(*deltas: dict[str, Any], finish: str) -> bytes:
    choices = [{"finish_reason": None, "index": 0, "delta": delta} for delta in deltas]
    events: list[dict[str, Any]] = [{"choices": [choice], "model": "local"} for choice in choices]
    events.append({"choices": [{"finish_reason": finish, "index": 0, "delta": {}}], "model": "local"})
    events.append({"choices": [], "model": "local", "usage": USAGE, "timings": TIMINGS})
    lines = [json.dumps(event, ensure_ascii=False) for event in events]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()


def called(arguments: str, **more: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "function": {"arguments": arguments, **more.pop("function", {})}, **more}]}


class Elsewhere:
    """An upstream that is no process of ours; ``words`` are its last, if it is dead."""

    def __init__(self, words: str | None = None) -> None:
        self._words = words

    async def address(self) -> str:
        return "http://127.0.0.1:1"

    async def last_words(self) -> str | None:
        return self._words


class TestLlamaCpp(ProviderConformance):
    lacks: ClassVar[dict[str, str]] = {
        "credentials": "the server is a child of ours and listens to nobody else",
        "files": "the models that fit here read text only",
    }
    says_hi = said("stop", content=TEXT)
    calls_tool = said(
        "tool_calls",
        content=None,
        tool_calls=[
            {
                "type": "function",
                "id": "xZ3",
                "function": {"name": "get_weather", "arguments": '{"city": "Zürich"}'},
            }
        ],
    )
    streams_hi = streamed(
        {"role": "assistant", "content": None}, {"content": "Hi 👋"}, {"content": " there"}, finish="stop"
    )
    streams_tool = streamed(
        {"role": "assistant", "content": None},
        called("{", id="xZ3", type="function", function={"name": "get_weather"}),
        called('"city":"Zürich"}'),
        finish="tool_calls",
    )
    embeds_two = json.dumps(
        {"data": [{"embedding": [1.0, 0.0], "index": 0}, {"embedding": [0.0, 1.0], "index": 1}], "usage": USAGE}
    ).encode()

    def build(self, services: Services) -> Provider:
        return LlamaCpp(Settings(model="smollm2-135m"), services, upstream=Elsewhere())


def test_offers_the_type_and_its_weights() -> None:
    assert headrace_providers() == [Factory("llamacpp", Settings, LlamaCpp)]
    assert [weights.name for weights in headrace_weights()] == ["smollm2-135m", "minilm"]


def test_both_kinds_of_model_can_use_it() -> None:
    assert isinstance(LlamaCpp(Settings(model="minilm"), services(Script())), Embedder)


# -- settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "exactly one of `model`"),
        ({"model": "minilm", "path": "a.gguf"}, "exactly one of `model`"),
        ({"model": "gpt-5"}, r"no weights 'gpt-5' \(known: smollm2-135m, minilm\)"),
        ({"path": "a.gguf", "n_cxt": 1}, "Extra inputs"),
        ({"path": "a.gguf", "n_parallel": 0}, "greater than or equal to 1"),
    ],
    ids=["no-file", "two-files", "unknown-weights", "misspelt", "no-slot"],
)
def test_settings_that_cannot_be_served_are_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Settings.model_validate(table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*: No such file or directory; `path` has to name"),
        (b"", "it is not a GGUF file"),
        (b"<html>moved</html>", "it begins with b'<htm'"),
    ],
    ids=["missing", "empty", "web-page"],
)
async def test_a_file_that_is_no_model_is_a_config_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "x.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        async with LlamaCpp(Settings(path=path), services(Script())):
            raise AssertionError("it was entered")
    assert len(str(caught.value).splitlines()) == 1


async def test_a_directory_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        await LlamaCpp(Settings(path=tmp_path), services(Script())).__aenter__()


async def test_a_whole_file_that_llamacpp_refuses_is_a_config_error_with_its_words(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    with path.open("wb") as file:
        gguf.write(file, {"general.architecture": "no-such-thing"}, [])
    with pytest.raises(ConfigError, match=f"cannot serve {path}: .*model architecture: 'no-such-thing'") as caught:
        await LlamaCpp(Settings(path=path), services(Script())).__aenter__()
    assert len(str(caught.value).splitlines()) == 1


async def test_a_provider_that_was_not_entered_says_so() -> None:
    with pytest.raises(ProviderError, match="has not been entered"):
        await LlamaCpp(Settings(model="minilm"), services(Script())).complete(HELLO)


# -- what goes out ----------------------------------------------------------------------------------------


OTHER = Tool("get_time", "The time", {"type": "object"})


@pytest.mark.parametrize(
    ("choice", "allowed", "names", "word"),
    [
        ("auto", None, ["get_weather", "get_time"], "auto"),
        ("required", None, ["get_weather", "get_time"], "required"),
        ("none", None, ["get_weather", "get_time"], "none"),
        (Specific("get_time"), None, ["get_time"], "required"),
        ("auto", ("get_weather",), ["get_weather"], "auto"),
        ("required", ("get_weather",), ["get_weather"], "required"),
    ],
    ids=["auto", "required", "none", "specific", "allowed", "allowed-required"],
)
async def test_a_tool_choice_is_one_word(
    choice: ToolChoice, allowed: tuple[str, ...] | None, names: list[str], word: str
) -> None:
    script = Script(Reply(200, {}, TestLlamaCpp.calls_tool))
    provider = LlamaCpp(Settings(model="smollm2-135m"), services(script), upstream=Elsewhere())
    tools = ToolConfig((WEATHER, OTHER), choice, allowed=allowed)
    await provider.complete(structs.replace(CALL_TOOL, tools=tools))
    sent = json.loads(script.calls[0].body)
    assert [tool["function"]["name"] for tool in sent["tools"]] == names
    assert sent["tool_choice"] == word


async def test_calls_go_to_the_child_without_a_key() -> None:
    script = Script(Reply(200, {}, TestLlamaCpp.says_hi))
    await LlamaCpp(Settings(model="smollm2-135m"), services(script), upstream=Elsewhere()).complete(HELLO)
    assert script.calls[0].url == "http://127.0.0.1:1/v1/chat/completions"
    assert "authorization" not in script.calls[0].headers


# -- death ------------------------------------------------------------------------------------------------


async def test_a_death_is_told_in_the_models_last_words() -> None:
    script = Script(Unreachable("connection reset"))
    provider = LlamaCpp(Settings(model="smollm2-135m"), services(script), upstream=Elsewhere("out of memory"))
    with pytest.raises(ProviderError, match=r"llama\.cpp died: out of memory") as caught:
        await provider.complete(HELLO)
    assert caught.value.raw_request == script.calls[0].body.decode()
