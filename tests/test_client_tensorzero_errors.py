"""What the official `tensorzero` client says when something is refused, fails or is not there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import tensorzero as tz
from clients import TOML, Call, Gateway, calling, eventually, serving
from tensorzero.util import uuid7

HI: Any = {"messages": [{"role": "user", "content": "hi"}]}
ID = str(uuid7())


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("tensorzero")) as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def call(gateway: Gateway, request: pytest.FixtureRequest) -> Call:
    return calling(gateway.url, request.param)


# -- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ({"function_name": "nope"}, 404, "Unknown function: nope"),
        ({"function_name": "chat", "variant_name": "nope"}, 404, "Unknown variant: nope"),
        ({"model_name": "nope"}, 400, "Invalid inference target"),
        ({"function_name": "chat", "model_name": "parrot"}, 400, "Invalid inference target"),
        ({"function_name": "chat", "episode_id": "0197a000-0000-4000-8000-000000000000"}, 400, "UUID"),
        ({"function_name": "chat", "tags": {"tensorzero::a": "b"}}, 400, "tag"),
        ({"function_name": "extract", "tool_choice": "auto"}, 400, "to a JSON function"),
        ({"function_name": "chat", "variant_name": "broken"}, 500, "All model providers failed"),
        ({"model_name": "dummy::error"}, 502, "All variants failed"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_errors_have_their_status_and_their_text(
    call: Call, arguments: Any, status: int, message: str, stream: bool
) -> None:
    with pytest.raises(tz.TensorZeroError, match=re.escape(message)) as caught:
        call("inference", input=HI, stream=stream, **arguments)
    assert caught.value.status_code == status
    assert message in json.loads(caught.value.text or "")["error"]


@pytest.mark.parametrize("model", ["err_in_stream", "fatal_stream_error"])
def test_an_error_within_a_stream_is_raised(call: Call, model: str) -> None:
    with pytest.raises(tz.TensorZeroError, match="in stream") as caught:
        call("inference", model_name=f"dummy::{model}", input=HI, stream=True)
    assert caught.value.status_code == 500


def test_who_leaves_a_stream_leaves_a_record_and_no_noise(gateway: Gateway) -> None:
    with tz.TensorZeroGateway.build_http(gateway_url=gateway.url) as client:
        stream: Any = client.inference(function_name="chat", input=HI, stream=True)
        id_ = next(stream).inference_id
        del stream
    assert eventually(lambda: gateway.has_inference(id_))
    assert "socket.send()" not in (gateway.folder / "headrace.log").read_text()


def test_no_server_is_an_error_of_the_clients_own(gateway: Gateway) -> None:
    with pytest.raises(tz.TensorZeroInternalError):
        calling("http://127.0.0.1:9", "sync")("inference", function_name="chat", input=HI)


def test_an_aggregated_response_needs_a_stream(call: Call) -> None:
    with pytest.raises(tz.TensorZeroError, match="only supported in streaming mode"):
        call("inference", function_name="chat", input=HI, include_aggregated_response=True)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ({"metric_name": "nope", "value": True, "inference_id": ID}, 404, "Unknown metric: nope"),
        ({"metric_name": "solved", "value": 1, "inference_id": ID}, 400, "must be a boolean"),
        ({"metric_name": "grade", "value": "0.5", "episode_id": ID}, 400, "must be a number"),
        ({"metric_name": "solved", "value": True, "episode_id": ID}, 400, "Correct ID was not provided"),
        ({"metric_name": "comment", "value": "x"}, 400, "Exactly one of inference_id or episode_id"),
        ({"metric_name": "solved", "value": True, "inference_id": ID, "episode_id": ID}, 400, "cannot be provided"),
        ({"metric_name": "solved", "value": True, "inference_id": ID, "tags": {"tensorzero::a": "b"}}, 400, "tag"),
        (
            {"metric_name": "solved", "value": True, "inference_id": "0197a000-0000-7000-8000-000000000000"},
            400,
            "does not exist",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_feedback_that_cannot_be_is_refused(call: Call, arguments: Any, status: int, message: str) -> None:
    with pytest.raises(tz.TensorZeroError, match=message) as caught:
        call("feedback", **arguments)
    assert caught.value.status_code == status
    assert set(json.loads(caught.value.text or "")) == {"error"}


# -- the address --------------------------------------------------------------------------------------------


def test_a_path_in_the_address_is_kept(tmp_path_factory: pytest.TempPathFactory) -> None:
    toml = '[gateway]\nbase_path = "/gate/way"\n' + TOML
    with serving(tmp_path_factory.mktemp("base-path"), toml) as gateway:
        for kind in ("sync", "async"):
            call = calling(f"{gateway.url}/gate/way", kind)
            answer = call("inference", function_name="chat", input=HI)
            call("feedback", metric_name="solved", value=True, inference_id=answer.inference_id)
            with pytest.raises(tz.TensorZeroError) as caught:
                calling(gateway.url, kind)("inference", function_name="chat", input=HI)
            assert caught.value.status_code == 404


# -- yet to come --------------------------------------------------------------------------------------------

# A method leaves this list when its route comes, and gets a test above.
LATER: dict[str, dict[str, Any]] = {
    "experimental_launch_optimization_workflow": {
        "function_name": "chat",
        "template_variant_name": "plain",
        "optimizer_config": {"type": "dicl", "embedding_model": "zeros", "variant_name": "d", "function_name": "chat"},
        "output_source": "inference",
    },
    "optimization.gepa.launch": {
        "function_name": "chat",
        "dataset_name": "d",
        "evaluation_name": "e",
        "analysis_model": "parrot",
        "mutation_model": "parrot",
        "max_iterations": 1,
    },
    "optimization.gepa.get": {"task_id": ID},
    "experimental_run_evaluation": {"evaluation_name": "e", "dataset_name": "d", "variant_name": "plain"},
}


@pytest.mark.parametrize("method", LATER)
def test_what_has_no_route_yet_says_so(call: Call, method: str) -> None:
    with pytest.raises(tz.TensorZeroError, match="Route not found: ") as caught:
        call(method, **LATER[method])
    assert caught.value.status_code == 404
