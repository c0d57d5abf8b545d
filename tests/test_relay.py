"""Two gateways: one has the functions, the other has the models."""

from __future__ import annotations

import json
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

THERE = """
gateway.observability.enabled = false
[models.small]
routing = ["p"]
[models.small.providers.p]
type = "dummy"
model_name = "good"
[models.talker]
routing = ["p"]
[models.talker.providers.p]
type = "dummy"
model_name = "echo_request_messages"
[models.json]
routing = ["p"]
[models.json.providers.p]
type = "dummy"
model_name = "json"
[models.tool]
routing = ["p"]
[models.tool.providers.p]
type = "dummy"
model_name = "tool"
[models.broken]
routing = ["p"]
[models.broken.providers.p]
type = "dummy"
model_name = "error"
[models.torn]
routing = ["p"]
[models.torn.providers.p]
type = "dummy"
model_name = "fatal_stream_error"
[models.garbled]
routing = ["p"]
[models.garbled.providers.p]
type = "dummy"
model_name = "err_in_stream"
[models.reasoner]
routing = ["p"]
[models.reasoner.providers.p]
type = "dummy"
model_name = "reasoner"
[models.keyed]
routing = ["p"]
[models.keyed.providers.p]
type = "dummy"
model_name = "test_key"
api_key_location = "dynamic::model_key"
[embedding_models.zeros]
routing = ["p"]
[embedding_models.zeros.providers.p]
type = "dummy"
model_name = "zeros"
"""

# Nothing of these providers is built here: their type is installed nowhere.
HERE = """
[gateway]
relay.gateway_url = "{url}/"
observability = {{ enabled = true, backend = "sqlite", async_writes = false }}
[sqlite]
path = "here.db"
[embedding_models.zeros]
routing = ["p"]
[embedding_models.zeros.providers.p]
type = "not_installed_here"
[functions.answer]
type = "json"
output_schema = "schema.json"
[functions.answer.variants.v]
type = "chat_completion"
model = "json"
json_mode = "strict"
"""
MODELS = ("small", "talker", "json", "tool", "broken", "torn", "garbled", "reasoner", "keyed")
MODEL = '[models.{name}]\nrouting = ["p"]\n[models.{name}.providers.p]\ntype = "not_installed_here"\n'
FUNCTION = (
    '[functions.{name}]\ntype = "chat"\n[functions.{name}.variants.v]\ntype = "chat_completion"\nmodel = "{name}"\n'
)

TOOL = {
    "name": "get_temperature",
    "description": "How warm it is",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}, "units": {"type": "string"}},
        "required": ["location"],
    },
}


@pytest.fixture
def url(serve: Any, tmp_path: Path) -> Iterator[str]:
    """The gateway that has the functions, in front of the one that has the models."""
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    with serve(THERE, name="there") as there:
        parts = [HERE.format(url=there.url)]
        parts += [MODEL.format(name=name) + FUNCTION.format(name=name) for name in MODELS]
        with serve("".join(parts), name="here") as here:
            yield here.url


@contextmanager
def posted(url: str, path: str, body: dict[str, Any]) -> Iterator[Any]:
    request = urllib.request.Request(url + path, json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=30) as reply:
        yield reply


def post(url: str, path: str, body: dict[str, Any]) -> Any:
    with posted(url, path, body) as reply:
        return json.load(reply)


def ask(url: str, function: str, text: str = "hello", **fields: Any) -> Any:
    return post(url, "/inference", asking(function, text, **fields))


def asking(function: str, text: str = "hello", **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"function_name": function, "input": {"messages": messages}, **fields}


def events(url: str, function: str, **fields: Any) -> list[Any]:
    with posted(url, "/inference", asking(function, stream=True, **fields)) as reply:
        data = [line[6:].strip() for line in reply if line.startswith(b"data: ")]
    assert data.pop() == b"[DONE]"
    return [json.loads(each) for each in data]


def refused(url: str, path: str, body: dict[str, Any]) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(url, path, body)
    with caught.value as error:
        return error.code, str(json.load(error)["error"])


def test_plain_answers_and_their_records(url: str, tmp_path: Path) -> None:
    plain = ask(url, "small", include_raw_usage=True, include_raw_response=True)
    assert "Megumin" in plain["content"][0]["text"]
    assert plain["usage"] == {"input_tokens": 10, "output_tokens": 1, "cost": None}
    [usage], [response] = plain["raw_usage"], plain["raw_response"]
    assert usage["provider_type"] == response["provider_type"] == "tensorzero::relay"
    assert [each["provider_type"] for each in usage["data"]] == ["dummy"]
    assert json.loads(response["data"])["raw_response"][0]["provider_type"] == "dummy"
    with closing(sqlite3.connect(tmp_path / "here.db")) as database:
        rows = database.execute("SELECT model_name, model_provider_name, cost FROM model_inference").fetchall()
    assert rows == [("small", "tensorzero::relay", None)]


def test_models_called_by_name_get_the_whole_conversation(url: str) -> None:
    for name in ("small", "dummy::good"):
        body = asking("", function_name=None, model_name=name)
        assert "Megumin" in post(url, "/inference", body)["content"][0]["text"]

    answer = ask(url, "talker", "grüß dich")
    assert json.loads(answer["content"][0]["text"])["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "grüß dich"}]}
    ]


def test_streams_json_tools_and_thoughts(url: str) -> None:
    *pieces, last = events(url, "small", include_aggregated_response=True)
    text = "".join(item["text"] for piece in pieces for item in piece["content"])
    assert "Wally" in text
    assert last["aggregated_response"] == [{"type": "text", "text": text}]
    assert last["usage"] == {"input_tokens": 10, "output_tokens": 16, "cost": None}
    assert last["finish_reason"] == "stop"

    answer = ask(url, "answer")
    assert json.loads(answer["output"]["raw"]) == answer["output"]["parsed"]
    assert "".join(piece["raw"] for piece in events(url, "answer")).startswith("{")

    [call] = ask(url, "tool", additional_tools=[TOOL])["content"]
    assert (call["type"], call["name"]) == ("tool_call", "get_temperature")
    assert call["arguments"] == json.loads(call["raw_arguments"])
    items = [item for piece in events(url, "tool", additional_tools=[TOOL]) for item in piece["content"]]
    assert [item["raw_name"] for item in items if item["raw_name"]] == ["get_temperature"]
    assert json.loads("".join(item["raw_arguments"] for item in items))["location"]

    thought, _ = ask(url, "reasoner")["content"]
    assert thought["type"] == "thought"
    kinds = {item["type"] for piece in events(url, "reasoner") for item in piece["content"]}
    assert kinds == {"thought", "text"}


def test_embeddings_are_relayed_and_batches_refused(url: str) -> None:
    body = {"model": "tensorzero::embedding_model_name::zeros", "input": ["a", "b"]}
    answer = post(url, "/openai/v1/embeddings", body)
    assert [len(each["embedding"]) for each in answer["data"]] == [1536, 1536]
    assert answer["usage"]["tensorzero_cost"] is None

    batch = {"function_name": "small", "inputs": [asking("small")["input"]]}
    status, text = refused(url, "/batch_inference", batch)
    assert (status, "relay mode" in text) == (400, True)


def test_errors_before_and_inside_a_stream(url: str) -> None:
    status, drawn = refused(url, "/inference", asking("broken"))
    assert (status, "from tensorzero::relay server: All variants failed" in drawn) == (502, True)
    status, pinned = refused(url, "/inference", asking("broken", variant_name="v", stream=True))
    assert (status, pinned.startswith("Error from tensorzero::relay server: ")) == (502, True)
    status, unknown = refused(url, "/inference", asking("", function_name=None, model_name="nobody::x"))
    assert (status, "nobody::x" in unknown) == (502, True)

    torn = events(url, "torn")
    assert [index for index, each in enumerate(torn) if "error" in each] == [len(torn) - 1]
    garbled = events(url, "garbled")
    assert len([each for each in garbled if "error" in each]) == 1
    assert garbled[-1]["usage"]["output_tokens"]


def test_a_key_is_brought_by_the_request(url: str) -> None:
    status, text = refused(url, "/inference", asking("keyed", variant_name="v"))
    assert (status, "model_key" in text) == (502, True)
    assert "Megumin" in ask(url, "keyed", credentials={"model_key": "good_key"})["content"][0]["text"]


def test_the_other_gateway_may_be_gone(serve: Any) -> None:
    toml = HERE.replace('output_schema = "schema.json"\n', "").format(url="http://127.0.0.1:9")
    with serve(toml + MODEL.format(name="json"), name="here") as here:
        status, text = refused(here.url, "/inference", asking("answer", variant_name="v"))
    assert (status, "tensorzero::relay" in text) == (502, True)
